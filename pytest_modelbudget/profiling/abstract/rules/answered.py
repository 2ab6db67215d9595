"""What a rule answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from pytest_modelbudget.profiling.operands import META

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

aten = torch.ops.aten


class Answered(NamedTuple):
    """The result of an operator, and which operator with which arguments has its cost.

    That is the operator itself, or the one that a composite comes down to; `beside` is what this one makes that is not
    returned, and `copies` are what it is given in the place of operands that are no views of the right shape: of which
    tensors they are copies, and the copies.
    """

    output: Any
    counted: Any
    arguments: tuple[Any, ...]
    beside: tuple[Tensor, ...] = ()
    copies: tuple[tuple[Tensor, Tensor], ...] = ()


Rules: TypeAlias = dict[Any, Callable[..., Answered | None]]


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A contiguous abstract tensor."""
    return torch.empty(shape, dtype=dtype, device=META)


def like(data: Tensor) -> Tensor | None:
    """An abstract tensor of the same shape, dtype and layout; None for a layout that kernels do not keep."""
    layout = layout_of(data)
    return None if layout is None else torch.empty(data.shape, dtype=data.dtype, device=META, memory_format=layout)


def elementwise_like(data: Tensor) -> Tensor | None:
    """As `like`, of what a pointwise kernel makes: also of other layouts it keeps the order of the strides."""
    if layout_of(data) is not None:
        return like(data)
    shape, strides = data.shape, data.stride()
    if 0 in strides or len(set(strides)) < len(strides) or min(shape) < 2:
        return None
    made = [0] * len(shape)
    step = 1
    for dim in sorted(range(len(shape)), key=strides.__getitem__):
        made[dim] = step
        step *= shape[dim]
    return torch.empty_strided(shape, made, dtype=data.dtype, device=META)


def layout_of(data: Tensor) -> torch.memory_format | None:
    """The layout of a tensor that has one of the two that kernels keep; None for any other."""
    if data.is_contiguous():
        return torch.contiguous_format
    if data.dim() == 4 and data.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return None
