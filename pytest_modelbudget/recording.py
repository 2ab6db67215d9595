"""At the end of a run: what it changes in the baseline, and what to say about it. Knows files, but no pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import baseline, files, update
from pytest_modelbudget.baseline import BaselineError, Key
from pytest_modelbudget.reporting.changes import DONE, LEFT, lines_of
from pytest_modelbudget.reporting.escape import visible
from pytest_modelbudget.update import Change, Update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_modelbudget.baseline import Entries
    from pytest_modelbudget.settings import Settings

_SHOWN = 50
"""How many lines say what an update changed; the diff of the baseline has it all."""

_HINTS = 5
"""How many lines say what it could change where nobody asked."""


class _Commands(NamedTuple):
    """What to run next: to accept growth, and to make the baseline where there is none (else empty).

    `is_said`: whether the run has named the latter already.
    """

    accept: str
    make: str
    is_said: bool


class Recording(NamedTuple):
    """What became of the baseline.

    Attributes:
        entries: as they were before.
        measured: of the tests that passed.
        changes: what changed, or would with the right word, those of tests that failed included.
        stale: the entries of vanished tests that are still there.
        lines: what to print, each with whether it is an error.
    """

    entries: Entries
    measured: Entries
    changes: list[Change]
    stale: list[Key]
    lines: list[tuple[str, bool]]


def record(
    *,
    path: Path,
    results: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, str],
    settings: Settings,
    incomplete: str,
    has_last_failed: bool = True,
    command: str = "python -m pytest",
    misses_it: bool = False,
    stand_ins: Collection[str] = (),
) -> Recording:
    """Hold what the tests measured against the baseline, and update it where the user asked for it.

    Args:
        path: of the baseline.
        results: of each test, as `TestResult.to_dict` gives them.
        outcomes: of each test of the run: `passed`, `failed`, `skipped` or `xfailed`.
        settings: of the run.
        incomplete: why the run is no measure of the whole suite; empty where it is.
        has_last_failed: whether pytest knows `--lf`, which its cache plugin brings.
        command: what runs the tests as this run did.
        misses_it: whether the run has complained already that there is no baseline.
        stand_ins: the tests that passed, and are new and more than those in whose place they are.
    """
    measured, failed = (
        {
            key: entry
            for test, result in results.items()
            if ("failed" if test in stand_ins else outcomes.get(test)) == outcome
            for key, entry in map(baseline.of_row, result["entries"])
        }
        for outcome in ("passed", "failed")
    )
    by_chance = {
        Key(*(row[name] for name in Key._fields))
        for result in results.values()
        for row in result["entries"]
        if row.get("by_chance")
    }
    replaces = {
        Key(*(row[name] for name in Key._fields)): Key(*row["replaces"])
        for result in results.values()
        for row in result["entries"]
        if row.get("replaces")
    }
    incomparable = [
        test
        for test, result in results.items()
        if any(verdict["outcome"] == "not comparable" for verdict in result["verdicts"])
    ]
    outgrown = {
        key: _grew_only(results[key.test]["verdicts"]) for key in failed if _outgrew(key, results[key.test]["verdicts"])
    }
    accept = f"{command}{' --lf' if has_last_failed and not stand_ins else ''} --modelbudget-update"

    def held_against(entries: Entries) -> Recording:
        commands = _Commands(accept, "" if path.exists() else f"{command} --modelbudget-update=new", misses_it)
        lost = _lost(entries, measured, results, outcomes, settings)
        recording = _recording(
            entries,
            measured,
            failed,
            by_chance,
            lost,
            outgrown,
            outcomes,
            settings,
            incomplete,
            path,
            commands,
            stand_ins,
            replaces,
        )
        if incomparable:
            why = "not comparable, since hypothesis decides what they measure (-v says more)"
            recording.lines.append((f"{why}: {_named(incomparable)}", False))
        return recording

    allowed = settings.update
    writes = bool(allowed) and not settings.dry_run
    try:
        if not writes:
            return held_against(baseline.load(path))
        # Between reading and writing nobody else may write; the tests were held against an older copy.
        with files.locked(path):
            recording = held_against(baseline.load(path))
            after = update.applied(recording.entries, recording.changes)
            if after != recording.entries:
                baseline.save(path, after)
            return recording
    except (BaselineError, OSError) as error:
        lines = [(f"the baseline was not updated: {error}", True)] if writes else [(str(error), True)]
        return Recording({}, measured, [], [], lines)


def _recording(
    entries: Entries,
    measured: Entries,
    failed: Entries,
    by_chance: Collection[Key],
    lost: list[Key],
    outgrown: Mapping[Key, bool],
    outcomes: Mapping[str, str],
    settings: Settings,
    incomplete: str,
    path: Path,
    commands: _Commands,
    stand_ins: Collection[str],
    replaces: Mapping[Key, Key],
) -> Recording:
    gone = [] if incomplete else [*dict.fromkeys([*update.vanished(entries, measured, outcomes), *lost])]
    not_lower = f"lower needs a complete, passed run without selection: {incomplete}" if incomplete else ""
    changes = update.changes(entries, measured, settings.update, gone=gone, not_lower=not_lower, by_chance=by_chance)
    for change in update.changes(entries, failed, ()):
        refused = _STANDS_IN if change.key.test in stand_ins else _FAILED
        changes.append(change._replace(refused=refused if change.needs in settings.update else change.refused))
    changes = _moved(changes, replaces, {*measured, *failed}, entries)
    stale = [change.key for change in changes if change.after is None and change.refused]
    nothing = _NOTHING if entries or measured or failed else _NOTHING_HELD if outcomes else _NOTHING_RAN
    chosen = [
        key
        for key in sorted(by_chance)
        if key in entries
        and key in measured
        and (entries[key].inputs != measured[key].inputs or entries[key].value > measured[key].value)
    ]
    aside = {*by_chance, *failed}
    told = [*_lines(changes, settings, path, incomplete, outgrown, commands, aside, nothing)]
    if chosen and not settings.update:
        why = "recorded for other examples of hypothesis, so they may have grown all the same"
        told.append(f"{why}: {_named(key.test for key in chosen)}")
    if lost and incomplete and not settings.update:
        told.append(f"in the baseline, and not measured any more: {_entries(len(lost))}")
        told += lines_of([Change(key, entries[key], None, Update.LOWER) for key in lost], _HINTS, {})
    lines = [(line, False) for line in told]
    return Recording(entries, measured, changes, stale, lines)


def _moved(changes: list[Change], replaces: Mapping[Key, Key], now: Collection[Key], entries: Entries) -> list[Change]:
    """The changes, and with the last of those that stand in for it is recorded, the old entry dropped.

    Left behind, it would be held against whatever is new next.
    """
    recorded = {change.key for change in changes if change.after is not None and not change.refused}
    open_ones = {old for new, old in replaces.items() if new not in recorded and new not in entries}
    moved = {old for new, old in replaces.items() if new in recorded and old in entries and old not in now} - open_ones
    kept = [change for change in changes if change.after is not None or change.key not in moved]
    kept += [Change(key, entries[key], None, Update.NEW) for key in moved]
    return sorted(kept, key=lambda change: change.key)


_FAILED = "the test failed"
_STANDS_IN = "heavier than what they stand in for, needs --modelbudget-update=new,raise"
_NOTHING = "nothing to change"
_NOTHING_RAN = f"{_NOTHING}, since no test ran"
_NOTHING_HELD = (
    f"{_NOTHING}, since no test is held to growth: mark tests with max_growth, or hold every test with "
    "--modelbudget --modelbudget-max-growth=1%"
)


def _lost(
    entries: Entries,
    measured: Entries,
    results: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, str],
    settings: Settings,
) -> list[Key]:
    """What tests that passed do not measure any more, as one that stops calling its model.

    Not the figures of a device, unless it is the one that was asked for: the machine may have another.
    """
    held = {key.test for key in measured}
    if settings.observe_all and settings.max_growth is not None:
        held.update(outcomes)
    incomparable = {
        (test, verdict["model"], verdict["metric"], verdict["per"])
        for test, result in results.items()
        for verdict in result["verdicts"]
        if verdict["outcome"] == "not comparable"
    }
    return [
        key
        for key in entries
        if key not in measured
        and key.test in held
        and outcomes.get(key.test) == "passed"
        and key.device in (baseline.ANY_DEVICE, settings.device.partition(":")[0])
        and (key.test, key.model, key.metric, key.per) not in incomparable
    ]


def _outgrew(key: Key, verdicts: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a test failed because this figure grew."""
    return any(
        verdict["relative"]
        and verdict["outcome"] == "exceeded"
        and (verdict["model"], verdict["metric"], verdict["per"]) == (key.model, key.metric, key.per)
        for verdict in verdicts
    )


