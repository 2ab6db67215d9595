"""Models that were made smaller, or cheaper to train: adapters, pruned, shared and quantized weights.

Linear(4, 8) and Linear(8, 2): 58 parameters of 4 bytes, 48 MACs a sample; the inputs have two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import prune

from pytest_modelbudget.profiling.run import profile
from tests.profiling.snapshot import snapshot

if TYPE_CHECKING:
    from types import ModuleType

    from pytest_modelbudget.profiling.profile import Profile

pytestmark = pytest.mark.filterwarnings("ignore")

X = torch.ones(2, 4)
HOW = pytest.mark.parametrize("how", ["observed", "cpu", "meta"])


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def measured(model: nn.Module, x: Tensor, how: str, watch: Any) -> Profile:
    if how == "observed":
        watch(model, x)
        figures = watch.profile(model)
    else:
        before = _state(model)
        figures = profile(model, x, device=how)
        assert _state(model) == before
    assert figures.uncounted == {}
    return figures


def _state(model: nn.Module) -> Any:
    if any(type(parameter) not in (Tensor, nn.Parameter) for parameter in model.parameters()):
        return [(name, id(parameter), parameter.device) for name, parameter in model.named_parameters()]
    return snapshot(model)


# -- adapters --------------------------------------------------------------------------------------------------------


class LoRA(nn.Module):
    """A frozen layer and two thin ones beside it: 2 x (4 + 8) parameters and as many MACs a sample more."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


@HOW
def test_of_an_adapted_layer_only_the_adapter_is_trainable(how: str, watch: Any) -> None:
    figures = measured(LoRA(nn.Linear(4, 8), rank=2), X, how, watch)
    assert (figures.params, figures.trainable_params) == (40 + 24, 24)
    assert figures.macs == 2 * (32 + 24)
    assert figures.modules["base"].trainable_params == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_frozen_weights_have_no_gradients(device: str) -> None:
    figures = profile(LoRA(nn.Linear(4, 8), rank=2), X, device=device, backward=True)
    # The weights of both thin layers, 2 x 8 and 4 x 2, and what comes in between, 2 x 8; two samples each.
    assert figures.backward_flops == 2 * 2 * (16 + 8 + 16)


@HOW
def test_adapters_of_peft(how: str, torchvision: ModuleType, watch: Any) -> None:
    peft = pytest.importorskip("peft")  # imports transformers, which imports torchvision
    model = peft.get_peft_model(net(), peft.LoraConfig(r=2, target_modules=["0"]))
    figures = measured(model, X, how, watch)
    assert (figures.params, figures.trainable_params) == (58 + 24, 24)
    assert figures.macs == 2 * (48 + 24)
    model.merge_adapter()
    assert profile(model, X).macs == 2 * 48


# -- pruned and shared -------------------------------------------------------------------------------------------------


@HOW
def test_pruned_weights_are_stored_and_multiplied_with_their_masks(how: str, watch: Any) -> None:
    model = net()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    figures = measured(model, X, how, watch)
    assert (figures.params, figures.size) == (58, 4 * 58 + 4 * 32)
    assert figures.macs == 2 * 48  # zeros are multiplied like any other number


@HOW
def test_pruning_that_is_made_permanent_leaves_a_dense_model(how: str, watch: Any) -> None:
    model = net()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    prune.remove(model[0], "weight")
    figures = measured(model, X, how, watch)
    assert (figures.params, figures.size, figures.macs) == (58, 4 * 58, 2 * 48)


@HOW
def test_a_block_that_is_used_again_is_held_once_and_computes_each_time(how: str, watch: Any) -> None:
    block = nn.Linear(4, 4)
    figures = measured(nn.Sequential(block, block, nn.ModuleList([block])[0]), X, how, watch)
    assert (figures.params, figures.size, figures.macs) == (20, 80, 3 * 2 * 16)


@HOW
def test_an_embedding_that_is_also_the_head_is_held_once(how: str, watch: Any) -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    model[1].weight = model[0].weight
    figures = measured(model, torch.zeros(2, 3, dtype=torch.long), how, watch)
    assert (figures.params, figures.size, figures.macs) == (40, 160, 2 * 3 * 40)


# -- quantized ---------------------------------------------------------------------------------------------------------


class Quantized(nn.Module):
    """A convolution of 3 to 8 channels, 3 x 3: on 6 x 6 it has 16 x 8 x 27 MACs, 224 weights and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize = quantization.QuantStub()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.dequantize = quantization.DeQuantStub()

    def forward(self, x: Tensor) -> Tensor:
        return self.dequantize(self.relu(self.norm(self.convolution(self.quantize(x)))))


IMAGE = torch.ones(1, 3, 6, 6)


def aware() -> nn.Module:
    model = quantization.fuse_modules_qat(Quantized().train(), [["convolution", "norm", "relu"]])
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    model = quantization.prepare_qat(model)
    model(IMAGE)  # observers take their shape from the first call
    return model


@HOW
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_quantization_aware_models_count_as_the_float_ones(how: str, training: bool, watch: Any) -> None:
    figures = measured(aware().train(training), IMAGE, how, watch)
    assert figures.params == 224 + 16
    assert figures.macs == 16 * 8 * 27


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_quantization_aware_training(device: str) -> None:
    figures = profile(aware(), IMAGE, device=device, backward=True)
    assert figures.uncounted == {}
    assert figures.backward_flops == 2 * 16 * 8 * 27  # of the weight


@pytest.mark.parametrize("how", ["observed", "cpu"])
def test_converted_models_hold_packed_weights(how: str, watch: Any) -> None:
    model = quantization.convert(aware().eval())
    figures = measured(model, IMAGE, how, watch)
    assert (figures.params, figures.trainable_params) == (224, 0)
    assert figures.macs == 16 * 8 * 27


# Weights that torchao quantizes: 128 x 256 + 256 x 64, one byte each; biases and scales of four bytes for 320 rows, and
# perhaps a zero point.
CODES, ROWS = 128 * 256 + 256 * 64, 320


@HOW
@pytest.mark.parametrize(
    "kind",
    ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig", "Float8WeightOnlyConfig", "IntxWeightOnlyConfig"],
)
def test_models_that_torchao_quantized(kind: str, how: str, watch: Any) -> None:
    torchao = pytest.importorskip("torchao.quantization", exc_type=ImportError)
    config = getattr(torchao, kind, None)
    if config is None:
        pytest.skip("not in this version of torchao")
    model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 64)).eval()
    torchao.quantize_(model, config())
    with torch.no_grad():
        figures = measured(model, torch.ones(2, 128), how, watch)
    assert (figures.params, figures.macs) == (CODES + ROWS, 2 * CODES)
    assert CODES + 8 * ROWS <= figures.size <= CODES + 16 * ROWS
    assert figures.memory_by_kind["parameters"] + figures.memory_by_kind["buffers"] == figures.size
