"""What is new in an operator's output: neither an operand nor a view of one. Told by storages, not by the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.operands import tensors

if TYPE_CHECKING:
    from collections.abc import Callable


def made_by(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> tuple[Tensor, ...]:
    """What is new in an output."""
    storages = set(map(storage_of, tensors(args, kwargs)))
    return tuple(tensor for tensor in tensors((output,), {}) if storage_of(tensor) not in storages)


def picker(output: Any, made: tuple[Tensor, ...]) -> Callable[[Any], tuple[Tensor, ...]] | None:
    """Picks from another such output what is new in it; None where nothing is."""
    if not made:
        return None
    if isinstance(output, Tensor):
        return _alone
    new = set(map(id, made))
    positions = [position for position, item in enumerate(output) if id(item) in new]
    return lambda output: tuple([output[position] for position in positions])


def can_pick(output: Any, made: tuple[Tensor, ...]) -> bool:
    """Whether `picker` finds all that is new: not what is in a list inside of a tuple."""
    return not made or isinstance(output, Tensor) or {*map(id, made)}.issubset(map(id, output))


def storage_of(tensor: Tensor) -> int:
    """Tells the storage of a tensor from others; a tensor of another layout stands for itself."""
    if tensor.layout is not torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


def _alone(output: Tensor) -> tuple[Tensor, ...]:
    return (output,)
