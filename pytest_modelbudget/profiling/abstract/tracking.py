"""Follows module calls in an abstract run, where no test is at work that could leave a call behind.

So the innermost open call is the one that is running, and no frame needs to be looked at.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.modules import CallTree, Entry, ModuleTracker, Work, shapes_of

if TYPE_CHECKING:
    import torch

_get_ident = threading.get_ident
_is_tracing = internals.is_tracing


class RunTracker(ModuleTracker):
    """A `ModuleTracker` for the models that this package calls itself.

    Args:
        autograd: whether autograd records, so that what belongs to which module must be known in the backward pass.
    """

    def __init__(self, *, autograd: bool) -> None:
        super().__init__()
        self._autograd = autograd
        self.open: list[Entry] = self._stacks[self._thread]
        """The calls that have not returned, innermost last."""

    def book_running(
        self, works: tuple[Work, ...], made: tuple[torch.Tensor, ...], operator: str, transient: int
    ) -> None:
        """As `book`, for what the innermost open call does."""
        if self.open and not self.paused:
            entry = self.open[-1]
            entry.work += works
            if made:
                entry.made(made, operator, transient)
            return
        frame = sys._getframe(1)
        for work in works:
            self.book(work, frame)
        self.book(None, frame, made, operator, transient)

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...], depth: int = 2) -> None:
        """A module is being called."""
        if not self.open or self.paused or _get_ident() != self._thread or _is_tracing():
            super().enter(module, args, depth + 1)
            return
        parent = self.open[-1]
        number = self.numbers[module]
        call, path = parent.call, (*parent.path, number)
        self.open.append(Entry(module, number, None, call, path))
        if self._autograd:
            self._mark_span(internals.autograd_sequence_number(), (call, path))

    def leave(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A module call has ended, normally or not; `output` is None when it raised."""
        stack = self.open
        if len(stack) < 2 or stack[-1].module is not module or self.paused or _get_ident() != self._thread:
            super().leave(module, args, kwargs, output)
            return
        entry = stack.pop()
        inputs = shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs))
        key = (entry.number, tuple(entry.work), tuple(entry.children), inputs, shapes_of(output))
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = CallTree(*key)
        parent = stack[-1]
        parent.children.append(tree)
        if self._autograd:
            self._mark_span(internals.autograd_sequence_number(), (parent.call, parent.path))
