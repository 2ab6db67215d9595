"""ResNet classifies, at every depth, and stays the ResNet of the paper.

Where the limits come from: torchvision publishes these with its weights (stride in the 3x3, 224x224).

    ResNet-50     25,557,032 parameters     4.089 GMACs (4,089,184,256)
    ResNet-101    44,549,160 parameters     7.801 GMACs
    ResNet-152    60,192,808 parameters    11.514 GMACs

With another number of classes only `fc` changes, 2048 x classes MACs and (2048 + 1) x classes parameters:
10 classes make 25,557,032 - 2,049,000 + 20,490 = 23,528,522 parameters.

Activations: timm publishes 11.11 M for ResNet-50 at 224x224.

Memory of a forward pass, at its peak in the first block: 102.4 MB of weights and buffers (4 x 25,557,032 bytes and the
batch norms'), 0.6 MB of image; 64x56x56 floats twice (the block's input, the output of its 3x3), 256x56x56 three times
(the shortcut, the expansion before and after its batch norm): 1.6 + 9.6 MB. In all 114.3 MB.

A training step on 2 images of 64x64: the convolutions take (64/224)^2 of 4,087,136,256 MACs, that is 333,643,776, the
head 2,048,000. Backward twice as much, but for the gradient of the image in the first convolution, 9,633,792 MACs:
2 images x 2 FLOPs x (3 x 335,691,776 - 9,633,792) = 3,989,766,144 FLOPs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from zoo import ResNet, ResNetConfig

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_modelbudget.inside import InsideTest


@pytest.mark.max_params("25.6M")
@pytest.mark.max_flops("8.2 GFLOPs")
@pytest.mark.max_activations("11.2M")
@pytest.mark.max_memory("116 MB")
def test_an_image_gives_one_logit_a_class(resnet50: ResNet, image: Tensor) -> None:
    with torch.no_grad():
        assert resnet50(image).shape == (1, 1000)


@pytest.mark.max_macs("4.2 GMACs")
def test_the_features_are_a_32nd_of_the_resolution(resnet50: ResNet, image: Tensor) -> None:
    with torch.no_grad():
        assert resnet50.forward_features(image).shape[-2:] == (7, 7)


@pytest.mark.parametrize(
    "depths",
    [
        pytest.param((3, 4, 6, 3), id="50", marks=pytest.mark.modelbudget(params="25.6M", macs="4.2 GMACs")),
        pytest.param((3, 4, 23, 3), id="101", marks=pytest.mark.modelbudget(params="45M", macs="8 GMACs")),
        pytest.param((3, 8, 36, 3), id="152", marks=pytest.mark.modelbudget(params="61M", macs="11.8 GMACs")),
    ],
)
def test_every_depth_ends_in_the_same_logits(depths: tuple[int, int, int, int], width: float) -> None:
    with torch.device("meta"):
        model = ResNet(replace(ResNetConfig(), depths=depths).widened(width)).eval()
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, 1000)


def test_in_eval_an_image_does_not_depend_on_its_batch(resnet50: ResNet) -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(resnet50(images)[:1], resnet50(images[:1]), rtol=1e-3, atol=1e-3)


@pytest.mark.max_training_flops("4 GFLOPs")
def test_gradients_reach_every_parameter(width: float) -> None:
    model = ResNet(ResNetConfig().widened(width)).train()
    model(torch.randn(2, 3, 64, 64)).logsumexp(dim=1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_head_for_few_classes_is_no_excuse_to_grow(modelbudget: InsideTest, image: Tensor, width: float) -> None:
    model = ResNet(ResNetConfig(classes=10).widened(width)).eval()
    modelbudget.check(model, (image,), params="24M", flops="8.2 GFLOPs")
