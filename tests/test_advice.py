"""What to do, said at the end of a failure: it fits what was wrong, and names the place where to write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_modelbudget
from pytest_modelbudget.reporting.advice import STEPS, next_step

if TYPE_CHECKING:
    from tests.suite import Suite

PACKAGE = Path(pytest_modelbudget.__file__).parent
SOURCE = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "advice.py")
SOURCE = re.sub(r"""["']\n\s*f?["']""", "", SOURCE)  # as texts that stand on several lines read


@pytest.mark.parametrize("said", [said for said, _ in STEPS])
def test_every_reason_that_has_a_step_is_given_somewhere(said: str):
    assert said in SOURCE


@pytest.mark.parametrize(
    ("mark", "body", "step"),
    [
        (
            'max_params(1, model="nothing")',
            "",
            "write a fixture that the test asks for, a parameter or an attribute into model= at test_it.py:6",
        ),
        ('max_params(1, model="net.nothing")', "", "correct model= at test_it.py:6"),
        (
            'max_params(1, module="nothing.*")',
            "",
            "write one of its submodules, or a pattern of them, into module= at test_it.py:6",
        ),
        (
            'max_macs(1, device="xpu")',
            "net(batch())",
            "run the test where that device is, or write another device= at test_it.py:6",
        ),
        ("max_macs(1)", "", "call the model in the test, or add inputs= to the limit at test_it.py:6"),
        ("max_macs(1, inputs=(2, 5))", "", "call the model in the test, or correct inputs= or device= at test_it.py:6"),
        (
            "max_macs(1)",
            "nn.ReLU()(batch())",
            "call the model in the test, or add inputs= to the limit at test_it.py:6",
        ),
        (
            "max_macs(1)",
            "nn.BatchNorm1d(4)(batch())",
            "let the test run the model that the limit at test_it.py:6 is for, or remove it",
        ),
        ("max_macs(1)", "net(batch(0))", "give the model at least one sample"),
    ],
)
def test_the_last_line_is_what_to_do(suite: Suite, mark: str, body: str, step: str):
    run = suite(f"@pytest.mark.{mark}\ndef test_it(net): {body or 'pass'}\n@pytest.fixture\ndef net(): return Net()")
    assert run.failure("test_it").splitlines()[-1] == f"  next      {step}"


def test_a_reason_without_a_step_of_its_own_ends_in_the_limit():
    assert next_step("whatever", "test_it.py:6", invalid=True) == "correct the limit at test_it.py:6"
    assert next_step("whatever", "test_it.py:6", invalid=False).endswith(", or remove the limit at test_it.py:6")


TOKENS = """
class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
    def forward(self, ids): return self.embedding(ids)
"""

SCANNING = """
class Scanning(nn.Linear):
    def forward(self, x): return torch.ops.{name}.scan(super().forward(x))
"""


def made(model: str, where: str) -> str:
    return f"\n@pytest.fixture\ndef net():\n    with torch.device('{where}'): return {model}\n"


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_a_shape_for_tokens_is_told_its_dtype(suite: Suite, where: str):
    source = TOKENS + made("Tokens()", where)
    run = suite(f"{source}\n@pytest.mark.max_macs(1, inputs=(1, 128))\ndef test_it(net): pass")
    assert run.headline("test_it").endswith(
        'it wants integers where it got floating numbers: write inputs=["1,128:int64"]'
    )


@pytest.mark.parametrize(("where", "ends"), [("cpu", ', or write device="cpu"'), ("meta", "")])
def test_a_custom_operator_that_says_nothing_of_its_result_is_named(suite: Suite, where: str, ends: str):
    name = f"modelbudget_advice_{where}"
    define = f"""
@torch.library.custom_op("{name}::scan", mutates_args=())
def scan(x: torch.Tensor) -> torch.Tensor: return x.clone()
"""
    source = define + SCANNING.replace("{name}", name) + made("Scanning(4, 4)", where)
    run = suite(f"{source}\n@pytest.mark.max_macs(1, inputs=(1, 4))\ndef test_it(net): pass")
    assert run.headline("test_it").endswith(
        f'say what {name}::scan returns, with @torch.library.register_fake("{name}::scan"){ends}'
    )


def test_other_errors_of_a_model_without_weights_are_not_sent_to_a_real_device(suite: Suite):
    for where, sent in (("cpu", True), ("meta", False)):
        run = suite(f"{made('Broken()', where)}\n@pytest.mark.max_macs(1, inputs=(1, 4))\ndef test_it(net): pass")
        assert ('for example "cpu"' in run.headline("test_it")) is sent


def test_a_shape_in_a_check_is_told_where_to_go(suite: Suite):
    run = suite("def test_it(modelbudget): modelbudget.check(Net(), (2, 4), macs=1)")
    assert run.headline("test_it").endswith("(2, 4) is a shape, and no tensor: pass a tensor, or write inputs=(2, 4)")
