"""What the README and the example project tell people to put into their CI runs as it stands there.

Net: 58 parameters with 8 units in its middle, 114 with 16.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from pytest_modelbudget.__main__ import main
from pytest_modelbudget.reporting.schema import schema
from tests.test_readme import HEADER, README, SURROUNDINGS, blocks

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent

# The mark stands at line 12, as in the README.
SOURCE = """import pytest, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.head(self.encoder(x))

@pytest.mark.max_growth("1%")
def test_net(): Net()(torch.ones(1, 4))

@pytest.mark.max_params(100)
def test_phone(): Net()(torch.ones(1, 4))
"""


def write(folder: Path, width: int) -> None:
    path = folder / "tests" / "test_net.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SOURCE.replace("WIDTH", str(width)), encoding="utf-8")
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n', encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script as a CI system does: `python` is this one, and the first command that fails ends it."""
    home = tmp_path / "home"
    home.mkdir()
    author = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {
        **os.environ,
        **author,
        "CI": "true",
        "GITHUB_STEP_SUMMARY": str(home / "summary.md"),
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


needs_git = pytest.mark.skipif(not (shutil.which("git") and shutil.which("bash")), reason="needs git and bash")


@needs_git
def test_the_workflow_of_the_example_tells_what_a_pull_request_changes(tmp_path: Path, shell):
    workflow = yaml.safe_load((ROOT / "example_project/.github/workflows/model-budget.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    steps = {step.get("name") or step.get("run") or step["uses"]: step for step in job["steps"]}
    head = tmp_path / "head"
    head.mkdir()
    write(head, 8)
    assert shell("git init -q && git add . && git commit -qm base", head).returncode == 0
    write(head, 16)
    assert shell("git commit -qam head", head).returncode == 0

    gate = shell(steps["Budgets"]["run"], head)
    assert gate.returncode == 1
    assert "max_params: Net 114 > 100" in gate.stdout
    # The steps after it run all the same, but for those of a run that somebody stopped.
    checkout, compare, keep = (
        steps[name] for name in ("Check out the base branch", "Compare with the base branch", "Keep the reports")
    )
    assert all("!cancelled()" in step["if"] for step in (checkout, compare, keep))
    assert checkout["with"]["path"] == "base"
    assert shell("git worktree add -q base HEAD~1", head).returncode == 0
    compared = shell(compare["run"], head)
    assert compared.returncode == 0, compared.stderr
    summary = (tmp_path / "home" / "summary.md").read_text("utf-8")
    assert "## ❌ Model budgets: 3 of 3 budgets not kept" in summary  # two are in no baseline
    row = "| 🔺 | `tests/test_net.py::test_net` and 1 more | `Net` | params | 58 | 114 | +56 (+96.6 %) "
    assert f"{row}| encoder +40, head +16 |" in summary.partition("\n\n## Model figures")[2]
    assert all((head / name).is_file() for name in keep["with"]["path"].split())
    # The pages are among them: of the run that failed, and of what changed.
    pages = {name: (head / name).read_text("utf-8") for name in keep["with"]["path"].split() if name.endswith(".html")}
    titles = {name: text.partition("<title>")[2].partition("</title>")[0] for name, text in pages.items()}
    assert titles == {"budgets.html": "Model budgets", "changes.html": "Model figures compared"}


def test_the_workflow_of_the_example_needs_no_secret():
    text = (ROOT / "example_project/.github/workflows/model-budget.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in text.replace("a token or a secret", "")
    assert "pull_request_target" not in text
    # YAML 1.1 reads the key `on` as True.
    assert "pull_request" in workflow[True]


@needs_git
def test_the_hook_of_pre_commit_stops_a_push(tmp_path: Path, shell):
    pytest.importorskip("pre_commit")
    (config,) = [block for block in blocks("yaml") if "repos:" in block]
    (hook,) = yaml.safe_load(config)["repos"][0]["hooks"]
    write(tmp_path, 16)
    (tmp_path / "tests" / "test_net.py").rename(tmp_path / hook["entry"].split()[3])
    (tmp_path / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    assert shell("git init -q && git add tests *.toml .pre-commit-config.yaml", tmp_path).returncode == 0
    result = shell("python -m pre_commit run --all-files --hook-stage pre-push", tmp_path)
    assert result.returncode == 1, result.stderr
    assert re.search(r"^model budget\.+Failed$", result.stdout, re.MULTILINE)
    assert "max_params: Net 114 > 100" in result.stdout


def test_the_job_of_gitlab_leaves_its_artifacts(pytester: pytest.Pytester):
    (snippet,) = [block for block in blocks("yaml") if "artifacts:" in block]
    (job,) = yaml.safe_load(snippet).values()
    write(pytester.path, 16)
    (command,) = job["script"]
    run(pytester, command).assert_outcomes(failed=2)
    (report,) = job["artifacts"]["paths"]
    jsonschema.validate(json.loads(pytester.path.joinpath(report).read_text("utf-8")), schema())
    junit = pytester.path / job["artifacts"]["reports"]["junit"]
    assert "modelbudget.Net.params" in [node.get("name") for node in ET.parse(junit).iter("property")]


def run(pytester: pytest.Pytester, command: str) -> pytest.RunResult:
    words = shlex.split(command, comments=True)
    assert words[:3] == ["python", "-m", "pytest"]
    return pytester.runpytest_inprocess(*words[3:], "-W", "ignore", "-p", "no:randomly")


# -- growth --------------------------------------------------------------------------------------------------------

(NEW, RAISE, LOWER) = re.findall(r"^    (python -m pytest --modelbudget-update=\w+)", README, re.MULTILINE)


def test_the_commands_about_growth(pytester: pytest.Pytester):
    (code,) = [block for block in blocks("python") if "max_growth" in block]
    pytester.makepyfile(HEADER + SURROUNDINGS + code)
    run(pytester, "python -m pytest").assert_outcomes(failed=1)
    run(pytester, NEW).assert_outcomes(passed=1)
    pytester.makepyfile(HEADER + SURROUNDINGS.replace("nn.Flatten()", "nn.Flatten(), nn.Linear(12, 12)") + code)
    run(pytester, "python -m pytest").assert_outcomes(failed=1)
    run(pytester, RAISE).assert_outcomes(passed=1)
    run(pytester, "python -m pytest").assert_outcomes(passed=1)
    pytester.makepyfile(HEADER + SURROUNDINGS + code)
    run(pytester, LOWER).stdout.fnmatch_lines(["modelbudget-baseline.json: changed 2 entries"])


def test_the_failure_is_what_is_printed(pytester: pytest.Pytester):
    write(pytester.path, 8)
    run(pytester, NEW)
    write(pytester.path, 16)
    printed = run(pytester, "python -m pytest").outlines
    (text,) = [block for block in blocks("text") if "max_growth" in block]
    for line in text.removeprefix("BudgetExceeded: ").splitlines():
        pattern = re.escape(line).replace(re.escape("2.13.0"), r"\S+")
        assert any(re.fullmatch(pattern, other) for other in printed), line


def test_the_commands_about_reports(pytester: pytest.Pytester, capsys: Any):
    write(pytester.path, 8)
    run(pytester, "python -m pytest --modelbudget-report=json:base.json")
    write(pytester.path, 16)
    run(pytester, "python -m pytest --modelbudget-report=json:head.json")
    shutil.copy("head.json", "report.json")
    commands = re.findall(r"(?:^    |`)python -m pytest_modelbudget ((?:compare|convert|schema)[^`\n]*)", README, re.M)
    assert {command.split()[0] for command in commands} == {"compare", "convert", "schema"}
    capsys.readouterr()
    codes = {}
    for command in commands:
        codes[command.split()[0]] = main(shlex.split(command))
        assert capsys.readouterr().out
    assert codes == {"compare": 1, "convert": 0, "schema": 0}
