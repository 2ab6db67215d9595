"""What an observed test leaves as it was: the model, torch, and what is garbage."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.modules import module as global_hooks

if TYPE_CHECKING:
    from tests.suite import Suite

BODIES = {
    "passed": ("net(batch()).sum().backward()", pytest.ExitCode.OK),
    "exceeded": ("net(batch(100)).sum().backward()", pytest.ExitCode.TESTS_FAILED),
    "failed": ("net(batch()); assert False", pytest.ExitCode.TESTS_FAILED),
    "raised in forward": ("net(torch.ones(2, 5))", pytest.ExitCode.TESTS_FAILED),
    "skipped": ("net(batch()); pytest.skip('enough')", pytest.ExitCode.OK),
    "interrupted": ("net(batch()); raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
    "interrupted in forward": (
        "net.register_forward_pre_hook(interrupt); net(batch())",
        pytest.ExitCode.INTERRUPTED,
    ),
    "exited": ("net(batch()); pytest.exit('enough', returncode=3)", 3),
    "repeated elsewhere": ("net(batch())", pytest.ExitCode.OK),
    "run by the plugin": ("pass", pytest.ExitCode.OK),
}

SOURCE = """
import sys

def interrupt(*_): raise KeyboardInterrupt

@pytest.fixture
def net():
    net = sys.modules["state_of_test"].net
    yield net

@pytest.mark.max_macs(1000, device={device!r}, inputs=(2, 4))
@pytest.mark.max_params("1k")
def test_it(net):
    {body}
"""


class Noisy(torch.nn.Module):
    """With everything that a careless observer changes: dropout, frozen and training parts, buffers, own attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(4, 8)
        self.norm = torch.nn.BatchNorm1d(8).eval()
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 2)
        self.cache: dict[str, int] = {}
        self.head.weight.requires_grad_(False)
        self.head.register_forward_hook(lambda *_: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.norm(self.encoder(x))))


def snapshot(model: torch.nn.Module) -> dict[str, Any]:
    return {
        "keys": {name: sorted(part.__dict__) for name, part in model.named_modules()},
        "hooks": {
            name: [len(hooks) for key, hooks in part.__dict__.items() if key.endswith("_hooks")]
            for name, part in model.named_modules()
            if name
        },
        "training": {name: part.training for name, part in model.named_modules()},
        "state": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        "identities": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "cache": dict(model.cache),
    }


def of_torch() -> dict[str, Any]:
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "hooks": [
            len(value)
            for name, value in vars(global_hooks).items()
            if name.startswith("_global") and value is not None and hasattr(value, "__len__")
        ],
        "call": torch.nn.Module.__call__,
        "dir": {name: id(value) for name, value in vars(torch).items() if not name.startswith("_")},
        "tensor": {name: id(value) for name, value in vars(torch.Tensor).items()},
        "functional": {name: id(value) for name, value in vars(torch.nn.functional).items()},
    }


class State:
    """What the tests of a suite share with those here."""

    def __init__(self) -> None:
        self.net = Noisy()
        self.kept: list[weakref.ref[object]] = []

    def keep(self, thing: object) -> None:
        self.kept.append(weakref.ref(thing))


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    """Imported by a suite as `state_of_test`."""
    made = State()
    monkeypatch.setitem(sys.modules, "state_of_test", made)
    return made


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("plugin", [(), ("--modelbudget",)], ids=["marked", "all observed"])
def test_nothing_is_left_behind(suite: Suite, state: State, body: str, plugin: tuple[str, ...]):
    """Everything is as the same body leaves it without the plugin, torch's random numbers included."""
    device = "meta" if body == "repeated elsewhere" else "auto"
    statements, code = BODIES[body]
    source = SOURCE.format(body=statements, device=device)
    left = []
    for args in (("--no-modelbudget",), plugin):
        torch.manual_seed(0)
        random.seed(0)
        state.net = Noisy()
        before = of_torch()
        identities = snapshot(state.net)["identities"]
        torch.manual_seed(1)
        run = suite(source, *args)
        after = of_torch()
        for name, value in before.items():
            assert after[name] == value, name
        assert snapshot(state.net)["identities"] == identities
        left.append(
            {
                **{key: value for key, value in snapshot(state.net).items() if key != "identities"},
                "random": torch.rand(4).tolist(),
                "python": random.random(),
                "gradients": [None if p.grad is None else p.grad.tolist() for p in state.net.parameters()],
            }
        )
    assert run.result.ret == code
    assert left[0] == left[1]


GARBAGE = """
import gc, weakref, sys

@pytest.mark.modelbudget(params="1k", macs="1k"{keywords})
def test_inside():
    net, x = Net(), batch()
    out = net(x)
    out.sum().backward()
    net.forward_features(x)
    references = [weakref.ref(thing) for thing in (net, net.encoder.weight, x, out)]
    del net, x, out
    assert [reference() for reference in references] == [None] * 4
"""


@pytest.mark.parametrize("args", [("--no-modelbudget",), (), ("--modelbudget",)], ids=str)
def test_what_a_test_drops_is_gone_at_once(suite: Suite, args: tuple[str, ...]):
    gc.disable()  # reference counting alone, as without the plugin
    try:
        run = suite(GARBAGE.format(keywords=""), *args)
    finally:
        gc.enable()
    assert run.outcomes == {"test_inside": "passed"}


def test_what_a_test_used_is_gone_after_it(suite: Suite, state: State):
    run = suite(
        """
from state_of_test import keep

@pytest.fixture
def net(): return Net()

@pytest.mark.modelbudget(params="1k", macs="1k")
def test_within(net):
    x = batch()
    keep(net)
    keep(x)
    net(x)

@pytest.mark.max_macs("1k", device="meta")
def test_repeated(net):
    x = batch()
    keep(net)
    keep(x)
    net(x)

def test_later():
    import gc
    import state_of_test
    gc.collect()
    assert [reference() for reference in state_of_test.kept] == [None] * 4
"""
    )
    assert run.outcomes == {"test_within": "passed", "test_repeated": "passed", "test_later": "passed"}


SPIES = """
from torch.overrides import TorchFunctionMode

class Spy(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []
    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))

def spy(**keywords):
    return pytest.mark.modelbudget(**keywords) if keywords else lambda test: test

@spy({keywords})
def test_it():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    with Spy() as seen:
        model(x)
    assert seen.names == ["linear", "relu", "linear"]

@spy({keywords})
def test_default_device():
    with torch.device("meta"):
        model = nn.Linear(4, 8)
        assert model(torch.randn(3, 4)).is_meta
        assert torch.empty(1).is_meta
    assert torch.empty(1).is_cpu
"""


@pytest.mark.parametrize("args", [(), ("--modelbudget",), ("-n2", "--modelbudget")], ids=str)
@pytest.mark.parametrize("keywords", ["", "params=100", "flops='1k', memory='1k'", "macs='1k', device='meta'"])
def test_a_function_mode_of_a_test_sees_what_the_test_does_and_no_more(suite: Suite, args: tuple[str, ...], keywords):
    run = suite(SPIES.replace("{keywords}", keywords), *args)
    assert run.outcomes == {"test_it": "passed", "test_default_device": "passed"}
