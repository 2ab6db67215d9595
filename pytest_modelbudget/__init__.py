"""Budgets for PyTorch models in pytest: the public names, imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from pytest_modelbudget.custom import custom_metric
    from pytest_modelbudget.errors import BudgetExceeded, ModelBudgetWarning
    from pytest_modelbudget.inside import ModelBudget
    from pytest_modelbudget.profiling.costs import Cost, register_cost
    from pytest_modelbudget.profiling.profile import LatencyMeasurement, ModuleProfile, Profile
    from pytest_modelbudget.profiling.run import profile
    from pytest_modelbudget.quantity import format_quantity, parse_quantity

__version__ = "0.1.0"

__all__ = [
    "BudgetExceeded",
    "Cost",
    "LatencyMeasurement",
    "ModelBudget",
    "ModelBudgetWarning",
    "ModuleProfile",
    "Profile",
    "__version__",
    "custom_metric",
    "format_quantity",
    "parse_quantity",
    "profile",
    "register_cost",
]

# pytest imports this package in every run that has it installed: torch must wait until something is measured.
_HOMES = {
    "BudgetExceeded": "errors",
    "Cost": "profiling.costs",
    "LatencyMeasurement": "profiling.profile",
    "ModelBudget": "inside",
    "ModelBudgetWarning": "errors",
    "ModuleProfile": "profiling.profile",
    "custom_metric": "custom",
    "Profile": "profiling.profile",
    "format_quantity": "quantity",
    "parse_quantity": "quantity",
    "profile": "profiling.run",
    "register_cost": "profiling.costs",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Load the plugin for those who write `-p pytest_modelbudget`, which gives pytest this package."""
    # By its entry point, and not as `pytest_plugins`: pytest, which may load that as well, refuses a second name.
    pluginmanager.load_setuptools_entrypoints("pytest11", name="modelbudget")
