"""Fine-tuning trains the head and nothing else.

Where the limit comes from: the head of ViT-B/16 has 768 x 1000 weights and 1000 biases, 769,000 parameters.
"""

from __future__ import annotations

import pytest
from zoo import ViT, ViTConfig


@pytest.fixture
def finetuned(width: float) -> ViT:
    model = ViT(ViTConfig().widened(width)).requires_grad_(False)
    model.head.requires_grad_(True)
    return model


@pytest.mark.max_trainable_params("0.8M")
def test_only_the_head_is_trained(finetuned: ViT) -> None:
    trained = [name for name, parameter in finetuned.named_parameters() if parameter.requires_grad]
    assert trained == ["head.weight", "head.bias"]
