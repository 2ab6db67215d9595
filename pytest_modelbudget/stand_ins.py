"""At the end of a run: new tests are held to vanished ones in whose place they are. No torch."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.baseline import of_row
from pytest_modelbudget.quantity import counted
from pytest_modelbudget.relative import suite_limits
from pytest_modelbudget.reporting.escape import visible
from pytest_modelbudget.reporting.growth import headline, where
from pytest_modelbudget.result import regrown
from pytest_modelbudget.update import Update, same_convention
from pytest_modelbudget.vanished import Predecessors, full_name, stand_ins
from pytest_modelbudget.verdict import Growth, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_modelbudget.baseline import Entries, Entry, Key
    from pytest_modelbudget.budget import Limit
    from pytest_modelbudget.settings import Settings

    Row = dict[str, Any]


def hold(results: Mapping[str, Row], entries: Entries, gone: Collection[str], settings: Settings) -> list[Verdict]:
    """Hold what is new under the limits of the whole suite to what it stands in for, and note that in its rows.

    Args:
        results: of each test, as `TestResult.to_dict` gives them; rows of those that stand in for others change.
        entries: the baseline.
        gone: the tests in it that there are no more.
        settings: of the run.

    Returns:
        What has grown beyond its limit, and is not accepted by this run.
    """
    limits = {(limit.metric.name, limit.per.value): limit for limit in suite_limits(settings, "")}
    new, taken = _of_whole_suites(results, {limit.source.text for limit in limits.values()}, entries, gone)
    figures = {key: entry.value for key, entry in entries.items()}
    found = stand_ins(figures, gone, {key: entry.value for key, (entry, _, _) in new.items()}, taken)
    exceeded = []
    order = {name: index for index, (name, _) in enumerate(limits)}
    for key, other in sorted(found.items(), key=lambda pair: (pair[0].test, pair[0].model, order[pair[0].metric])):
        before, (after, written, row) = entries[other], new[key]
        if not same_convention(key, before, after):
            continue
        written["replaces"] = list(other)
        growth = Growth(key, before, after, full_name(other, key.test), other)
        verdict = _verdict(limits[key.metric, key.per], growth)
        if verdict.outcome is Outcome.WITHIN:
            row["known_as"] = growth.known_as
            continue
        if {Update.NEW, Update.RAISE}.issubset(settings.update):
            verdict = replace(verdict, outcome=Outcome.ACCEPTED)
        else:
            exceeded.append(verdict)
        regrown(row, verdict)
    return exceeded


def complaints(verdicts: Sequence[Verdict], command: Callable[..., str]) -> list[str]:
    """What stands in for what, how much it has grown and where, and what to do: a line for each test.

    Args:
        verdicts: as `hold` returns them.
        command: what runs a test again, together with the one that it replaces; without either, all of them.
    """
    grown: dict[str, dict[str, list[str]]] = {}
    replaced: dict[str, str] = {}
    for verdict in verdicts:
        assert verdict.growth is not None
        assert verdict.growth.replaces is not None
        test = verdict.growth.key.test
        replaced.setdefault(test, verdict.growth.replaces.test)
        model = f"{verdict.model}, recorded as {verdict.growth.known_as}"
        grown.setdefault(test, {}).setdefault(model, []).append(_said(verdict))
    said = []
    for test, models in [*grown.items()][:_SHOWN]:
        text = "; ".join(f"{model}: {'; '.join(figures)}" for model, figures in models.items())
        said.append(
            f"{visible(test)} is new, and more than what is gone: {visible(text)}: make the model lighter, or accept "
            f"it: {command(test, replaced[test])} --modelbudget-update=new,raise"
        )
    if len(grown) > _SHOWN:
        said.append(
            f"{counted(len(grown) - _SHOWN, 'more new test')} outgrew what is gone, too; to accept all: "
            f"{command()} --modelbudget-update=new,raise"
        )
    return said


_SHOWN = 5
"""For how many tests the run says how much they have grown; the table has them all."""


def _said(verdict: Verdict) -> str:
    metric, growth = verdict.limit.metric, verdict.growth
    assert growth is not None
    assert growth.before is not None
    parts = where(growth.before, growth.after, metric.unit) if metric.has_parts else ""
    text = headline(verdict, replace(growth, known_as="")).removeprefix(f"max_growth: {verdict.model} ")
    return f"{text}, {parts}" if parts else text


def _of_whole_suites(
    results: Mapping[str, Row], sources: Collection[str], entries: Entries, gone: Collection[str]
) -> tuple[dict[Key, tuple[Entry, Row, Row]], list[Key]]:
    """What is new under the limits of those `sources`, and the old names that are found already.

    Each with its row among the entries and the one of its verdict.
    """
    predecessors = Predecessors({key: entry.value for key, entry in entries.items()}, gone)
    new: dict[Key, tuple[Entry, Row, Row]] = {}
    found: list[Key] = []
    for result in results.values():
        rows = {
            (row["model"], row["metric"], row["per"]): row
            for row in result["verdicts"]
            if row["relative"] and row["source"]["text"] in sources
        }
        for written in result["entries"]:
            row = rows.get((written["model"], written["metric"], written["per"]))
            if row is None:
                continue
            key, entry = of_row(written)
            if row["outcome"] == Outcome.NEW.value and not row["known_as"]:
                new[key] = entry, written, row
            elif (other := predecessors.of(key, [name for name, _, _ in rows])) is not None:
                found.append(other)
    return new, found


def _verdict(limit: Limit, growth: Growth) -> Verdict:
    assert limit.value is not None
    assert growth.before is not None
    bound, measured = growth.before.value * (1 + limit.value), Fraction(growth.after.value)
    outcome = Outcome.EXCEEDED if measured > bound else Outcome.WITHIN
    return Verdict(replace(limit, value=bound), outcome, growth.key.model, measured, growth=growth)
