"""A model, its tensors and its process are the same before and after an abstract run, however that ended."""

from __future__ import annotations

import gc
import random
import warnings
from collections import deque
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from pytest_modelbudget.profiling.parameters import UninitializedModelError
from pytest_modelbudget.profiling.run import profile
from tests.profiling.snapshot import snapshot

_X = torch.zeros(2, 8)


class _Interrupted(BaseException):
    """As KeyboardInterrupt, or what a timeout raises."""


class _Stubborn(nn.Module):
    """Base of models that change themselves in forward; `ending` says how it ends."""

    ending: type[BaseException] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(8))
        self.cache: dict[str, Any] = {}
        self.nested = {"keys": [torch.zeros(1)], "seen": {1}}
        self.history: list[Any] = [1]
        self.recent: deque[int] = deque([1], maxlen=3)
        self.plain = torch.ones(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.change(self.linear(x))
        if self.ending is not None:
            raise self.ending
        return y

    def change(self, y: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class ReplacesData(_Stubborn):
    def change(self, y):
        self.linear.weight.data = self.linear.weight.data / self.linear.weight.norm()
        return self.linear(y)


class WritesParameters(_Stubborn):
    def change(self, y):
        with torch.no_grad():
            self.linear.weight.mul_(0.5)
            self.linear.bias.zero_()
        return y


class ReplacesParameters(_Stubborn):
    def change(self, y):
        self.linear.weight = nn.Parameter(self.linear.weight * 2)
        self.extra = nn.Linear(8, 8)
        return y


class UpdatesBuffers(_Stubborn):
    def change(self, y):
        self.count += 1
        self.mean.lerp_(y.mean(0), 0.1)
        self.register_buffer("late", y)
        return y


class ResizesBuffers(_Stubborn):
    def change(self, y):
        self.count.resize_(2)
        self.mean.set_(torch.zeros(3))
        return y


class WritesThroughNumpy(_Stubborn):
    def change(self, y):
        self.count.numpy()[...] = 7
        return y


class FillsContainers(_Stubborn):
    def change(self, y):
        self.cache["rotary"] = y
        self.nested["keys"].append(y)
        self.nested["seen"].add(2)
        self.history += [y]
        self.recent.append(2)
        return y


class SetsAttributes(_Stubborn):
    def change(self, y):
        self.last = y
        self.ending_of_my_own = True
        del self.history
        self.training = False
        return y


class WritesPlainTensors(_Stubborn):
    def change(self, y):
        self.plain.add_(1)
        self.plain[0] = 5
        return y * self.plain


class WritesAbstractDataIntoPlainTensors(_Stubborn):
    def change(self, y):
        self.plain.copy_(y[0])
        return y * self.plain


class ReshapesPlainTensors(_Stubborn):
    def change(self, y):
        self.plain.unsqueeze_(0)
        return y * self.plain


class DrawsRandomNumbers(_Stubborn):
    def change(self, y):
        y = y + torch.rand(8) + random.random() + numpy.random.rand()
        return nn.functional.dropout(y, 0.5, training=True) + torch.randn_like(y)


class ChangesDefaults(_Stubborn):
    def change(self, y):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(not torch.is_grad_enabled())
        return y


class AddsHooks(_Stubborn):
    def change(self, y):
        self.linear.register_forward_hook(lambda *_: None)
        self.register_forward_pre_hook(lambda *_: None)
        return y


class ChangesItsClass(_Stubborn):
    def change(self, y):
        self.linear.__class__ = _OtherLinear
        return y


class _OtherLinear(nn.Linear):
    pass


STUBBORN = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, _Stubborn) and kind is not _Stubborn
]


@pytest.mark.parametrize("ending", [None, ValueError, _Interrupted, KeyboardInterrupt])
@pytest.mark.parametrize("kind", STUBBORN)
def test_whatever_forward_does_the_model_is_as_before(kind, ending):
    model = kind()
    model.linear.eval()
    before = snapshot(model)
    model.ending = ending
    if ending is None:
        profile(model, _X)
    else:
        with pytest.raises(ending):
            profile(model, _X)
    del model.ending
    assert snapshot(model) == before


def _rnn(kind):
    return lambda: kind(8, 8, num_layers=2)


def _tied():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    return model


def _frozen_batch_norm():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8)).train()
    model[2].eval()
    return model


