"""What a run writes when it ends, and what it does not."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

import pytest_modelbudget.recording  # before anybody else but root imports it: the checkout may be root's alone
import pytest_modelbudget.reporting.document
import pytest_modelbudget.reporting.json  # noqa: F401
from pytest_modelbudget.baseline import load, save
from pytest_modelbudget.reporting.json import with_details
from pytest_modelbudget.reporting.schema import schema
from tests.suite import OFF
from tests.test_story import said

if TYPE_CHECKING:
    from tests.suite import Run, Suite

NAME = "modelbudget-baseline.json"

# Linear(4, 8) on two rows: 64 MACs, 128 FLOPs, 40 parameters.
SOURCE = """
@pytest.mark.modelbudget(params=40, flops=128)
def test_within(): nn.Linear(4, 8)(batch())
@pytest.mark.max_macs(63)
def test_over(): nn.Linear(4, 8)(batch())
@pytest.mark.max_params(40)
def test_failed(): assert False
"""
GROWTH = """
@pytest.mark.max_growth()
def test_it(): nn.Linear(4, 8)(batch())
"""


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def report_of(suite: Suite, *args: str, source: str = SOURCE) -> dict:
    suite(source, "--modelbudget-report=json:out/report.json", *args)
    return json.loads(suite.pytester.path.joinpath("out", "report.json").read_text("utf-8"))


# -- reports ------------------------------------------------------------------------------------------------------


def test_the_report_is_exact_and_as_its_schema_says(suite: Suite):
    report = report_of(suite)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(report, schema())
    assert report["run"]["exit_status"] == 1
    outcomes = {test["id"].partition("::")[2]: test["outcome"] for test in report["tests"]}
    assert outcomes == {"test_failed": "failed", "test_over": "failed", "test_within": "passed"}
    within = report["tests"][2]
    assert [(verdict["figure"], verdict["bound"]) for verdict in within["verdicts"]] == [(40, 40), (128, 128)]
    (profile,) = within["profiles"][:1]
    assert (profile["params"], profile["macs"], profile["flops"]) == (40, 64, 128)
    assert list(report["details"][profile["details"]]["modules"]) == [""]


def test_what_a_test_expects_to_be_over_is_neither_kept_nor_broken(suite: Suite):
    source = """
from pytest_modelbudget import BudgetExceeded
def test_caught(modelbudget):
    with pytest.raises(BudgetExceeded): modelbudget.check(nn.Linear(4, 8), batch(), macs=63)
@pytest.mark.xfail(strict=True)
@pytest.mark.max_macs(63)
def test_expected(): nn.Linear(4, 8)(batch())
@pytest.mark.max_macs(64)
def test_within(): nn.Linear(4, 8)(batch())
"""
    run = suite(source, "-v", "--modelbudget-report=json:r.json", "--modelbudget-report=markdown:r.md")
    report = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))
    verdicts = [(test["outcome"], *test["verdicts"]) for test in report["tests"]]
    assert [(outcome, verdict["outcome"], verdict["failed"]) for outcome, verdict in verdicts] == [
        ("passed", "exceeded", False),
        ("xfailed", "exceeded", False),
        ("passed", "within", False),
    ]
    text = suite.pytester.path.joinpath("r.md").read_text("utf-8")
    assert text.startswith("## ✅ Model budgets: 1 budget kept, 2 over, as expected\n")
    expected, _, within = text.partition("Within budget (1)")
    assert "Over, as their tests expect (2)" in expected
    assert expected.count("| – |") == 2
    assert within.count("| ✅ |") == 1
    assert sum(line.endswith("over, as the test expects") for line in run.lines) == 2


def test_what_tests_have_in_common_stands_once_in_the_report(suite: Suite):
    source = """
    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.max_flops("1k")
    def test_alike(number): Net()(batch(1 + number % 2))
    """
    report = report_of(suite, source=source)
    numbers = [profile["details"] for test in report["tests"] for profile in test["profiles"]]
    assert numbers == [0, 1, 0, 1]
    # encoder: 4x8 MACs a sample; head: 8x2.
    assert [{path: module["macs"] for path, module in details["modules"].items()} for details in report["details"]] == [
        {"": 48, "encoder": 32, "head": 16},
        {"": 96, "encoder": 64, "head": 32},
    ]
    whole = with_details(report)
    assert [list(test["profiles"][0]["modules"]) for test in whole["tests"]] == [["", "encoder", "head"]] * 4


def test_results_of_many_tests_share_what_is_the_same(suite: Suite):
    source = """
    @pytest.mark.parametrize("number", range(3))
    @pytest.mark.max_growth(flops="1%")
    def test_alike(number): Net()(batch(1))
    """
    run = suite(source, "--modelbudget-report=json:r.json", "--modelbudget-update=new")
    for rows, name in (("profiles", "modules"), ("profiles", "operators"), ("entries", "modules")):
        assert len({id(result[rows][0][name]) for result in run.results.values()}) == 1


def test_one_process_and_two_workers_write_the_same(suite: Suite):
    written = []
    for args in ((), (), ("-n2",)):
        suite.pytester.path.joinpath(NAME).unlink(missing_ok=True)
        suite.write(SOURCE + GROWTH)
        run = suite.pytester.runpytest_subprocess if args else suite.pytester.runpytest_inprocess
        run(*OFF, "--modelbudget-report=json:r.json", "--modelbudget-update=new", *args)
        written.append([suite.pytester.path.joinpath(name).read_text("utf-8") for name in ("r.json", NAME)])
    assert written[0] == written[1] == written[2]
    assert len(load(suite.pytester.path / NAME)) == 2


def test_a_worker_that_crashes_leaves_a_report_and_no_holes_in_the_baseline(suite: Suite):
    suite(GROWTH, "--modelbudget-update=new")
    path = suite.pytester.path / NAME
    before = load(path)
    suite.write(SOURCE + GROWTH + "\ndef test_crash(): import os; os._exit(3)\n")
    result = suite.pytester.runpytest_subprocess(
        *OFF, "-n2", "--modelbudget-report=json:r.json", "--modelbudget-update=all"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))
    jsonschema.validate(report, schema())
    outcomes = {test["id"]: test["outcome"] for test in report["tests"]}
    assert outcomes["test_it.py::test_within"] == outcomes["test_it.py::test_it"] == "passed"
    assert load(path) == before


def test_markdown_names_failures_first(suite: Suite):
    suite(SOURCE, "--modelbudget-report=markdown:r.md")
    lines = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    assert lines[0] == "## ❌ Model budgets: 1 of 3 budgets not kept"
    assert lines[2] == "1 test failed before it was judged."
    assert lines[4] == "### Over budget"
    assert lines[8] == (
        "| ❌ | `test_it.py::test_over` | `Linear` | macs | 64 MACs | 63 MACs | ██████████ 101.6 % "
        "| `@max_macs(63)` `test_it.py:8` |"
    )


def test_a_table_is_named_once_where_a_limit_comes_from(suite: Suite):
    suite.pytester.path.joinpath("pyproject.toml").write_text(
        '[[tool.modelbudget.budgets]]\ntests = "*"\nmax_params = 100\n', encoding="utf-8"
    )
    reports = ("--modelbudget-report=markdown:r.md", "--modelbudget-report=html:r.html")
    run = suite("def test_it(): Net()(batch())", "-v", *reports)
    page = suite.pytester.path.joinpath("r.html").read_text("utf-8")
    assert '"pyproject.toml: tool.modelbudget.budgets[0].max_params"' in page
    (line,) = [
        line for line in suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines() if line.startswith("| ✅")
    ]
    assert line.endswith("| █████░░░░░ 58.0 % | `pyproject.toml: tool.modelbudget.budgets[0].max_params` |")
    assert '  pyproject.toml: tool.modelbudget.budgets[0].max_params: params 58 is 58.0 %, "58" is enough' in run.lines
    run = suite("def test_it(): pass")
    assert (
        "ERROR pyproject.toml: tool.modelbudget.budgets[0].max_params measured none of its 1 test (-v shows why): "
        "correct it or remove it" in run.lines
    )


def test_markdown_calls_nothing_kept_that_was_held_to_nothing(suite: Suite):
    suite(
        "@pytest.mark.max_macs(96)\ndef test_it(): Net()(batch())",
        *("--modelbudget", "--modelbudget-max-growth=1%", "--modelbudget-report=markdown:r.md"),
    )
    lines = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    assert lines[0] == "## Model budgets: 1 budget kept, 2 not in the baseline"
    assert "### Not in the baseline, and held to nothing" in lines
    # As changes against the baseline, and as what is held to nothing.
    assert [line[:3] for line in lines if line.startswith(("| 🆕", "| ✅"))] == [*["| 🆕"] * 4, "| ✅"]


def test_markdown_counts_budgets_and_not_lines(suite: Suite):
    # Three of them read the same and are one line.
    suite(
        "@pytest.mark.max_params(58)\nclass TestNet:\n    def test_a(self): Net()(batch())\n"
        "    def test_b(self): Net()(batch())\n    @pytest.mark.max_macs(96)\n    def test_c(self): Net()(batch())\n",
        "--modelbudget-report=markdown:r.md",
    )
    text = suite.pytester.path.joinpath("r.md").read_text("utf-8")
    assert "## ✅ Model budgets: 4 budgets kept" in text
    assert "<summary>Within budget (4)</summary>" in text
    assert sum(line.startswith("| ✅") for line in text.splitlines()) == 2


UNMEASURED = """
@pytest.mark.max_params(58)
class TestNet:
    def test_kept(self): Net()(batch())
    def test_helper(self): pass
    def test_other_helper(self): pass
