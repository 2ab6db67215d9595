"""New tests are held to those that the suite has no more: renaming a test hides no growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pytest_modelbudget.recording  # noqa: F401 - kept between runs, as those of suite.py are
from pytest_modelbudget.baseline import Key, load
from pytest_modelbudget.vanished import Predecessors, stand_ins
from tests.suite import HEADER, OFF
from tests.test_story import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.suite import Run, Suite

GATE = ("--modelbudget", "--modelbudget-max-growth=1%")


def source(name: str, width: int, model: str = "nn.Linear", mark: str = "", argument: str = "") -> str:
    """A test of a model with 5 * width parameters."""
    return f"class Big(nn.Linear): pass\n{mark}\ndef {name}({argument}): {model}(4, {width})(batch(1))"


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


def complaints(run: Run) -> list[str]:
    """What the run says that fails it although no test did."""
    return [line.removeprefix("ERROR ") for line in run.lines if line.startswith("ERROR ")]


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_renamed_test_is_held_to_what_it_was(suite: Suite, workers: tuple[str, ...]):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(source("test_new", 4), *GATE, *workers)
    assert (run.result.ret, complaints(run)) == (0, [])
    run = suite(source("test_new", 40), *GATE, *workers)
    assert run.outcomes == {"test_new": "passed"}
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert complaints(run) == [
        "test_it.py::test_new is new, and more than what is gone: Linear, recorded as Linear of test_it.py::test_old: "
        "params 200, was 20 (+900.0 % > 1%); flops 320 FLOPs, was 32 FLOPs (+900.0 % > 1%) for 1x4: make the model "
        "lighter, or accept it: python -m pytest test_it.py --modelbudget --modelbudget-max-growth=1% "
        "--modelbudget-update=new,raise"
    ]
    assert [(row["metric"], row["outcome"], row["failed"], row["growth"]) for row in run.verdicts("test_new")] == [
        ("params", "exceeded", True, "+900.0 %"),
        ("flops", "exceeded", True, "+900.0 %"),
    ]
    assert said(run) == []  # above all that, and not that it may be added


def test_growth_of_a_renamed_test_is_accepted_with_it(suite: Suite):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    new = source("test_new", 40)
    run = suite(new, *GATE, "--modelbudget-update=new")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert said(run)[:2] == [
        "modelbudget-baseline.json: nothing to change",
        "not changed, heavier than what they stand in for, needs --modelbudget-update=new,raise: 2 entries",
    ]
    run = suite(new, *GATE, "--modelbudget-update=new,raise")
    assert (run.result.ret, run.outcome_of_limits("test_new")) == (0, ["accepted", "accepted"])
    assert recorded(suite) == {("test_it.py::test_new", "params"): 200, ("test_it.py::test_new", "flops"): 320}
    run = suite(new, *GATE)
    assert (run.result.ret, said(run)) == (0, [])


def recorded(suite: Suite) -> dict[tuple[str, str], int]:
    entries = load(suite.pytester.path / "modelbudget-baseline.json")
    return {(key.test, key.metric): int(entry.value) for key, entry in entries.items()}


@pytest.mark.parametrize("width", [4, 40])
def test_what_was_accepted_under_a_new_name_is_no_measure_for_the_next(suite: Suite, width: int):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(source("test_new", width), *GATE, *([] if width > 4 else ["--modelbudget-update=new"]))
    if width > 4:
        words = complaints(run)[0].partition("accept it: python -m pytest ")[2].split()
        assert suite(source("test_new", width), *words).result.ret == 0
    assert {test for test, _ in recorded(suite)} == {"test_it.py::test_new"}
    run = suite(source("test_new", width) + "\ndef test_big(): nn.Linear(4, 400)(batch(1))", *GATE)
    assert (run.result.ret, complaints(run)) == (0, [])


def test_an_entry_stays_until_all_that_stand_in_for_it_are_recorded(suite: Suite):
    suite("def test_old(): nn.Linear(4, 100)(batch(1))", *GATE, "--modelbudget-update=new")
    parts = "def test_{}(): nn.Linear(4, {})(batch(1))\n"
    both = parts.format("one", 50) + parts.format("two", 200)
    run = suite(both, *GATE, "--modelbudget-update=new")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    assert {test for test, _ in recorded(suite)} == {"test_it.py::test_old", "test_it.py::test_one"}
    assert suite(both, *GATE).result.ret == pytest.ExitCode.TESTS_FAILED
    assert suite(both, *GATE, "--modelbudget-update=new,raise").result.ret == 0
    assert {test for test, _ in recorded(suite)} == {"test_it.py::test_one", "test_it.py::test_two"}


def test_the_file_of_what_is_replaced_runs_with_that_of_what_is_new(suite: Suite):
    """So that it is known to be gone; the test there that stays is left alone."""
    suite(
        source("test_old", 4) + "\ndef test_stays(): nn.Linear(2, 2)(torch.ones(1, 2))",
        *GATE,
        "--modelbudget-update=new",
    )
    stays = "def test_stays(): nn.Linear(2, 2)(torch.ones(1, 2))"
    suite.pytester.makepyfile(test_more=HEADER + "def test_new(): nn.Linear(4, 40)(batch(1))")
    (complaint,) = complaints(suite(stays, *GATE))
    words = complaint.partition("accept it: python -m pytest ")[2].split()
    assert words[:2] == ["test_more.py", "test_it.py"]
    assert suite(stays, *words).result.ret == 0
    assert {test for test, _ in recorded(suite)} == {"test_it.py::test_stays", "test_more.py::test_new"}


def test_a_new_test_beside_a_renamed_one_is_new(suite: Suite):
    """It is heavier, runs first, and has the more similar name: the other measures what the vanished one did."""
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(f"{source('test_older', 40)}\n{source('test_renamed', 4)}", *GATE)
    assert (run.result.ret, complaints(run)) == (0, [])
    assert [row["known_as"] for row in run.verdicts("test_older")] == ["", ""]
    assert {row["known_as"] for row in run.verdicts("test_renamed")} == {"Linear of test_it.py::test_old"}
    assert any("test_it.py::test_older Linear" in line for line in said(run))


def test_one_command_accepts_what_grew_by_its_old_and_by_a_new_name(suite: Suite):
    tests = "def test_a(): nn.Linear(4, {0})(batch(1))\ndef test_{1}(): nn.Linear(8, {0})(torch.ones(1, 8))"
    suite(tests.format(4, "b"), *GATE, "--modelbudget-update=new")
    run = suite(tests.format(5, "c"), *GATE)
    assert run.outcomes == {"test_a": "failed", "test_c": "passed"}
    command = "python -m pytest --modelbudget --modelbudget-max-growth=1% --modelbudget-update=new,raise"
    assert said(run)[0] == f"outgrown, to accept it run {command}: 4 entries"
    assert said(run)[1:] == [
        "  Linear flops 32 FLOPs -> 40 FLOPs (+25.0 %) in test_it.py::test_a",
        "  Linear params 20 -> 25 (+25.0 %) in test_it.py::test_a",
        "  test_it.py::test_c Linear: flops 80 FLOPs, params 45",
    ]
    assert suite(tests.format(5, "c"), *command.split()[3:]).result.ret == 0
    assert suite(tests.format(5, "c"), *GATE).result.ret == 0


def test_many_that_have_grown_are_told_in_few_lines(suite: Suite):
    def parametrized(name: str, width: int) -> str:
        return source("test_it", width, mark=f"@pytest.mark.parametrize('n', ['{name}%d' % n for n in range(7)])")

    suite(parametrized("a", 4).replace("test_it()", "test_it(n)"), *GATE, "--modelbudget-update=new")
    run = suite(parametrized("b", 40).replace("test_it()", "test_it(n)"), *GATE)
    *first, last = complaints(run)
    assert [line.partition(" is new")[0] for line in first] == [f"test_it.py::test_it[b{n}]" for n in range(5)]
    assert last == (
        "2 more new tests outgrew what is gone, too; to accept all: python -m pytest --modelbudget "
        "--modelbudget-max-growth=1% --modelbudget-update=new,raise"
    )


def test_the_layers_that_grew_are_named(suite: Suite):
    """A Linear(8, n) has 8 * n + n parameters: 18, then 36."""
    net = "def {}(): nn.Sequential(nn.Linear(4, 8), nn.Linear(8, {}))(batch(1))"
    suite(net.format("test_old", 2), *GATE, "--modelbudget-update=new")
    (complaint,) = complaints(suite(net.format("test_new", 4), *GATE))
    assert (
        "params 76, was 58 (+31.0 % > 1%), 1 +18; flops 128 FLOPs, was 96 FLOPs (+33.3 % > 1%) for 1x4, 1 +32 FLOPs:"
        in (complaint)
    )


def test_a_baseline_that_broke_during_the_run_is_said(suite: Suite):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    spoil = "; open('modelbudget-baseline.json', 'w').write('{')"
    assert "no JSON" in "".join(complaints(suite(source("test_new", 40) + spoil, *GATE)))


def test_a_test_that_was_moved_to_another_file_is_held_to_what_it_was(suite: Suite):
    suite(source("test_it", 4), *GATE, "--modelbudget-update=new")
    suite.pytester.path.joinpath("test_it.py").rename(suite.pytester.path / "test_moved.py")
    text = suite.pytester.path.joinpath("test_moved.py").read_text().replace("4, 4", "4, 40")
    suite.pytester.path.joinpath("test_moved.py").write_text(text)
    result = suite.pytester.runpytest(*OFF, *GATE, "test_moved.py")
    result.stdout.fnmatch_lines(
        ["ERROR *Linear, recorded as Linear of test_it.py::test_it: params 200, was 20 (+900.0 % > 1%)*"]
    )


def test_a_model_beside_others_is_held_to_itself_where_its_test_is_renamed(suite: Suite):
    pair = """
