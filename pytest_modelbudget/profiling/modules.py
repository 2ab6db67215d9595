"""Which module is running: follows module calls by two global hooks and keeps what ran as trees.

The hooks do not see everything: exit hooks do not run for BaseException, a custom `__call__` fires none, a generator
works after its exit hook. So an entry is believed only as long as its frame is on the call stack.
"""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pytest_modelbudget.profiling import hooks, internals
from pytest_modelbudget.profiling.calls import Call, CallTree, Entry, ModuleNumbers, Outside, Path, Returned, Work
from pytest_modelbudget.profiling.frames import arguments_of, innermost_method
from pytest_modelbudget.profiling.memory import Account
from pytest_modelbudget.profiling.parameters import modules_of, parameters_of
from pytest_modelbudget.profiling.shapes import shapes_of, tensors_of, tensors_within
from pytest_modelbudget.profiling.spans import Spans, parameters_behind
from pytest_modelbudget.profiling.storages import Holding, holding_of
from pytest_modelbudget.profiling.stretch import After, Chain, Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

    from pytest_modelbudget.profiling.profile import Shape
    from pytest_modelbudget.profiling.spans import Maker

_CONVERSION = torch.nn.Module._apply.__code__
_get_ident = threading.get_ident
_is_tracing = internals.is_tracing
_sequence_number = internals.autograd_sequence_number


