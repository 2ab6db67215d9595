"""Metrics of the user's own, from the hook `pytest_modelbudget_metrics`. Pure: no torch, no pytest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_modelbudget.catalogue import MARKS
from pytest_modelbudget.metrics import METRICS, Metric, Source, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_modelbudget.profiling.profile import Profile


def custom_metric(
    name: str,
    measure: Callable[[Profile], float | None],
    definition: str,
    *,
    unit: str = "count",
    needs_call: bool = True,
    additive: bool = False,
) -> Metric:
    """A metric of your own, for the hook `pytest_modelbudget_metrics`.

    Args:
        name: as in `modelbudget(<name>=…)`; its mark is `max_<name>`.
        measure: the figure of a profile, an integer (or float) of at least 0, the smaller the better; None where it has
            none. A function of the profile alone: equal profiles have equal figures.
        definition: what it is, for `pytest --markers`: "convolutions of the model".
        unit: of the figure and its limits: "count", "MAC", "FLOP", "byte" or "second".
        needs_call: whether the model has to run for it; if not, `measure` may only look at `params`, `size`, the types
            of the modules and the like.
        additive: whether the figures of several calls may be summed or divided by the batch (`per=`).

    Raises:
        ValueError: there is no such unit, or the name is no word.
        TypeError: `measure` cannot be called.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{name!r} is no name of a metric: write a word such as layers")
    if not callable(measure):
        raise TypeError(f"the metric {name}: measure={measure!r} is no function of a profile")
    if unit not in list(Unit):
        raise ValueError(
            f"the metric {name}: there is no unit {unit!r}: write {', '.join(known.value for known in Unit)}"
        )
    source = Source.COMPUTE if needs_call else Source.STATE
    noun = name.replace("_", " ")
    return Metric(name, Unit(unit), noun, source, str(definition), additive=additive, measure=measure)


@contextmanager
def added(metrics: Iterable[Metric]) -> Iterator[None]:
    """Have custom metrics in the table until the block ends.

    Raises:
        ValueError: one is none, or is named as something else is.
    """
    metrics = list(metrics)
    for index, metric in enumerate(metrics):
        if not isinstance(metric, Metric):
            raise ValueError(f"{metric!r} is no metric: make it with pytest_modelbudget.custom_metric")
        others = {known.name: known for known in metrics[:index]}
        if metric.name in _TAKEN or metric.name in others or _is_built_in(metric.name):
            raise ValueError(f"the name {metric.name!r} is taken: give the metric another one")
    before = {metric.name: METRICS.get(metric.name) for metric in metrics}
    METRICS.update((metric.name, metric) for metric in metrics)
    MARKS.update(metric.mark for metric in metrics)
    try:
        yield
    finally:
        for name, known in before.items():
            # pytest may run inside of pytest, with the same conftest.py.
            if known is None:
                MARKS.discard(METRICS.pop(name).mark)
            else:
                METRICS[name] = known


def _is_built_in(name: str) -> bool:
    return name in METRICS and METRICS[name].measure is None


# What stands beside the names of metrics in marks, tables and reports.
_TAKEN = frozenset(
    {"growth", "limit", "tests", "model", "inputs", "module", "per", "device", "uncounted", "level", "message"}
)
