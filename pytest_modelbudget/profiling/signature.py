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
    from collections.abc import Callable, Container, Hashable, Iterable

Key = tuple[Any, ...]

_VALUES = frozenset({str, torch.dtype, torch.device, torch.layout, torch.memory_format})
# 1 == 1.0 == True, but they promote differently.
_SCALARS = frozenset({float, bool, complex})
_COMPLEX = frozenset({torch.complex32, torch.complex64, torch.complex128})
_SAME = object()
_STRIDED = torch.strided
NoneType = type(None)


class _NoKeyError(Exception):
    """An argument that cannot be part of a key: nan, a symbol, a generator, a packed weight, another kind of tensor."""


def signature(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    level: Hashable = False,
    tainted: Container[int] = frozenset(),
    *,
    operands: list[Tensor] | None = None,
    _default_dtype: Callable[[], torch.dtype] = torch.get_default_dtype,
) -> Key | None:
    """The key of an operator with its arguments, or None if its answer must not be remembered.

    Tensors are told by shape, strides and dtype, and by what else their operators look at: whether they are real,
    require grad (C++ `matmul` folds differently), are conjugated, or are the same one (`x * x` reads it once). Every
    argument is a prefix code, so that two different lists of arguments never look alike. What was learned at one
    `level` does not hold at another, and operators on `tainted` storages are not remembered. The tensors are appended
    to `operands`, all of them where there is a key.
    """
    # Hashing an operator runs Python. Its id is good as long as the answer keeps it.
    key: list[Any] = [id(func), level, _default_dtype()]
    if operands is None:
        operands = []
    try:
        _extend(key, args, tainted, operands)
        if kwargs:
            for name, value in kwargs.items():
                key.append(name)
                _extend(key, (value,), tainted, operands)
    except (_NoKeyError, RuntimeError):  # RuntimeError: nested tensors have no strides
        return None
    if len(operands) > 1 and len({*map(id, operands)}) < len(operands):
        numbers = [*map(id, operands)]
        key += (_SAME, *map(numbers.index, numbers))
    return tuple(key)


def _extend(key: list[Any], values: Iterable[Any], tainted: Container[int], operands: list[Tensor]) -> None:
    # The hottest lines of the package: ordered by frequency.
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            if not value.is_meta:
                # What others do depends on how many elements they store; some have strides all the same.
                if value.layout is not _STRIDED or (tainted and value.untyped_storage()._cdata in tainted):
                    raise _NoKeyError
                # A real parameter was reached past its module; its twin will stand in for it.
                key.append(kind)
            dtype = value.dtype
            key += (value.shape, value.stride(), dtype, value.requires_grad)
            operands.append(value)
            if dtype in _COMPLEX:
                key.append(value.is_conj())
        elif kind is int or kind is NoneType:
            key.append(value)
        elif kind is list or kind is tuple:
            # A schema's list holds numbers of one kind: the dispatcher has converted them.
            if value and type(value[0]) is int:
                key.append((*value,))
            else:
                key.append(len(value))
                _extend(key, value, tainted, operands)
        elif kind in _SCALARS:
            if value != value:  # nan is never found again
                raise _NoKeyError
            key += (kind, value)
        elif kind in _VALUES:
            key.append(value)
        else:
            raise _NoKeyError
