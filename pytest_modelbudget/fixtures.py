"""The fixtures `modelbudget` and `modelbudget_device`. Thin: what they do is imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.settings import settings_key

if TYPE_CHECKING:
    from pytest_modelbudget.inside import ModelBudget


@pytest.fixture
def modelbudget(request: pytest.FixtureRequest) -> ModelBudget:
    """Limits inside a test: `modelbudget.check(model, args, params="25M")`, `.profile(model, args)`, `.limit(...)`."""
    from pytest_modelbudget.inside import ModelBudget
    from pytest_modelbudget.session import collect_results

    collect_results(request.config)
    return ModelBudget(request.node)


@pytest.fixture(scope="session")
def modelbudget_device(pytestconfig: pytest.Config) -> str:
    """The name of the configured device, for tests that build their model on it; `auto` gives cpu."""
    device = pytestconfig.stash[settings_key].device
    return "cpu" if device == "auto" else device
