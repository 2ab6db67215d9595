"""What measuring yields: the figures of one call, with a tree of the model's modules. Plain data; no torch."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModuleProfile:
    """The figures of one module, everything below it included.

    Attributes:
        type: the class name.
        calls: how often the module was called during the call.
        params, trainable_params, size: distinct parameters (count), and with buffers (bytes).
        macs, flops, elementwise_flops, backward_flops: work; None where compute was not measured.
        activations: elements produced by convolutions and matrix products.
        read, written: bytes that the operators of the forward pass move, each tensor once per operator.
        memory: of the bytes alive at the peak of the whole call, those that belong to the module: its parameters and
            buffers and what it made, gradients included. Of the model itself, all of them.
        input_shapes, output_shapes: of the tensors of the first call, depth first.
        output_elements: of the tensors that the module itself returned, in all of its calls.
        duration: wall time of its calls in seconds, where it was measured.
        is_container: an `nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict`: it arranges modules and computes nothing.
        same_as: the first path of a module that stands at several; None at the first. Its calls stand where it was
            called.
    """

    type: str
    calls: int
    params: int
    trainable_params: int
    size: int
    macs: int | None = None
    flops: int | None = None
    elementwise_flops: int | None = None
    backward_flops: int | None = None
    activations: int | None = None
    read: int | None = None
    written: int | None = None
    memory: int | None = None
    input_shapes: tuple[Shape, ...] = ()
    output_shapes: tuple[Shape, ...] = ()
    output_elements: int = 0
    duration: float | None = None
    is_container: bool = False
    same_as: str | None = None

    def __repr__(self) -> str:
        calls = f"{self.calls} call{'s' * (self.calls != 1)}"
        return f"<ModuleProfile of {self.type}: {', '.join([*_figures(self, _TOLD_OF_MODULES), calls])}>"

    @property
    def total_flops(self) -> int | None:
        """FLOPs and other work together."""
        return _sum(self.flops, self.elementwise_flops)

    @property
    def training_flops(self) -> int | None:
        """FLOPs of the contractions of forward and backward pass together."""
        return _sum(self.flops, self.backward_flops)

    @property
    def traffic(self) -> int | None:
        """Bytes read and written together."""
        return _sum(self.read, self.written)


def module_profile(figures: dict[str, Any]) -> ModuleProfile:
    """What `ModuleProfile(**figures)` makes, in a fraction of the time: large models have thousands."""
    made = object.__new__(ModuleProfile)
    # What is not given is found in the class, where dataclasses keep their defaults.
    object.__setattr__(made, "__dict__", figures)
    return made


_TOLD = ("params", "macs", "flops", "backward_flops", "memory", "latency")
_TOLD_OF_MODULES = ("params", "macs", "flops", "backward_flops")


def _figures(part: Profile | ModuleProfile, names: Iterable[str]) -> Iterator[str]:
    """`flops=8_178_368_512`, of what was measured: a failed assert shows what a figure is an attribute of."""
    for name in names:
        figure = getattr(part, name)
        if figure is not None:
            yield f"{name}={figure:_}"


def _sum(*figures: int | None) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


@dataclass(frozen=True)
class OperatorProfile:
    """What one operator cost in the whole call, every time that it ran.

    Attributes:
        calls, backward_calls: how often it ran, in the forward and in the backward pass.
        macs, flops, elementwise_flops, backward_flops, activations, read, written: as in `ModuleProfile`.
    """

    calls: int = 0
    backward_calls: int = 0
    macs: int = 0
    flops: int = 0
    elementwise_flops: int = 0
    backward_flops: int = 0
    activations: int = 0
    read: int | None = 0
    written: int | None = 0


@dataclass(frozen=True)
class MemoryCourse:
    """How many bytes were alive over the course of a call, sampled as storages were made; the peak is kept.

    Attributes:
        points: at most a few hundred `(storages made until then, bytes alive, path of the module that made it)`.
        storages: how many were made in all, inputs included; `forward`: until the forward pass was over.
    """

    points: tuple[tuple[int, int, str], ...]
    storages: int
    forward: int


@dataclass(frozen=True)
class LatencyMeasurement:
    """How long a call takes, in seconds.

    Attributes:
        median: of the calls, or of blocks of them where one is too short to be timed; `spread`: the interquartile
            range.
        lower, upper: the first and the third quartile.
        runs: timed calls.
        threads: that torch used on the CPU.
        device: where it ran.
    """

    median: float
    lower: float
    upper: float
    runs: int
    threads: int
    device: str

    @property
    def spread(self) -> float:
        """The interquartile range."""
        return self.upper - self.lower


KEPT_OUTSIDE = "something outside the model keeps tensors of this run"
"""How the note begins on what an abstract run has left behind: tests that come upon it fail."""


@dataclass(frozen=True)
class Profile:
    """The figures of one call of a model. Counts are exact integers; None means not measured.

    Attributes:
        model: the class name of the model.
        params, trainable_params, size: as in `ModuleProfile`.
        macs, flops, elementwise_flops, backward_flops, activations: as in `ModuleProfile`.
        memory: peak of the bytes alive at once during the call and its backward; `memory_by_kind`: of which kind
            they were; `memory_at`: the module and the operator that made the last of them; `memory_course`: what led
            there and what came after.
        allocated: where the plugin ran the model on a device with a caching allocator (CUDA, XPU): the most bytes that
            this handed out at once, beside `memory`, which is the same on every machine.
        latency: median wall time of the call in seconds; `latency_measurement`: with its spread.
        uncounted: operators of unknown cost and how often they ran; `uncounted_in`: by the path of the innermost module
            that ran them.
        operators: those that cost or move something, by name, the costliest first.
        modules: dotted path -> figures; `""` is the model itself.
        batch: dimension 0 of the first tensor among the inputs; None where there is none.
        inputs: the inputs' shapes for people: `1x3x224x224`.
        device: the device type on which the call ran; `how`: `observed` or `abstract`.
        flops_per_mac: the convention of every FLOP figure here.
        calls: how many calls of the model these figures cover (more than one for sums).
        notes: what a reader must know to trust the figures.
    """

    model: str
    params: int
    trainable_params: int
    size: int
    macs: int | None = None
    flops: int | None = None
    elementwise_flops: int | None = None
    backward_flops: int | None = None
    activations: int | None = None
    read: int | None = None
    written: int | None = None
    memory: int | None = None
    memory_by_kind: dict[str, int] = field(default_factory=dict)
    memory_at: tuple[str, str] | None = None
    memory_course: MemoryCourse | None = None
    allocated: int | None = None
    latency: float | None = None
    latency_measurement: LatencyMeasurement | None = None
    uncounted: dict[str, int] = field(default_factory=dict)
    uncounted_in: dict[str, dict[str, int]] = field(default_factory=dict)
    operators: dict[str, OperatorProfile] = field(default_factory=dict)
    modules: dict[str, ModuleProfile] = field(default_factory=dict)
    batch: int | None = None
    inputs: str = ""
    device: str = ""
    how: str = ""
    flops_per_mac: int = 2
    calls: int = 1
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        inputs = f" for {textwrap.shorten(self.inputs, 60, placeholder=' ...')}" if self.inputs else ""
        modules = f"{len(self.modules)} module{'s' * (len(self.modules) != 1)}"
        return f"<Profile of {self.model}{inputs}: {', '.join([*_figures(self, _TOLD), modules])}>"

    @property
    def total_flops(self) -> int | None:
        """FLOPs and other work of the forward pass together."""
        return _sum(self.flops, self.elementwise_flops)

    @property
    def traffic(self) -> int | None:
        """Bytes read and written together."""
        return _sum(self.read, self.written)

    @property
    def is_outside(self) -> bool:
        """Whether these figures are work of the model's parts and methods outside a call of the model itself."""
        return bool(self.calls) and "" in self.modules and not self.modules[""].calls

    @property
    def arithmetic_intensity(self) -> float | None:
        """FLOPs in all for each byte moved, nothing fused; None where either is not measured or nothing moved."""
        return self.total_flops / self.traffic if self.total_flops is not None and self.traffic else None

    @property
    def training_flops(self) -> int | None:
        """FLOPs of the contractions of forward and backward pass together."""
        return _sum(self.flops, self.backward_flops)

    def summary(
        self,
        *,
        columns: Iterable[str] | None = None,
        depth: int | None = None,
        sort: str | None = None,
        expand: bool = False,
        width: int | None = None,
    ) -> str:
        """The table of modules that people know from torchsummary and torchstat, totals below: `print(p.summary())`.

        Args:
            columns: any of type, input, output, calls, params, trainable_params, size, macs, flops,
                elementwise_flops, total_flops, backward_flops, activations, read, written, traffic, duration, share
                and duration_share; None: those that are measured and fit.
            depth: levels of modules below the model; None: all.
            sort: the column by which modules are sorted, the largest first; None: as they are defined.
            expand: whether equal neighbours, such as the blocks of a transformer, have a row each.
            width: in characters; None: that of the terminal.

        Raises:
            ColumnError: there is no such column.
        """
        from pytest_modelbudget.reporting.paper import Paper
        from pytest_modelbudget.reporting.summary import summary

        paper = replace(Paper.of(sys.stdout), colour=False)  # a string goes anywhere
        if width is not None:
            paper = replace(paper, width=width)
        return summary(self, columns=columns, depth=depth, sort=sort, expand=expand, paper=paper)

    def copy(self) -> Profile:
        """The same figures in tables of its own."""
        made = object.__new__(Profile)
        tables = {name: value.copy() for name, value in self.__dict__.items() if type(value) is dict}
        tables["uncounted_in"] = {path: names.copy() for path, names in self.uncounted_in.items()}
        object.__setattr__(made, "__dict__", {**self.__dict__, **tables})
        return made

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON-able primitives."""
        figures = asdict(self)
        figures.update(_sums(self))
        for path, row in figures["modules"].items():
            row.update(_sums(self.modules[path]))
        return figures


def _sums(part: Profile | ModuleProfile) -> dict[str, int | None]:
    return {"total_flops": part.total_flops, "training_flops": part.training_flops, "traffic": part.traffic}
