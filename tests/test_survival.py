"""Options and habits of other people's suites, none of which may change what a budget means.

Net: 58 parameters, 48 MACs a sample.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.suite import Suite

SOURCE = """
@pytest.mark.max_params(60)
def test_within(): Net()(batch())

@pytest.mark.max_params(50)
def test_over(): Net()(batch())

def test_unmarked(): Net()(batch())
"""
HEADLINE = "max_params: Net 58 > 50 (+16.0 %)"


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-p", "no:terminal"),
        ("-p", "no:cacheprovider"),
        ("--tb=no",),
        ("--tb=line",),
        ("--tb=native",),
        ("--show-capture=no",),
        ("-W", "error"),
        ("--strict-markers", "--strict-config"),
        ("-s",),
        ("--capture=tee-sys",),
        ("-p", "no:warnings"),
        ("-p", "no:logging"),
        ("-p", "no:unittest"),
        ("-p", "no:junitxml"),
        ("--import-mode=importlib", "-o", "pythonpath=."),
        ("-o", "xfail_strict=true"),
        ("--durations=3",),
    ],
    ids=" ".join,
)
def test_the_budget_means_the_same(suite: Suite, args: tuple[str, ...]):
    run = suite(SOURCE, *args)
    assert run.outcomes == {"test_within": "passed", "test_over": "failed", "test_unmarked": "passed"}
    assert run.headline("test_over").endswith(HEADLINE)
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in run.result.stdout.str() + run.result.stderr.str()


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_the_place_of_a_failure_is_in_the_test(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        SOURCE
        + """
def test_check(modelbudget):
    net = Net()
    modelbudget.check(net, params=50)

import unittest
@pytest.mark.max_params(50)
class TestUnit(unittest.TestCase):
    def test_method(self): Net()(batch())
""",
        "--tb=line",
        *workers,
    )
    place = str(suite.pytester.path.joinpath("test_it.py"))
    for line in (f"{place}:9: ", f"{place}:16: ", f"{place}:21: "):
        run.result.stdout.fnmatch_lines([f"{line}BudgetExceeded: {HEADLINE}"])


def test_strict(suite: Suite):
    if pytest.version_tuple < (9,):
        pytest.skip("--strict came back with pytest 9")
    run = suite(SOURCE, "-o", "strict=true")
    assert run.outcomes == {"test_within": "passed", "test_over": "failed", "test_unmarked": "passed"}


@pytest.mark.parametrize("option", ["--collect-only", "--setup-only", "--setup-plan", "--fixtures-per-test"])
def test_no_body_no_verdict(suite: Suite, option: str):
    run = suite(SOURCE, option)
    assert run.result.ret == 0
    assert run.results == {}
    assert "model budgets" not in run.result.stdout.str()


@pytest.mark.parametrize("args", [(), ("-n2",)], ids=["serial", "xdist"])
def test_modules_that_skip_themselves_and_modules_that_are_broken(suite: Suite, args: tuple[str, ...]):
    run = suite(
        SOURCE,
        *args,
        test_skip="pytest.importorskip('no_such_module')\n@pytest.mark.max_params(1)\ndef test_it(): pass",
        test_whole='pytest.skip("not here", allow_module_level=True)',
        test_broken="import no_such_module" if not args else "",
        off=("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest", "--continue-on-collection-errors"),
    )
    assert "INTERNALERROR" not in run.result.stdout.str() + run.result.stderr.str()
    run.result.assert_outcomes(passed=2, failed=1, skipped=2, errors=0 if args else 1)


def test_stop_at_the_first_and_start_with_the_last_failed(suite: Suite):
    run = suite(SOURCE, "-x")
    assert run.outcomes == {"test_within": "passed", "test_over": "failed"}
    run = suite(SOURCE, "--lf")
    assert run.outcomes == {"test_over": "failed"}
    run = suite(SOURCE, "--ff")
    assert list(run.outcomes) == ["test_over", "test_within", "test_unmarked"]
    run = suite(SOURCE, "--sw")
    assert list(run.outcomes) == ["test_within", "test_over"]


def test_the_debugger_stops_where_a_budget_is_exceeded(suite: Suite, monkeypatch: pytest.MonkeyPatch):
    suite.write(SOURCE)
    stops: list[str] = []

    class Debugger:
        quitting = False

        def __init__(self, *args: object, **kwargs: object) -> None: ...
        def reset(self) -> None: ...
        def interaction(self, frame: object, info: object) -> None:
            stops.append(str(info))

    monkeypatch.setattr("_pytest.debugging.pytestPDB._init_pdb", lambda *args, **kwargs: Debugger())
    run = suite(SOURCE, "--pdb")
    assert len(stops) == 1
    assert run.outcomes == {"test_within": "passed", "test_over": "failed", "test_unmarked": "passed"}


def test_any_order(suite: Suite):
    forward = suite(SOURCE)
    backward = suite(SOURCE, conftest="def pytest_collection_modifyitems(items): items.reverse()")
    assert list(backward.outcomes) == list(reversed(forward.outcomes))
    assert backward.outcomes == forward.outcomes

    def table(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith(("test_it.py::", "  params"))]

    assert table(backward.lines)[1:] == table(forward.lines)[1:]  # the first are the dots of the progress


def test_without_autoload(pytester: pytest.Pytester, suite: Suite, monkeypatch: pytest.MonkeyPatch):
    suite.write("@pytest.mark.max_params(50)\ndef test_over(): Net()(batch())")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "pytest_modelbudget.plugin")
    result.stdout.fnmatch_lines([f"FAILED test_it.py::test_over - BudgetExceeded: {HEADLINE}"])


def test_async_tests(suite: Suite):
    pytest.importorskip("pytest_asyncio")
    run = suite(
        """