"""


def headline_of(suite: Suite, source: str) -> list[str]:
    """What the Markdown report says before its first table."""
    suite(source, "--modelbudget-report=markdown:r.md")
    text = suite.pytester.path.joinpath("r.md").read_text("utf-8")
    return [line for line in text.partition("<details>")[0].splitlines() if line]


def test_markdown_counts_what_was_not_measured_apart_and_is_not_green(suite: Suite):
    assert headline_of(suite, UNMEASURED) == ["## Model budgets: 1 budget kept, 2 not measured"]
    _, _, below = suite.pytester.path.joinpath("r.md").read_text("utf-8").partition("Not measured (2)")
    apart, _, within = below.partition("Within budget (1)")
    assert "| – | `test_it.py::TestNet::test_helper` and 1 more |" in apart
    assert "| ✅ | `test_it.py::TestNet::test_kept` |" in within
    assert "✅" not in apart
    assert "test_helper" not in within


def test_markdown_says_what_was_not_measured_beside_what_is_over(suite: Suite):
    assert headline_of(suite, UNMEASURED.replace("58", "57"))[:1] == [
        "## ❌ Model budgets: 1 of 3 budgets not kept, 2 not measured"
    ]


def test_markdown_is_red_where_a_test_failed_before_it_was_judged(suite: Suite):
    source = UNMEASURED.replace("def test_helper(self): pass", "def test_helper(self): assert False")
    assert headline_of(suite, source) == [
        "## ❌ Model budgets: 1 budget kept, 1 not measured",
        "1 test failed before it was judged.",
    ]


@pytest.mark.parametrize("mark", ["skip", "xfail"])
def test_markdown_is_not_green_where_a_budget_was_not_judged(suite: Suite, mark: str):
    source = f"""
    @pytest.mark.max_params(58)
    def test_kept(): Net()(batch())
    @pytest.mark.max_params(58)
    @pytest.mark.{mark}
    def test_left_out(): assert False
    """
    assert headline_of(suite, source) == [
        "## Model budgets: 1 budget kept",
        "1 test was skipped or failed as expected: not judged.",
    ]


OBSERVED = """
def test_a(): Net()(batch())
def test_b(): Net()(batch())
def test_c(): Tiny()(batch(1)).sum().backward()
"""


def test_markdown_lists_what_was_measured_where_nothing_is_limited(suite: Suite):
    suite(OBSERVED, "--modelbudget", "--modelbudget-report=markdown:r.md")
    lines = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    assert lines[:5] == [
        "## Model budgets: none judged",
        "",
        "### Measured",
        "",
        "| model | inputs | params | macs | flops | training_flops | memory | tests | note |",
    ]
    # Net keeps 232 bytes of weights; with its input of 32, 64 of the encoder and 64 of the activation. Tiny's backward
    # pass is the product for its weight alone, since its input needs no gradient.
    assert [line.split(" | ")[:6] for line in lines[6:]] == [
        ["| `Net`", "2x4 on cpu", "58", "96 MACs", "192 FLOPs", ""],
        ["| `Tiny`", "1x4 on cpu", "20", "16 MACs", "32 FLOPs", "64 FLOPs"],
    ]
    assert "`test_it.py::test_a` and 1 more" in lines[6]


def test_markdown_lists_what_has_no_budget_beside_what_has_one(suite: Suite):
    limited = "\n@pytest.mark.max_params(1000)\ndef test_limited(): nn.Linear(4, 8)(batch())"
    suite(OBSERVED + limited, "--modelbudget", "--modelbudget-report=markdown:r.md")
    _, _, below = suite.pytester.path.joinpath("r.md").read_text("utf-8").partition("### Measured, without a budget")
    assert "`Net`" in below
    assert "`Linear`" not in below


def test_markdown_of_a_suite_with_budgets_alone_has_no_such_list(suite: Suite):
    suite(SOURCE, "--modelbudget-report=markdown:r.md")
    assert "### Measured" not in suite.pytester.path.joinpath("r.md").read_text("utf-8")


def test_a_call_that_several_limits_are_held_against_is_in_the_report_once(suite: Suite):
    source = """
    @pytest.mark.modelbudget(params="1k", macs="1k", flops="1k", latency="9 s")
    def test_it(): Net()(batch()), Net()(batch(1))
    """
    (test,) = report_of(suite, "--modelbudget", source=source)["tests"]
    assert sorted(profile["inputs"] for profile in test["profiles"]) == ["1x4", "2x4"]


def test_a_run_that_failed_elsewhere_is_not_green(suite: Suite):
    source = "@pytest.mark.max_params(58)\ndef test_it(): Net()(batch())\ndef test_bad(nothing): pass"
    suite(source, "--modelbudget-report=markdown:r.md")
    lines = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    assert lines[:3] == [
        "## ❌ Model budgets: 1 budget kept",
        "",
        "No budget is broken, but the run did not pass: exit code 1.",
    ]


def test_the_step_summary_is_appended(suite: Suite, monkeypatch, tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    suite(SOURCE, "--modelbudget-report=github")
    assert path.read_text("utf-8").startswith("before\n\n## ❌ Model budgets")


def test_without_github_there_is_no_step_summary_and_no_failure(suite: Suite):
    run = suite("def test_it(): pass", "--modelbudget-report=github")
    assert run.result.ret == pytest.ExitCode.OK
    assert said(run) == ["no step summary: GITHUB_STEP_SUMMARY is not set, as it is on GitHub Actions"]


def test_a_report_that_cannot_be_written_fails_the_run(suite: Suite):
    suite.pytester.path.joinpath("file").touch()
    run = suite("def test_it(): pass", "--modelbudget-report=json:file/report.json")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    (line,) = said(run)
    assert line.startswith("ERROR the json report was not written: ")


@pytest.mark.parametrize("text", ["json", "github:x", "pdf:x", ":", "json:"])
def test_an_unknown_report_is_refused(suite: Suite, text):
    result = suite.pytester.runpytest(*OFF, f"--modelbudget-report={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{text!r} is no report; write json:PATH, *"])


@pytest.mark.parametrize(
    ("first", "second"),
    [("json:r.txt", "markdown:r.txt"), ("json:r.json", "json:./r.json"), ("markdown:out/../r.md", "json:link.md")],
)
def test_two_reports_to_one_path_are_refused_before_the_run(suite: Suite, first, second):
    suite.pytester.path.joinpath("link.md").symlink_to("r.md")
    suite.write("def test_it(): open('ran', 'w')")
    result = suite.pytester.runpytest_inprocess(*OFF, *(f"--modelbudget-report={text}" for text in (first, second)))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    kind, path = second.split(":")
    assert [line for line in result.errlines if line] == [
        f"ERROR: --modelbudget-report={kind}: {suite.pytester.path / path} is where "
        f"--modelbudget-report={first.split(':')[0]} goes: give each a path of its own"
    ]
    assert not suite.pytester.path.joinpath("ran").exists()


def test_a_report_may_not_take_the_place_of_the_baseline(suite: Suite):
    suite(GROWTH, "--modelbudget-update=new")
    before = suite.pytester.path.joinpath(NAME).read_bytes()
    result = suite.pytester.runpytest_inprocess(*OFF, f"--modelbudget-report=json:{NAME}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --modelbudget-report=json: */{NAME} is where the baseline goes: *"])
    assert suite.pytester.path.joinpath(NAME).read_bytes() == before


def test_reports_of_one_kind_may_go_to_two_places(suite: Suite):
    suite(SOURCE, "--modelbudget-report=json:one.json", "--modelbudget-report=json:two.json")
    one, two = (suite.pytester.path.joinpath(name).read_bytes() for name in ("one.json", "two.json"))
    assert one == two


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
@pytest.mark.parametrize("option", ["--collect-only", "--setup-only", "--setup-plan"])
def test_an_option_that_runs_no_test_writes_no_report(suite: Suite, kind, option):
    run = suite(SOURCE, f"--modelbudget-report={kind}:report", "--modelbudget", option)
    assert run.result.ret == pytest.ExitCode.OK
    assert said(run) == []
    assert not suite.pytester.path.joinpath("report").exists()


@pytest.mark.parametrize(
    ("source", "args"),
    [
        (SOURCE, ("-k", "nothing")),
        (SOURCE, ("-k", "nothing", "-n2")),
        ("def test_it(no_such_fixture): pass", ()),
        ("import no_such_module", ()),
        ("@pytest.mark.skip\ndef test_it(): pass", ()),
    ],
)
def test_a_run_in_which_no_test_runs_keeps_the_report_of_an_earlier_one(suite: Suite, source, args):
    suite(SOURCE, "--modelbudget-report=json:report.json")
    path = suite.pytester.path / "report.json"
    before = path.read_bytes()
    run = suite(source, "--modelbudget-report=json:report.json", "--modelbudget-report=markdown:new.md", *args)
    assert path.read_bytes() == before
    assert said(run) == [
        f"{path} is that of an earlier run and stays, since no test ran",
        f"markdown report: {suite.pytester.path / 'new.md'}",
    ]


def test_a_run_of_other_tests_replaces_the_report(suite: Suite):
    suite(SOURCE, "--modelbudget-report=json:report.json")
    suite("def test_other(): pass", "--modelbudget-report=json:report.json")
    assert json.loads(suite.pytester.path.joinpath("report.json").read_text("utf-8"))["tests"] == []


def test_a_hook_adds_to_the_report(suite: Suite):
    conftest = "def pytest_modelbudget_update_report(report): report['run']['branch'] = 'main'"
    suite(SOURCE, "--modelbudget-report=json:r.json", conftest=conftest)
    assert json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))["run"]["branch"] == "main"


@pytest.mark.parametrize("body", ["report['run']['it'] = object()", "report.clear()", "raise ArithmeticError('late')"])
def test_a_hook_that_spoils_the_report_costs_no_more_than_the_report(suite: Suite, body: str):
    conftest = f"def pytest_modelbudget_update_report(report): {body}"
    reports = ("--modelbudget-report=json:r.json", "--modelbudget-report=markdown:r.md")
    run = suite(SOURCE, *reports, conftest=conftest)
    assert run.outcomes == suite(SOURCE).outcomes
    (line,) = [line for line in run.lines if line.startswith("ERROR the reports were not written (")]
    assert "conftest.py must keep what the schema has, and add only what JSON can hold" in line
    assert any(line.startswith("FAILED ") for line in run.lines)


def test_properties_for_junit_are_replaced_on_reruns(suite: Suite):
    source = """
    count = [0]
    @pytest.mark.max_params(1000)
    def test_it():
        count[0] += 1
        nn.Linear(4, 8 * count[0])(batch())
        assert count[0] == 2
    """
    off = [part for part in OFF if part not in ("-p", "no:rerunfailures")]
    args = ("--junitxml=j.xml", "--modelbudget-report=junit", "--reruns=1")
    suite(source, *args, off=[word for part in off for word in ("-p", part)])
    tree = ET.parse(suite.pytester.path / "j.xml")
    found = [(node.get("name"), node.get("value")) for node in tree.iter("property")]
    # Linear(4, 16): 80 parameters.
    assert found == [("modelbudget.Linear.params", "80"), ("modelbudget.Linear.params.limit", "1000")]


@pytest.mark.parametrize("args", [(), ("-n2",), ("-p", "no:junitxml")])
def test_properties_without_a_file_to_go_to_are_said_to_be_missing(suite: Suite, args):
    run = suite(SOURCE, "--modelbudget-report=junit", *args)
    assert said(run) == ["no JUnit properties: they go into the file of --junitxml=PATH: write that, too"]


@pytest.mark.parametrize("args", [(), ("-n2",)])
def test_of_properties_in_a_file_nothing_is_said(suite: Suite, args):
    assert said(suite(SOURCE, "--modelbudget-report=junit", "--junitxml=j.xml", *args)) == []


def test_the_property_of_a_limit_on_growth_is_what_was_written(suite: Suite):
    source = "@pytest.mark.max_growth('1%')\ndef test_it(): nn.Linear(4, 8)(batch())"
    suite(source, "--modelbudget-update=new")
    suite(source, "--modelbudget-report=junit", "--junitxml=j.xml")
    found = ET.parse(suite.pytester.path / "j.xml").iter("property")
    assert {(pair.get("name"), pair.get("value")) for pair in found} == {
        ("modelbudget.Linear.params", "40"),
        ("modelbudget.Linear.params.growth_limit", "1%"),
        ("modelbudget.Linear.flops", "128"),
        ("modelbudget.Linear.flops.growth_limit", "1%"),
    }


def test_nobody_gets_properties_unasked(suite: Suite):
    suite(SOURCE, "--junitxml=j.xml")
    assert list(ET.parse(suite.pytester.path / "j.xml").iter("property")) == []


# -- the baseline --------------------------------------------------------------------------------------------------


def test_a_baseline_that_is_none_fails_and_stays(suite: Suite):
    path = suite.pytester.path / NAME
    path.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    run = suite(GROWTH, "--modelbudget-update=all")
    assert run.headline("test_it").startswith("max_growth: the baseline cannot be read: ")
    assert "a merge conflict" in run.headline("test_it")
    (line,) = said(run)
    assert line.startswith("ERROR the baseline was not updated: ")
    assert path.read_text("utf-8") == "<<<<<<< HEAD\n"


def test_a_baseline_that_cannot_be_written_fails_the_run(suite: Suite):
    suite.pytester.path.joinpath("file").touch()
    run = suite(GROWTH, "--modelbudget-update=new", "--modelbudget-baseline=file/b.json")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert "ERROR the baseline was not updated: " in "\n".join(said(run))


@pytest.fixture
def read_only():
    """A directory in which nobody writes, not below those of pytest, which only their owner enters."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


