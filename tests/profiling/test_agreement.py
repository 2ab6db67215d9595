"""Against PyTorch's own counter, operator by operator, on 86 architectures: equal wherever it has a formula."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tests.profiling import zoo

# What the architectures run that PyTorch has no formula for; ours are held against figures by hand.
UNKNOWN_TO_PYTORCH = {
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_native_multi_head_attention",
    "aten::_transformer_encoder_layer_fwd",
    "aten::mkldnn_rnn_layer",
    "aten::_grouped_mm",
    "transformers::grouped_mm_fallback",  # where torch has no _grouped_mm
    "aten::mv",
    "aten::dot",
    "aten::addmv",
}


@pytest.fixture(scope="session")
def transformers(torchvision: Any) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def agree(watch: Any, specimen: zoo.Specimen) -> None:
    model, args, kwargs = specimen
    model.requires_grad_(False)  # PyTorch's stumbles over modules that are called with a parameter
    with torch.no_grad():
        torch.manual_seed(0)
        with FlopCounterMode(display=False) as theirs:
            model(*args, **kwargs)
        torch.manual_seed(0)
        watch(model, *args, **kwargs)
    expected = {f"aten::{operator}": flops for operator, flops in theirs.get_flop_counts()["Global"].items()}
    expected = {name.replace("aten::aten.", "aten::"): flops for name, flops in expected.items()}
    found: Counter[str] = Counter()
    for call in watch.observation.tracker.calls:
        for tree in call.tree.walk():
            for work in tree.work:
                if work.cost is not None and work.cost.macs:
                    found[work.operator] += 2 * work.cost.macs
    beyond = {operator for operator in found if operator not in expected}
    assert beyond <= UNKNOWN_TO_PYTORCH
    assert {operator: flops for operator, flops in found.items() if operator in expected} == expected


def test_what_is_said_to_be_unknown_to_pytorch_is() -> None:
    known = {str(packet).replace("aten.", "aten::", 1) for packet in flop_registry}
    # PyTorch learns: a name that it has a formula for by now must agree with it like any other.
    if torch.__version__ < "2.14":
        assert not UNKNOWN_TO_PYTORCH & known


@pytest.mark.parametrize("name", zoo.TIMM)
def test_timm(name: str, watch: Any, timm: Any) -> None:
    agree(watch, zoo.from_timm(timm, name))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", zoo.TRANSFORMERS)
def test_transformers(name: str, watch: Any, transformers: Any) -> None:
    agree(watch, zoo.from_transformers(transformers, name))


@pytest.mark.parametrize("name", zoo.OWN)
def test_others(name: str, watch: Any) -> None:
    agree(watch, zoo.own(name))
