"""How long a call takes on a real device: `torch.utils.benchmark`, on a deep copy, until the median holds still."""

from __future__ import annotations

import statistics
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.benchmark import Timer
from torch.utils.benchmark import timer as clock

from pytest_modelbudget.profiling.copies import copied
from pytest_modelbudget.profiling.devices import check_clock
from pytest_modelbudget.profiling.hooks import out_of_the_way
from pytest_modelbudget.profiling.profile import LatencyMeasurement
from pytest_modelbudget.profiling.specification import is_training, realize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from pytest_modelbudget.profiling.specification import Specification

_STEADY = 0.1
"""Enough is enough when the interquartile range is below this share of the median."""
_LEAST, _MOST = 0.2, 3.0
"""Seconds of timed calls, the warm-up apart; a single call may take longer."""
_LONG = 0.5
"""Seconds of a first call that people should be told about: several are to follow."""
_FEWEST = 2
"""How many calls are timed however long they take."""
_SINGLE_CALLS = 200
"""How many calls are timed one by one at most: making their arguments takes longer than a short call."""


def measure_latency(
    model: nn.Module,
    call: Specification,
    device: torch.device,
    *,
    most: float = _MOST,
    announce: Callable[[], None] = lambda: None,
) -> LatencyMeasurement:
    """Time a call of a model, warmed up, with the device synchronised before and after.

    Args:
        model: on any device but `meta`; a deep copy of it runs.
        call: with what, in which grad mode, under which autocast.
        device: where.
        most: seconds after which to stop, however much the times still vary.
        announce: called before a measurement that will take long.

    Raises:
        NoClockError: on `meta`.
    """
    check_clock(device)
    with ready(model, call, device) as (run, fresh):
        timer = Timer(
            "run(*args, **kwargs)",
            setup="args, kwargs = fresh()",
            globals={"run": run, "fresh": fresh},
            num_threads=torch.get_num_threads(),
        )
        long = _single(run, *fresh()) > _LONG  # compiles what is to be compiled, too
        if long:
            announce()
        if long or _holds_state((call.args, call.kwargs)):
            times, block = _one_by_one(run, fresh, most), 1
        else:
            measured = timer.adaptive_autorange(_STEADY, min_run_time=_LEAST, max_run_time=most)
            times, block = measured.times, measured.number_per_run
    lower, median, upper = _quartiles(times)
    return LatencyMeasurement(
        median=median,
        lower=lower,
        upper=upper,
        runs=len(times) * block,
        threads=torch.get_num_threads(),
        device=device.type,
    )


@contextmanager
def ready(
    model: nn.Module, call: Specification, device: torch.device
) -> Iterator[tuple[nn.Module, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]]]:
    """A deep copy of the model on the device and what makes fresh arguments, in the surroundings of the call."""
    with ExitStack() as stack:
        stack.enter_context(out_of_the_way())
        stack.enter_context(torch.random.fork_rng(range(torch.cuda.device_count()) if device.type == "cuda" else ()))
        again = copied([model], device)[0]
        for path, part in again.named_modules():
            if call.training.get(path, is_training(part)) is not is_training(part):
                part.training = call.training[path]
        stack.enter_context(torch.set_grad_enabled(call.grad))
        if call.autocast is not None:
            stack.enter_context(torch.autocast(device.type, dtype=call.autocast))
        yield again, lambda: realize(call, device)


def _holds_state(value: object) -> bool:
    """Whether an argument may change when the model is called with it: a cache grows from call to call."""
    if isinstance(value, (list, tuple)):
        return any(map(_holds_state, value))
    if isinstance(value, dict):
        return any(map(_holds_state, value.values()))
    return not isinstance(value, (torch.Tensor, str, bytes, bool, int, float, complex, type(None), torch.dtype))


def _single(run: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Seconds of one call, by the clock of torch.utils.benchmark, which waits for CUDA and XPU."""
    begun = clock()
    run(*args, **kwargs)
    return clock() - begun


def _one_by_one(
    run: nn.Module, fresh: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]], most: float
) -> list[float]:
    """Times of single calls, each with arguments of its own."""
    times: list[float] = []
    while (sum(times) < most or len(times) < _FEWEST) and len(times) < _SINGLE_CALLS:
        times.append(_single(run, *fresh()))
        lower, median, upper = _quartiles(times)
        if sum(times) >= _LEAST and len(times) > 3 and upper - lower < _STEADY * median:
            break
    return times


def _quartiles(times: list[float]) -> tuple[float, float, float]:
    if len(times) == 1:
        return times[0], times[0], times[0]
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return lower, median, upper
