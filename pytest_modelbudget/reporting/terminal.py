"""The table at the end of a run: how much of each budget is used, and what was seen."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import METRICS, Source
from pytest_modelbudget.profiling.profile import KEPT_OUTSIDE
from pytest_modelbudget.reporting import measured
from pytest_modelbudget.verdict import SHARED_MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pytest

    from pytest_modelbudget.reporting.measured import Group

    Row = dict[str, Any]
    Results = Mapping[str, Row]
    Budgets = list[tuple[str, Row, list[str]]]
    """Node id, verdict, and the further tests that the verdict stands for."""

_BAR = 10
_USE = _BAR + 8
"""Characters of a bar and its percentage."""
_SHORT = 20
"""How many rows the short table shows; failures and what was not measured always, then the most used."""

_FURTHER = 4
"""How many further tests the short table names above a limit that measured nothing of them."""


def write(
    reporter: pytest.TerminalReporter,
    results: Results,
    complaints: Sequence[str],
    verbosity: int,
    *,
    observed: bool = False,
) -> None:
    """Write the table.

    Args:
        reporter: pytest's.
        results: of each test, as `TestResult.to_dict` gives them, in the order in which they are to stand.
        complaints: what fails the run although no test did.
        verbosity: -1 failures only, 0 a short table, 1 every measured test, 2 the module tree.
        observed: whether to show what was measured of every model, limited or not.
    """
    verdicts: Budgets = [
        (nodeid, verdict, [])
        for nodeid, result in results.items()
        for verdict in result["verdicts"]
        if verdict["outcome"] != "incomplete"
    ]
    failed = [row for row in verdicts if row[1]["failed"]]
    rows = failed if verbosity < 0 else verdicts if verbosity else _merged(verdicts)
    shown = rows
    if verbosity == 0 and len(rows) > _SHORT:
        always = [row for row in rows if row[1]["failed"] or _is_unmeasured(row[1])]
        others = [row for row in rows if not (row[1]["failed"] or _is_unmeasured(row[1]))]
        others.sort(key=lambda row: (row[1]["relative"], -(row[1]["used"] or 0)))
        keep = {id(row) for row in [*always, *others[: max(_SHORT - len(always), 0)]]}
        shown = [row for row in rows if id(row) in keep]
    profiles = []
    if observed or verbosity > 1:
        tests = ((nodeid, result["profiles"]) for nodeid, result in results.items())
        times = {nodeid: result.get("times", ()) for nodeid, result in results.items()}
        groups = measured.grouped(tests, modules=verbosity > 1, times=times)
        if verbosity <= 0:  # who looks closely sees each call, in their order
            groups = measured.few(measured.folded(groups))
        profiles = measured.by_model(groups, calls=verbosity <= 0)
    traps = list(_traps(verdicts, shown))
    if shown or profiles or complaints:
        _section(reporter, shown, len(rows) - len(shown), profiles, complaints, verbosity)
    for trap in traps:
        reporter.write_line(trap, yellow=True)


def _section(
    reporter: pytest.TerminalReporter,
    shown: Budgets,
    left_out: int,
    profiles: list[Group],
    complaints: Sequence[str],
    verbosity: int,
) -> None:
    writer = _Writer(reporter)
    reporter.write_sep("=", "model budgets")  # reporter.section() would leave an empty line behind
    writer.table(shown)
    if left_out:
        reporter.write_line(f"{left_out} more within budget, less used (-v shows them)")
    writer.profiles(profiles, verbosity)
    if any(_is_time(verdict) for _, verdict, _ in shown) and reporter.config.pluginmanager.has_plugin("dsession"):
        reporter.write_line(
            "workers of pytest-xdist shared the machine while times were measured: they differ less without -n"
        )
    for complaint in complaints:
        reporter.write_line(f"ERROR {complaint}", red=True)


def _traps(verdicts: Budgets, shown: Budgets) -> Iterator[str]:
    """What a test has left behind that makes later ones fail, of each test of which no shown row says so."""
    told = {test for nodeid, verdict, others in shown if _trap(verdict) for test in (nodeid, *others)}
    found: dict[str, dict[str, None]] = {}
    for nodeid, verdict, _ in verdicts:
        if nodeid not in told and not verdict["failed"] and (note := _trap(verdict)):
            found.setdefault(note, {})[nodeid] = None
    for note, tests in found.items():
        first, *others = tests
        yield f"modelbudget: {first}{f' and {len(others)} more' if others else ''}: {note}"


def _trap(verdict: Row) -> str:
    return next((note for note in verdict.get("notes", ()) if note.startswith(KEPT_OUTSIDE)), "")


def _merged(rows: Budgets) -> Budgets:
    """One row for each limit that holds for many tests: that of the closest test."""
    merged: dict[object, tuple[str, Row, list[str]]] = {}
    for nodeid, verdict, _ in rows:
        source = verdict["source"]
        key: object = (
            (source["text"], source["location"], *(verdict[name] for name in ("metric", "model", "module", "outcome")))
            if not verdict["failed"]
            else id(verdict)
        )
        if key not in merged:
            merged[key] = nodeid, verdict, []
            continue
        first, closest, others = merged[key]
        if (verdict["used"] or 0) > (closest["used"] or 0):
            first, closest, nodeid = nodeid, verdict, first
        merged[key] = first, closest, [*others, nodeid]
    return sorted(merged.values(), key=lambda row: row[0])


class _Writer:
    """Lines for one terminal: its width, its colours, its characters."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._width: int = reporter._tw.fullwidth
        encoding = getattr(reporter._tw._file, "encoding", None) or "ascii"
        try:
            "█░".encode(encoding)
            self._full, self._empty = "█", "░"
        except (UnicodeEncodeError, LookupError):
            self._full, self._empty = "#", "."

    def table(self, rows: Budgets) -> None:
        names = [_name(verdict) for _, verdict, _ in rows]
        figures = [f"{verdict['measured'] or '-'} / {verdict['limit'] or '-'}" for _, verdict, _ in rows]
        width, figures_width = (max(map(len, column), default=0) for column in (names, figures))
        subject: object = None
        below, colour = "", {"red": False}
        for (nodeid, verdict, others), name, figure in zip(rows, names, figures, strict=True):
            # On a narrow terminal bars that stand in their line are worth more than columns.
            padded = f"  {name:<{width}}  {figure:<{figures_width}}", f"  {name:<{width}}  {figure}"
            left = next((text for text in padded if self._has_room(text, " " * _USE)), f"  {name}  {figure}")
            listed = others if _is_unmeasured(verdict) else []
            parts = self._use(verdict, left)
            if others and not listed:
                parts.append(f"in {len(others) + 1} tests")
            shown = len(parts)
            while shown and not self._has_room(left, "  ".join(parts[:shown])):
                shown -= 1
            rest = "  ".join(parts[shown:])
            is_other = subject != (nodeid, verdict["model"], listed)
            if is_other or rest != below:  # what several rows of a test have in common is told below the last of them
                self._wrapped(below, colour)
            if is_other:
                subject = nodeid, verdict["model"], listed
                self._reporter.write_line(f"{nodeid}  {verdict['model']}".rstrip())
                self._names(listed)
            below, colour = rest, {"red": True} if verdict["failed"] else {"green": verdict["used"] is not None}
            self._reporter.write(f"{left}  " if shown else left.rstrip())
            self._reporter.write(f"{'  '.join(parts[:shown])}\n", **colour)
        self._wrapped(below, colour)

    def _has_room(self, left: str, text: str) -> bool:
        return len(left) + 2 + len(text) <= self._width

    def _wrapped(self, text: str, colour: dict[str, bool] | None = None, indent: str = "    ") -> None:
        """Text that gets lines of its own, so that nothing of it is lost."""
        width = max(self._width - len(indent), 2 * _BAR)
        for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
            self._reporter.write_line(f"{indent}{line}", **(colour or {}))

    def _names(self, nodeids: list[str]) -> None:
        for nodeid in nodeids[:_FURTHER]:
            self._reporter.write_line(nodeid)
        if len(nodeids) > _FURTHER:
            self._reporter.write_line(f"{len(nodeids) - _FURTHER} more (-v shows them)")

    def _use(self, verdict: Row, left: str) -> list[str]:
        """How much of the limit is used, and what a reader must know of it, to stand to the right of that."""
        if verdict["measured"] is None:
            whole = f"{verdict['outcome']}: {verdict['reason']}"
            return [whole] if self._has_room(left, whole) else [verdict["outcome"], verdict["reason"]]
        parts = []
        if growth := verdict.get("growth"):
            parts.append(f"{growth:>{_USE}}")
        elif (used := verdict["used"]) is not None:
            filled = min(_BAR, int(used * _BAR))
            parts.append(f"{self._full * filled}{self._empty * (_BAR - filled)} {_percent(used)}")
        if verdict["outcome"] == "exceeded":
            parts.append("over" if verdict["failed"] else "over, as the test expects")
        elif verdict["outcome"] in ("new", "accepted", "not in the baseline"):
            parts.append(verdict["outcome"])
        if verdict["straddles"]:
            parts.append("within the spread of the times")
        if verdict["failed"] and verdict["level"] == "warn":
            parts[-1:] = [f"{' '.join(parts[-1:])} (warning)".strip()]
        if verdict["unknown"]:
            parts.append(f"unknown cost: {measured.operators(verdict['unknown'])}")
        if not verdict["failed"]:  # which says it all
            parts += [note for note in verdict.get("notes", ()) if SHARED_MACHINE not in note]
        parts[:1] = [part.lstrip() for part in parts[:1]]
        return parts

    def profiles(self, groups: list[Group], verbosity: int) -> None:
        shown = groups if verbosity > 0 else measured.cut(groups, _SHORT)
        held: object = None
        for group in shown:
            profile, tests = group.profile, group.tests
            heading = list(measured.heading(profile, group.others))
            heading += [f"({group.variants} alike)"] if group.variants > 1 else []
            self._reporter.write_line("  ".join(heading), bold=True)
            self._wrapped(measured.loop(group), indent="  ")
            time = measured.latency(group)
            # All that a model holds is told with the first of its calls.
            holds = [profile[name] for name in ("model", "params", "trainable_params", "size")]
            is_told = holds == held and bool(profile["calls"])
            held = holds
            figures = [*measured.figures(*group.rows, state=not is_told), *([f"latency {time}"] if time else [])]
            total = measured.total(group)
            for line in (*self._lines(figures), *(self._lines(total) if total else ())):
                self._reporter.write_line(f"  {line}")
            if profile["uncounted"]:
                self._wrapped(f"unknown cost: {measured.operators(profile['uncounted'])}", indent="  ")
            for note in profile["notes"]:
                self._wrapped(note, indent="  ")
            if verbosity > 0:
                for nodeid in tests:
                    self._reporter.write_line(f"  {nodeid}")
            else:
                others = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
                self._reporter.write_line(f"  {tests[0]}{others}")
            if verbosity > 1 and "modules" in profile:
                self._tree(profile["modules"])
        if len(shown) < len(groups):
            self._reporter.write_line(f"{len(groups) - len(shown)} more (-v shows them)")

    def _tree(self, modules: Mapping[str, Row]) -> None:
        for path, module in modules.items():
            if path:
                indent = "  " * (path.count(".") + 2)
                name = path.rpartition(".")[2]
                self._reporter.write_line(
                    f"{indent}{name}  {module['type']}  {'  '.join(measured.figures(module))}".rstrip()
                )

    def _lines(self, figures: Iterable[str]) -> Iterator[str]:
        line = ""
        for figure in figures:
            if line and len(line) + len(figure) + 4 > self._width:
                yield line
                line = ""
            line += f"  {figure}" if line else figure
        yield line


def _is_unmeasured(verdict: Row) -> bool:
    return bool(verdict["outcome"] == "not measured")


def _is_time(verdict: Row) -> bool:
    return verdict["metric"] in METRICS and METRICS[verdict["metric"]].source is Source.CLOCK


def _name(verdict: Row) -> str:
    name = f"{verdict['metric']} {verdict['module']}".rstrip()
    if verdict["relative"]:
        name += " growth"
    return name if verdict["per"] == "call" else f"{name} per {verdict['per']}"


def _percent(used: float) -> str:
    if used > quantity.HUGE:
        return quantity.times(used)
    # Rounding must not turn 99.97 % into "100.0 %", nor 100.04 % into it.
    for digits in range(1, 12):
        text = f"{100 * used:.{digits}f}"
        if used == 1 or float(text) != 100:
            return f"{text:>5} %"
    return f"{100 * used} %"
