"""The metrics: one row for each figure that can be measured and limited.

Marks, options, tables and reports derive from `METRICS`; a new metric is a new row. Pure: no torch, no pytest.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


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


class Metric(NamedTuple):
    """One row of the table.

    Attributes:
        name: as in `profile.<name>`, `modelbudget(<name>=…)` and, behind `max_`, the mark.
        unit: what it is counted in.
        noun: what reports print behind the figure: "parameters", "FLOPs", "bytes", …
        source: what it takes to measure it.
        definition: one sentence, shown by `pytest --markers`.
        additive: whether figures of several calls may be summed or divided by the batch (`per=`).
        backward: whether it takes a backward pass.
    """

    name: str
    unit: Unit
    noun: str
    source: Source
    definition: str
    additive: bool = False
    backward: bool = False

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
        return self.name not in _UNPORTABLE

    @property
    def has_parts(self) -> bool:
        """Whether submodules have a figure of their own (`module=`)."""
        return self.source in (Source.STATE, Source.COMPUTE)


# Backends have different kernels: what one fuses, another moves through memory.
_UNPORTABLE = frozenset({"elementwise_flops", "total_flops", "memory", "traffic", "latency"})


def _state(name: str, unit: Unit, noun: str, definition: str) -> Metric:
    return Metric(name, unit, noun, Source.STATE, definition)


def _compute(name: str, unit: Unit, noun: str, definition: str) -> Metric:
    return Metric(name, unit, noun, Source.COMPUTE, definition, additive=True)


_ROWS = (
    _state("params", Unit.COUNT, "parameters", "elements of the model's distinct parameters, tied ones once"),
    _state("trainable_params", Unit.COUNT, "trainable parameters", "elements of the parameters that require grad"),
    _state("size", Unit.BYTE, "bytes", "storage of the model's distinct parameters and buffers"),
    _compute("macs", Unit.MAC, "MACs", "multiply-accumulates of the contractions of a forward pass"),
    _compute("flops", Unit.FLOP, "FLOPs", "flops_per_mac x MACs, plus FFTs and linear algebra, of a forward pass"),
    _compute("elementwise_flops", Unit.FLOP, "other FLOPs", "everything else that computes in a forward pass"),
    _compute("total_flops", Unit.FLOP, "FLOPs in all", "FLOPs and other FLOPs of a forward pass together"),
    _compute("backward_flops", Unit.FLOP, "FLOPs", "FLOPs of contractions of a backward pass")._replace(backward=True),
    _compute("training_flops", Unit.FLOP, "FLOPs", "FLOPs of a forward and a backward pass")._replace(backward=True),
    _compute("activations", Unit.COUNT, "activations", "elements produced by convolutions and matrix products"),
    Metric(
        "memory", Unit.BYTE, "bytes", Source.STORAGE, "peak of the bytes alive at once during a call and its backward"
    ),
    _compute("traffic", Unit.BYTE, "bytes", "bytes read and written by the operators of a forward pass, nothing fused"),
    Metric(
        "latency",
        Unit.SECOND,
        "seconds",
        Source.CLOCK,
        "median wall time of a call on a real device, warmed up, synchronised",
        additive=True,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
"""Every metric by name, in the order in which reports show them."""
