"""Whole models against figures that others have published, or that follow from their papers by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_modelbudget.profiling.run import profile

IMAGE = (1, 3, 224, 224)

# torchvision's weights publish parameters (`num_params`) and GMACs (`_ops`, in units of 10^9, rounded to 3 digits);
# ResNet-50's exact MACs are those of pycls for the stride in the 3x3 convolution.
PUBLISHED = {
    "resnet50": (25_557_032, 4.089),
    "vgg16": (138_357_544, 15.470),
    "mobilenet_v2": (3_504_872, 0.301),
    "vit_b_16": (86_567_656, 17.564),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvision_models_have_the_figures_of_their_weights(name: str, torchvision: Any) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models, name)().eval()
    figures = profile(model, torch.empty(IMAGE, device="meta"))
    parameters, giga_macs = PUBLISHED[name]
    assert figures.params == parameters
    assert round(figures.macs / 1e9, 3) == giga_macs
    assert figures.flops == 2 * figures.macs
    assert figures.uncounted == {}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_resnet50_is_exact_on_every_device(device: str, torchvision: Any) -> None:
    model = torchvision.models.resnet50().eval()
    figures = profile(model, torch.randn(IMAGE), device=device)
    assert (figures.params, figures.macs) == (25_557_032, 4_089_184_256)
    # The RegNet paper counts the elements of all outputs of convolutions; timm publishes 11.11 M with the last layer.
    assert figures.activations == 11_114_984


def llama(**sizes: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(attn_implementation="sdpa", **sizes)
    with torch.device("meta"):
        return LlamaForCausalLM(config).eval()


def decoder_macs(*, tokens: int, hidden: int, inner: int, layers: int, words: int, key_value: float = 1.0) -> int:
    """Per layer 4SH^2 + 2S^2H + 3SHI, and SHV for the head; with fewer key and value heads 2SH^2 (1 + share)."""
    projections = round(2 * tokens * hidden**2 * (1 + key_value))
    layer = projections + 2 * tokens**2 * hidden + 3 * tokens * hidden * inner
    return layers * layer + tokens * hidden * words


def test_llama_2_7b_on_128_tokens() -> None:
    model = llama(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
    )
    figures = profile(model, kwargs={"input_ids": torch.zeros(1, 128, dtype=torch.int64), "use_cache": False})
    assert figures.params == 6_738_415_616
    by_hand = decoder_macs(tokens=128, hidden=4096, inner=11008, layers=32, words=32000)
    assert by_hand == 850_000_871_424
    assert figures.macs == by_hand


def test_llama_3_1_405b_on_8192_tokens() -> None:
    model = llama(
        hidden_size=16384,
        intermediate_size=53248,
        num_hidden_layers=126,
        num_attention_heads=128,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=131072,
    )
    figures = profile(model, kwargs={"input_ids": torch.zeros(1, 8192, dtype=torch.int64), "use_cache": False})
    assert figures.params == 405_853_388_800
    by_hand = decoder_macs(tokens=8192, hidden=16384, inner=53248, layers=126, words=128256, key_value=8 / 128)
    assert figures.macs == by_hand
    assert round(figures.macs / 1e12, 2) == 3584.58
