"""What other counters say of the same models: `python -m tests.benchmarks.figures [model ...]`, in GMACs, on the CPU.

The last column is arithmetic or a published figure, with its source. FlopCounterMode prints FLOPs, two for a MAC; the
others print MACs, whatever they call them. A counter that is not installed has no column, one that raises says what.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import inspect
import io
import logging
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_modelbudget.profiling.run import profile
from tests.benchmarks.abstract import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable


class Subject(NamedTuple):
    """A model, its input, its MACs and who says so."""

    model: nn.Module
    data: torch.Tensor
    macs: float
    source: str


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(128, 256, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


def vision(name: str, gmacs: float) -> Callable[[], Subject]:
    def build() -> Subject:
        model = getattr(import_torchvision().models, name)()
        return Subject(model, torch.randn(1, 3, 224, 224), gmacs * 1e9, "torchvision")

    return build


def lstm() -> Subject:
    return Subject(Tagger(), torch.randn(1, 32, 128), 2 * 32 * 4 * 256 * (128 + 256), "2 x 32 x 4h(i + h)")


def encoder() -> Subject:
    layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    macs = 128 * (4 * 512**2 + 2 * 512 * 2048) + 2 * 128**2 * 512
    return Subject(layer, torch.randn(1, 128, 512), macs, "S(4H^2 + 2HI) + 2S^2H")


def bert() -> Subject:
    from transformers import BertConfig, BertModel

    macs = 12 * (128 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 128**2 * 768) + 768**2
    return Subject(BertModel(BertConfig()), torch.ones(1, 128, dtype=torch.long), macs, "12 layers and the pooler")


def mixtral() -> Subject:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    # Queries and output 64 x 64, keys and values 64 x 32, attention, router, two of the experts; the head.
    layer = 32 * (2 * 64 * 64 + 2 * 64 * 32) + 2 * 32**2 * 64 + 32 * 64 * 4 + 32 * 2 * 3 * 64 * 128
    macs = 2 * layer + 32 * 64 * 1000
    return Subject(
        MixtralForCausalLM(MixtralConfig(**sizes, **heads)), torch.ones(1, 32, dtype=torch.long), macs, "sum"
    )


MODELS: dict[str, Callable[[], Subject]] = {
    "ResNet-50": vision("resnet50", 4.089),
    "MobileNetV2": vision("mobilenet_v2", 0.301),
    "ViT-B/16": vision("vit_b_16", 17.564),
    "Swin-T": vision("swin_t", 4.491),
    "LSTM": lstm,
    "TransformerEncoderLayer": encoder,
    "BERT-base": bert,
    "Mixtral, tiny": mixtral,
}


def ours(model: nn.Module, data: torch.Tensor) -> float:
    return profile(model, data, device="cpu").macs or 0


def flop_counter_mode(model: nn.Module, data: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model(data)
    return counter.get_total_flops() / 2


def fvcore(model: nn.Module, data: torch.Tensor) -> float:
    from fvcore.nn import FlopCountAnalysis

    return float(FlopCountAnalysis(model, data).total())


def thop(model: nn.Module, data: torch.Tensor) -> float:
    import thop

    return float(thop.profile(model, (data,), verbose=False)[0])


def ptflops(model: nn.Module, data: torch.Tensor) -> float:
    from ptflops import get_model_complexity_info

    name = next(iter(inspect.signature(model.forward).parameters))
    inputs = {"input_constructor": lambda _: {name: data}, "as_strings": False, "print_per_layer_stat": False}
    return float(get_model_complexity_info(model, (1,), **inputs)[0])


def torchinfo(model: nn.Module, data: torch.Tensor) -> float:
    import torchinfo

    return float(torchinfo.summary(model, input_data=data, verbose=0).total_mult_adds)


COUNTERS = {
    "ours": ours,
    "FlopCounterMode": flop_counter_mode,
    **{peer.__name__: peer for peer in (fvcore, thop, ptflops, torchinfo) if find_spec(peer.__name__)},
}


def said(counter: Callable[[nn.Module, torch.Tensor], float], subject: Subject) -> str:
    """The figure in GMACs, or what the counter raised; in silence, and on a copy that it may ruin."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            return f"{counter(copy.deepcopy(subject.model).eval(), subject.data) / 1e9:.3f}"
        except Exception as error:  # noqa: BLE001 - counters fail in any way
            return type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    import_torchvision()  # transformers needs it, too
    print(f"torch {torch.__version__}\n")
    print(f"| model | {' | '.join(COUNTERS)} | should be |")
    print(f"|---|{'---|' * (len(COUNTERS) + 1)}")
    for name in options.models:
        subject = MODELS[name]()
        figures = " | ".join(said(counter, subject) for counter in COUNTERS.values())
        print(f"| {name} | {figures} | {subject.macs / 1e9:.3f} ({subject.source}) |", flush=True)


if __name__ == "__main__":
    main()
