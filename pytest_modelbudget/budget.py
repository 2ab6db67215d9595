"""Limits, budgets and verdicts: a budget held against what was measured. Pure: no torch, no pytest."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from pytest_modelbudget.metrics import Metric


class Per(str, Enum):
    """What one figure covers before it is held against the limit."""

    CALL = "call"
    SAMPLE = "sample"
    TEST = "test"


class Uncounted(str, Enum):
    """What an operator of unknown cost does to a test whose compute is limited."""

    FAIL = "fail"
    WARN = "warn"
    IGNORE = "ignore"


class Level(str, Enum):
    """What an exceeded limit does."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class TensorSpec:
    """An input to make: its shape, and the name of its torch dtype (None: the default floating dtype)."""

    shape: tuple[int, ...]
    dtype: str | None = None


Inputs = Union[str, tuple[TensorSpec, ...], dict[str, TensorSpec], "Callable[..., object]"]
"""What to call a model with: the name of a fixture, positional or named tensors, or a function of the model."""


@dataclass(frozen=True)
class Source:
    """Where a limit was written.

    Attributes:
        text: as the user wrote it: `@max_flops("4.1G")`, `modelbudget.toml: budgets[0].max_flops`.
        location: `tests/test_resnet.py:12`, or the file of a table.
        direct: written on the function or its `pytest.param` (or inside the test): such a limit fails
            when nothing was measured; one inherited from class, module or configuration lists the test.
        everywhere: set for every test of the suite; who measures nothing is not meant.
    """

    text: str
    location: str
    direct: bool
    everywhere: bool = False


def told(text: str, location: str) -> str:
    """Where a limit was written, in one go: of a table its key alone, which begins with the file."""
    return text if text.startswith(f"{location}:") else f"{text} at {location}"


@dataclass(frozen=True)
class Limit:
    """The largest value allowed for one metric.

    Attributes:
        metric: the row of the table.
        value: the exact bound in the metric's unit (a MAC limit on FLOPs is already converted); None lifts.
            Of a relative limit the growth that it allows, 1/100 for `"1%"`, until the baseline gives it a bound.
        written: the limit as the user wrote it, for messages: `"4.1G"`.
        source: where.
        model: which fixture, parameter or attribute is the model under test; None: section 3.2 of the design decides.
        inputs: what to call the model with when the test does not.
        module: pattern of the submodules that the limit is for, each of them; None: the whole model.
        device, uncounted: override the settings for this limit.
        message: the team's own words.
        relative: whether the limit is on growth, against the baseline.
    """

    metric: Metric
    value: Fraction | None
    written: str
    source: Source
    model: str | None = None
    inputs: Inputs | None = field(default=None, compare=False)
    module: str | None = None
    per: Per = Per.CALL
    device: str | None = None
    uncounted: Uncounted | None = None
    level: Level = Level.ERROR
    message: str | None = None
    relative: bool = False

    @property
    def key(self) -> tuple[str, str | None, str | None, Per, Level, bool]:
        """What makes two limits rivals, of which the closer one wins."""
        return (self.metric.name, self.model, self.module, self.per, self.level, self.relative)

    @property
    def mark(self) -> str:
        """The name of the mark that sets such a limit."""
        return "max_growth" if self.relative else self.metric.mark


@dataclass(frozen=True)
class Budget:
    """The limits that apply to one test."""

    limits: tuple[Limit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.limits)
