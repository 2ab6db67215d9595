"""The plugin as pytest sees it: what it registers, what it costs, what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_modelbudget

OFF = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest")

MARKED = """
import pytest

@pytest.mark.max_params("1M")
def test_marked(): print("in the body")

def test_unmarked(): pass
"""


@pytest.fixture
def observed(monkeypatch):
    """The names of the tests that are observed, in their order."""
    names = []

    def observe(item, budget, settings, resolve):
        names.append(item.name)
        print("around the body")
        try:
            return (yield)
        finally:
            print("behind the body")

    monkeypatch.setattr("pytest_modelbudget.gate.observe", observe)
    return names


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_plugin_imports_nothing_heavy():
    new = python(
        "import sys, pytest; before = set(sys.modules); import pytest_modelbudget.plugin; "
        "print(*sorted(set(sys.modules) - before), sep='\\n')"
    )
    assert {name for name in new.split() if not name.startswith("pytest_modelbudget")} == set()
    assert {"pytest_modelbudget.marks", "pytest_modelbudget.gate"}.isdisjoint(new.split())


def test_a_suite_without_marks_imports_nothing_heavy(pytester):
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\n")
    pytester.makepyfile(
        """
        import sys

        class TestClass:
            def test_it(self):
                heavy = {"torch", "fractions"}
                if sys.version_info >= (3, 11):  # before, pytest itself reads TOML with it
                    heavy.add("tomli")
                ours = ("marks", "tables", "limits", "budget", "gate", "metrics", "session", "outputs", "result")
                heavy.update(f"pytest_modelbudget.{name}" for name in ours)
                assert heavy.isdisjoint(sys.modules)
        """
    )
    pytester.runpytest_subprocess(*OFF).assert_outcomes(passed=1)


def test_the_package_names_what_is_public():
    names = set(dir(pytest_modelbudget))
    assert names >= set(pytest_modelbudget.__all__)
    for name in pytest_modelbudget.__all__:
        assert getattr(pytest_modelbudget, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pytest_modelbudget.nothing  # noqa: B018


def test_the_failure_is_a_failure_and_reads_well(pytester):
    pytester.makepyfile(
        test_it="""
        from pytest_modelbudget import BudgetExceeded
        def test_it(): raise BudgetExceeded("max_flops: too many")
        """
    )
    result = pytester.runpytest(*OFF)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["max_flops: too many", "FAILED test_it.py::test_it - BudgetExceeded: max_flops: too many"]
    )


def test_the_warning_is_filtered_by_its_public_name(pytester):
    pytester.makepyfile(
        """
        import warnings
        from pytest_modelbudget import ModelBudgetWarning
        def test_it(): warnings.warn(ModelBudgetWarning("over"))
        """
    )
    result = pytester.runpytest(*OFF, "-W", "error::pytest_modelbudget.ModelBudgetWarning")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *pytest_modelbudget.ModelBudgetWarning: over"])


def test_only_tests_with_a_budget_are_observed(pytester, observed):
    pytester.makepyfile(MARKED)
    pytester.runpytest_inprocess(*OFF).assert_outcomes(passed=2)
    assert observed == ["test_marked"]


def test_on_request_every_test_is_observed(pytester, observed):
    pytester.makepyfile(MARKED)
    result = pytester.runpytest_inprocess(*OFF, "--modelbudget")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["modelbudget: observing every test"])
    assert observed == ["test_marked", "test_unmarked"]


def test_the_plugin_can_be_switched_off(pytester, observed):
    pytester.makepyfile(MARKED + '\n@pytest.mark.max_params("ten")\ndef test_malformed(modelbudget_device): pass\n')
    result = pytester.runpytest_inprocess(*OFF, "--no-modelbudget", "--modelbudget", "--strict-markers")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["modelbudget: off (--no-modelbudget)"])
    assert observed == []


def test_the_header_says_what_is_not_the_default(pytester):
    result = pytester.runpytest(*OFF)
    result.stdout.no_fnmatch_line("modelbudget:*")
    result = pytester.runpytest(*OFF, "--modelbudget-device=meta", "--modelbudget-uncounted=fail")
    result.stdout.fnmatch_lines(["modelbudget: device meta"])
    result = pytester.runpytest(*OFF, "--modelbudget-flops-per-mac=1", "--modelbudget-uncounted=warn")
    result.stdout.fnmatch_lines(["modelbudget: uncounted warn, flops_per_mac 1"])


def test_only_the_body_is_observed_and_its_output_captured(pytester, observed):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def setup():
            print("setup")
            yield
            print("teardown")

        @pytest.mark.max_params("1M")
        def test_it(setup): print("body")
        """
    )
    result = pytester.runpytest_inprocess(*OFF, "-s")
    result.stdout.fnmatch_lines(["*setup", "around the body", "body", "behind the body", "*teardown"], consecutive=True)
    pytester.runpytest_inprocess(*OFF).stdout.no_fnmatch_line("body")


