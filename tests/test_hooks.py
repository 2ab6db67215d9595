"""The hooks that a `conftest.py` may implement: metrics of its own, devices, models, reports.

Net: 58 parameters, 48 MACs a sample, 2 modules below itself. Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget import custom_metric
from pytest_modelbudget.catalogue import MARKS
from pytest_modelbudget.custom import added
from pytest_modelbudget.metrics import METRICS

if TYPE_CHECKING:
    from tests.suite import Suite

LINEARS = """
from pytest_modelbudget import custom_metric

def linears(profile):
    return sum(module.type == "Linear" for module in profile.modules.values())

def pytest_modelbudget_metrics(config):
    return [
        custom_metric("linears", linears, "linear layers of the model", needs_call=False),
        custom_metric("joules", lambda profile: profile.flops / 64, "energy of a call", additive=True),
    ]
"""
"""Net has 2 linear layers; its 192 FLOPs for a batch of 2 cost 3 joules."""

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])


@pytest.fixture(autouse=True)
def the_same_metrics_afterwards():
    before = dict(METRICS), set(MARKS)
    yield
    assert before == (METRICS, MARKS)


@WORKERS
def test_a_metric_of_the_suites_own_is_limited_by_marks(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        """
@pytest.mark.max_linears(2)
def test_within(): Net()(batch())
@pytest.mark.max_linears(1, message="keep it shallow")
def test_over(): Net()(batch())
@pytest.mark.modelbudget(joules=2.5)
def test_call_over(): Net()(batch())
@pytest.mark.max_joules(1.5, per="sample")
def test_sample_within(): Net()(batch())
@pytest.mark.max_joules(5, per="test")
def test_test_over():
    net = Net()
    net(batch()), net(batch())
def test_check(modelbudget):
    modelbudget.check(Net(), batch(), linears=1)
""",
        *workers,
        "--strict-markers",
        conftest=LINEARS,
    )
    assert run.outcomes == {
        "test_within": "passed",
        "test_over": "failed",
        "test_call_over": "failed",
        "test_sample_within": "passed",
        "test_test_over": "failed",
        "test_check": "failed",
    }
    assert run.headline("test_over") == "max_linears: Net 2 > 1 (+100.0 %)"
    assert "message   keep it shallow" in run.failure("test_over")
    assert "measured  2 linears" in run.failure("test_over")
    assert run.headline("test_call_over") == "max_joules: Net 3 > 2.5 (+20.0 %) for 2x4"
    assert run.headline("test_test_over") == "max_joules: Net 6 > 5 (+20.0 %) per test for 2x4"
    assert run.headline("test_check") == "max_linears: Net 2 > 1 (+100.0 %)"
    run.result.stdout.fnmatch_lines(["test_it.py::test_within  Net", "  linears *2 / 2 *100.0 %"])


def test_it_stands_among_the_markers_and_is_no_unknown_mark(suite: Suite):
    run = suite("", "--markers", conftest=LINEARS)
    run.result.stdout.fnmatch_lines(
        ["@pytest.mark.max_linears(limit, [*], *): limit on linears: linear layers of the *."]
    )
    run = suite("@pytest.mark.max_liners(1)\ndef test_it(): pass", "--strict-markers", conftest=LINEARS)
    run.result.stdout.fnmatch_lines(["@pytest.mark.max_liners: did you mean @pytest.mark.max_linears[?]"])


@WORKERS
def test_its_marks_are_validated_at_collection(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        """
@pytest.mark.max_linears("many")
def test_word(): pass
@pytest.mark.max_linears("4 GFLOPs")
def test_unit(): pass
@pytest.mark.max_linears(1, module="head")
def test_module(): pass
@pytest.mark.max_linears(1, per="sample")
def test_per(): pass
@pytest.mark.modelbudget(liners=1)
def test_name(): pass
""",
        *workers,
        conftest=LINEARS,
    )
    run.result.stdout.fnmatch_lines(
        [
            "*: @max_linears(\"many\"): 'many' is not a quantity; write e.g. *",
            "*: @max_linears(\"4 GFLOPs\"): '4 GFLOPs' is in FLOPs, not in counts; *",
            '*: @max_linears(1, module="head"): module="head": linears is a figure of the whole model; *',
            '*: @max_linears(1, per="sample"): per="sample": linears is no sum over calls or samples; *',
            "*: @modelbudget(liners=1): got an unexpected keyword argument 'liners'; did you mean 'linears'?",
        ]
    )
    run.result.assert_outcomes(errors=1)


def test_it_is_a_key_in_toml(suite: Suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "*"\nmax_linears = 1\n', encoding="utf-8"
    )
    run = suite("def test_net(): Net()(batch())\ndef test_tiny(): Tiny()(batch())", conftest=LINEARS)
    assert run.headline("test_net") == "max_linears: Net 2 > 1 (+100.0 %)"
    assert run.outcomes["test_tiny"] == "passed"
    suite.pytester.path.joinpath("conftest.py").unlink()
    run = suite("def test_net(): Net()(batch())")
    assert run.result.ret == pytest.ExitCode.USAGE_ERROR
    run.result.stderr.fnmatch_lines(["ERROR: modelbudget.toml: budgets[[]0].max_linears: unknown key*"])


def test_it_is_in_the_report_and_in_the_overview(suite: Suite):
    run = suite("def test_net(): Net()(batch())", "--modelbudget", "--modelbudget-report=json:r.json", conftest=LINEARS)
    (test,) = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))["tests"]
    assert test["profiles"][0]["custom"] == {"linears": 2, "joules": 3.0}
    run.result.stdout.fnmatch_lines(["* linears 2 *joules 3*"])


@WORKERS
def test_it_is_held_against_the_baseline(suite: Suite, workers: tuple[str, ...]):
    source = """
