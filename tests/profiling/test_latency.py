"""Wall time: what is measured, on what, and what is left alone."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling import durations, latency
from pytest_modelbudget.profiling.devices import NoClockError
from pytest_modelbudget.profiling.run import profile


class Clock:
    """Stands still but for what `Worker` does: real time depends on what else the machine does."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(Worker, "clock", found, raising=False)
    monkeypatch.setattr(latency, "Timer", partial(latency.Timer, timer=found))
    monkeypatch.setattr(durations, "time", SimpleNamespace(perf_counter=found))
    return found


class Worker(nn.Module):
    """Takes that many seconds, call by call; the last ones again and again."""

    clock: Clock

    def __init__(self, *seconds: float) -> None:
        super().__init__()
        self.seconds = list(seconds)
        self.fc = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        return self.fc(x)


def test_the_median_of_a_call(clock: Clock) -> None:
    figures = profile(Worker(0.25), torch.randn(1, 2), device="cpu", latency=True)
    measured = figures.latency_measurement
    assert measured is not None
    assert figures.latency == measured.lower == measured.median == measured.upper == 0.25
    assert measured.spread == 0
    assert measured.runs >= 1
    assert (measured.threads, measured.device) == (torch.get_num_threads(), "cpu")


def test_the_quartiles_of_calls_that_differ(clock: Clock) -> None:
    # Each takes longer than the last: nothing holds still, and the measurement ends when its time is up.
    model = Worker(9, *(0.25 * (index + 1) for index in range(20)))
    measured = profile(model, torch.randn(1, 2), device="cpu", latency=True).latency_measurement
    assert measured is not None
    assert 0.25 <= measured.lower < measured.median < measured.upper <= 5
    assert measured.runs >= 3


def test_real_time_is_what_is_measured() -> None:
    class Sleeper(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return super().forward(x)

    figures = profile(Sleeper(2, 2), torch.randn(1, 2), device="cpu", latency=True, durations=True)
    assert figures.latency is not None
    assert figures.latency >= 0.02
    assert figures.modules[""].duration is not None
    assert figures.modules[""].duration >= 0.02


def test_the_model_and_the_random_numbers_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    profile(model, torch.randn(4, 2, generator=torch.Generator()), device="cpu", latency=True, durations=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks
    assert not nn.modules.module._global_forward_hooks


def test_the_call_is_timed_in_the_grad_mode_it_is_made_in() -> None:
    modes = set()

    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.add(torch.is_grad_enabled())
            return super().forward(x)

    with torch.no_grad():
        profile(Net(2, 2), torch.randn(1, 2), device="cpu", latency=True)
    assert modes == {False}


class Cache:
    """Grows when the model is called with it."""

    def __init__(self) -> None:
        self.length = 0


def test_arguments_that_a_call_changes_are_fresh() -> None:
    lengths = []

    class Net(nn.Linear):
        def forward(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
            cache.length += 1
            lengths.append(cache.length)
            return super().forward(x)

    profile(Net(2, 2), (torch.randn(1, 2), Cache()), device="cpu", latency=True)
    assert max(lengths) <= 2  # two calls warm up


@pytest.mark.parametrize("what", ["latency", "durations"])
def test_there_is_no_time_on_meta(what: str) -> None:
    with pytest.raises(NoClockError, match=r'nothing is computed on "meta".* write device="cpu"'):
        profile(nn.Linear(2, 2), torch.randn(1, 2), **{what: True})


def test_durations_are_those_of_all_calls_of_a_module_and_of_what_is_below(clock: Clock) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = Worker(0.5)
            self.part = nn.Sequential(Worker(0.25))
            self.never = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(self.twice(self.twice(x)))

    modules = profile(Net(), torch.randn(1, 2), device="cpu", durations=True).modules
    taken = {path: module.duration for path, module in modules.items()}
    assert (taken["twice"], taken["part.0"], taken["part"], taken[""]) == (1, 0.25, 0.25, 1.25)
    assert taken["never"] is None


def test_durations_are_medians_of_warmed_up_runs(clock: Clock) -> None:
    # The first call warms up; the one that counts operators leaves the model as it was.
    modules = profile(Worker(9, 0.5, 0.25, 0.75, 0.25, 0.5), torch.randn(1, 2), device="cpu", durations=True).modules
    assert modules[""].duration == 0.5


def test_durations_do_not_switch_off_fused_paths() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    with torch.no_grad():
        modules = profile(layer, torch.randn(1, 4, 16), device="cpu", durations=True).modules
    assert modules[""].duration is not None
    assert modules["linear1"].duration is None  # the fused kernel calls no modules
