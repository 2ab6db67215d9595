"""Profiles leave nothing behind, however many there are and however they end: no tensor, module, hook or mode."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 10


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.LSTM(8, 8))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, *, fails: bool = False) -> Tensor:
        x = self.layers(x)[0]
        self.seen = [x.detach()]
        if fails:
            raise ArithmeticError
        return x


X = torch.ones(3, 2, 4)


def observed(**kwargs: Any) -> None:
    model, observation = Net(), Observation()
    with observation.under(sys._getframe()):
        model(X, **kwargs).sum().backward()
    observation.profiles(observation.look_at(model), 2)


def raising(run: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    with pytest.raises(ArithmeticError):
        run(*args, **kwargs)


RUNS: dict[str, Callable[[], object]] = {
    "observed": observed,
    "observed, raising": lambda: raising(observed, fails=True),
    "meta": lambda: profile(Net(), X),
    "meta, backward": lambda: profile(Net(), X, backward=True),
    "meta, raising": lambda: raising(profile, Net(), X, {"fails": True}),
    "cpu": lambda: profile(Net(), X, device="cpu"),
    "cpu, backward": lambda: profile(Net(), X, device="cpu", backward=True),
    "cpu, raising": lambda: raising(profile, Net(), X, {"fails": True}, device="cpu"),
}


def kept() -> dict[str, int]:
    """What could be left over, counted."""
    gc.collect()
    objects = gc.get_objects()
    hooks = (table for name, table in vars(nn.modules.module).items() if name.startswith("_global_"))
    return {
        "tensors": sum(issubclass(type(found), Tensor) for found in objects),
        "modules": sum(issubclass(type(found), nn.Module) for found in objects),
        "hooks": sum(len(table) for table in hooks if isinstance(table, dict)),
        "modes": len(_get_current_dispatch_mode_stack()),
        "objects": len(objects),
    }


@pytest.mark.filterwarnings("ignore:RNN module weights are not part")
@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_left_behind(name: str) -> None:
    for _ in range(5):  # caches fill
        RUNS[name]()
    before = kept()
    for _ in range(ROUNDS):
        RUNS[name]()
    after = kept()
    assert after.pop("objects") - before.pop("objects") < ROUNDS  # less than one for each
    assert after == before
