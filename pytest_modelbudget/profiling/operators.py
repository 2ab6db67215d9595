"""What each operator cost in a whole call: the work that was booked, summed by the operator's name."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_modelbudget.profiling.profile import OperatorProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_modelbudget.profiling.calls import Work


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    backward_calls: int = 0
    macs: int = 0
    flops: int = 0
    elementwise: int = 0
    backward_macs: int = 0
    backward_flops: int = 0
    activations: int = 0
    read: int = 0
    written: int = 0

    def add_forward(self, work: Work, times: int) -> None:
        self.calls += times
        self.read += times * work.traffic.read
        self.written += times * work.traffic.written
        if work.cost is not None:
            self.macs += times * work.cost.macs
            self.flops += times * work.cost.flops
            self.elementwise += times * work.cost.elementwise
            self.activations += times * work.cost.activations

    def add_backward(self, work: Work, times: int) -> None:
        self.backward_calls += times
        if work.cost is not None:
            self.backward_macs += times * work.cost.macs
            self.backward_flops += times * work.cost.flops

    def profile(self, flops_per_mac: int) -> OperatorProfile:
        return OperatorProfile(
            calls=self.calls,
            backward_calls=self.backward_calls,
            macs=self.macs,
            flops=flops_per_mac * self.macs + self.flops,
            elementwise_flops=self.elementwise,
            backward_flops=flops_per_mac * self.backward_macs + self.backward_flops,
            activations=self.activations,
            read=self.read,
            written=self.written,
        )


def operators_of(forward: list[Work], backward: list[Work], flops_per_mac: int) -> dict[str, OperatorProfile]:
    """Name -> figures, the costliest first; they add up to those of the whole call."""
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    for work, times in _counted(forward):
        sums[work.operator].add_forward(work, times)
    for work, times in _counted(backward):
        sums[work.operator].add_backward(work, times)
    found = [(name, total.profile(flops_per_mac)) for name, total in sums.items()]
    return dict(sorted(found, key=lambda item: (*_cheapness(item[1]), item[0])))


def _counted(works: list[Work]) -> Iterator[tuple[Work, int]]:
    """Each work and how often it comes. Equal work is the same object, and counting ids is cheaper."""
    times = Counter(map(id, works))
    return ((work, times[number]) for number, work in {id(work): work for work in works}.items())


def _cheapness(row: OperatorProfile) -> tuple[int, int]:
    return -(row.flops + row.elementwise_flops + row.backward_flops), -((row.read or 0) + (row.written or 0))
