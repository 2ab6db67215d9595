"""Every kind of report: a function from plain data to text, and where the text goes."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def write_all(reports: Iterable[tuple[str, Path | None]], report: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Write the reports; what to say about each, and whether it is an error."""
    for kind, path in reports:
        try:
            if kind == "github":
                yield _append_summary(report), False
            elif path is not None:
                # Each has its own module, with a `render(report)`.
                renderer = import_module(f"pytest_modelbudget.reporting.{kind}")
                files.write(path, [renderer.render(report)])
                yield f"{kind} report: {path}", False
        except OSError as error:
            yield f"the {kind} report was not written: {error}", True


_SUMMARY_LIMIT = 1024 * 1024
"""Bytes that GitHub takes of a step's summary; more, and it shows nothing."""


def _append_summary(report: Mapping[str, Any]) -> str:
    from pytest_modelbudget.reporting import markdown

    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return "no step summary: GITHUB_STEP_SUMMARY is not set, as it is on GitHub Actions"
    path = Path(target)
    # What other commands of the step have written counts, too.
    used = path.stat().st_size if path.exists() else 0
    text = markdown.render(report, limit=_SUMMARY_LIMIT - used - 2)
    with path.open("a", encoding="utf-8", newline="\n") as stream:
        # Others append their own Markdown, which an empty line keeps apart from the last table.
        stream.write(f"\n{text}\n" if used else f"{text}\n")
    return "step summary written"
