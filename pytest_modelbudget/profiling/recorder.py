"""The recorder: a dispatch mode that sees each operator that runs, below autograd, and books its cost to the modules.

It executes every operator as it came: nothing is replaced, patched or run twice. What an operator costs stands in
`costs/`, whom it belongs to in `modules.py`; this file only joins the two.
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.compiler import is_compiling
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.calls import Work
from pytest_modelbudget.profiling.compilation import only_optimises
from pytest_modelbudget.profiling.costs import NOTHING, Kind, edition, lookup, values_read
from pytest_modelbudget.profiling.made import can_pick, picker
from pytest_modelbudget.profiling.memo import Memo
from pytest_modelbudget.profiling.operands import tensors, traits
from pytest_modelbudget.profiling.shapes import tensors_of
from pytest_modelbudget.profiling.signature import signature
from pytest_modelbudget.profiling.traffic import NO_TRAFFIC, Effects, Traffic, effects_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import FrameType

    from pytest_modelbudget.profiling.modules import ModuleTracker
    from pytest_modelbudget.profiling.signature import Key

# Tensor classes whose operators reach the mode as they should be booked.
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer, internals.FakeTensor})


class _Known(NamedTuple):
    """What a call of an operator with a certain signature does.

    Attributes:
        func: kept, so that its id in the signature stays its own.
        operator: its name.
        work: None where it costs and moves nothing.
        made: picks what is new from the output; None: nothing is.
        is_alone: whether the output is one tensor, and new.
    """

    func: Any
    operator: str
    work: Work | None
    made: Callable[[Any], tuple[torch.Tensor, ...]] | None
    is_alone: bool


class _Manner(NamedTuple):
    """How an operator is treated, looked up once.

    Attributes:
        run: executes it.
        is_plain: whether it is an ordinary operator, neither composite nor of a higher order.
        is_memorable: whether what it does can be told from its signature, `by_output`: with the output's.
    """

    func: Any
    run: Callable[..., Any]
    is_plain: bool
    is_memorable: bool
    by_output: bool


memo: Memo[_Known] = Memo()
_recall = memo.get
_is_tracing = internals.is_tracing
_is_grad_enabled = torch.is_grad_enabled
_EQUAL = torch.ops.aten.equal.default
_manners: dict[int, _Manner] = {}


def _manner(func: Any) -> _Manner:
    """The manner of an operator; kept by its id, because hashing one runs Python."""
    if not isinstance(func, internals.OpOverload):
        return _Manner(func, func, is_plain=False, is_memorable=False, by_output=False)
    told = traits(func)
    found = _Manner(
        func,
        internals.entry_of(func),
        is_plain=not internals.has_composite_kernel(func),
        is_memorable=not told.changes_shape,
        # The costs of other libraries' operators may follow from what they return.
        by_output=told.needs_values or func.namespace != "aten",
    )
    if func is not _EQUAL:  # of which each call is looked at
        _manners[id(func)] = found
    return found


class Recorder(TorchDispatchMode):
    """Books every operator that runs in its `with` block to the modules that `tracker`, already started, follows."""

    supports_higher_order_operators = True

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        internals.admit_higher_order_operators(type(self))
        self.tracker = tracker

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """A plain mode makes Dynamo give up on every frame that it meets, for the rest of the process."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would wrap `__torch_dispatch__` in `torch._disable_dynamo`: 2 us for each operator."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: tuple[type, ...], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Execute `func` and book it."""
        __tracebackhide__ = True
        manner = _manners.get(id(func))
        if manner is None or types or not manner.is_plain or is_compiling() or _is_tracing():
            return self._specially(func, types, args, kwargs or {})
        try:
            output = manner.run(*args, **kwargs) if kwargs else manner.run(*args)
        except RuntimeError:
            output = _execute_with_tensors(func, args, kwargs or {})
        self._book(manner, args, kwargs, output, sys._getframe().f_back)  # None in threads of TorchScript
        return output

    def _book(
        self,
        manner: _Manner,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        output: Any,
        frame: FrameType | None,
    ) -> None:
        __tracebackhide__ = True
        if manner.is_memorable:
            if edition() is not memo.edition:
                memo.hold_for(edition())
            # Some kernels return less where no gradient will be asked for.
            told = (*args, output) if manner.by_output else args
            operands: list[torch.Tensor] = []
            key = signature(manner.func, told, kwargs, _is_grad_enabled(), operands=operands)
        else:
            key = None
        try:
            known = None if key is None else _recall(key)
        except TypeError:  # a symbol among the numbers
            known = key = None
        if known is None:
            known = self._look(manner.func, args, kwargs or {}, output, key)
        elif memo.verify:
            check_known(known, self._look(manner.func, args, kwargs or {}, output, None), output)
        _, operator, work, made, is_alone = known
        if work is None and made is None and manner.is_memorable:  # others may have resized an operand
            return
        if key is None:
            operands = [*tensors(args, kwargs or {})]
        entry = self.tracker.running(frame) if is_alone or made is None else None
        if entry is None:
            self.tracker.book(work, frame, () if made is None else made(output), operator, read=operands)
            return
        if work is not None:
            entry.work.append(work)
        if is_alone:
            entry.call.memory.made_alone(output, (entry.path, operator), entry.is_recomputed)
        if operands:
            entry.call.memory.read(operands)

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, key: Key | None) -> _Known:
        """What this call did, remembered by its key."""
        __tracebackhide__ = True
        readings = values_read()
        effects = effects_of(func, args, kwargs, output)
        if _is_without_data(effects.made, args, kwargs):
            effects = Effects(NO_TRAFFIC, ())
        work = work_of(func, args, kwargs, output, effects.traffic)
        made = effects.made
        if key is None or values_read() != readings or not can_pick(output, made):
            return _Known(func, _name_of(func), work, (lambda _: made) if made else None, is_alone=False)
        is_alone = len(made) == 1 and made[0] is output and output.layout is torch.strided and not output.is_nested
        known = _Known(func, _name_of(func), work, picker(output, made), is_alone)
        memo.remember(key, known)
        return known

    def _specially(self, func: Any, types: tuple[type, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Execute and book what is not known to be an ordinary operator on ordinary tensors."""
        __tracebackhide__ = True
        if internals.FunctionalTensor in types:
            return func(
                *args, **kwargs
            )  # for the mode below, with which AOTAutograd makes a graph: no work of the model
        if not _PLAIN.issuperset(types) and any(dispatches_itself(kind) for kind in types):
            return NotImplemented  # let the subclass say what it is made of: those operators come by here
        if is_compiling():
            return func(*args, **kwargs)
        frame = sys._getframe(1).f_back
        manner = _manners.get(id(func)) or _manner(func)  # not earlier: subclasses ask for what is no operator
        if isinstance(func, internals.HigherOrderOperator):
            output = internals.run_dense_kernel(func, self, *args, **kwargs)
            if output is NotImplemented:
                output = func(*args, **kwargs)
                self.tracker.book(Work(func.name(), None).interned(), frame)
            return output
        if not manner.is_plain and not any(map(_has_own_kernels, tensors_of((args, kwargs)))):
            # Only under inference_mode do composite operators come whole.
            with self, internals.tracing_resumed():
                return internals.run_composite_kernel(func, *args, **kwargs)
        if internals.FakeTensor in types and internals.is_propagating_shards(frame):
            return func(*args, **kwargs)
        if _is_tracing():
            with internals.tracing_resumed():
                return _execute(func, args, kwargs)  # making a graph of a model is no work of it
        output = _execute(func, args, kwargs)
        if func is _EQUAL:
            entry = self.tracker.running(frame)
            if entry is not None and only_optimises(entry.module):
                return output
        self._book(manner, args, kwargs, output, frame)
        return output


