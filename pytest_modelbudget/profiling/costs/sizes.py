"""Sizes of tensors, and of lists of them, as costs need them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

Shape: TypeAlias = Sequence[int]
Tensors: TypeAlias = Tensor | Sequence[Tensor | None] | None

# Two 4-bit numbers in an element. Torch before 2.8 has no such type.
_TWO_IN_ONE = getattr(torch, "float4_e2m1fn_x2", None)
_BLOCKED = (torch.sparse_bsr, torch.sparse_bsc)
_COMPRESSED = (torch.sparse_csr, torch.sparse_csc)


def elements(value: object) -> int:
    """Elements that are stored: of a tensor, of all tensors in a list or tuple; 0 for anything that is no tensor."""
    if isinstance(value, Tensor):
        return value.numel() if value.layout is torch.strided else stored_elements(value)
    if isinstance(value, (list, tuple)):
        return sum(map(elements, value))
    return 0


def stored_elements(tensor: Tensor) -> int:
    """The specified elements of a sparse tensor, all elements of any other layout."""
    if tensor.layout is torch.sparse_coo:
        return int(tensor._nnz() * prod(tensor.shape[tensor.sparse_dim() :]))
    if tensor.layout in _COMPRESSED:
        return int(tensor._nnz() * prod(tensor.shape[:-2]))
    if tensor.layout in _BLOCKED:
        # Only the values know the shape of the blocks; this is a view of them.
        return tensor.values().numel()
    return tensor.numel()


def is_sparse(tensor: Tensor) -> bool:
    return tensor.layout in (torch.sparse_coo, *_COMPRESSED, *_BLOCKED)


def shapes(tensor: Tensor) -> list[Shape]:
    """The shape of a tensor; of a nested one the shapes of its components, from the sizes that it keeps on the CPU."""
    if tensor.is_nested:
        return [tuple(size) for size in tensor._nested_tensor_size().tolist()]
    return [tensor.shape]


def real_macs(tensor: Tensor) -> int:
    """Real multiply-accumulates in one of this operand's: 4 if it is complex."""
    return 4 if tensor.is_complex() else 1


def numbers_per_element(tensor: Tensor) -> int:
    """Numbers that one element of the tensor holds: 2 for the packed 4-bit type."""
    return 2 if tensor.dtype is _TWO_IN_ONE else 1


_reads = 0


def numbers(tensor: Tensor) -> list[int] | None:
    """The integers in a small tensor; None where it has no data to read. The one place where costs read any."""
    global _reads
    _reads += 1
    if tensor.device.type == "meta" or isinstance(tensor, FakeTensor):
        return None
    values: list[int] = tensor.tolist()
    return values


def values_read() -> int:
    """How often costs have read values so far: what follows from one must not be remembered by shapes."""
    return _reads


# A power with this exponent has as many bits as the logarithm has 1024ths: exact without floating point.
_FRACTION = 1024


def times_log2(factor: int, n: int) -> int:
    """`factor * log2(n)` as an integer that is the same on every machine; 0 for n of 0 and 1.

    The logarithm is rounded down to a 1024th, which leaves powers of two exact.
    """
    return factor * ((n**_FRACTION).bit_length() - 1) // _FRACTION if n > 1 else 0
