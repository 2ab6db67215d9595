"""Sharded models: figures are those of this rank, what it holds and what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

distributed = pytest.importorskip("torch.distributed")


@pytest.fixture
def mesh() -> Iterator[Any]:
    """Two ranks, of which this is the first and the other does not exist."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield init_device_mesh("cpu", (2,))
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_a_layer_split_by_columns_computes_half_on_each_rank(mesh: Any, watch: Any) -> None:
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    linear = parallelize_module(nn.Linear(4, 8, bias=False), mesh, ColwiseParallel())
    with torch.no_grad():
        watch(linear, torch.randn(3, 4))
    profile = watch.profile(linear)
    assert profile.macs == 3 * 4 * (8 // 2)
    assert profile.params == 4 * 8  # of the whole model
    assert profile.size == 4 * 4 * (8 // 2)  # bytes that this rank holds
