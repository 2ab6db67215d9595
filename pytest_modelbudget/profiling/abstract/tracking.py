"""Follows module calls in an abstract run, where no test is at work that could leave a call behind.

So the innermost open call is the one that is running, and no frame needs to be looked at.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.calls import CallTree, Entry, Work
from pytest_modelbudget.profiling.memory import Holding
from pytest_modelbudget.profiling.modules import ModuleTracker, is_hooked_backward
from pytest_modelbudget.profiling.shapes import shapes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from types import FrameType

    import torch

    from pytest_modelbudget.profiling.calls import ModuleNumbers

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
        frame = sys._getframe(1)
        if self.open and self.open[-1].returned is not None:
            self._settle(self.open, frame)
        if self.open and not self.paused:
            entry = self.open[-1]
            entry.work += works
            if made or transient:
                entry.made(made, operator, transient)
            if self._autograd and entry.returned is not None:
                self._mark_hook(self.open)
            return
        for work in works:
            self.book(work, frame)
        self.book(None, frame, made, operator, transient)

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """Twins hold as much as their originals, and no operator makes one."""
        self._holdings[number] = Holding(parameters, buffers, frozenset(), complete=True)

    def _hook_in(self, stack: ExitStack) -> None:
        # Nothing is compiled in a run, and nobody else is to be served: its own hooks need not ask.
        hooks = internals.GlobalHooks(*_hooks_of(self, self.open, self.numbers, self._trees, self._autograd))
        hooks.install()
        stack.callback(hooks.remove)

    def _is_live(self, stack: list[Entry], frame: FrameType) -> bool:  # noqa: ARG002
        """Whatever is open is running."""
        return bool(stack)

    def mark(self, entry: Entry) -> None:
        """Autograd nodes that are made from now on belong to this call."""
        self._mark_span(internals.autograd_sequence_number(), (entry.call, entry.path))


def _hooks_of(
    tracker: RunTracker,
    running: list[Entry],
    numbers: ModuleNumbers,
    trees: dict[tuple[Any, ...], CallTree],
    autograd: bool,
) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two hooks of a run: closures, since every attribute counts that is read at each call of a module."""
    thread = threading.get_ident()
    new_entry = Entry
    has_others = internals.has_other_forward_hooks

    def is_elsewhere() -> bool:
        return tracker.paused or _get_ident() != thread or _is_tracing()

    def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called."""
        if not running or running[-1].returned is not None or is_elsewhere():
            tracker.enter(module, args)
            return
        parent = running[-1]
        number = numbers[module]
        entry = new_entry(module, number, None, parent.call, (*parent.path, number))
        running.append(entry)
        if autograd:
            tracker.mark(entry)

    def leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
        """A module call has ended, normally or not; torch forgets the kwargs when it raised."""
        kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
        if (
            len(running) < 2
            or running[-1].module is not module
            or module._forward_hooks
            or has_others()
            or (autograd and is_hooked_backward(module))
            or tracker.paused
            or _get_ident() != thread
        ):
            tracker.leave(module, args, kwargs, output)
            return
        entry = running.pop()
        inputs = shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs))
        number, work, children, outputs = entry.number, (*entry.work,), (*entry.children,), shapes_of(output)
        # By id, which hashes faster: the tree holds its work, and equal work is the same object.
        key = (number, *map(id, work), children, inputs, outputs)
        tree = trees.get(key)
        if tree is None:
            tree = trees[key] = CallTree(number, work, children, inputs, outputs)
        parent = running[-1]
        parent.children.append(tree)
        if autograd:
            tracker.mark(parent)

    return enter, leave
