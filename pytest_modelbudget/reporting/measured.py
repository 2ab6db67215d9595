"""What the tests measured, for people: profiles that read the same are told once, with their tests. Pure."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import METRICS, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_modelbudget.metrics import Metric

    Row = Mapping[str, Any]

_NOT_SHOWN = ("memory_course", "latency", "latency_measurement", "how")
"""When storages were freed differs with what holds them outside the model, and how long a call took each time."""


class Total(NamedTuple):
    """What the calls of a model took together.

    Attributes:
        calls: how many there were.
        figures: the sum of each metric that has a figure for all of them.
    """

    calls: int
    figures: Mapping[str, int]

    def __add__(self, other: Total) -> Total:  # type: ignore[override]
        figures = {name: figure + other.figures[name] for name, figure in self.figures.items() if name in other.figures}
        return Total(self.calls + other.calls, figures)


_SUMMED = ("macs", "flops", "total_flops", "training_flops")
"""What a row of several calls also tells the sum of: what a limit with `per="test"` would hold."""


class Group(NamedTuple):
    """Profiles that read the same.

    Attributes:
        profile: the first of them.
        tests: the tests that they were measured in.
        variants: how many there are that differ, in modules or in digits that are not shown.
        latency: of those that were timed, in seconds: the least and the most.
        steps: of a loop, all its calls in their order.
        others: the other calls of the model in these tests, where they have no rows of their own.
        totals: what all these calls took together, by test; of a test only where it is known how often it made them.
    """

    profile: Row
    tests: list[str]
    variants: int
    latency: tuple[float, float] | None
    steps: tuple[Row, ...] = ()
    others: tuple[Row, ...] = ()
    totals: Mapping[str, Total] = {}

    @property
    def weight(self) -> tuple[int, int]:
        """What to order models by: the work of a call, then the parameters."""
        return max(map(_weight, self.rows))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The profiles that it tells of."""
        return self.steps or (self.profile,)


def _weight(profile: Row) -> tuple[int, int]:
    return profile["total_flops"] or 0, profile["params"]


def grouped(
    tests: Iterable[tuple[str, Sequence[Row]]],
    *,
    modules: bool = False,
    times: Mapping[str, Sequence[int]] | None = None,
) -> list[Group]:
    """The profiles of tests, in the order of the first of each.

    Args:
        tests: id and profiles of each.
        modules: whether the modules are shown, too.
        times: how often a test made the call of each of its profiles, where that is known; 0 where it is not.
    """
    found: dict[object, tuple[Row, dict[str, Total | None], set[str], list[float]]] = {}
    for test, profiles in tests:
        counts = (times or {}).get(test) or [0] * len(profiles)
        for profile, count in zip(profiles, counts, strict=True):
            exactly = repr({name: value for name, value in profile.items() if name not in _NOT_SHOWN})
            shown = exactly if modules else (*heading(profile), *figures(profile), *_remarks(profile))
            _, totals, variants, latencies = found.setdefault(shown, (profile, {}, set(), []))
            total = _total(profile, count)
            totals[test] = _sum(totals[test], total) if test in totals else total
            variants.add(exactly)
            if profile["latency"] is not None:
                latencies.append(profile["latency"])
    return [
        Group(
            profile,
            list(totals),
            len(variants),
            (min(latencies), max(latencies)) if latencies else None,
            totals={test: total for test, total in totals.items() if total is not None},
        )
        for profile, totals, variants, latencies in found.values()
    ]


def _total(profile: Row, count: int) -> Total | None:
    if not count:
        return None
    return Total(count, {name: profile[name] * count for name in _SUMMED if profile.get(name) is not None})


def _sum(first: Total | None, second: Total | None) -> Total | None:
    return None if first is None or second is None else first + second


def _together(groups: Sequence[Group], tests: Iterable[str]) -> dict[str, Total]:
    """The sum over several rows, of each test of which all of them are known."""
    totals = {}
    for test in tests:
        known = [group.totals[test] for group in groups if test in group.totals]
        if known and len(known) == len([group for group in groups if test in group.tests]):
            totals[test] = reduce(Total.__add__, known)
    return totals


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
    return steps[0]._replace(
        variants=1,
        latency=_spread(steps),
        steps=tuple(step.profile for step in steps),
        totals=_together(steps, steps[0].tests),
    )


_LOOP = 3
"""From so many steps on they are told together."""


def _step_of(group: Group) -> object:
    profile = group.profile
    if not profile["inputs"] or profile.get("outside"):
        return None
    shapes = profile["inputs"].split(", ")
    return *_kind_of(profile), shapes[0], len(shapes), *group.tests


def _kind_of(profile: Row) -> tuple[object, ...]:
    """What calls must have in common to be told in one row: the model, where it ran, and what is to be said of it."""
    names = ("model", "params", "trainable_params", "size", "device", "how")
    return *(profile[name] for name in names), bool(profile.get("outside")), *_remarks(profile)


_FEW = 3
"""So many calls of a model that a test makes have rows of their own; of more, the heaviest stands for all."""


