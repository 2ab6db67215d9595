"""MobileNetV2 for the phone: pyproject.toml holds every test in this folder to the phone's budget.

Where the limit of the classifier comes from: 1280 x 1000 weights and 1000 biases, 1,281,000 parameters, more than a
third of the network.

Nobody publishes its traffic, 173 MB for an image: `python -m pytest_modelbudget summary zoo:MobileNetV2 --inputs
1,3,224,224` measures it. A frame takes some 50 ms on two cores that are idle, and 2 s have been seen on two that are
not: where machines are shared, a limit on time is for what hangs. On a machine of your own, write what the phone needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from zoo.mobilenet import InvertedResidual

if TYPE_CHECKING:
    from torch import Tensor
    from zoo import MobileNetV2


@pytest.mark.max_params("1.3M", module="classifier")
@pytest.mark.max_traffic("178 MB")
@pytest.mark.max_latency("10 s")
def test_an_image_gives_one_logit_a_class(mobilenet: MobileNetV2, image: Tensor) -> None:
    with torch.inference_mode():
        assert mobilenet.eval()(image).shape == (1, 1000)


@pytest.mark.parametrize("resolution", [96, 160, 224])
def test_every_resolution_of_the_paper_is_served(mobilenet: MobileNetV2, resolution: int) -> None:
    with torch.no_grad():
        assert mobilenet.eval()(torch.randn(1, 3, resolution, resolution)).shape == (1, 1000)


def test_dropout_is_off_in_eval(mobilenet: MobileNetV2) -> None:
    image = torch.randn(1, 3, 96, 96)
    mobilenet.eval()
    with torch.no_grad():
        torch.testing.assert_close(mobilenet(image), mobilenet(image))


def test_gradients_reach_every_parameter(mobilenet: MobileNetV2) -> None:
    mobilenet.train()(torch.randn(2, 3, 96, 96)).logsumexp(dim=1).sum().backward()
    assert all(parameter.grad is not None for parameter in mobilenet.parameters())


@pytest.mark.parametrize(("stride", "out_channels", "shortcut"), [(1, 24, True), (1, 32, False), (2, 24, False)])
def test_a_block_has_a_shortcut_where_the_shape_stays(stride: int, out_channels: int, shortcut: bool) -> None:
    block = InvertedResidual(24, out_channels, expansion=6, stride=stride).eval()
    torch.nn.init.zeros_(block.project[1].weight)  # the residual branch says nothing
    x = torch.randn(1, 24, 8, 8)
    with torch.no_grad():
        assert torch.equal(block(x), x) is shortcut
