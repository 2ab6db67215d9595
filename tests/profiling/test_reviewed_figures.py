"""What users measured wrong, each in the smallest form, by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

from pytest_modelbudget import profile
from pytest_modelbudget.profiling.abstract import DataDependentError
from pytest_modelbudget.profiling.copies import UncopyableModelError

if TYPE_CHECKING:
    from tests.suite import Suite

X = torch.ones(2, 4)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_a_complex_convolution_is_three_real_ones(device, mode):
    model, x = nn.Conv2d(2, 3, 3, dtype=torch.complex64), torch.ones(1, 2, 8, 8, dtype=torch.complex64)
    with mode():
        found = profile(model, x, device=device)
    # 6 x 6 positions, 3 x 2 channels, 9 weights; each of the three makes 3 channels at each position.
    assert (found.macs, found.activations) == (3 * 36 * 6 * 9, 3 * 36 * 3)


def deep() -> nn.Sequential:
    return nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(100, 100, bias=False), nn.GELU())))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_autograd_saves_is_alive_in_a_training_step(device):
    x = torch.ones(1000, 100)
    with torch.no_grad():
        # Ten weights of 40,000 bytes, the input, and of a layer what goes in and what comes out.
        assert profile(deep(), x, device=device).memory == 10 * 40_000 + 3 * 400_000
    # The weights, the input, twenty outputs; at the last weight its gradient, that of the output, the loss and its own.
    trained = profile(deep(), x, device=device, backward=True).memory
    assert trained == 10 * 40_000 + 22 * 400_000 + 40_000 + 8


def test_the_memory_of_a_training_step_is_that_of_one_also_where_it_is_run_again(suite: Suite):
    run = suite(
        """
def step():
    net = nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(100, 100, bias=False), nn.GELU())))
    output = net(torch.ones(1000, 100))
    output.sum().backward()
@pytest.mark.max_memory("1 GB")
def test_observed(): step()
@pytest.mark.max_memory("1 GB", device="meta")
def test_again(): step()
"""
    )
    assert run.measured("test_observed") == run.measured("test_again")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_a_backward_pass_there_are_no_figures_of_one(device):
    found = profile(nn.Linear(4, 8), X, device=device)
    assert (found.backward_flops, found.training_flops, found.modules[""].backward_flops) == (None, None, None)
    assert found.flops == 128
    trained = profile(nn.Linear(4, 8), X, device=device, backward=True)
    assert (trained.backward_flops, trained.training_flops) == (128, 256)


def test_without_anything_to_differentiate_there_is_no_backward_pass():
    with pytest.raises(ValueError, match="there is no backward pass: no output requires grad"):
        profile(nn.Linear(4, 8).requires_grad_(False), X, backward=True)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_frozen_script_has_no_mode(device):
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(4, 8)).eval()))
    assert profile(frozen, X, device=device).macs == 64


class Flexible(nn.Module):
    def forward(self, query):
        return flex_attention(query, query, query)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flexible_attention_needs_a_device_that_has_it():
    query = torch.ones(1, 2, 8, 16)
    with pytest.raises(DataDependentError, match=r'does not run without data \(FlexAttention.*device="cpu"'):
        profile(Flexible(), query)
    with torch.no_grad():
        assert profile(Flexible(), query, device="cpu").macs == 2 * 8 * 8 * (16 + 16)


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(4, 8)
        self.lock = threading.Lock()


def test_what_cannot_be_copied_is_measured_on_meta():
    assert profile(Locked(), X).macs == 64
    for latency in (False, True):
        with pytest.raises(UncopyableModelError, match=r"Locked cannot be copied .*lock.*: give it a __deepcopy__"):
            profile(Locked(), X, device="cpu", latency=latency)


def test_weights_on_meta_cannot_be_run_elsewhere():
    with pytest.raises(UncopyableModelError, match="the weights of Linear are on meta, so cpu cannot run it"):
        profile(nn.Linear(4, 8, device="meta"), X, device="cpu")


def test_no_device_is_none():
    with pytest.raises(ValueError, match="None is no device: write auto, meta"):
        profile(nn.Linear(4, 8), X, device=None)


def test_a_call_of_nothing_that_counts_is_said_to_be_one(suite: Suite):
    run = suite(
        """
@pytest.mark.max_params(0)
def test_it(): nn.Sequential(nn.ReLU())(batch())
@pytest.mark.max_params(0, model="relu")
def test_named(relu): relu(batch())
@pytest.fixture
def relu(): return nn.ReLU()
"""
    )
    assert run.headline("test_it") == (
        "max_params: nothing was measured: what the test calls (Sequential) has neither parameters nor contractions, "
        'as a loss has: if it is the model, say so with model="..." (a fixture, a parameter or an attribute)'
    )
    assert run.outcomes["test_named"] == "passed"
