"""Profiles of runs in which the same happened to the same modules: worked out once.

Every operator is dispatched and every module call noted each time. Only to sum the same events up for the same tree
of modules again is spared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling.memo import Memo

if TYPE_CHECKING:
    from pytest_modelbudget.profiling.abstract.tracking import RunTracker
    from pytest_modelbudget.profiling.observation import Observation
    from pytest_modelbudget.profiling.profile import Profile


class _Told(NamedTuple):
    """What a profile was made of. Holds no class: the functions of one may hold tensors."""

    model: tuple[Any, ...]
    call: tuple[Any, ...]
    events: list[Any]
    profile: Profile


memo: Memo[_Told] = Memo(64)
"""The latest by size and kind; whether it is the same is then compared."""
LONGEST = 1 << 16
"""Events of a story that is worth keeping."""


def together(observation: Observation, tracker: RunTracker, number: int, flops_per_mac: int) -> Profile:
    """As `Observation.together`."""
    story = tracker.story()
    if story is None or len(story.events) > LONGEST:
        tracker.read()
        return observation.together(number, flops_per_mac)
    model = observation.anatomy(number).comparable()
    key = (model[0], flops_per_mac, len(story.events), *story.call)
    known = memo.get(key)
    if known is not None and known.model == model and known.events == story.events:
        if memo.verify:
            tracker.read()
            _check(observation.together(number, flops_per_mac), known.profile)
        return known.profile.copy()
    tracker.read()
    profile = observation.together(number, flops_per_mac)
    memo.remember(key, _Told(model, story.call, story.events, profile.copy()))
    return profile


def _check(worked_out: Profile, remembered: Profile) -> None:
    if worked_out != remembered:
        raise AssertionError(f"{worked_out} was worked out, {remembered} is remembered")
