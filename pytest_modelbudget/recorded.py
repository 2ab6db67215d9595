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
from pytest_modelbudget.vanished import PLUGIN, Predecessors, full_name
from pytest_modelbudget.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pytest_modelbudget.budget import Limit, Uncounted
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.verdict import Calls

_entries_key = pytest.StashKey["Entries | str"]()
_predecessors_key = pytest.StashKey["Predecessors"]()


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
        known_as=lambda key: _predecessors(item.config, entries).of(key, models),
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
    gone = _predecessors(item.config, entries).gone_from(key, models)
    before = {full_name(old, key.test): entries[old] for old in gone}
    after = {growth.key.model: growth.after for growth in grown}
    if any(not same_convention(key, each, grown[0].after) for each in before.values()):
        return []
    return sum_up(new[0].limit, before, after, key)


def _predecessors(config: pytest.Config, entries: Entries) -> Predecessors:
    """What the baseline knows by other names."""
    found = config.stash.get(_predecessors_key, None)
    if found is None:
        collected = config.pluginmanager.get_plugin(PLUGIN)
        gone = set() if collected is None else collected.gone({key.test for key in entries}, config)
        figures = {key: entry.value for key, entry in entries.items()}
        found = config.stash[_predecessors_key] = Predecessors(figures, gone)
    return found


def _read(config: pytest.Config, settings: Settings) -> Entries | str:
    """The entries, or why there are none."""
    try:
        return load(config.rootpath / settings.baseline)
    except (BaselineError, OSError) as error:
        return f"the baseline cannot be read: {error}"