# Root writes everywhere, so it is somebody else while the plugin writes.
AS_NOBODY = """
import os
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish():
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        return (yield)
    finally:
        os.seteuid(user)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="directories cannot be made read-only there")
def test_a_directory_that_is_read_only(suite: Suite, read_only: Path):
    path = read_only / "b.json"
    args = (
        "--modelbudget-update=new",
        f"--modelbudget-baseline={path}",
        f"--modelbudget-report=json:{read_only / 'r.json'}",
    )
    run = suite(GROWTH, *args, conftest=AS_NOBODY)
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    baseline, report = said(run)
    assert baseline.startswith("ERROR the baseline was not updated: ")
    assert report.startswith("ERROR the json report was not written: ")
    assert "Permission denied" in baseline
    assert str(read_only) in baseline
    assert os.listdir(read_only) == []


def test_in_ci_only_who_types_it_updates(suite: Suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--modelbudget-update=new")
    run = suite(GROWTH)
    assert run.outcomes == {"test_it": "failed"}
    assert not suite.pytester.path.joinpath(NAME).exists()
    assert said(run)[0] == (
        "the baseline was not updated: with CI set, --modelbudget-update counts only on the command line itself"
    )
    assert suite(GROWTH, "--modelbudget-update=new").outcomes == {"test_it": "passed"}


def test_only_tests_that_passed_are_recorded(suite: Suite):
    source = """
    @pytest.fixture
    def broken():
        yield
        assert False

    @pytest.mark.max_growth()
    class TestIt:
        def test_passed(self): Tiny()(batch())
        def test_failed(self): Tiny()(batch()); assert False
        def test_broken(self, broken): Tiny()(batch())
        @pytest.mark.max_params(19)
        def test_over(self): Tiny()(batch())
        def test_skipped(self): Tiny()(batch()); pytest.skip("no")
        @pytest.mark.xfail(strict=False)
        def test_xpassed(self): Tiny()(batch())
    """
    suite(source, "--modelbudget-update=all")
    assert {key.test.rpartition("::")[2] for key in load(suite.pytester.path / NAME)} == {"test_passed"}


def test_a_run_that_is_interrupted_records_what_passed_and_drops_nothing(suite: Suite):
    suite("@pytest.mark.max_growth()\ndef test_gone(): Tiny()(batch())", "--modelbudget-update=new")
    suite(GROWTH + "def test_then(): raise KeyboardInterrupt", "--modelbudget-update=all")
    names = {key.test.rpartition("::")[2] for key in load(suite.pytester.path / NAME)}
    assert names == {"test_gone", "test_it"}


PLAIN = """
def test_model(): Net()(batch())
def test_other(): assert 1 + 1 == 2
@pytest.fixture
def net(): return Net()
def test_uncalled(net): pass
"""


WIDER = """
class Net(Net):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(2, 2)
"""


def test_a_suite_is_gated_without_editing_a_test(suite: Suite):
    args = ("--modelbudget", "--modelbudget-max-growth=0%")
    listed = suite(PLAIN, *args)
    assert set(listed.outcomes.values()) == {"passed"}
    assert listed.outcome_of_limit("test_uncalled") == "new"
    suite(PLAIN, *args, "--modelbudget-update=new")
    added = suite(PLAIN + "def test_added(net): net(batch())", *args)
    # 2 samples of 48 MACs.
    assert said(added) == [
        "not in the baseline (--modelbudget-update=new adds them): 2 entries",
        "  test_it.py::test_added Net: flops 192 FLOPs, params 58",
    ]
    assert set(suite(PLAIN, *args).outcomes.values()) == {"passed"}
    failed = suite(WIDER + PLAIN, *args)
    assert failed.outcomes == {"test_model": "failed", "test_other": "passed", "test_uncalled": "failed"}
    assert "  where     extra new, +6" in failed.failure("test_model")


@pytest.mark.parametrize(
    ("args", "ini", "command"),
    [
        (("--modelbudget", "--modelbudget-max-growth=1%"), "", "--modelbudget --modelbudget-max-growth=1% "),
        (("--modelbudget", "--modelbudget-max-growth", "1%"), "", "--modelbudget --modelbudget-max-growth=1% "),
        ((), "addopts = --modelbudget\nmodelbudget_max_growth = 1%", ""),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_that_there_is_no_baseline_is_said_with_the_command_that_makes_it(suite: Suite, args, ini, command, workers):
    suite.pytester.makeini(f"[pytest]\n{ini}\n")
    run = suite(PLAIN, *args, *workers)
    assert run.result.ret == pytest.ExitCode.OK
    assert said(run) == [
        f"{NAME} does not exist, so nothing is held to growth yet: run python -m pytest {command}"
        "--modelbudget-update=new and commit the file: 3 entries",
        "  test_it.py::test_model Net: flops 192 FLOPs, params 58",
        "  test_it.py::test_uncalled Net: params 58",
    ]


def test_of_many_tests_that_are_not_in_the_baseline_the_first_are_named(suite: Suite):
    source = "@pytest.mark.parametrize('n', range({}))\ndef test_it(n): Tiny()(batch(1))"
    names = [f"  test_it.py::test_it[{n}] Tiny: flops 32 FLOPs, params 20" for n in range(5)]
    missing = suite(source.format(7), *GATE)
    assert said(missing)[0].endswith("commit the file: 14 entries")
    assert said(missing)[1:] == [*names, "  and 4 more"]
    suite("def test_other(): Tiny()(batch(1))", *GATE, "--modelbudget-update=new")
    assert said(suite(source.format(5), *GATE, "-k", "test_it")) == [
        "not in the baseline (--modelbudget-update=new adds them): 10 entries",
        *names,
    ]


def test_what_many_tests_outgrew_is_said_once_with_the_command_that_accepts_it(suite: Suite):
    source = "@pytest.mark.max_growth()\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n): Net()(batch(1))"
    suite(source, "--modelbudget-update=new")
    wider = WIDER + "    def forward(self, x): return super().forward(x) + self.extra(x[:, :2])\n" + source
    assert said(suite(wider)) == [
        "outgrown, to accept it run python -m pytest --lf --modelbudget-update=raise: 6 entries",
        "  Net flops 96 FLOPs -> 104 FLOPs (+8.3 %) in test_it.py::test_it[0] and 2 more: extra new, +8 FLOPs",
        "  Net params 58 -> 64 (+10.3 %) in test_it.py::test_it[0] and 2 more: extra new, +6",
    ]
    # One failure has said it already.
    assert said(suite(wider, "test_it.py::test_it[0]")) == []


WHOLE = ("--modelbudget", "--modelbudget-max-growth=1%")


@pytest.mark.parametrize("workers", [(), ("-n2",), ("test_it.py",)], ids=["serial", "xdist", "selected"])
@pytest.mark.parametrize("where", [(), ("--modelbudget-baseline=typo.json",), ("-o", "modelbudget_baseline=typo.json")])
def test_in_ci_a_run_without_a_baseline_does_not_pass(suite: Suite, monkeypatch, where, workers):
    monkeypatch.setenv("CI", "true")
    run = suite(PLAIN, *WHOLE, *where, *workers, "--modelbudget-report=json:r.json")
    assert set(run.outcomes.values()) == {"passed"}
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    (line,) = [line for line in run.lines if line.startswith("ERROR")]
    assert f"{'typo.json' if where else NAME} does not exist, and with CI set a run in which nothing is held" in line
    assert not any("nothing is held to growth yet" in line for line in said(run)), "once is enough"
    report = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))
    assert (report["run"]["exit_status"], f"ERROR {report['unmeasured'][0]}") == (1, line)
    command = line.partition(": run ")[2].partition(", and commit")[0]
    assert pasted(suite, PLAIN, command).result.ret == pytest.ExitCode.OK
    assert suite(PLAIN, *WHOLE, *where).result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("selected", [(), ("test_it.py",), ("-k", "it")])
def test_in_ci_a_baseline_without_entries_is_none(suite: Suite, monkeypatch, selected):
    monkeypatch.setenv("CI", "true")
    save(suite.pytester.path / NAME, {})
    run = suite(PLAIN, *WHOLE, *selected)
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert any(line.startswith(f"ERROR {NAME} has no entries, and with CI set") for line in run.lines)


@pytest.mark.parametrize(
    ("source", "args"),
    [
        (PLAIN, ("--collect-only",)),
        (PLAIN, ("--no-modelbudget",)),
        (PLAIN, ("--setup-only",)),
        (PLAIN, ("--modelbudget-update=new", "--modelbudget-dry-run")),
        (PLAIN, ("-k", "nothing")),
        ("def test_it(): pass", ()),
    ],
)
def test_in_ci_a_run_that_needs_no_baseline_misses_none(suite: Suite, monkeypatch, source, args):
    monkeypatch.setenv("CI", "true")
    run = suite(source, *WHOLE, *args)
    assert run.result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "does not exist" not in run.result.stdout.str()


def test_in_ci_one_more_test_may_be_new(suite: Suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite(ONE_TEST, *WHOLE, "--modelbudget-update=new")
    assert suite(PLAIN, *WHOLE).result.ret == pytest.ExitCode.OK


TYPED = [
    ("--modelbudget", "--modelbudget-max-growth=1%"),
    ("--modelbudget", "--modelbudget-max-growth", "1%", "--modelbudget-baseline=base lines/b.json"),
    ("--modelbudget", "--modelbudget-max-growth=1%", "--modelbudget-flops-per-mac=1", "--modelbudget-device=cpu"),
    ("--modelbudget", "-o", "modelbudget_max_growth=1%", "-o", "modelbudget_baseline=b.json"),
    ("-p", "modelbudget", "--modelbudget", "-c", "own.ini"),
]
ONE_TEST = "def test_model(): Net()(batch())"


def pasted(suite: Suite, source: str, line: str) -> Run:
    """What becomes of the suite when somebody runs the command at the end of a line."""
    return suite(source, *shlex.split(line.partition("python -m pytest ")[2]))


@pytest.mark.parametrize(
    ("typed", "workers"),
    [*((typed, ()) for typed in TYPED), (TYPED[1], ("-n1",))],
    ids=lambda words: " ".join(words),
)
def test_the_command_that_accepts_growth_does_what_it_says(suite: Suite, typed, workers):
    suite.pytester.path.joinpath("own.ini").write_text("[pytest]\nmodelbudget_max_growth = 1%\n", encoding="utf-8")
    suite(ONE_TEST, *typed, "--modelbudget-update=new")
    failure = suite(WIDER + ONE_TEST, *typed, *workers).failure("test_model")
    line = next(line for line in failure.splitlines() if "accept the growth" in line)
    assert "changed 2 entries" in said(pasted(suite, WIDER + ONE_TEST, line))[0]
    assert suite(WIDER + ONE_TEST, *typed).outcomes == {"test_model": "passed"}


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
def test_the_command_that_accepts_what_many_tests_outgrew_does_what_it_says(suite: Suite, typed):
    suite.pytester.path.joinpath("own.ini").write_text("[pytest]\nmodelbudget_max_growth = 1%\n", encoding="utf-8")
    source = f"{ONE_TEST}\n{ONE_TEST.replace('model', 'other')}"
    suite(source, *typed, "--modelbudget-update=new")
    (line,) = [line for line in said(suite(WIDER + source, *typed)) if line.startswith("outgrown")]
    command = line.removesuffix(": 2 entries")
    assert "changed 4 entries" in said(pasted(suite, WIDER + source, command))[0]


def test_what_stands_in_ini_is_not_repeated_in_the_command(suite: Suite):
    suite.pytester.makeini("[pytest]\naddopts = --modelbudget\nmodelbudget_max_growth = 1%\n")
    suite(ONE_TEST, "--modelbudget-update=new")
    assert suite(WIDER + ONE_TEST).failure("test_model").splitlines()[-1] == (
        "  next      make the model lighter, or accept the growth: "
        "python -m pytest test_it.py::test_model --modelbudget-update=raise"
    )


def test_in_another_directory_the_command_finds_the_test(suite: Suite, monkeypatch):
    suite.pytester.makeini("[pytest]\n")
    suite.write(GROWTH)
    monkeypatch.chdir(suite.pytester.mkdir("sub"))
    result = suite.pytester.runpytest_inprocess(*OFF, "..")
    result.stdout.fnmatch_lines(["*: python -m pytest ../test_it.py::test_it --modelbudget-update=new"])
    result.stdout.fnmatch_lines(["*: run python -m pytest .. --modelbudget-update=new and commit the file*"])


def test_without_the_cache_plugin_no_last_failed_is_offered(suite: Suite):
    source = "@pytest.mark.max_growth()\n@pytest.mark.parametrize('n', range(2))\ndef test_it(n): Net()(batch(1))"
    suite(source, "--modelbudget-update=new")
    wider = WIDER + source
    assert (
        said(suite(wider))[0]
        == "outgrown, to accept it run python -m pytest --lf --modelbudget-update=raise: 2 entries"
    )
    off = suite(wider, "-p", "no:cacheprovider")
    assert said(off)[0] == "outgrown, to accept it run python -m pytest --modelbudget-update=raise: 2 entries"
    accepted = suite(wider, "-p", "no:cacheprovider", "--modelbudget-update=raise")
    assert set(accepted.outcomes.values()) == {"passed"}, "what is offered does what it says"


def test_raise_is_not_offered_for_a_test_that_fails_another_limit(suite: Suite):
    grown = "@pytest.mark.max_growth()\n@pytest.mark.parametrize('n', range(2))\ndef test_it(n): Net()(batch(1))"
    other = "@pytest.mark.max_growth()\n@pytest.mark.max_macs({})\ndef test_other(): Net()(batch(1))"
    suite(f"{grown}\n{other.format(48)}", "--modelbudget-update=new")
    wider = f"{WIDER}\n{grown}\n{other.format(47)}"
    # The wider one has 6 parameters more, which it does not use.
    assert said(suite(wider)) == [
        "outgrown, to accept it run python -m pytest --lf --modelbudget-update=raise: 2 entries",
        "  Net params 58 -> 64 (+10.3 %) in test_it.py::test_it[0] and 1 more: extra new, +6",
        "outgrown, to be accepted once the other limits of these tests hold: 1 entry",
        "  Net params 58 -> 64 (+10.3 %) in test_it.py::test_other: extra new, +6",
    ]
    accepted = suite(wider, "--modelbudget-update=raise")
    assert accepted.outcomes == {"test_it[0]": "passed", "test_it[1]": "passed", "test_other": "failed"}


def test_an_update_says_that_nothing_is_held_to_growth(suite: Suite):
    run = suite("def test_it(): Net()(batch())", "--modelbudget", "--modelbudget-update=new")
    assert said(run) == [
        f"{NAME}: nothing to change, since no test is held to growth: mark tests with max_growth, or hold every test "
        "with --modelbudget --modelbudget-max-growth=1%"
    ]


def test_the_header_says_whose_growth_is_limited(suite: Suite):
    whose = "of tests with a budget alone; with --modelbudget of every test"
    alone = suite("def test_it(): Net()(batch())", "--modelbudget-max-growth=1%").result.stdout
    alone.fnmatch_lines([f"modelbudget: max_growth 1%, {whose}"])
    observed = suite("def test_it(): Net()(batch())", "--modelbudget", "--modelbudget-max-growth=1%").result.stdout
    observed.fnmatch_lines(["modelbudget: observing every test, max_growth 1%"])


def test_an_update_without_a_test_says_so(suite: Suite):
    for source, more in (("import nothing_there\n" + GROWTH, ()), (GROWTH, ("-k", "nothing_like_it"))):
        assert said(suite(source, "--modelbudget-update=new", *more)) == [
            f"{NAME}: nothing to change, since no test ran"
        ]


def test_an_update_says_that_a_test_failed(suite: Suite):
    suite(GROWTH, "--modelbudget-update=new")
    source = "@pytest.mark.max_growth()\n@pytest.mark.max_params(1)\ndef test_it(): nn.Linear(4, 9)(batch())"
    assert said(suite(source, "--modelbudget-update=raise")) == [
        f"{NAME}: nothing to change",
        "not changed, the test failed: 2 entries",
        "  grown Linear flops 128 FLOPs -> 144 FLOPs (+12.5 %) in test_it.py::test_it",
        "  grown Linear params 40 -> 45 (+12.5 %) in test_it.py::test_it",
    ]


def test_a_suite_wide_rule_is_for_observed_tests_alone(suite: Suite):
    run = suite(PLAIN + "\n@pytest.mark.max_params(58)\ndef test_marked(): Net()", "--modelbudget-max-growth=0%")
    assert {nodeid.partition("::")[2] for nodeid in run.results} <= {"test_marked"}


EXEMPTION = '@max_growth(None), or max_growth = "none" in a table'
GATE = ("--modelbudget", "--modelbudget-max-growth=1%")


@pytest.mark.parametrize("how", ["--modelbudget-max-growth=none", "--override-ini=modelbudget_max_growth=none"])
def test_none_lifts_the_growth_that_is_set_elsewhere(suite: Suite, how: str):
    suite.pytester.makeini("[pytest]\naddopts = --modelbudget\nmodelbudget_max_growth = 1%\n")
    source = "def test_it(): nn.Linear(4, {})(batch(1))"
    suite(source.format(4), "--modelbudget-update=new")
    assert suite(source.format(40)).outcomes == {"test_it": "failed"}
    assert suite(source.format(40), how).outcomes == {"test_it": "passed"}


@pytest.mark.parametrize("how", ["mark", "table"])
def test_who_is_exempted_from_growth_is_exempted_from_that_of_every_metric(suite: Suite, how: str):
    suite.pytester.makeini("[pytest]\naddopts = --modelbudget\nmodelbudget_max_growth = 1%, memory=5%\n")
    mark = "@pytest.mark.max_growth(None)\n" if how == "mark" else ""
    if how == "table":
        suite.pytester.path.joinpath("modelbudget.toml").write_text(
            '[[budgets]]\ntests = "*::test_it"\nmax_growth = "none"\n', encoding="utf-8"
        )
    source = mark + "def test_it(): nn.Linear(4, {0})(batch(1))\ndef test_other(): nn.Linear(4, {0})(batch(1))"
    suite(source.format(4), "--modelbudget-update=new")
    assert {(key.test.partition("::")[2], key.metric) for key in load(suite.pytester.path / NAME)} == {
        ("test_other", metric) for metric in ("params", "flops", "memory")
    }
    assert suite(source.format(40)).outcomes == {"test_it": "passed", "test_other": "failed"}


def test_an_exemption_may_leave_one_metric(suite: Suite):
    source = '@pytest.mark.max_growth(None, memory="5%")\ndef test_it(): nn.Linear(4, {})(batch(1))'
    suite(source.format(4), *GATE, "--modelbudget-update=new")
    assert (
        suite(source.format(40), *GATE).headline("test_it").startswith("max_growth: Linear memory 976 bytes, was 112 ")
    )


@pytest.mark.parametrize("other", ["pytest.skip()", "pytest.xfail()"])
def test_a_skipped_test_does_not_make_up_for_a_baseline_of_other_tests(
    suite: Suite, other: str, monkeypatch: pytest.MonkeyPatch
):
    source = "def test_{0}(): {2}()(batch())\ndef test_other{1}(): {2}()(batch()); " + other
    suite(source.format("it", "", "Net"), *GATE, "--modelbudget-update=new")
    monkeypatch.setenv("CI", "true")
    assert suite(source.format("it", "", "Net"), *GATE).result.ret == pytest.ExitCode.OK
    run = suite(source.format("moved", "_moved", "Tiny"), *GATE)
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert any(line.startswith(f"ERROR {NAME} knows nothing of what this run measured") for line in run.lines)


def test_what_methods_are_given_is_known(suite: Suite):
    # 4 x 5 MACs a sample.
    source = """
