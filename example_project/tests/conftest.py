"""Models and inputs that several folders of tests use."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from zoo import MobileNetV2, MobileNetV2Config, ResNet, ResNetConfig


@pytest.fixture(scope="session", autouse=True)
def share_of_the_cores() -> None:
    """Keep pytest-xdist's workers, of which each would use every core, out of each other's way."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(scope="session")
def width() -> float:
    """How many times as wide as published the models are: see "See it red" in README.md."""
    return float(os.environ.get("ZOO_WIDTH", "1"))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 224, 224)


@pytest.fixture(scope="session")
def resnet50(width: float) -> ResNet:
    return ResNet(ResNetConfig().widened(width)).eval()


@pytest.fixture
def mobilenet(width: float) -> MobileNetV2:
    return MobileNetV2(MobileNetV2Config().widened(width))
