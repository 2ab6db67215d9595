"""The fixtures `modelbudget` and `modelbudget_device`.

Net: 58 parameters, 48 MACs a sample (encoder 40 and 32, head 18 and 16). Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.profiling.profile import Profile
from tests.suite import OFF

if TYPE_CHECKING:
    from tests.suite import Suite


def test_check_judges_at_once(suite: Suite):
    run = suite(
        """
def test_within(modelbudget):
    modelbudget.check(Net(), batch(), params=58, flops=192, macs="96")
def test_over(modelbudget):
    modelbudget.check(Net(), batch(), params=57, flops="191", module=None)
    assert False, "not reached"
def test_kwargs(modelbudget): modelbudget.check(Net(), kwargs={"x": batch()}, macs=95)
def test_args(modelbudget): modelbudget.check(Net(), (batch(),), macs=95)
def test_module(modelbudget): modelbudget.check(Net(), batch(), macs=32, module="*")
def test_sample(modelbudget): modelbudget.check(Net(), batch(), macs=48, per="sample")
def test_inputs(modelbudget): modelbudget.check(Net(), inputs=(3, 4), macs=143)
def test_callable(modelbudget): modelbudget.check(Net(), inputs=lambda model: batch(4), macs=191)
def test_needs_no_call(modelbudget): modelbudget.check(Broken(), params=58)
def test_lifted(modelbudget): modelbudget.check(Net(), batch(), params=None)
def test_within_raises(modelbudget):
    from pytest_modelbudget import BudgetExceeded
    with pytest.raises(BudgetExceeded, match="max_params: Net 58 > 57"):
        modelbudget.check(Net(), params=57)
"""
    )
    within = ("test_within", "test_sample", "test_needs_no_call", "test_lifted", "test_within_raises")
    assert {name for name, outcome in run.outcomes.items() if outcome == "passed"} == set(within)
    text = run.failure("test_over")
    assert text.splitlines()[0] == "max_params: Net 58 > 57 (+1.8 %)"
    assert "max_flops: Net 192 FLOPs > 191 FLOPs (+0.5 %) for 2x4" in text
    assert '  limit     191 FLOPs from modelbudget.check(flops="191") at test_it.py:9' in text
    assert "not reached" not in text
    assert run.headline("test_kwargs") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.headline("test_args") == run.headline("test_kwargs")
    assert run.headline("test_module") == "max_macs: Net encoder 64 MACs > 32 MACs (+100.0 %) for 2x4"
    assert run.headline("test_inputs") == "max_macs: Net 144 MACs > 143 MACs (+0.7 %) for 3x4"
    assert run.headline("test_callable") == "max_macs: Net 192 MACs > 191 MACs (+0.5 %) for 4x4"


def test_what_cannot_be_checked_is_one_clear_failure(suite: Suite):
    run = suite(
        """
def test_raises(modelbudget): modelbudget.check(Broken(), batch(), macs=1)
def test_without_arguments(modelbudget): modelbudget.check(Net(), macs=1)
def test_other_arguments(modelbudget): modelbudget.check(Net(), nn.Identity(), macs=1, device="cpu")
def test_lazy(modelbudget): modelbudget.check(nn.LazyLinear(4), batch(), macs=1)
def test_lazy_state(modelbudget): modelbudget.check(nn.LazyLinear(4), params=1)
def test_no_module(modelbudget): modelbudget.check("net", batch(), macs=1)
def test_fixture_name(modelbudget): modelbudget.check(Net(), inputs="batch", macs=1)
def test_device(modelbudget): modelbudget.check(Net(), batch(), macs=1, device="xpu")
def test_unknown_keyword(modelbudget): modelbudget.check(Net(), batch(), flop=1)
def test_no_limit(modelbudget): modelbudget.check(Net(), batch())
def test_bad_limit(modelbudget): modelbudget.check(Net(), batch(), params="ten")
def test_unknown_keyword_of_limit(modelbudget):
    with modelbudget.limit(parms="1"): pass
