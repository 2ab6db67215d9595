"""Indexing abstract tensors by real masks: a mask selects as many elements as it has ones, so it becomes indices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.abstract.errors import needs_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_modelbudget.profiling.internals import OpOverload

_GATHERS = frozenset({"aten::index", "aten::_unsafe_index"})
_SELECT = "aten::masked_select"
_MASKS = (torch.bool, torch.uint8)


def is_indexing(operator: OpOverload) -> bool:
    """Whether the operator reads by a list of indices, masks perhaps among them."""
    return operator._schema.name in _GATHERS


def has_masks(operator: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether the operator reads by masks."""
    if is_indexing(operator):
        return any(index is not None and index.dtype in _MASKS for index in args[1])
    return operator._schema.name == _SELECT


def with_integers(
    operator: OpOverload, args: tuple[Any, ...], is_abstract: Callable[[Tensor], bool]
) -> tuple[OpOverload, tuple[Any, ...]]:
    """The operator and its arguments with every real mask as the integers it stands for.

    Raises:
        DataDependentError: a mask is abstract.
    """
    if operator._schema.name == _SELECT:
        data, mask = torch.broadcast_tensors(args[0], args[1])
        operator, args = torch.ops.aten.index.Tensor, (data, [mask])
    indices: list[Tensor | None] = []
    for index in args[1]:
        if index is None or index.dtype not in _MASKS:
            indices.append(index)
        elif is_abstract(index):
            raise needs_data("boolean index", sys._getframe(1))
        else:
            indices.extend(index.nonzero().unbind(1))
    return operator, (args[0], indices)
