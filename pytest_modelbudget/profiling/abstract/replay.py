"""From one output of an operator to a recipe that makes it again: fresh tensors, views of an operand, or the operand.

Whether an output is fresh is seen from its storage, not read off the schema: `dropout`, `contiguous`, `reshape`, `to`
and others hand an operand on, or a view of it, without declaring so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.made import storage_of
from pytest_modelbudget.profiling.operands import META, tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Make = Callable[[tuple[Any, ...], dict[str, Any] | None], Any]


def recipe(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Make | None:
    """How to make `output` again from the same arguments, or from others with the same signature.

    None where that cannot be told from storages: fresh tensors that share one, views of an operand inside of a list,
    of another dtype or with a pending conjugation, tensors that are no plain meta tensors, anything but tensors.
    """
    if output is None:
        return _nothing
    if type(output) is Tensor or isinstance(output, torch.nn.Parameter):
        return _one(args, kwargs, output)
    if not isinstance(output, (tuple, list)):
        return None
    return _several(args, kwargs, output)


def _one(args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Make | None:
    if not output.is_meta or output.layout is not torch.strided:
        return None
    for position, operand in enumerate(args):
        if operand is output:
            return handed_on(position)
    if _aliased(output, tensors(args, kwargs)):
        return _view_of(args, output)
    return None if output.is_conj() or output.is_neg() else fresh(output.shape, output.stride(), output.dtype)


def _several(args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Any, ...] | list[Any]) -> Make | None:
    storages = [storage_of(item) for item in output if isinstance(item, Tensor)]
    makes = []
    views = 0
    for item in output:
        make = recipe(args, kwargs, item)
        if make is None or isinstance(item, (tuple, list)):
            return None
        views += isinstance(item, Tensor) and _aliased(item, tensors(args, kwargs))
        makes.append(make)
    if not views and len(set(storages)) < len(storages):
        return None  # one fresh storage in several outputs
    kind = list if isinstance(output, list) else tuple

    def make_all(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        return kind([make(args, kwargs) for make in makes])

    return make_all


def _nothing(_args: tuple[Any, ...], _kwargs: dict[str, Any] | None) -> None:
    return None


def handed_on(position: int) -> Make:
    """Returns one of the arguments."""

    def make(args: tuple[Any, ...], _: dict[str, Any] | None) -> Any:
        return args[position]

    return make


def fresh(
    shape: Sequence[int],
    stride: Sequence[int],
    dtype: torch.dtype,
    _empty_strided: Callable[..., Tensor] = torch.empty_strided,
) -> Make:
    """Makes a new tensor, by `torch.empty_strided`: seven times as fast as `torch.ops.aten.empty_strided`."""

    def make(_args: tuple[Any, ...], _kwargs: dict[str, Any] | None) -> Tensor:
        return _empty_strided(shape, stride, dtype=dtype, device=META)

    return make


def _view_of(args: tuple[Any, ...], output: Tensor) -> Make | None:
    storage = storage_of(output)
    position = next(
        (i for i, value in enumerate(args) if isinstance(value, Tensor) and storage_of(value) == storage), None
    )
    if position is None:
        return None
    operand = args[position]
    # as_strided keeps dtype and pending conjugation; `view(dtype)`, `view_as_real` and `conj` change them.
    if output.dtype is not operand.dtype or output.is_conj() or output.is_neg():
        return None
    if operand.is_conj() or operand.is_neg():
        return None
    shape, stride = output.shape, output.stride()
    offset = output.storage_offset() - operand.storage_offset()

    def make(args: tuple[Any, ...], _: dict[str, Any] | None) -> Tensor:
        base: Tensor = args[position]
        return base.as_strided(shape, stride, base.storage_offset() + offset)

    return make


def _aliased(output: Tensor, operands: Any) -> bool:
    storage = storage_of(output)
    return any(storage_of(operand) == storage for operand in operands)
