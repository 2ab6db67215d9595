"""What users ran into, each in the smallest form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Suite = Callable[..., pytest.RunResult]

HEADER = """
import pytest
import torch
from torch import nn
from types import SimpleNamespace

class Net(nn.Module):
    # 212 parameters, 384 MACs on 2 rows
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.b(self.a(x))
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=HEADER + source)
    return pytester.runpytest_inprocess("-p", "no:asyncio", *arguments)


def test_a_model_in_an_attribute_of_a_fixture_owns_its_parts(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.fixture
def trainer():
    return SimpleNamespace(net=Net(), name="it")

@pytest.mark.modelbudget(params=211, macs=383)
def test_parts(trainer):
    trainer.net.b(trainer.net.a(torch.randn(2, 8)))
""",
    )
    result.stdout.fnmatch_lines(
        [
            "max_params: Net 212 > 211*",
            "max_macs: Net 384 MACs > 383 MACs*",
            "*384 MACs, observed on cpu, all work of its parts outside a call of the model together",
        ]
    )


def test_hostile_fixtures_are_left_alone(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
class Hostile:
    def __getattribute__(self, name):
        raise RuntimeError(name)

@pytest.fixture
def hostile():
    return Hostile()

@pytest.mark.max_macs(384)
def test_it(hostile):
    Net()(torch.randn(2, 8))
""",
    ).assert_outcomes(passed=1)


def test_dummy_inputs_that_raise_are_named(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
class Dummy(Net):
    @property
    def dummy_inputs(self):
        raise RuntimeError("no")

@pytest.fixture
def model():
    return Dummy()

@pytest.mark.max_macs(384)
def test_it(model): pass
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_macs: Dummy.dummy_inputs raised RuntimeError: no: say with inputs=*"])


def test_many_submodules_over_one_limit_are_summed_up(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.max_params(1, module="*")
def test_it():
    nn.Sequential(*(nn.Linear(8, size) for size in (8, 8, 8, 8)), nn.Linear(8, 1))(torch.randn(2, 8))
""",
    )
    text = result.stdout.str()
    assert text.count("max_params: Sequential") == 3 + 1  # three, and the line of the summary
    result.stdout.fnmatch_lines(["  and 2 more submodules over this limit"])
