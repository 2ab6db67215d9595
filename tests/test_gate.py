"""Around one test: what is judged, what fails it, what is only said.

Net: 58 parameters, 48 MACs a sample (encoder 40 and 32, head 18 and 16). Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.suite import MODELS

if TYPE_CHECKING:
    from tests.suite import Suite

UNKNOWN = """
scan = torch.ops.modelbudget_tests.scan

class Scanning(Net):
    def forward(self, x): return super().forward(scan(scan(x)))
"""


@pytest.fixture(scope="module", autouse=True)
def operators():
    """Two operators of unknown cost. Decorators of torch.library would import half of torch into each run."""
    library = torch.library.Library("modelbudget_tests", "DEF")
    for name in ("scan", "counted"):
        library.define(f"{name}(Tensor x) -> Tensor")
        library.impl(name, torch.clone, "CompositeExplicitAutograd")
    return library


def test_limits_of_every_metric_are_exact(suite: Suite):
    run = suite(
        """
class Frozen(Net):
    \"\"\"40 of 58 parameters are frozen; 58 floats and a buffer of 3 doubles: 256 bytes.\"\"\"
    def __init__(self):
        super().__init__()
        self.encoder.requires_grad_(False)
        self.register_buffer("table", torch.zeros(3, dtype=torch.float64))

@pytest.mark.modelbudget(params=58, trainable_params=18, size="256 B", macs=96, flops=192)
def test_equal_passes(): Frozen()(batch())
@pytest.mark.modelbudget(params=57, trainable_params=17, size="255 B", macs=95, flops=191)
def test_one_less_fails(): Frozen()(batch())
@pytest.mark.max_flops("96 MACs")
def test_written_in_macs(): Frozen()(batch())
@pytest.mark.max_trainable_params(0)
def test_zero(): Frozen()(batch())
"""
    )
    assert run.outcomes == {
        "test_equal_passes": "passed",
        "test_one_less_fails": "failed",
        "test_written_in_macs": "passed",
        "test_zero": "failed",
    }
    headlines = [line for line in run.failure("test_one_less_fails").splitlines() if line.startswith("max_")]
    assert headlines == [
        "max_params: Frozen 58 > 57 (+1.8 %)",
        "max_trainable_params: Frozen 18 > 17 (+5.9 %)",
        "max_size: Frozen 256 bytes > 255 bytes (+0.4 %)",
        "max_macs: Frozen 96 MACs > 95 MACs (+1.1 %) for 2x4",
        "max_flops: Frozen 192 FLOPs > 191 FLOPs (+0.5 %) for 2x4",
    ]
    assert run.headline("test_zero") == "max_trainable_params: Frozen 18 > 0"


def test_per_call_per_sample_and_per_test(suite: Suite):
    run = suite(
        """
def calls():
    net = Net()
    net(batch(1))
    net(batch(3))
    net(batch(3))

@pytest.mark.max_macs(144)
def test_call(): calls()
@pytest.mark.max_macs(48, per="sample")
def test_sample(): calls()
@pytest.mark.max_macs("47.9", per="sample")
def test_sample_over(): calls()
@pytest.mark.max_macs(336, per="test")
def test_test(): calls()
@pytest.mark.max_macs(335, per="test")
def test_test_over(): calls()
"""
    )
    assert {name: run.measured(name)[0][1] for name in run.outcomes} == {
        "test_call": "144 MACs",
        "test_sample": "48 MACs",
        "test_sample_over": "48 MACs",
        "test_test": "336 MACs",
        "test_test_over": "336 MACs",
    }
    assert {name for name, outcome in run.outcomes.items() if outcome == "failed"} == {
        "test_sample_over",
        "test_test_over",
    }
    assert " per sample for " in run.headline("test_sample_over")
    assert " per test for " in run.headline("test_test_over")


def test_the_batch_is_that_of_the_first_tensor_in_args_then_kwargs(suite: Suite):
    run = suite(
        """
class Named(Net):
    def forward(self, options, *, x): return super().forward(x)

@pytest.mark.max_macs("1k", per="sample")
class TestIt:
    def test_kwargs(self): Named()({"scale": 2.0}, x=batch(4))
    def test_nested_in_args(self): Named()({"scale": [torch.zeros(2)]}, x=batch(4))
