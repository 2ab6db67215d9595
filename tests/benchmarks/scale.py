"""How time and memory grow: with the modules of a model, the operators of a call, the tests of a suite, a baseline.

    python -m tests.benchmarks.scale [modules] [operators] [suite] [baseline] [profiles]

Prints a row for each size; what should be flat stands in the last columns.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from pytest_modelbudget.baseline import Entry, Key, load, save
from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def resident() -> float:
    """MiB, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MiB that stay."""
    before, start = resident(), time.perf_counter()
    kept = run()
    taken = time.perf_counter() - start
    grown = resident() - before
    del kept
    return taken, grown


def modules() -> Iterator[str]:
    """A model of many modules, called once."""
    for count in (1_000, 5_000, 20_000):
        model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4)) for _ in range(count // 2))).eval()
        x = torch.ones(1, 4)
        for name, run in (
            ("observed", lambda model=model, x=x: observed(lambda: model(x), model)),
            ("cpu", lambda model=model, x=x: profile(model, x, device="cpu")),
            ("meta", lambda model=model, x=x: profile(model, x)),
        ):
            taken, grown = timed(run)
            yield f"{count:>9,} modules    {name:<9}{taken:8.2f} s{grown:8.0f} MiB{1e6 * taken / count:9.1f} us/module"


def observed(run: Callable[[], object], model: nn.Module) -> object:
    observation = Observation()
    with torch.no_grad(), observation.under(sys._getframe()):
        run()
    return observation.profiles(observation.look_at(model), 2)


class Loops(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.count = count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.count):
            x = x + 1
        return self.linear(x)


def operators() -> Iterator[str]:
    """One call of many operators."""
    x = torch.ones(1, 4)
    for count in (10_000, 100_000, 1_000_000):
        model = Loops(count)
        start = time.perf_counter()
        with torch.no_grad():
            model(x)
        bare = time.perf_counter() - start
        for name, run in (
            ("observed", lambda model=model: observed(lambda: model(x), model)),
            ("meta", lambda model=model: profile(model, x)),
        ):
            taken, grown = timed(run)
            yield (
                f"{count:>9,} operators  {name:<9}{taken:8.2f} s{grown:8.0f} MiB{1e6 * taken / count:9.1f} us/operator"
                f", bare {1e6 * bare / count:.1f}"
            )


SUITE = """
import pytest
import torch

MODEL = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

{mark}
@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    assert MODEL(torch.ones(2, 4)).shape == (2, 2)
"""


def suite() -> Iterator[str]:
    """Suites of many marked tests in a process of their own, against the same without marks."""
    for count in (500, 5_000):
        for mark in ("", "@pytest.mark.modelbudget(params=58, macs=96)"):
            for workers in ((), ("-n2",)):
                with tempfile.TemporaryDirectory() as folder:
                    Path(folder, "test_it.py").write_text(SUITE.format(mark=mark, count=count), encoding="utf-8")
                    report = ("--modelbudget-report=json:report.json",) if mark else ()
                    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, *report]
                    start = time.perf_counter()
                    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                    taken = time.perf_counter() - start
                    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
                    size = Path(folder, "report.json").stat().st_size / 2**20 if mark else 0
                yield (
                    f"{count:>9,} tests      {'marked' if mark else 'bare':<9}{taken:8.2f} s{peak:8.0f} MiB"
                    f"{1e3 * taken / count:9.2f} ms/test  {''.join(workers):<4} report {size:.2f} MiB"
                )


def baseline() -> Iterator[str]:
    """A baseline of many entries, saved and loaded."""
    for count in (10_000, 100_000, 1_000_000):
        entries = {
            Key(f"tests/test_{number % 100}.py::test_it[{number}]", "Net", "params"): Entry(
                number, {"": number, "encoder": number // 2, "head": number // 3}, torch="2.13.0", python="3.11.7"
            )
            for number in range(count)
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "baseline.json")
            for name, run in (
                ("save", lambda path=path, entries=entries: save(path, entries)),
                ("load", lambda path=path: load(path)),
            ):
                taken, grown = timed(run)
                size = path.stat().st_size / 2**20
                yield (
                    f"{count:>9,} entries    {name:<9}{taken:8.2f} s{grown:8.0f} MiB{1e6 * taken / count:9.1f} us/entry"
                    f", {size:.0f} MiB on disk"
                )


def profiles() -> Iterator[str]:
    """The same model profiled again and again: what stays of it."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LSTM(288, 8))
    x = torch.ones(2, 3, 8, 8)
    runs: dict[str, Callable[[], object]] = {
        "observed": lambda: observed(lambda: model(x), model),
        "meta": lambda: profile(model, x),
        "backward": lambda: profile(model, x, backward=True),
        "cpu": lambda: profile(model, x, device="cpu"),
    }
    for name, run in runs.items():
        for _ in range(50):
            run()
        gc.collect()
        objects = len(gc.get_objects())
        taken, grown = timed(lambda run=run: [run() and None for _ in range(1_000)])
        gc.collect()
        left = len(gc.get_objects()) - objects
        yield f"{1_000:>9,} profiles   {name:<9}{taken:8.2f} s{grown:8.1f} MiB{taken:9.2f} ms/profile"
        yield f"{left:>9,} objects left"


MEASURED = {run.__name__: run for run in (modules, operators, suite, baseline, profiles)}

if __name__ == "__main__":
    for asked in sys.argv[1:] or MEASURED:
        for row in MEASURED[asked]():
            print(row, flush=True)
