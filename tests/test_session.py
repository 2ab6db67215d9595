"""What a whole run knows: limits that measured nothing, results of workers, keys of tests.

Net: 58 parameters, 48 MACs a sample. Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.result import without_group

if TYPE_CHECKING:
    from tests.suite import Suite

NOTHING = """
@pytest.mark.max_macs("1k")
class TestNothing:
    def test_one(self): pass
    def test_two(self): pass

@pytest.mark.max_macs("1k")
class TestSomething:
    def test_one(self): pass
    def test_two(self): Net()(batch())
"""
COMPLAINT = 'ERROR @max_macs("1k") at test_it.py:6 measured none of its 2 tests (-v shows why): correct it or remove it'


class TestSourcesThatMeasureNothing:
    def test_they_fail_a_full_run(self, suite: Suite):
        run = suite(NOTHING)
        assert set(run.outcomes.values()) == {"passed"}
        assert run.result.ret == pytest.ExitCode.TESTS_FAILED
        assert [line for line in run.lines if line.startswith("ERROR")] == [COMPLAINT]

    def test_also_with_workers(self, suite: Suite):
        run = suite(NOTHING, "-n2")
        assert run.result.ret == pytest.ExitCode.TESTS_FAILED
        assert [line for line in run.lines if line.startswith("ERROR")] == [COMPLAINT]

    def test_also_where_nothing_is_printed(self, suite: Suite):
        assert suite(NOTHING, "-p", "no:terminal").result.ret == pytest.ExitCode.TESTS_FAILED
        assert COMPLAINT in suite(NOTHING, "-q").lines

    @pytest.mark.parametrize("args", [("test_it.py",), ("-k", "test"), ("--deselect", "x"), ("--ignore", "x")])
    def test_a_part_of_the_suite_cannot_know(self, suite: Suite, args: tuple[str, ...]):
        run = suite(NOTHING, *args)
        assert run.result.ret == 0
        assert not [line for line in run.lines if line.startswith("ERROR")]

    def test_collecting_is_no_run(self, suite: Suite):
        assert suite(NOTHING, "--collect-only").result.ret == 0
        assert suite(NOTHING, "--setup-only").result.ret == 0

    def test_a_run_that_was_stopped_cannot_know(self, suite: Suite):
        run = suite(NOTHING + "\ndef test_failing(): assert False\ndef test_last(): pass", "-x")
        assert not [line for line in run.lines if line.startswith("ERROR")]

    @pytest.mark.parametrize(
        "why",
        ["@pytest.mark.skip", "@pytest.mark.skipif('True', reason='no card')", "@pytest.mark.xfail(run=False)"],
    )
    def test_a_skipped_test_might_have_measured(self, suite: Suite, why: str):
        run = suite(
            f"""
@pytest.mark.max_macs("1k")
class TestOne:
    def test_helper(self): pass
    {why}
    def test_on_the_card(self): Net()(batch())
"""
        )
        assert run.result.ret == 0

    def test_a_test_that_skips_itself_might_have_measured(self, suite: Suite):
        run = suite(
            """
@pytest.mark.max_macs("1k")
class TestOne:
    def test_helper(self): pass
    def test_on_the_card(self): pytest.skip("no card")
"""
        )
        assert run.result.ret == 0

    def test_in_tables_too(self, suite: Suite):
        suite.pytester.path.joinpath("modelbudget.toml").write_text(
            '[[budgets]]\ntests = "test_it.py"\nmax_macs = "1k"\n', encoding="utf-8"
        )
        run = suite("def test_it(): pass")
        assert run.result.ret == pytest.ExitCode.TESTS_FAILED
        run.result.stdout.fnmatch_lines(["ERROR modelbudget.toml: budgets*max_macs* measured none of its 1 test (*"])

    def test_a_marked_module(self, suite: Suite):
        run = suite("pytestmark = pytest.mark.max_macs('1k')\ndef test_one(): pass\ndef test_two(): Net()(batch())")
        assert run.result.ret == 0
        run = suite("pytestmark = pytest.mark.max_macs('1k')\ndef test_one(): pass")
        assert run.result.ret == pytest.ExitCode.TESTS_FAILED


BUDGETS = """
@pytest.mark.max_params(60)
def test_within(): Net()(batch())

@pytest.mark.max_macs(95)
@pytest.mark.xdist_group("gpu")
def test_over(): Net()(batch())

@pytest.mark.max_macs("1k")
@pytest.mark.parametrize("text", ["a@b", "x::y@z"])
def test_param(text): Net()(batch())