"""
    )
    assert run.measured("TestIt::test_kwargs") == [("Named", "48 MACs")]
    assert run.measured("TestIt::test_nested_in_args") == [("Named", "96 MACs")]  # 4 * 48 / 2


def test_all_violations_of_a_test_are_one_failure(suite: Suite):
    run = suite(
        """
@pytest.mark.max_params(10)
@pytest.mark.max_macs(10, module="*")
@pytest.mark.max_flops("1M")
def test_it(): Net()(batch())
"""
    )
    headlines = [line for line in run.failure("test_it").splitlines() if line.startswith("max_")]
    assert headlines == [
        "max_macs: Net encoder 64 MACs > 10 MACs (+540.0 %) for 2x4",
        "max_macs: Net head 32 MACs > 10 MACs (+220.0 %) for 2x4",
        "max_params: Net 58 > 10 (+480.0 %)",
    ]


def test_a_warning_and_an_error_live_side_by_side(suite: Suite):
    source = """
@pytest.mark.max_params(50, level="warn", message="slim down")
@pytest.mark.max_params(60)
def test_it(): Net()(batch())
"""
    run = suite(source)
    assert run.outcomes == {"test_it": "passed"}
    assert run.result.parseoutcomes()["warnings"] == 1
    run.result.stdout.fnmatch_lines(["*ModelBudgetWarning: max_params: Net 58 > 50 (+16.0 %)", "*message   slim down"])
    for strict in ("error", "error::pytest_modelbudget.ModelBudgetWarning"):
        run = suite(source, "-W", strict)
        assert run.headline("test_it") == "max_params: Net 58 > 50 (+16.0 %)"
        assert "Traceback" not in run.failure("test_it")
    assert suite(source, "-W", "ignore::pytest_modelbudget.ModelBudgetWarning").result.ret == 0


def test_warnings_that_are_errors_stand_beside_other_failures(suite: Suite):
    run = suite(
        """
@pytest.mark.max_params(50, level="warn")
@pytest.mark.max_macs(1)
def test_it(): Net()(batch())
""",
        "-W",
        "error",
    )
    assert "max_params: Net 58 > 50" in run.failure("test_it")
    assert "max_macs: Net 96 MACs > 1 MACs" in run.failure("test_it")


def test_none_lifts_what_is_inherited(suite: Suite):
    run = suite(
        """
@pytest.mark.max_params(1)
class TestIt:
    @pytest.mark.max_params(None)
    def test_lifted(self): Net()(batch())
    def test_inherited(self): Net()(batch())
"""
    )
    assert run.outcomes == {"TestIt::test_lifted": "passed", "TestIt::test_inherited": "failed"}


def test_one_flop_a_mac(suite: Suite):
    run = suite("@pytest.mark.max_flops(95)\ndef test_it(): Net()(batch())", "--modelbudget-flops-per-mac=1")
    assert run.headline("test_it") == "max_flops: Net 96 FLOPs > 95 FLOPs (+1.1 %) for 2x4"
    assert "measured  96 FLOPs = 96 MACs x 1, observed on cpu" in run.failure("test_it")
    assert "hint" not in run.failure("test_it")
    assert "modelbudget: flops_per_mac 1" in run.lines


class TestUnknownOperators:
    def test_they_fail_a_limit_on_compute_and_no_other(self, suite: Suite):
        run = suite(
            UNKNOWN
            + """
@pytest.mark.max_macs("1k")
def test_macs(): Scanning()(batch())
@pytest.mark.max_params("1k")
def test_params(): Scanning()(batch())
@pytest.mark.max_macs("1k")
def test_outside_of_models():
    scan(batch())
    Net()(batch())
