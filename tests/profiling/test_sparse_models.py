"""Models with sparse tensors: what they cost depends on the values, so an abstract run says that it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget.profiling.abstract import DataDependentError
from pytest_modelbudget.profiling.run import profile

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")


class Graph(nn.Module):
    """A graph of five nodes, each connected to itself: 5 x 8 MACs, and 5 x 8 x 4 of the layer."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.register_buffer("adjacency", getattr(torch.eye(5), layout)())
        self.linear = nn.Linear(8, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.adjacency @ x)


class Pruning(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to_sparse() @ x


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_on_a_real_device_the_nonzeros_count(layout: str) -> None:
    assert profile(Graph(layout), torch.randn(5, 8), device="cpu").macs == 5 * 8 + 5 * 8 * 4


@pytest.mark.parametrize(
    "build", [lambda: Graph("to_sparse"), lambda: Graph("to_sparse_csr"), Pruning], ids=["coo", "csr", "made"]
)
def test_an_abstract_run_names_the_line_and_what_to_write(build: Any) -> None:
    with pytest.raises(
        DataDependentError, match=r"test_sparse_models.py:\d+ in forward .* sparse tensor.*device=\"cpu\""
    ):
        profile(build(), torch.randn(5, 8))