import asyncio

@pytest.mark.max_macs(95)
@pytest.mark.asyncio
async def test_over():
    net = Net()
    await asyncio.sleep(0)
    net(batch())

@pytest.mark.max_macs(96)
@pytest.mark.asyncio
async def test_within():
    net = Net()
    await asyncio.gather(*(one(net) for _ in range(3)))

async def one(net):
    await asyncio.sleep(0)
    net(batch())

@pytest.mark.asyncio
async def test_block(modelbudget):
    with modelbudget.limit(macs=95):
        await one(Net())
""",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        off=("-p", "no:anyio", "-p", "no:hypothesispytest"),
    )
    assert run.outcomes == {"test_over": "failed", "test_within": "passed", "test_block": "failed"}
    for name in ("test_over", "test_block"):
        assert run.headline(name) == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.measured("test_within") == [("Net", "96 MACs")]


def test_async_tests_of_anyio(suite: Suite):
    pytest.importorskip("anyio")
    run = suite(
        """
@pytest.fixture
def anyio_backend(): return "asyncio"

@pytest.mark.max_macs(95)
@pytest.mark.anyio
async def test_over(): Net()(batch())
""",
        off=("-p", "no:asyncio", "-p", "no:hypothesispytest"),
    )
    assert run.headline("test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"


def test_unittest_async_and_fixtures_of_classes(suite: Suite):
    run = suite(
        """
import unittest

@pytest.mark.max_macs(95)
class TestAsync(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self): self.net = Net()
    async def test_over(self): self.net(batch())

class TestLimit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def budget(self, modelbudget): self.budget = modelbudget
    def test_over(self):
        with self.budget.limit(macs=95): Net()(batch())
"""
    )
    assert run.headline("TestAsync::test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.headline("TestLimit::test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"


def test_doctests(suite: Suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "documented.py::*"\nmax_macs = 95\n', encoding="utf-8"
    )
    run = suite(
        "def test_it(): pass",
        "--doctest-modules",
        documented='''
def small():
    """
    >>> from models import *
    >>> Tiny()(batch()).shape
    torch.Size([2, 4])
    """

def large():
    """
    >>> from models import *
    >>> Net()(batch()).shape
    torch.Size([2, 2])
    """
''',
    )
    assert run.outcomes == {"documented.small": "passed", "documented.large": "failed", "test_it": "passed"}
    assert run.headline("documented.large") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"


def test_parametrized_fixtures_and_marks_added_on_the_way(suite: Suite):
    run = suite(
        """