MODELS = {
    "batch norm in train mode, one frozen": _frozen_batch_norm,
    "tied": _tied,
    "lstm": _rnn(nn.LSTM),
    "gru": _rnn(nn.GRU),
    "spectral norm": lambda: spectral_norm(nn.Linear(8, 8)),
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Linear(8, 8))),
    "parametrized": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "orthogonal": lambda: parametrizations.weight_norm(nn.Linear(8, 8)),
    "half": lambda: nn.Linear(8, 8).to(torch.bfloat16).to(torch.float32),
    "traced": lambda: torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), _X),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())),
    "fx": lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU())),
    "data parallel": lambda: nn.DataParallel(nn.Linear(8, 8)),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_as_before_and_gives_the_same_figures_twice(name, backward):
    model = MODELS[name]()
    with torch.no_grad():
        model(_X)
    before = snapshot(model)
    first = profile(model, _X, backward=backward)
    assert snapshot(model) == before
    assert profile(model, _X, backward=backward) == first
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_that_are_there_stay():
    model = nn.Linear(8, 8)
    model(_X).sum().backward()
    before = snapshot(model)
    profile(model, _X, backward=True)
    assert snapshot(model) == before


def test_a_parameter_in_a_list_or_closure_is_abstract_too():
    class Closure(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = [nn.Parameter(torch.ones(8, 8))]
            hidden = nn.Parameter(torch.ones(8, 8))
            self.reach = lambda: hidden

        def forward(self, x):
            hidden = self.reach()
            with torch.no_grad():
                hidden.mul_(2)
            return x @ self.kept[0] @ hidden

    model = Closure()
    assert profile(model, _X).macs == 2 * 2 * 8 * 8
    assert model.reach()[0, 0] == 1
    assert model.reach().device.type == "cpu"
    assert model.reach()._version == 0


def test_inputs_are_not_written():
    class Cleans(nn.Module):
        def forward(self, ids, x):
            ids[ids < 0] = 0
            x.mul_(2)
            return x[:, ids]

    ids, x = torch.tensor([-1, 2]), torch.ones(2, 8)
    profile(Cleans(), (ids, x))
    assert ids.tolist() == [-1, 2]
    assert x.sum() == 16


def test_a_generator_that_is_passed_is_put_back():
    generator = torch.Generator().manual_seed(3)

    class Draws(nn.Module):
        def forward(self, x):
            noise = torch.rand(8, generator=generator)
            return torch.empty_like(x).bernoulli_(0.5, generator=generator) * noise * x

    before = generator.get_state()
    profile(Draws(), _X)
    assert torch.equal(generator.get_state(), before)


def test_random_decisions_are_the_same_each_time():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(16))

        def forward(self, x):
            for layer in self.layers:
                if torch.rand(()) < 0.5 and random.random() < 0.9 and numpy.random.rand() < 0.9:
                    x = layer(x)
            return x

    model = Skips()
    assert len({profile(model, _X).macs for _ in range(4)}) == 1


def test_a_module_in_a_plain_list_is_protected():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.BatchNorm1d(8)]

        def forward(self, x):
            return self.layers[0](x)

    model = Hidden()
    before = snapshot(model.layers[0])
    profile(model, _X)
    assert snapshot(model.layers[0]) == before


def test_a_lazy_module_is_refused_before_it_is_touched():
    model = nn.Sequential(nn.LazyLinear(4))
    before = snapshot_of_lazy(model)
    with pytest.raises(UninitializedModelError, match="call the model once"):
        profile(model, _X)
    assert snapshot_of_lazy(model) == before


def snapshot_of_lazy(model):
    layer = model[0]
    return type(layer), id(layer.weight), len(layer._forward_pre_hooks), len(layer._load_state_dict_pre_hooks)


def test_a_model_on_meta_stays_there_and_is_not_replaced():
    with torch.device("meta"):
        model = ReplacesData()
    before = snapshot(model)
    profile(model, torch.empty(2, 8, device="meta"))
    assert snapshot(model) == before


def test_warnings_and_garbage_collection_are_as_before():
    filters = list(warnings.filters)
    profile(nn.Linear(8, 8), _X)
    assert gc.isenabled()
    assert list(warnings.filters) == filters


def test_no_tensor_of_the_run_is_left_over():
    model = nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 8))
    profile(model, _X, backward=True)
    gc.collect()
    before = _meta_tensors()
    profile(model, _X, backward=True)
    gc.collect()
    assert _meta_tensors() == before


def _meta_tensors():
    return sum(issubclass(type(found), torch.Tensor) and found.is_meta for found in gc.get_objects())


def test_what_somebody_outside_kept_is_said():
    kept = []

    class Leaks(nn.Module):
        def forward(self, x):
            kept.append(torch.relu(x))
            return x

    notes = profile(Leaks(), _X).notes
    assert len(notes) == 1
    assert "aten::relu" in notes[0]
    assert profile(nn.Linear(8, 8), _X).notes == ()


def test_what_a_model_holds_deep_down_is_as_before():
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.store: list[Any] = [0]
            self.outermost = self.store
            for _ in range(2000):  # deeper than Python recurses
                self.outermost = [{"inner": self.outermost}]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            self.store.append(y)
            return y

    model = Deep()
    assert profile(model, _X).notes == ()
    assert model.store == [0]
