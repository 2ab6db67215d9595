"""The README does what it says: its code runs, its tables are what is printed, its lists are complete."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from pytest_modelbudget import hookspecs
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.settings import OPTIONS
from tests.benchmarks import figures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

HEADER = """
import pytest
import torch
from torch import nn
"""

# What the first block takes for granted: a suite with a model and a batch.
SURROUNDINGS = """
@pytest.fixture
def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 1000))


@pytest.fixture
def batch():
    return torch.randn(1, 3, 2, 2)
"""


def blocks(language: str) -> Iterator[str]:
    for match in re.finditer(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        yield match[1]


TESTS = [code for code in blocks("python") if "def test_" in code and "max_growth" not in code]
SCRIPTS = [code for code in blocks("python") if "def test_" not in code]


@pytest.mark.parametrize("code", TESTS, ids=lambda code: re.search(r"test_\w+", code)[0])
def test_the_tests_in_it_pass(code: str, pytester: pytest.Pytester) -> None:
    surroundings = "" if "pytest.fixture" in code else SURROUNDINGS
    pytester.makepyfile(HEADER + surroundings + code)
    pytester.runpytest_inprocess("-W", "ignore").assert_outcomes(passed=1)


@pytest.mark.parametrize("code", SCRIPTS, ids=lambda code: code.split("import ")[1].split()[0].strip(","))
def test_the_scripts_in_it_run(code: str) -> None:
    exec(compile(HEADER + code, "README.md", "exec"), {})


HOOKED = """
class Trainer:
    def __init__(self):
        self.network, self.example = nn.Linear(4, 8), torch.ones(2, 4)

@pytest.fixture
def trainer():
    return Trainer()

{marks}
def test_huge(trainer):
    pass