@pytest.mark.max_growth(linears="0%", joules="10%")
def test_net(): Net()(batch())
"""
    run = suite(source, *workers, "--modelbudget-update=new", conftest=LINEARS)
    assert run.outcomes == {"test_net": "passed"}
    assert suite(source, *workers, conftest=LINEARS).outcomes == {"test_net": "passed"}
    grown = source.replace("Net()", "nn.Sequential(Net(), nn.Linear(2, 2))")
    run = suite(grown.replace("test_net(): ", "test_net(): "), *workers, conftest=LINEARS)
    assert run.outcomes == {"test_net": "failed"}


def test_growth_names_both_figures(suite: Suite):
    source = "@pytest.mark.max_growth(linears='0%')\ndef test_it(): {}(batch())"
    wide = (
        "class Net(Net):\n    def __init__(self):\n        super().__init__()\n        self.spare = nn.Linear(1, 1)\n"
    )
    suite(source.format("Net()"), "--modelbudget-update=new", conftest=LINEARS)
    run = suite(wide + source.format("Net()"), conftest=LINEARS)
    assert run.headline("test_it").startswith("max_growth: Net linears 3, was 2 (+50.0 % > 0%)")


def test_a_metric_that_cannot_be_had_fails_the_limit_and_says_why(suite: Suite):
    run = suite(
        """
@pytest.mark.max_raising(1)
def test_raising(): Net()(batch())
@pytest.mark.max_strange(1)
def test_strange(): Net()(batch())
@pytest.mark.max_nothing(1)
def test_nothing(): Net()(batch())
@pytest.mark.max_zero(0)
def test_zero(): Net()(batch())
@pytest.mark.max_called(1)
def test_not_called(): net = Net()
def test_unmarked(): Net()(batch())
""",
        "--modelbudget",
        conftest="""
from pytest_modelbudget import custom_metric

def pytest_modelbudget_metrics(config):
    yield custom_metric("raising", lambda profile: 1 / 0, "a mistake")
    yield custom_metric("strange", lambda profile: "7", "a text")
    yield custom_metric("nothing", lambda profile: None, "not there")
    yield custom_metric("zero", lambda profile: 0, "nothing at all")
    yield custom_metric("called", lambda profile: profile.calls, "calls")