class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 5))
    def act(self, x): return x @ self.weight

@pytest.mark.max_growth(memory="5%", macs=0)
@pytest.mark.max_macs(20, per="sample")
def test_it(): Bare().act(batch(3))
"""
    assert suite(source, "--modelbudget-update=new").outcomes == {"test_it": "passed"}
    entries = load(suite.pytester.path / NAME)
    assert {(key.metric, key.device, entry.inputs) for key, entry in entries.items()} == {
        ("memory", "cpu", "3x4"),
        ("macs", "any", "3x4"),
    }
    assert suite(source.replace("20", "19")).outcomes == {"test_it": "failed"}


def test_growth_from_nothing_is_growth(suite: Suite):
    """Looked up and multiplied, 3 x 4 numbers; then each with each of 5 others: 3 x 5 x 4 MACs."""
    source = """
class Factors(nn.Module):
    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(5, 4), nn.Embedding(5, 4)
    def forward(self, user): return {}
def test_it(): Factors()(torch.zeros(3, dtype=torch.int64))
"""
    light, heavy = "(self.users(user) * self.items(user)).sum(1)", "self.users(user) @ self.items.weight.t()"
    suite(source.format(light), *GATE, "--modelbudget-update=new")
    assert {key.metric: entry.value for key, entry in load(suite.pytester.path / NAME).items()} == {
        "params": 40,
        "flops": 0,
    }
    assert suite(source.format(light), *GATE).outcomes == {"test_it": "passed"}
    run = suite(source.format(heavy), *GATE)
    assert run.headline("test_it") == "max_growth: Factors flops 120 FLOPs, was 0 FLOPs for 3"


def test_a_mark_on_growth_records_that_there_is_nothing(suite: Suite):
    source = """