@pytest.fixture(params=[Tiny, Net])
def model(request):
    if request.param is Net:
        request.applymarker(pytest.mark.max_params(50))
    return request.param()

def test_fixture(model): model(batch())

def test_by_name(): Net()(batch())
@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.max_macs(95))])
def test_param(size): Net()(batch(size))
""",
        conftest="""
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.name == "test_by_name":
                    item.add_marker(pytest.mark.max_params(50))
        """,
    )
    assert {name for name, outcome in run.outcomes.items() if outcome == "failed"} == {
        "test_fixture[Net]",
        "test_by_name",
        "test_param[2]",
    }


def test_items_that_are_no_functions(suite: Suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "*.budget::*"\nmax_macs = 95\n', encoding="utf-8"
    )
    suite.pytester.path.joinpath("net.budget").write_text("", encoding="utf-8")
    run = suite(
        conftest="""
        class Item(pytest.Item):
            def runtest(self): Net()(batch())

        class File(pytest.File):
            def collect(self): yield Item.from_parent(self, name="net")

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".budget":
                return File.from_parent(parent, path=file_path)
        """
    )
    assert run.headline("net") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"


def test_a_test_that_leaves_its_directory(suite: Suite, tmp_path: Path):
    run = suite(
        """
@pytest.mark.max_params(50)
def test_over(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Net()(batch())
def test_check(modelbudget, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    modelbudget.check(Net(), params=50)
"""
    )
    assert "at test_it.py:6" in run.failure("test_over")
    assert "at test_it.py:12" in run.failure("test_check")
    assert os.getcwd() == str(suite.pytester.path)


def test_hooks_of_a_directory_are_for_its_tests_alone(suite: Suite):
    source = "@pytest.mark.max_params(57)\ndef test_it(): pass"
    suite.pytester.mkdir("sub")
    run = suite(
        source,
        "-o",
        "pythonpath=.",
        **{
            "sub/conftest": "def pytest_modelbudget_model(item): return Net()",
            "sub/test_sub": source.replace("test_it", "test_sub"),
        },
    )
    assert run.headline("test_sub") == "max_params: Net 58 > 57 (+1.8 %)"
    assert run.headline("test_it").startswith("max_params: nothing was measured: the test neither calls a model")


def test_models_in_workers_of_a_data_loader_are_not_seen_and_that_fails(suite: Suite):
    run = suite(
        """
class Features(torch.utils.data.Dataset):
    def __init__(self): self.net = Net()
    def __len__(self): return 2
    def __getitem__(self, index):
        with torch.no_grad(): return self.net(batch())

@pytest.mark.max_macs(95)
@pytest.mark.parametrize("workers", [0, 1])
def test_it(workers):
    for _ in torch.utils.data.DataLoader(Features(), num_workers=workers): pass
"""
    )
    assert run.headline("test_it[0]") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.headline("test_it[1]").startswith("max_macs: nothing was measured: the test neither calls a model")


def test_marks_on_parameters_of_fixtures(suite: Suite):
    run = suite(
        """
@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.max_macs(95))])
def size(request): return request.param
def test_fixture(size): Net()(batch(size))
@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.max_macs(95))], indirect=True)
def test_indirect(size): Net()(batch(size))
"""
    )
    assert run.outcomes == {
        "test_fixture[1]": "passed",
        "test_fixture[2]": "failed",
        "test_indirect[1]": "passed",
        "test_indirect[2]": "failed",
    }


def test_unittest_classes_that_inherit_their_tests(suite: Suite):
    run = suite(
        """
import unittest

