"""Follows module calls in an abstract run, where no test is at work that could leave a call behind.

So the innermost open call is the one that is running, and no frame needs to be looked at. Where autograd does not
record either, nothing has to be known before the run is over: what happens is only noted, in a `Log`, and sorted into
calls when somebody asks for them, or when a thing happens that is not as simple as that.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.abstract.log import Did, Entered, Log
from pytest_modelbudget.profiling.calls import Entry, Work
from pytest_modelbudget.profiling.memory import Account, Holding, Storage
from pytest_modelbudget.profiling.modules import ModuleTracker, note_inputs
from pytest_modelbudget.profiling.shapes import shapes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from types import FrameType

    import torch

    from pytest_modelbudget.profiling.abstract.log import Event
    from pytest_modelbudget.profiling.calls import Call

_get_ident = threading.get_ident
_is_tracing = internals.is_tracing


class Story(NamedTuple):
    """What happened in a run of one call.

    Attributes:
        call: the number of the module that was called, what with, and what was alive as it was.
        events: the log, comparable.
    """

    call: tuple[Any, ...]
    events: list[Any]


class RunTracker(ModuleTracker):
    """A `ModuleTracker` for the models that this package calls itself.

    Args:
        autograd: whether autograd records, so that what belongs to which module must be known in the backward pass.
    """

    def __init__(self, *, autograd: bool) -> None:
        super().__init__()
        self._autograd = autograd
        self._open: list[Entry] = self._stacks[self._thread]
        """The calls that had not returned when the log was last read, innermost last."""
        self.log = Log()
        self.logged: list[torch.nn.Module] = []
        """The modules whose calls have not returned, innermost last; none while nothing may be logged."""
        self._is_told = True
        """Whether all that has happened since the first call began is in the log."""
        self._entered: dict[int, Entered] = {}
        self._began: list[tuple[Call, tuple[int, ...], tuple[Storage, ...]]] = []
        """The outermost calls, and the memory that was alive as they began."""

    def _account(self) -> Account:
        return Account() if self._autograd else Account(self.log.append)

    def book_running(
        self, works: tuple[Work, ...], made: tuple[torch.Tensor, ...], operator: str, transient: int
    ) -> None:
        """As `book`, for what the innermost open call does."""
        if self.logged and not self.paused:
            self.log.did(operator, works, made, transient, self._open[0].call.memory)
            return
        if not self._autograd:
            self.read()
        frame = sys._getframe(1)
        if self._open and self._open[-1].returned is not None:
            self._settle(self._open, frame)
        if self._open and not self.paused:
            entry = self._open[-1]
            entry.work += works
            if made or transient:
                entry.made(made, operator, transient)
            if self._autograd and entry.returned is not None:
                self._mark_hook(self._open)
            return
        for work in works:
            self.book(work, frame)
        self.book(None, frame, made, operator, transient)

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """Twins hold as much as their originals, and no operator makes one."""
        self._holdings[number] = Holding(parameters, buffers, frozenset(), complete=True)

    def _hook_in(self, stack: ExitStack) -> None:
        # Nothing is compiled in a run, and nobody else is to be served: its own hooks need not ask.
        hooks = internals.GlobalHooks(*(_prompt_hooks(self) if self._autograd else _logging_hooks(self)))
        hooks.install()
        stack.callback(hooks.remove)

    def _is_live(self, stack: list[Entry], frame: FrameType) -> bool:  # noqa: ARG002
        """Whatever is open is running."""
        return bool(stack)

    def _begin(
        self, module: torch.nn.Module, number: int, node: Any, frame: FrameType, args: tuple[Any, ...]
    ) -> tuple[Call, Path]:
        call, path = super()._begin(module, number, node, frame, args)
        self._began.append((call, *call.memory.alive()))
        return call, path

    def _close_all(self) -> None:
        if self.logged or not self._is_told:  # else the log tells the whole story, and may be read later
            self.read()
            super()._close_all()

    # -- the log ------------------------------------------------------------------------------------------------

    def entered(self, module: torch.nn.Module) -> Entered:
        """What is logged when a module is called; made once."""
        event = self._entered.get(id(module))
        if event is None or self.numbers.module(event.number) is not module:  # an id is used again once it is gone
            event = self._entered[id(module)] = Entered(self.numbers[module])
        return event

    def returned(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The outermost call is over."""
        entry = self._open[0]
        note_inputs(entry.call, args, kwargs)
        entry.frame = None  # it would keep what the module returned

    def watch(self) -> None:
        """Log what happens from now on, if that may be done."""
        simple = not self._autograd and all(entry.returned is None for entry in self._open)
        self.logged[:] = [entry.module for entry in self._open if entry.module is not None] if simple else []

    def read(self) -> None:
        """Sort what has been logged into calls."""
        if self._began:
            self._is_told = False
        if self.log.events:
            self._replay(self.log.taken())

    def story(self) -> Story | None:
        """All that has happened, to be compared with that of another run; None if the log does not hold all of it."""
        is_told = self._is_told and not (self._autograd or self.logged or self.outside or self.unseen)
        if not is_told or len(self._began) != 1:
            return None
        call, alive, inputs = self._began[0]
        return Story((call.module, call.inputs, call.batch, call.device, alive), self.log.comparable(inputs))

    def remaining(self) -> list[str]:
        """The operators that made what has no data and is still there."""
        return [
            *self.log.remaining(),
            *(operator for call in self.calls for operator in call.memory.remaining()),
        ]

    def _replay(self, events: Iterable[Event]) -> None:
        stack, modules = self._open, self.numbers
        following = iter(events)
        for event in following:
            kind = type(event)
            if kind is Did:
                operator, works, sizes, transient = event
                entry = stack[-1]
                entry.work += works
                if sizes or transient:
                    made = zip(sizes, following, strict=False)
                    entry.call.memory.born(made, (entry.path, operator), entry.is_recomputed, transient)
            elif kind is Storage:
                event.account.died(event.facts)
            elif kind is Entered:
                parent = stack[-1]
                module = modules.module(event.number)
                stack.append(Entry(module, event.number, None, parent.call, (*parent.path, event.number)))
            else:
                self._close(stack, *event)


def _prompt_hooks(tracker: RunTracker) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two hooks of a run in which autograd records."""

    def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        tracker.enter(module, args)

    def leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
        if rest:
            tracker.leave(module, args, kwargs_or_output, rest[0])
        else:
            tracker.leave(module, args, {}, kwargs_or_output)

    return enter, leave


def _logging_hooks(tracker: RunTracker) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two hooks of a run without: closures, since every attribute counts that is read at each call of a module."""
    thread = threading.get_ident()
    running, log, entered = tracker.logged, tracker.log.append, tracker.entered
    has_others = internals.has_other_forward_hooks

    def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called."""
        if not running or tracker.paused or _get_ident() != thread or _is_tracing():
            if _get_ident() != thread:
                tracker.enter(module, args)
                return
            tracker.read()
            tracker.enter(module, args)
            tracker.watch()
            return
        running.append(module)
        log(entered(module))

    def leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
        """A module call has ended, normally or not; torch forgets the kwargs when it raised."""
        kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
        if (
            not running
            or running[-1] is not module
            or module._forward_hooks
            or has_others()
            or tracker.paused
            or _get_ident() != thread
        ):
            if _get_ident() != thread:
                tracker.leave(module, args, kwargs, output)
                return
            tracker.read()
            tracker.leave(module, args, kwargs, output)
            tracker.watch()
            return
        if len(running) == 1:
            tracker.returned(args, kwargs)
        running.pop()
        log((shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs)), shapes_of(output)))

    return enter, leave
