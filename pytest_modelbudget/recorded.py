"""The baseline as one process of a run knows it: read when the first test is held against it."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

import pytest_modelbudget
from pytest_modelbudget.baseline import BaselineError, Entries, load
from pytest_modelbudget.relative import Versions, judge_growth, sum_up
from pytest_modelbudget.result import without_group
from pytest_modelbudget.update import Update, same_convention
from pytest_modelbudget.vanished import PLUGIN, Predecessors, kind
from pytest_modelbudget.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pytest_modelbudget.baseline import Key
    from pytest_modelbudget.budget import Limit, Uncounted
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.verdict import Calls

_entries_key = pytest.StashKey["Entries | str"]()
_keys_key = pytest.StashKey["dict[Key, list[str]]"]()
"""The models that are recorded for a test, by their keys without them."""
_tests_key = pytest.StashKey["tuple[set[str], Predecessors]"]()
"""The tests that the baseline knows, and what it knows of those that the suite has no more."""


def against_baseline(
    item: pytest.Item, settings: Settings, models: Collection[str], *, by_chance: bool
) -> Callable[[Limit, str, Calls, Uncounted], list[Verdict]]:
    """What judges the relative limits of a test, as `verdict.judge` does the others.

    Args:
        item: the test.
        settings: of the run.
        models: their names in this test.
        by_chance: as `judge_growth`.
    """
    entries = item.config.stash.get(_entries_key, None)
    if entries is None:
        entries = item.config.stash[_entries_key] = _read(item.config, settings)
    if isinstance(entries, str):
        reason = entries
        return lambda limit, model, *_: [Verdict(limit, Outcome.INVALID, model, reason=reason)]
    return partial(
        judge_growth,
        test=without_group(item.nodeid),
        entries=entries,
        versions=Versions(str(torch.__version__), pytest_modelbudget.__version__, platform.python_version()),
        update=settings.update,
        by_chance=by_chance,
        known_as=partial(_known_as, item.config, entries, models),
    )


def judge_together(
    item: pytest.Item, settings: Settings, models: Collection[str], verdicts: Collection[Verdict]
) -> list[Verdict]:
    """What the verdicts on new models of a test leave out: that together they are more than those that it has no more.

    Args:
        item: the test.
        settings: of the run.
        models: the names of all its models.
        verdicts: on one limit, of each of them.
    """
    entries = item.config.stash.get(_entries_key, {})
    new = [verdict for verdict in verdicts if verdict.outcome is Outcome.NEW and verdict.limit.source.everywhere]
    if len(new) < 2 or isinstance(entries, str) or {Update.NEW, Update.RAISE}.issubset(settings.update):
        return []
    grown = [verdict.growth for verdict in new if verdict.growth is not None]
    key = grown[0].key
    gone = _gone(item.config.stash, entries, models, key)
    before = [entries[key._replace(model=model)] for model in gone]
    after = [growth.after for growth in grown]
    if any(not same_convention(key, each, after[0]) for each in before):
        return []
    return sum_up(
        new[0].limit, dict(zip(gone, before, strict=True)), {each.key.model: each.after for each in grown}, key
    )


def _known_as(config: pytest.Config, entries: Entries, models: Collection[str], key: Key) -> Key | None:
    """The entry that what the baseline does not know is to be held against; None: it is new.

    For a model with a new name it is the largest of its class in the test (beside another model, `Net` is called
    `student (Net)`), or else the largest of those that the test has no more, whose place it may have taken. For a new
    test it is that of one that the suite has no more.
    """
    alike = [model for model in _recorded(config.stash, entries, key) if kind(model) == kind(key.model)]
    if candidates := alike or _gone(config.stash, entries, models, key):
        return max((key._replace(model=model) for model in candidates), key=lambda known: entries[known].value)
    tests, predecessors = _tests(config, entries)
    return None if key.test in tests else predecessors.of(key)


def _tests(config: pytest.Config, entries: Entries) -> tuple[set[str], Predecessors]:
    """The tests that the baseline knows, and what it knows of those that the suite has no more."""
    found = config.stash.get(_tests_key, None)
    if found is None:
        tests = {key.test for key in entries}
        collected = config.pluginmanager.get_plugin(PLUGIN)
        gone = set() if collected is None else collected.gone(tests, config)
        vanished = ((key, entry.value) for key, entry in entries.items() if key.test in gone)
        found = config.stash[_tests_key] = tests, Predecessors(vanished)
    return found


def _recorded(stash: pytest.Stash, entries: Entries, key: Key) -> list[str]:
    """The models that the baseline knows of a test."""
    known = stash.get(_keys_key, None)
    if known is None:
        known = stash[_keys_key] = {}
        for other in entries:
            known.setdefault(other._replace(model=""), []).append(other.model)
    return known.get(key._replace(model=""), [])


def _gone(stash: pytest.Stash, entries: Entries, models: Collection[str], key: Key) -> list[str]:
    """Those of them that it has no more, by whatever name."""
    kinds = set(map(kind, models))
    return [model for model in _recorded(stash, entries, key) if model not in models and kind(model) not in kinds]


def _read(config: pytest.Config, settings: Settings) -> Entries | str:
    """The entries, or why there are none."""
    try:
        return load(config.rootpath / settings.baseline)
    except (BaselineError, OSError) as error:
        return f"the baseline cannot be read: {error}"
