"""Routing by one-hot masks, as mixtures of experts do it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_modelbudget.profiling.abstract import DataDependentError
from pytest_modelbudget.profiling.run import profile


class Router(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.scores = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.one_hot(self.scores(x).argmax(-1), self.classes).float() @ x.new_ones(3, 5)


def test_with_the_number_of_classes_the_shape_is_known() -> None:
    # 2 rows: the scores 2 x 4 x 3, the product with the mask 2 x 3 x 5
    for device in ("meta", "cpu"):
        assert profile(Router(3), torch.randn(2, 4), device=device).macs == 24 + 30


def test_without_it_depends_on_the_values() -> None:
    with pytest.raises(DataDependentError, match="one_hot"):
        profile(Router(-1), torch.randn(2, 4))