""",
    )
    assert run.headline("test_raising") == "max_raising: the metric raising raised ZeroDivisionError: division by zero"
    assert run.headline("test_strange").startswith("max_strange: the metric strange returned '7': return an int or")
    assert run.headline("test_nothing") == "max_nothing: nothing was measured: the metric nothing has no figure for it"
    assert run.headline("test_not_called").startswith("max_called: nothing was measured: ")
    assert run.outcomes["test_zero"] == run.outcomes["test_unmarked"] == "passed"


@WORKERS
@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        ('[custom_metric("flops", len, "ours")]', "the name 'flops' is taken: give the metric another one"),
        ('[custom_metric("model", len, "ours")]', "the name 'model' is taken: *"),
        ('[custom_metric("growth", len, "ours")]', "the name 'growth' is taken: *"),
        ('[custom_metric("x", len, "a"), custom_metric("x", len, "b")]', "the name 'x' is taken: *"),
        ("[len]", "<built-in function len> is no metric: make it with pytest_modelbudget.custom_metric"),
        ("7", "'int' object is not iterable"),
        ('[custom_metric("a b", len, "ours")]', "'a b' is no name of a metric: write a word such as layers"),
    ],
)
def test_what_is_no_new_metric_is_a_usage_error(suite: Suite, workers: tuple[str, ...], metrics: str, complaint: str):
    run = suite(
        "def test_it(): pass",
        *workers,
        conftest="from pytest_modelbudget import custom_metric\n"
        f"def pytest_modelbudget_metrics(config): return {metrics}",
    )
    assert run.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in run.result.stderr.str()
    run.result.stderr.fnmatch_lines([f"ERROR: the hook pytest_modelbudget_metrics: {complaint}"])


def test_what_is_no_metric_is_refused_where_it_is_made():
    with pytest.raises(ValueError, match="'a b' is no name of a metric"):
        custom_metric("a b", len, "")
    with pytest.raises(ValueError, match="there is no unit 'bit': write count, MAC, FLOP, byte, second"):
        custom_metric("bits", len, "", unit="bit")
    with pytest.raises(TypeError, match="measure=3 is no function of a profile"):
        custom_metric("bits", 3, "")


def test_metrics_of_a_run_inside_of_a_run_give_way_again():
    outer, inner = (custom_metric("depth", lambda profile: 1, text) for text in ("outer", "inner"))
    with added([outer]):
        with added([inner]):
            assert METRICS["depth"] is inner
        assert METRICS["depth"] is outer
        assert "max_depth" in MARKS
    assert "max_depth" not in MARKS


class TestDevice:
    CONFTEST = """
    def pytest_modelbudget_device(item):
        return "meta" if "meta" in item.name else None
    """

    def test_it_is_where_the_models_of_a_test_are_measured(self, suite: Suite):
        run = suite(
            """
@pytest.mark.max_macs(1)
class TestIt:
    def test_meta(self): Net()(batch())
    def test_other(self): Net()(batch())
    @pytest.mark.max_macs(1, device="cpu")
    def test_meta_but_the_mark_is_closer(self): Net()(batch())
def test_meta_check(modelbudget): modelbudget.check(Net(), batch(), macs=1)
def test_meta_profile(modelbudget): assert modelbudget.profile(Net(), batch()).device == "meta"
""",
            "--modelbudget-device=cpu",
            conftest=self.CONFTEST,
        )
        assert "run abstractly on meta" in run.failure("TestIt::test_meta")
        assert "run abstractly on meta" in run.failure("test_meta_check")
        assert "observed on cpu" in run.failure("TestIt::test_other")
        assert "observed on cpu" in run.failure("TestIt::test_meta_but_the_mark_is_closer")
        assert run.outcomes["test_meta_profile"] == "passed"

    def test_what_is_no_device_fails_the_test_and_says_so(self, suite: Suite):
        run = suite(
            """
@pytest.mark.max_params(58)
def test_mark(): Net()(batch())
def test_unmarked(): pass
""",
            conftest="def pytest_modelbudget_device(item): return 'gpu'",
        )
        complaint = "'gpu' is no device; write auto, meta, cpu, cuda, cuda:1, mps or xpu"
        assert run.headline("test_mark") == f"the hook pytest_modelbudget_device: {complaint}"
        assert run.outcomes["test_unmarked"] == "passed"
