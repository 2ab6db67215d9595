"""Budgets of models that do what no textbook does: each passes where it should, or fails with what to do about it.

Net: 58 parameters, 48 MACs a sample; a batch has two. Tiny: 16 MACs a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from tests.suite import Suite

MODELS = """
import dataclasses
import threading


class Threads(Net):
    def forward(self, x):
        threads = [threading.Thread(target=self.head, args=(torch.ones(1, 8),)) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        return self.encoder(x)

class Late(Net):
    def forward(self, x):
        super().forward(x)
        raise ArithmeticError("late")

class Lazily(Net):
    def forward(self, x):
        yield super().forward(x)
        yield super().forward(x)

class Words(Net):
    def forward(self, words):
        return super().forward(torch.tensor([[float(len(word))] * 4 for word in words]))

class Attributes(Net):
    def __getattr__(self, name):
        try: return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"): raise
            return lambda *args, **kwargs: None

class Falsy(Net):
    def __len__(self): return 0

class Noisy(Net):
    def forward(self, x):
        for _ in range(100): print("x" * 100)
        return super().forward(x) / 0

class Anything(Net):
    def forward(self, *args, **kwargs):
        for value in args:
            if isinstance(value, torch.Tensor): return super().forward(value)

@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    name: str = "first"

class FromDataclass(Net):
    def forward(self, batch): return super().forward(batch.x)

class Callable:
    def __call__(self, x): return x @ torch.ones(4, 8)

class Holds:
    def __init__(self): self.net = Net()
    def __call__(self, x): return self.net(x)
"""


@pytest.mark.parametrize("device", ["auto", "meta"])
@pytest.mark.parametrize(
    ("model", "call", "macs"),
    [
        ("Words", "net(['two', 'words'])", 96),
        ("Attributes", "net(batch())", 96),
        ("Falsy", "net(batch())", 96),
        ("Noisy", "net(batch())", 96),
        ("Anything", "net(None, 'text', 3, batch())", 96),
        ("FromDataclass", "net(Batch(batch()))", 96),
        ("Holds", "net(batch())", 96),  # no module, but it calls one
        ("Net", "torch.func.functional_call(net, dict(net.state_dict()), batch())", 96),
        ("Net", "[net(rows) for rows in (batch(), batch(1), batch(0))]", 96),
    ],
)
def test_a_budget_of_what_it_takes_holds_and_one_mac_less_does_not(
    suite: Suite, model: str, call: str, macs: int, device: str
):
    run = suite(
        f"""
{MODELS}
@pytest.fixture
def net(): return {model}()

@pytest.mark.max_macs({macs}, device="{device}")
def test_within(net): {call}

@pytest.mark.max_macs({macs - 1}, device="{device}")
def test_over(net): {call}
"""
    )
    assert run.outcomes == {"test_within": "passed", "test_over": "failed"}
    assert f" {macs} MACs > {macs - 1} MACs" in run.headline("test_over")


@pytest.mark.parametrize("device", ["auto", "cpu", "meta"])
def test_every_awkward_model_is_held_to_what_it_takes(suite: Suite, device: str):
    run = suite(
        """
from tests.profiling.test_awkward_models import MODELS, arguments

def cases(less):
    for kind, (inputs, _, macs) in MODELS.items():
        yield pytest.param(kind, inputs, id=kind.__name__, marks=pytest.mark.max_macs(macs - less))

def call(kind, inputs):
    args, kwargs = arguments(inputs)
    kind()(*args, **kwargs)

@pytest.mark.parametrize(("kind", "inputs"), [*cases(0)])
def test_within(kind, inputs): call(kind, inputs)

@pytest.mark.parametrize(("kind", "inputs"), [*cases(1)])
def test_over(kind, inputs): call(kind, inputs)
""",
        f"--modelbudget-device={device}",
    )
    assert len(run.outcomes) > 80
    for name, outcome in run.outcomes.items():
        assert outcome == ("passed" if name.startswith("test_within") else "failed"), run.failure(name)


@pytest.mark.parametrize(
    ("model", "call", "macs"),
    [
        ("Lazily", "list(net(batch()))", 192),
        ("Late", "[pytest.raises(ArithmeticError, net, batch()) for _ in range(3)]", 96),
    ],
)
def test_what_cannot_be_repeated_is_observed(suite: Suite, model: str, call: str, macs: int):
    run = suite(
        f"""
{MODELS}
@pytest.fixture
def net(): return {model}()

@pytest.mark.max_macs({macs})
def test_within(net): {call}

@pytest.mark.max_macs({macs - 1})
def test_over(net): {call}

@pytest.mark.max_macs({macs}, device="meta")
def test_elsewhere(net): {call}
"""
    )
    assert run.outcomes == {"test_within": "passed", "test_over": "failed", "test_elsewhere": "failed"}
    assert run.headline("test_over").startswith(f"max_macs: {model} {macs} MACs > {macs - 1} MACs")
    assert "on meta" in run.headline("test_elsewhere")


@pytest.mark.parametrize(
    ("model", "mark", "call", "complaint"),
    [
        (
            "Threads",
            "",
            "net(batch())",
            "Threads was called in another thread, where operators cannot be seen: call it in the thread of the test",
        ),
        (
            "Threads",
            ", inputs=(2, 4)",
            "pass",
            "Threads cannot be run on meta (UnseenWorkError: Threads calls modules in another thread, where operators "
            "cannot be seen: its figures would be too small): call it in the test, give it other inputs=, or another "
            'device=, for example "cpu"',
        ),
        (
            "Callable",
            "",
            "net(batch())",
            "nothing was measured: matrix products, convolutions or attention ran outside every nn.Module: "
            "put them in the forward of one",
        ),
        ("Callable", ', model="net"', "net(batch())", 'model="net" is no nn.Module but a Callable'),
        ("torch.Tensor.relu", ', model="net"', "pass", 'model="net" is no nn.Module but a method_descriptor'),
        ("", ', model="net"', "pass", 'model="net" is no nn.Module but None'),
        (
            "Net",
            "",
            "net(batch(0))",
            "nothing was measured: the batch was empty: call the model with at least one sample",
        ),
        ("Words", ", inputs=(2,)", "pass", "Words cannot be run on meta (TypeError: len() of a 0-d tensor at "),
    ],
)
def test_what_cannot_be_measured_fails_with_what_to_do(suite: Suite, model: str, mark: str, call: str, complaint: str):
    made = f"{model}()" if model and "." not in model else model
    run = suite(
        f"""
{MODELS}
@pytest.fixture
def net(): return {made or None}

@pytest.mark.max_macs("1T"{mark})
def test_it(net): {call}
"""
    )
    assert run.headline("test_it").startswith(f"max_macs: {complaint}")


def test_a_cost_function_that_raises_is_named_with_its_place_and_no_frames_of_ours(pytester: pytest.Pytester):
    pytester.makepyfile(
        test_it="""
        import pytest, torch
        from torch import nn
        from pytest_modelbudget import register_cost

        library = torch.library.Library("awkward_suites", "DEF")
        library.define("scan(Tensor x) -> Tensor")
        library.impl("scan", lambda x: x.cumsum(0), "CPU")

        @register_cost("awkward_suites::scan")
        def cost_of_scan(x):
            return x.shape[7]

        class Net(nn.Module):
            def forward(self, x):
                return torch.ops.awkward_suites.scan(x)

        @pytest.mark.max_flops("1k")
        def test_it():
            Net()(torch.ones(2, 4))
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * RuntimeError: the cost registered for awkward_suites::scan raised "
            "IndexError('tuple index out of range'): mend cost_of_scan() at *test_it.py:9"
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_modelbudget/profiling*")


HALF_BUILT = """
class Half(nn.Module):
    def __init__(self): pass  # forgets super().__init__()
    def weigh(self, x): return x @ x
    def ask(self, part): return part(torch.zeros(1, 2))

class Spoilt(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self._modules["name"] = "no module"
        self._parameters["number"] = 3

class Emptied(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.__dict__["_buffers"] = None

lazy = object.__new__(nn.Linear)

@pytest.fixture(params=[Half, Spoilt, Emptied])
def broken(request): return request.param()
@pytest.fixture
def net(): return nn.Linear(2, 2)

class TestAttribute:
    half = Half()
    def test_it(self): pass

@pytest.mark.parametrize("model", [lazy])
def test_parameter(model): assert model is lazy
def test_methods(): assert Half().weigh(torch.ones(2, 2)).sum() == 8
def test_parts(net): assert Half().ask(net).shape == (1, 2)
def test_calls(): assert Spoilt()(torch.zeros(1, 2)).shape == (1, 2)
def test_refused():
    with pytest.raises(AttributeError): Half()(torch.zeros(1, 2))
@pytest.mark.max_macs(4)
def test_beside(broken, net): net(torch.zeros(1, 2))
@pytest.mark.max_macs(4, model="broken")
def test_named(broken): pass
"""


@pytest.mark.parametrize("args", [(), ("--modelbudget",)])
def test_models_that_are_not_built_as_modules_are_disturb_nobody(suite: Suite, args: tuple[str, ...]):
    run = suite(HALF_BUILT, *args)
    failed = {name for name, outcome in run.outcomes.items() if outcome != "passed"}
    assert failed == {f"test_named[{kind}]" for kind in ("Half", "Spoilt", "Emptied")}
    for name in failed:
        assert "cannot be measured: it was not built as modules are (" in run.headline(name)
    assert not any("INTERNALERROR" in line for line in run.lines)


BLOCKING = """
import builtins, sys

def without(name):
    try:
        __import__(name)
        return False
    except ImportError:
        return True

def test_import(monkeypatch, net):
    net(batch(2))
    real = builtins.__import__
    def fake(name, *args, **kwargs):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", fake)
    assert without("torch")

def test_modules(monkeypatch, net):
    net(batch(2))
    for name in list(sys.modules):
        if name.partition(".")[0] == "torch":
            monkeypatch.setitem(sys.modules, name, None)
    assert without("torch")

@pytest.fixture(autouse=True)
def hidden_until_the_teardown(monkeypatch):
    yield
    assert without("torch")

@pytest.fixture
def net(): return Tiny()
"""


@pytest.mark.parametrize("mark", ["max_macs(32)", "max_macs(32, device='meta')", "max_latency('60 s')"])
def test_a_test_may_hide_torch(suite: Suite, dynamo: Any, mark: str):
    """As those do that try what their code does without it; to measure needs it."""
    run = suite(f"pytestmark = pytest.mark.{mark}\n{BLOCKING}")
    assert run.outcomes == {"test_import": "passed", "test_modules": "passed"}
    assert {verdict["outcome"] for name in run.outcomes for verdict in run.verdicts(name)} == {"within"}
    assert torch.nn.Linear(1, 1)(torch.ones(1, 1)).shape == (1, 1)
