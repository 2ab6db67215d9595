"""At the end of a run: what it changes in the baseline, and what to say about it. Knows files, but no pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import baseline, files, update
from pytest_modelbudget.baseline import BaselineError
from pytest_modelbudget.reporting.growth import change_text, unit_of, where
from pytest_modelbudget.update import Update

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_modelbudget.baseline import Entries, Key
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.update import Change

_SHOWN = 50
"""How many changes are printed; the diff of the baseline has them all."""


class Recording(NamedTuple):
    """What became of the baseline.

    Attributes:
        entries: as they were before.
        measured: of the tests that passed.
        changes: what changed, or would with the right word.
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
) -> Recording:
    """Hold what the tests measured against the baseline, and update it where the user asked for it.

    Args:
        path: of the baseline.
        results: of each test, as `TestResult.to_dict` gives them.
        outcomes: of each test of the run: `passed`, `failed`, `skipped` or `xfailed`.
        settings: of the run.
        incomplete: why the run is no measure of the whole suite; empty where it is.
    """
    measured = {
        key: entry
        for test, result in results.items()
        if outcomes.get(test) == "passed"
        for key, entry in map(baseline.of_row, result["entries"])
    }
    allowed = settings.update
    writes = bool(allowed) and not settings.dry_run
    try:
        if not writes:
            return _recording(baseline.load(path), measured, outcomes, settings, incomplete, path)
        # Between reading and writing nobody else may write; the tests were held against an older copy.
        with files.locked(path):
            recording = _recording(baseline.load(path), measured, outcomes, settings, incomplete, path)
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
    outcomes: Mapping[str, str],
    settings: Settings,
    incomplete: str,
    path: Path,
) -> Recording:
    gone = [] if incomplete else update.vanished(entries, measured, outcomes)
    not_lower = f"lower needs a complete, passed run without selection: {incomplete}" if incomplete else ""
    changes = update.changes(entries, measured, settings.update, gone=gone, not_lower=not_lower)
    stale = [change.key for change in changes if change.after is None and change.refused]
    lines = [(line, False) for line in _lines(changes, settings, path, incomplete)]
    return Recording(entries, measured, changes, stale, lines)


def _lines(changes: list[Change], settings: Settings, path: Path, incomplete: str) -> Iterator[str]:
    if settings.update_refused:
        yield f"the baseline was not updated: {settings.update_refused}"
    done = [change for change in changes if not change.refused]
    if settings.update:
        verb = "would change" if settings.dry_run else "changed"
        yield f"{path.name}: {verb} {_count(done)}" if done else f"{path.name}: nothing to change"
        yield from _shown(done)
    left = [change for change in changes if change.refused]
    if settings.update:
        # One line a reason: a large suite has thousands of entries.
        for reason in dict.fromkeys(change.refused for change in left):
            refused = [change for change in left if change.refused == reason]
            yield f"not changed, {reason}: {_count(refused)}"
            yield from _shown(refused)
        if Update.LOWER in settings.update and incomplete and not left:
            yield f"not lowered: lower needs a complete, passed run without selection: {incomplete}"
        return
    if stale := [change for change in left if change.after is None]:
        yield f"stale, their tests or models are gone (--modelbudget-update=lower drops them): {_count(stale)}"
        yield from _shown(stale)
    lower = [change for change in left if change.needs is Update.LOWER and change.after is not None]
    if lower:
        yield f"below the baseline (--modelbudget-update=lower keeps it so): {_count(lower)}"
        yield from _shown(lower)
    if new := [change for change in left if change.before is None]:
        yield f"not in the baseline (--modelbudget-update=new adds them): {_count(new)}"


def _count(changes: list[Change]) -> str:
    return "1 entry" if len(changes) == 1 else f"{len(changes)} entries"


def _shown(changes: list[Change]) -> Iterator[str]:
    for change in changes[:_SHOWN]:
        yield f"  {text_of(change)}"
    if len(changes) > _SHOWN:
        yield f"  and {len(changes) - _SHOWN} more"


_VERBS = {Update.NEW: "new", Update.RAISE: "raised", Update.LOWER: "lowered"}


def text_of(change: Change) -> str:
    """`raised test_it.py::test_it Net params 40 -> 80 (+100.0 %): head +40`."""
    key, unit = change.key, unit_of(change.key)
    verb = "dropped" if change.after is None else _VERBS[change.needs]
    per = "" if key.per == "call" else f" per {key.per}"
    text = f"{verb} {key.test} {key.model} {key.metric}{per} {change_text(change.before, change.after, unit)}"
    if change.before is not None and change.after is not None:
        reason = where(change.before.modules, change.after.modules, unit)
        return f"{text}: {reason}" if reason else text
    return text