def few(groups: Iterable[Group]) -> list[Group]:
    """The groups, with one row alone for the calls of a model in a test where it makes many of them.

    Where a sequence grows without a cache, or in a sweep over sizes, each call has inputs of its own: told one by one
    they say little, and hide the other models of the suite.
    """
    groups = list(groups)
    called: dict[tuple[object, ...], dict[str, list[int]]] = {}
    for index, group in enumerate(groups):
        for test in group.tests:
            called.setdefault(_kind_of(group.profile), {}).setdefault(test, []).append(index)
    # Tests that make the same calls share the row.
    sharing: dict[tuple[int, ...], list[str]] = {}
    for calls in called.values():
        for test, indices in calls.items():
            if len(indices) > _FEW:
                sharing.setdefault(tuple(indices), []).append(test)
    told: dict[int, list[Group]] = {}
    hidden: dict[int, set[str]] = {}
    for shared, tests in sharing.items():
        members = [groups[index] for index in shared]
        heaviest = max(shared, key=lambda index: groups[index].weight)
        told.setdefault(heaviest, []).append(_heaviest_of(members, groups[heaviest], tests))
        for index in shared:
            hidden.setdefault(index, set()).update(tests)
    rows = []
    for index, group in enumerate(groups):
        left = [test for test in group.tests if test not in hidden.get(index, ())]
        rows += told.get(index, [])
        rows += [group._replace(tests=left)] if left else []
    return rows


def _heaviest_of(members: Sequence[Group], heaviest: Group, tests: list[str]) -> Group:
    profile = max(heaviest.rows, key=_weight)
    time = profile["latency"]
    return Group(
        profile,
        tests,
        1,
        heaviest.latency if not heaviest.steps else None if time is None else (time, time),
        others=tuple(row for group in members for row in group.rows if row is not profile),
        totals=_together(members, tests),
    )


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


def cut(groups: Sequence[Group], limit: int) -> list[Group]:
    """So many of the groups, in their order: the first row of each model before the second of any."""
    rows: Counter[tuple[Any, ...]] = Counter()
    places = []
    for index, group in enumerate(groups):
        model = _model_of(group)
        places.append((rows[model], index))
        rows[model] += 1
    return [groups[index] for _, index in sorted(sorted(places)[:limit], key=itemgetter(1))]


def _model_of(group: Group) -> tuple[Any, ...]:
    return _named(group.profile)


def _named(profile: Row) -> tuple[Any, ...]:
    """What tells models apart: large and small ones may be of one class."""
    return tuple(profile[name] for name in ("model", "params", "size"))


def models_in(tests: Iterable[Sequence[Row]]) -> int:
    """How many models the profiles of tests tell of."""
    return len({_named(profile) for profiles in tests for profile in profiles})


def heading(profile: Row, others: Sequence[Row] = ()) -> Iterator[str]:
    """The model, what it was called with, and where; beside the inputs, how many other calls it had."""
    yield profile["model"]
    called = "outside a call of the model" if profile.get("outside") else profile["inputs"]
    if others:
        is_largest = all(_weight(row) < _weight(profile) for row in others)
        called = f"{called} and {len(others)} {'smaller' if is_largest else 'other'} calls".lstrip()
    if called:
        yield called
    if profile["device"]:
        yield f"on {profile['device']}"


def loop(group: Group) -> str:
    """`11 different calls, inputs up to 1x1, 1x12`; empty where there is no loop."""
    if not group.steps:
        return ""
    last = group.steps[-1]["inputs"]
    grown = "" if last == group.profile["inputs"] else f", up to {last}"
    return f"{len(group.steps)} different calls in a row{grown}"


def total(group: Group) -> list[str]:
    """`29 calls in all: macs 1.838 MMACs`, `flops 3.676 MFLOPs`, of a row of several calls, where all are known."""
    if not (group.steps or group.others) or len(group.totals) < len(group.tests):
        return []
    totals = list(group.totals.values())
    calls = [total.calls for total in totals]
    parts = []
    for name in _SUMMED:
        values = [total.figures.get(name) for total in totals]
        known = [value for value in values if value]
        if len(known) == len(values) and (name != "training_flops" or group.profile["backward_flops"]):
            texts = dict.fromkeys(quantity.format(value, METRICS[name].unit) for value in (min(known), max(known)))
            parts.append(f"{name} {' to '.join(texts)}")
    if parts:
        parts[0] = f"{' to '.join(dict.fromkeys(map(str, (min(calls), max(calls)))))} calls in all: {parts[0]}"
    return parts


def figures(*rows: Row, state: bool = True) -> Iterator[str]:
    """`flops 192 FLOPs`, of everything but time that was measured of a model or a module.

    Args:
        rows: of one model or module; of several the least and the most.
        state: whether all of what the model holds, whatever it is called with; else its parameters alone.
    """
    for metric in METRICS.values():
        if metric.source is Source.CLOCK or (metric.source is Source.STATE and not state and metric.name != "params"):
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
