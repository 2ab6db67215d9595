"""Frames of the call stack: which of them run a module's method, and what that was called with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from types import CodeType, FrameType

_OPTIMIZED = 0x3  # CO_OPTIMIZED | CO_NEWLOCALS: the locals of a function, not of a module or class body
_VARARGS, _VARKEYWORDS = 0x4, 0x8


def module_of_method(frame: FrameType) -> torch.nn.Module | None:
    """The `self` of a method of a module, whatever it is called, or None."""
    code = frame.f_code
    if not code.co_argcount or code in _of_no_module or code.co_flags & _OPTIMIZED != _OPTIMIZED:
        return None
    variables = frame.f_locals
    owner = variables.get(code.co_varnames[0])
    # Here and below, this function and the argument of getrefcount are the ones that hold it beside the frame.
    if sys.version_info < (3, 13) and sys.getrefcount(variables) <= _HELD_BY_US:
        variables.clear()
    if not issubclass(type(owner), torch.nn.Module):
        if issubclass(type(owner), torch.optim.Optimizer) or code.co_filename.startswith(_WITHOUT_MODULES):
            _of_no_module.add(code)
        return None
    # A function of a module is no method of it: a test that takes one, for example.
    return owner if code.co_varnames[0] == "self" or hasattr(type(owner), code.co_name) else None


_of_no_module: set[CodeType] = set()
"""Functions in which an optimizer is at work, which takes thousands of small steps: reading locals takes long."""
_TORCH = Path(torch.__file__).parent
_WITHOUT_MODULES = tuple(
    str(_TORCH / path) for path in ("optim", "utils/_contextlib.py", "_tensor.py", "autograd", "nn/functional.py")
)


def arguments_of(frame: FrameType) -> list[Any]:
    """What the arguments of the function are now, without the first, and without data sets."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    variables = frame.f_locals
    arguments = [variables.get(name) for name in code.co_varnames[1:count]]
    arguments = [value for value in arguments if not (isinstance(value, (list, tuple, dict)) and len(value) > _MANY)]
    if sys.version_info < (3, 13) and sys.getrefcount(variables) <= _HELD_BY_US:
        variables.clear()
    return arguments


_MANY = 1000
"""Entries of what no model is called with as a whole."""

# Before Python 3.13 reading f_locals leaves a copy of the locals in the frame, which would keep the tensors of a test
# alive. It is emptied again, unless somebody else asked for it, too.
_HELD_BY_US = 3
