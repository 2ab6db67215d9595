"""What was meant by a call of a model that failed: read from the error, and from what the call was given."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling.shapes import tensors_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

_INTEGERS_WANTED = (
    "'indices' to have one of the following scalar types: Long",
    "tensors used as indices must be long",
    "applicable to index tensor",
    "expected scalar type Long",
)


def integers_meant(error: BaseException, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """The tensor as it was probably meant, `1,128:int64`, where a model wants token numbers and got floats; or `""`."""
    if not any(part in str(error) for part in _INTEGERS_WANTED):
        return ""
    floats = (tensor for tensor in tensors_of((args, kwargs)) if tensor.is_floating_point())
    tensor = next(floats, None)
    return "" if tensor is None else f"{','.join(map(str, tensor.shape))}:int64"


def shape_given(args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The shape that stands where a tensor was to be, as a tuple or one number after the other.

    Beside tensors, numbers are what they are.
    """
    if next(tensors_of((tuple(args), dict(kwargs))), None) is not None:
        return None
    args = tuple(args)
    for value in (args, *args, *kwargs.values()):
        if isinstance(value, (tuple, list)) and len(value) > 1 and all(type(size) is int for size in value):
            return tuple(value)
    return None


def check_arguments(function: str, kwargs: object) -> None:
    """Raise TypeError where arguments stand in the wrong place.

    `function`: as the user calls it.
    """
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(
            f"{function}(): kwargs is no dict but a {type(kwargs).__name__}: several positional arguments go into a "
            f"tuple, {function}(model, (x, y))"
        )


def explained(function: str, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Why a call may have failed that was given something else than tensors; or `""`."""
    for text in (*args, *kwargs.values()):
        if isinstance(text, str) and re.fullmatch(r"[\d, x]+(:\w+)?", text):
            return f"{function}() takes tensors, and {text!r} is none: such text is for inputs= of a limit"
    if shape := shape_given(args, kwargs):
        return f"{function}() takes tensors, and {shape} is a shape: write torch.empty{shape}"
    if len(args) == 1 and not kwargs and isinstance(args[0], dict) and args[0].keys() <= _names_of(model):
        return f"{function}() was given a dict as the only positional argument: named arguments go into kwargs={{...}}"
    return ""


def _names_of(model: nn.Module) -> set[str]:
    try:
        return set(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):  # of a script there is none
        return set()


_NO_FAKE = (
    re.compile(r"no fake impl registered for <CustomOpDef\(([\w:.]+)\)>"),
    re.compile(r"Could not run '([\w:.]+)' with arguments from the 'Meta' backend"),
    re.compile(r"([\w]+::[\w.]+): attempted to run this operator with Meta tensors"),
)


def operator_without_fake(error: BaseException) -> str:
    """The name of the operator of which nobody has said what it returns without data; or `""`."""
    for pattern in _NO_FAKE:
        found = pattern.search(str(error))
        if found and not found[1].startswith("aten::"):  # PyTorch's own are for nobody else to complete
            return found[1]
    return ""
