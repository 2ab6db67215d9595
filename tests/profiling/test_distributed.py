"""Sharded models: compute and bytes are those of this rank, parameters those of the whole model.

Two linear layers without bias, 4 to 8 and 8 to 4: 64 parameters, 256 bytes; 192 MACs for three samples. Backward,
each needs the gradient of its weight, and the second one that of its input: 3 x 96 MACs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.profiling.sharding import ShardedModelError
from tests.profiling.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

distributed = pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.filterwarnings("ignore")

X = torch.ones(3, 4)


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 8, bias=False)
        self.down = nn.Linear(8, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.up(x).relu())


def ranks(count: int) -> Iterator[Any]:
    """As many ranks, of which this is the first and the others do not exist."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    yield init_device_mesh("cpu", (count,))
    distributed.destroy_process_group()


@pytest.fixture(params=[2, 4])
def mesh(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from ranks(request.param)


def split_by_columns_and_rows(mesh: Any) -> nn.Module:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    return parallelize_module(MLP(), mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def fully_sharded(mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    model = MLP()
    for part in (model.up, model.down, model):
        fully_shard(part, mesh=mesh)
    try:
        model(X)
    except AttributeError as error:
        pytest.skip(f"this torch shards on accelerators only: {error}")
    return model


def content(shard: Any) -> bytes:
    """Ranks that do not exist send whatever is in memory, perhaps not a number, which is never equal to itself."""
    return shard.to_local().detach().numpy().tobytes()


def watched(model: nn.Module, watch: Any) -> Any:
    def step() -> None:
        model(X).sum().backward()

    watch(step)
    return watch.profile(model)


@pytest.mark.parametrize("how", ["observed", "cpu", "meta"])
def test_tensor_parallel_layers_compute_and_hold_a_share_on_each_rank(how: str, mesh: Any, watch: Any) -> None:
    model = split_by_columns_and_rows(mesh)
    figures = watched(model, watch) if how == "observed" else profile(model, X, device=how, backward=True)
    assert figures.macs == 192 // mesh.size()
    assert figures.backward_flops == 2 * 288 // mesh.size()
    assert figures.uncounted == {}
    assert {path: part.macs for path, part in figures.modules.items()} == {
        "": 192 // mesh.size(),
        "up": 96 // mesh.size(),
        "down": 96 // mesh.size(),
    }
    assert (figures.params, figures.trainable_params) == (64, 64)
    assert figures.size == figures.memory_by_kind["parameters"] == 256 // mesh.size()
    assert figures.memory_by_kind["inputs"] == 3 * 4 * 4
    assert figures.notes == (
        f"sharded: compute, traffic, size and memory are those of rank 0 of {mesh.size()}, "
        "parameters those of the whole model",
    )


def test_a_distributed_tensor_as_input_counts_the_shard(mesh: Any, watch: Any) -> None:
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor

    model = distribute_module(nn.Linear(4, 8, bias=False), mesh)
    rows = distribute_tensor(torch.ones(8, 4), mesh, [Shard(0)])
    watch(model, rows)
    figures = watch.profile(model)
    assert isinstance(model.weight, DTensor)
    assert model.weight.placements == (Replicate(),)
    assert figures.macs == 8 // mesh.size() * 4 * 8
    assert figures.size == 4 * 4 * 8  # replicated
    assert figures.memory_by_kind["inputs"] == 8 // mesh.size() * 4 * 4


def test_fully_sharded_models_compute_whole_layers_and_hold_a_share(mesh: Any, watch: Any) -> None:
    figures = watched(fully_sharded(mesh), watch)
    assert (figures.macs, figures.backward_flops, figures.uncounted) == (192, 2 * 288, {})
    assert (figures.params, figures.trainable_params) == (64, 64)
    assert figures.size == figures.memory_by_kind["parameters"] == 256 // mesh.size()
    assert figures.notes


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fully_sharded_models_are_not_run_by_the_profiler(device: str, mesh: Any) -> None:
    model = fully_sharded(mesh)
    before = [(name, id(parameter), content(parameter)) for name, parameter in model.named_parameters()]
    with pytest.raises(ShardedModelError, match="call it in the test, or measure it before it is sharded"):
        profile(model, X, device=device)
    assert [(name, id(p), content(p)) for name, p in model.named_parameters()] == before
    model(X).sum().backward()


def test_an_abstract_run_leaves_shards_alone(mesh: Any) -> None:
    model = split_by_columns_and_rows(mesh)
    before = [(id(p), content(p), p.placements, p.grad) for p in model.parameters()]
    profile(model, X, backward=True)
    assert [(id(p), content(p), p.placements, p.grad) for p in model.parameters()] == before


def test_distributed_data_parallel_is_seen_through(tmp_path: Any, watch: Any) -> None:
    from torch.nn.parallel import DistributedDataParallel

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        model = DistributedDataParallel(MLP())
        figures = watched(model, watch)
        assert (figures.macs, figures.params, figures.uncounted, figures.notes) == (192, 64, {}, ())
        before = snapshot(model.module)
        for device in ("meta", "cpu"):
            assert profile(model, X, device=device).macs == 192
        assert snapshot(model.module) == before
    finally:
        distributed.destroy_process_group()
