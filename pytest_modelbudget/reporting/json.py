"""The report as a JSON file; its schema is what `python -m pytest_modelbudget schema` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.metrics import METRICS, Source
from pytest_modelbudget.result import DETAILS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]


def render(report: Row) -> str:
    """The report, indented, every figure exact; what differs from run to run stands apart, in `times`.

    What profiles hold of their modules stands once for all that hold the same, in `details`.
    """
    details = _Details()
    document = {
        **report,
        "tests": [
            {
                **test,
                "verdicts": [verdict for verdict in test["verdicts"] if not _is_time(verdict)],
                "profiles": [details.put_aside(profile) for profile in _without_times(test["profiles"])],
            }
            for test in report["tests"]
        ],
        "times": [
            {"id": test["id"], **verdict}
            for test in report["tests"]
            for verdict in test["verdicts"]
            if _is_time(verdict)
        ],
        "details": details.rows,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


class _Details:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[int, ...], int] = {}

    def put_aside(self, profile: dict[str, Any]) -> Row:
        """The row of a profile with the number of its details in their place."""
        row = {name: profile.pop(name) for name in DETAILS if name in profile}
        if not row:
            return profile
        # Nearly all are the same objects; else those of equal content are put together.
        same = (*map(id, row.values()),)
        number = self._known.get(same)
        if number is None:
            number = self._known[same] = self._numbers.setdefault(json.dumps(row), len(self._numbers))
            if number == len(self.rows):
                self.rows.append(row)
        return {**profile, "details": number}


def with_details(report: Row) -> Row:
    """A report as it was before `render` put the details of its profiles aside.

    Raises:
        KeyError, IndexError, TypeError: the report is damaged.
    """
    details = report.get("details", ())
    return {
        **report,
        "tests": [
            {**test, "profiles": [_joined(profile, details) for profile in test["profiles"]]}
            for test in report["tests"]
        ],
    }


def _joined(profile: Row, details: Sequence[Row]) -> Row:
    if "details" not in profile:
        return profile
    number = profile["details"]
    if type(number) is not int or number < 0:  # counted from the end, or a boolean, it would be those of another call
        raise TypeError(f"{number!r} is the number of no details")
    return {**profile, **details[number]}


_NO_TIMES = {"latency": None, "latency_measurement": None}


def _without_times(profiles: Sequence[Row]) -> list[dict[str, Any]]:
    """The profiles, without those that were made for the sake of a time alone."""
    timeless: list[dict[str, Any]] = [{**profile, **_NO_TIMES} for profile in profiles]
    if all(profile["latency"] is None for profile in profiles):
        return timeless  # they are distinct already
    # When storages were freed after the call is another thing each time.
    told = [{**profile, "memory_course": None} for profile in timeless]
    return [profile for index, profile in enumerate(timeless) if told[index] not in told[:index]]


def _is_time(verdict: Row) -> bool:
    return verdict["metric"] in METRICS and METRICS[verdict["metric"]].source is Source.CLOCK