@pytest.mark.max_growth("1%")
def test_it(): nn.Sequential(nn.Embedding(5, 4), {})(torch.zeros(3, dtype=torch.int64))
"""
    suite(source.format("nn.ReLU()"), "--modelbudget-update=new")
    assert suite(source.format("nn.ReLU()")).outcomes == {"test_it": "passed"}
    run = suite(source.format("nn.Linear(4, 4, bias=False)"))
    assert "max_growth: Sequential flops 96 FLOPs, was 0 FLOPs for 3" in run.failure("test_it")
    assert suite(source.format("nn.Linear(4, 4)"), "--modelbudget-update=raise").outcomes == {"test_it": "passed"}
    # What was there and is not any more was perhaps not seen.
    assert "nothing was measured" in suite(source.format("nn.ReLU()")).failure("test_it")


def test_what_a_whole_run_measures_no_more_is_said(suite: Suite):
    source = "def test_it(): {}"
    suite(source.format("nn.Linear(4, 4)(batch(1))"), *GATE, "--modelbudget-update=new")
    assert said(suite(source.format("pass"), *GATE)) == [
        "stale, their tests or models are gone, or not measured any more (--modelbudget-update=lower drops them): "
        "2 entries",
        "  test_it.py::test_it Linear: flops 32 FLOPs, params 20",
    ]


def test_a_device_that_is_not_there_opens_no_gate(suite: Suite):
    suite("def test_it(): Tiny()(batch(1))", *GATE, "--modelbudget-update=new")
    run = suite("def test_it(): Tiny()(batch(1))", *GATE, "--modelbudget-device=xpu:99")
    assert run.headline("test_it").startswith('max_growth: device "xpu:99" is not available here: run where it is')


def test_what_cannot_be_repeated_on_a_device_is_held_by_what_was_seen(suite: Suite):
    source = """
class Choosing(Tiny):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x){more}
def test_it(): Choosing()(batch(1))
"""
    suite(source.format(more=""), *GATE, "--modelbudget-update=new")
    assert suite(source.format(more=""), *GATE, "--modelbudget-device=meta").outcomes == {"test_it": "passed"}
    run = suite(source.format(more=" @ x.new_zeros(4, 4)"), *GATE, "--modelbudget-device=meta")
    # 16 MACs, and 16 more.
    assert run.headline("test_it") == "max_growth: Choosing flops 64 FLOPs, was 32 FLOPs (+100.0 % > 1%) for 1x4"


def test_what_cannot_be_repeated_and_differs_by_device_is_said(suite: Suite):
    source = """
class Choosing(Tiny):
    def forward(self, x):
        return super().forward({x})
def test_it(): Choosing()(batch(1))
"""
    gate = ("--modelbudget", "--modelbudget-max-growth=traffic=1%", "--modelbudget-device=meta")
    suite(source.format(x="x"), *gate, "--modelbudget-update=new")
    run = suite(source.format(x="x if x.sum() > 0 else -x"), *gate)
    assert run.outcomes == {"test_it": "passed"}
    # 4 inputs, 16 weights, 4 biases and 4 outputs.
    assert said(run)[1:] == ["  test_it.py::test_it Choosing: traffic on meta 112 bytes"]


def test_growth_of_a_model_that_the_plugin_calls_is_growth_too(suite: Suite):
    """Linear(4, 4) and Linear(4, 40) on three rows."""
    source = """
@pytest.fixture
def net(): return nn.Linear(4, {})
@pytest.mark.max_flops("1k", inputs=(3, 4))
def test_it(net): pass
"""
    suite(source.format(4), *GATE, "--modelbudget-update=new")
    assert {key.metric: entry.value for key, entry in load(suite.pytester.path / NAME).items()} == {
        "params": 20,
        "flops": 96,
    }
    run = suite(source.format(40), *GATE)
    assert "max_growth: Linear flops 960 FLOPs, was 96 FLOPs (+900.0 % > 1%) for 3x4" in run.failure("test_it")


def test_growth_of_a_model_in_another_thread_is_that_of_what_it_holds(suite: Suite):
    source = """
from concurrent.futures import ThreadPoolExecutor
def test_it():
    with ThreadPoolExecutor(1) as pool: pool.submit(nn.Linear(4, {}), batch()).result()
