"""Which module is running: follows module calls by two global hooks and keeps what ran as trees.

Hooks on single modules would switch off PyTorch's fused paths, a patched `__call__` would outlive a crash, so two
global hooks it is. They do not see everything: exit hooks do not run for BaseException, a custom `__call__` fires
none, a generator works after its exit hook. So an entry is believed only as long as its frame is on the call stack.
"""

from __future__ import annotations

import sys
import threading
import weakref
from bisect import bisect_right
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.compiler import is_compiling

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.memory import Account, Holding, holding_of
from pytest_modelbudget.profiling.parameters import parameters_of
from pytest_modelbudget.profiling.traffic import NO_TRAFFIC, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from pytest_modelbudget.profiling.costs import Cost
    from pytest_modelbudget.profiling.profile import Shape

Path = tuple[int, ...]
"""A chain of module numbers, from the outermost module called to the innermost."""


class Work(NamedTuple):
    """What one operator did. Interned by the recorder: equal work is the same object."""

    operator: str
    cost: Cost | None
    """None: unknown."""
    traffic: Traffic = NO_TRAFFIC


@dataclass(eq=False, slots=True)  # a frozen one takes three times as long to make
class CallTree:
    """One finished call of a module. Interned: equal calls are the same object, so loops cost no memory."""

    module: int
    work: tuple[Work, ...]
    children: tuple[CallTree, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    def walk(self) -> Iterator[CallTree]:
        """This call and every call below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(eq=False)
class Call:
    """A call from outside every other module call, and what it was called with.

    Attributes:
        tree: what ran; `selves`: modules whose methods were on the call stack around it, innermost first.
        inputs: shapes of all input tensors; `batch`: dimension 0 of the first one; `device`: where they live.
        backward: work of the backward pass, by the path of modules that it belongs to.
        memory: what was alive during the call and its backward.
        specification: how to repeat the call; kept only when asked for.
        finished: False when the call raised.
    """

    module: int
    selves: Path
    path: Path = ()
    tree: CallTree | None = None
    inputs: tuple[Shape, ...] = ()
    batch: int | None = None
    device: str = ""
    backward: dict[Path, list[Work]] = field(default_factory=dict)
    memory: Account = field(default_factory=Account)
    specification: Any = None
    finished: bool = False


class Entry:
    """A module call that has not returned yet."""

    __slots__ = ("call", "children", "frame", "is_recomputed", "module", "number", "path", "work")

    def __init__(self, module: torch.nn.Module, number: int, frame: FrameType | None, call: Call, path: Path) -> None:
        self.module = module
        self.number = number
        self.frame = frame
        self.call = call
        self.path = path
        self.work: list[Work] = []
        self.children: list[CallTree] = []
        self.is_recomputed = path[0] != call.module

    def made(self, tensors: tuple[torch.Tensor, ...], operator: str, transient: int) -> None:
        """An operator in this module made these."""
        where = (self.path, operator)
        self.call.memory.made(tensors, where, backward=self.is_recomputed, transient=transient)


class ModuleNumbers:
    """Numbers modules by identity without keeping them alive."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[torch.nn.Module]] = []
        self._numbers: dict[int, int] = {}
        self.types: list[str] = []

    def __getitem__(self, module: torch.nn.Module) -> int:
        number = self._numbers.get(id(module))
        # An id is used again once its module is gone.
        if number is not None and self._references[number]() is module:
            return number
        number = len(self._references)
        self._numbers[id(module)] = number
        self._references.append(weakref.ref(module))
        self.types.append(type(module).__name__)
        return number

    def module(self, number: int) -> torch.nn.Module | None:
        """The module with that number, or None once it is gone."""
        return self._references[number]()


_trackers: list[ModuleTracker] = []
"""The trackers that the hooks below serve, the outermost first."""
at_work: list[ModuleTracker] = []
"""Those and the ones that have hooks of their own."""


# Dynamo traces hooks, too: they return first.
def _enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
    if is_compiling():
        return
    for tracker in _trackers:
        tracker.enter(module, args)


def _leave(module: torch.nn.Module, args: tuple[Any, ...], kwargs_or_output: Any, *rest: Any) -> None:
    if is_compiling():
        return
    # Torch forgets the kwargs when the module has raised.
    kwargs, output = (kwargs_or_output, rest[0]) if rest else ({}, kwargs_or_output)
    for tracker in _trackers:
        tracker.leave(module, args, kwargs, output)


_hooks = internals.GlobalHooks(_enter, _leave)


@contextmanager
def unobserved() -> Iterator[None]:
    """What runs in the block is the profiler's own doing: trackers that are at work do not see it."""
    paused = [tracker for tracker in at_work if not tracker.paused]
    for tracker in paused:
        tracker.paused = True
    try:
        yield
    finally:
        for tracker in paused:
            tracker.paused = False


@contextmanager
def out_of_the_way() -> Iterator[None]:
    """As `unobserved`, for the clock: there is nothing in the block that would take time."""
    with unobserved(), internals.without_dispatch_modes():
        if _trackers:
            _hooks.remove()
        try:
            yield
        finally:
            if _trackers:
                _hooks.install()


class ModuleTracker:
    """Follows the module calls of one thread and sorts work into them.

    Args:
        on_call: called with `(call, module, args, kwargs)` as an outermost call begins, and
            `on_return(call, module)` when it has ended, normally or not.
        on_outside: called with the modules whose methods do work outside every module call, as they begin to.
    """

    def __init__(
        self,
        on_call: Callable[[Call, torch.nn.Module, tuple[Any, ...], dict[str, Any]], None] | None = None,
        on_return: Callable[[Call, torch.nn.Module], None] | None = None,
        on_outside: Callable[[Path], None] | None = None,
    ) -> None:
        self.numbers = ModuleNumbers()
        self.calls: list[Call] = []
        self.outside: dict[Path, list[Work]] = {}
        """Work outside every module call, by the modules whose methods were on the call stack (innermost first)."""
        self.orphan_backward: list[Work] = []
        """Work of a backward pass whose forward ran in no module."""
        self.unseen: set[int] = set()
        """Modules called in other threads, where operators cannot be seen."""
        self.paused = False
        self._base: FrameType | None = None
        self._traced: FrameType | None = None
        """The call of the outermost module that is being traced."""
        self._on_call = on_call
        self._on_return = on_return
        self._on_outside = on_outside
        self._thread = threading.get_ident()
        self._stacks: dict[int, list[Entry]] = {self._thread: []}
        self._trees: dict[tuple[Any, ...], CallTree] = {}
        self._holdings: dict[int, Holding] = {}
        # Which module created an autograd node: sequence numbers grow, so the k-th span starts at _starts[k].
        self._starts: list[int] = []
        self._spans: list[tuple[Call, Path] | None] = []

    @contextmanager
    def under(self, base: FrameType) -> Iterator[None]:
        """Follow what is called in the block, which runs under the frame `base`."""
        with ExitStack() as stack:
            self._base = base
            self._hook_in(stack)
            at_work.append(self)
            stack.callback(self._close_all)
            stack.callback(at_work.remove, self)
            yield

    def _hook_in(self, stack: ExitStack) -> None:
        if not _trackers:
            _hooks.install()
            stack.callback(_hooks.remove)
        _trackers.append(self)
        stack.callback(_trackers.remove, self)

    def _close_all(self) -> None:
        for stack in self._stacks.values():
            while stack:
                self._close(stack, (), (), finished=False)
        self._base = self._traced = None  # a frame would keep the locals of the test alive

    # -- work ---------------------------------------------------------------------------------------------------

    def book(
        self,
        work: Work | None,
        frame: FrameType | None,
        made: tuple[torch.Tensor, ...] = (),
        operator: str = "",
        transient: int = 0,
    ) -> None:
        """Sort one operator's work in, and the tensors that it made.

        Args:
            work: None if there was none worth speaking of.
            frame: the caller's, whose stack tells where the operator was asked for; None in threads of TorchScript,
                where no Python runs.
            made: new tensors.
            operator: its name.
            transient: bytes that it held beside them until it returned.
        """
        if self.paused or (self._traced is not None and self._is_traced(frame)):
            return
        stack = self._stacks.get(threading.get_ident())
        if frame is None:
            stack = stack or self._stacks[self._thread]  # who forked waits
        if stack and (frame is None or self._is_live(stack, frame)):
            entry = stack[-1]
            if work is not None:
                entry.work.append(work)
            if made:
                entry.made(made, operator, transient)
            return
        node = internals.current_autograd_node()
        if node is not None:
            self._book_backward(work, node, made, operator, transient)
            return
        selves = self._methods_on_stack(frame)
        if selves is None:
            return
        if selves not in self.outside:
            self.outside[selves] = []
            if self._on_outside is not None:
                self._on_outside(selves)
        if work is not None:
            self.outside[selves].append(work)
        if made and self.calls and torch.is_grad_enabled():  # the loss: alive until the backward pass is over
            self.calls[-1].memory.made(made, ((), operator), transient=transient)

    def _book_backward(
        self, work: Work | None, node: Any, made: tuple[torch.Tensor, ...], operator: str, transient: int
    ) -> None:
        span = self._span_of(node)
        if span is None:
            if work is not None:
                self.orphan_backward.append(work)
            if made and self.calls:
                self.calls[-1].memory.made(made, ((), operator), backward=True, transient=transient)
            return
        call, path = span
        if work is not None:
            call.backward.setdefault(path, []).append(work)
        if made:
            call.memory.made(made, (path, operator), backward=True, transient=transient)
        if torch.is_grad_enabled():  # create_graph: the node made for this operator belongs to the same module
            following = internals.autograd_sequence_number()
            self._mark_span(following - 1, span)
            self._mark_span(following, None)

    # -- module calls -------------------------------------------------------------------------------------------

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called, by torch's own function two frames above."""
        if self.paused:
            return
        if internals.is_tracing():
            if not self._is_traced(sys._getframe(2)):
                self._traced = sys._getframe(2)
            return
        thread = threading.get_ident()
        node = internals.current_autograd_node()
        stack = self._stacks.get(thread)
        if stack is None:
            # CUDA runs the backward pass, and what it recomputes, in threads of its own that do carry the mode.
            if node is None:
                self.unseen.add(self.numbers[module])
                return
            stack = self._stacks.setdefault(thread, [])
        frame = sys._getframe(2)  # it lives as long as the call
        number = self.numbers[module]
        if stack and self._is_live(stack, frame):
            parent = stack[-1]
            call, path = parent.call, (*parent.path, number)
        else:
            call, path = self._begin(module, number, node, frame, args)
        stack.append(Entry(module, number, frame, call, path))
        self._mark_span(internals.autograd_sequence_number(), (call, path))

    def _begin(
        self, module: torch.nn.Module, number: int, node: Any, frame: FrameType, args: tuple[Any, ...]
    ) -> tuple[Call, Path]:
        span = None
        if node is not None:
            # A checkpoint around the whole model makes its node before the model is entered.
            span = self._span_of(node) or next(
                ((call, call.path) for call in reversed(self.calls) if call.module == number), None
            )
        if span is not None:
            # Activation checkpointing runs modules again inside the backward pass of the call they belong to.
            call, path = span
            return call, (*path[: path.index(number)], number) if number in path else (*path, number)
        call = Call(number, self._methods_on_stack(frame) or ())
        call.path = (number,)
        self.calls.append(call)
        kwargs = frame.f_locals.get("kwargs", {})
        gradients = (parameter.grad for parameter in parameters_of(module) if parameter.grad is not None)
        call.memory.open(self._holding(module, number), gradients, tensors_of((args, kwargs)))
        if self._on_call is not None:
            self._on_call(call, module, args, kwargs)
        return call, call.path

    def leave(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A module call has ended, normally or not; `output` is None when it raised."""
        stack = self._stacks.get(threading.get_ident())
        if self.paused or not stack:
            return
        if stack[-1].module is not module and not any(entry.module is module for entry in stack):
            return  # entered while tracing, or in a thread that is not followed
        while stack[-1].module is not module:
            self._close(stack, (), (), finished=False)
        if len(stack) == 1:
            call = stack[-1].call
            if call.path == stack[-1].path:
                tensors = list(tensors_of((args, kwargs)))
                call.inputs = tuple(map(shape_of, tensors))
                call.batch = call.inputs[0][0] if call.inputs and call.inputs[0] else None
                call.device = tensors[0].device.type if tensors else ""
        # A module that returns None is as finished as need be.
        inputs = shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs))
        self._close(stack, inputs, shapes_of(output), finished=output is not None)

    def _close(
        self, stack: list[Entry], inputs: tuple[Shape, ...], outputs: tuple[Shape, ...], *, finished: bool
    ) -> None:
        entry = stack.pop()
        key = (entry.number, tuple(entry.work), tuple(entry.children), inputs, outputs)
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = CallTree(*key)
        call = entry.call
        if stack:
            parent = stack[-1]
            parent.children.append(tree)
            self._mark_span(internals.autograd_sequence_number(), (parent.call, parent.path))
            return
        self._mark_span(internals.autograd_sequence_number(), None)
        if entry.path == call.path and call.tree is None:
            call.tree = tree
            call.finished = finished
            if not self._holdings[entry.number].complete:  # lazy modules have their parameters now
                call.memory.hold(self._holding(entry.module, entry.number))
            call.memory.forward_over()
            if self._on_return is not None:
                self._on_return(call, entry.module)
        else:
            self._add_recomputation(call, entry.path, tree)

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """The bytes of a module's parameters and buffers, where they are known before it is called."""

    def _holding(self, module: torch.nn.Module, number: int) -> Holding:
        holding = self._holdings.get(number)
        if holding is None or not holding.complete:
            holding = self._holdings[number] = holding_of(module)
        return holding

    def _add_recomputation(self, call: Call, path: Path, tree: CallTree) -> None:
        call.backward.setdefault(path, []).extend(tree.work)
        for child in tree.children:
            self._add_recomputation(call, (*path, child.module), child)

    # -- the call stack -----------------------------------------------------------------------------------------

    def _is_live(self, stack: list[Entry], frame: FrameType) -> bool:
        """Whether the innermost entry is really running around `frame`, after dropping those that are not."""
        top = stack[-1].frame
        above: FrameType | None = frame
        while above is not None and above is not self._base:
            if above is top:
                return True
            above = above.f_back
        running: set[int] = set()
        above = frame
        while above is not None and above is not self._base:
            running.add(id(above))
            above = above.f_back
        while stack and id(stack[-1].frame) not in running:
            self._close(stack, (), (), finished=False)
        return bool(stack)

    def _is_traced(self, frame: FrameType | None) -> bool:
        """Whether this runs below a module that `torch.jit.trace` makes a graph of: that is no work of it."""
        while frame is not None and frame is not self._base:
            if frame is self._traced:
                return True
            frame = frame.f_back
        self._traced = None
        return False

    def _methods_on_stack(self, frame: FrameType | None) -> Path | None:
        """The modules whose methods are running, innermost first; None while a module is being constructed."""
        modules = []
        while frame is not None and frame is not self._base:
            module = _module_of_method(frame)
            if module is not None:
                if frame.f_code.co_name == "__init__":
                    return None  # initialising weights is no work of the model
                number = self.numbers[module]
                if number not in modules:
                    modules.append(number)
            frame = frame.f_back
        return tuple(modules)

    # -- autograd -----------------------------------------------------------------------------------------------

    def _mark_span(self, start: int, span: tuple[Call, Path] | None) -> None:
        """Nodes numbered from `start` on belong to `span`."""
        if self._starts and self._starts[-1] >= start:  # no node since the last mark: it marked nothing
            self._spans[-1] = span
        else:
            self._starts.append(start)
            self._spans.append(span)

    def _span_of(self, node: Any) -> tuple[Call, Path] | None:
        index = bisect_right(self._starts, node._sequence_nr()) - 1
        return self._spans[index] if index >= 0 else None


_OPTIMIZED = 0x3  # CO_OPTIMIZED | CO_NEWLOCALS: the locals of a function, not of a module or class body


def _module_of_method(frame: FrameType) -> torch.nn.Module | None:
    """The `self` of a method of a module, whatever it is called, or None."""
    code = frame.f_code
    if not code.co_argcount or code.co_flags & _OPTIMIZED != _OPTIMIZED:
        return None
    variables = frame.f_locals
    owner = variables.get(code.co_varnames[0])
    # Before Python 3.13 reading f_locals leaves a copy of the locals in the frame, which would keep the tensors of a
    # test alive. It is emptied again, unless somebody else asked for it: then it is held by more than the frame,
    # this function and the argument of getrefcount.
    if sys.version_info < (3, 13) and sys.getrefcount(variables) <= 3:
        variables.clear()
    if not issubclass(type(owner), torch.nn.Module):
        return None
    # A function of a module is no method of it: a test that takes one, for example.
    return owner if code.co_varnames[0] == "self" or hasattr(type(owner), code.co_name) else None


_DEPTH = 12  # of nested containers; a structure that contains itself has no end


def tensors_of(value: Any, depth: int = _DEPTH) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, dicts and dataclasses, depth first."""
    if isinstance(value, torch.Tensor):
        yield value
        return
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif hasattr(type(value), "__dataclass_fields__"):
        items = (getattr(value, name, None) for name in type(value).__dataclass_fields__)
    if depth:
        for item in items:
            yield from tensors_of(item, depth - 1)


def shape_of(tensor: torch.Tensor) -> Shape:
    """The shape of a tensor; -1 where the sizes of a nested one differ."""
    if tensor.is_nested and tensor.layout is torch.strided:
        sizes = tensor._nested_tensor_size()  # one row for each of the tensors in it
        return (len(sizes), *(int(column[0]) if (column == column[0]).all() else -1 for column in sizes.T))
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)


def shapes_of(value: Any) -> tuple[Shape, ...]:
    """The shapes of the tensors in a nested value, depth first."""
    if type(value) is torch.Tensor and not value.is_nested:  # by far the most frequent output
        return (tuple(value.shape),)
    return tuple(shape_of(tensor) for tensor in tensors_of(value))