def _grew_only(verdicts: Iterable[Mapping[str, Any]]) -> bool:
    """Whether accepting what grew would make the test pass: growth is all that failed it."""
    return all(
        verdict["relative"] and verdict["outcome"] == "exceeded"
        for verdict in verdicts
        if verdict["failed"] and verdict["level"] == "error"
    )


def _lines(
    changes: list[Change],
    settings: Settings,
    path: Path,
    incomplete: str,
    outgrown: Mapping[Key, bool],
    commands: _Commands,
    aside: Collection[Key],
    nothing: str,
) -> Iterator[str]:
    if settings.update_refused:
        yield f"the baseline was not updated: {settings.update_refused}"
    done = [change for change in changes if not change.refused]
    if settings.update:
        verb = "would change" if settings.dry_run else "changed"
        yield f"{path.name}: {verb} {_count(done)}" if done else f"{path.name}: {nothing}"
        yield from lines_of(done, _SHOWN, DONE)
    left = [change for change in changes if change.refused]
    if settings.update:
        # One line a reason: a large suite has thousands of entries.
        for reason in dict.fromkeys(change.refused for change in left):
            refused = [change for change in left if change.refused == reason]
            yield f"not changed, {reason}: {_count(refused)}"
            yield from lines_of(refused, _SHOWN, LEFT)
        if Update.LOWER in settings.update and incomplete and not left:
            yield f"not lowered: lower needs a complete, passed run without selection: {incomplete}"
        return
    if len({key.test for key in outgrown}) > 1:
        # Each failure says it of itself; what many of them have in common is said here.
        if grown := [change for change in left if outgrown.get(change.key)]:
            words = "new,raise" if any(change.before is None for change in grown) else "raise"
            yield f"outgrown, to accept it run {commands.accept}={words}: {_count(grown)}"
            yield from lines_of(grown, _HINTS, {})
        if others := [change for change in left if outgrown.get(change.key) is False]:
            yield f"outgrown, to be accepted once the other limits of these tests hold: {_count(others)}"
            yield from lines_of(others, _HINTS, {})
    if stale := [change for change in left if change.after is None]:
        why = "their tests or models are gone, or not measured any more"
        yield f"stale, {why} (--modelbudget-update=lower drops them): {_count(stale)}"
        yield from lines_of(stale, _HINTS, {})
    if others := [change for change in left if _is_for_other_inputs(change) and change.key not in aside]:
        words = ",".join(word.value for word in Update if word in {change.needs for change in others})
        # Where nothing could be done about it the doubt remains.
        way = "" if incomplete and "lower" in words else f" (once checked, --modelbudget-update={words} records them)"
        yield f"recorded for other inputs, so they may have grown all the same{way}: {_count(others)}"
        yield from lines_of(others, _HINTS, {})
    # On a part of the suite nothing could be done about it.
    lower = [
        change
        for change in left
        if change.needs is Update.LOWER
        and change.after is not None
        and not _is_for_other_inputs(change)
        and change.key not in aside
    ]
    if lower and not incomplete:
        yield f"below the baseline (--modelbudget-update=lower keeps it so): {_count(lower)}"
        yield from lines_of(lower, _HINTS, {})
    new = [change for change in left if change.before is None and change.key not in outgrown and not commands.is_said]
    if new and commands.make:
        yield (
            f"{settings.baseline} does not exist, so nothing is held to growth yet: run {commands.make} and commit the "
            f"file: {_count(new)}"
        )
    elif new:
        yield f"not in the baseline (--modelbudget-update=new adds them): {_count(new)}"
    yield from lines_of(new, _HINTS, {})


def _is_for_other_inputs(change: Change) -> bool:
    before, after = change.before, change.after
    return before is not None and after is not None and before.inputs != after.inputs


def _named(tests: Iterable[str]) -> str:
    """`test_a.py::test, test_b.py::test and 3 more`."""
    names = [*dict.fromkeys(map(visible, tests))]
    left = len(names) - _HINTS
    return ", ".join(names[:_HINTS]) + (f" and {left} more" if left > 0 else "")


def _count(changes: list[Change]) -> str:
    return _entries(len(changes))


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
