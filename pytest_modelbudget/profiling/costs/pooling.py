"""Pooling and interpolation, per output element.

A maximum over a window takes window - 1 comparisons, an average window additions. Interpolation multiplies and adds
up its neighbours: 2 in one dimension (3 FLOPs), 4 bilinear (7), 8 trilinear (15), 16 bicubic (31), 36 Lanczos (71);
nearest copies. The gradient of a maximum goes to one element of the window; that of everything else takes what the
forward did.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from .cost import Cost
from .formula import FREE, CostFunction, Table, other
from .rates import per_input, per_output, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .sizes import Shape

_BILINEAR = 7
_TRILINEAR = 15
_BICUBIC = 31
# By the number that `grid_sampler` gives the mode: (bi)linear, nearest, bicubic.
_SAMPLING_2D = (_BILINEAR, 0, _BICUBIC)
_SAMPLING_3D = (_TRILINEAR, 0)


def maximum(dimensions: int) -> CostFunction:
    def cost(kernel_size: Sequence[int], *, output: Tensor | tuple[Tensor, Tensor]) -> Cost:
        # Some return the indices of the maxima, too.
        values = output[0] if isinstance(output, tuple) else output
        return Cost(elementwise=(_window(kernel_size, dimensions) - 1) * values.numel())

    return cost


def average(dimensions: int) -> CostFunction:
    def cost(kernel_size: Sequence[int], *, output: Tensor) -> Cost:
        return Cost(elementwise=_window(kernel_size, dimensions) * output.numel())

    return cost


def average_backward(dimensions: int) -> CostFunction:
    def cost(kernel_size: Sequence[int], grad_output: Tensor) -> Cost:
        return Cost(elementwise=_window(kernel_size, dimensions) * grad_output.numel())

    return cost


def _window(kernel_size: Sequence[int] | int, dimensions: int) -> int:
    """Elements in the window; one size stands for all dimensions."""
    sizes = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
    return prod(sizes if len(sizes) == dimensions else sizes * dimensions)


def adaptive_average(dimensions: int) -> CostFunction:
    def cost(data: Tensor, *, output: Tensor) -> Cost:
        return Cost(elementwise=_adaptive_reads(data.shape, output.shape, dimensions))

    return cost


def adaptive_average_backward(dimensions: int) -> CostFunction:
    def cost(grad_output: Tensor, data: Tensor) -> Cost:
        return Cost(elementwise=_adaptive_reads(data.shape, grad_output.shape, dimensions))

    return cost


def adaptive_maximum(dimensions: int) -> CostFunction:
    def cost(data: Tensor, *, output: tuple[Tensor, Tensor]) -> Cost:
        values, _ = output
        return Cost(elementwise=_adaptive_reads(data.shape, values.shape, dimensions) - values.numel())

    return cost


def _adaptive_reads(data: Shape, output: Shape, dimensions: int) -> int:
    """Elements in all windows: that of output position i begins at floor(i n / m) and ends at ceil((i + 1) n / m)."""
    channels = prod(data[:-dimensions])
    return channels * prod(
        sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
        for n, m in zip(data[-dimensions:], output[-dimensions:], strict=True)
    )


def sampled(rates: Sequence[int]) -> CostFunction:
    def cost(interpolation_mode: int, *, output: Tensor) -> Cost:
        return Cost(elementwise=rates[interpolation_mode] * output.numel())

    return cost


def sampled_backward(rates: Sequence[int]) -> CostFunction:
    """Gradients of the data and of the grid."""

    def cost(interpolation_mode: int, grad_output: Tensor) -> Cost:
        return Cost(elementwise=2 * rates[interpolation_mode] * grad_output.numel())

    return cost


def _interpolation(name: str, rate: int) -> Table:
    forward = per_output(rate) if rate else FREE
    return {f"aten::{name}": forward, f"aten::{name}_backward": per_input(rate or 1, "grad_output")}


TABLE: Table = {
    **table(other(maximum(1)), "max_pool1d max_pool1d_with_indices quantized_max_pool1d"),
    **table(
        other(maximum(2)),
        "max_pool2d max_pool2d_with_indices mkldnn_max_pool2d quantized_max_pool2d fractional_max_pool2d",
    ),
    **table(
        other(maximum(3)),
        "max_pool3d max_pool3d_with_indices mkldnn_max_pool3d quantized_max_pool3d fractional_max_pool3d",
    ),
    **table(
        per_input(1, "grad_output"),
        "max_pool2d_backward max_pool2d_with_indices_backward max_pool3d_with_indices_backward"
        " mkldnn_max_pool2d_backward mkldnn_max_pool3d_backward fractional_max_pool2d_backward"
        " fractional_max_pool3d_backward adaptive_max_pool2d_backward adaptive_max_pool3d_backward",
    ),
    "aten::avg_pool1d": other(average(1)),
    "aten::avg_pool2d": other(average(2)),
    "aten::avg_pool3d": other(average(3)),
    "aten::avg_pool2d_backward": other(average_backward(2)),
    "aten::avg_pool3d_backward": other(average_backward(3)),
    "aten::adaptive_avg_pool1d": other(adaptive_average(1), data="self"),
    **table(
        other(adaptive_average(2), data="self"),
        "adaptive_avg_pool2d _adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d",
    ),
    **table(other(adaptive_average(3), data="self"), "adaptive_avg_pool3d _adaptive_avg_pool3d"),
    **table(
        other(adaptive_average_backward(2), data="self"),
        "_adaptive_avg_pool2d_backward mkldnn_adaptive_avg_pool2d_backward",
    ),
    **table(
        other(adaptive_average_backward(3), data="self"),
        "_adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward",
    ),
    "aten::adaptive_max_pool1d": other(adaptive_maximum(1), data="self"),
    "aten::adaptive_max_pool2d": other(adaptive_maximum(2), data="self"),
    "aten::adaptive_max_pool3d": other(adaptive_maximum(3), data="self"),
    **table(FREE, "max_unpool2d max_unpool3d"),
    **_interpolation("upsample_nearest1d", 0),
    **_interpolation("upsample_nearest2d", 0),
    **_interpolation("upsample_nearest3d", 0),
    **_interpolation("_upsample_nearest_exact1d", 0),
    **_interpolation("_upsample_nearest_exact2d", 0),
    **_interpolation("_upsample_nearest_exact3d", 0),
    **_interpolation("upsample_linear1d", 3),
    **_interpolation("upsample_bilinear2d", _BILINEAR),
    **_interpolation("_upsample_bilinear2d_aa", _BILINEAR),
    **_interpolation("upsample_trilinear3d", _TRILINEAR),
    **_interpolation("upsample_bicubic2d", _BICUBIC),
    **_interpolation("_upsample_bicubic2d_aa", _BICUBIC),
    **_interpolation("_upsample_lanczos2d_aa", 71),
    **table(other(sampled(_SAMPLING_2D)), "grid_sampler_2d _grid_sampler_2d_cpu_fallback"),
    **table(other(sampled_backward(_SAMPLING_2D)), "grid_sampler_2d_backward _grid_sampler_2d_cpu_fallback_backward"),
    "aten::grid_sampler_3d": other(sampled(_SAMPLING_3D)),
    "aten::grid_sampler_3d_backward": other(sampled_backward(_SAMPLING_3D)),
    "aten::cudnn_grid_sampler": per_output(_BILINEAR),
    "aten::cudnn_grid_sampler_backward": per_input(2 * _BILINEAR, "grad_output"),
}
