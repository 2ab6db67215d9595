"""What is known of one test, and how it travels: on the item while it runs, on its report as primitives.

Imported as soon as a test has a budget: standard library and pytest only.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from json import dumps  # by name: a test may have patched it when its result is reported
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.metrics import METRICS, MetricError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from fractions import Fraction

    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.verdict import Verdict


class TestResult:
    """The verdicts of one test, and with `--modelbudget` the calls of its models."""

    __test__ = False

    def __init__(self, failed_before: int = 0) -> None:
        self.failed_before = failed_before
        """How many tests, subtests included, had failed when the first figure came."""
        self.verdicts: list[Verdict] = []
        self.calls: list[tuple[Profile, int]] = []
        """Distinct ones, and how often each came."""

    def to_dict(self, *, modules: bool, caught: bool = False) -> dict[str, Any]:
        """Primitives only: anything else would end a run of pytest-xdist."""
        verdicts = list(_closest(self.verdicts))
        calls = _distinct([*((verdict.profile, 0) for verdict in verdicts if verdict.profile), *self.calls])
        return {
            "verdicts": [_verdict_row(verdict, caught=caught) for verdict in verdicts],
            "profiles": [_profile_row(profile, modules=modules) for profile, _ in calls],
            # How often each came; 0 where that is not known. Beside them: what was measured of a call stays what it is.
            "times": [count for _, count in calls],
            "entries": _entry_rows(self.verdicts),
        }


result_key = pytest.StashKey[TestResult]()
"""Where `item.stash` keeps what is known of a test."""


def result_of(item: pytest.Item) -> TestResult:
    """What is known of a test, to add to."""
    return item.stash.setdefault(result_key, TestResult(item.session.testsfailed))


def body_failed(item: pytest.Item, failed_before: int) -> bool:
    """Whether the body of a test failed or was skipped although it raised nothing.

    unittest keeps failures and skips instead of raising them, and failed subtests are counted as they come.

    Args:
        item: the test.
        failed_before: `session.testsfailed` before its body.
    """
    return bool(getattr(item, "_excinfo", None)) or item.session.testsfailed > failed_before


def take_result(item: pytest.Item) -> TestResult | None:
    """What is known of a test, for its report; the next run of the item begins anew."""
    result = item.stash.get(result_key, None)
    if result is not None:
        del item.stash[result_key]
    return result


def _closest(verdicts: Iterable[Verdict]) -> Iterable[Verdict]:
    """Of the verdicts on one limit and one model, as a loop over `modelbudget.limit` makes them, the closest one."""
    closest: dict[object, Verdict] = {}
    for verdict in verdicts:
        limit = verdict.limit
        key = (limit.key, limit.value, limit.source, verdict.model, verdict.module)
        if key not in closest or _closeness(verdict) > _closeness(closest[key]):
            closest[key] = verdict
    return closest.values()


def _distinct(calls: Iterable[tuple[Profile, int]]) -> Sequence[tuple[Profile, int]]:
    """Each limit has made a profile of the same call."""
    found: dict[object, list[tuple[Profile, int]]] = {}
    for profile, count in calls:
        # Equality looks at thousands of modules.
        alike = found.setdefault((profile.model, profile.inputs, profile.params, profile.macs, profile.memory), [])
        for index, (known, times) in enumerate(alike):
            if known == profile:
                alike[index] = known, times + count
                break
        else:
            alike.append((profile, count))
    return [call for alike in found.values() for call in alike]


def _closeness(verdict: Verdict) -> tuple[bool, Fraction | int]:
    return verdict.is_failure, verdict.used or 0


def _verdict_row(verdict: Verdict, *, caught: bool) -> dict[str, Any]:
    from pytest_modelbudget import quantity
    from pytest_modelbudget.budget import Level

    limit = verdict.limit
    # A limit on growth is a share until the baseline has turned it into a bound.
    is_share = limit.relative and (verdict.measured is None or verdict.growth is None or verdict.growth.before is None)
    bound = None if is_share else limit.value
    unit = limit.metric.unit
    figure, like = verdict.measured, limit.written
    # Two numbers that differ never read the same.
    measured = None if figure is None else quantity.format(figure, unit, against=bound, like=like)
    allowed = None if bound is None else quantity.format(bound, unit, against=figure, like=like)
    if is_share and verdict.measured is None:
        allowed = limit.written
    return {
        "metric": limit.metric.name,
        "relative": limit.relative,
        "model": verdict.model,
        "module": verdict.module,
        "per": limit.per.value,
        "level": limit.level.value,
        "outcome": verdict.outcome.value,
        "failed": verdict.is_failure and not (caught and limit.level is Level.ERROR),
        "measured": measured,
        "limit": allowed,
        "figure": None if verdict.measured is None else quantity.to_json(verdict.measured, unit),
        "bound": None if bound is None else quantity.to_json(bound, unit),
        "used": None if verdict.used is None else float(verdict.used),
        "growth": _growth(verdict),
        "known_as": "" if verdict.growth is None else verdict.growth.known_as,
        "baseline": _recorded(verdict),
        "reason": verdict.reason,
        "unknown": dict(verdict.unknown),
        "straddles": verdict.straddles,
        "notes": list(verdict.notes),
        "source": {"text": limit.source.text, "location": limit.source.location, "direct": limit.source.direct},
    }


def regrown(row: dict[str, Any], verdict: Verdict) -> None:
    """Have the row of a verdict say what is known of its growth now that the run is over."""
    made = _verdict_row(verdict, caught=False)
    names = ("outcome", "failed", "measured", "limit", "bound", "used", "growth", "known_as", "baseline")
    row.update({name: made[name] for name in names})


def _growth(verdict: Verdict) -> str | None:
    """`+3.9 %` or `unchanged`; None of limits that are not relative, and where there is nothing to compare with."""
    growth = verdict.growth
    if growth is None or growth.before is None or verdict.measured is None:
        return None
    from pytest_modelbudget.reporting.growth import percent

    before = growth.before.figure_of(verdict.module)
    if before == verdict.measured:
        return "unchanged"
    return percent(before, verdict.measured) or "from nothing"


def _recorded(verdict: Verdict) -> int | str | None:
    """The figure that the baseline holds, where the limit is relative to it."""
    if verdict.growth is None or verdict.growth.before is None:
        return None
    from pytest_modelbudget.baseline import to_json

    return to_json(verdict.growth.before.figure_of(verdict.module))


def _entry_rows(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """What a baseline would record, once for each of its keys."""
    growths = [verdict.growth for verdict in verdicts if verdict.growth is not None and not verdict.growth.summed]
    if not growths:
        return []
    from pytest_modelbudget.baseline import to_row

    entries = {growth.key: growth for growth in growths}
    return [
        {
            **to_row(key, growth.after),
            "by_chance": growth.by_chance,
            "replaces": None if growth.replaces is None else list(growth.replaces),
        }
        for key, growth in entries.items()
    ]


DETAILS = ("modules", "operators", "memory_by_kind", "memory_course", "uncounted_in")
"""What takes the room in a profile's row, and is the same for every test that calls a model alike."""


