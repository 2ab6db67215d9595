"""Follows module calls in an abstract run, where no test is at work that could leave a call behind.

So the innermost open call is the one that is running, and no frame needs to be looked at.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.memory import Holding
from pytest_modelbudget.profiling.modules import CallTree, Entry, ModuleTracker, Work, shapes_of

if TYPE_CHECKING:
    from contextlib import ExitStack

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

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """Twins hold as much as their originals, and no operator makes one."""
        self._holdings[number] = Holding(parameters, buffers, frozenset(), complete=True)

    def _hook_in(self, stack: ExitStack) -> None:
        # Nothing is compiled in a run, and nobody else is to be served: its own hooks need not ask.
        hooks = internals.GlobalHooks(self._enter, self._leave)
        hooks.install()
        stack.callback(hooks.remove)

    def _enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called."""
        if not self.open or self.paused or _get_ident() != self._thread or _is_tracing():
            self.enter(module, args)
            return
        parent = self.open[-1]
        number = self.numbers[module]
        call, path = parent.call, (*parent.path, number)
        self.open.append(Entry(module, number, None, call, path))
        if self._autograd:
            self._mark_span(internals.autograd_sequence_number(), (call, path))

    def _leave(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
        """A module call has ended, normally or not; torch forgets the kwargs when it raised."""
        kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
        stack = self.open
        if len(stack) < 2 or stack[-1].module is not module or self.paused or _get_ident() != self._thread:
            self.leave(module, args, kwargs, output)
            return
        entry = stack.pop()
        inputs = shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs))
        number, work, children, outputs = entry.number, (*entry.work,), (*entry.children,), shapes_of(output)
        # By id, which hashes faster: the tree holds its work, and equal work is the same object.
        key = (number, *map(id, work), children, inputs, outputs)
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = CallTree(number, work, children, inputs, outputs)
        parent = stack[-1]
        parent.children.append(tree)
        if self._autograd:
            self._mark_span(internals.autograd_sequence_number(), (parent.call, parent.path))
