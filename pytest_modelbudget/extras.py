"""What only some reports need, and what to say where it is not installed. Standard library only."""

from __future__ import annotations

from importlib.util import find_spec

_HTML = ("jinja2", "plotly")


class ExtraMissingError(Exception):
    """A package of an extra is not installed; the message says what to install."""


def check_html() -> None:
    """Look for what the HTML report is made with, without importing it.

    Raises:
        ExtraMissingError: it is not installed.
    """
    missing = [name for name in _HTML if find_spec(name) is None]
    if missing:
        raise ExtraMissingError(f'needs {" and ".join(missing)}: pip install "pytest-modelbudget[html]"')
