"""Limits on training, memory and traffic. The arithmetic: Linear(4, 8) without bias on 2 rows, float32."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from pytest_modelbudget.reporting.schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

HEADER = """
import pytest
import torch
from torch import nn

@pytest.fixture
def model():
    return nn.Linear(4, 8, bias=False)

def batch():
    return torch.randn(2, 4)
"""

# Forward 2 x 4 x 8 = 64 MACs; backward the gradient of the weight, another 64. In memory: the weight 128 bytes, input
# 32, output 64. Moved: weight and input read, output written.
FITS = {
    "backward_flops": 128,
    "training_flops": 256,
    "memory": 128 + 32 + 64,
    "traffic": 128 + 32 + 64,
    "activations": 16,
}


@pytest.mark.parametrize("metric", FITS)
def test_a_limit_that_is_met_passes_and_one_less_fails(metric: str, pytester: pytest.Pytester) -> None:
    backward = ".sum().backward()" if metric in ("backward_flops", "training_flops") else ""
    no_grad = "" if backward else "@torch.no_grad()"
    for limit, outcome in ((FITS[metric], "passed"), (FITS[metric] - 1, "failed")):
        test = f"{no_grad}\ndef test_it(model):\n    model(batch()){backward}\n"
        pytester.makepyfile(f"{HEADER}\n@pytest.mark.max_{metric}({limit})\n{test}")
        pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(**{outcome: 1})


def test_without_a_backward_pass_in_the_test_one_is_run_abstractly(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""{HEADER}
@pytest.mark.max_training_flops(255)
def test_it(model):
    with torch.no_grad():
        model(batch())
    assert model.weight.grad is None
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.stdout.fnmatch_lines(
        ["max_training_flops: Linear 256 FLOPs > 255 FLOPs (+0.4 %) for 2x4", "*256 FLOPs, run abstractly on meta*"]
    )


def test_memory_is_a_figure_of_the_whole_model(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f'{HEADER}\n@pytest.mark.max_memory("1 MiB", module="layer")\ndef test_it(model): ...\n')
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.stdout.fnmatch_lines(['*module="layer": memory is a figure of the whole model; leave module out*'])


def test_what_a_failure_on_memory_says(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_m=f"{HEADER}\n@pytest.mark.max_memory(100)\n@torch.no_grad()\ndef test_it(model):\n    model(batch())\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.stdout.fnmatch_lines(
        [
            "max_memory: Linear 224 bytes > 100 bytes (+124.0 %) for 2x4",
            "  limit     100 bytes from @max_memory(100) at test_m.py:*",
            "  measured  224 bytes, observed on cpu",
            "  where     parameters  57.1 %   activations  28.6 %   inputs  14.3 %, at aten::mm",
        ]
    )


@pytest.mark.parametrize(
    ("metric", "passed"), [("memory", False), ("traffic", False), ("flops", True), ("activations", True)]
)
def test_what_autocast_changes_has_no_abstract_figure(metric: str, passed: bool, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""{HEADER}
@pytest.mark.max_{metric}("1G", device="meta")
def test_it(model):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(batch())
"""
    )
    result = pytester.runpytest_inprocess(
        "-p", "no:asyncio", "--modelbudget-report=json:r.json", "--modelbudget-report=html:r.html"
    )
    result.assert_outcomes(**{"passed" if passed else "failed": 1})
    if not passed:
        result.stdout.fnmatch_lines(
            [f"*max_{metric}: nothing was measured: the metric {metric} has no figure for it: called under autocast*"]
        )
        result.stdout.fnmatch_lines(['*measure them with device="cpu"*'])
    jsonschema.validate(json.loads((pytester.path / "r.json").read_text()), schema())


