"""What observing adds to a call on the CPU, against FlopCounterMode: `python -m tests.benchmarks.observed [model ...]`.

The plain call, the observed one and the counted one run in turns in one process. What they add is the median of their
differences from the plain call beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_modelbudget.profiling.observation import Observation
from tests.benchmarks.abstract import import_torchvision, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = "tiny"
"""Two hundred modules on eight numbers: nearly all of it is what an operator costs that computes nothing."""


TRAINING = "training"
"""Twenty steps of Adam on a network of three tiny layers: most of what it does is outside of modules."""


def _call(name: str) -> Callable[[], object]:
    if name == TRAINING:
        return _train
    if name == TINY:
        layers = [layer for _ in range(100) for layer in (nn.Linear(8, 8), nn.ReLU())]
        model, data = nn.Sequential(*layers).eval(), torch.randn(1, 8)
    else:
        model, data = getattr(import_torchvision().models, name)().eval(), torch.randn(1, 3, 224, 224)
    return partial(torch.no_grad()(model), data)


def _train() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    data, target = torch.randn(8, 2), torch.randn(8, 1)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data), target).backward()
        optimizer.step()


def added(name: str, rounds: int) -> tuple[float, float, float]:
    """Seconds of the plain call, and what observing and counting add."""
    call = _call(name)

    def observed() -> None:
        with Observation().under(sys._getframe()):
            call()

    def counted() -> None:
        with FlopCounterMode(display=False):
            call()

    plain, ours, theirs = [], [], []
    for contender in (call, observed, counted):
        contender()
    for _ in range(rounds):
        plain.append(seconds(call))
        ours.append(seconds(observed) - plain[-1])
        theirs.append(seconds(counted) - plain[-1])
    return statistics.median(plain), statistics.median(ours), statistics.median(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["mobilenet_v3_small", TINY, TRAINING])
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
