"""What stands below the table of modules: the figures of the whole model, in blocks of labelled lines."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_modelbudget.profiling.profile import Profile


class Line(NamedTuple):
    """`label  figure  remark`."""

    label: str
    figure: str
    remark: str = ""


_ELEMENT = 4
_MEGABYTE = 2**20


class Sizes(NamedTuple):
    """The four sizes that torchsummary prints, in bytes, by its definitions: every element takes four bytes."""

    input: int
    passes: int
    """Forward and backward: the output of each call of each module twice, but for the model and `nn.Sequential`."""
    params: int

    @property
    def total(self) -> int:
        """The three together."""
        return sum(self)


def torchsummary_sizes(profile: Profile) -> Sizes:
    """What torchsummary estimates that the model takes."""
    root = profile.modules[""]
    below = [module for path, module in profile.modules.items() if path]
    outputs = sum(module.output_elements for module in below or [root] if not module.is_container)
    return Sizes(
        input=_ELEMENT * sum(map(prod, root.input_shapes)),
        passes=2 * _ELEMENT * outputs,
        params=_ELEMENT * profile.params,
    )


def blocks(profile: Profile) -> list[list[Line]]:
    """The totals: of parameters, of torchsummary's sizes, of compute, of memory and time. Empty blocks are left out."""
    parts = (_parameters(profile), _sizes(profile), _compute(profile), _memory(profile), _latency(profile))
    return [block for part in parts if (block := list(part))]


def shared_params(profile: Profile) -> int:
    """How many parameters more the parts of the model would have if they shared none of them."""
    most = 0
    for parent, module in profile.modules.items():
        prefix = f"{parent}." if parent else ""
        parts = [
            part.params
            for path, part in profile.modules.items()
            if path.startswith(prefix) and path and "." not in path[len(prefix) :] and part.same_as is None
        ]
        most = max(most, sum(parts) - module.params)
    return most


def _parameters(profile: Profile) -> Iterator[Line]:
    shared = shared_params(profile)
    tied = f"{short_count(shared)} of them tied, counted once" if shared > 0 else ""
    yield Line("Total params", f"{profile.params:,}", tied)
    yield Line("Trainable params", f"{profile.trainable_params:,}")
    yield Line("Frozen params", f"{profile.params - profile.trainable_params:,}")


def _sizes(profile: Profile) -> Iterator[Line]:
    if not profile.calls:
        return
    sizes = torchsummary_sizes(profile)
    yield Line("Input size", _megabytes(sizes.input))
    yield Line("Forward/backward pass size", _megabytes(sizes.passes))
    yield Line("Params size", _megabytes(sizes.params))
    yield Line("Estimated total size", _megabytes(sizes.total), "by torchsummary's rules")


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:,.2f} MB"


def _compute(profile: Profile) -> Iterator[Line]:
    if profile.macs is not None:
        yield Line("MACs", short_count(profile.macs))
    if profile.flops is not None:
        yield Line("FLOPs", short_count(profile.flops), _convention(profile))
    if profile.elementwise_flops is not None:
        yield Line("Other FLOPs", short_count(profile.elementwise_flops))
    if profile.total_flops is not None:
        yield Line("Total FLOPs", short_count(profile.total_flops))
    if profile.backward_flops:
        yield Line("Backward FLOPs", short_count(profile.backward_flops), "of contractions")
    if profile.activations is not None:
        yield Line("Activations", short_count(profile.activations))


def _convention(profile: Profile) -> str:
    return "a MAC is a FLOP" if profile.flops_per_mac == 1 else f"a MAC is {profile.flops_per_mac} FLOPs"


def _memory(profile: Profile) -> Iterator[Line]:
    if profile.memory is not None:
        yield Line("Peak memory", short_bytes(profile.memory), _peak(profile))
    if profile.allocated is not None:
        yield Line("Allocated", short_bytes(profile.allocated), f"at most, by PyTorch's allocator on {profile.device}")
    yield Line("Params and buffers", short_bytes(profile.size), "in their dtypes")
    if profile.read is not None and profile.written is not None:
        yield Line("Read", short_bytes(profile.read))
        yield Line("Written", short_bytes(profile.written))
        intensity = profile.arithmetic_intensity
        remark = "" if intensity is None else f"{intensity:.3g} FLOPs a byte"
        yield Line("Traffic", short_bytes(profile.read + profile.written), remark)


def _peak(profile: Profile) -> str:
    return f"in {profile.memory_at[0] or profile.model}" if profile.memory_at else ""


def _latency(profile: Profile) -> Iterator[Line]:
    measured = profile.latency_measurement
    if measured is not None:
        spread = quantity.format(measured.spread, Unit.SECOND)
        remark = f"IQR {spread}, {measured.runs:,} run{'s' * (measured.runs != 1)} on {measured.device}, "
        remark += quantity.counted(measured.threads, "thread")
        yield Line("Latency", quantity.format(measured.median, Unit.SECOND), remark)


def short_count(value: int) -> str:
    """`25.56 M`."""
    return quantity.format(value, Unit.COUNT)


def short_bytes(value: int) -> str:
    """`97.49 MiB`."""
    return quantity.format(value, Unit.BYTE)