def test_whatever_runs_a_body_is_observed(pytester, observed):
    pytester.makepyfile(
        '''
        import unittest
        import pytest

        pytestmark = pytest.mark.max_params("1M")

        def documented():
            """
            >>> 1 + 1
            2
            """

        def test_function(): pass

        class TestCase(unittest.TestCase):
            def test_unittest(self): pass

        class TestAsyncCase(unittest.IsolatedAsyncioTestCase):
            async def test_async_unittest(self): pass

        @pytest.mark.anyio
        async def test_anyio(): pass

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        def test_skipped(): pytest.skip("no")
        '''
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio", "--doctest-modules")
    result.assert_outcomes(passed=5, skipped=1)
    assert [name.rpartition(".")[2] for name in observed] == [
        "documented",
        "test_function",
        "test_unittest",
        "test_async_unittest",
        "test_anyio",
        "test_skipped",
    ]


@pytest.mark.parametrize(
    "args",
    [
        ("-p", "no:terminal"),
        ("-p", "no:cacheprovider"),
        ("-p", "no:doctest", "-p", "no:unittest"),
        ("-W", "error"),
        ("--strict-markers", "--strict-config"),
        ("--tb=line", "--show-capture=no"),
        ("-x", "-v"),
    ],
    ids=" ".join,
)
def test_it_runs_with(pytester, observed, args):
    pytester.makepyfile(MARKED)
    assert pytester.runpytest_inprocess(*OFF, *args).ret == pytest.ExitCode.OK
    assert observed == ["test_marked"]


@pytest.mark.parametrize("args", [("--collect-only",), ("--setup-only",), ("--fixtures",), ("--markers",), ("--help",)])
def test_it_measures_nothing_with(pytester, observed, args):
    pytester.makepyfile(MARKED)
    assert pytester.runpytest_inprocess(*OFF, *args).ret == pytest.ExitCode.OK
    assert observed == []


@pytest.mark.parametrize("name", ["modelbudget", "pytest_modelbudget", "pytest_modelbudget.plugin"])
@pytest.mark.parametrize("strict", [("--strict-markers",), ("-W", "error")], ids=" ".join)
def test_it_can_be_loaded_by_name_alone(pytester, monkeypatch, strict, name):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(MARKED.replace("max_params", "slow").replace('("1M")', ""))
    assert pytester.runpytest_subprocess(*strict).ret != pytest.ExitCode.OK  # there is no such mark
    pytester.makepyfile(MARKED.replace('"1M"', "None"))
    pytester.runpytest_subprocess("-p", name, *strict).assert_outcomes(passed=2)


@pytest.mark.parametrize("name", ["modelbudget", "pytest_modelbudget"])
def test_it_may_be_named_where_it_is_loaded_anyway(pytester, observed, name):
    pytester.makepyfile(MARKED)
    pytester.runpytest_inprocess(*OFF, "-p", name).assert_outcomes(passed=2)
    assert observed == ["test_marked"]


def test_the_package_as_a_plugin_leaves_alone_what_is_switched_off(pytester, observed):
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess(*OFF, "-p", "pytest_modelbudget", "-p", "no:modelbudget").assert_outcomes(passed=1)


def test_its_options_stand_in_one_group(pytester):
    result = pytester.runpytest(*OFF, "--help")
    result.stdout.fnmatch_lines(
        [
            "budgets for PyTorch models:",
            "*--modelbudget *",
            "*--no-modelbudget *",
            "*--modelbudget-device=DEVICE*",
            "*--modelbudget-uncounted={fail,warn,ignore}*",
            "*--modelbudget-flops-per-mac={1,2}*",
            "*--modelbudget-inputs=FIXTURE*",
            "*modelbudget_device (string):*",
            "*verbosity_modelbudget (string):*",
        ]
    )


def test_its_fixtures_are_documented(pytester):
    result = pytester.runpytest(*OFF, "--fixtures")
    result.stdout.re_match_lines_random([r"modelbudget( \[.*)? -- .*", r"modelbudget_device \[session scope\] -- .*"])
    result.stdout.no_fnmatch_line("*fixtures.py:*no docstring*")


def test_its_verbosity_is_its_own(pytester):
    pytester.makeini("[pytest]\nverbosity_modelbudget = 2\n")
    assert pytester.parseconfig().get_verbosity("modelbudget") == 2
    pytester.makeini("[pytest]\n")
    assert pytester.parseconfig("-v").get_verbosity("modelbudget") == 1


def test_the_first_budget_is_where_collecting_begins(pytester):
    pytester.makepyfile(
        test_one="""
        def test_one(pytestconfig):
            assert not pytestconfig.pluginmanager.has_plugin("modelbudget-session")
        """,
        test_two="""
        def test_two(pytestconfig, request):
            request.getfixturevalue("modelbudget")
            assert pytestconfig.pluginmanager.has_plugin("modelbudget-session")
        """,
    )
    pytester.runpytest_inprocess(*OFF).assert_outcomes(passed=2)
