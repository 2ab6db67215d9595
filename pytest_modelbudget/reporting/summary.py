"""The summary of a profile: the table that people know from torchsummary and torchstat, with the totals below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_modelbudget.reporting import totals
from pytest_modelbudget.reporting.columns import COLUMNS, Column, check_names, check_sort, columns_of, in_order, wanted
from pytest_modelbudget.reporting.paper import Paper, cells, pad
from pytest_modelbudget.reporting.tree import Row, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.reporting.totals import Line

_GAP = "  "
_NARROWEST = ({"type": 16}, {"module": 16, "type": 12, "input": 10, "output": 10})
"""Columns that may be cut, and how far; the first before the second."""
_WIDEST = 36
"""How wide a column of text may become before other columns go without place."""


def summary(
    profile: Profile,
    *,
    columns: Iterable[str] | None = None,
    depth: int | None = None,
    sort: str | None = None,
    expand: bool = False,
    paper: Paper | None = None,
) -> str:
    """The modules as a table, each with everything below it, and the totals.

    Args:
        profile: of one call.
        columns: names from `columns.NAMES`; None: those that are measured and fit.
        depth: levels of modules below the model; None: all.
        sort: the column by which siblings are sorted, the largest first; None: as they are defined.
        expand: whether equal neighbours have a row each.
        paper: where it goes.

    Raises:
        ColumnError: there is no such column.
    """
    paper = paper or Paper()
    columns = None if columns is None else list(columns)
    check(columns, sort)
    named = None if columns is None else columns_of(profile, columns, sort)
    # At the moment of the peak equal modules need not hold the same.
    compared = named or [column for column in COLUMNS.values() if column.name != "memory"]
    rows = rows_of(
        profile.modules,
        depth=depth,
        order=None if sort is None else lambda module: COLUMNS[sort].figure(module) or 0,  # type: ignore[misc]
        look=None if expand else lambda module: (module.calls, *(column.cell(module, 1) for column in compared)),
    )
    table = _Table(profile, rows, paper)
    lines = [_heading(profile, paper)]
    lines += table.lines(named if named is not None else table.fitting(sort))
    lines += ["", *_totals(totals.blocks(profile), paper)]
    lines += _wrapped([*table.legend(), *_remarks(profile)], paper)
    return "\n".join(line.rstrip() for line in lines)


def check(columns: Iterable[str] | None, sort: str | None) -> None:
    """Raise ColumnError unless there are such columns, before anything is measured."""
    check_names(columns or ())
    if sort is not None:
        check_sort(sort)


class _Table:
    def __init__(self, profile: Profile, rows: Sequence[Row], paper: Paper) -> None:
        self._profile = profile
        self._rows = rows
        self._paper = paper

    def fitting(self, sort: str | None) -> list[Column]:
        """The columns to show where nobody has chosen: as many as there is room for."""
        names, optional = wanted(self._profile)
        chosen = list(names)
        if sort is not None and sort not in chosen:
            chosen.append(sort)
        for name in optional:
            tried = columns_of(self._profile, in_order({*chosen, name}), sort)
            if sum(min(width, _WIDEST) + len(_GAP) for width in self._widths(tried)) - len(_GAP) <= self._paper.width:
                chosen.append(name)
        return columns_of(self._profile, in_order(set(chosen)), sort)

    def lines(self, columns: list[Column]) -> list[str]:
        widths = self._cut(columns, self._widths(columns))
        titles = self._line(self._titles(columns), columns, widths)
        lines = [self._paper.paint(titles, "bold"), ("─" if self._paper.unicode else "-") * cells(titles)]
        for row in self._rows:
            styles = ("dim",) if row.is_idle and self._profile.calls else () if row.is_last else ("bold",)
            lines.append(self._paper.paint(self._line(self._cells(row, columns, widths), columns, widths), *styles))
        return lines

    def legend(self) -> list[str]:
        """What the marks in the table mean, as far as they occur."""
        found = []
        if any(row.equals > 1 for row in self._rows):
            found.append(
                f"n {self._times}: equal modules in a row; figures there and below are those of all n together"
            )
        remarks = [self._remark(row) for row in self._rows]
        if any(remark.startswith("= ") for remark in remarks):
            found.append("= path: the same module as there, counted there")
        if "not called" in remarks:
            found.append("not called: unused, or its parameters are used by a module above it")
        return found

    def _name(self, row: Row) -> str:
        if not row.is_last:
            return self._paper.clean(row.module.type)
        through, bar, branch, corner = ("  ", "│ ", "├ ", "└ ") if self._paper.unicode else ("  ", "| ", "|-", "`-")
        guides = "".join(through if last else bar for last in row.is_last[:-1])
        return guides + (corner if row.is_last[-1] else branch) + self._paper.clean(row.name)

    def _cells(self, row: Row, columns: Sequence[Column], widths: Sequence[int] | None = None) -> list[str]:
        """A line of the table; with `widths`, types are cut to theirs."""
        names = [column.name for column in columns]
        remark = self._remark(row)
        # Where the output of a module would stand is room for why there is none.
        place = next((name for name in ("output", "type") if name in names), "module")
        if row.module.calls and place == "output" and "type" in names:
            place = "type"
        line = [self._name(row) + (f", {remark}" if remark and place == "module" else "")]
        for index, column in enumerate(columns, start=1):
            if column.name == "type":
                line.append(self._type(row, remark if place == "type" else "", widths[index] if widths else None))
            elif column.name == place and remark:
                line.append(remark)
            else:
                line.append(column.cell(row.module, row.times))
        return line

    def _type(self, row: Row, remark: str, width: int | None) -> str:
        """`3 × Bottleneck`, `ReLU, 2 calls`: where it must be cut, the class is."""
        before = f"{row.equals} {self._times} " if row.equals > 1 else ""
        kind = self._paper.clean(row.module.type) if row.is_last else ""  # the model's stands in front of it
        after = f"{', ' if kind else ''}{remark}" if remark else ""
        if width is not None:
            kind = self._paper.cut(kind, max(4, width - cells(before) - cells(after)))
        return f"{before}{kind}{after}"

    @property
    def _times(self) -> str:
        return "×" if self._paper.unicode else "x"

    def _remark(self, row: Row) -> str:
        """How the module was called, where that is not once."""
        if not self._profile.calls:
            return ""
        if row.module.same_as is not None and not row.module.calls:
            return f"= {self._paper.clean(row.module.same_as)}"
        if row.is_idle:
            return "not called"
        return f"{row.module.calls} calls" if row.module.calls > 1 else ""

    def _widths(self, columns: Sequence[Column]) -> list[int]:
        """As wide as what stands in them."""
        lines = [self._titles(columns), *(self._cells(row, columns) for row in self._rows)]
        return [max(map(cells, column)) for column in zip(*lines, strict=True)]

    def _titles(self, columns: Sequence[Column]) -> list[str]:
        return ["module", *(column.title for column in columns)]

    def _cut(self, columns: Sequence[Column], widths: list[int]) -> list[int]:
        """Narrower columns of text where they are too wide together, the widest first."""
        names = ["module", *(column.name for column in columns)]
        widths = list(widths)
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - self._paper.width
        for least in _NARROWEST:
            while excess > 0:
                spare = [
                    width if width > least.get(name, width) else 0 for name, width in zip(names, widths, strict=True)
                ]
                widest = spare.index(max(spare))
                if not spare[widest]:
                    break
                widths[widest] -= 1
                excess -= 1
        return widths

    def _line(self, texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
        right = [False, *(column.figure is not None for column in columns)]
        return _GAP.join(
            pad(self._paper.cut(self._paper.clean(text), width), width, right=flushed)
            for text, width, flushed in zip(texts, widths, right, strict=True)
        )


def _heading(profile: Profile, paper: Paper) -> str:
    how = "run abstractly" if profile.how == "abstract" else f"run on {profile.device}" if profile.device else ""
    parts = (profile.model, profile.inputs, how if profile.calls else "not called")
    return paper.paint(paper.cut(paper.clean(_GAP.join(filter(None, parts))), paper.width), "bold")


def _totals(found: list[list[Line]], paper: Paper) -> list[str]:
    """The blocks beside each other as far as they fit, in lines of blocks."""
    drawn = [_block(block, paper) for block in found]
    lines: list[str] = []
    while drawn:
        taken = 1
        while taken < len(drawn) and sum(map(_width, drawn[: taken + 1])) + 4 * taken <= paper.width:
            taken += 1
        beside, drawn = drawn[:taken], drawn[taken:]
        lines += [""] if lines else []
        for index in range(max(map(len, beside))):
            lines.append(
                "    ".join(pad(block[index] if index < len(block) else "", _width(block)) for block in beside)
            )
    return lines


def _block(block: list[Line], paper: Paper) -> list[str]:
    labels, figures = (max(cells(line[index]) for line in block) for index in (0, 1))
    lines = []
    for line in block:
        text = f"{pad(line.label, labels)}  {pad(line.figure, figures, right=True)}  {line.remark}"
        lines.append(paper.cut(paper.clean(text.rstrip()), paper.width))
    return lines


def _width(block: list[str]) -> int:
    return max(map(cells, block))


def _remarks(profile: Profile) -> list[str]:
    found = []
    if profile.uncounted:
        counts = ", ".join(f"{name} ({runs} x)" for name, runs in profile.uncounted.items())
        found.append(f"operators of unknown cost, not counted: {counts}")
    return [*found, *profile.notes]


def _wrapped(texts: list[str], paper: Paper) -> list[str]:
    from textwrap import wrap

    lines = [""] if texts else []
    for text in texts:
        lines += wrap(paper.clean(text), paper.width, subsequent_indent="  ") or [""]
    return lines