"""
    suite(source.format(4), *GATE, "--modelbudget-update=new")
    assert suite(source.format(4), *GATE).outcomes == {"test_it": "passed"}
    run = suite(source.format(40), *GATE)
    assert run.headline("test_it") == "max_growth: Linear params 200, was 20 (+900.0 % > 1%)"


def test_growth_under_another_name_is_growth(suite: Suite):
    source = "class {name}(nn.Linear): pass\ndef test_it(): {name}(4, {width})(batch(1))"
    suite(source.format(name="Net", width=4), *GATE, "--modelbudget-update=new")
    # As large as it was: new, and no more than that.
    assert suite(source.format(name="Net2", width=4), *GATE).outcomes == {"test_it": "passed"}
    run = suite(source.format(name="Net2", width=40), *GATE)
    assert run.headline("test_it") == ("max_growth: Net2, recorded as Net: params 200, was 20 (+900.0 % > 1%)")
    assert "--modelbudget-update=new,raise" in run.failure("test_it")
    suite(source.format(name="Net2", width=40), *GATE, "--modelbudget-update=new,raise")
    again = suite(source.format(name="Net2", width=40), *GATE)
    assert (again.outcomes, said(again)) == ({"test_it": "passed"}, [])  # the entries of Net are gone


@pytest.mark.parametrize(("encoder", "decoder", "over"), [(4, 4, ""), (4, 40, "Decoder"), (40, 4, "Encoder")])
def test_several_models_in_the_place_of_one_are_each_held_to_it(suite: Suite, encoder: int, decoder: int, over: str):
    classes = "class Net(nn.Linear): pass\nclass Encoder(nn.Linear): pass\nclass Decoder(nn.Linear): pass\n"
    suite(classes + "def test_it(): Net(4, 8)(batch(1))", *GATE, "--modelbudget-update=new")
    run = suite(classes + f"def test_it(): Encoder(4, {encoder})(batch(1)); Decoder(4, {decoder})(batch(1))", *GATE)
    if not over:
        assert run.outcomes == {"test_it": "passed"}
        return
    assert run.headline("test_it") == f"max_growth: {over}, recorded as Net: params 200, was 40 (+400.0 % > 1%)"


def test_several_models_in_the_place_of_one_are_held_to_it_together(suite: Suite):
    """4 x 20 weights and 20 biases; then twice 4 x 12 and 12, or 4 x 10 and 10."""
    classes = "class Net(nn.Linear): pass\nclass Encoder(nn.Linear): pass\nclass Decoder(nn.Linear): pass\n"
    split = classes + "def test_it(): Encoder(4, {0})(batch(1)); Decoder(4, {0})(batch(1))"
    suite(classes + "def test_it(): Net(4, 20)(batch(1))", *GATE, "--modelbudget-update=new")
    before = load(suite.pytester.path / NAME)
    assert suite(split.format(10), *GATE).outcomes == {"test_it": "passed"}
    run = suite(split.format(12), *GATE)
    first, *_ = run.failure("test_it").splitlines()
    assert first == "max_growth: Decoder and Encoder together, recorded as Net: params 120, was 100 (+20.0 % > 1%)"
    assert "--modelbudget-update=new,raise" in run.failure("test_it")
    assert load(suite.pytester.path / NAME) == before
    assert suite(split.format(12), *GATE, "--modelbudget-update=new,raise").outcomes == {"test_it": "passed"}
    assert {key.model for key in load(suite.pytester.path / NAME)} == {"Encoder", "Decoder"}
    assert suite(split.format(12), *GATE).outcomes == {"test_it": "passed"}


def test_a_model_is_not_held_to_one_that_got_another_name_itself(suite: Suite):
    source = "class Big(nn.Linear): pass\n{}@pytest.fixture\ndef net(): return nn.Linear(4, 4)\ndef test_it({}): {}"
    suite(source.format("", "net", "net(batch(1))"), *GATE, "--modelbudget-update=new")
    teacher = "@pytest.fixture\ndef teacher(): return Big(4, 40)\n"
    both = source.format(teacher, "net, teacher", "net(batch(1)); teacher(batch(1))")
    assert suite(both, *GATE).outcomes == {"test_it": "passed"}


def test_a_model_beside_one_that_is_recorded_is_new(suite: Suite):
    suite("def test_it(): nn.Linear(4, 4)(batch(1))", *GATE, "--modelbudget-update=new")
    run = suite("class Wide(nn.Linear): pass\ndef test_it(): Wide(4, 40)(nn.Linear(4, 4)(batch(1)))", *GATE)
    assert run.outcomes == {"test_it": "passed"}
    # 4 x 40 weights and 40 biases; 160 MACs.
    assert said(run) == [
        "not in the baseline (--modelbudget-update=new adds them): 2 entries",
        "  test_it.py::test_it Wide: flops 320 FLOPs, params 200",
    ]


def test_a_model_beside_which_another_comes_is_the_one_that_is_recorded(suite: Suite):
    source = "{fixtures}\ndef test_it({names}): {calls}"
    fixture = "@pytest.fixture\ndef {}(): return {}\n"
    net = fixture.format("net", "nn.Linear(4, {})")
    alone = source.format(fixtures=net.format(4), names="net", calls="net(batch(1))")
    suite(alone, *GATE, "--modelbudget-update=new")
    both = source.format(
        fixtures=net.format(40) + fixture.format("tiny", "Tiny()"), names="net, tiny", calls="net(tiny(batch(1)))"
    )
    assert suite(both, *GATE).headline("test_it") == (
        "max_growth: net (Linear), recorded as Linear: params 200, was 20 (+900.0 % > 1%)"
    )


SIZED = (
    "class Net(nn.Linear):\n    def __init__(self, width): super().__init__(4, width)\ndef test_it():\n    x = batch(1)"
)


@pytest.mark.parametrize(
    ("before", "after", "grows"),
    [
        ((4,), (2, 4), False),  # a smaller one joins, and is called first
        ((4,), (2, 8), True),
        ((2, 8), (8, 2), False),  # called in another order
        ((2, 8), (8,), False),
        ((2, 8), (2, 9), True),
    ],
)
def test_models_of_one_class_are_told_apart_by_size(
    suite: Suite, before: tuple[int, ...], after: tuple[int, ...], grows: bool
):
    def source(widths: tuple[int, ...]) -> str:
        return SIZED + "".join(f"\n    Net({width})(x)" for width in widths)

    suite(source(before), *GATE, "--modelbudget-update=new")
    assert suite(source(after), *GATE).outcomes == {"test_it": "failed" if grows else "passed"}


def test_a_fixture_of_the_same_class_does_not_hide_growth(suite: Suite):
    source = (
        "@pytest.fixture\ndef net(): return nn.Linear(4, {})\n@pytest.fixture\ndef small(): return nn.Linear(4, 2)\n"
    )
    suite(source.format(4) + "def test_it(net): net(batch(1))", *GATE, "--modelbudget-update=new")
    run = suite(source.format(40) + "def test_it(net, small): small(batch(1)); net(batch(1))", *GATE)
    assert run.headline("test_it").startswith("max_growth: net (Linear), recorded as Linear: params 200, was 20 ")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("net.forward_features(batch(size))", "methods of the model did work outside its calls"),
        ("nn.Linear(4, size)(batch(1))", "hypothesis chose models of different sizes"),
    ],
)
def test_what_hypothesis_decides_otherwise_each_time_is_not_compared(suite: Suite, body: str, reason: str):
    source = f"""
from hypothesis import given, settings, strategies as st
net = Net()
@given(st.sampled_from([1, 2, 3]))
@settings(max_examples=9)
def test_it(size): {body}
"""
    suite(source, *GATE, "--modelbudget-update=new")
    run = suite(source, *GATE)
    assert run.outcomes == {"test_it": "passed"}
    assert any(row["outcome"] == "not comparable" and reason in row["reason"] for row in run.verdicts("test_it"))


def test_what_was_recorded_for_other_inputs_says_so(suite: Suite):
    source = "def test_it(): nn.Linear(4, {width})(batch({size}))"
    suite(source.format(width=4, size=8), *GATE, "--modelbudget-update=new")
    run = suite(source.format(width=4, size=4), *GATE)
    assert "recorded for 8x4, so it may have grown all the same" in " ".join(" ".join(run.lines).split())
    line = "Linear flops 256 FLOPs -> 128 FLOPs (-50.0 %) for 4x4, was for 8x4, in test_it.py::test_it"
    doubt = "recorded for other inputs, so they may have grown all the same"
    # It is not told as an improvement that could be kept.
    assert said(run) == [f"{doubt} (once checked, --modelbudget-update=lower records them): 1 entry", f"  {line}"]
    # On a part of the suite nothing can be lowered, but the doubt is the same.
    assert said(suite(source.format(width=4, size=4), *GATE, "test_it.py")) == [f"{doubt}: 1 entry", f"  {line}"]
    lowered = suite(source.format(width=4, size=4), *GATE, "--modelbudget-update=lower")
    assert said(lowered) == [f"{NAME}: changed 1 entry", f"  lowered {line}"]


def test_as_much_as_was_recorded_for_larger_inputs_says_so(suite: Suite):
    source = "def test_it(): nn.Linear(4, {width}, bias=False)(batch({size}))"
    args = ("--modelbudget", "--modelbudget-max-growth=300%")
    suite(source.format(width=4, size=4), *args, "--modelbudget-update=new")
    # Four times as wide for a quarter of the samples: 64 MACs, as before.
    run = suite(source.format(width=16, size=1), *args)
    line = "Linear flops 128 FLOPs as before for 1x4, was for 4x4, in test_it.py::test_it"
    assert said(run) == [
        "recorded for other inputs, so they may have grown all the same (once checked, --modelbudget-update=raise "
        "records them): 1 entry",
        f"  {line}",
    ]
    assert f"  moved {line}" in said(suite(source.format(width=16, size=1), *args, "--modelbudget-update=raise"))
    assert said(suite(source.format(width=16, size=1), *args)) == []


def test_of_many_that_were_recorded_for_other_inputs_the_first_are_named(suite: Suite):
    source = "@pytest.mark.parametrize('n', range(1, 7))\ndef test_it(n): nn.Linear(4, n, bias=False)(batch({size}))"
    suite(source.format(size=2), *GATE, "--modelbudget-update=new")
    # 4 n MACs a sample.
    assert said(suite(source.format(size=1), *GATE))[1:] == [
        *(
            f"  Linear flops {16 * n} FLOPs -> {8 * n} FLOPs (-50.0 %) for 1x4, was for 2x4, in "
            f"test_it.py::test_it[{n}]"
            for n in range(1, 6)
        ),
        "  and 1 more",
    ]


def test_what_changed_alike_for_other_inputs_is_told_apart(suite: Suite):
    source = """
    def test_a(): nn.Linear(4, {a}, bias=False)(batch({size}))
    def test_b(): nn.Linear(4, {b}, bias=False)(batch(2))
    """
    args = ("--modelbudget", "--modelbudget-max-growth=100%")
    suite(source.format(a=4, b=4, size=2), *args, "--modelbudget-update=new")
    # 32 MACs became 16 in both: for one sample, and for half the width.
    assert said(suite(source.format(a=4, b=2, size=1), *args)) == [
        "recorded for other inputs, so they may have grown all the same (once checked, --modelbudget-update=lower "
        "records them): 1 entry",
        "  Linear flops 64 FLOPs -> 32 FLOPs (-50.0 %) for 1x4, was for 2x4, in test_it.py::test_a",
        "below the baseline (--modelbudget-update=lower keeps it so): 2 entries",
        "  Linear flops 64 FLOPs -> 32 FLOPs (-50.0 %) in test_it.py::test_b",
        "  Linear params 16 -> 8 (-50.0 %) in test_it.py::test_b",
    ]
    lowered = said(suite(source.format(a=4, b=2, size=1), *args, "--modelbudget-update=lower"))
    assert lowered[1:3] == [
        "  lowered Linear flops 64 FLOPs -> 32 FLOPs (-50.0 %) for 1x4, was for 2x4, in test_it.py::test_a",
        "  lowered Linear flops 64 FLOPs -> 32 FLOPs (-50.0 %) in test_it.py::test_b",
    ]


ALIKE = """
class Wide(nn.Module):
    def __init__(self, width, rest):
        super().__init__()
        self.first, self.rest = nn.Linear(4, width, bias=False), nn.Linear(4, rest, bias=False)
    def forward(self, x): return self.first(x).sum() + self.rest(x).sum()

