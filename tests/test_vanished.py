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


def test_a_model_beside_others_is_held_to_itself_where_its_test_is_renamed(suite: Suite):
    pair = """
class Net(nn.Linear): pass
def {}(): Net(4, 100)(batch(1)); Net(4, {})(batch(1))
"""
    suite(pair.format("test_old", 4), *GATE, "--modelbudget-update=new")
    assert suite(pair.format("test_new", 4), *GATE).outcomes == {"test_new": "passed"}
    run = suite(pair.format("test_new", 40), *GATE)
    assert run.headline("test_new") == (
        "max_growth: Net #2, recorded as Net #2 of test_it.py::test_old: params 200, was 20 (+900.0 % > 1%)"
    )


def test_a_test_that_was_moved_into_a_class_is_held_to_what_it_was(suite: Suite):
    functions = """
def test_small(): nn.Linear(4, 4)(batch(1))
def test_large(): nn.Linear(4, 100)(batch(1))
"""
    methods = """
class TestNet:
    def test_small(self): nn.Linear(4, 40)(batch(1))
    def test_large(self): nn.Linear(4, 100)(batch(1))
"""
    suite(functions, *GATE, "--modelbudget-update=new")
    assert suite(methods, *GATE).outcomes == {"TestNet::test_small": "failed", "TestNet::test_large": "passed"}


def test_new_models_of_a_renamed_test_are_together_held_to_what_it_was(suite: Suite):
    """4 x 20 weights and 20 biases; then twice 4 x 12 and 12."""
    source = """
class Net(nn.Linear): pass
class Encoder(nn.Linear): pass
class Decoder(nn.Linear): pass
"""
    suite(source + "class TestA:\n    def test_it(self): Net(4, 20)(batch(1))", *GATE, "--modelbudget-update=new")
    run = suite(source + "def test_it(): Encoder(4, 12)(batch(1)); Decoder(4, 12)(batch(1))", *GATE)
    assert run.headline("test_it") == (
        "max_growth: Decoder and Encoder together, recorded as Net of test_it.py::TestA::test_it: params 120, was 100 "
        "(+20.0 % > 1%)"
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


KEY = Key("a/test_a.py::TestA::test_x[1]", "Net", "params")


def found(figures: dict[Key, int], gone: list[str] | None = None, key: Key = KEY, figure: int = 0) -> Key | None:
    tests = [known.test for known in figures] if gone is None else gone
    return Predecessors(figures, tests).of(key, figure, [key.model])


CLOSEST_FIRST = [
    "b/test_a.py::TestA::test_x[1]",
    "a/test_a.py::TestB::test_x[1]",
    "b/test_a.py::test_x[1]",
    "a/test_a.py::TestA::test_x[1-2]",
    "b/test_a.py::test_x",
    "a/test_b.py::TestA::test_x[1]",
    "a/test_b.py::TestB::test_x[1]",
    "a/test_b.py::test_x[2]",
    "a/test_a.py::TestA::test_y",
    "b/test_b.py::test_y",
]


@pytest.mark.parametrize("index", range(len(CLOSEST_FIRST)))
def test_the_vanished_test_that_has_most_in_common_is_the_predecessor(index: int):
    left = CLOSEST_FIRST[index:]
    assert found({KEY._replace(test=test): 1 for test in reversed(left)}) == KEY._replace(test=left[0])


def test_without_a_vanished_test_there_is_no_predecessor():
    assert found({}) is None
    assert found({KEY._replace(test=CLOSEST_FIRST[0]): 1}, gone=[]) is None


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("test_it.py::test_f[8-4]", "test_it.py::test_f[8]"),
        ("test_it.py::test_f[16-4]", "test_it.py::test_f[16]"),
        ("test_it.py::test_small_net", "test_it.py::test_small"),
        ("test_it.py::test_large_net", "test_it.py::test_large"),
    ],
)
def test_of_several_that_have_as_much_in_common_it_is_the_most_similar_in_name(test: str, name: str):
    known = ["test_it.py::test_f[8]", "test_it.py::test_f[16]", "test_it.py::test_large", "test_it.py::test_small"]
    assert found({KEY._replace(test=each): 1 for each in known}, key=KEY._replace(test=test)) == KEY._replace(test=name)


@pytest.mark.parametrize(("figure", "name"), [(1, "test_act"), (9, "test_clone"), (5, "test_act")])
def test_of_tests_of_other_names_it_is_the_one_in_which_as_much_was_measured(figure: int, name: str):
    """Else that with the most similar name."""
    known = {KEY._replace(test=f"a.py::{test}"): value for test, value in (("test_act", 1), ("test_clone", 9))}
    key = KEY._replace(test="a.py::test_action")
    assert found(known, key=key, figure=figure) == key._replace(test=f"a.py::{name}")


def test_where_names_tell_nothing_it_is_that_in_which_most_was_measured():
    figures = {KEY._replace(test=f"a/test_a.py::TestA::test_x[{case}]"): value for case, value in (("8", 1), ("64", 9))}
    for case in ("s", "b"):
        predecessor = found(figures, key=KEY._replace(test=f"a/test_a.py::TestA::test_x[{case}]"))
        assert predecessor == KEY._replace(test="a/test_a.py::TestA::test_x[64]")


@pytest.mark.parametrize("change", [{"metric": "flops"}, {"per": "test"}, {"device": "cuda"}])
def test_what_measures_something_else_is_no_predecessor(change: dict[str, str]):
    assert found({KEY._replace(test=CLOSEST_FIRST[0], **change): 1}) is None


@pytest.mark.parametrize(("index", "is_held"), [*enumerate([True] * 3 + [False] * 7)])
def test_another_class_is_held_to_the_same_test_elsewhere(index: int, is_held: bool):
    other = KEY._replace(test=CLOSEST_FIRST[index], model="Other")
    assert found({other: 1}) == (other if is_held else None)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("student (Net)", "student (Net)"),  # smaller than its teacher
        ("Net #2", "teacher (Net)"),
        ("pupil (Net)", "teacher (Net)"),
        ("Other", "teacher (Net)"),
    ],
)
def test_models_are_told_apart_in_the_vanished_test_as_in_any(model: str, expected: str):
    there = KEY._replace(test=CLOSEST_FIRST[0])
    figures = {there._replace(model="teacher (Net)"): 9, there._replace(model="student (Net)"): 2}
    assert found(figures, key=KEY._replace(model=model)) == there._replace(model=expected)


def test_names_are_found_among_thousands():
    """As where a folder is renamed: every test is new, and looks for its own."""
    figures = {KEY._replace(test=f"old/test_{n % 50}.py::test_forward[{n}]"): n for n in range(5000)}
    predecessors = Predecessors(figures, [key.test for key in figures])
    for key in figures:
        moved = key._replace(test=key.test.replace("old/", "new/"))
        assert predecessors.of(moved, 0, ["Net"]) == key
