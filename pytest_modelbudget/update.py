"""What `--modelbudget-update` changes in the baseline. Pure: no torch, no pytest."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget.metrics import METRICS, Unit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pytest_modelbudget.baseline import Entries, Entry, Key


class Update(str, Enum):
    """What a run may change in the baseline."""

    NEW = "new"
    """Add what is missing, in place of what has another name now."""
    RAISE = "raise"
    """Accept growth."""
    LOWER = "lower"
    """Ratchet down, and drop the entries of vanished tests."""


class Change(NamedTuple):
    """One entry that changes, or would.

    Attributes:
        key: which.
        before, after: None where it is added or dropped.
        needs: the word that allows it.
        refused: why it does not happen; empty where it does.
        known_as: the model as which it was known before, and of which test, where that is another one.
    """

    key: Key
    before: Entry | None
    after: Entry | None
    needs: Update
    refused: str = ""
    known_as: str = ""


def changes(
    entries: Mapping[Key, Entry],
    measured: Mapping[Key, Entry],
    allowed: Collection[str],
    *,
    gone: Collection[Key] = (),
    not_lower: str = "",
    by_chance: Collection[Key] = (),
) -> list[Change]:
    """What a run changes, sorted by key; what it would change and may not carries the reason.

    Args:
        entries: the baseline as it is.
        measured: what the tests measured that passed.
        allowed: what the user asked for.
        gone: the entries of vanished tests.
        not_lower: why this run may not lower or drop anything; empty where it may.
        by_chance: what hypothesis decided, otherwise than is recorded: lowered, it would fail as soon as chance has it.
    """
    found = []
    for key, after in measured.items():
        before = entries.get(key)
        needs = _needs(before, after)
        if needs is None or (key in by_chance and before is not None and after.value == before.value):
            continue
        refused = "" if needs in allowed else f"needs --modelbudget-update={needs.value}"
        if before is not None and not same_convention(key, before, after):
            refused = (
                f"recorded with flops_per_mac={before.flops_per_mac}, measured with {after.flops_per_mac}: "
                "remove the entry, and record it with --modelbudget-update=new"
            )
        elif needs is Update.LOWER and key in by_chance:
            refused = _CHOSEN
        elif needs is Update.LOWER and not refused:
            refused = not_lower
        found.append(Change(key, before, after, needs, refused))
    for key in gone:
        refused = not_lower if Update.LOWER in allowed else f"needs --modelbudget-update={Update.LOWER.value}"
        found.append(Change(key, entries[key], None, Update.LOWER, refused))
    return sorted(found, key=lambda change: change.key)


_CHOSEN = (
    "since hypothesis chose other examples than those that are recorded: an @example of the largest keeps the figure "
    "still"
)


def _needs(before: Entry | None, after: Entry) -> Update | None:
    """The word that allows an entry to become another one; None where they say the same."""
    if before is None:
        return Update.NEW
    if after.value != before.value:
        return Update.RAISE if after.value > before.value else Update.LOWER
    if (after.modules, after.largest, after.inputs) == (before.modules, before.largest, before.inputs):
        return None  # also where another version measured it: an entry changes when a figure does
    # As much as before, elsewhere or for other inputs: some module grew or has a new name, or the model may have grown.
    return Update.RAISE


def same_convention(key: Key, one: Entry, other: Entry) -> bool:
    """Whether two entries count alike."""
    metric = METRICS.get(key.metric)
    return one.flops_per_mac == other.flops_per_mac or metric is None or metric.unit is not Unit.FLOP


def applied(entries: Mapping[Key, Entry], wanted: Collection[Change]) -> Entries:
    """The baseline after the changes that are not refused."""
    result = dict(entries)
    for change in wanted:
        if change.refused:
            continue
        if change.after is None:
            result.pop(change.key, None)
        else:
            result[change.key] = change.after
    return result


def vanished(entries: Mapping[Key, Entry], measured: Mapping[Key, Entry], seen: Collection[str]) -> list[Key]:
    """The entries that a full run left without a test, or without a model in it.

    Args:
        entries: the baseline.
        measured: by all tests that passed.
        seen: the ids of all tests, skipped ones included.
    """
    subjects = set(_subjects(measured))
    measurements = {(key.test, key.metric, key.per, key.device) for key in measured}
    return [
        key
        for key in entries
        if key.test not in seen
        # The test is there and was measured in the same way, but not this model of it.
        or ((key.test, key.metric, key.per, key.device) in measurements and (key.test, key.model) not in subjects)
    ]


def _subjects(measured: Mapping[Key, Entry]) -> Iterator[tuple[str, str]]:
    return ((key.test, key.model) for key in measured)