class ModuleTracker:
    """Follows the module calls of one thread and sorts work into them.

    Args:
        on_call: called with `(call, module, args, kwargs)` as an outermost call begins, and
            `on_return(call, module)` when it has ended, normally or not.
        on_outside: called with the modules whose methods do work outside every module call, as they begin to.
        on_unseen: called with a module that is called in another thread, there, for the first time.
    """

    def __init__(
        self,
        on_call: Callable[[Call, torch.nn.Module, tuple[Any, ...], dict[str, Any]], None] | None = None,
        on_return: Callable[[Call, torch.nn.Module], None] | None = None,
        on_outside: Callable[[Path], None] | None = None,
        on_unseen: Callable[[torch.nn.Module], None] | None = None,
    ) -> None:
        self.numbers = ModuleNumbers()
        self.calls: list[Call] = []
        self.outside: dict[Path, Outside] = {}
        """What ran outside every module call, by the modules whose methods were on the call stack (innermost first)."""
        self.stretches: dict[int, Stretch] = {}
        """The memory of that, for each of those modules."""
        self.unseen: dict[int, None] = {}
        """Modules called in other threads, where operators cannot be seen, in the order of their first calls."""
        self.paused = False
        self._base: FrameType | None = None
        self._traced: FrameType | None = None
        """The call of the outermost module that is being traced."""
        self._on_call = on_call
        self._on_return = on_return
        self._on_outside = on_outside
        self._on_unseen = on_unseen
        self._on_death: Callable[[Any], None] | None = None
        """What accounts are told instead of that a storage is gone."""
        self._thread = threading.get_ident()
        self._stacks: dict[int, list[Entry]] = {self._thread: []}
        self._trees: dict[tuple[Any, ...], CallTree] = {}
        self._latest_calls: dict[int, Call] = {}
        """The latest call of each module with gradients."""
        self._latest_model: Call | None = None
        """The latest call, with gradients, of a module that has weights."""
        self._holdings: dict[int, tuple[int, Holding]] = {}
        """What models hold, each with the edition that it is of."""
        self.edition = 0
        """Another one where modules were made or converted outside of calls: models may hold other things since."""
        self._spans = Spans()
        self.reached_before: dict[int, weakref.ref[torch.Tensor]] = {}
        """By their ids the weights of contractions that were made before anything was observed, and went back since."""

    @contextmanager
    def under(self, base: FrameType) -> Iterator[None]:
        """Follow what is called in the block, which runs under the frame `base`."""
        with ExitStack() as stack:
            self._base = base
            self._spans.begin()
            self._hook_in(stack)
            hooks.at_work.append(self)
            stack.callback(self._end_all)
            stack.callback(hooks.at_work.remove, self)
            yield

    def _hook_in(self, stack: ExitStack) -> None:
        stack.enter_context(hooks.serving(self))

    def _end_all(self) -> None:
        self._close_all()
        self._base = self._traced = None  # a frame would keep the locals of the test alive

    def _close_all(self) -> None:
        for stack in self._stacks.values():
            while stack:
                self._close(stack)

    # -- work ---------------------------------------------------------------------------------------------------

    def book(
        self,
        work: Work | None,
        frame: FrameType | None,
        made: tuple[torch.Tensor, ...] = (),
        operator: str = "",
        transient: int = 0,
        read: Iterable[torch.Tensor] = (),
    ) -> None:
        """Sort one operator's work in, and the tensors that it made.

        Args:
            work: None if there was none worth speaking of.
            frame: the caller's, whose stack tells where the operator was asked for; None in threads of TorchScript,
                where no Python runs.
            made: new tensors.
            operator: its name.
            transient: bytes that it held beside them until it returned.
            read: its operands.
        """
        if self.paused or (self._traced is not None and self._is_traced(frame)):
            return
        stack = self._stacks.get(_get_ident())
        if frame is None:
            stack = stack or self._stacks[self._thread]  # who forked waits
        if stack and stack[-1].returned is not None:
            self._settle(stack, frame)
        if stack and (frame is None or self._is_live(stack, frame)):
            entry = stack[-1]
            if work is not None:
                entry.work.append(work)
            if made:
                entry.made(made, operator, transient)
            if read:
                entry.call.memory.read(read)
            if entry.returned is not None:
                self._mark_hook(stack)
            return
        node = internals.current_autograd_node()
        if node is not None:
            self._book_backward(work, node, made, operator, transient, read)
            return
        methods = self._methods_on_stack(frame)
        if methods is None:
            return
        selves = tuple(methods)
        outside = self.outside.get(selves)
        if outside is None:
            outside = self.outside[selves] = Outside(selves)
            if selves:
                outside.note_inputs(arguments_of(methods[selves[-1]]), (*made, *read))
            if self._on_outside is not None:
                self._on_outside(selves)
        self._spans.claim(outside if selves else None)
        if work is not None:
            outside.work.append(work)
        stretches = self._stretches_of(methods) if made or read else ()
        for stretch in stretches:
            stretch.made(made, (selves[::-1], operator), transient=transient)
            stretch.read(read)
        if made and torch.is_grad_enabled():  # a loss, perhaps
            for account in self._latest():
                if account not in stretches:
                    account.later(made, ((), operator), transient)

    def _latest(self) -> Iterable[Account]:
        """The memory of the latest call, or of all that ran where nothing was called."""
        if not self.calls:
            return self.stretches.values()
        memory = self.calls[-1].memory
        return (memory, *memory.around)

    def _stretches_of(self, methods: Mapping[int, FrameType]) -> tuple[Stretch, ...]:
        """The memory of the modules whose `methods` are running."""
        stretches = []
        for number, frame in methods.items():
            module = self.numbers.module(number)
            assert module is not None
            stretch = self.stretches.get(number)
            if stretch is None:
                stretch = self.stretches[number] = Stretch(frame, self._on_death)
                self._open_account(stretch, module, number, tensors_of(arguments_of(frame)))
            else:
                if not self._is_known(number):
                    stretch.hold(self._holding(module, number))
                if stretch.is_begun_by(frame) and stretch.has_other(arguments := arguments_of(frame)):
                    stretch.given(tensors_of(arguments))
            stretches.append(stretch)
        return tuple(stretches)

    def running(self, frame: FrameType | None) -> Entry | None:
        """The innermost call around `frame`, to which work may be added; None: let `book` decide."""
        stack = self._stacks.get(_get_ident())
        if not stack or frame is None or self.paused or self._traced is not None:
            return None
        entry = stack[-1]
        top = entry.frame
        if entry.returned is not None:
            return None
        # As the first lines of `_is_live`, once more: nearly all work comes by here.
        above: FrameType | None = frame
        while above is not None:
            if above is top:
                return entry
            above = above.f_back
        return None

    def _book_backward(
        self,
        work: Work | None,
        node: Any,
        made: tuple[torch.Tensor, ...],
        operator: str,
        transient: int,
        read: Iterable[torch.Tensor],
    ) -> None:
        span = self._spans.of(node)
        if work is not None and (work.cost is None or work.cost.macs or work.cost.flops):
            # A hook on a parameter runs where its gradient is accumulated, at a node that no module made.
            parameter = getattr(node, "variable", None)
            if span is None and parameter is None and self._spans.is_older(node):
                self.reached_before.update((id(leaf), weakref.ref(leaf)) for leaf in parameters_behind(node))
            span = span if parameter is None else self._holder_of(parameter)
        if isinstance(span, tuple):
            call, path = span
            call.went_back = True
            if work is not None:
                call.backward.setdefault(path, []).append(work)
            if read:
                call.memory.received(read)
            if made:
                call.memory.made(made, (path, operator), backward=True, transient=transient)
        else:
            if span is not None and work is not None:
                span.backward.append(work)
            if made:
                self._remember_backward(made, () if span is None else span.selves, operator, transient)
        if span is not None and torch.is_grad_enabled():  # create_graph: the node of this operator belongs to the same
            self._spans.mark_latest(span)

    def _remember_backward(self, made: tuple[torch.Tensor, ...], selves: Path, operator: str, transient: int) -> None:
        """The memory of a backward pass through what ran outside every module call, in methods of `selves`."""
        stretches = [self.stretches[number] for number in selves if number in self.stretches]
        for stretch in stretches:
            stretch.made(made, (selves[::-1], operator), backward=True, transient=transient)
        for account in self._latest():
            if account in stretches:
                continue
            if self.calls:  # a loss, perhaps: whether the backward pass comes to a module after it decides
                account.later(made, ((), operator), transient, backward=True)
            else:
                account.made(made, ((), operator), backward=True, transient=transient)

    def _holder_of(self, parameter: torch.Tensor) -> tuple[Call, Path] | None:
        """The latest call of a model that holds a parameter, and where."""
        for call in reversed(self.calls):
            model = self.numbers.module(call.module)
            for part in modules_of(model) if model is not None else ():
                if any(parameter is own for own in (getattr(part, "_parameters", None) or {}).values()):
                    return call, (call.module, self.numbers[part])
        return None

    # -- module calls -------------------------------------------------------------------------------------------

    def enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """A module is being called, by torch's own function two frames above."""
        if self.paused:
            return
        if _is_tracing():
            if not self._is_traced(sys._getframe(2)):
                self._traced = sys._getframe(2)
            return
        stack = self._stacks.get(_get_ident())
        if stack is None:
            # CUDA runs the backward pass, and what it recomputes, in threads of its own that do carry the mode.
            if internals.current_autograd_node() is None:
                number = self.numbers[module]
                if number not in self.unseen:
                    self.unseen[number] = None
                    if self._on_unseen is not None:
                        self._on_unseen(module)
                return
            stack = self._stacks.setdefault(_get_ident(), [])
        frame = sys._getframe(2)  # it lives as long as the call
        number = self.numbers[module]
        if stack and stack[-1].returned is not None:
            self._settle(stack, frame.f_back)
        if stack and self._is_live(stack, frame):
            parent = stack[-1]
            call, path = parent.call, (*parent.path, number)
        else:
            call, path = self._begin(module, number, internals.current_autograd_node(), frame, args)
        stack.append(Entry(module, number, frame, call, path))
        self._spans.mark(_sequence_number(), (call, path))

    def _begin(
        self, module: torch.nn.Module, number: int, node: Any, frame: FrameType, args: tuple[Any, ...]
    ) -> tuple[Call, Path]:
        span: Maker = None
        if node is not None:
            # A checkpoint around the whole model makes its node before the model is entered.
            span = self._spans.of(node)
            if not isinstance(span, tuple):
                span = next(((call, call.path) for call in reversed(self.calls) if call.module == number), None)
        if isinstance(span, tuple):
            # Activation checkpointing runs modules again inside the backward pass of the call they belong to.
            call, path = span
            call.went_back = True
            return call, (*path[: path.index(number)], number) if number in path else (*path, number)
        methods = self._methods_on_stack(frame) or {}
        call = Call(number, tuple(methods), memory=Account(self._on_death))
        call.path = (number,)
        self.calls.append(call)
        kwargs = frame.f_locals.get("kwargs", {})
        # A cache of keys and values, too, and whatever else an argument holds.
        inputs = [*tensors_within((args, kwargs), 6)]
        self._open_account(call.memory, module, number, inputs)
        if torch.is_grad_enabled():
            self._join(call, module, inputs)
            self._follow_up(call)
        methods.pop(number, None)  # its own method calls it, as that which generates does: the call is the work
        for stretch in self._stretches_of(methods):
            stretch.given(tensors_of((args, kwargs)))
            call.memory.around += (stretch,)
        if self._on_call is not None:
            self._on_call(call, module, args, kwargs)
        return call, call.path

    def _join(self, call: Call, module: torch.nn.Module, inputs: list[torch.Tensor]) -> None:
        """Follow a call together with the one before it, if a backward pass may yet go through both."""
        latest = self._latest_calls.get(call.module)
        self._latest_calls[call.module] = call
        if latest is None or latest.went_back:
            return
        if latest.chain is None:
            latest.chain = Chain(self._on_death)
            self._open_account(latest.chain, module, call.module, ())
            latest.chain.take_over(latest.memory)
        call.chain = latest.chain
        call.chain.take_in(call.memory, inputs)

    def _follow_up(self, call: Call) -> None:
        """A loss is a module without weights: what it does counts for the model whose call it follows, too."""
        if self._holdings[call.module][1].parameters:
            self._latest_model = call
        elif self._latest_model is not None and not self._latest_model.went_back:
            call.memory.around += (After(self._latest_model.memory),)

    def leave(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A module call has ended, normally or not; `output` is None when it raised."""
        stack = self._stacks.get(_get_ident())
        if self.paused or not stack:
            return
        if stack[-1].module is not module and not any(entry.module is module for entry in stack):
            return  # entered while tracing, or in a thread that is not followed
        while stack[-1].module is not module:
            self._close(stack)
        entry = stack[-1]
        is_outermost = len(stack) == 1 and entry.path == entry.call.path
        if is_outermost:
            entry.call.note_inputs((args, kwargs))
        inputs = shapes_of(args[0]) if len(args) == 1 and not kwargs else shapes_of((args, kwargs))
        outputs = shapes_of(output)
        is_followed = module._forward_hooks or internals.has_other_forward_hooks()
        if not is_followed or (output is None and not module._forward_hooks_always_called):  # None: it raised
            self._close(stack, inputs, outputs, is_hooked_backward(module))
            return
        if is_outermost and entry.call.tree is None:
            self._end(entry.call, module)
        frame = sys._getframe(2)
        entry.returned = Returned(id(frame), frame.f_code, inputs, outputs)
        entry.module = entry.frame = None
        self._mark_leaving(stack[:-1], is_hooked_backward(module))

    def _open_account(
        self, account: Account, module: torch.nn.Module, number: int, inputs: Iterable[torch.Tensor]
    ) -> None:
        holding, holds_now = self._holding(module, number), partial(self._holds_now, number)
        account.open(holding, self._gradients(module), inputs, holds_now)

    def _gradients(self, module: torch.nn.Module) -> Iterable[torch.Tensor]:
        for parameter in parameters_of(module):
            # Torch warns of that of a tensor that is no leaf, as fast weights in the place of parameters are.
            if isinstance(parameter, torch.Tensor) and parameter.is_leaf and parameter.grad is not None:
                yield parameter.grad

    def _end(self, call: Call, module: torch.nn.Module) -> None:
        """An outermost call has ended."""
        if not self._is_known(call.module):  # lazy modules have their parameters now
            call.memory.hold(self._holding(module, call.module))
        call.memory.forward_over()
        if call.chain is not None:
            call.chain.forward_over()
        if self._on_return is not None:
            self._on_return(call, module)

    def _settle(self, stack: list[Entry], frame: FrameType | None) -> None:
        """Close calls that have returned, unless `frame` runs in a hook of theirs."""
        while stack and stack[-1].returned is not None and not stack[-1].returned.is_around(frame):
            self._close(stack)

    def _close(
        self,
        stack: list[Entry],
        inputs: tuple[Shape, ...] = (),
        outputs: tuple[Shape, ...] = (),
        is_hooked: bool = False,
    ) -> None:
        """Take the innermost entry off the stack and put what ran in it in its place."""
        entry = stack.pop()
        if entry.returned is not None:
            _, _, inputs, outputs = entry.returned
        number, work, children = entry.number, (*entry.work,), (*entry.children,)
        # By id, which hashes faster: the tree holds its work, and equal work is the same object.
        key = (number, *map(id, work), children, inputs, outputs)
        tree = self._trees.get(key)
        if tree is None:
            tree = self._trees[key] = CallTree(number, work, children, inputs, outputs)
        call = entry.call
        if stack:
            parent = stack[-1]
            parent.children.append(tree)
            if entry.returned is None:
                self._mark_leaving(stack, is_hooked)
            return
        if entry.returned is None:
            self._mark_leaving(stack, is_hooked)
        if entry.path == call.path and call.tree is None:
            call.tree = tree
            if entry.module is not None:
                self._end(call, entry.module)
        else:
            self._add_recomputation(call, entry.path, tree)

    def _mark_leaving(self, stack: list[Entry], is_hooked: bool = False) -> None:
        """Autograd nodes that are made from now on belong to the innermost call that has not returned.

        All but the next one, if the module that is left `is_hooked`: that is where its backward hooks will run.
        """
        entry = next((entry for entry in reversed(stack) if entry.returned is None), None)
        following = _sequence_number() + (is_hooked and torch.is_grad_enabled())
        self._spans.mark(following, None if entry is None else (entry.call, entry.path))

    def _mark_hook(self, stack: list[Entry]) -> None:
        """Those that were made since the last mark belong to the module whose hook is running."""
        self._spans.mark_all((stack[-1].call, stack[-1].path))
        self._mark_leaving(stack)

    def will_hold(self, number: int, parameters: int, buffers: int) -> None:
        """The bytes of a module's parameters and buffers, where they are known before it is called."""

    def _holding(self, module: torch.nn.Module, number: int) -> Holding:
        if not self._is_known(number):
            self._holdings[number] = self.edition, holding_of(module)
        return self._holdings[number][1]

    def _holds_now(self, number: int) -> Holding:
        self._holdings.pop(number, None)
        module = self.numbers.module(number)
        assert module is not None
        return self._holding(module, number)

    def _is_known(self, number: int) -> bool:
        """Whether what a model holds is as it was found."""
        edition, holding = self._holdings.get(number, (-1, None))
        return holding is not None and holding.complete and edition == self.edition

    def _add_recomputation(self, call: Call, path: Path, tree: CallTree) -> None:
        call.backward.setdefault(path, []).extend(tree.work)
        for child in tree.children:
            self._add_recomputation(call, (*path, child.module), child)

    # -- the call stack -----------------------------------------------------------------------------------------

    def _is_live(self, stack: list[Entry], frame: FrameType) -> bool:
        """Whether the innermost entry is really running around `frame`, after dropping those that are not."""
        if stack[-1].returned is not None:
            return True  # settled just now
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
        while stack and not _is_among(running, stack[-1], frame):
            self._close(stack)
        return bool(stack)

    def _is_traced(self, frame: FrameType | None) -> bool:
        """Whether this runs below a module that `torch.jit.trace` makes a graph of: that is no work of it."""
        while frame is not None and frame is not self._base:
            if frame is self._traced:
                return True
            frame = frame.f_back
        self._traced = None
        return False

    def _methods_on_stack(self, frame: FrameType | None) -> dict[int, FrameType] | None:
        """The modules whose methods are running, innermost first, with the frame of the outermost method of each.

        None while a module is being constructed or converted, as `to` and `half` do.
        """
        methods = {}
        while found := innermost_method(frame, self._base):
            method, module = found
            if method.f_code is _CONVERSION or method.f_code.co_name == "__init__":
                self.edition += 1
                return None  # initialising weights is no work of the model
            methods[self.numbers[module]] = method
            frame = method.f_back
        return methods


def is_hooked_backward(module: torch.nn.Module) -> bool:
    """Whether torch makes a node behind the module, at which hooks run as the backward pass comes to it."""
    return bool(module._backward_hooks or module._backward_pre_hooks)


def _is_among(running: set[int], entry: Entry, frame: FrameType) -> bool:
    """Whether a call, or a hook of its module after it, is around `frame`, below which those frames are running."""
    return id(entry.frame) in running if entry.returned is None else entry.returned.is_around(frame)
