"""What a model holds: each parameter once, each byte once."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

from pytest_modelbudget.profiling.parameters import State, UninitializedModelError, state_of


def state(model: nn.Module) -> State:
    return state_of(model)[""]


def test_parameters_are_counted_by_elements_and_stored_by_dtype() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2).to(torch.bfloat16))
    assert state(model) == State(params=40 + 18, trainable_params=58, size=4 * 40 + 2 * 18)
    assert state_of(model)["1"] == State(params=18, trainable_params=18, size=36)


def test_buffers_are_stored_but_are_no_parameters() -> None:
    # Weight and bias; running mean and variance, and a counter of eight bytes.
    assert state(nn.BatchNorm1d(10)) == State(params=20, trainable_params=20, size=4 * 20 + 4 * 20 + 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_layers_are_each_stored() -> None:
    layers = nn.Sequential(*(nn.Linear(100, 100) for _ in range(10)))
    quantized = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})
    # One byte a weight, four a bias.
    assert (state(quantized).params, state(quantized).size) == (10 * 10_100, 10 * (10_000 + 400))


def test_tied_parameters_count_once() -> None:
    model = nn.Module()
    model.embedding, model.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    model.head.weight = model.embedding.weight
    assert state(model) == State(params=40, trainable_params=40, size=160)
    assert state_of(model)["head"].params == 40


def test_a_module_under_two_names_counts_once() -> None:
    linear = nn.Linear(4, 4)
    assert state(nn.Sequential(linear, nn.ReLU(), linear)).params == 20


def test_frozen_parameters_are_not_trainable() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    assert state(model).trainable_params == 18


def test_a_parameter_of_the_model_itself_counts() -> None:
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3))
    assert state(model).params == 3


def test_a_parametrization_counts_what_is_stored() -> None:
    # weight = g v / |v| stores v (8 x 4) and g (8 x 1)
    assert state(parametrizations.weight_norm(nn.Linear(4, 8))).params == 8 * 4 + 8 + 8


def test_views_of_one_storage_count_what_they_show_of_it() -> None:
    flat = torch.zeros(100)
    model = nn.Module()
    model.left, model.right = nn.Parameter(flat[:30]), nn.Parameter(flat[30:60])
    assert state(model) == State(params=60, trainable_params=60, size=240)


def test_an_expanded_buffer_counts_what_it_stores() -> None:
    model = nn.Module()
    model.register_buffer("mask", torch.zeros(1, 10).expand(50, 10))
    assert state(model).size == 40


def test_a_model_on_meta_has_the_size_it_would_have() -> None:
    with torch.device("meta"):
        model = nn.Linear(1000, 1000)
    assert state(model) == State(1_001_000, 1_001_000, 4_004_000)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("model", "kind", "parameters", "size"),
    [
        # int8 weights, float32 biases
        pytest.param(nn.Linear(4, 8), nn.Linear, 32 + 8, 32 + 4 * 8, id="linear"),
        # weights 4 x (8 x 4) and 4 x (8 x 8), biases of input and hidden state 32 each
        pytest.param(nn.LSTM(4, 8), nn.LSTM, 128 + 256 + 64, 384 + 4 * 64, id="lstm"),
    ],
)
def test_the_packed_weights_of_quantized_layers_are_their_parameters(
    model: nn.Module, kind: type, parameters: int, size: int
) -> None:
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(model), {kind})
    assert list(quantized.parameters()) == []
    assert state(quantized) == State(parameters, 0, size)


def test_a_subclass_is_stored_in_the_tensors_that_it_wraps() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    model = nn.Module()
    model.weight = nn.Parameter(TwoTensor(torch.zeros(4, 4), torch.zeros(4, 4)))
    assert state(model) == State(16, 16, 2 * 64)


def test_a_sparse_buffer_is_stored_in_its_indices_and_values() -> None:
    model = nn.Module()
    model.register_buffer("adjacency", torch.eye(5).to_sparse())
    assert state(model).size == 2 * 5 * 8 + 5 * 4


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("model", [nn.LazyLinear(4), nn.Sequential(nn.LazyBatchNorm1d())], ids=["linear", "norm"])
def test_a_lazy_module_before_its_first_call_is_an_error_that_says_so(model: Any) -> None:
    with pytest.raises(UninitializedModelError, match="has no shape yet: call the model once"):
        state_of(model)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_module_after_its_first_call_is_like_any_other() -> None:
    model = nn.LazyLinear(4)
    model(torch.zeros(2, 3))
    assert state(model).params == 3 * 4 + 4


@pytest.mark.parametrize("transform", [False, True])
def test_a_model_whose_parameters_are_swapped_for_a_call_trains_its_own(watch: Any, transform: bool) -> None:
    """`functional_call` puts others in for the call, detached or wrapped ones, which do not require grad."""

    def run() -> None:
        model = nn.Linear(16, 16)
        models.append(weakref.ref(model))
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        if transform:
            stacked = {name: torch.stack([parameter] * 2) for name, parameter in parameters.items()}
            call = torch.vmap(partial(functional_call, model), (0, None))
            call(stacked, torch.zeros(2, 16))
        else:
            functional_call(model, parameters, (torch.zeros(2, 16),))

    models: list[weakref.ref[nn.Module]] = []
    watch(run)
    (number,) = {call.module for call in watch.observation.tracker.calls}
    states = [profile.trainable_params for profile, _ in watch.observation.states(number, 2)]
    assert max(states) == 16 * 16 + 16
    assert models[0]() is None  # looked at when all was over, and dropped
