"""Changes of figures as lines for a terminal: what many tests say of one model, or many metrics of one test, is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_modelbudget import quantity
from pytest_modelbudget.baseline import ANY_DEVICE
from pytest_modelbudget.growth import compared
from pytest_modelbudget.reporting.escape import visible
from pytest_modelbudget.reporting.growth import change_text, unit_of, where

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from pytest_modelbudget.baseline import Key
    from pytest_modelbudget.update import Change

DONE = {"new": "new", "gone": "dropped", "moved": "moved", "grown": "raised", "shrunk": "lowered"}
"""What an update did to an entry, by the kind of change."""

LEFT = {"new": "new", "gone": "gone", "moved": "moved", "grown": "grown", "shrunk": "shrunk"}


def kind_of(change: Change) -> str:
    """`new`, `gone`, `grown`, `shrunk`, or `moved` where the sum is the same and its parts are not."""
    if change.before is None:
        return "new"
    if change.after is None:
        return "gone"
    if change.before.value == change.after.value:
        return "moved"
    return "grown" if change.before.value < change.after.value else "shrunk"


def merged(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes that are told together: what is new or gone of one test, and what changed alike in several."""
    groups: dict[Hashable, list[list[Change]]] = {}
    for change in changes:
        before, after, key = change.before, change.after, change.key
        if before is None or after is None:
            groups.setdefault((kind_of(change), key.test, key.model), [[]])[0].append(change)
            continue
        same = key._replace(test=""), before.value, after.value, before.inputs, after.inputs, change.known_as
        alike = groups.setdefault(same, [])
        for group in alike:
            first = group[0]
            assert first.before is not None
            assert first.after is not None
            if compared(first.before, first.after) == compared(before, after):
                group.append(change)
                break
        else:
            alike.append([change])
    return [group for alike in groups.values() for group in alike]


def line_of(group: list[Change], verbs: Mapping[str, str]) -> str:
    """`raised Net params 40 -> 80 (+100.0 %) in test_it.py::test_it and 2 more: head +40`.

    Args:
        group: as `merged` makes it.
        verbs: the first word, by the kind of change; none where the kind is not in it.
    """
    change = group[0]
    verb = verbs.get(kind_of(change), "")
    verb = f"{verb} " if verb else ""
    if change.before is None or change.after is None:
        figures = (f"{name_of(one.key)} {change_text(one.before, one.after, unit_of(one.key))}" for one in group)
        return f"{verb}{visible(change.key.test)} {visible(change.key.model)}: {', '.join(figures)}"
    unit = unit_of(change.key)
    figures_text = change_text(change.before, change.after, unit)
    if change.before.value == change.after.value:
        figures_text = f"{quantity.format(change.after.value, unit)} as before"
    if change.before.inputs != change.after.inputs:
        figures_text += f" for {change.after.inputs or 'no input'}, was for {change.before.inputs or 'no input'},"
    others = f" and {len(group) - 1} more" if len(group) > 1 else ""
    tests = f"in {visible(change.key.test)}{others}"
    reason = where(change.before, change.after, unit)
    known_as = f", known as {visible(change.known_as)}," if change.known_as else ""
    text = f"{verb}{visible(change.key.model)}{known_as} {name_of(change.key)} {figures_text} {tests}"
    return f"{text}: {visible(reason)}" if reason else text


def name_of(key: Key) -> str:
    """`flops per sample`, `memory on cuda`."""
    per = "" if key.per == "call" else f" per {key.per}"
    # Work of a model's parts outside of a call has no device.
    return f"{key.metric}{per}{'' if key.device in ('', ANY_DEVICE) else f' on {key.device}'}"


def lines_of(
    changes: Iterable[Change], shown: int, verbs: Mapping[str, str], note: Callable[[Change], str] = lambda _: ""
) -> list[str]:
    """So many lines about changes, and one that counts the others.

    Args:
        changes: in their order.
        shown: how many lines.
        verbs: as for `line_of`.
        note: what to append, of the first change in a line.
    """
    groups = merged(changes)
    lines = [f"  {line_of(group, verbs)}{note(group[0])}" for group in groups[:shown]]
    if left := sum(map(len, groups[shown:])):
        lines.append(f"  and {left} more")
    return lines
