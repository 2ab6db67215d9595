"""Follows module calls in an abstract run, where no test is at work that could leave a call behind.

So the innermost open call is the one that is running, and no frame needs to be looked at. Where autograd does not
record either, nothing has to be known before the run is over: what happens is only noted, in a `Log`, and sorted into
calls when somebody asks for them, or when a thing happens that is not as simple as that.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Size, Tensor

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.abstract.log import Did, Entered, Found, Log, Resized
from pytest_modelbudget.profiling.calls import Entry
from pytest_modelbudget.profiling.memory import Storage
from pytest_modelbudget.profiling.modules import ModuleTracker
from pytest_modelbudget.profiling.shapes import shapes_of
from pytest_modelbudget.profiling.storages import Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from types import FrameType

    import torch

    from pytest_modelbudget.profiling.calls import Call, Path, Work

    Hooks = tuple[Callable[..., None], Callable[..., None]]


class Story(NamedTuple):
    """What happened in a run of one call.

    Attributes:
        call: the number of the module that was called, what with, and what was alive as it was.
        events: the log, comparable.
    """

    call: tuple[Any, ...]
    events: list[Any]


class RunTracker(ModuleTracker):
    """A `ModuleTracker` for the models that this package calls itself."""

    marks_nodes = True
    """Whether what belongs to which module must be known in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[Entry] = self._stacks[self._thread]
        """The calls that have not returned, innermost last."""
        self.log = Log()
        self.logged: list[torch.nn.Module] = []
        """The modules whose calls have not returned, innermost last; none where nothing may be logged."""

    def book_running(
        self, works: tuple[Work, ...], made: tuple[torch.Tensor, ...], operator: str, transient: int
    ) -> None:
        """As `book`, for what the innermost open call does."""
        frame = sys._getframe(1)
        if self._open and self._open[-1].returned is not None:
            self._settle(self._open, frame)
        if self._open and not self.paused:
            entry = self._open[-1]
            entry.work += works
            if made or transient:
                entry.made(made, operator, transient)
            if self.marks_nodes and entry.returned is not None:
                self._mark_hook(self._open)
            return
        for work in works:
            self.book(work, frame)
        self.book(None, frame, made, operator, transient)

    @property
    def innermost(self) -> torch.nn.Module | None:
        """The innermost module that runs."""
        if self.logged:
            return self.logged[-1]
        return self._open[-1].module if self._open else None

    def knows(self, tensor: torch.Tensor) -> bool:  # noqa: ARG002
        """Whether it need not be told that a tensor is read: accounts look that up themselves."""
        return False

    def book_reading(self, tensor: torch.Tensor) -> None:
        """An operator of the innermost open call reads what neither is a twin nor, perhaps, known otherwise."""
        if self._open and not self.paused:
            self._open[-1].call.memory.read((tensor,))

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """Twins hold as much as their originals, and no operator makes one."""
        self._holdings[number] = self.edition, Holding(parameters, buffers, frozenset(), complete=True)

    def book_resizing(self, tensor: torch.Tensor) -> None:
        """An operator of the innermost open call has resized a tensor."""
        self.book_reading(tensor)

    def _holds_now(self, number: int) -> Holding:
        return self._holdings[number][1]  # of the originals, whatever the run sets in twins

    def _join(self, call: Call, module: torch.nn.Module, inputs: list[torch.Tensor]) -> None:
        """Each call has a backward pass of its own, before the next begins."""

    def _follow_up(self, call: Call) -> None:
        """What is called is what is asked about."""

    def read(self) -> None:
        """See that all that has happened is sorted into calls."""

    def story(self) -> Story | None:
        """All that has happened, to be compared with that of another run; None if it cannot be."""
        return None

    def remaining(self) -> list[str]:
        """The operators that made what has no data and is still there."""
        return [operator for call in self.calls for operator in call.memory.remaining()]

    def _hook_in(self, stack: ExitStack) -> None:
        # Nothing is compiled in a run, and nobody else is to be served: its own hooks need not ask.
        hooks = internals.GlobalHooks(*self._hooks())
        hooks.install()
        stack.callback(hooks.remove)

    def _hooks(self) -> Hooks:
        def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            self.enter(module, args)

        def leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
            kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
            self.leave(module, args, kwargs, output)

        return enter, leave

    def _is_live(self, stack: list[Entry], frame: FrameType) -> bool:  # noqa: ARG002
        """Whatever is open is running."""
        return bool(stack)


