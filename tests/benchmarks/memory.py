"""Predicted peak memory against what PyTorch's CPU allocator hands out: `python -m tests.benchmarks.memory`.

The prediction counts storages. The allocator also serves the workspaces of kernels, which no operator shows; they
are what remains between the two columns. Both are of one process, on one call, with the same model and input.
"""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as trace

from pytest_modelbudget.profiling.run import profile
from tests.benchmarks.abstract import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = [
    "resnet18",
    "resnet50",
    "vgg16",
    "mobilenet_v3_small",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
    "shufflenet_v2_x1_0",
    "swin_t",
    "vit_b_16",
]
MIB = 2**20


def allocated(step: Callable[[], object]) -> int:
    """The peak of the bytes that the CPU allocator handed out during a step and that were not given back."""
    with trace(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        step()
    changes = [event for event in prof.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def compare(name: str, *, training: bool) -> tuple[int, int]:
    """Predicted and allocated peak in bytes, parameters, buffers and input included in both."""
    model = getattr(import_torchvision().models, name)().train(training)
    data = torch.randn(2, 3, 224, 224)

    def step() -> None:
        with torch.set_grad_enabled(training):
            output = model(data)
            if training:
                output.sum().backward()

    with torch.set_grad_enabled(training):
        predicted = profile(model, data, device="cpu", backward=training)
    held = predicted.memory_by_kind["parameters"] + predicted.memory_by_kind["buffers"] + data.nbytes
    step()  # what libraries allocate once and keep is no part of a call
    model.zero_grad(set_to_none=True)
    assert predicted.memory is not None
    return predicted.memory, allocated(step) + held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    warnings.simplefilter("ignore")
    print(f"{'batch 2, MiB':<20} {'predicted':>10} {'allocator':>10} {'deviation':>10}")
    for name in parser.parse_args().models:
        for training in (False, True):
            predicted, measured = compare(name, training=training)
            deviation = 100 * (predicted / measured - 1)
            label = f"{name} {'train' if training else 'eval'}"
            print(f"{label:<26} {predicted / MIB:>8.1f} {measured / MIB:>10.1f} {deviation:>+8.1f} %")


if __name__ == "__main__":
    main()
