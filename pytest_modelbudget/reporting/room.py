"""Limits that no test comes near: they would let a model grow by a third unseen. Pure: no torch, no pytest."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import told
from pytest_modelbudget.metrics import METRICS, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    Row = Mapping[str, Any]

_NEAR = Fraction(3, 4)
"""The share of a limit from which on it is close enough."""
_SHOWN = 5


def hints(results: Mapping[str, Row]) -> list[str]:
    """What to say about limits that could be lower; nothing where none could.

    Args:
        results: of each test of a complete run that passed, as `TestResult.to_dict` gives them.
    """
    fullest: dict[tuple[str, str, str, str, str], tuple[Fraction, Row]] = {}
    for result in results.values():
        for verdict in result["verdicts"]:
            if not _counts(verdict):
                continue
            source = verdict["source"]
            key = source["text"], source["location"], verdict["metric"], verdict["module"], verdict["per"]
            used = Fraction(verdict["figure"]) / Fraction(verdict["bound"])
            if key not in fullest or fullest[key][0] < used:
                fullest[key] = used, verdict
    # What the limit was written for decides: a figure of 0 is no model's.
    wide = sorted((used, key) for key, (used, _) in fullest.items() if 0 < used < _NEAR)
    if not wide:
        return []
    lines = ["limits with room: lower ones would catch growth sooner"]
    for used, key in wide[:_SHOWN]:
        verdict = fullest[key][1]
        text, location, metric, module, per = key
        what = metric if per == "call" else f"{metric} per {per}"
        least = quantity.ceiling(Fraction(verdict["figure"]), METRICS[metric].unit)
        lines.append(
            f"  {told(text, location)}: {f'{what} {module}'.strip()} {verdict['measured']} is "
            f'{100 * float(used):.1f} %, "{least}" is enough'
        )
    if len(wide) > _SHOWN:
        lines.append(f"  and {len(wide) - _SHOWN} more")
    return lines


def _counts(verdict: Row) -> bool:
    """Whether a verdict says how much room a limit leaves. Time needs room: machines differ."""
    metric = METRICS.get(verdict["metric"])
    return (
        metric is not None
        and metric.source is not Source.CLOCK
        and not verdict["relative"]
        and verdict["level"] == "error"
        and verdict["outcome"] == "within"
        and bool(verdict["bound"])
    )
