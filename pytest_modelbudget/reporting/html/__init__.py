"""The report as one page that opens without a network: budgets as bars, modules as a treemap, changes in colour.

Python chooses what the page knows (`data.py`) and puts it together (`page.py`); scripts draw it (`static/`). Nothing
that a test or a model is called becomes markup: it stands in the page as JSON and is shown as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_modelbudget.reporting.html import data
from pytest_modelbudget.reporting.html.page import assemble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_modelbudget.baseline import Figure, Key

    Row = Mapping[str, Any]


def render(report: Row) -> str:
    """The page of a run.

    Args:
        report: as `document` gives it, with the modules of its profiles.
    """
    return assemble(data.of_report(report))


def render_profile(profile: Row) -> str:
    """The page of one model, as `Profile.to_dict` gives it."""
    return assemble(data.of_profile(profile))


def render_comparison(comparison: Row, modules: Mapping[Key, Mapping[str, Figure]]) -> str:
    """The page of what changed.

    Args:
        comparison: as `compare.as_json` gives it.
        modules: of each figure that is there afterwards, by module.
    """
    return assemble(data.of_comparison(comparison, modules))
