"""The peak of what is alive at once, by hand; float32 unless said otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget import profile

KIND = ["parameters", "buffers", "gradients", "inputs", "activations", "temporaries"]


def by_kind(profile: Any, **expected: int) -> None:
    assert profile.memory_by_kind == {kind: expected.get(kind, 0) for kind in KIND}
    assert profile.memory == sum(expected.values())


def test_in_eval_a_layer_holds_its_weights_its_input_and_its_output(watch: Any) -> None:
    linear = nn.Linear(100, 200)
    with torch.no_grad():
        watch(linear, torch.randn(3, 100))
    by_kind(watch.profile(linear), parameters=4 * (100 * 200 + 200), inputs=4 * 3 * 100, activations=4 * 3 * 200)


def test_the_largest_pair_of_neighbours_is_the_peak_of_a_chain(watch: Any) -> None:
    chain = nn.Sequential(nn.Linear(10, 1000, bias=False), nn.ReLU(), nn.Linear(1000, 10, bias=False))
    with torch.no_grad():
        watch(chain, torch.randn(2, 10))
    # The first output (8,000 bytes) is released once the activation of the same size is there; both are temporaries.
    profile = watch.profile(chain)
    by_kind(profile, parameters=2 * 40_000, inputs=80, temporaries=2 * 8000)
    assert profile.memory_at == ("1", "aten::relu")


def test_views_and_in_place_operators_take_no_memory(watch: Any) -> None:
    class Reshape(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(4, 6).t().unsqueeze(0).relu_()

    model = Reshape()
    watch(model, torch.randn(24))
    by_kind(watch.profile(model), inputs=96)


def test_an_expanded_tensor_takes_what_it_stores(watch: Any) -> None:
    class Expand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone().expand(1000, 24)

    model = Expand()
    watch(model, torch.randn(24))
    by_kind(watch.profile(model), inputs=96, activations=96)


def test_a_training_step_holds_activations_and_gradients_at_once(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    watch(lambda: linear(torch.randn(3, 100)).sum().backward())
    # At the gradient of the weight: the weight, the input that was saved for it, the loss and its gradient (4 bytes
    # each), of which the gradient of the output is an expanded view. The output itself is gone by then.
    by_kind(watch.profile(linear), parameters=80_000, gradients=80_000, inputs=1200, activations=8)


def test_gradients_from_before_are_alive_from_the_start(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    linear.weight.grad = torch.zeros(200, 100)
    with torch.no_grad():
        watch(linear, torch.randn(3, 100))
    by_kind(watch.profile(linear), parameters=80_000, gradients=80_000, inputs=1200, activations=2400)


def test_each_call_has_a_peak_of_its_own(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    with torch.no_grad():
        outputs = watch(lambda: [linear(torch.randn(rows, 100)) for rows in (1, 3, 3)])
    assert len(outputs) == 3
    assert [(profile.memory - 80_000, count) for profile, count in watch.profiles(linear)] == [(1200, 1), (3600, 2)]


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_buffers_and_lazy_parameters_count(watch: Any) -> None:
    norm = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4)).eval()
    with torch.no_grad():
        watch(norm, torch.randn(2, 3))
    profile = watch.profile(norm)
    assert profile.memory_by_kind["parameters"] == 4 * (3 * 4 + 4 + 4 + 4)
    assert profile.memory_by_kind["buffers"] == 2 * 16 + 8


def test_tied_parameters_are_there_once(watch: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    with torch.no_grad():
        watch(model, torch.randn(1, 4))
    assert watch.profile(model).memory_by_kind["parameters"] == 64


class Backend:
    """A device module with a caching allocator, as `torch.cuda` is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def synchronize(self, device: torch.device) -> None:
        self.asked.append("synchronize")

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.asked.append("reset")

    def max_memory_allocated(self, device: torch.device) -> int:
        self.asked.append("peak")
        return 3 * 2**20


def test_what_the_allocator_of_a_device_handed_out_stands_beside_the_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = nn.Linear(4, 8), torch.randn(2, 4)
    predicted = profile(model, x, device="cpu")
    assert predicted.allocated is None, "the CPU has no such allocator"
    backend = Backend()
    monkeypatch.setattr(torch, "cpu", backend)
    measured = profile(model, x, device="cpu")
    assert (measured.allocated, measured.memory) == (3 * 2**20, predicted.memory)
    assert backend.asked == ["synchronize", "reset", "synchronize", "peak"]
    line = next(line for line in measured.summary().splitlines() if line.startswith("Allocated"))
    assert " ".join(line.split()) == "Allocated 3 MiB at most, by PyTorch's allocator on cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backward", [False, True])
def test_the_prediction_is_near_the_allocator_of_cuda(backward: bool) -> None:
    model = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 4096))
    found = profile(model, torch.randn(1024, 4096), device="cuda", backward=backward)
    # cuBLAS keeps a workspace of its own; the rest are blocks of 512 bytes.
    assert found.memory <= found.allocated <= found.memory + 64 * 2**20
