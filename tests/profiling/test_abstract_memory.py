"""The peak of memory in abstract runs is the one observed on the CPU, storage by storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from types import ModuleType

    from pytest_modelbudget.profiling.profile import Profile

KINDS = ["parameters", "buffers", "gradients", "inputs", "activations", "temporaries"]


class Calls(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def found(model: nn.Module, *args: Tensor, backward: bool = False) -> Profile:
    """The abstract profile, the same when everything is to be found out and when everything is remembered."""
    memo.clear()
    cold, warm = (profile(model, args, backward=backward) for _ in range(2))
    assert (cold.memory, cold.memory_by_kind, cold.memory_at) == (warm.memory, warm.memory_by_kind, warm.memory_at)
    return warm


def by_kind(profile: Profile, **expected: int) -> None:
    assert profile.memory_by_kind == {kind: expected.get(kind, 0) for kind in KINDS}
    assert profile.memory == sum(expected.values())


def as_on_cpu(model: nn.Module, *args: Tensor, backward: bool = False) -> None:
    with torch.set_grad_enabled(backward):
        expected = profile(model, args, device="cpu", backward=backward)
    abstract = found(model, *args, backward=backward)
    assert abstract.memory_by_kind == expected.memory_by_kind
    assert abstract.memory == expected.memory


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_a_layer_holds_its_weights_its_input_and_its_output() -> None:
    model = nn.Linear(100, 200)
    by_kind(found(model, torch.zeros(3, 100)), parameters=4 * (20_000 + 200), inputs=1200, activations=2400)


def test_a_model_on_meta_counts_what_it_would_take() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 16, 1 << 16, bias=False), nn.BatchNorm1d(1 << 16)).eval()
    # At the norm: what goes into it, and what comes out.
    by_kind(
        found(model, torch.empty(2, 1 << 16, device="meta")),
        parameters=4 * ((1 << 32) + 2 * (1 << 16)),
        buffers=4 * 2 * (1 << 16) + 8,
        inputs=1 << 19,
        activations=1 << 19,
        temporaries=1 << 19,
    )


def test_what_a_composite_operator_holds_while_it_works_is_remembered_with_it() -> None:
    def gram(x: Tensor) -> Tensor:
        # The sum of three factors is made of two products, the first of which is released: 40 x 40 floats.
        return torch.einsum("ij,jk,kl->il", x, x.t(), x)

    abstract = found(Calls(gram), torch.zeros(40, 5))
    by_kind(abstract, inputs=800, activations=800, temporaries=6400)
    assert abstract.memory_at == ("", "aten::einsum")


def test_constants_take_memory_as_they_do_on_a_device() -> None:
    def masked(x: Tensor) -> Tensor:
        return x + torch.ones(10, 10).tril()  # 400 bytes, and as much for its lower half

    by_kind(found(Calls(masked), torch.zeros(10, 10)), inputs=400, temporaries=800)


def test_constants_that_are_written_are_released_like_others() -> None:
    def fills(x: Tensor) -> Tensor:
        first = torch.zeros(100)
        first[:10] = 1
        second = first + 1
        del first
        return x + second

    by_kind(found(Calls(fills), torch.zeros(100)), inputs=400, temporaries=800)


def test_a_training_step_of_a_perceptron() -> None:
    model = nn.Sequential(nn.Linear(10, 1000, bias=False), nn.ReLU(), nn.Linear(1000, 10, bias=False))
    # At the gradient of the first weight: the weights, both gradients, the input, the output, the loss and its
    # gradient, and the gradient of the hidden layer. What ReLU saved is gone once that is there.
    by_kind(
        found(model, torch.zeros(2, 10), backward=True),
        parameters=80_000,
        gradients=80_000,
        inputs=80,
        activations=80 + 4 + 4,
        temporaries=8000,
    )


# -- as observed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_small", "convnext_tiny", "densenet121"])
def test_convolutional_networks(name: str, torchvision: ModuleType) -> None:
    as_on_cpu(getattr(torchvision.models, name)().eval(), torch.zeros(1, 3, 96, 96))


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_transformers(name: str, torchvision: ModuleType) -> None:
    # Attention is one operator here and there. Where it is not the peak, what it keeps to itself is not seen.
    as_on_cpu(getattr(torchvision.models, name)().eval(), torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        pytest.param(
            nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
            ),
            (2, 3, 16, 16),
            id="convolutional",
        ),
        pytest.param(
            nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 5)), (7, 10), id="perceptron"
        ),
        pytest.param(
            nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, dropout=0.0, batch_first=True),
            (2, 6, 16),
            id="transformer",
        ),
    ],
)
def test_training_steps(model: nn.Module, shape: tuple[int, ...]) -> None:
    as_on_cpu(model, torch.zeros(shape), backward=True)


class SelfAttention(nn.Module):
    """Two heads of 8 over 256 tokens: their scores take 2 x 256 x 256 x 4 bytes, the operands 16 KiB each."""

    SCORES = 2 * 256 * 256 * 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.scale
        return nn.functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_attention_keeps_its_scores_where_it_is_not_fused(backward):
    model, x = SelfAttention(), torch.empty(1, 2, 256, 8)
    fused = profile(model, x, backward=backward)
    math = profile(model, x, backward=backward, attention="math")
    assert fused.macs == math.macs == 2 * 256 * 256 * (8 + 8)
    assert fused.backward_flops == math.backward_flops
    assert fused.memory < SelfAttention.SCORES
    # The scores and their softmax are there at once, each is written and read, and the backward pass has them again.
    assert math.memory >= 2 * SelfAttention.SCORES
    assert math.traffic - fused.traffic >= 4 * SelfAttention.SCORES
    assert profile(model, x, backward=backward).memory == fused.memory  # nothing of one is taken for the other


def test_there_are_two_kernels_of_attention():
    with pytest.raises(ValueError, match=r"attention='flash' is not allowed: write one of 'fused', 'math'"):
        profile(SelfAttention(), torch.empty(1, 2, 4, 8), attention="flash")