"""
    )
    assert set(run.outcomes.values()) == {"failed"}
    assert run.headline("test_raises").startswith(
        "max_macs: Broken cannot be run on meta (RuntimeError: no such thing at models.py:"
    )
    assert run.headline("test_without_arguments").endswith(
        '): say what to call it with, args=(x,), or another device=, for example "cpu"'
    )
    assert run.headline("test_other_arguments").endswith("): give it other arguments")
    for name in ("test_lazy", "test_lazy_state"):
        assert "LazyLinear cannot be measured: weight has no shape yet" in run.headline(name)
    assert 'inputs="batch": inside a test, pass the value of the fixture itself' in run.headline("test_fixture_name")
    assert 'device "xpu" is not available here' in run.headline("test_device")
    errors = {
        "test_no_module": "TypeError: modelbudget.check() takes an nn.Module, not str: pass the model itself",
        "test_unknown_keyword": "TypeError: modelbudget.check() got an unexpected keyword argument 'flop'; "
        "did you mean 'flops'?",
        "test_no_limit": 'ValueError: modelbudget.check(): no limit; write e.g. check(params="26M")',
        "test_bad_limit": "'ten' is not a quantity; write e.g. \"25.6M\"",
        "test_unknown_keyword_of_limit": "TypeError: modelbudget.limit() got an unexpected keyword argument 'parms'; "
        "did you mean 'params'?",
    }
    for name, error in errors.items():
        assert error in run.failure(name), name
    for name in set(errors) - {"test_bad_limit"}:
        assert "inside.py" not in run.failure(name), name


def test_limit_judges_the_calls_in_its_block(suite: Suite):
    run = suite(
        """
from contextlib import ExitStack

def test_within(modelbudget):
    net = Net()
    net(batch(100))
    with modelbudget.limit(macs=96, params=58): net(batch())
    net(batch(100))
def test_over(modelbudget):
    with modelbudget.limit(macs=95):
        Net()(batch())
def test_loop(modelbudget):
    for size in (1, 2, 3):
        with modelbudget.limit(macs=144): Net()(batch(size))
def test_nothing(modelbudget):
    with modelbudget.limit(macs=144): pass
def test_part(modelbudget):
    net = Net()
    with modelbudget.limit(macs="1k"): net.forward_features(batch())
def test_raising(modelbudget):
    with modelbudget.limit(macs=1):
        Net()(batch())
        raise ValueError("own words")
def test_raising_within(modelbudget):
    with modelbudget.limit(macs=96):
        Net()(batch())
        raise ValueError("own words")
def test_caught(modelbudget):
    with pytest.raises(ValueError), modelbudget.limit(macs=1):
        Net()(batch())
        raise ValueError
def test_raising_first(modelbudget):
    with pytest.raises(ValueError), modelbudget.limit(macs=1):
        raise ValueError
def test_skipping(modelbudget):
    with modelbudget.limit(macs=1):
        Net()(batch())
        pytest.skip("not today")
def test_stack(modelbudget):
    with ExitStack() as stack:
        stack.enter_context(modelbudget.limit(macs=95))
        Net()(batch())
def test_nested(modelbudget):
    net = Net()
    with modelbudget.limit(macs=144, per="test"), modelbudget.limit(macs=96):
        net(batch(1))
        net(batch(2))
def test_lifted(modelbudget):
    with modelbudget.limit(params=None): Net()
@pytest.fixture
def net(): return Net()
def test_fixture(modelbudget, net):
    with modelbudget.limit(macs="1k", model="net.head"): net(batch())
