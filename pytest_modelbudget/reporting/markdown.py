"""The report for people, in Markdown as GitHub and GitLab show it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import told
from pytest_modelbudget.metrics import METRICS, Unit
from pytest_modelbudget.reporting.escape import code, plain
from pytest_modelbudget.reporting.measured import (
    by_model,
    few,
    figure,
    folded,
    grouped,
    heading,
    latency,
    loop,
    operators,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized

    from pytest_modelbudget.reporting.measured import Group

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
    failed = [row for row in verdicts if row[1]["failed"]]
    unmeasured = [row for row in verdicts if _is_unmeasured(row[1])]
    changes = [change for change in report["changes"] if change["kind"] != "moved"]
    limited = {test for test, _ in verdicts}
    # Who limits every test knows what it measures; who observes wants to see it.
    observed = [test for test in report["tests"] if test.get("profiles") and test["id"] not in limited]
    groups = by_model(few(folded(grouped((test["id"], test["profiles"]) for test in observed))), calls=True)
    columns = _columns(groups)
    new = [row for row in verdicts if _is_new(row[1])]
    expected = [row for row in verdicts if _is_expected(row[1])]
    aside = {id(verdict) for _, verdict in (*failed, *unmeasured, *new, *expected)}
    kept = [row for row in verdicts if id(row[1]) not in aside]
    sections = [
        Section(_headline(failed, unmeasured, new, expected, verdicts, report), (), ()),
        Section("### Over budget", _BUDGET_HEADER, _budget_rows(failed)),
        Section("### Changes against the baseline", CHANGE_HEADER, change_rows(changes)),
        Section("### Not in the baseline, and held to nothing", _BUDGET_HEADER, _budget_rows(new)),
        Section("### Over, as their tests expect", _BUDGET_HEADER, _budget_rows(expected), folded=len(expected)),
        Section("### Not measured", _BUDGET_HEADER, _budget_rows(unmeasured), folded=len(unmeasured)),
        Section(
            "### Within budget",
            _BUDGET_HEADER,
            _budget_rows(kept),
            folded=len(kept),
        ),
        Section(
            "### Measured, without a budget" if verdicts else "### Measured",
            ("model", "inputs", *columns, "tests", "note"),
            [_measured(group, columns) for group in groups],
        ),
    ]
    return fitted(sections, limit)


class Section:
    """A heading with a table below it.

    Attributes:
        title: Markdown; a section without rows shows it only where it has no header either.
        header: the names of the columns.
        rows: the table's lines.
        folded: how many budgets its rows tell of, where it shows only when it is clicked.
    """

    def __init__(self, title: str, header: Sequence[str], rows: Sequence[str], *, folded: int = 0) -> None:
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
            yield f"<details><summary>{title} ({self.folded})</summary>"
        else:
            yield self.title
        yield ""
        if rows:
            yield f"| {' | '.join(self.header)} |"
            yield f"|{'|'.join('---' for _ in self.header)}|"
            yield from self.rows[:rows]
            yield ""
        if rows < len(self.rows):
            left = len(self.rows) - rows
            yield f"*{quantity.counted(left, 'more row')} do{'es' * (left == 1)} not fit here: see the JSON report.*"
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


def _headline(failed: Sized, unmeasured: Sized, new: Sized, expected: Sized, verdicts: Sized, report: Row) -> str:
    tests = report["tests"]
    stopped = [test for test in tests if test["outcome"] == "failed" and not _has_failed(test["verdicts"])]
    unjudged = [test for test in tests if test["outcome"] != "failed" and _is_unjudged(test["verdicts"])]
    code_of_run = report.get("run", {}).get("exit_status")
    notes = []
    if stopped:
        notes.append(f"{quantity.counted(len(stopped), 'test')} failed before {_they_were(stopped)} judged.")
    elif not failed and code_of_run:
        # An error in a fixture or in the code of the tests: green would be a lie.
        notes.append(f"No budget is broken, but the run did not pass: exit code {code_of_run}.")
    if unjudged:
        what = "was skipped or failed as expected" if len(unjudged) == 1 else "were skipped or failed as expected"
        notes.append(f"{quantity.counted(len(unjudged), 'test')} {what}: not judged.")
    notes += [f"⚠️ {plain(complaint, 500)}" for complaint in report["unmeasured"]]
    kept = len(verdicts) - sum(map(len, (failed, unmeasured, new, expected)))
    if failed:
        said = f"{len(failed)} of {quantity.counted(len(verdicts), 'budget')} not kept"
    else:
        said = f"{quantity.counted(kept, 'budget')} kept" if kept or unmeasured or new or expected else "none judged"
    for rows, what in (
        (unmeasured, "not measured"),
        (new, "not in the baseline"),
        (expected, "over, as expected"),
    ):
        said += f", {len(rows)} {what}" if rows else ""
    # What was not looked at is neither kept nor broken, and a sign would say one of them.
    is_whole = kept and not (unmeasured or unjudged or new or report["unmeasured"])
    sign = "❌ " if failed or (verdicts and (stopped or code_of_run)) else "✅ " if is_whole else ""
    return "\n\n".join([f"## {sign}Model budgets: {said}", *notes])


def _they_were(tests: Sequence[Row]) -> str:
    return "it was" if len(tests) == 1 else "they were"


def _is_unmeasured(verdict: Row) -> bool:
    """Whether a limit from afar found nothing to measure; where it stands on the test itself, that is a failure."""
    return verdict["outcome"] == "not measured" and not verdict["failed"]


def _is_new(verdict: Row) -> bool:
    """Whether a figure is in no baseline, which is no fault under a limit for many tests."""
    return verdict["outcome"] == "new" and not verdict["failed"]


def _is_expected(verdict: Row) -> bool:
    """Whether a limit did not hold in a test that passes for it, or is expected to fail."""
    return verdict["outcome"] in ("exceeded", "uncounted", "invalid", "not in the baseline") and not verdict["failed"]


def _is_unjudged(verdicts: Iterable[Row]) -> bool:
    return any(verdict["outcome"] == "incomplete" for verdict in verdicts)


def _has_failed(verdicts: Iterable[Row]) -> bool:
    return any(verdict["failed"] for verdict in verdicts)


_BUDGET_HEADER = ("", "test", "model", "metric", "measured", "limit", "used", "set by")


def _budget_rows(verdicts: Iterable[tuple[str, Row]]) -> list[str]:
    """Lines of the table of budgets, the fullest first.

    What several tests say alike is one line, and several limits of one test and model stand together.
    """
    alike: dict[Hashable, list[tuple[str, Row]]] = {}
    for test, verdict in verdicts:
        key = [verdict[name] for name in ("metric", "model", "module", "per", "level", "outcome", "reason")]
        if verdict["failed"]:
            key += [verdict["figure"], verdict["bound"]]
        alike.setdefault((*key, *verdict["source"].values()), []).append((test, verdict))
    groups: dict[Hashable, list[tuple[list[str], Row]]] = {}
    for rows in alike.values():
        rows.sort(key=_use, reverse=True)
        tests = [test for test, _ in rows]
        groups.setdefault((*tests, rows[0][1]["model"]), []).append((tests, rows[0][1]))
    lines = []
    for group in sorted(
        groups.values(), key=lambda group: max(_use((row[0][0], row[1])) for row in group), reverse=True
    ):
        for index, (tests, verdict) in enumerate(group):
            lines.append(_budget(tests, verdict, first=index == 0))
    return lines


_COLUMNS = ("params", "macs", "flops", "training_flops", "memory", "latency")
"""The metrics that a table of models shows, beside the suite's own; the JSON report has all of them."""


