"""Hooks that a `conftest.py` or another plugin may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn


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
        report: JSON-able, as `python -m pytest_modelbudget schema` describes it; to be changed in place.
    """
