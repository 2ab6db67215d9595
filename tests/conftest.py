"""Shared by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _pytest.pytester import SysModulesSnapshot
from hypothesis import settings

# pytester forgets the modules that a test has imported, and torch cannot be imported twice into one process.
import pytest_modelbudget.gate  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.suite import Suite

pytest_plugins = ["pytester"]

# How long an example takes says something about the machine only.
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")

_snapshot = SysModulesSnapshot.__init__


def _keep_torch(self: SysModulesSnapshot, preserve: Callable[[str], bool] | None = None) -> None:
    """What is imported on the way, as Dynamo is by a kernel written in Python, must be kept, too."""
    _snapshot(
        self,
        lambda name: (
            name.startswith(("torch", "sympy", "mpmath", "numpy")) or (preserve is not None and preserve(name))
        ),
    )


SysModulesSnapshot.__init__ = _keep_torch  # type: ignore[method-assign]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Runs a small suite of a user."""
    from tests.suite import Suite

    return Suite(pytester)


@pytest.fixture(scope="session")
def dynamo() -> None:
    """What torch.compile imports; pytester would forget it, and it cannot be imported twice."""
    import torch

    torch.compile(torch.nn.Identity(), backend="eager")(torch.ones(1))
    torch.compiler.reset()


@pytest.fixture
def compiles_under_modes() -> bool:
    """Whether `torch.compile` compiles while a test is observed: with torch 2.6, what it compiled runs eagerly then."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return hasattr(TorchDispatchMode, "ignore_compile_internals")


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI, pytest writes its summary in full, and the baseline wants a flag: tests say when they mean that."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Torchvision, also where its compiled operators do not fit the installed torch; timm needs it too."""
    try:
        import torchvision
    except RuntimeError:
        import torch

        # It fails because these two are missing; no model here calls them.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.operators_of_tests = library  # undefined again when it is collected
    return torchvision


@pytest.fixture(scope="session")
def timm(torchvision: ModuleType) -> ModuleType:
    """The model zoo."""
    import timm

    return timm
