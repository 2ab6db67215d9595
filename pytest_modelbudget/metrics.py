"""The metrics: one row for each figure that can be measured and limited. Pure: no torch, no pytest.

Marks, options, tables and reports derive from `METRICS`; a new metric is a new row of the catalogue.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pytest_modelbudget.catalogue import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_modelbudget.profiling.profile import Profile


class Unit(str, Enum):
    """What a metric is counted in."""

    COUNT = "count"
    MAC = "MAC"
    FLOP = "FLOP"
    BYTE = "byte"
    SECOND = "second"


class Source(str, Enum):
    """What has to be looked at to know a metric."""

    STATE = "state"
    """The model's parameters and buffers: known without a call."""
    COMPUTE = "compute"
    """The operators that a call executes."""
    STORAGE = "storage"
    """The storages that live during a call."""
    CLOCK = "clock"
    """Real time on a real device."""


class Metric:
    """One row of the table.

    Attributes:
        name: as in `profile.<name>`, `modelbudget(<name>=…)` and, behind `max_`, the mark.
        unit: what it is counted in.
        noun: what reports print behind the figure: "parameters", "FLOPs", "bytes", …
        source: what it takes to measure it.
        definition: one sentence, shown by `pytest --markers`.
        additive: whether figures of several calls may be summed or divided by the batch (`per=`).
        backward: whether it takes a backward pass.
        measure: of a custom metric, its figure in a profile; None: the profile's attribute of that name.
    """

    __slots__ = ("additive", "backward", "definition", "measure", "name", "noun", "source", "unit")

    def __init__(
        self,
        name: str,
        unit: Unit,
        noun: str,
        source: Source,
        definition: str,
        *,
        additive: bool = False,
        backward: bool = False,
        measure: Callable[[Profile], float | None] | None = None,
    ) -> None:
        self.name = name
        self.unit = unit
        self.noun = noun
        self.source = source
        self.definition = definition
        self.additive = additive
        self.backward = backward
        self.measure = measure

    def __repr__(self) -> str:
        return f"<Metric {self.name}>"

    @property
    def mark(self) -> str:
        """The name of the mark that limits this metric."""
        return f"max_{self.name}"

    @property
    def needs_call(self) -> bool:
        """Whether the model has to run for this metric."""
        return self.source is not Source.STATE

    @property
    def portable(self) -> bool:
        """Whether the figure is the same on every machine, device and backend."""
        return self.name not in _UNPORTABLE and not (self.measure and self.needs_call)

    @property
    def has_parts(self) -> bool:
        """Whether submodules have a figure of their own (`module=`)."""
        return self.source in (Source.STATE, Source.COMPUTE) and self.measure is None

    def of(self, profile: Profile) -> float | None:
        """The figure in a profile; None where it was not measured.

        Raises:
            MetricError: the function of a custom metric raised, or returned no figure.
        """
        if self.measure is None:
            figure: float | None = getattr(profile, self.name)
            return figure
        if self.needs_call and profile.macs is None:
            return None
        try:
            figure = self.measure(profile)
        except Exception as error:
            raise MetricError(f"the metric {self.name} raised {type(error).__name__}: {error}") from error
        # Booleans and NaN are no figures, and NumPy's integers are no JSON.
        if figure is None or (type(figure) in (int, float) and 0 <= figure < float("inf")):
            return figure
        raise MetricError(f"the metric {self.name} returned {figure!r}: return an int or float of at least 0, or None")


class MetricError(Exception):
    """A custom metric has no figure for a profile; the message says why."""


# Backends have different kernels: what one fuses, another moves through memory.
_UNPORTABLE = frozenset({"elementwise_flops", "total_flops", "memory", "traffic", "latency"})


_WITH_BACKWARD = frozenset({"backward_flops", "training_flops"})


def _metric(name: str, unit: str, noun: str, source: str, definition: str) -> Metric:
    looks_at = Source(source)
    additive = looks_at in (Source.COMPUTE, Source.CLOCK)
    return Metric(name, Unit(unit), noun, looks_at, definition, additive=additive, backward=name in _WITH_BACKWARD)


METRICS: dict[str, Metric] = {row[0]: _metric(*row) for row in ROWS}
"""Every metric by name, in the order in which reports show them."""
