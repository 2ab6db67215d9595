"""One abstract run from end to end: protects, runs, restores, and says what could not be restored."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling import costs, internals
from pytest_modelbudget.profiling.abstract.environment import undisturbed
from pytest_modelbudget.profiling.abstract.errors import explained
from pytest_modelbudget.profiling.abstract.fused import fused_kernels
from pytest_modelbudget.profiling.abstract.journal import Journal
from pytest_modelbudget.profiling.abstract.literals import RealLiterals
from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.abstract.mode import AbstractMode
from pytest_modelbudget.profiling.abstract.protection import Protection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from pytest_modelbudget.profiling.abstract.tracking import RunTracker


class AbstractExecution:
    """The block in which models run abstractly, and where they may be called.

        with AbstractExecution([model], autograd=False) as execution:
            with execution.mode(tracker):
                model(*args)

    Inside, the models hold meta twins; afterwards everything is as before, however the block ended.

    Args:
        models: what will be called.
        autograd: whether a backward pass follows. Without, operators are seen above the composites that make them
            up, which is faster; the figures are the same.
        literals: whether the values of literals are kept; see `literals.py`.
        fuses_attention: whether scaled dot product attention is one operator, or what it does without one.
        keeps_floats: whether floating constants have values also where autograd records, in spite of kernels that want
            all operands on one device.
    """

    def __init__(
        self,
        models: Iterable[nn.Module],
        *,
        autograd: bool,
        literals: bool = False,
        fuses_attention: bool = True,
        keeps_floats: bool = True,
    ) -> None:
        self._models = tuple(models)
        self._autograd = autograd
        self._fuses_attention = fuses_attention
        self._keeps_floats = keeps_floats
        self._literals = literals
        self._journal = Journal()
        self._trackers: list[RunTracker] = []
        self._stack = ExitStack()

    def __enter__(self) -> AbstractExecution:
        """Put the twins in."""
        memo.hold_for(costs.edition())
        with ExitStack() as stack:
            stack.enter_context(undisturbed())
            self._protection = stack.enter_context(Protection(self._models))
            stack.callback(self._journal.undo)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Restore everything."""
        self._stack.__exit__(*exception)

    @contextmanager
    def mode(self, tracker: RunTracker) -> Iterator[None]:
        """A block in which operators run abstractly and are booked to what `tracker` follows.

        Raises:
            DataDependentError: the model looks at values that depend on weights or floating inputs.
        """
        self._trackers.append(tracker)
        with ExitStack() as stack:
            fuses = self._fuses_attention
            stack.enter_context(fused_kernels(attention=fuses) if self._autograd else internals.below_autograd())
            protection = self._protection
            stack.enter_context(
                AbstractMode(
                    tracker,
                    self._journal,
                    protection.twin,
                    protection.is_foreign,
                    has_foreign=protection.has_foreign,
                    autograd=self._autograd,
                    fuses_attention=fuses,
                    keeps_floats=self._keeps_floats,
                )
            )
            if self._literals:
                stack.enter_context(RealLiterals())
            try:
                yield
            except Exception as error:
                explanation = explained(error)
                if explanation is None:
                    raise
                raise explanation from error

    def leftovers(self) -> Counter[str]:
        """The operators whose abstract output somebody outside has kept; asked when the run is over.

        A cache at module level, an `lru_cache`, a hook with a list: they would hand it to the next real call.
        """
        if self._remaining():
            gc.collect()  # a cycle is no leftover
        return Counter(self._remaining())

    def _remaining(self) -> list[str]:
        return [operator for tracker in self._trackers for operator in tracker.remaining()]
