"""Figures as properties in the file of `--junitxml`, on request: strict validators do not know properties of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget import quantity
from pytest_modelbudget.result import result_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_modelbudget.verdict import Verdict

_PREFIX = "modelbudget."


class Properties:
    """Puts the figures of each test on its reports."""

    @pytest.hookimpl(tryfirst=True)  # before the report is made, and before the result is taken from the item
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.when == "setup":
            # A rerun begins anew: its figures replace those of the run before.
            item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith(_PREFIX)]
        elif call.when == "call" and (result := item.stash.get(result_key, None)) is not None:
            found = dict(pair for verdict in result.verdicts for pair in _properties(verdict))
            item.user_properties.extend(found.items())


def _properties(verdict: Verdict) -> Iterator[tuple[str, object]]:
    """`modelbudget.ResNet.flops` and `modelbudget.ResNet.flops.limit`, in the unit; `growth_limit` as written."""
    if verdict.measured is None:
        return
    limit, unit = verdict.limit, verdict.limit.metric.unit
    parts = (verdict.model, verdict.module, limit.metric.name, "" if limit.per == "call" else f"per_{limit.per.value}")
    name = _PREFIX + ".".join(part for part in parts if part)
    yield name, quantity.to_json(verdict.measured, unit)
    if limit.value is not None and verdict.used is not None:
        if limit.relative:
            yield f"{name}.growth_limit", limit.written  # "1%", as people write it
        else:
            yield f"{name}.limit", quantity.to_json(limit.value, unit)
