"""Suites enter and leave dispatch modes of their own, within tests and across them: they see what they would alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch.utils._python_dispatch as python_dispatch

if TYPE_CHECKING:
    from tests.suite import Suite

SOURCE = """
import torch.utils._python_dispatch as python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

class Counter(TorchDispatchMode):
    seen = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))

counter = Counter()

@pytest.fixture
def net(): return Tiny()

@pytest.fixture
def model_inputs(): return batch(1)

@pytest.fixture(scope="module")
def counting():
    with Counter() as mode:
        yield mode

@pytest.fixture(scope="module")
def flops():
    with FlopCounterMode(display=False) as mode:
        yield mode

def modes():
    stack = python_dispatch._get_current_dispatch_mode_stack()
    theirs = [mode for mode in stack if type(mode).__name__ != "Recorder"]
    assert python_dispatch.is_in_torch_dispatch_mode() or not theirs
    return theirs
"""

BODIES = {
    "entered in one test, left in another": """
@pytest.mark.max_macs(32)
def test_enters(net):
    counter.__enter__()
    net(batch(2))

def test_is_in_it(net):
    assert modes() == [counter]
    seen = counter.seen
    net(batch(2))
    assert counter.seen > seen

@pytest.mark.max_macs(48)
def test_leaves(net):
    net(batch(2))
    assert counter in modes()
    counter.__exit__(None, None, None)
    assert counter not in modes()
    seen = counter.seen
    net(batch(1))
    assert counter.seen == seen

def test_is_out_of_it():
    assert modes() == []
""",
    "two, left in the order in which they were entered": """
other = Counter()

@pytest.mark.max_macs(32)
def test_enters(net):
    counter.__enter__(); other.__enter__()
    net(batch(2))

@pytest.mark.max_macs(32)
def test_leaves_one(net):
    assert modes() == [counter, other]
    other.__exit__(None, None, None)
    net(batch(2))

@pytest.mark.max_macs(32)
def test_leaves_both(net):
    assert modes() == [counter]
    counter.__exit__(None, None, None)
    net(batch(2))

def test_is_out_of_them():
    assert modes() == []
""",
    "by a fixture of the module that a test asks for": """
@pytest.mark.max_macs(32)
def test_asks(net, request):
    request.getfixturevalue("counting")
    net(batch(2))

def test_is_in_it(net, counting):
    assert modes() == [counting]
    seen = counting.seen
    net(batch(2))
    assert counting.seen > seen
""",
    "by a test that fails": """
@pytest.mark.xfail(strict=True)
@pytest.mark.max_macs(32)
def test_fails(net):
    counter.__enter__()
    raise ValueError

def test_leaves():
    assert modes() == [counter]
    counter.__exit__(None, None, None)
    assert modes() == []
""",
    "that counts, while the calls of a test are repeated": """
@pytest.mark.max_macs(32, device="meta")
def test_elsewhere(net, flops): net(batch(2))

@pytest.mark.max_training_flops(192)
def test_backward(net, flops): net(batch(2))

@pytest.mark.max_latency("60 s")
def test_timed(net, flops): net(batch(2))

@pytest.mark.max_macs(16)
@pytest.mark.max_size("80 B")
def test_called_by_the_plugin_alone(model, flops): pass

@pytest.fixture
def model(): return Tiny()

def test_sum(flops): assert flops.get_total_flops() == 3 * 2 * 32  # what the tests did, three times
""",
}


@pytest.mark.parametrize("options", [("--no-modelbudget",), (), ("--modelbudget",)], ids=["off", "marked", "observed"])
@pytest.mark.parametrize("body", BODIES)
def test_modes_are_where_the_suite_has_them(suite: Suite, body: str, options: tuple[str, ...]):
    suite.pytester.makeini("[pytest]\nmodelbudget_inputs = model_inputs")
    run = suite(SOURCE + BODIES[body], *options)
    assert run.result.ret == 0
    assert len(run.outcomes) == BODIES[body].count("\ndef test_")
    assert python_dispatch._get_current_dispatch_mode_stack() == []
    assert not any(value for name, value in vars(python_dispatch).items() if name.startswith("_is_in_"))
    if not options:
        verdicts = [verdict for result in run.results.values() for verdict in result["verdicts"]]
        assert {verdict["outcome"] for verdict in verdicts} <= {"within", "incomplete"}
        macs = [verdict for verdict in verdicts if verdict["metric"] == "macs" and verdict["outcome"] == "within"]
        assert all(verdict["used"] == 1 or verdict["limit"] == "48 MACs" for verdict in macs)


def test_what_runs_before_and_after_a_mode_is_left_is_measured(suite: Suite):
    """The first call has two samples of 16 MACs, the second one: per test they are three."""
    source = SOURCE + BODIES["entered in one test, left in another"].replace("max_macs(48)", "max_macs(47, per='test')")
    assert suite(source).headline("test_leaves").startswith("max_macs: Tiny 48 MACs > 47 MACs (+2.1 %) per test")