@pytest.mark.max_growth("1%")
def test_it():
    for width, rest in SIZES: Wide(width, rest)(batch(1))
"""


def test_what_is_said_of_several_models_of_one_name_is_said_once(suite: Suite):
    suite(ALIKE.replace("SIZES", "[(4, 2)] * 7"), "--modelbudget-update=new")
    # 4 x 4 and 4 x 2 weights; then 4 x 5 and 4 x 2.
    run = suite(ALIKE.replace("SIZES", "[(5, 2)] * 7"), "--modelbudget-report=json:r.json")
    text = run.failure("test_it")
    rest = ", and 6 more like it (Wide #2 to #7)"
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        f"max_growth: Wide params 28, was 24 (+16.7 % > 1%){rest}",
        "",
        f"max_growth: Wide flops 56 FLOPs, was 48 FLOPs (+16.7 % > 1%) for 1x4{rest}",
    ]
    assert [line for line in text.splitlines() if "where" in line] == [
        "  where     first +4",
        "  where     first +8 FLOPs",
    ]
    assert f"max_growth: Wide flops 56 FLOPs, was 48 FLOPs (+16.7 % > 1%) for 1x4{rest}" in run.lines
    (test,) = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))["tests"]
    models = ["Wide", *(f"Wide #{number}" for number in range(2, 8))]
    assert sorted(verdict["model"] for verdict in test["verdicts"]) == sorted(models * 2)


def test_a_model_that_grew_elsewhere_is_not_hidden_among_others_of_its_name(suite: Suite):
    suite(ALIKE.replace("SIZES", "[(4, 4)] * 5"), "--modelbudget-update=new")
    # As much, and in another part.
    run = suite(ALIKE.replace("SIZES", "[(5, 4), (5, 4), (4, 5), (5, 4), (5, 4)]"))
    params = run.failure("test_it").partition("\n\nmax_growth: Wide flops")[0].splitlines()
    assert [line for line in params if not line.startswith(" ") or "where" in line] == [
        "max_growth: Wide params 36, was 32 (+12.5 % > 1%), and 3 more like it (Wide #2, #4, #5)",
        "  where     first +4",
        "",
        "max_growth: Wide #3 params 36, was 32 (+12.5 % > 1%)",
        "  where     rest +4",
    ]


def test_models_of_one_name_that_are_not_in_the_baseline_are_named_once(suite: Suite):
    heads = [
        line
        for line in suite(ALIKE.replace("SIZES", "[(4, 2)] * 5 + [(1, 1)]")).failure("test_it").splitlines()
        if line.startswith("max_growth: Wide")
    ]
    assert heads == [
        "max_growth: Wide params 24: not in the baseline, and 4 more like it (Wide #2 to #5)",
        "max_growth: Wide #6 params 8: not in the baseline",
        "max_growth: Wide flops 48 FLOPs for 1x4: not in the baseline, and 4 more like it (Wide #2 to #5)",
        "max_growth: Wide #6 flops 16 FLOPs for 1x4: not in the baseline",
    ]


def test_models_that_hypothesis_chose_smaller_are_not_lowered(suite: Suite):
    source = """
from hypothesis import given, settings, strategies as st
@pytest.mark.max_growth()
@given(st.sampled_from([{widths}]))
@settings(max_examples=30)
def test_it(width): nn.Linear(4, width, bias=False)(batch(1))
"""
    suite(source.format(widths="1, 2, 3"), "--modelbudget-update=new")
    run = suite(source.format(widths="1, 2"))
    assert said(run) == [
        "recorded for other examples of hypothesis, so they may have grown all the same: test_it.py::test_it"
    ]
    before = load(suite.pytester.path / NAME)
    suite(source.format(widths="1, 2"), "--modelbudget-update=lower")
    assert load(suite.pytester.path / NAME) == before


def test_tests_of_hypothesis_that_cannot_be_compared_are_named(suite: Suite):
    source = """
from hypothesis import given, settings, strategies as st
net = Net()
@pytest.mark.parametrize("n", range(7))
@given(st.integers(1, 3))
@settings(max_examples=2)
def test_it(n, size): net.forward_features(batch(size))
"""
    run = suite(source, *GATE)
    assert said(run)[-1] == (
        "not comparable, since hypothesis decides what they measure (-v says more): "
        + ", ".join(f"test_it.py::test_it[{n}]" for n in range(5))
        + " and 2 more"
    )


def test_what_a_test_does_not_measure_any_more_is_said(suite: Suite):
    source = "@pytest.fixture\ndef net(): return Net()\ndef test_it(net): {body}\ndef test_other(): Tiny()(batch())"
    suite(source.format(body="net(batch())"), *GATE, "--modelbudget-update=new")
    assert said(suite(source.format(body="pass"), *GATE, "-k", "test_it")) == [
        "in the baseline, and not measured any more: 1 entry",
        "  test_it.py::test_it Net: flops 192 FLOPs",
    ]
    assert said(suite(source.format(body="pass"), *GATE, "--modelbudget-update=lower")) == [
        f"{NAME}: changed 1 entry",
        "  dropped test_it.py::test_it Net: flops 192 FLOPs",
    ]
    assert said(suite(source.format(body="pass"), *GATE)) == []


def test_in_ci_a_baseline_that_knows_nothing_of_the_suite_holds_nothing(suite: Suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite("def test_it(): Net()(batch())", *GATE, "--modelbudget-update=new")
    # By another name it is held all the same.
    assert suite("def test_renamed(): Net()(batch())", *GATE).result.ret == pytest.ExitCode.OK
    run = suite("def test_renamed(): Tiny()(batch())", *GATE)
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert (
        f"ERROR {NAME} knows nothing of what this run measured, and with CI set a run in which nothing is held to "
        "growth does not pass: run python -m pytest --modelbudget --modelbudget-max-growth=1% "
        "--modelbudget-update=new, and commit the file"
    ) in run.lines
    # A selected run may well be of what is new.
    assert suite("def test_renamed(): Tiny()(batch())", *GATE, "-k", "renamed").result.ret == pytest.ExitCode.OK
    both = "def test_it(): Net()(batch())\ndef test_renamed(): Tiny()(batch())"
    assert suite(both, *GATE).result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(("ci", "observed"), [("", ()), ("true", ("--modelbudget",)), ("true", ())])
def test_in_ci_growth_of_marked_tests_alone_is_pointed_out(
    suite: Suite, monkeypatch, ci: str, observed: tuple[str, ...]
):
    monkeypatch.setenv("CI", ci)
    run = suite("def test_it(): pass", "-q", "--modelbudget-max-growth=1%", *observed)
    line = "modelbudget_max_growth = 1% holds tests with a budget alone: with --modelbudget it holds every test"
    assert (line in run.lines) == (bool(ci) and not observed)


CHOSEN = """
from hypothesis import given, settings, strategies as st
{mark}
@given(st.sampled_from([{sizes}]))
@settings(max_examples=3)
def test_it(size): {model}()(batch(size))
"""


def test_what_hypothesis_chooses_is_held_where_it_is_what_was_recorded(suite: Suite):
    args = ("--modelbudget", "--modelbudget-max-growth=0%")
    source = CHOSEN.replace("{mark}", "")
    # Each example builds a model: how many there are, and which is the first, does not matter.
    suite(source.format(sizes="1, 2, 3", model="Net"), *args, "--modelbudget-update=new")
    assert {(key.model, key.metric, entry.value) for key, entry in load(suite.pytester.path / NAME).items()} == {
        ("Net", "params", 58),
        ("Net", "flops", 3 * 2 * 48),
    }
    assert suite(source.format(sizes="3, 2", model="Net"), *args).outcomes == {"test_it": "passed"}
    # A compute-only regression, of the same largest example.
    twice = "class Net(Net):\n    def forward(self, x): return super().forward(x) + super().forward(x)\n"
    failed = suite(twice + source.format(sizes="3, 2", model="Net"), *args)
    assert failed.headline("test_it") == "max_growth: Net flops 576 FLOPs, was 288 FLOPs (+100.0 % > 0%) for 3x4"
    # Another largest example says nothing, and that is said.
    other = suite(twice + source.format(sizes="2", model="Net"), *args)
    assert other.outcomes == {"test_it": "passed"}
    assert [(row["metric"], row["outcome"], row["reason"]) for row in other.verdicts("test_it")] == [
        ("params", "within", ""),
        ("flops", "not comparable", "hypothesis chose 2x4 for its largest example, and 3x4 is recorded"),
    ]
    assert "chose 2x4 for its largest example" in other.result.stdout.str()
    before = load(suite.pytester.path / NAME)
    told = "not comparable, since hypothesis decides what they measure (-v says more): test_it.py::test_it"
    assert said(other) == [told]
    run = suite(source.format(sizes="4", model="Net"), *args, "--modelbudget-update=all")
    assert said(run) == [f"{NAME}: nothing to change", told]
    assert load(suite.pytester.path / NAME) == before


def test_a_mark_on_a_test_of_hypothesis_takes_models_of_one_name_together(suite: Suite):
    source = CHOSEN.replace("{mark}", "@pytest.mark.max_growth()")
    suite(source.format(sizes="1, 2", model="Tiny"), "--modelbudget-update=new")
    assert suite(source.format(sizes="2", model="Tiny")).outcomes == {"test_it": "passed"}
    # What chance made smaller is no improvement.
    smaller = suite(source.format(sizes="1", model="Tiny"))
    assert said(smaller) == [
        "recorded for other examples of hypothesis, so they may have grown all the same: test_it.py::test_it"
    ]
    before = load(suite.pytester.path / NAME)
    # 16 MACs a sample.
    assert said(suite(source.format(sizes="1", model="Tiny"), "--modelbudget-update=all")) == [
        f"{NAME}: nothing to change",
        "not changed, since hypothesis chose other examples than those that are recorded: an @example of the largest "
        "keeps the figure still: 1 entry",
        "  shrunk Tiny flops 64 FLOPs -> 32 FLOPs (-50.0 %) for 1x4, was for 2x4, in test_it.py::test_it",
    ]
    assert load(suite.pytester.path / NAME) == before
    run = suite(source.format(sizes="1, 3", model="Tiny"))
    assert run.headline("test_it") == "max_growth: Tiny flops 96 FLOPs, was 64 FLOPs (+50.0 % > 0 %) for 3x4"
    assert (
        f"  hint      the inputs changed from 2x4 to 3x4: if chance decides them, exempt the test with {EXEMPTION}"
    ) in run.failure("test_it").splitlines()


def test_models_of_one_name_need_not_have_the_same_parts(suite: Suite):
    source = """
