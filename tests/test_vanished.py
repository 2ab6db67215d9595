"""New tests are held to those that the suite has no more: renaming a test hides no growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pytest_modelbudget.recording  # noqa: F401 - kept between runs, as those of suite.py are
from pytest_modelbudget.baseline import Key
from pytest_modelbudget.vanished import Predecessors
from tests.suite import OFF
from tests.test_story import said

if TYPE_CHECKING:
    from tests.suite import Suite

GATE = ("--modelbudget", "--modelbudget-max-growth=1%")


def source(name: str, width: int, model: str = "nn.Linear", mark: str = "", argument: str = "") -> str:
    """A test of a model with 5 * width parameters."""
    return f"class Big(nn.Linear): pass\n{mark}\ndef {name}({argument}): {model}(4, {width})(batch(1))"


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_renamed_test_is_held_to_what_it_was(suite: Suite, workers: tuple[str, ...]):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    assert suite(source("test_new", 4), *GATE, *workers).outcomes == {"test_new": "passed"}
    run = suite(source("test_new", 40), *GATE, *workers)
    assert run.headline("test_new") == (
        "max_growth: Linear, recorded as Linear of test_it.py::test_old: params 200, was 20 (+900.0 % > 1%)"
    )
    assert "test_it.py::test_new --modelbudget --modelbudget-max-growth=1% --modelbudget-update=new,raise" in (
        run.failure("test_new")
    )


def test_growth_of_a_renamed_test_is_accepted_with_it(suite: Suite):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    new = source("test_new", 40)
    assert suite(new, *GATE, "--modelbudget-update=new").outcomes == {"test_new": "failed"}
    assert suite(new, *GATE, "--modelbudget-update=new,raise").outcomes == {"test_new": "passed"}
    run = suite(new, *GATE)
    assert run.outcomes == {"test_new": "passed"}
    assert said(run)[0].startswith("stale")


def test_a_test_that_was_moved_to_another_file_is_held_to_what_it_was(suite: Suite):
    suite(source("test_it", 4), *GATE, "--modelbudget-update=new")
    suite.pytester.path.joinpath("test_it.py").rename(suite.pytester.path / "test_moved.py")
    text = suite.pytester.path.joinpath("test_moved.py").read_text().replace("4, 4", "4, 40")
    suite.pytester.path.joinpath("test_moved.py").write_text(text)
    result = suite.pytester.runpytest(*OFF, *GATE, "test_moved.py")
    result.stdout.fnmatch_lines(
        ["*max_growth: Linear, recorded as Linear of test_it.py::test_it: params 200, was 20 (+900.0 % > 1%)"]
    )


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(source("test_new", 40, "Big"), id="of another class"),
        pytest.param(source("test_new", 40) + "\ndef test_old(): nn.Linear(4, 4)(batch(1))", id="beside the old one"),
        pytest.param(
            source("test_new", 40) + "\n@pytest.mark.slow\ndef test_old(): nn.Linear(4, 4)(batch(1))",
            id="and the old one is deselected",
        ),
        pytest.param(
            source("test_new", 40) + "\n@pytest.mark.skip\ndef test_old(): nn.Linear(4, 4)(batch(1))",
            id="and the old one is skipped",
        ),
    ],
)
def test_another_test_is_new(suite: Suite, new: str):
    suite.pytester.makeini("[pytest]\nmarkers = slow")
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(new, *GATE, "-m", "not slow")
    assert run.outcomes["test_new"] == "passed"
    assert any("test_it.py::test_new" in line for line in said(run))


def test_a_test_of_a_file_of_which_only_part_runs_is_new(suite: Suite):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(source("test_new", 40), *GATE, "test_it.py::test_new")
    assert run.outcomes == {"test_new": "passed"}


def test_other_parameters_of_a_function_come_before_other_functions(suite: Suite):
    def parametrized(width: int) -> str:
        test = source("test_it", width, mark=f"@pytest.mark.parametrize('x', ['w{width}'])", argument="x")
        return test + "\ndef test_large{}(): nn.Linear(4, 99)(batch(1))".format("" if width == 4 else "r")

    suite(parametrized(4), *GATE, "--modelbudget-update=new")
    run = suite(parametrized(40), *GATE)
    assert run.outcomes == {"test_it[w40]": "failed", "test_larger": "passed"}
    assert "recorded as Linear of test_it.py::test_it[w4]: params 200, was 20" in run.failure("test_it[w40]")


KEY = Key("a.py::test_x[1]", "Net", "params")


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        # The same test elsewhere, the function, the file, anything: in this order.
        (["b.py::test_x[1]", "a.py::test_x[2]", "a.py::test_y", "b.py::test_y"], "b.py::test_x[1]"),
        (["a.py::test_x[2]", "a.py::test_y", "b.py::test_y"], "a.py::test_x[2]"),
        (["a.py::test_y", "b.py::test_y"], "a.py::test_y"),
        (["b.py::test_y"], "b.py::test_y"),
        ([], None),
    ],
)
def test_the_closest_in_name_is_the_predecessor(tests: list[str], expected: str | None):
    found = Predecessors((KEY._replace(test=test), 1) for test in tests).of(KEY)
    assert (None if found is None else found.test) == expected


def test_of_several_that_are_as_close_the_largest_is_the_predecessor():
    figures = {KEY._replace(test=f"b.py::test_{value}"): value for value in (1, 3, 2)}
    found = Predecessors(figures.items()).of(KEY)
    assert found is not None
    assert found.test == "b.py::test_3"


@pytest.mark.parametrize("change", [{"model": "Other"}, {"metric": "flops"}, {"per": "test"}, {"device": "cuda"}])
def test_what_measures_something_else_is_no_predecessor(change: dict[str, str]):
    assert Predecessors([(KEY._replace(test="b.py::test_x[1]", **change), 1)]).of(KEY) is None
