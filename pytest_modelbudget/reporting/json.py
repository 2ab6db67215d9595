"""The report as a JSON file; its schema is what `python -m pytest_modelbudget schema` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.metrics import METRICS, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    Row = Mapping[str, Any]


def render(report: Row) -> str:
    """The report, indented, every figure exact; what differs from run to run stands apart, in `times`."""
    document = {
        **report,
        "tests": [
            {
                **test,
                "verdicts": [verdict for verdict in test["verdicts"] if not _is_time(verdict)],
                "profiles": [{**profile, **_NO_TIMES} for profile in test["profiles"]],
            }
            for test in report["tests"]
        ],
        "times": [
            {"id": test["id"], **verdict}
            for test in report["tests"]
            for verdict in test["verdicts"]
            if _is_time(verdict)
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


_NO_TIMES = {"latency": None, "latency_measurement": None}


def _is_time(verdict: Row) -> bool:
    return verdict["metric"] in METRICS and METRICS[verdict["metric"]].source is Source.CLOCK
