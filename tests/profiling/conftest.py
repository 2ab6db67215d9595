"""Observing a stretch of code, without pytest around it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.profiling.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from pytest_modelbudget.profiling.profile import Profile


class Watch:
    """Observes functions; asks the observation for the profiles of a model."""

    def __init__(self) -> None:
        self.observation = Observation()

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.observation.under(sys._getframe()):
            return function(*args, **kwargs)

    def profiles(self, model: torch.nn.Module) -> list[tuple[Profile, int]]:
        return self.observation.profiles(self.observation.look_at(model), 2)

    def profile(self, model: torch.nn.Module) -> Profile:
        ((profile, count),) = self.profiles(model)
        assert count == 1
        return profile


@pytest.fixture
def strict_export() -> None:
    """Skip the test where `torch.export` cannot trace while `torch.compile` is told to do nothing, as in torch 2.6."""
    import torch

    with torch.compiler.set_stance("force_eager"):
        try:
            torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),), strict=True)
        except AssertionError:
            pytest.skip("this torch cannot export under force_eager")


@pytest.fixture
def watch() -> Watch:
    return Watch()