"""
        )
        assert run.outcomes == {"test_macs": "failed", "test_params": "passed", "test_outside_of_models": "passed"}
        assert (
            run.headline("test_macs")
            == "max_macs: Scanning ran operators of unknown cost: modelbudget_tests::scan (x2)"
        )

    @pytest.mark.parametrize("how", ["option", "mark"])
    def test_warn_says_what_is_not_counted_and_how_often_it_ran(self, suite: Suite, how: str):
        keyword, option = ('uncounted="warn"', "") if how == "mark" else ("", "--modelbudget-uncounted=warn")
        run = suite(
            f"{UNKNOWN}\n@pytest.mark.modelbudget(macs=96, flops=192, {keyword})\ndef test_it(): Scanning()(batch())",
            *filter(None, [option]),
        )
        assert run.outcomes == {"test_it": "passed"}
        assert run.result.parseoutcomes()["warnings"] == 1  # both limits warn of the same
        run.result.stdout.fnmatch_lines(
            [
                "*ModelBudgetWarning: Scanning ran operators of unknown cost, which are not counted: *::scan (x2)",
                "    unknown cost: modelbudget_tests::scan (x2)",
            ]
        )

    def test_a_submodule_answers_for_what_ran_in_it(self, suite: Suite):
        run = suite(
            f"""
{UNKNOWN}
class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(4, 4), Scanning(), Scanning()
    def forward(self, x):
        x = self.stem(x)
        return self.first(x), self.second(x)
@pytest.mark.max_macs("1k", module="stem")
def test_stem(): Outer()(batch())
@pytest.mark.max_macs("1k", module="first")
def test_first(): Outer()(batch())
@pytest.mark.max_macs("1k")
def test_whole(): Outer()(batch())
"""
        )
        assert run.outcomes == {"test_stem": "passed", "test_first": "failed", "test_whole": "failed"}
        unknown = "ran operators of unknown cost: modelbudget_tests::scan"
        assert run.headline("test_first") == f"max_macs: Outer first {unknown} (x2)"
        assert run.headline("test_whole") == f"max_macs: Outer {unknown} (x4)"

    def test_ignore_says_nothing(self, suite: Suite):
        run = suite(
            f"{UNKNOWN}\n@pytest.mark.max_macs(96, uncounted='ignore')\ndef test_it(): Scanning()(batch())",
            "-W",
            "error",
        )
        assert run.outcomes == {"test_it": "passed"}
        assert "unknown" not in run.result.stdout.str()

    def test_a_registered_cost_is_counted(self, suite: Suite):
        source = UNKNOWN.replace("scan", "counted")
        run = suite(
            f"{source}\n@pytest.mark.max_macs(1)\ndef test_it(): Scanning()(batch())",
            conftest="""
            from pytest_modelbudget import Cost, register_cost

            @register_cost("modelbudget_tests::counted")
            def counted(x, *, output): return Cost(macs=x.numel())
            """,
        )
        assert run.measured("test_it") == [("Scanning", "112 MACs")]  # 96 and twice 8


class TestBodies:
    """Only the body of a test that passes is judged."""

    def test_a_body_that_did_not_pass_is_not_judged(self, suite: Suite):
        run = suite(
            """
import unittest

pytestmark = pytest.mark.modelbudget(params=1, macs=1)

def test_failed():
    Net()(batch())
    assert False, "own words"
def test_skipped():
    Net()(batch())
    pytest.skip("not today")
def test_xfailed():
    Net()(batch())
    pytest.xfail("not yet")
@pytest.mark.skip
def test_skipped_before(): Net()(batch())
class TestUnittest(unittest.TestCase):
    def test_failed(self):
        Net()(batch())
        self.fail("own words")
    def test_skipped(self):
        Net()(batch())
        self.skipTest("not today")
    @unittest.expectedFailure
    def test_expected(self):
        Net()(batch())
        self.fail("expected")
"""
        )
        run.result.assert_outcomes(failed=2, skipped=3, xfailed=2)
        for name in ("test_failed", "TestUnittest::test_failed"):
            assert "own words" in run.failure(name)
            assert "max_" not in run.failure(name)
        for name in run.outcomes:
            assert {verdict["outcome"] for verdict in run.verdicts(name)} == {"incomplete"}, name
        assert "model budgets" not in run.result.stdout.str()

    def test_an_exceeded_budget_is_what_xfail_expects(self, suite: Suite):
        run = suite(
            """
import unittest
from pytest_modelbudget import BudgetExceeded

@pytest.mark.max_params(1)
class TestIt:
    @pytest.mark.xfail(strict=True)
    def test_strict(self): Net()(batch())
    @pytest.mark.xfail(strict=True, raises=BudgetExceeded)
    def test_raises(self): Net()(batch())
    @pytest.mark.xfail(strict=True, raises=ValueError)
    def test_raises_another(self): Net()(batch())
