"""The recorder: a dispatch mode that sees each operator that runs, below autograd, and books its cost to the modules.

It executes every operator as it came: nothing is replaced, patched or run twice. What an operator costs stands in
`costs/`, whom it belongs to in `modules.py`; this file only joins the two.
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.costs import NOTHING, Kind, lookup
from pytest_modelbudget.profiling.modules import Work, tensors_of
from pytest_modelbudget.profiling.traffic import NO_TRAFFIC, Traffic, effects_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_modelbudget.profiling.modules import ModuleTracker

# Tensor classes whose operators reach the mode as they should be booked.
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer, internals.FakeTensor})


class Recorder(TorchDispatchMode):
    """Books every operator that runs in its `with` block to the modules that `tracker`, already started, follows."""

    supports_higher_order_operators = True

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        internals.admit_higher_order_operators(type(self))
        self.tracker = tracker
        self._works: dict[Work, Work] = {}
        self._composite: dict[Any, bool] = {}

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
        kwargs = kwargs or {}
        if internals.FunctionalTensor in types:
            return func(
                *args, **kwargs
            )  # for the mode below, with which AOTAutograd makes a graph: no work of the model
        if not _PLAIN.issuperset(types) and any(dispatches_itself(kind) for kind in types):
            return NotImplemented  # let the subclass say what it is made of: those operators come by here
        if torch.compiler.is_compiling():
            return func(*args, **kwargs)
        if isinstance(func, internals.HigherOrderOperator):
            output = internals.run_dense_kernel(func, self, *args, **kwargs)
            if output is NotImplemented:
                output = func(*args, **kwargs)
                self.tracker.book(Work(func.name(), None), sys._getframe().f_back)
            return output
        if self._is_composite(func) and not any(map(_has_own_kernels, tensors_of((args, kwargs)))):
            # Only under inference_mode do composite operators come whole.
            with self, internals.tracing_resumed():
                return internals.run_composite_kernel(func, *args, **kwargs)
        if internals.FakeTensor in types and internals.is_propagating_shards(sys._getframe()):
            return func(*args, **kwargs)
        if internals.is_tracing():
            with internals.tracing_resumed():
                return _execute(func, args, kwargs)  # making a graph of a model is no work of it
        output = _execute(func, args, kwargs)
        effects = effects_of(func, args, kwargs, output)
        work = work_of(func, args, kwargs, output, effects.traffic)
        if work is not None:
            work = self._works.setdefault(work, work)
        if work is not None or effects.made:
            self.tracker.book(work, sys._getframe().f_back, effects.made, _name_of(func))
        return output

    def _is_composite(self, func: Any) -> bool:
        composite = self._composite.get(func)
        if composite is None:
            composite = self._composite[func] = internals.has_composite_kernel(func)
        return composite


def work_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, traffic: Traffic) -> Work | None:
    """What a call of an operator costs and moves; None if that is nothing."""
    rule = lookup(func)
    if rule.kind is Kind.UNKNOWN:
        return Work(_name_of(func), None, traffic)
    cost = NOTHING if rule.kind is Kind.FREE else rule.cost(args, kwargs, output)
    if cost == NOTHING and traffic == NO_TRAFFIC:
        return None
    return Work(_name_of(func), cost, traffic)


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
        # TorchScript passes numbers for tensors, which a mode gets as numbers and cannot pass on.
        tensors = tuple(
            torch.tensor(value)
            if isinstance(value, (bool, int, float, complex)) and isinstance(argument.type, torch.TensorType)
            else value
            for value, argument in zip(args, func._schema.arguments, strict=False)
        )
        if all(map(operator.is_, tensors, args)):
            raise
    return func(*tensors, **kwargs)


def _name_of(func: Any) -> str:
    """`aten::addmm`, without the overload."""
    return str(func._schema.name)