def recording(tracker: ModuleTracker) -> AbstractContextManager[None]:
    """A block of others' code, whatever modes it enters or leaves: a recorder books it to the modules of a tracker."""
    return internals.beneath_other_modes(Recorder(tracker))


def work_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, traffic: Traffic) -> Work | None:
    """What a call of an operator costs and moves; None if that is nothing."""
    __tracebackhide__ = True
    rule = lookup(func)
    if rule.kind is Kind.UNKNOWN:
        return Work(_name_of(func), None, traffic).interned()
    cost = NOTHING if rule.kind is Kind.FREE else rule.cost(args, kwargs, output)
    if cost == NOTHING and traffic == NO_TRAFFIC:
        return None
    return Work(_name_of(func), cost, traffic).interned()


def _is_without_data(made: tuple[torch.Tensor, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether what has data leaves a mere shape behind, on meta, as weights do that are put away: that is nowhere."""
    if not made or not all(tensor.is_meta for tensor in made):
        return False
    operands = [*tensors(args, kwargs)]
    return bool(operands) and not any(tensor.is_meta for tensor in operands)


def dispatches_itself(kind: type) -> bool:
    """Whether a tensor class says itself what its operators do."""
    return (
        kind not in _PLAIN
        and getattr(kind, "__torch_dispatch__", torch._C._disabled_torch_dispatch_impl)
        is not torch._C._disabled_torch_dispatch_impl
    )


def _has_own_kernels(tensor: torch.Tensor) -> bool:
    """Whether composite operators have kernels of their own for this tensor: nested and opaque layouts do."""
    return tensor.is_nested or tensor.layout is not torch.strided


def _execute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return func(*args, **kwargs)
    except RuntimeError:
        return _execute_with_tensors(func, args, kwargs)


def _execute_with_tensors(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In an `except`: TorchScript passes numbers for tensors, which a mode gets as numbers and cannot pass on."""
    tensors = tuple(
        torch.tensor(value)
        if isinstance(value, (bool, int, float, complex)) and isinstance(argument.type, torch.TensorType)
        else value
        for value, argument in zip(args, func._schema.arguments, strict=False)
    )
    if all(map(operator.is_, tensors, args)):
        raise
    return func(*tensors, **kwargs)


def check_known(known: _Known, looked: _Known, output: Any) -> None:
    """Raise AssertionError where what is remembered is not what the operator did."""
    remembered, seen = (() if each.made is None else each.made(output) for each in (known, looked))
    if known.work != looked.work or [*map(id, remembered)] != [*map(id, seen)]:
        raise AssertionError(f"{known.operator}: {known.work} was remembered, {looked.work} is seen")


def _name_of(func: Any) -> str:
    """`aten::addmm`, without the overload."""
    return str(func._schema.name)