@pytest.mark.xfail(strict=True)
@pytest.mark.max_params(58)
def test_within(): Net()(batch())
@pytest.mark.max_params(1)
class TestUnittest(unittest.TestCase):
    def test_it(self): Net()(batch())
"""
        )
        run.result.assert_outcomes(xfailed=2, failed=3)
        assert "XPASS(strict)" in run.failure("test_within")
        assert run.headline("TestUnittest::test_it").startswith("max_params: Net 58 > 1")

    def test_what_fixtures_do_is_not_the_tests(self, suite: Suite):
        run = suite(
            """
@pytest.fixture
def net():
    net = Net()
    net(batch(100))
    yield net
    net(batch(100))

@pytest.mark.max_macs("1k")
def test_it(net): net(batch())
"""
        )
        assert run.measured("test_it") == [("Net", "96 MACs")]
        assert run.result.ret == 0

    def test_reruns_begin_anew(self, suite: Suite):
        pytest.importorskip("pytest_rerunfailures")
        run = suite(
            """
runs = []

@pytest.mark.max_macs("1k")
def test_flaky():
    runs.append(1)
    Net()(batch(len(runs)))
    assert len(runs) == 3

@pytest.mark.max_params(1)
def test_over():
    runs.append(1)
    Net()(batch())
""",
            "--reruns=2",
            off=("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest"),
        )
        run.result.assert_outcomes(passed=1, failed=1)
        assert run.measured("test_flaky") == [("Net", "144 MACs")]
        assert run.measured("test_over") == [("Net", "58")]
        assert run.result.parseoutcomes()["rerun"] == 4

    def test_reruns_may_leave_budgets_out(self, suite: Suite):
        pytest.importorskip("pytest_rerunfailures")
        run = suite(
            "@pytest.mark.max_params(1)\ndef test_over(): Net()(batch())",
            "--reruns=2",
            "--rerun-except=BudgetExceeded",
            off=("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest"),
        )
        run.result.assert_outcomes(failed=1)
        assert "rerun" not in run.result.parseoutcomes()

    def test_subtests_that_failed_leave_their_test_unjudged(self, suite: Suite):
        if pytest.version_tuple < (9,):
            pytest.skip("subtests came with pytest 9")
        run = suite(
            """
import unittest

@pytest.mark.max_macs("1k")
def test_failed(subtests):
    with subtests.test("first"): assert False
    with subtests.test("second"): Net().encoder
@pytest.mark.max_macs(95)
def test_passed(subtests):
    with subtests.test("first"): Net()(batch(1))
    with subtests.test("second"): Net()(batch(2))
class TestUnittest(unittest.TestCase):
    @pytest.mark.max_macs("1k")
    def test_failed(self):
        with self.subTest("first"): self.fail()
"""
        )
        assert [verdict["outcome"] for verdict in run.verdicts("test_failed")] == ["incomplete"]
        assert [verdict["outcome"] for verdict in run.verdicts("TestUnittest::test_failed")] == ["incomplete"]
        assert run.headline("test_passed").startswith("max_macs: Net 96 MACs > 95 MACs")
        assert "nothing was measured" not in run.result.stdout.str()


def test_every_test_is_observed_and_no_outcome_changes(suite: Suite):
    source = """
import unittest

def test_passed(): Net()(batch())
def test_again(): Net()(batch())
def test_no_model(): pass
def test_failed():
    Net()(batch())
    assert False
def test_skipped(): pytest.skip()
@pytest.mark.xfail
def test_broken(): Broken()(batch())
class TestUnittest(unittest.TestCase):
    def test_it(self): Tiny()(batch())
