"""The tensors in what a module is given or returns, and their shapes."""

from __future__ import annotations

from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_modelbudget.profiling.profile import Shape

_DEPTH = 12  # of nested containers; a structure that contains itself has no end


def tensors_of(value: Any, depth: int = _DEPTH) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, dicts and dataclasses, depth first."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth:
        for item in _items_of(value) or ():
            yield from tensors_of(item, depth - 1)


def tensors_within(value: Any, depth: int = _DEPTH) -> Iterator[torch.Tensor]:
    """As `tensors_of`, and those that other objects hold, such as a cache of keys and values."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth:
        items = _items_of(value)
        if items is None and not isinstance(value, (torch.nn.Module, type, ModuleType, FunctionType, MethodType)):
            items = getattr(value, "__dict__", {}).values()
        for item in list(items or ()):
            if type(item) not in _ATOMS:
                yield from tensors_within(item, depth - 1)


def _items_of(value: Any) -> Iterable[Any] | None:
    """What a container holds; None of what is none."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (tuple, list)):
        return value
    if hasattr(type(value), "__dataclass_fields__"):
        return (getattr(value, name, None) for name in type(value).__dataclass_fields__)
    return None


_ATOMS = (int, float, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def shape_of(tensor: torch.Tensor) -> Shape:
    """The shape of a tensor; -1 where the sizes of a nested one differ."""
    if tensor.is_nested and tensor.layout is torch.strided:
        sizes = tensor._nested_tensor_size()  # one row for each of the tensors in it
        return (len(sizes), *(int(column[0]) if (column == column[0]).all() else -1 for column in sizes.T))
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)


def shapes_of(value: Any) -> tuple[Shape, ...]:
    """The shapes of the tensors in a nested value, depth first."""
    if type(value) is torch.Tensor and not value.is_nested:  # by far the most frequent output
        return (tuple(value.shape),)
    return tuple(shape_of(tensor) for tensor in tensors_of(value))
