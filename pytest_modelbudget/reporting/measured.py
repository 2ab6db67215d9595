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
        steps: of a loop, all its calls in their order.
    """

    profile: Row
    tests: list[str]
    variants: int
    latency: tuple[float, float] | None
    steps: tuple[Row, ...] = ()

    @property
    def weight(self) -> tuple[int, int]:
        """What to order models by: the work of a call, then the parameters."""
        return max(row["total_flops"] or 0 for row in self.rows), self.profile["params"]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The profiles that it tells of."""
        return self.steps or (self.profile,)


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


def folded(groups: Iterable[Group]) -> list[Group]:
    """The groups, with the steps of a loop told together: a generation makes another call with every token.

    Steps are calls in a row of one model in the same tests, equal in their first input. A prefill is longer there.
    """
    runs: list[list[Group]] = []
    for group in groups:
        step = _step_of(group)
        if runs and step is not None and step == _step_of(runs[-1][-1]):
            runs[-1].append(group)
        else:
            runs.append([group])
    return [group for run in runs for group in ([_loop_of(run)] if len(run) >= _LOOP else run)]


def _loop_of(steps: Sequence[Group]) -> Group:
    return steps[0]._replace(variants=1, latency=_spread(steps), steps=tuple(step.profile for step in steps))


_LOOP = 3
"""From so many steps on they are told together."""


def _step_of(group: Group) -> object:
    profile = group.profile
    if not profile["inputs"] or profile.get("outside"):
        return None
    names = ("model", "params", "trainable_params", "size", "device", "how")
    shapes = profile["inputs"].split(", ")
    return *(profile[name] for name in names), shapes[0], len(shapes), *group.tests, *_remarks(profile)


def _spread(groups: Iterable[Group]) -> tuple[float, float] | None:
    times = [time for group in groups for time in group.latency or ()]
    return (min(times), max(times)) if times else None


def by_model(groups: Iterable[Group], *, calls: bool) -> list[Group]:
    """The groups of each model together, the heaviest model first.

    `calls`: whether the heaviest call of each comes first, too, rather than that of the first test.
    """
    heaviest: dict[tuple[Any, ...], tuple[int, int]] = {}
    groups = list(groups)
    for group in groups:
        model = _model_of(group)
        heaviest[model] = max(heaviest.get(model, group.weight), group.weight)
    places = {
        model: place for place, model in enumerate(sorted(heaviest, key=lambda name: heaviest[name], reverse=True))
    }
    if calls:
        groups.sort(key=lambda group: group.weight, reverse=True)
    return sorted(groups, key=lambda group: places[_model_of(group)])


def _model_of(group: Group) -> tuple[Any, ...]:
    """What tells models apart: large and small ones may be of one class."""
    return tuple(group.profile[name] for name in ("model", "params", "size"))


def heading(profile: Row) -> Iterator[str]:
    """The model, what it was called with, and where."""
    yield profile["model"]
    if profile.get("outside"):
        yield "outside a call of the model"
    elif profile["inputs"]:
        yield profile["inputs"]
    if profile["device"]:
        yield f"on {profile['device']}"


def loop(group: Group) -> str:
    """`11 different calls, inputs up to 1x1, 1x12`; empty where there is no loop."""
    if not group.steps:
        return ""
    last = group.steps[-1]["inputs"]
    grown = "" if last == group.profile["inputs"] else f", up to {last}"
    return f"{len(group.steps)} different calls in a row{grown}"


def figures(*rows: Row, state: bool = True) -> Iterator[str]:
    """`flops 192 FLOPs`, of everything but time that was measured of a model or a module.

    Args:
        rows: of one model or module; of several the least and the most.
        state: whether also what the model holds, whatever it is called with.
    """
    for metric in METRICS.values():
        if metric.source is Source.CLOCK or (metric.source is Source.STATE and not state):
            continue
        if text := figure(metric, *rows):
            yield f"{metric.name} {text}"


def figure(metric: Metric, *rows: Row) -> str:
    """`192 FLOPs`, or of several rows `192 FLOPs to 208 FLOPs`; empty where it was not measured, or is nothing."""
    values = [
        row.get("custom", {}).get(metric.name) if metric.measure else row.get(metric.name)
        for row in rows
        if not metric.backward or row.get("backward_flops")
    ]
    known = [value for value in values if value]
    if not known:
        return ""
    return " to ".join(dict.fromkeys(quantity.format(value, metric.unit) for value in (min(known), max(known))))


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
