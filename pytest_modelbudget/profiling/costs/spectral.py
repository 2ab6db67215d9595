"""Fourier transforms: no MACs, 5 N log2 N FLOPs for each complex transform of N numbers, half for real ones.

N is the product of all transformed dimensions. The figure is the usual one for a radix-2 transform (Van Loan,
Computational Frameworks for the Fast Fourier Transform, section 1.4), taken for every N. Other lengths than powers of
two have their logarithm rounded down to a 1024th, so that the figure is the same integer everywhere.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from .cost import Cost
from .formula import Table, other
from .sizes import times_log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _transforms(signal: Tensor, dimensions: Sequence[int]) -> int:
    """FLOPs of complex transforms along these dimensions for all the others: 5 log2 N for each number."""
    return times_log2(5 * signal.numel(), prod(signal.shape[dimension] for dimension in dimensions))


def complex_to_complex(signal: Tensor, dim: Sequence[int]) -> Cost:
    return Cost(flops=_transforms(signal, dim))


def real_to_complex(signal: Tensor, dim: Sequence[int]) -> Cost:
    return Cost(flops=_transforms(signal, dim) // 2)


def complex_to_real(dim: Sequence[int], *, output: Tensor) -> Cost:
    """The real side has all N numbers, the complex one only half of them."""
    return Cost(flops=_transforms(output, dim) // 2)


TABLE: Table = {
    "aten::_fft_c2c": other(complex_to_complex, signal="self"),
    "aten::_fft_r2c": other(real_to_complex, signal="self"),
    "aten::_fft_c2r": other(complex_to_real),
    "prims::fft_c2c": other(complex_to_complex, signal="self"),
    "prims::fft_r2c": other(real_to_complex, signal="self"),
    "prims::fft_c2r": other(complex_to_real),
}
