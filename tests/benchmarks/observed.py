"""What observing adds to a call on the CPU, against FlopCounterMode: `python -m tests.benchmarks.observed [model ...]`.

The plain call, the observed one and the counted one run in turns in one process. What they add is the median of their
differences from the plain call beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_modelbudget.profiling.observation import Observation
from tests.benchmarks.abstract import import_torchvision, seconds

TINY = "tiny"
"""Two hundred modules on eight numbers: nearly all of it is what an operator costs that computes nothing."""


def added(name: str, rounds: int) -> tuple[float, float, float]:
    """Seconds of the plain call, and what observing and counting add."""
    if name == TINY:
        layers = [layer for _ in range(100) for layer in (nn.Linear(8, 8), nn.ReLU())]
        model, data = nn.Sequential(*layers).eval(), torch.randn(1, 8)
    else:
        model, data = getattr(import_torchvision().models, name)().eval(), torch.randn(1, 3, 224, 224)

    def observed() -> None:
        with Observation().under(sys._getframe()):
            model(data)

    def counted() -> None:
        with FlopCounterMode(display=False):
            model(data)

    plain, ours, theirs = [], [], []
    with torch.no_grad():
        for contender in (lambda: model(data), observed, counted):
            contender()
        for _ in range(rounds):
            plain.append(seconds(lambda: model(data)))
            ours.append(seconds(observed) - plain[-1])
            theirs.append(seconds(counted) - plain[-1])
    return statistics.median(plain), statistics.median(ours), statistics.median(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["mobilenet_v3_small", TINY])
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)  # kernels that wait for threads vary more than what is measured
    print("| model | plain call | observing adds | FlopCounterMode adds | share |")
    print("|---|---|---|---|---|")
    for name in options.models:
        plain, ours, theirs = added(name, options.rounds)
        print(
            f"| {name} | {plain * 1e3:.1f} ms | {ours * 1e3:.1f} ms | {theirs * 1e3:.1f} ms | {ours / theirs:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
