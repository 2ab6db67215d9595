"""A ResNet-50 teaches a MobileNetV2; the two share a test but not a budget.

Where the limits come from: MobileNetV2 has 3,504,872 parameters and 300,774,272 MACs (601,548,544 FLOPs) an image, as
published with torchvision's weights; a frozen teacher trains nothing.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from zoo import MobileNetV2, ResNet, ResNetConfig


@pytest.fixture
def teacher(width: float) -> ResNet:
    return ResNet(ResNetConfig().widened(width)).eval().requires_grad_(False)


@pytest.fixture
def student(mobilenet: MobileNetV2) -> MobileNetV2:
    return mobilenet.train()


@pytest.mark.max_trainable_params(0, model="teacher")
@pytest.mark.max_trainable_params("3.6M", model="student")
@pytest.mark.max_flops("0.62 GFLOPs", model="student", per="sample")
def test_only_the_student_learns(teacher: ResNet, student: MobileNetV2) -> None:
    images = torch.randn(2, 3, 224, 224)
    targets = teacher(images).softmax(dim=1)
    F.cross_entropy(student(images), targets).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