@pytest.mark.max_params(50, level="warn")
def test_warned(): Net()(batch())
"""


def test_workers_and_one_process_tell_the_same(suite: Suite):
    serial = suite(BUDGETS)
    assert set(serial.results) == {
        "test_it.py::test_within",
        "test_it.py::test_over",
        "test_it.py::test_param[a@b]",
        "test_it.py::test_param[x::y@z]",
        "test_it.py::test_warned",
    }
    for args in (("-n2", "--dist", "worksteal"), ("-n2", "--dist", "loadgroup", "-vv")):
        run = suite(BUDGETS, *args)
        assert run.outcomes == {
            **dict.fromkeys(("test_within", "test_param[a@b]", "test_param[x::y@z]", "test_warned"), "passed"),
            "test_over": "failed",
        }
        assert run.headline("test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
        assert {nodeid: result["verdicts"] for nodeid, result in run.results.items()} == {
            nodeid: result["verdicts"] for nodeid, result in serial.results.items()
        }
        table = [line for line in run.lines if line.startswith(("test_it.py::test_over  Net", "  macs  "))]
        assert table, run.lines
        assert run.result.parseoutcomes()["warnings"] == 1


def test_a_worker_sends_once_what_its_tests_have_in_common(suite: Suite):
    conftest = """
    import json, os

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(report):
        row = yield
        if "modelbudget" in row:
            with open(os.environ["PYTEST_XDIST_WORKER"], "a") as stream:
                stream.write(json.dumps(row["modelbudget"]) + "\\n")
        return row
    """
    source = """
    @pytest.mark.max_growth(flops="0%")
    @pytest.mark.parametrize("number", range(8))
    def test_alike(number): Net()(batch())
    """
    args = ("--modelbudget-report=json:r.json", "--modelbudget-update=new")
    serial = suite(source, *args)
    (suite.pytester.path / "modelbudget-baseline.json").unlink()
    run = suite(source, "-n2", *args, conftest=conftest)
    assert run.results == serial.results
    for worker in ("gw0", "gw1"):
        first, *others = suite.pytester.path.joinpath(worker).read_text("utf-8").splitlines()
        assert "encoder" in first
        assert others
        assert not any("encoder" in line for line in others)


def test_results_are_primitives(suite: Suite):
    run = suite(BUDGETS, "-vv", "--modelbudget")
    assert json.loads(json.dumps(run.results)) == json.loads(json.dumps(run.results, default=None))
    for report in run.reports:
        if hasattr(report, "modelbudget"):
            json.dumps(report.modelbudget, allow_nan=False)


def test_the_module_tree_travels_only_when_it_is_shown(suite: Suite):
    short = suite(BUDGETS).results["test_it.py::test_over"]["profiles"]
    tree = suite(BUDGETS, "-vv").results["test_it.py::test_over"]["profiles"]
    assert "modules" not in short[0]
    assert set(tree[0]["modules"]) == {"", "encoder", "head"}


@pytest.mark.parametrize(
    ("nodeid", "plain"),
    [
        ("a.py::test_x@gpu", "a.py::test_x"),
        ("a.py::test_x[1]@gpu", "a.py::test_x[1]"),
        ("a.py::test_x[a@b]", "a.py::test_x[a@b]"),
        ("a.py::test_x[a@b]@gpu", "a.py::test_x[a@b]"),
        ("a@b.py::test_x", "a@b.py::test_x"),
        ("a@b.py::Test::test_x@one", "a@b.py::Test::test_x"),
        ("a.py::test_x", "a.py::test_x"),
    ],
)
def test_the_group_of_xdist_is_no_part_of_the_key(nodeid: str, plain: str):
    assert without_group(nodeid) == plain


def test_a_worker_that_crashes_takes_only_its_test_along(suite: Suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "test_it.py"\nmax_macs = "1k"\n', encoding="utf-8"
    )
    run = suite(
        """
import os

def test_before(): Net()(batch())
def test_crash():
    Net()(batch())
    os._exit(3)
@pytest.mark.max_params(50)
def test_over(): Net()(batch())
def test_after(): Net()(batch())
""",
        "-n2",
        "--modelbudget-report=json:r.json",
        "--modelbudget-update=all",
    )
    output = run.result.stdout.str() + run.result.stderr.str()
    assert "INTERNALERROR" not in output
    run.result.assert_outcomes(passed=2, failed=2)
    assert run.headline("test_over") == "max_params: Net 58 > 50 (+16.0 %)"
    for name in ("test_before", "test_after"):
        assert run.measured(name) == [("Net", "96 MACs")]
    report = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))
    assert {test["id"] for test in report["tests"]} == {
        "test_it.py::test_before",
        "test_it.py::test_over",
        "test_it.py::test_after",
    }


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_a_run_that_stops_at_its_first_failures_judges_no_source_that_it_did_not_reach(
    suite: Suite, workers: tuple[str, ...]
):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "test_it.py::test_9"\nmax_macs = "1k"\n', encoding="utf-8"
    )
    tests = "".join(
        f"@pytest.mark.max_params({10 if number < 9 else 60})\ndef test_{number}(): Net()(batch())\n"
        for number in range(10)
    )
    run = suite(tests, *workers, "--maxfail=2")
    failed = [name for name, outcome in run.outcomes.items() if outcome == "failed"]
    assert 2 <= len(failed) < 9
    for name in failed:
        assert run.headline(name) == "max_params: Net 58 > 10 (+480.0 %)"
    assert "measured none of its" not in run.result.stdout.str()
    assert "stopping after 2 failures" in run.result.stdout.str()


def test_a_test_may_patch_what_reports_are_made_with(suite):
    run = suite(
        """
import json

def test_it(monkeypatch):
    monkeypatch.setattr(json, "dumps", None)
    Net()(batch())
def test_other(): pass
""",
        "--modelbudget",
    )
    assert run.outcomes == {"test_it": "passed", "test_other": "passed"}
