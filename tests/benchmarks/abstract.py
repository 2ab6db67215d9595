"""How fast an abstract run is, against PyTorch itself: `python -m tests.benchmarks.abstract [model ...]`.

Every model is timed in one process in turns, so that a noisy machine slows all columns alike; the ratios are what
counts. Ours books the module tree and protects the state of a model with its weights on the CPU. *Cold* is with an
empty memo. The others get the model on meta and book FLOPs only.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


class Subject(NamedTuple):
    """A model and its arguments, with weights or on meta."""

    model: nn.Module
    kwargs: dict[str, torch.Tensor]


def vision(name: str) -> Callable[[str], Subject]:
    def build(device: str) -> Subject:
        with torch.device(device):
            return Subject(getattr(import_torchvision().models, name)().eval(), image(device))

    return build


def image(device: str) -> dict[str, torch.Tensor]:
    # torchvision names the input of its models `x`, but for the Swin and ConvNeXt models' outermost forward, too.
    return {"x": torch.empty(1, 3, 224, 224, device=device)}


def bert(device: str) -> Subject:
    from transformers import BertConfig, BertModel

    with torch.device(device):
        return Subject(BertModel(BertConfig()).eval(), {"input_ids": torch.ones(1, 512, dtype=torch.long)})


def llama(tokens: int, **sizes: int) -> Callable[[str], Subject]:
    def build(device: str) -> Subject:
        from transformers import LlamaConfig, LlamaForCausalLM

        with torch.device("meta"):  # too large for the CPU
            model = LlamaForCausalLM(LlamaConfig(vocab_size=128256, num_key_value_heads=8, **sizes)).eval()
        return Subject(model.to(torch.bfloat16), {"input_ids": torch.ones(1, tokens, dtype=torch.long, device=device)})

    return build


MODELS: dict[str, Callable[[str], Subject]] = {
    "resnet50": vision("resnet50"),
    "vit_b_16": vision("vit_b_16"),
    "swin_t": vision("swin_t"),
    "convnext_tiny": vision("convnext_tiny"),
    "bert": bert,
    "llama-3.1-8b": llama(
        8192, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32
    ),
    "llama-3.1-405b": llama(
        8192, hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128
    ),
}


def import_torchvision() -> Any:
    try:
        import torchvision
    except RuntimeError:  # built for another torch; its operators are not needed here
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.operators_of_benchmarks = library
    return torchvision


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(build: Callable[[str], Subject], rounds: int, *, backward: bool) -> dict[str, float]:
    """Median seconds of each contender."""
    with_weights, bare = build("cpu"), build("meta")
    if backward:
        with_weights.model.train()
        bare.model.train()

    def forward() -> None:
        output = bare.model(**bare.kwargs)
        if backward:
            output = output if isinstance(output, torch.Tensor) else next(iter(output.values()))
            output.sum().backward()

    def counter() -> None:
        with FlopCounterMode(display=False):
            forward()

    def ours() -> None:
        profile(with_weights.model, kwargs=with_weights.kwargs, backward=backward)

    def cold() -> None:
        memo.clear()
        ours()

    contenders = {"meta": forward, "counter": counter, "cold": cold, "warm": ours}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.set_grad_enabled(backward):
        for contender in contenders.values():
            contender()
        gc.collect()
        for _ in range(rounds):
            for name, contender in contenders.items():
                times[name].append(seconds(contender))
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--backward", action="store_true", help="forward and backward, in train mode")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, median of {options.rounds} rounds, {torch.get_num_threads()} threads\n")
    print("| model | bare meta | FlopCounterMode | ours, cold | ours, warm | FCM / cold | FCM / warm |")
    print("|---|---|---|---|---|---|---|")
    import_torchvision()  # transformers needs it, too
    for name in options.models:
        taken = measure(MODELS[name], options.rounds, backward=options.backward)
        milliseconds = " | ".join(f"{taken[column] * 1e3:.1f} ms" for column in ("meta", "counter", "cold", "warm"))
        cold, warm = taken["counter"] / taken["cold"], taken["counter"] / taken["warm"]
        print(f"| {name} | {milliseconds} | {cold:.1f} | {warm:.1f} |", flush=True)
    print(f"\npeak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
