"""How fast an abstract run is, against PyTorch and other counters: `python -m tests.benchmarks.abstract [model ...]`.

Every model is timed in one process in turns, so that a noisy machine slows all columns alike; the ratios are what
counts. Ours books the module tree, memory and traffic, and protects the state of a model with its weights on the CPU.
*Cold* is with an empty memo. FlopCounterMode gets the model on meta, and with its weights; the counters of other
packages (`pip install -e .[benchmarks]`) get it with its weights, which is how they work. A dash: it raised, takes
more than a minute, or would need the weights of a model that is too large for the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import logging
import os
import resource
import signal
import statistics
import time
import warnings
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


TOO_LARGE = frozenset({"llama-3.1-8b", "llama-3.1-405b"})


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


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender, in turns."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    gc.collect()
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(seconds(contender))
    return {name: statistics.median(taken) for name, taken in times.items()}


def measure(build: Callable[[str], Subject], rounds: int, *, backward: bool) -> dict[str, float]:
    """Median seconds of an abstract run and of PyTorch on meta."""
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

    with torch.set_grad_enabled(backward):
        return medians({"cold": cold, "warm": ours, "meta": forward, "counter": counter}, rounds)


# -- counters that run the model ---------------------------------------------------------------------------------------


def counter_on_cpu(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    with FlopCounterMode(display=False):
        model(**kwargs)


def fvcore(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    from fvcore.nn import FlopCountAnalysis

    FlopCountAnalysis(model, tuple(kwargs.values())).total()


def thop(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    import thop

    thop.profile(model, tuple(kwargs.values()), verbose=False)


def ptflops(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    from ptflops import get_model_complexity_info

    get_model_complexity_info(
        model, (1,), input_constructor=lambda _: kwargs, as_strings=False, print_per_layer_stat=False
    )


def torchinfo(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    import torchinfo

    torchinfo.summary(model, input_data=kwargs, verbose=0)


def calflops(model: nn.Module, kwargs: dict[str, torch.Tensor]) -> None:
    from calflops import calculate_flops

    calculate_flops(model, kwargs=kwargs, print_results=False, print_detailed=False)


PEERS = {"counter on cpu": counter_on_cpu} | {
    peer.__name__: peer for peer in (fvcore, thop, ptflops, torchinfo, calflops)
}
_PATIENCE = 60


def milliseconds(peer: Callable[[nn.Module, dict[str, torch.Tensor]], None], subject: Subject, rounds: int) -> str:
    """What a counter takes, or a dash; in silence, each time on a copy, because it may leave things in the model."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    taken = []
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            for _ in range(rounds):
                model = copy.deepcopy(subject.model)
                signal.alarm(_PATIENCE)
                taken.append(seconds(lambda model=model: peer(model, subject.kwargs)))  # type: ignore[misc]
                signal.alarm(0)
        except Exception:  # noqa: BLE001 - counters fail in any way
            return "-"
        finally:
            signal.alarm(0)
    return f"{statistics.median(taken) * 1e3:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--backward", action="store_true", help="forward and backward, in train mode; without the peers"
    )
    parser.add_argument("--no-peers", action="store_true", help="PyTorch on meta only")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    peers = {} if options.backward or options.no_peers else PEERS
    print(f"torch {torch.__version__}, milliseconds, median of {options.rounds} rounds, {os.cpu_count()} cores\n")
    columns = ["cold", "warm", "bare meta", "FlopCounterMode on meta", "it / cold", "it / warm", *peers]
    print(f"| model | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    import_torchvision()  # transformers needs it, too
    for name in options.models:
        taken = measure(MODELS[name], options.rounds, backward=options.backward)
        cells = [f"{taken[column] * 1e3:.1f}" for column in ("cold", "warm", "meta", "counter")]
        cells += [f"{taken['counter'] / taken[column]:.1f}" for column in ("cold", "warm")]
        subject = MODELS[name]("cpu") if peers and name not in TOO_LARGE else None
        cells += ["-" if subject is None else milliseconds(peer, subject, 3) for peer in peers.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\npeak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
