"""What an operator's answer depends on, as a key that can be looked up.

Read afresh for each operator. A signature kept with its tensor would be stale after `tensor.data = other`, which no
dispatch mode sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

Key = tuple[Any, ...]

_VALUES = frozenset({str, torch.dtype, torch.device, torch.layout, torch.memory_format})
# 1 == 1.0 == True, but they promote differently.
_SCALARS = frozenset({float, bool, complex})
_INTEGERS = {int}
NoneType = type(None)


class _NoKeyError(Exception):
    """An argument that cannot be part of a key: nan, a symbol, a generator, a packed weight, another kind of tensor."""


def signature(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    level: bool = False,
    tainted: Container[int] = frozenset(),
) -> Key | None:
    """The key of an operator with its arguments, or None if its answer must not be remembered.

    Tensors are told by shape, strides and dtype, and by what else their operators look at: whether they are real,
    require grad (C++ `matmul` folds differently), are conjugated, or are the same one (`x * x` reads it once). Every
    argument is a prefix code, so that two different lists of arguments never look alike. What was learned at one
    `level` does not hold at another, and operators on `tainted` storages are not remembered.
    """
    key: list[Any] = [func, level, torch.get_default_dtype()]
    try:
        seen: dict[int, int] = {}
        _extend(key.append, args, tainted, seen)
        if kwargs:
            for name, value in kwargs.items():
                key.append(name)
                _extend(key.append, (value,), tainted, seen)
    except (_NoKeyError, RuntimeError):  # RuntimeError: sparse and nested tensors have no strides
        return None
    return tuple(key)


def _extend(add: Callable[[Any], None], values: Iterable[Any], tainted: Container[int], seen: dict[int, int]) -> None:
    # The hottest lines of the package: ordered by frequency.
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            if not value.is_meta:
                if tainted and value.untyped_storage()._cdata in tainted:
                    raise _NoKeyError
                # A real parameter was reached past its module; its twin will stand in for it.
                add(kind)
            add(value.shape)
            add(value.stride())
            dtype = value.dtype
            add(dtype)
            add(value.requires_grad)
            add(seen.setdefault(id(value), len(seen)))
            if dtype.is_complex:
                add(value.is_conj())
        elif kind is int or kind is NoneType:
            add(value)
        elif kind is list or kind is tuple:
            if set(map(type, value)) == _INTEGERS:
                add(tuple(value))
            else:
                add(len(value))
                _extend(add, value, tainted, seen)
        elif kind in _SCALARS:
            if value != value:  # nan is never found again
                raise _NoKeyError
            add(kind)
            add(value)
        elif kind in _VALUES:
            add(value)
        else:
            raise _NoKeyError
