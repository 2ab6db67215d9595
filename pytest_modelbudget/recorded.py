"""The baseline as one process of a run knows it: read when the first test is held against it."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

import pytest_modelbudget
from pytest_modelbudget.baseline import BaselineError, Entries, load
from pytest_modelbudget.relative import Versions, judge_growth
from pytest_modelbudget.result import without_group
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
        renamed=partial(_renamed, item.config.stash, entries, models),
    )


def _renamed(stash: pytest.Stash, entries: Entries, models: Collection[str], key: Key) -> str:
    """The recorded model that one with a new name is to be held against; none: it is new.

    It is the largest of its class in the test (beside another model, `Net` is called `student (Net)`), or else the
    largest of those that the test has no more, whose place it may have taken.
    """
    known = stash.get(_keys_key, None)
    if known is None:
        known = stash[_keys_key] = {}
        for other in entries:
            known.setdefault(other._replace(model=""), []).append(other.model)
    recorded = known.get(key._replace(model=""), [])
    kinds = set(map(_kind, models))
    alike = [model for model in recorded if _kind(model) == _kind(key.model)]
    gone = [model for model in recorded if model not in models and _kind(model) not in kinds]
    return max(alike or gone, key=lambda model: entries[key._replace(model=model)].value, default="")


def _kind(model: str) -> str:
    """The class in a model's name: `Net` of `student (Net)` and of `Net #2`."""
    return model.partition(" #")[0].rpartition(" (")[2].removesuffix(")")


def _read(config: pytest.Config, settings: Settings) -> Entries | str:
    """The entries, or why there are none."""
    try:
        return load(config.rootpath / settings.baseline)
    except (BaselineError, OSError) as error:
        return f"the baseline cannot be read: {error}"
