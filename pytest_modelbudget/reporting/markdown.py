"""The report for people, in Markdown as GitHub and GitLab show it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import METRICS, Unit
from pytest_modelbudget.reporting.escape import code, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Row = Mapping[str, Any]

_BAR = 10
COMMENT_LIMIT = 65_000
"""Bytes that fit into a comment of GitHub, with room for a heading."""


def render(report: Row, limit: int = COMMENT_LIMIT) -> str:
    """The report as Markdown: a headline, a table of changes, a table of budgets, failures first.

    Args:
        report: as `document` gives it.
        limit: bytes; rows that do not fit are left out, and counted in a note.
    """
    verdicts = [
        (test["id"], verdict)
        for test in report["tests"]
        for verdict in test["verdicts"]
        if verdict["outcome"] != "incomplete"
    ]
    verdicts.sort(key=lambda row: (not row[1]["failed"], -(row[1]["used"] or 0)))
    failed = [row for row in verdicts if row[1]["failed"]]
    changes = [change for change in report["changes"] if change["kind"] != "moved"]
    sections = [
        Section(_headline(len(failed), len(verdicts), report), (), ()),
        Section("### Over budget", _BUDGET_HEADER, [_budget(*row) for row in failed]),
        Section("### Changes against the baseline", CHANGE_HEADER, list(map(change_row, _by_size(changes)))),
        Section(
            "### Within budget",
            _BUDGET_HEADER,
            [_budget(*row) for row in verdicts if not row[1]["failed"]],
            folded=True,
        ),
    ]
    return fitted(sections, limit)


class Section:
    """A heading with a table below it.

    Attributes:
        title: Markdown; a section without rows shows it only where it has no header either.
        header: the names of the columns.
        rows: the table's lines.
        folded: whether it shows when it is clicked.
    """

    def __init__(self, title: str, header: Sequence[str], rows: Sequence[str], *, folded: bool = False) -> None:
        self.title = title
        self.header = header
        self.rows = rows
        self.folded = folded

    def lines(self, rows: int) -> Iterator[str]:
        """The section with so many of its rows, and a note about the others."""
        if self.header and not self.rows:
            return
        if self.folded:
            title = self.title.lstrip("# ")
            yield f"<details><summary>{title} ({len(self.rows)})</summary>"
        else:
            yield self.title
        yield ""
        if rows:
            yield f"| {' | '.join(self.header)} |"
            yield f"|{'|'.join('---' for _ in self.header)}|"
            yield from self.rows[:rows]
            yield ""
        if rows < len(self.rows):
            yield f"*{len(self.rows) - rows} more rows do not fit here: see the JSON report.*"
            yield ""
        if self.folded:
            yield "</details>"
            yield ""


def fitted(sections: Sequence[Section], limit: int) -> str:
    """The sections within a number of bytes: the later ones lose rows first."""
    kept = [len(section.rows) for section in sections]
    for index in reversed(range(len(sections))):
        if _size(sections, kept) <= limit:
            break
        # The most rows with which the whole fits: sizes grow with the rows.
        low, high = 0, kept[index]
        while low < high:
            middle = (low + high + 1) // 2
            kept[index] = middle
            if _size(sections, kept) <= limit:
                low = middle
            else:
                high = middle - 1
        kept[index] = low
    text = _text(sections, kept)
    return text if len(text.encode()) <= limit else ""


def _size(sections: Sequence[Section], kept: Sequence[int]) -> int:
    return len(_text(sections, kept).encode())


def _text(sections: Sequence[Section], kept: Sequence[int]) -> str:
    lines = [line for section, rows in zip(sections, kept, strict=True) for line in section.lines(rows)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _headline(failed: int, verdicts: int, report: Row) -> str:
    budgets = "1 budget" if verdicts == 1 else f"{verdicts} budgets"
    if failed:
        text = f"## ❌ Model budgets: {failed} of {budgets} not kept"
    else:
        text = f"## ✅ Model budgets: {budgets} kept" if verdicts else "## Model budgets: none judged"
    others = [test for test in report["tests"] if test["outcome"] == "failed" and not _has_failed(test["verdicts"])]
    if others:
        text += f"\n\n{len(others)} test{'s' * (len(others) > 1)} failed before they were judged."
    for complaint in report["unmeasured"]:
        text += f"\n\n⚠️ {plain(complaint, 500)}"
    return text


def _has_failed(verdicts: Iterable[Row]) -> bool:
    return any(verdict["failed"] for verdict in verdicts)


_BUDGET_HEADER = ("", "test", "model", "metric", "measured", "limit", "used", "set by")


def _budget(test: str, verdict: Row) -> str:
    sign = ("⚠️" if verdict["level"] == "warn" else "❌") if verdict["failed"] else "✅"
    metric = verdict["metric"] if verdict["per"] == "call" else f"{verdict['metric']} per {verdict['per']}"
    if verdict["relative"]:
        metric += " growth"
    measured = verdict["measured"]
    if measured is None:
        measured = f"{verdict['outcome']}: {verdict['reason']}"
    elif verdict["outcome"] not in ("within", "exceeded"):
        measured += f" ({verdict['outcome']})"
    return row_of(
        sign,
        code(test),
        code(f"{verdict['model']} {verdict['module']}".strip()) if verdict["model"] else "",
        metric,
        plain(measured),
        verdict["limit"] or "",
        _bar(verdict["used"]),
        f"{code(verdict['source']['text'], 60)} {code(verdict['source']['location'], 80)}",
    )


def row_of(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def _bar(used: float | None) -> str:
    if used is None:
        return ""
    filled = min(_BAR, int(used * _BAR))
    return f"{'█' * filled}{'░' * (_BAR - filled)} {100 * used:.1f} %"


CHANGE_HEADER = ("", "test", "model", "metric", "before", "after", "change", "where")
_SIGNS = {"new": "🆕", "gone": "🗑️", "grown": "🔺", "shrunk": "🔽", "moved": ""}
_SHOWN_MODULES = 4


def change_row(change: Row) -> str:
    """A line of the table of changes."""
    unit = METRICS[change["metric"]].unit if change["metric"] in METRICS else Unit.COUNT
    before, after = (None if change[name] is None else Fraction(change[name]) for name in ("before", "after"))
    return row_of(
        _SIGNS[change["kind"]],
        code(change["test"]),
        code(change["model"]),
        plain(change["metric"] if change["per"] == "call" else f"{change['metric']} per {change['per']}"),
        "" if before is None else quantity.format(before, unit, against=after),
        "" if after is None else quantity.format(after, unit, against=before),
        change["kind"] if before is None or after is None else _difference(before, after, unit),
        _where(change, unit),
    )


def _difference(before: Fraction, after: Fraction, unit: Unit) -> str:
    from pytest_modelbudget.reporting.growth import percent, signed

    share = percent(before, after)
    return f"{signed(after - before, unit)}{f' ({share})' if share else ''}"


def _where(change: Row, unit: Unit) -> str:
    from pytest_modelbudget.growth import ModuleChange, summary
    from pytest_modelbudget.reporting.growth import module_text

    changes = [
        ModuleChange(module["path"], module["kind"], Fraction(module["delta"]), module["before"])
        for module in change["modules"]
    ]
    shown = [module_text(module, unit) for module in summary(changes, _SHOWN_MODULES)]
    return ", ".join(plain(text) for text in shown)


def _by_size(changes: Iterable[Row]) -> list[Row]:
    """What grew most first, then what is new, shrunk and gone."""
    order = ("grown", "new", "shrunk", "gone")

    def share(change: Row) -> Fraction:
        if change["before"] in (None, 0) or change["after"] is None:
            return Fraction(0)
        return Fraction(change["after"]) / Fraction(change["before"])

    return sorted(changes, key=lambda change: (order.index(change["kind"]), -share(change), change["test"]))