class Cases:
    @pytest.mark.max_macs(95)
    def test_over(self): Net()(batch())
    @pytest.mark.max_macs(95)
    def test_parts(self):
        for size in (1, 2):
            with self.subTest(size=size): Net()(batch(size))
    @unittest.skip("not here")
    @pytest.mark.max_macs(95)
    def test_skipped(self): Net()(batch())
class TestFirst(Cases, unittest.TestCase): pass
@pytest.mark.max_macs(96)
class TestSecond(Cases, unittest.TestCase): pass
""",
    )
    outcomes = {name: outcome for name, outcome in run.outcomes.items() if "[" not in name}
    assert outcomes == {
        "TestFirst::test_over": "failed",
        "TestFirst::test_parts": "failed",
        "TestFirst::test_skipped": "skipped",
        "TestSecond::test_over": "passed",
        "TestSecond::test_parts": "passed",
        "TestSecond::test_skipped": "skipped",
    }


def test_state_machines_of_hypothesis(suite: Suite):
    run = suite(
        """
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

class Machine(RuleBasedStateMachine):
    @rule()
    def call(self): Net()(batch())
Machine.TestCase.settings = settings(max_examples=2, deadline=None, database=None)
@pytest.mark.max_macs(96)
class TestWithin(Machine.TestCase): pass
@pytest.mark.max_macs(95)
class TestOver(Machine.TestCase): pass
"""
    )
    assert run.outcomes == {"TestWithin::runTest": "passed", "TestOver::runTest": "failed"}


def test_a_teardown_that_fails_is_told_beside_the_budget(suite: Suite):
    run = suite(
        """
@pytest.fixture
def broken():
    yield
    raise RuntimeError("no such thing")
@pytest.mark.max_params(50)
def test_it(broken): Net()(batch())
"""
    )
    run.result.assert_outcomes(failed=1, errors=1)
    run.result.stdout.fnmatch_lines([f"FAILED *{HEADLINE}", "ERROR *RuntimeError: no such thing"])


@pytest.mark.parametrize("workers", [(), ("-n2",), ("-n2", "--dist=worksteal")], ids=" ".join)
def test_reruns_end_with_the_same_verdict(suite: Suite, workers: tuple[str, ...]):
    pytest.importorskip("pytest_rerunfailures")
    run = suite(
        """
from pathlib import Path

@pytest.mark.max_macs(96)
def test_flaky():
    Net()(batch())
    flag = Path("was_here")
    if not flag.exists():
        flag.touch()
        assert False
@pytest.mark.max_macs(95)
def test_over(): Net()(batch())
""",
        "--reruns=1",
        *workers,
        off=("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest"),
    )
    assert run.headline("test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.measured("test_over") == run.measured("test_flaky") == [("Net", "96 MACs")]
    reruns = [report.nodeid.partition("::")[2] for report in run.reports if report.outcome == "rerun"]
    assert sorted(reruns) == ["test_flaky", "test_over"]


def test_workers_without_a_terminal_and_without_autoload(suite: Suite, monkeypatch: pytest.MonkeyPatch):
    run = suite(SOURCE, "-n2", "-p", "no:terminal")
    assert run.outcomes == {"test_within": "passed", "test_over": "failed", "test_unmarked": "passed"}
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = suite.pytester.runpytest_subprocess("-p", "xdist", "-p", "pytest_modelbudget.plugin", "-n2")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"FAILED test_it.py::test_over - BudgetExceeded: {HEADLINE}"])


def test_a_pytest_in_a_test_has_budgets_of_its_own(suite: Suite):
    run = suite(
        """
pytest_plugins = "pytester"

@pytest.mark.max_macs(16)
def test_outer(pytester):
    pytester.makepyfile(
        "import pytest, torch\\n"
        "@pytest.mark.max_macs(7)\\n"
        "def test_inner(): torch.nn.Linear(4, 2)(torch.ones(1, 4))"
    )
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(failed=1)
    torch.nn.Linear(4, 4)(torch.ones(1, 4))
"""
    )
    assert run.outcomes == {"test_outer": "passed"}
