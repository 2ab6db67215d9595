"""Operators that only move elements."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling.abstract.rules.answered import Answered, Rules, aten, empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _cat(pieces: Sequence[Tensor], dim: int = 0) -> Answered | None:
    first = pieces[0]
    rest = list(first.shape)
    dim = dim % max(1, first.dim())
    total = 0
    for piece in pieces:
        if piece.dim() != first.dim() or piece.dtype != first.dtype or not piece.is_contiguous() or not piece.dim():
            return None
        shape = list(piece.shape)
        total += shape[dim]
        shape[dim] = rest[dim]
        if shape != rest:
            return None
    rest[dim] = total
    return Answered(empty(rest, first.dtype), aten.cat.default, (pieces, dim))


def _roll(data: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Answered | None:
    if not data.is_contiguous():
        return None
    return Answered(empty(data.shape, data.dtype), aten.roll.default, (data, shifts, dims))


def _reshape(data: Tensor, shape: Sequence[int]) -> Answered | None:
    """A view where that can be, else a view of a copy."""
    try:
        return Answered(data.view(shape), aten.view.default, (data, shape))
    except RuntimeError:
        known = prod(size for size in shape if size != -1)
        if not known or data.numel() % known or (known != data.numel() and -1 not in shape):
            return None
        made = [data.numel() // known if size == -1 else size for size in shape]
        return Answered(empty(made, data.dtype), aten.clone.default, (data,))


def _contiguous(data: Tensor, *, memory_format: torch.memory_format = torch.contiguous_format) -> Answered | None:
    if memory_format is not torch.contiguous_format:
        return None
    if data.is_contiguous():
        return Answered(data, aten.view.default, (data, data.shape))
    return Answered(empty(data.shape, data.dtype), aten.clone.default, (data,))


def _one_hot(data: Tensor, num_classes: int = -1) -> Answered | None:
    """With the number of classes given, the shape needs no values; PyTorch looks at them only to check."""
    if num_classes < 1:
        return None
    output = empty([*data.shape, num_classes], torch.int64)
    return Answered(output, aten.eq.Tensor, (data, empty([num_classes], torch.int64)))  # each with every class


RULES: Rules = {
    aten.one_hot.default: _one_hot,
    aten.cat.default: _cat,
    aten.roll.default: _roll,
    aten.reshape.default: _reshape,
    aten.contiguous.default: _contiguous,
}
