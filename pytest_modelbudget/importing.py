"""Importing where a test has blocked it, to see what its code does without torch."""

from __future__ import annotations

import builtins
import sys
from typing import Any

_NEEDED = ("torch", "pytest_modelbudget")
_TELLING = (*_NEEDED, "torch._dynamo")
"""Who hides a package hides one of these."""


class Imports:
    """How importing works before the body of a test, which may change that until its teardown."""

    def __init__(self) -> None:
        self._import = builtins.__import__
        self._modules = sys.modules.copy()
        self._patch: Any = None
        self._hidden: dict[str, Any] = {}

    def restore(self) -> None:
        """Have it work so again: torch itself imports, as what was observed is left and as models are run again."""
        if builtins.__import__ is not self._import:
            self._patch, builtins.__import__ = builtins.__import__, self._import
        if any(sys.modules.get(name) is not self._modules[name] for name in _TELLING if name in self._modules):
            for name, module in self._modules.items():
                if name.partition(".")[0] in _NEEDED and sys.modules.get(name) is not module:
                    self._hidden[name] = sys.modules.get(name, self)
                    sys.modules[name] = module

    def put_back(self) -> None:
        """Have it work as the test has left it."""
        if self._patch is not None:
            builtins.__import__ = self._patch
        for name, module in self._hidden.items():
            if module is self:  # a mark: there was none
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