def test_stray(): torch.ones(2, 2) @ torch.ones(2, 2)
@pytest.mark.max_params("1k")
def test_marked(): Net()(batch())
"""
    plain, observed = suite(source), suite(source, "--modelbudget")
    assert plain.result.parseoutcomes() == observed.result.parseoutcomes()
    assert plain.outcomes == observed.outcomes
    assert "modelbudget: observing every test" in observed.lines
    observed.result.stdout.fnmatch_lines(
        [
            "*= model budgets =*",
            "test_it.py::test_marked  Net",
            "  params *58 / 1 K *",
            "Net  2x4  on cpu",
            "  params 58  trainable_params 58  size 232 bytes  macs 96 MACs  flops 192 FLOPs*",
            "  test_it.py::test_again and 2 more",  # test_marked and test_passed
            "Tiny  2x4  on cpu",
            "  params 20  trainable_params 20  size 80 bytes  macs 32 MACs  flops 64 FLOPs*",
            "  test_it.py::TestUnittest::test_it",
        ]
    )


def test_compiled_calls_of_unmarked_tests_stay_compiled_and_are_listed(dynamo, suite: Suite):
    from torch.utils._python_dispatch import TorchDispatchMode

    if not hasattr(TorchDispatchMode, "ignore_compile_internals"):
        pytest.skip("this torch compiles nothing under a dispatch mode")
    run = suite(
        """
from torch.utils._python_dispatch import _disable_current_modes

ran = []

def unseen(graph, inputs):
    def run(*args):
        ran.append(graph)
        with _disable_current_modes(): return graph(*args)
    return run

def test_whole():
    net = torch.compile(Net(), backend=unseen)
    net(batch())
    assert ran

def test_part():
    net = Net()
    net.encoder = torch.compile(net.encoder, backend=unseen)
    net(batch())

@pytest.mark.max_macs("1k")
def test_marked():
    net = torch.compile(Net(), backend=unseen)
    net(batch())
""",
        "--modelbudget",
    )
    assert set(run.outcomes.values()) == {"passed"}
    assert run.measured("test_marked") == [("Net", "96 MACs")]
    notes = {
        nodeid.partition("::")[2]: [p["notes"] for p in result["profiles"]] for nodeid, result in run.results.items()
    }
    assert notes["test_whole"] == notes["test_part"] == [("compiled, not measured",)]
    assert set(notes["test_marked"]) == {()}
    assert "  compiled, not measured" in run.lines


def test_a_test_about_compiling_that_fails_is_told_that_nothing_was_compiled(
    dynamo, compiles_under_modes: bool, suite: Suite
):
    source = """
class Counter:
    frames = 0
    def __call__(self, graph, inputs):
        self.frames += 1
        return graph.forward

{mark}
def test_about_it():
    counter = Counter()
    torch.compile(Net(), backend=counter)(batch())
    assert counter.frames == 1

def test_about_another_thing():
    Net()(batch())
    assert False
"""
    note = "torch.compile ran eagerly in this test, because modelbudget_max_growth = 1% limits compute"
    gate = ("--modelbudget", "--modelbudget-max-growth=1%")
    run = suite(source.format(mark=""), *gate)
    assert run.outcomes == {"test_about_it": "failed", "test_about_another_thing": "failed"}
    assert [line.partition(",")[0] for line in run.lines if "ran eagerly" in line] == [note.partition(",")[0]]
    assert any(line.startswith(note) for line in run.lines)
    run = suite(source.format(mark="@pytest.mark.max_growth(None)"), *gate)
    assert run.outcomes["test_about_it"] == ("passed" if compiles_under_modes else "failed")
    assert not any(line.startswith(note) for line in run.lines)


def test_a_model_compiled_in_place_is_listed_as_such(dynamo, compiles_under_modes: bool, suite: Suite):
    run = suite(
        """
def test_unmarked():
    net = Net()
    net.compile(backend="eager")
    net(batch())

@pytest.mark.max_macs(95)
def test_marked():
    net = Net()
    net.compile(backend="eager")
    net(batch())
""",
        "--modelbudget",
    )
    assert run.outcomes == {"test_unmarked": "passed", "test_marked": "failed"}
    assert run.headline("test_marked") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    (profiles,) = [result["profiles"] for nodeid, result in run.results.items() if "unmarked" in nodeid]
    notes = ("compiled, not measured",) if compiles_under_modes else ()
    assert [(profile["model"], profile["notes"]) for profile in profiles] == [("Net", notes)]


def test_contractions_beside_a_model_are_noted(suite: Suite):
    run = suite(
        """
@pytest.mark.max_macs(96)
def test_it():
    Net()(batch())
    torch.ones(4, 4) @ torch.ones(4, 4)
"""
    )
    assert run.measured("test_it") == [("Net", "96 MACs")]
    assert sum("beside it, matrix products, convolutions or attention ran outside" in line for line in run.lines) == 1


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_a_failure_that_the_test_expects_is_none(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        """
from pytest_modelbudget import BudgetExceeded

