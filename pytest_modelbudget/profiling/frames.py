"""Frames of the call stack: which of them run a module's method, and what that was called with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import TestCase

import torch

if TYPE_CHECKING:
    from types import CodeType, FrameType

_OPTIMIZED = 0x3  # CO_OPTIMIZED | CO_NEWLOCALS: the locals of a function, not of a module or class body
_VARARGS, _VARKEYWORDS = 0x4, 0x8


def innermost_method(frame: FrameType | None, base: FrameType | None) -> tuple[FrameType, torch.nn.Module] | None:
    """The first frame, from `frame` up to `base` without it, that runs a module's method, and that module."""
    while frame is not None and frame is not base:
        known = _known.get(id(frame.f_code))
        if known is None or known[0]:
            module = module_of_method(frame)
            if module is not None:
                return frame, module
        frame = frame.f_back
    return None


def module_of_method(frame: FrameType) -> torch.nn.Module | None:
    """The `self` of a method of a module, whatever it is called, or None."""
    code = frame.f_code
    known = _known.get(id(code))
    if not (_note(code, may_be_method=_may_be_method(code)) if known is None else known[0]):
        return None
    variables = frame.f_locals
    owner = variables.get(code.co_varnames[0])
    # Here and below, this function and the argument of getrefcount are the ones that hold it beside the frame.
    if sys.version_info < (3, 13) and sys.getrefcount(variables) <= _HELD_BY_US:
        variables.clear()
    if not issubclass(type(owner), torch.nn.Module):
        if issubclass(type(owner), (torch.optim.Optimizer, TestCase)):
            _note(code, may_be_method=False)
        return None
    # A function of a module is no method of it: a test that takes one, for example.
    return owner if code.co_varnames[0] == "self" or hasattr(type(owner), code.co_name) else None


_known: dict[int, tuple[bool, CodeType]] = {}
"""Whether code may be that of a module's method, by its id, which is quicker than its hash.

Reading the locals of a frame takes long, and what calls tests, and optimizers, is at work around thousands of small
steps.
"""
_TORCH = Path(torch.__file__).parent
_WITHOUT_MODULES = tuple(
    str(_TORCH / path) for path in ("optim", "utils/_contextlib.py", "_tensor.py", "autograd", "nn/functional.py")
)
_RUNNERS = ("_pytest", "pluggy", "hypothesis", "unittest", "contextlib", "functools")
"""Packages and modules that call what tests are made of, and define no module."""


def _note(code: CodeType, *, may_be_method: bool) -> bool:
    if len(_known) >= _MANY_FUNCTIONS:  # some are made anew for each call
        _known.clear()
    _known[id(code)] = may_be_method, code
    return may_be_method


_MANY_FUNCTIONS = 1 << 14


def _may_be_method(code: CodeType) -> bool:
    if not code.co_argcount or code.co_flags & _OPTIMIZED != _OPTIMIZED:
        return False
    return not code.co_filename.startswith((*_WITHOUT_MODULES, *filter(None, map(_place_of, _RUNNERS))))


def _place_of(name: str) -> str:
    """The file of a module, or the folder of a package; empty where it is not imported."""
    module = sys.modules.get(name)
    paths = getattr(module, "__path__", None)
    return os.path.join(next(iter(paths)), "") if paths else getattr(module, "__file__", None) or ""


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