class Net(nn.Linear): pass
def {}(): Net(4, 100)(batch(1)); Net(4, {})(batch(1))
"""
    suite(pair.format("test_old", 4), *GATE, "--modelbudget-update=new")
    assert complaints(suite(pair.format("test_new", 4), *GATE)) == []
    (complaint,) = complaints(suite(pair.format("test_new", 40), *GATE))
    assert "Net #2, recorded as Net #2 of test_it.py::test_old: params 200, was 20 (+900.0 % > 1%)" in complaint


def test_moved_into_a_folder_the_test_itself_fails(suite: Suite):
    """Its name leaves no doubt, so that nobody has to wait for the others."""
    suite(source("test_it", 4), *GATE, "--modelbudget-update=new")
    folder = suite.pytester.mkdir("unit")
    old = suite.pytester.path / "test_it.py"
    folder.joinpath("test_it.py").write_text(old.read_text().replace("4, 4", "4, 40"))
    old.unlink()
    suite.pytester.syspathinsert()
    result = suite.pytester.runpytest(*OFF, *GATE, "unit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*max_growth: Linear, recorded as Linear of test_it.py::test_it: params 200, was 20 (+900.0 % > 1%)"]
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
    run = suite(methods, *GATE)
    assert run.outcomes == {"TestNet::test_small": "failed", "TestNet::test_large": "passed"}
    words = (
        run.failure("TestNet::test_small").partition("accept the growth: python -m pytest ")[2].split("\n")[0].split()
    )
    assert suite(methods, *words).result.ret == 0
    assert recorded(suite)[("test_it.py::TestNet::test_small", "params")] == 200
    assert {test for test, _ in recorded(suite)} == {f"test_it.py::TestNet::test_{size}" for size in ("small", "large")}


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
    assert (run.outcomes["test_new"], run.result.ret) == ("passed", 0)
    assert any("test_it.py::test_new" in line for line in said(run))


def test_a_test_of_a_file_of_which_only_part_runs_is_new(suite: Suite):
    suite(source("test_old", 4), *GATE, "--modelbudget-update=new")
    run = suite(source("test_new", 40), *GATE, "test_it.py::test_new")
    assert (run.outcomes, run.result.ret) == ({"test_new": "passed"}, 0)


def test_other_parameters_of_a_function_come_before_other_functions(suite: Suite):
    def parametrized(width: int) -> str:
        test = source("test_it", width, mark=f"@pytest.mark.parametrize('x', ['w{width}'])", argument="x")
        return test + "\ndef test_large{}(): nn.Linear(4, 99)(batch(1))".format("" if width == 4 else "r")

    suite(parametrized(4), *GATE, "--modelbudget-update=new")
    (complaint,) = complaints(suite(parametrized(40), *GATE))
    assert complaint.startswith("test_it.py::test_it[w40] is new")
    assert "recorded as Linear of test_it.py::test_it[w4]: params 200, was 20" in complaint


KEY = Key("a/test_a.py::TestA::test_x[1]", "Net", "params")


def stands_in(figures: dict[Key, int], gone: list[str] | None = None, key: Key = KEY, figure: int = 0) -> Key | None:
    """What a test is found to stand in for at the end, alone among new ones."""
    return stand_ins(figures, [known.test for known in figures] if gone is None else gone, {key: figure}).get(key)


def found_at_once(figures: dict[Key, int], key: Key = KEY) -> Key | None:
    return Predecessors(figures, [known.test for known in figures]).of(key, [key.model])


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
    figures = {KEY._replace(test=test): 1 for test in reversed(left)}
    assert stands_in(figures) == KEY._replace(test=left[0])
    assert found_at_once(figures) == (KEY._replace(test=left[0]) if index < 3 else None)


def test_without_a_vanished_test_there_is_no_predecessor():
    assert stands_in({}) is None
    assert stands_in({KEY._replace(test=CLOSEST_FIRST[0]): 1}, gone=[]) is None


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
    figures = {KEY._replace(test=each): 1 for each in known}
    assert stands_in(figures, key=KEY._replace(test=test)) == KEY._replace(test=name)


def pairs(before: dict[str, int], after: dict[str, int], *, taken: str = "") -> dict[str, str]:
    """Old names by new ones, of tests of one file."""
    old, new = ({KEY._replace(test=f"a.py::{test}"): it for test, it in side.items()} for side in (before, after))
    spent = [key for key in old if key.test == f"a.py::{taken}"]
    found = stand_ins(old, {key.test for key in old}, new, spent)
    return {key.test[6:]: other.test[6:] for key, other in found.items()}


def test_what_measures_as_much_comes_first_whatever_its_name():
    assert pairs({"act": 1, "clone": 9}, {"action": 9}) == {"action": "clone"}
    assert pairs({"act": 1, "clone": 9}, {"action": 5}) == {"action": "act"}


def test_the_name_or_the_figures_decide_whichever_asks_for_less():
    """As where the larger one is gone, and what was the smaller one has doubled."""
    assert pairs({"enc": 128, "enc_large": 8192}, {"enc_base": 256}) == {"enc_base": "enc"}
    assert pairs({"small": 128, "large": 8192}, {"larger": 9000}) == {"larger": "large"}


def test_what_is_unchanged_under_a_new_name_is_no_measure_for_others():
    assert pairs({"old": 1}, {"older": 7, "renamed": 1}) == {"renamed": "old"}


def test_of_those_that_are_unchanged_names_decide():
    assert pairs({"large": 9, "small": 9}, {"larger": 9, "smaller": 9}) == {"larger": "large", "smaller": "small"}
    # The small one has doubled, and is as large as the large one was.
    assert pairs({"large": 8, "small": 4}, {"larger": 8, "smaller": 8}) == {"larger": "large", "smaller": "small"}


def test_what_is_not_unchanged_may_be_held_to_one_together():
    assert pairs({"old": 1}, {"part_one": 3, "part_two": 4}) == {"part_one": "old", "part_two": "old"}


def test_what_has_found_its_new_name_is_no_measure_for_others():
    assert pairs({"old": 1}, {"other": 1}, taken="old") == {}


def test_all_figures_must_be_the_same():
    old = {KEY._replace(metric=metric): 4 for metric in ("params", "flops")}
    test = "a/test_a.py::test_z"
    twin = {key._replace(test=f"{test}[twin]"): 4 for key in old}
    other = {key._replace(test=f"{test}[1]"): 4 if key.metric == "params" else 5 for key in old}
    found = stand_ins(old, {KEY.test}, {**other, **twin})
    assert {key.test for key in found} == {f"{test}[twin]"}
    assert {key.metric for key in found} == {"params", "flops"}


def test_what_only_one_side_measured_says_nothing():
    """As where the gate has another metric since."""
    memory = KEY._replace(metric="memory")
    old = {KEY: 4}
    new = KEY._replace(test="a/test_a.py::test_z")
    assert stand_ins(old, {KEY.test}, {new: 4, memory._replace(test=new.test): 99}) == {new: KEY}


@pytest.mark.parametrize("case", ["s", "b"])
def test_where_names_tell_nothing_it_is_that_with_the_most_similar_figures(case: str):
    figures = {KEY._replace(test=f"a/test_a.py::TestA::test_x[{case}]"): value for case, value in (("8", 1), ("64", 9))}
    key = KEY._replace(test=f"a/test_a.py::TestA::test_x[{case}]")
    assert stands_in(figures, key=key, figure=20) == KEY._replace(test="a/test_a.py::TestA::test_x[64]")
    assert stands_in(figures, key=key, figure=2) == KEY._replace(test="a/test_a.py::TestA::test_x[8]")


@pytest.mark.parametrize(
    ("others", "is_held"),
    [
        ({}, True),
        ({Key("b.py::test_g", "More", "params"): 1}, True),
        ({Key("b.py::test_g", "Net", "params"): 1}, False),  # still there
        ({Key("b.py::test_g", "SpeechNet", "params"): 1}, False),  # not new
    ],
)
def test_the_only_class_that_is_new_is_the_one_that_is_gone(others: dict[Key, int], is_held: bool):
    old = {Key("a.py::test_f", "Net", "params"): 4, Key("a.py::test_g", "Net", "params"): 5}
    new = {Key("b.py::test_k", "SpeechNet", "params"): 5, Key("b.py::test_l", "SpeechNet", "params"): 9}
    found = stand_ins({**old, **others}, {key.test for key in old}, new)
    assert {key.test: other.test for key, other in found.items()} == (
        {"b.py::test_k": "a.py::test_g", "b.py::test_l": "a.py::test_f"} if is_held else {}
    )
    assert stand_ins(old, {key.test for key in old}, dict([*new.items()][:1])) == {}, "in fewer tests"


@pytest.mark.parametrize("change", [{"metric": "flops"}, {"per": "test"}, {"device": "cuda"}])
def test_what_measures_something_else_is_no_predecessor(change: dict[str, str]):
    assert stands_in({KEY._replace(test=CLOSEST_FIRST[3], **change): 1}) is None
    assert found_at_once({KEY._replace(test=CLOSEST_FIRST[0], **change): 1}) is None


@pytest.mark.parametrize("index", range(len(CLOSEST_FIRST)))
def test_another_class_is_held_to_the_same_test_elsewhere(index: int):
    """And to other cases of its function, where nothing of its own class is gone."""
    other = KEY._replace(test=CLOSEST_FIRST[index], model="Other")
    assert found_at_once({other: 1}) == (other if index < 3 else None)
    assert stands_in({other: 1}) == (other if index < 7 else None)


def cases(*models: str, figure: int = 1, test: str = "a.py::test_f") -> dict[Key, int]:
    """Of a test whose parameters name its models."""
    return {Key(f"{test}[{model}]", model, "params"): figure for model in models}


def test_a_class_that_has_another_name_is_held_as_a_case_of_its_function():
    old, new = cases("SAGE", "GCN"), cases("GraphSAGE", "GraphConvNet", figure=9)
    found = stand_ins(old, {key.test for key in old}, new)
    assert {key.model: other.model for key, other in found.items()} == {"GraphSAGE": "SAGE", "GraphConvNet": "GCN"}


def test_classes_that_have_other_names_and_nothing_else_come_first():
    old = cases("A") | cases("B", figure=2)
    new = cases("X", figure=2) | cases("Y", figure=7)
    found = stand_ins(old, {key.test for key in old}, new)
    assert {key.model: other.model for key, other in found.items()} == {"X": "B", "Y": "A"}


def test_a_model_of_another_class_is_new_beside_one_of_the_class_that_is_gone():
    old, new = cases("Net"), {Key("a.py::test_f[2]", "Net", "params"): 2, **cases("Other", figure=9)}
    assert {key.model for key in stand_ins(old, {key.test for key in old}, new)} == {"Net"}


@pytest.mark.parametrize(("more", "is_held"), [([], True), (["b.py::test_f[A]"], False)])
def test_a_test_of_the_name_in_another_file_is_the_same_if_it_is_the_only_one(more: list[str], is_held: bool):
    old = {Key(test, "Net", "params"): 1 for test in ("a.py::test_f[A]", *more)}
    key = Key("c.py::test_f[A]", "Other", "params")
    assert (key in stand_ins(old, {known.test for known in old}, {key: 9})) == is_held


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
    assert found_at_once(figures, key=KEY._replace(model=model)) == there._replace(model=expected)


def test_models_of_merged_tests_stand_in_for_those_of_each():
    old = {KEY._replace(test="a.py::test_encoder", model="Encoder"): 4, KEY._replace(test="a.py::test_decoder"): 5}
    new = {KEY._replace(test="a.py::test_both", model=model): 9 for model in ("Encoder", "Net")}
    assert stand_ins(old, {key.test for key in old}, new) == dict(zip(new, old, strict=True))


def test_names_are_found_among_thousands():
    """As where a folder is renamed: every test is new, and looks for its own."""
    figures = {KEY._replace(test=f"old/test_{n % 50}.py::test_forward[{n}]"): n for n in range(5000)}
    predecessors = Predecessors(figures, [key.test for key in figures])
    for key in figures:
        moved = key._replace(test=key.test.replace("old/", "new/"))
        assert predecessors.of(moved, ["Net"]) == key


@pytest.mark.parametrize("figure", [lambda n: n, lambda n: n % 5, lambda n: 1])
def test_thousands_of_new_names_find_what_they_were(figure: Callable[[int], int]):
    """One to one, in time: all ids of all tests are others."""
    old = {KEY._replace(test=f"test_{n % 50}.py::test_forward[a{n}]"): figure(n) for n in range(5000)}
    new = {KEY._replace(test=f"test_{n % 50}.py::test_forward[b{n}]"): figure(n) for n in range(5000)}
    found = stand_ins(old, {key.test for key in old}, new)
    assert found.keys() == new.keys()
    assert set(found.values()) == old.keys()
    assert all(old[other] == new[key] for key, other in found.items())
