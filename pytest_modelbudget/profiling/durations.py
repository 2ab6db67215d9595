"""Which module takes how long: torchstat's `duration`, measured with the device synchronised around every module.

Synchronising keeps a GPU from running ahead, so the whole takes longer than a call that nobody looks into: these
figures say where the time goes, `latency.py` says how much it is.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.devices import check_clock
from pytest_modelbudget.profiling.latency import ready

if TYPE_CHECKING:
    from torch import nn

    from pytest_modelbudget.profiling.specification import Specification

_RUNS = 5
_MOST = 5.0
"""Seconds after which no further run is begun."""


def measure_durations(model: nn.Module, call: Specification, device: torch.device) -> dict[str, float]:
    """The wall time of all calls of each module during one call of the model, by path: the median of some runs.

    Args:
        model: on any device but `meta`; a deep copy of it runs.
        call: with what, in which grad mode, under which autocast.
        device: where.

    Raises:
        NoClockError: on `meta`.
    """
    check_clock(device)
    with ready(model, call, device) as (again, fresh):
        args, kwargs = fresh()
        again(*args, **kwargs)  # warms up
        watch = _StopWatch(again, device)
        runs: list[dict[str, float]] = []
        begun = time.perf_counter()
        while not runs or (len(runs) < _RUNS and time.perf_counter() - begun < _MOST):
            args, kwargs = fresh()
            runs.append(watch.run(*args, **kwargs))
    return {path: statistics.median(run.get(path, 0.0) for run in runs) for path in runs[0]}


class _StopWatch:
    """Times the calls of a model's modules by two global hooks: hooks on modules switch off PyTorch's fused paths."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._paths = {id(part): path for path, part in model.named_modules()}
        self._hooks = internals.GlobalHooks(self._enter, self._leave)
        self._begun: list[tuple[str, float]] = []
        self._taken: dict[str, float] = {}

    def run(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self._taken = {}
        self._begun = []
        self._hooks.install()
        try:
            self._model(*args, **kwargs)
        finally:
            self._hooks.remove()
        return self._taken

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:  # noqa: ARG002
        path = self._paths.get(id(module))
        if path is not None:
            self._begun.append((path, self._now()))

    def _leave(self, module: nn.Module, *arguments: Any) -> None:  # noqa: ARG002
        path = self._paths.get(id(module))
        if path is None or not self._begun or self._begun[-1][0] != path:
            return
        _, begun = self._begun.pop()
        if all(path != open_path for open_path, _ in self._begun):  # else it calls itself: counted by the outer call
            self._taken[path] = self._taken.get(path, 0.0) + self._now() - begun

    def _now(self) -> float:
        if self._device.type != "cpu":
            getattr(torch, self._device.type).synchronize()
        return time.perf_counter()