def test_caught(modelbudget):
    with pytest.raises(BudgetExceeded): modelbudget.check(Net(), params=50)
def test_over(modelbudget): modelbudget.check(Net(), params=50)
""",
        *workers,
        "-v",
    )
    assert run.outcomes == {"test_caught": "passed", "test_over": "failed"}
    assert [verdict["failed"] for verdict in run.verdicts("test_caught")] == [False]
    assert [verdict["failed"] for verdict in run.verdicts("test_over")] == [True]
    run.result.stdout.fnmatch_lines(["  params *58 / 50 *116.0 %  over, as the test expects"])


def test_bytes_are_shown_as_the_limit_is_written(suite: Suite):
    run = suite(
        """
@pytest.mark.max_size("0.2 kB")
def test_decimal(): Net()(batch())
@pytest.mark.max_size("0.2 KiB")
def test_binary(): Net()(batch())
@pytest.mark.max_size("100 MB")
def test_within(): Net()(batch())
"""
    )
    assert run.headline("test_decimal") == "max_size: Net 232 bytes > 200 bytes (+16.0 %)"
    assert run.headline("test_binary").startswith("max_size: Net 232 bytes > 204.8 bytes")
    run.result.stdout.fnmatch_lines(["  size *232 bytes / 100 MB *"])


def test_nothing_happens_when_it_is_switched_off(suite: Suite):
    run = suite(
        """
@pytest.mark.max_params(1)
def test_mark(): Net()(batch())
def test_check(modelbudget): modelbudget.check(Net(), batch(), params=1)
def test_limit(modelbudget):
    with modelbudget.limit(params=1): Net()(batch())
""",
        "--no-modelbudget",
        "--strict-markers",
    )
    run.result.assert_outcomes(passed=3)
    assert "modelbudget: off (--no-modelbudget)" in run.lines
    assert run.results == {}


HYPOTHESIS = """
from hypothesis import given, settings, strategies as st

sizes = st.integers(min_value=1, max_value=4)

@pytest.mark.max_macs(192)
@settings(max_examples=10, database=None)
@given(sizes)
def test_call(size): Net()(batch(size))

@pytest.mark.max_macs(47, per="sample")
@settings(max_examples=10, database=None)
@given(sizes)
def test_sample(size): Net()(batch(size))

"""


def test_the_examples_of_hypothesis_are_calls_of_their_own(suite: Suite):
    run = suite(HYPOTHESIS, "-p", "no:cacheprovider", off=("-p", "no:asyncio", "-p", "no:anyio"))
    assert run.outcomes == {"test_call": "passed", "test_sample": "failed"}
    assert run.headline("test_sample").startswith("max_macs: Net 48 MACs > 47 MACs (+2.1 %) per sample")


def test_examples_of_hypothesis_are_not_summed(suite: Suite):
    run = suite(
        HYPOTHESIS
        + """
@pytest.mark.max_macs("1G", per="test")
@given(sizes)
def test_sum(size): Net()(batch(size))
class TestIt:
    @pytest.mark.max_macs("1G", per="test")
    @given(size=sizes)
    def test_method(self, size): pass
""",
        off=("-p", "no:asyncio", "-p", "no:anyio"),
    )
    run.result.assert_outcomes(errors=1)
    why = 'per="test" would sum over the examples that hypothesis happens to choose: write per="call"'
    run.result.stdout.fnmatch_lines([f'test_it.py:*: @max_macs("1G", per="test"): {why}'] * 2)
    run = suite(
        HYPOTHESIS
        + """
@pytest.mark.max_macs("1G", per="test")
class TestIt:
    @settings(max_examples=3, database=None)
    @given(size=sizes)
    def test_inherited(self, size): Net()(batch(size))
""",
        "-k",
        "inherited",
        off=("-p", "no:asyncio", "-p", "no:anyio"),
    )
    assert run.headline("TestIt::test_inherited") == f"max_macs: {why}"


def test_the_models_of_these_tests_are_what_they_say():
    namespace: dict[str, type] = {}
    exec(MODELS, namespace)
    assert [sum(p.numel() for p in namespace[name]().parameters()) for name in ("Net", "Tiny")] == [58, 20]