def _columns(groups: Sequence[Group]) -> list[str]:
    """The metrics of which there are figures."""
    names = [*_COLUMNS, *(name for name, metric in METRICS.items() if metric.measure is not None)]
    return [name for name in names if any(_figure(group, name) for group in groups)]


def _figure(group: Group, name: str) -> str:
    return latency(group) if name == "latency" else figure(METRICS[name], *group.rows)


def _measured(group: Group, columns: Iterable[str]) -> str:
    """The line of a model in the table of what was measured."""
    profile = group.profile
    where = " ".join(list(heading(profile, group.others))[1:])
    unknown = f"unknown cost: {operators(profile['uncounted'])}" if profile["uncounted"] else ""
    alike = f"{group.variants} alike" if group.variants > 1 else loop(group)
    return row_of(
        code(profile["model"]),
        plain(where),
        *(_figure(group, name) for name in columns),
        tests_cell(group.tests),
        plain("; ".join(filter(None, (alike, unknown, *profile["notes"]))), 200),
    )


def _use(row: tuple[str, Row]) -> tuple[bool, float]:
    """What to order budgets by: the unchanged uses up all of a limit on growth, and is no news."""
    return not row[1]["relative"], row[1]["used"] or 0


def _budget(tests: Sequence[str], verdict: Row, *, first: bool) -> str:
    sign = "–" if _is_unmeasured(verdict) or _is_expected(verdict) else "🆕" if _is_new(verdict) else "✅"
    if verdict["failed"]:
        sign = "⚠️" if verdict["level"] == "warn" else "❌"
    metric = verdict["metric"] if verdict["per"] == "call" else f"{verdict['metric']} per {verdict['per']}"
    if verdict["module"]:
        metric += f" of {code(verdict['module'])}"
    if verdict["relative"]:
        metric += ", growth"
    measured = verdict["measured"]
    if measured is None:
        measured = verdict["reason"] if _is_unmeasured(verdict) else f"{verdict['outcome']}: {verdict['reason']}"
    elif verdict["outcome"] not in ("within", "exceeded"):
        measured += f" ({verdict['outcome']})"
    return row_of(
        sign,
        tests_cell(tests) if first else "",
        code(verdict["model"]) if verdict["model"] and first else "",
        metric,
        plain(measured),
        verdict["limit"] or "",
        verdict.get("growth") or _bar(verdict["used"]),
        _set_by(verdict["source"]),
    )


