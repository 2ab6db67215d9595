"""Runs in which the same happens again: what is not worked out twice, and what must not be taken for the same."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling.abstract import recall
from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Iterator

X = torch.zeros(2, 4)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(8, 8))
        self.repeats = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for _ in range(self.repeats):
            x = self.second(x)
        return x


@pytest.fixture(autouse=True)
def worked_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the models whose profiles are worked out."""
    numbers: list[int] = []
    together = Observation.together

    def note(observation: Observation, number: int, flops_per_mac: int) -> Any:
        numbers.append(number)
        return together(observation, number, flops_per_mac)

    monkeypatch.setattr(Observation, "together", note)
    recall.memo.clear()
    yield numbers
    recall.memo.clear()


def test_equal_runs_are_worked_out_once(worked_out: list[int]) -> None:
    net, equal = Net(), Net()
    profiles = [profile(model, torch.zeros(2, 4)) for model in (net, net, equal)]
    assert profiles[0] == profiles[1] == profiles[2]
    # 2x4 by 4x8 and 2x8 by 8x8; 40 + 72 parameters. At the peak: 2x4 inputs and three 2x8, since `x` in the forward
    # holds what `first` returned until `second` returns.
    assert (profiles[2].macs, profiles[2].params, profiles[2].memory) == (64 + 128, 112, 4 * (112 + 8 + 3 * 16))
    assert len(worked_out) == 1


def test_what_is_remembered_is_what_would_be_worked_out() -> None:
    with recall.memo.verified():
        for _ in range(3):
            assert profile(Net(), X).macs == 64 + 128


def test_what_is_returned_may_be_changed() -> None:
    net = Net()
    for _ in range(2):
        figures = profile(net, X)
        assert set(figures.modules) == {"", "first", "second", "second.0", "second.1"}
        figures.modules.clear()
        figures.operators.clear()
        figures.memory_by_kind["parameters"] = 0


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.first.requires_grad_(False),
        lambda net: net.second[1].to(torch.float64).to(torch.bfloat16).to(torch.float32).register_buffer("b", X),
        lambda net: setattr(net, "repeats", 2),
        lambda net: setattr(net, "spare", nn.Linear(3, 3)),
        lambda net: setattr(net.second, "0", nn.Tanh()),
        lambda net: net.second.__setitem__(0, type("ReLU", (nn.Sequential,), {})(nn.ReLU())),
        lambda net: net.second[1].register_parameter("bias", None),
    ],
    ids=["frozen", "a buffer", "called twice", "one more", "of another class", "a namesake", "without a bias"],
)
def test_a_model_that_has_changed_is_worked_out_afresh(change: Any, worked_out: list[int]) -> None:
    net, reference = Net(), Net()
    profile(net, X)
    for model in (net, reference):
        change(model)
    found = profile(net, X)
    assert len(worked_out) == 2
    recall.memo.clear()
    assert found == profile(reference, X)


def test_a_larger_batch_and_other_conventions_are_worked_out_afresh(worked_out: list[int]) -> None:
    net = Net()
    assert [profile(net, torch.zeros(batch, 4)).macs for batch in (2, 3, 2)] == [192, 288, 192]
    assert [profile(net, X, flops_per_mac=factor).flops for factor in (2, 1, 2)] == [384, 192, 384]
    assert len(worked_out) == 3


@pytest.mark.parametrize("backward", [False, True])
def test_hooks_of_modules_are_followed_each_time(backward: bool) -> None:
    net, weight = Net(), torch.zeros(8, 8)
    assert profile(net, X, backward=backward).macs == 192
    handle = net.first.register_forward_hook(lambda module, args, output: output @ weight)
    for _ in range(2):
        figures = profile(net, X, backward=backward)
        assert (figures.macs, figures.modules["first"].macs) == (192 + 128, 64 + 128)
    handle.remove()
    assert profile(net, X, backward=backward).macs == 192


def test_parts_that_are_left_by_an_exception_are_closed_at_the_right_one() -> None:
    class Tries(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                self.second(x)  # 4 columns for 8
            except RuntimeError:
                x = super().forward(x)
            return x

    for _ in range(2):
        figures = profile(Tries(), X)
        assert (figures.macs, figures.modules["second"].calls, figures.modules["second.1"].macs) == (192, 2, 128)


def test_a_pre_hook_that_raises_leaves_no_call_open() -> None:
    def refuse(module: nn.Module, args: Any) -> None:
        raise ValueError

    class Skips(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with contextlib.suppress(ValueError):
                self.second(x)
            return self.first(x)

    for _ in range(2):
        net = Skips()
        net.second.register_forward_pre_hook(refuse)
        figures = profile(net, X)
        assert (figures.macs, figures.modules["first"].macs) == (64, 64)


def test_a_tensor_that_somebody_keeps_is_told_each_time() -> None:
    kept: list[torch.Tensor] = []

    class Keeps(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept[:] = [self.first(x)]
            return kept[0]

    for _ in range(2):
        (note,) = profile(Keeps(), X).notes
        assert "(1 of aten::linear)" in note
    kept.clear()


def test_profiles_made_in_two_threads_at_once() -> None:
    nets = [Net() for _ in range(4)]
    for net, repeats in zip(nets, (1, 2, 3, 4), strict=True):
        net.repeats = repeats
    found: dict[int, set[int | None]] = {}

    def measure(net: Net) -> None:
        found[net.repeats] = {profile(net, X).macs for _ in range(10)}

    threads = [threading.Thread(target=measure, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {repeats: {64 + repeats * 128} for repeats in (1, 2, 3, 4)}


def test_nothing_of_a_model_is_kept() -> None:
    class Net2(Net):
        """With a class of its own."""

    net = Net2()
    kind, weights = weakref.ref(Net2), weakref.ref(net.first.weight)
    profile(net, X)
    profile(net, X)
    del net, Net2
    gc.collect()
    assert kind() is weights() is None


def test_only_the_latest_are_remembered() -> None:
    net = Net()
    for repeats in range(1, recall.memo.limit + 10):
        net.repeats = repeats
        assert profile(net, X).macs == 64 + repeats * 128
    assert len(recall.memo) <= recall.memo.limit