"""
    )
    assert run.measured("test_within") == [("Net", "96 MACs"), ("Net", "58")]
    assert run.headline("test_over") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert "from modelbudget.limit(macs=95) at test_it.py:14" in run.failure("test_over")
    assert run.measured("test_loop") == [("Net", "144 MACs")]  # one row, of the closest
    assert run.headline("test_nothing").startswith("max_macs: nothing was measured: ")
    assert run.measured("test_part") == [("Net", "64 MACs")]
    # What the block raised is told beside what was exceeded until then, and nobody who expects it hides that.
    exceeded = "max_macs: Net 96 MACs > 1 MACs (+9500.0 %) for 2x4"
    assert run.failure("test_raising").startswith("own words\n\nDuring handling of the above exception, ")
    assert exceeded in run.failure("test_raising")
    assert "ValueError: own words" in run.failure("test_raising_within")
    assert "max_macs" not in run.failure("test_raising_within").partition("ValueError: own words")[2]
    assert exceeded in run.failure("test_caught")
    assert [verdict["outcome"] for verdict in run.verdicts("test_raising_first")] == ["incomplete"]
    assert [run.outcomes[name] for name in ("test_raising_first", "test_skipping")] == ["passed", "skipped"]
    assert "at test_it.py:45" in run.failure("test_stack")
    assert run.measured("test_nested") == [("Net", "96 MACs"), ("Net", "144 MACs")]  # the inner block ends first
    assert run.measured("test_fixture") == [("net.head (Linear)", "32 MACs")]


def test_a_block_is_judged_by_the_calls_in_it_alone(suite: Suite):
    run = suite(
        """
class Helpful(Net):
    dummy_inputs = {"x": batch()}
@pytest.fixture
def net(): return Helpful()
def test_nothing(modelbudget, net):
    with modelbudget.limit(macs="1k"): pass
def test_before(modelbudget, net):
    net(batch())
    with modelbudget.limit(macs="1k"): pass
def test_state(modelbudget, net):
    with modelbudget.limit(params=58): pass
def test_inputs(modelbudget, net):
    with modelbudget.limit(macs=143, inputs=(3, 4)): pass
"""
    )
    assert run.outcomes == {
        "test_nothing": "failed",
        "test_before": "failed",
        "test_state": "passed",
        "test_inputs": "failed",
    }
    reason = "max_macs: nothing was measured: Helpful was not called in the block: call it there, or say with inputs="
    for name in ("test_nothing", "test_before"):
        assert run.headline(name).startswith(reason)
    assert run.headline("test_inputs") == "max_macs: Helpful 144 MACs > 143 MACs (+0.7 %) for 3x4"


def test_what_the_plugin_runs_is_not_the_tests(suite: Suite):
    run = suite(
        """
@pytest.fixture
def net(): return Net()

@pytest.mark.max_macs(48, per="test")
def test_marked(net, modelbudget):
    modelbudget.check(net, batch(100), macs="1M")
    assert modelbudget.profile(net, batch(100)).macs == 4800
    with modelbudget.limit(macs=48): net(batch(1))
    modelbudget.check(net, batch(100), macs="1M", device="cpu")

@pytest.mark.max_macs(48)
def test_own_run_in_a_block(net, modelbudget):
    with modelbudget.limit(macs="1M", inputs=(100, 4)): pass
    net(batch(1))
""",
    )
    run.result.assert_outcomes(passed=2)
    assert sorted(figure for _, figure in run.measured("test_marked")) == [
        "4.8 KMACs",
        "4.8 KMACs",
        "48 MACs",
        "48 MACs",
    ]
    assert run.measured("test_own_run_in_a_block") == [("Net", "4.8 KMACs"), ("Net", "48 MACs")]


def test_a_failed_assert_about_a_figure_shows_the_profile_in_one_line(suite: Suite):
    run = suite("def test_it(modelbudget): assert modelbudget.profile(Net(), batch()).flops == 3")
    shown = "<Profile of Net for 2x4: params=58, macs=96, flops=192, memory=392, 3 modules>"
    assert f"E    +  where 192 = {shown}.flops" in run.failure("test_it").splitlines()


def test_a_failed_assert_about_a_module_shows_it_in_one_line(suite: Suite):
    run = suite('def test_it(modelbudget): assert modelbudget.profile(Net(), batch()).modules["head"].macs == 3')
    shown = "<ModuleProfile of Linear: params=18, macs=32, flops=64, 1 call>"
    assert f"E    +  where 32 = {shown}.macs" in run.failure("test_it").splitlines()


def test_many_inputs_do_not_make_the_line_long():
    profile = Profile("Net", 1, 1, 4, macs=8_000_000, inputs=", ".join(["1x3x224x224"] * 20), modules={})
    assert repr(profile) == (
        "<Profile of Net for 1x3x224x224, 1x3x224x224, 1x3x224x224, 1x3x224x224, ...: "
        "params=1, macs=8_000_000, 0 modules>"
    )


def test_profile_uses_the_settings(suite: Suite):
    run = suite(
        """
