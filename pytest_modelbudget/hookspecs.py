"""Hooks that a `conftest.py` or another plugin may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn

    from pytest_modelbudget.metrics import Metric


def pytest_modelbudget_metrics(config: pytest.Config) -> list[Metric] | None:
    """Add metrics of your own, each with a mark `max_<name>` and a place in tables, reports and the baseline.

    Called once when pytest starts, also in the workers of pytest-xdist: for initial conftest files and plugins.

    Args:
        config: pytest's.

    Returns:
        Metrics, made with `pytest_modelbudget.custom_metric`.
    """


@pytest.hookspec(firstresult=True)
def pytest_modelbudget_device(item: pytest.Item) -> str | None:
    """Say where the models of a test are measured, in place of the option `device`; a mark's `device=` goes before.

    Called for each test that is observed, before its body, and where the fixture `modelbudget` measures. Stops at the
    first implementation that does not return None.

    Args:
        item: the test, with its fixtures in `item.funcargs`.

    Returns:
        As the option: `auto`, `meta`, `cpu`, `cuda:1`, …
    """


@pytest.hookspec(firstresult=True)
def pytest_modelbudget_model(item: pytest.Item) -> nn.Module | tuple[nn.Module, Any] | None:
    """Say which model a test puts to the test, where no mark names it with `model=`.

    Called after the body of a test that has a budget. Stops at the first implementation that does not return None.

    Args:
        item: the test, with its fixtures in `item.funcargs`.

    Returns:
        The model, or `(model, inputs)`: what to call it with when the test does not, as a callable given as `inputs=`
        would return it: one input, a tuple of positional ones, a dict of named ones, or `(args, kwargs)`.
    """


def pytest_modelbudget_update_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """Add to the report of a run, or change it, before it is written.

    Called in the controlling process, once, where `--modelbudget-report` asks for a report.

    Args:
        config: pytest's.
        report: JSON-able, as `python -m pytest_modelbudget schema` describes it; to be changed in place. But here its
            profiles still hold themselves what the JSON file keeps in `details`, and tests that measured the same share
            those objects: give a test others rather than change what is in them.
    """