"""


def hooks() -> str:
    (code,) = [code for code in blocks("python") if "# conftest.py" in code]
    return code


def test_each_of_the_hooks_has_an_example() -> None:
    assert set(re.findall(r"^def (pytest_\w+)", hooks(), re.MULTILINE)) == {
        name for name in vars(hookspecs) if name.startswith("pytest_modelbudget_")
    }


@pytest.mark.parametrize(("linears", "passed"), [(1, 1), (0, 0)])
def test_the_hooks_in_it_do_what_they_say(pytester: pytest.Pytester, linears: int, passed: int) -> None:
    pytester.makeconftest(hooks())
    marks = f"@pytest.mark.max_linears({linears})\n@pytest.mark.max_macs(64)"
    pytester.makepyfile(HEADER + HOOKED.format(marks=marks))
    result = pytester.runpytest_inprocess("-W", "ignore", "--strict-markers", "--modelbudget-report=json:report.json")
    result.assert_outcomes(passed=passed, failed=1 - passed)
    report = json.loads(pytester.path.joinpath("report.json").read_text("utf-8"))
    assert report["run"]["team"] == "vision"
    (test,) = report["tests"]
    figures = {verdict["metric"]: verdict["figure"] for verdict in test["verdicts"]}
    assert figures == {"linears": 1, "macs": 64}
    assert {profile["how"] for profile in test["profiles"] if profile["macs"]} == {"abstract"}


@pytest.mark.parametrize("args", [("-p", "no:modelbudget"), ("--no-modelbudget",)], ids=" ".join)
def test_a_suite_with_the_hooks_in_it_runs_without_the_plugin(pytester: pytest.Pytester, args: tuple[str, ...]) -> None:
    pytester.makeconftest(hooks())
    pytester.makepyfile(HEADER + HOOKED.format(marks=""))
    pytester.runpytest_subprocess(*args, "-W", "ignore").assert_outcomes(passed=1)
    pytester.makeconftest(hooks().replace("optionalhook=True", ""))
    result = pytester.runpytest_subprocess("-p", "no:modelbudget")
    assert "unknown hook 'pytest_modelbudget_" in result.stdout.str() + result.stderr.str()


def test_the_green_table_is_what_is_printed(pytester: pytest.Pytester) -> None:
    code = next(code for code in blocks("python") if "LazyLinear" in code)
    pytester.makepyfile(test_logits=code)
    printed = pytester.runpytest_inprocess("-W", "ignore").stdout.str()
    table = next(text for text in blocks("text") if "model budgets" in text)
    for line in table.splitlines()[1:]:
        assert line in printed


def test_the_budgets_in_it_are_valid(pytester: pytest.Pytester) -> None:
    (table,) = [block for block in blocks("toml") if "tool.modelbudget" in block]
    pytester.makepyprojecttoml(table)
    pytester.mkpydir("tests").joinpath("vision").mkdir()
    for name in ("model", "teacher"):
        pytester.path.joinpath("tests", "vision", f"test_{name}.py").write_text(
            f"{HEADER}\ndef test_{name}():\n    nn.Linear(4, 4)(torch.ones(1, 4))\n", encoding="utf-8"
        )
    result = pytester.runpytest_inprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*flops*32 FLOPs / 8.4 GFLOPs*"])
    assert result.stdout.str().count("FLOPs /") == 1, "the teacher's are lifted"


def test_a_suite_is_gated_without_an_edit(pytester: pytest.Pytester) -> None:
    (settings,) = [block for block in blocks("toml") if "pytest.ini_options" in block]
    (record,) = re.findall(r"^    python -m pytest (.*max-growth.*)$", README, re.MULTILINE)
    pytester.makepyfile(f"{HEADER}\ndef test_model():\n    nn.Linear(4, 4)(torch.ones(1, 4))\n")
    pytester.runpytest_inprocess(*record.split(), "-W", "ignore").assert_outcomes(passed=1)
    pytester.makepyprojecttoml(settings)
    pytester.runpytest_inprocess("-W", "ignore").assert_outcomes(passed=1)
    pytester.makepyfile(f"{HEADER}\ndef test_model():\n    nn.Linear(4, 5)(torch.ones(1, 4))\n")
    pytester.runpytest_inprocess("-W", "ignore").assert_outcomes(failed=1)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_mark_stands_in_it(metric: object) -> None:
    assert f"| `{metric.mark}(limit)` |" in README


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_stands_in_it(option: object) -> None:
    key = f"modelbudget_{option.name}"
    assert f"| `--{key.replace('_', '-')}` | `{key}` |" in README


def test_the_table_of_a_model_is_what_is_printed(torchvision: ModuleType) -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet50().eval()
    with torch.no_grad():
        printed = profile(model, torch.empty(1, 3, 224, 224, device="meta")).summary(width=80, depth=1)
    table = next(text for text in blocks("text") if "FLOPs %" in text)
    assert printed.startswith(table)


def said(node: ast.AST) -> str:
    """The text of a string, with a gap for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(map(said, node.values)) if isinstance(node, ast.JoinedStr) else "\0"


PACKAGE = Path(__file__).parent.parent / "pytest_modelbudget"
MESSAGES = [
    said(node)
    for file in PACKAGE.rglob("*.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, (ast.Constant, ast.JoinedStr))
]


def explained() -> list[str]:
    section = README.partition("## When it says")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("message", explained())
def test_the_messages_in_it_are_those_that_are_printed(message: str) -> None:
    assert any(message in text for text in MESSAGES)


def test_the_figures_of_other_counters_stand_beside_ours() -> None:
    section = README.partition("### Other counters")[2].partition("\n#")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if re.search(r"\d\.\d{3}", line)]
    assert len(rows) == len(figures.MODELS)
    for row in rows:
        assert re.match(r" [\d.]+", row[1])[0] == re.match(r" [\d.]+", row[-1])[0]


@pytest.mark.parametrize("name", ["LSTM", "TransformerEncoderLayer", "Mixtral, tiny"])
def test_our_column_is_what_should_be(name: str, torchvision: ModuleType) -> None:
    subject = figures.MODELS[name]()
    with torch.no_grad():
        assert figures.ours(subject.model.eval(), subject.data) == subject.macs