def test_it(modelbudget):
    profile = modelbudget.profile(Net(), batch())
    assert (profile.macs, profile.flops, profile.device) == (96, 96, "cpu")
    assert modelbudget.profile(Net(), batch(), flops_per_mac=2, device="meta").flops == 192
""",
        "--modelbudget-flops-per-mac=1",
        "--modelbudget-device=cpu",
    )
    run.result.assert_outcomes(passed=1)


def test_limits_in_subtests_fail_their_subtest(suite: Suite):
    if pytest.version_tuple < (9,):
        pytest.skip("subtests came with pytest 9")
    run = suite(
        """
def test_it(subtests, modelbudget):
    for size in (1, 2, 3):
        with subtests.test(size=size), modelbudget.limit(macs=96): Net()(batch(size))
"""
    )
    failed = [report for report in run.reports if report.failed]
    assert [report.longreprtext.splitlines()[0] for report in failed] == [
        "max_macs: Net 144 MACs > 96 MACs (+50.0 %) for 3x4",
        "contains 1 failed subtest",
    ]


def test_a_warning_warns_where_it_stands(suite: Suite):
    run = suite(
        """
from pytest_modelbudget import ModelBudgetWarning

def test_it(modelbudget):
    with pytest.warns(ModelBudgetWarning, match="Net 58 > 1"):
        modelbudget.check(Net(), params=1, level="warn")
"""
    )
    run.result.assert_outcomes(passed=1)


@pytest.mark.parametrize(("option", "device"), [((), "cpu"), (["--modelbudget-device=meta"], "meta")])
def test_the_device_fixture(suite: Suite, option: list[str], device: str):
    run = suite(
        f"""
@pytest.fixture(scope="session")
def net(modelbudget_device): return Net().to(modelbudget_device)

def test_it(net): assert net.head.weight.device.type == {device!r}
""",
        *option,
    )
    run.result.assert_outcomes(passed=1)


def test_the_fixtures_are_documented(pytester: pytest.Pytester):
    result = pytester.runpytest_inprocess("--fixtures", "-p", "no:asyncio")
    result.stdout.fnmatch_lines(
        [
            "modelbudget -- *",
            "    Limits inside a test: `modelbudget.check(model, args, params=*",
            "modelbudget_device [[]session scope] -- *",
            "    The name of the configured device, *",
        ]
    )


@pytest.mark.parametrize(
    ("test", "line"),
    [
        ("def test_it(modelbudget): modelbudget.check(Net(), batch(), macs=1)", "modelbudget.check(Net()"),
        ("def test_it(modelbudget):\n    with modelbudget.limit(macs=1):\n        Net()(batch())", "with modelbudget"),
    ],
)
def test_a_debugger_stops_in_the_test(suite: Suite, test: str, line: str):
    suite.write(test)
    result = suite.pytester.run(sys.executable, "-m", "pytest", *OFF, "--pdb", stdin=b"q\n")
    result.stdout.re_match_lines([r"> .*test_it\.py.*", f"->.*{re.escape(line)}.*"], consecutive=True)


def test_a_debugger_that_stops_after_the_test_does_not_show_the_plugin(suite: Suite):
    suite.write("@pytest.mark.max_macs(1)\ndef test_it(): Net()(batch())")
    result = suite.pytester.run(sys.executable, "-m", "pytest", *OFF, "--pdb", stdin=b"q\n")
    result.stdout.fnmatch_lines(["*PDB post_mortem*", "> *"])
    result.stdout.no_fnmatch_line("> *pytest_modelbudget*")
    result.stdout.no_fnmatch_line("*traceback entries are hidden*")