class Deep(nn.Sequential):
    def __init__(self, depth): super().__init__(*(nn.Linear(4, 4) for _ in range(depth)))
from hypothesis import given, settings, strategies as st
@pytest.mark.max_growth(macs=0)
@given(st.sampled_from([1, 2]))
@settings(max_examples=9)
def test_it(depth): Deep(depth)(batch(1))
"""
    suite(source, "--modelbudget-update=new")
    ((_, entry),) = load(suite.pytester.path / NAME).items()
    assert (entry.value, dict(entry.modules)) == (32, {"": 32, "0": 16, "1": 16})
    assert suite(source).outcomes == {"test_it": "passed"}


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        # What is called several times may get more each time, as without a cache.
        (
            "net(ones(2, 4)), net(ones(1, 4))",
            "net(ones(3, 4)), net(ones(1, 4))",
            "the largest of its 2 calls is now for 3x4, was for 2x4",
        ),
        (
            "net(ones(2, 4))",
            "[net(ones(n, 4)) for n in (1, 2, 3)]",
            "the largest of its 3 calls is now for 3x4, was for 2x4",
        ),
        (
            "net(ones(2, 4))",
            "net(ones(3, 4))",
            f"the inputs changed from 2x4 to 3x4: if chance decides them, exempt the test with {EXEMPTION}",
        ),
        ("net(ones(2, 4))", "net(ones(2, 4), ones(2, 4))", ""),
        (
            "net(ones(2, 4), ones(2, 4))",
            "net(ones(2, 4), ones(3, 4))",
            f"the inputs changed from 2x4, 2x4 to 2x4, 3x4: if chance decides them, exempt the test with {EXEMPTION}",
        ),
    ],
)
def test_a_hint_says_what_became_of_the_inputs(suite: Suite, before: str, after: str, hint: str):
    source = """
    from torch import ones
    class Either(Tiny):
        def forward(self, *inputs): return [super(Either, self).forward(x) for x in inputs]
    @pytest.mark.max_growth()
    def test_it():
        net = Either()
        {}
    """
    suite(source.format(before), "--modelbudget-update=new")
    lines = suite(source.format(after)).failure("test_it").splitlines()
    assert lines[0].startswith("max_growth: Either flops ")
    assert [line for line in lines if "hint" in line] == ([f"  hint      {hint}"] if hint else [])


def test_growth_of_a_model_that_draws_random_numbers_says_how_to_exempt_it(suite: Suite):
    source = """
class Augmented(Net):
    def forward(self, x): return super().forward(x.repeat({times}, 1) + torch.rand(1))
@pytest.mark.max_growth()
def test_it(): Augmented()(batch())
"""
    suite(source.format(times=1), "--modelbudget-update=new")
    assert (
        "  hint      the model draws random numbers (aten::rand): if they decide what it does, seed them in the test, "
        f"or exempt it with {EXEMPTION}"
    ) in suite(source.format(times=2)).failure("test_it")


# -- the mark ------------------------------------------------------------------------------------------------------


def test_one_metric_by_name(suite: Suite):
    run = suite("@pytest.mark.max_growth(macs='2%')\ndef test_it(): Net()(batch())", "--modelbudget-update=new")
    assert [key.metric for key in load(suite.pytester.path / NAME)] == ["macs"]
    assert run.outcomes == {"test_it": "passed"}


def test_a_pattern_that_matches_no_submodule_is_not_recorded_as_if_it_did(suite: Suite):
    source = "@pytest.mark.max_growth('1%', module='zz*')\ndef test_it(): Net()(batch())"
    run = suite(source, "--modelbudget-update=new")
    assert run.headline("test_it").startswith('max_growth: module="zz*" matches none of the 2 submodules of Net')
    assert not suite.pytester.path.joinpath(NAME).exists()


def test_a_submodule_may_not_grow_though_the_model_shrinks(suite: Suite):
    source = """
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, {a}), nn.Linear({a}, {b})
        def forward(self, x): return self.b(self.a(x))

    @pytest.mark.max_growth("10%", module="a")
    def test_it(): Sized()(batch(1))
    """
    suite(source.format(a=8, b=50), "--modelbudget-update=new")
    run = suite(source.format(a=9, b=2))
    assert run.headline("test_it") == "max_growth: Sized a params 45, was 40 (+12.5 % > 10%)"
    assert [verdict["baseline"] for verdict in run.verdicts("test_it")] == [40, 2 * 4 * 8]  # parameters, FLOPs
    assert suite(source.format(a=8, b=60)).outcomes == {"test_it": "passed"}


def test_of_modules_in_one_another_the_outermost_that_grew_too_much_is_named_with_what_grew_in_it(suite: Suite):
    source = """
    class Block(nn.Sequential):
        def __init__(self): super().__init__(nn.Linear(4, {width}), nn.Linear({width}, 4), nn.Linear(4, 4))

    @pytest.mark.max_growth(params="5%", module="*")
    def test_it(): nn.Sequential(nn.Sequential(Block()), nn.Linear(4, 100))(batch(1))
    """
    suite(source.format(width=8), "--modelbudget-update=new")
    # 8: 40 + 36 + 20 = 96. 9: 45 + 40 + 20 = 105.
    run = suite(source.format(width=9))
    lines = run.failure("test_it").splitlines()
    assert lines[0] == "max_growth: Sequential 0 params 105, was 96 (+9.4 % > 5%)"
    assert lines[2].startswith("  baseline  96 parameters, measured with torch ")
    assert lines[4] == "  where     0.0.0 +5 of +9   0.0.1 +4"
    assert len(run.verdicts("test_it")) == 1


def test_other_conventions_are_refused(suite: Suite):
    suite(GROWTH, "--modelbudget-update=new")
    run = suite(GROWTH, "--modelbudget-flops-per-mac=1")
    assert run.headline("test_it").startswith(
        "max_growth: the baseline counts 2 FLOPs for a MAC, and this run 1: set modelbudget_flops_per_mac = 2"
    )


def test_a_new_torch_is_named_where_nothing_else_changed(suite: Suite):
    suite(GROWTH, "--modelbudget-update=new")
    path = suite.pytester.path / NAME
    text = path.read_text("utf-8")
    text = text.replace('"value": 128', '"value": 100').replace('{"": 128}', '{"": 100}')
    text = text.replace('"torch": "2', '"torch": "1')
    path.write_text(text, encoding="utf-8")
    run = suite(GROWTH)
    assert "  hint      the same modules and inputs; torch changed from 1." in run.failure("test_it")


def test_two_models_of_one_class_are_told_apart(suite: Suite):
    source = """
    @pytest.mark.max_growth()
    def test_it():
        one, two = nn.Linear(4, 8), nn.Linear(4, 4)
        one(batch()), two(batch())
    """
    assert suite(source, "--modelbudget-update=new").outcomes == {"test_it": "passed"}
    assert {key.model for key in load(suite.pytester.path / NAME)} == {"Linear", "Linear #2"}


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ('max_growth("1")', "'1' is no percentage; write \"1%\""),
        ("max_growth(0.01)", '0.01 is no percentage; write "1%", or "0.01%" if so little is meant'),
        ('max_growth("0.5")', '\'0.5\' is no percentage; write "50%", or "0.5%" if so little is meant'),
        ('max_growth("1k")', "'1k' is no percentage; write e.g. \"1%\""),
        ('max_growth("-1%")', "'-1%' is no percentage"),
        ('max_growth(flop="1%")', "got an unexpected keyword argument 'flop'"),
        ('max_growth("1%", params="2%", per="sample")', 'per="sample": params is no sum over calls'),
    ],
)
def test_a_malformed_mark_is_one_line(suite: Suite, mark, complaint):
    run = suite(f"@pytest.mark.{mark}\ndef test_it(): pass")
    assert any(complaint in line for line in run.lines)
    assert run.result.ret == pytest.ExitCode.INTERRUPTED


def test_none_lifts_and_the_closest_wins(suite: Suite):
    source = """
    pytestmark = pytest.mark.max_growth("1%")
    @pytest.mark.max_growth(None)
    def test_lifted(): Net()(batch())
    @pytest.mark.max_growth(None)
    @pytest.mark.max_params(58)
    def test_absolute_limits_stay(): Net()(batch())
    """
    run = suite(source)
    assert run.outcomes == {"test_lifted": "passed", "test_absolute_limits_stay": "passed"}
    assert run.measured("test_absolute_limits_stay") == [("Net", "58")]


def test_a_table_limits_growth(suite: Suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text('[[budgets]]\ntests = "*"\nmax_growth = "1%"\n')
    assert suite(GROWTH.replace("@pytest.mark.max_growth()", "")).outcomes == {"test_it": "failed"}


def test_a_limit_on_growth_that_is_held_against_nothing_reads_as_it_was_written(suite: Suite):
    source = """
    @pytest.mark.max_growth("1%", module="nothing.*")
    def test_it(): Net()(batch())
    """
    suite(source, "--modelbudget-update=new")
    run = suite(source, "--modelbudget-report=json:r.json")
    assert "  params growth  - / 1%  invalid" in run.lines
    (test,) = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))["tests"]
    assert [(verdict["limit"], verdict["bound"]) for verdict in test["verdicts"]] == [("1%", None)] * 2
