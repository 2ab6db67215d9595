"""What the tests measured, for people: profiles that read the same are told once, with their tests. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import METRICS, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_modelbudget.metrics import Metric

    Row = Mapping[str, Any]

_NOT_SHOWN = ("memory_course", "latency", "latency_measurement", "how")
"""When storages were freed differs with what holds them outside the model, and how long a call took each time."""


class Group(NamedTuple):
    """Profiles that read the same.

    Attributes:
        profile: the first of them.
        tests: the tests that they were measured in.
        variants: how many there are that differ, in modules or in digits that are not shown.
        latency: of those that were timed, in seconds: the least and the most.
    """

    profile: Row
    tests: list[str]
    variants: int
    latency: tuple[float, float] | None


def grouped(tests: Iterable[tuple[str, Sequence[Row]]], *, modules: bool = False) -> list[Group]:
    """The profiles of tests, in the order of the first of each.

    Args:
        tests: id and profiles of each.
        modules: whether the modules are shown, too.
    """
    found: dict[object, tuple[Row, dict[str, None], set[str], list[float]]] = {}
    for test, profiles in tests:
        for profile in profiles:
            exactly = repr({name: value for name, value in profile.items() if name not in _NOT_SHOWN})
            shown = exactly if modules else (*heading(profile), *figures(profile), *_remarks(profile))
            _, names, variants, times = found.setdefault(shown, (profile, {}, set(), []))
            names[test] = None
            variants.add(exactly)
            if profile["latency"] is not None:
                times.append(profile["latency"])
    return [
        Group(profile, list(names), len(variants), (min(times), max(times)) if times else None)
        for profile, names, variants, times in found.values()
    ]


def heading(profile: Row) -> Iterator[str]:
    """The model, what it was called with, and where."""
    yield profile["model"]
    if profile["inputs"]:
        yield profile["inputs"]
    if profile["device"]:
        yield f"on {profile['device']}"


def figures(row: Row) -> Iterator[str]:
    """`flops 192 FLOPs`, of everything but time that was measured of a model or a module."""
    for metric in METRICS.values():
        if metric.source is not Source.CLOCK and (text := figure(row, metric)):
            yield f"{metric.name} {text}"


def figure(row: Row, metric: Metric) -> str:
    """`192 FLOPs`; empty where it was not measured, or is nothing."""
    value = row.get("custom", {}).get(metric.name) if metric.measure else row.get(metric.name)
    if not value or (metric.backward and not row.get("backward_flops")):
        return ""
    return quantity.format(value, metric.unit)


def latency(group: Group) -> str:
    """`5.1 ms`, or `5.1 ms to 6 ms`; empty where nothing was timed."""
    if group.latency is None:
        return ""
    texts = dict.fromkeys(quantity.format(seconds, METRICS["latency"].unit) for seconds in group.latency)
    return " to ".join(texts)


def operators(counts: Mapping[str, int]) -> str:
    """`mylib::scan (x3), mylib::gather`, the most frequent first."""
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} (x{runs})" if runs > 1 else name for name, runs in most_first)


def _remarks(profile: Row) -> Iterator[str]:
    yield operators(profile["uncounted"])
    yield from profile["notes"]
