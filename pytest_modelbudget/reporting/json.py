"""The report as a JSON file; its schema is what `python -m pytest_modelbudget schema` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def render(report: Mapping[str, Any]) -> str:
    """The report, indented, every figure exact."""
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