def share(result: dict[str, Any], known: dict[str, Any]) -> None:
    """Put what equal rows hold in their place: a suite has few models and many tests.

    Args:
        result: as `TestResult.to_dict` makes it, or as `shorten` leaves it.
        known: what has been seen so far, by its digest.
    """
    for digest, details in result.pop("shared", {}).items():
        known.setdefault(digest, details)
    for row, name in _shareable(result):
        found = row[name]
        row[name] = known[found] if isinstance(found, str) else known.setdefault(_digest(found), found)


def shorten(result: dict[str, Any], sent: set[str]) -> None:
    """Have a worker of pytest-xdist send once what its tests have in common: else their digests stand for it.

    Args:
        result: as `TestResult.to_dict` makes it; `share` undoes this.
        sent: the digests of what the worker has sent so far.
    """
    new: dict[str, Any] = {}
    for row, name in _shareable(result):
        if isinstance(row[name], str):
            continue  # a report that is logged twice
        digest = _digest(row[name])
        if digest not in sent:
            sent.add(digest)
            new[digest] = row[name]
        row[name] = digest
    result.setdefault("shared", {}).update(new)


def _shareable(result: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    rows = [(row, DETAILS) for row in result["profiles"]] + [(row, ("modules",)) for row in result["entries"]]
    return ((row, name) for row, names in rows for name in names if row.get(name))


def _digest(details: object) -> str:
    return sha256(dumps(details).encode()).hexdigest()


def without_group(nodeid: str) -> str:
    """The node id without the `@group` that pytest-xdist appends to it."""
    plain, _, group = nodeid.rpartition("@")
    # An "@" may stand in a path and in a parameter, too.
    return plain if plain and "::" not in group and "]" not in group else nodeid


def _profile_row(profile: Profile, *, modules: bool) -> dict[str, Any]:
    row = profile.to_dict()
    row["outside"] = profile.is_outside
    row["custom"] = {}
    for metric in METRICS.values():
        # A limit on the metric fails and says why it has no figure; here it is one of many.
        with suppress(MetricError):
            if metric.measure is not None and (figure := metric.of(profile)) is not None:
                row["custom"][metric.name] = figure
    if not modules:
        del row["modules"]
    return row
