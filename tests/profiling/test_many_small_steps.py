"""A test that takes thousands of small steps takes time for each of them, and no more for the later ones."""

from __future__ import annotations

import functools
import sys
import unittest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pytest_modelbudget.profiling.calls import CallTree
from pytest_modelbudget.profiling.frames import innermost_method
from pytest_modelbudget.profiling.memory import Account

if TYPE_CHECKING:
    from types import FrameType

    import pytest

STEPS = 40


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10))

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.weight

    def ask(self) -> Any:
        return ask()


def ask() -> tuple[FrameType, nn.Module] | None:
    return innermost_method(sys._getframe(), None)


def test_what_is_done_after_a_backward_pass_sums_nothing_up(watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = []
    monkeypatch.setattr(Account, "_made_at", lambda self, _: sums.append(self) or {})
    model, kept = Scale(), []

    def run() -> None:
        for _ in range(STEPS):
            loss = model.scaled(torch.ones(10)).sum()
            loss.backward()
            kept.append(loss * 2)

    watch(run)
    assert not sums
    assert watch.profile(model)
    assert len(sums) <= 2


def test_who_called_what_is_looked_up_once_for_all_models(watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    walks = []
    walk = CallTree.walk
    monkeypatch.setattr(CallTree, "walk", lambda self: walks.append(self) or walk(self))
    models = [nn.Linear(2, 2) for _ in range(STEPS)]
    watch(lambda: [model(torch.ones(1, 2)) for model in models])
    assert [watch.profile(model).macs for model in models] == [4] * STEPS
    # Equal models are different ones: each has a tree of its own.
    assert len(walks) == STEPS


def test_methods_are_found_below_whatever_calls_tests() -> None:
    model = Scale()

    class Case(unittest.TestCase):
        def runTest(self) -> None:
            self.found = [model.ask(), functools.partial(model.ask)(), ask()]

    case = Case()
    assert case.run().wasSuccessful()
    assert [found and found[1] for found in case.found] == [model, model, None]