def test_a_frozen_model_has_no_backward_pass(pytester: pytest.Pytester) -> None:
    """A mark on it fails and says what to write; a limit for many tests lists it as not measured."""
    pytester.makepyfile(
        HEADER
        + """
@pytest.mark.max_training_flops("1k")
def test_marked(model):
    model.requires_grad_(False)(batch())

@pytest.mark.max_training_flops("1k")
class TestInherited:
    def test_frozen(self, model):
        model.requires_grad_(False)(batch())

    def test_trainable(self, model):
        model(batch())
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*there is no backward pass: * limit its forward pass alone, or*"])
    result.stdout.fnmatch_lines(["*TestInherited::test_frozen  Linear", "*training_flops  - / 1 KFLOPs *not measured*"])


def test_no_backward_pass_is_within_a_budget_of_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEADER
        + """
@pytest.mark.max_backward_flops(0)
def test_frozen(model):
    model.requires_grad_(False)(batch())

@pytest.mark.max_backward_flops(0, inputs=(1, 4))
def test_frozen_and_not_called(model):
    model.requires_grad_(False)

@pytest.mark.max_backward_flops(0)
def test_trainable(model):
    model(batch())
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*_ test_trainable _*", "max_backward_flops: * > 0 FLOPs*"])


CHAIN = """
class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(6))
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.encode(x)

    def encode(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.relu(x)

@pytest.fixture
def chain():
    return Chain()

x = torch.zeros(8, 16)
"""
# Forward 6 layers of 2 x 8 x 16 x 16 FLOPs; backward as much for each weight and for each input but the first.
BACKWARD = 11 * 4096


@pytest.mark.parametrize("off", [0, 1])
@pytest.mark.parametrize("how", ["chain(x)", "chain.encode(x)"])
def test_a_backward_pass_through_parts_that_were_called_with_gradients(
    how: str, off: int, pytester: pytest.Pytester
) -> None:
    test = f"@pytest.mark.max_backward_flops({BACKWARD - off})\ndef test_it(chain): {how}"
    pytester.makepyfile(HEADER + CHAIN + test)
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(**{"failed" if off else "passed": 1})


def test_without_gradients_nobody_knows_what_goes_back_between_parts(pytester: pytest.Pytester) -> None:
    """They would be repeated one by one, each as if it were the first, and count 6 of 11."""
    pytester.makepyfile(
        HEADER
        + CHAIN
        + f"""
@pytest.mark.max_backward_flops({BACKWARD})
@torch.no_grad()
def test_method(chain): chain.encode(x)

@pytest.mark.max_backward_flops({BACKWARD})
@torch.no_grad()
def test_parts(chain): chain.layers[1](chain.layers[0](x))

@pytest.mark.max_backward_flops(4096)
@torch.no_grad()
def test_one_part(chain): chain.layers[0](x)
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=2, passed=1)
    said = "*parts of Chain were called without gradients, *: call the model itself, or run the backward pass in the*"
    result.stdout.fnmatch_lines([said, said])


def test_where_an_abstract_step_cannot_be_made_the_advice_is_to_make_it(pytester: pytest.Pytester) -> None:
    """What is kept of an earlier call requires grad, on another device; the model cannot be copied for it, either."""
    pytester.makepyfile(
        HEADER
        + """
class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.history = []
    def forward(self, x):
        x = self.linear(x)
        if self.history: x = x + self.history[-1]
        self.history.append(x)
        return x

@pytest.fixture
def keeps():
    model = Keeps()
    model(torch.zeros(2, 8))
    return model

@pytest.mark.max_training_flops("1M")
def test_meta(keeps): keeps(torch.zeros(2, 8))

@pytest.mark.max_training_flops("1M", device="cpu")
def test_cpu(keeps): keeps(torch.zeros(2, 8))

@pytest.mark.max_training_flops("1M")
def test_step():
    keeps = Keeps()
    keeps(torch.zeros(2, 8))
    keeps(torch.zeros(2, 8)).sum().backward()
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "max_training_flops: Keeps cannot be run on meta (*): run the backward pass in the test, or another *",
            "max_training_flops: *Keeps cannot be copied *; or run the backward pass in the test",
        ]
    )


def test_the_backward_pass_of_what_methods_do_themselves_counts(pytester: pytest.Pytester) -> None:
    """In a call 2 x 4 x 64 x 640 FLOPs three times: of `l` weight and input, and of `w`."""
    pytester.makepyfile(
        HEADER
        + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(64, 640))
        self.l = nn.Linear(640, 64, bias=False)
    def forward(self, x): return self.l(x @ self.w)
    def score(self, x): return self.l(x @ self.w)
    def embed(self, x): return x @ self.w

@pytest.fixture
def net(): return Net()

x = torch.zeros(4, 64)
once = 327_680

@pytest.mark.max_backward_flops(3 * once)
def test_call(net): net(x).sum().backward()

@pytest.mark.max_backward_flops(3 * once)
def test_method(net): net.score(x).sum().backward()

@pytest.mark.max_backward_flops(3 * once - 1)
def test_method_by_one(net): net.score(x).sum().backward()

@pytest.mark.max_training_flops(5 * once, per="test")
def test_training(net): net.score(x).sum().backward()

@pytest.mark.max_backward_flops(once)
def test_embed(net): net.embed(x).sum().backward()

@pytest.mark.max_backward_flops(once - 1)
def test_embed_by_one(net): net.embed(x).sum().backward()
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=2, passed=4)
    result.stdout.fnmatch_lines(["*backward_flops *983.04 KFLOPs / 983.039 KFLOPs*"])


def test_a_backward_pass_into_what_a_fixture_computed_has_no_figure(pytester: pytest.Pytester) -> None:
    """`net` takes 2 x 3 x 4 x 5 FLOPs a call, and as many for the gradient of its weight."""
    pytester.makepyfile(
        HEADER
        + """
@pytest.fixture
def net(): return nn.Linear(4, 5, bias=False)
@pytest.fixture
def other(): return nn.Linear(5, 5, bias=False)
@pytest.fixture
def rollout(net): return net(torch.zeros(300, 4)).sum()
@pytest.fixture
def elsewhere(other): return other(torch.zeros(300, 5)).sum()

x = torch.zeros(3, 4)

@pytest.mark.max_backward_flops(120)
def test_into_it(net, rollout): (net(x).sum() + rollout).backward()

@pytest.mark.max_backward_flops(120)
def test_detached(net, rollout): (net(x).sum() + rollout.detach()).backward()

@pytest.mark.max_backward_flops(120, model="net")
def test_of_another_model(net, elsewhere): (net(x).sum() + elsewhere).backward()

@pytest.mark.max_flops(120)
def test_forward(net, rollout): (net(x).sum() + rollout).backward()
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(
        ["max_backward_flops: *the backward pass went on into what Linear had computed before, in a fixture *"]
    )


def test_the_memory_of_a_part_is_that_of_the_model_around_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HEADER
        + """
@pytest.fixture
def inner(): return nn.Linear(4, 5)
@pytest.fixture
def outer(inner): return nn.Sequential(inner)

@pytest.mark.max_memory("1 MB", model="inner")
def test_it(inner, outer): outer(torch.zeros(3, 4))
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["max_memory: nothing was measured: it ran inside another model, and memory is that of what is called: name *"]
    )