class LoggingTracker(RunTracker):
    """A `RunTracker` for where autograd does not record: it logs what happens, and sorts it when it is asked to."""

    marks_nodes = False

    def __init__(self) -> None:
        super().__init__()
        self._on_death = self.log.append
        self._is_told = True
        """Whether all that has happened since the first call began is in the log."""
        self._began: list[tuple[Call, tuple[int, ...], tuple[Storage, ...]]] = []
        """The outermost calls, and the memory that was alive as they began."""

    def book_running(
        self, works: tuple[Work, ...], made: tuple[torch.Tensor, ...], operator: str, transient: int
    ) -> None:
        """As `book`, for what the innermost open call does."""
        if self.logged and not self.paused:
            self.log.did(operator, works, made, transient, self._open[0].call.memory)
        else:
            self.read()
            super().book_running(works, made, operator, transient)

    def knows(self, tensor: torch.Tensor) -> bool:
        """As of any run; the log, which is read later, has no second look."""
        return bool(self.logged) and not self.paused and self.log.knows(tensor, self._open[0].call.memory)

    def book_reading(self, tensor: torch.Tensor) -> None:
        """As of any run."""
        if self.logged and not self.paused:
            self.log.read(tensor)
        else:
            self.read()
            super().book_reading(tensor)

    def book_resizing(self, tensor: torch.Tensor) -> None:
        """As of any run."""
        if self.logged and not self.paused:
            self.log.resized(tensor)
        else:
            self.read()
            super().book_reading(tensor)

    def returned(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The outermost call is over."""
        entry = self._open[0]
        entry.call.note_inputs((args, kwargs))
        entry.frame = None  # it would keep what the module returned

    def watch(self) -> None:
        """Log what happens from now on, if that may be done."""
        modules = [entry.module for entry in self._open if entry.module is not None]
        is_simple = len(modules) == len(self._open) and not (modules and self._open[0].call.memory.around)
        self.logged[:] = modules if is_simple else []  # else a hook after a call is running, or a method around it

    def read(self) -> None:
        """Sort what has been logged into calls."""
        if self._began:
            self._is_told = False
        if self.log.events:
            self._replay(self.log.taken())

    def story(self) -> Story | None:
        """All that has happened, to be compared with that of another run; None if the log does not hold all of it."""
        if not self._is_told or len(self._began) != 1 or self.logged or self.outside or self.unseen:
            return None
        call, alive, inputs = self._began[0]
        return Story((call.module, call.inputs, call.batch, call.device, alive), self.log.comparable(inputs))

    def remaining(self) -> list[str]:
        """The operators that made what has no data and is still there."""
        return [*self.log.remaining(), *super().remaining()]

    def _hooks(self) -> Hooks:
        return _logging_hooks(self)

    def _gradients(self, module: torch.nn.Module) -> Iterable[torch.Tensor]:  # noqa: ARG002
        return ()  # of twins

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

    def _replay(self, events: Iterable[Any]) -> None:
        stack = self._open
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
            elif kind is Found:
                storage = next(following)
                stack[-1].call.memory.found(storage, id(storage), event.size)
            elif kind is Resized:
                storage = next(following)
                storage.account.resized(storage, event.size)
            elif kind is Entered:
                number, parent = event.number, stack[-1]
                module = self.numbers.module(number)
                stack.append(Entry(module, number, None, parent.call, (*parent.path, number)))
            else:
                inputs, outputs = (((*shape,),) if type(shape) is Size else shape for shape in event)
                self._close(stack, inputs, outputs)


def _logging_hooks(
    tracker: LoggingTracker,
    *,
    _ident: Callable[[], int] = threading.get_ident,
    _is_tracing: Callable[[], bool] = internals.is_tracing,
    _has_others: Callable[[], bool] = internals.has_other_forward_hooks,
) -> Hooks:
    """Closures, since every attribute counts that is read at each call of a module."""
    thread = threading.get_ident()
    running, log, numbers = tracker.logged, tracker.log.append, tracker.numbers
    entered: list[Entered] = []

    def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called."""
        if running and not tracker.paused and _ident() == thread and not _is_tracing():
            running.append(module)
            number = numbers[module]
            while number >= len(entered):
                entered.append(Entered(len(entered)))
            log(entered[number])
        elif _ident() != thread:
            tracker.enter(module, args)
        else:
            tracker.read()
            tracker.enter(module, args)
            tracker.watch()

    def leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
        """A module call has ended, normally or not; torch forgets the kwargs when it raised."""
        kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
        if (
            running
            and running[-1] is module
            and not module._forward_hooks
            and not _has_others()
            and not tracker.paused
            and _ident() == thread
        ):
            if len(running) == 1:
                tracker.returned(args, kwargs)
            running.pop()
            given = args[0] if len(args) == 1 and not kwargs else (args, kwargs)
            # By far the most frequent: one tensor each.
            if type(given) is type(output) is Tensor and not (given.is_nested or output.is_nested):
                log((given.shape, output.shape))
            else:
                log((shapes_of(given), shapes_of(output)))
        elif _ident() != thread:
            tracker.leave(module, args, kwargs, output)
        else:
            tracker.read()
            tracker.leave(module, args, kwargs, output)
            tracker.watch()

    return enter, leave
