"""The debug switch of the memo: every remembered answer against the kernel that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.abstract.rules import OWN_LAYOUT
from pytest_modelbudget.profiling.operands import META, as_meta, on_device, replaced, tensors

if TYPE_CHECKING:
    from pytest_modelbudget.profiling.internals import OpOverload


class WrongAnswerError(AssertionError):
    """A remembered answer is not what the kernel says: a bug of this package."""


def check_output(operator: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Compare shapes, strides, dtypes and aliasing of an abstract `output` with those of the meta kernel's.

    Raises:
        WrongAnswerError: they differ.
    """
    if not any(tensor.is_meta for tensor in tensors((output,), {})):
        return
    args, kwargs = replaced(*on_device(operator, args, kwargs, META), as_meta)
    if not list(tensors(args, kwargs)):
        kwargs = on_device(operator, args, kwargs, META, always=True)[1]
    kwargs = {name: None if isinstance(value, torch.Generator) else value for name, value in kwargs.items()}
    try:
        truth = operator(*args, **kwargs)
    except (RuntimeError, NotImplementedError):  # the kernel refuses what those of other devices take
        return
    operands = list(tensors(args, kwargs))
    compare_strides = operator not in OWN_LAYOUT
    expected, given = (
        [_description(tensor, operands, compare_strides) for tensor in tensors((value,), {})]
        for value in (truth, output)
    )
    if expected != given:
        raise WrongAnswerError(f"{operator}: remembered {given}, the kernel says {expected}")


def check_cost(operator: OpOverload, expected: Any, given: Any) -> None:
    """Compare the remembered cost of an operator with what it costs now."""
    if expected != given:
        raise WrongAnswerError(f"{operator}: remembered {given}, it costs {expected}")


def _description(tensor: Tensor, operands: list[Tensor], compare_strides: bool) -> tuple[Any, ...]:
    if tensor.layout is not torch.strided:
        return (tensor.shape, tensor.dtype)
    # Strides of dimensions of one element mean nothing.
    strides = [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size != 1]
    storage = tensor.untyped_storage()._cdata
    aliased = [i for i, operand in enumerate(operands) if _storage(operand) == storage]
    return (tensor.shape, strides if compare_strides and tensor.numel() else None, tensor.dtype, aliased[:1])


def _storage(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else None