def _set_by(source: Row) -> str:
    text, location = source["text"], source["location"]
    if told(text, location) == text:
        return code(text, 80)
    return f"{code(text, 60)} {code(location, 80)}"


def tests_cell(tests: Sequence[str]) -> str:
    """The first of some tests, and how many others there are: the JSON report has them all."""
    return code(tests[0]) + (f" and {len(tests) - 1} more" if len(tests) > 1 else "")


def row_of(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def _bar(used: float | None) -> str:
    if used is None:
        return ""
    filled = min(_BAR, int(used * _BAR))
    share = quantity.times(used) if used > quantity.HUGE else f"{100 * used:.1f} %"
    return f"{'█' * filled}{'░' * (_BAR - filled)} {share}"


CHANGE_HEADER = ("", "test", "model", "metric", "before", "after", "change", "where")
_SIGNS = {"new": "🆕", "gone": "🗑️", "grown": "🔺", "shrunk": "🔽", "moved": ""}
_SHOWN_MODULES = 4


def change_rows(changes: Iterable[Row]) -> list[str]:
    """Lines of the table of changes: what grew most first, then what is new, shrunk and gone.

    What is the same change in several tests is one line, and so are metrics that follow one another (all parameters
    are trained, two FLOPs are one MAC); several lines of one model stand together.
    """
    alike: dict[str, list[Row]] = {}
    for change in changes:
        same = {name: value for name, value in change.items() if name not in ("test", "recorded")}
        alike.setdefault(repr(same), []).append(change)
    groups: dict[Hashable, dict[Hashable, list[Row]]] = {}
    for rows in alike.values():
        tests, first = tuple(row["test"] for row in rows), rows[0]
        parts = tuple((part["path"], part["kind"]) for part in first["modules"])
        # What is new or gone has no share: each of its metrics is a line.
        share = _share(first) or first["metric"]
        group = groups.setdefault((first["kind"], tests, first["model"]), {})
        # A FLOP is no MAC, but two of them are one.
        unit = _unit_of(first)
        alike_in = share, parts or first["metric"], Unit.FLOP if unit is Unit.MAC else unit
        group.setdefault((first["per"], first["device"], alike_in), []).append({**first, "tests": tests})
    ordered = sorted(groups.values(), key=lambda group: _order([row for rows in group.values() for row in rows]))
    return [_change(rows, first=index == 0) for group in ordered for index, rows in enumerate(group.values())]


def _unit_of(change: Row) -> Unit:
    return METRICS[change["metric"]].unit if change["metric"] in METRICS else Unit.COUNT


def _order(rows: Sequence[Row]) -> tuple[int, Fraction, str]:
    kinds = ("grown", "new", "shrunk", "gone", "moved")
    return kinds.index(rows[0]["kind"]), -max(_share(row) or Fraction(0) for row in rows), rows[0]["test"]


def _share(change: Row) -> Fraction | None:
    if change["before"] in (None, 0) or change["after"] is None:
        return None
    return Fraction(change["after"]) / Fraction(change["before"])


def _change(rows: Sequence[Row], *, first: bool) -> str:
    change = rows[0]
    unit = _unit_of(change)
    before, after = (None if change[name] is None else Fraction(change[name]) for name in ("before", "after"))
    known_as = f", was {code(change['known_as'])}" if change["known_as"] else ""
    # Those of plugins may be named anything.
    metrics = ", ".join(row["metric"] if row["metric"] in METRICS else plain(row["metric"]) for row in rows)
    return row_of(
        _SIGNS[change["kind"]],
        tests_cell(change["tests"]) if first else "",
        f"{code(change['model'])}{known_as}" if first else "",
        metrics if change["per"] == "call" else f"{metrics} per {plain(change['per'])}",
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
