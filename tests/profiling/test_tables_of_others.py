"""VGG-16 as torchsummary, torchstat and thop print it; each difference from torchstat explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from pytest_modelbudget import format_quantity
from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.reporting.totals import torchsummary_sizes

if TYPE_CHECKING:
    from pytest_modelbudget.profiling.profile import Profile

IMAGE = (1, 3, 224, 224)


def figures_of(torchvision: Any, name: str) -> Profile:
    with torch.device("meta"):
        model = getattr(torchvision.models, name)().eval()
    with torch.no_grad():
        return profile(model, torch.empty(IMAGE, device="meta"))


@pytest.fixture(scope="module")
def vgg16(torchvision: Any) -> Profile:
    return figures_of(torchvision, "vgg16")


def test_the_lines_of_torchsummary(vgg16: Profile) -> None:
    assert vgg16.params == 138_357_544
    lines = " ".join(vgg16.summary(width=80).split())
    assert "Total params 138,357,544 Trainable params 138,357,544 Frozen params 0" in lines
    assert "Input size 0.57 MB Forward/backward pass size 218.78 MB" in lines
    assert "Params size 527.79 MB Estimated total size 747.15 MB" in lines


def test_torchsummary_counts_each_call_and_blocks_too(torchvision: Any) -> None:
    # What torchsummary prints for ResNet-50, whose ReLUs are called three times each, with three shapes.
    sizes = torchsummary_sizes(figures_of(torchvision, "resnet50"))
    assert [round(size / 2**20, 2) for size in (*sizes, sizes.total)] == [0.57, 286.56, 97.49, 384.62]


def test_the_macs_of_thop(vgg16: Profile) -> None:
    assert format_quantity(vgg16.macs, "macs") == "15.47 GMACs"


def test_the_activations_of_timm(vgg16: Profile) -> None:
    assert vgg16.activations == 13_556_712


@pytest.mark.parametrize(
    ("layer", "read", "written"),
    # (input + weights + biases) x 4 bytes; output x 4 bytes.
    [("features.0", 609_280, 12_845_056), ("classifier.0", 411_158_528, 16_384)],
)
def test_the_memory_access_of_torchstat(vgg16: Profile, layer: str, read: int, written: int) -> None:
    assert (vgg16.modules[layer].read, vgg16.modules[layer].written) == (read, written)


POOLED = 64 * 112**2 + 128 * 56**2 + 256 * 28**2 + 512 * 14**2 + 512 * 7**2
"""Elements that the five poolings return."""
FEATURES = 512 * 7**2
"""Elements that the adaptive pooling, which torchstat does not support, takes and returns."""


def test_the_multiplications_and_additions_of_torchstat(vgg16: Profile) -> None:
    assert vgg16.total_flops is not None
    # It counts one addition fewer for each output of a linear layer: its sum starts at the first product.
    theirs = vgg16.total_flops - FEATURES - (4096 + 4096 + 1000)
    assert round(theirs / 1e9, 2) == 30.96


def test_all_memory_access_of_torchstat(vgg16: Profile) -> None:
    assert vgg16.traffic is not None
    # The pooling kernel also writes the index of each maximum, in eight bytes.
    theirs = vgg16.traffic - 2 * 4 * FEATURES - 8 * POOLED
    assert round(theirs / 2**20, 1) == 746.9
