"""Marks that a test adds to itself in its body: judged by what was observed, and never passed unseen.

Net: 58 parameters, 48 MACs a sample; a batch has two. Tiny: 20 parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.suite import Suite

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
TOO_LATE = (
    "its mark was added while the test ran, which was not observed for it: decorate the test, or add the mark in a "
    "fixture"
)


def too_late(metric: str) -> str:
    return f"{TOO_LATE}; inside a test, write `with modelbudget.limit({metric}=...):`"


NET = "@pytest.fixture\ndef net(): return Net()\n"


@WORKERS
def test_what_nobody_observed_fails_and_says_what_to_write(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        f"""
{NET}
def test_marker(request):
    request.node.add_marker(pytest.mark.max_macs("1T"))
    Net()(batch())
def test_apply(request, net):
    net(batch())
    request.applymarker(pytest.mark.max_params("1T"))
def test_inputs(request, net):
    request.applymarker(pytest.mark.max_macs("1T", model="net", inputs=(2, 4)))
def test_latency(request, net):
    request.applymarker(pytest.mark.max_latency("3600 s", model="net"))
def test_growth(request, net):
    request.applymarker(pytest.mark.max_growth("1%"))
class TestClass:
    def test_on_the_class(self, request):
        request.node.parent.add_marker(pytest.mark.max_macs("1T"))
        Net()(batch())
""",
        *workers,
    )
    assert set(run.outcomes.values()) == {"failed"}
    assert run.headline("test_marker") == f"max_macs: {too_late('macs')}"
    assert run.headline("test_apply") == f"max_params: {too_late('params')}"
    assert run.headline("test_inputs") == f"max_macs: {too_late('macs')}"
    assert run.headline("test_latency") == f"max_latency: {too_late('latency')}"
    assert run.headline("test_growth") == f"max_growth: {TOO_LATE}"
    assert run.headline("TestClass::test_on_the_class") == f"max_macs: {too_late('macs')}"
    assert 'limit     1 TMACs from @max_macs("1T") at test_it.py:9' in run.failure("test_marker")
    assert run.outcome_of_limit("test_marker") == "invalid"


@WORKERS
def test_a_malformed_one_is_one_clear_error(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        """
def test_unmarked(request):
    request.applymarker(pytest.mark.max_params("ten"))
@pytest.mark.max_params(58)
def test_marked(request):
    Net()(batch())
    request.applymarker(pytest.mark.max_macs())
""",
        *workers,
    )
    assert run.headline("test_unmarked").endswith(
        'test_it.py:6: @max_params("ten"): \'ten\' is not a quantity; write e.g. "25.6M"'
    )
    assert "test_it.py:8: @max_macs: missing a required argument: 'limit'" in run.headline("test_marked")
    assert run.outcome_of_limit("test_marked") == "incomplete"


def test_what_a_named_model_holds_needs_no_observation(suite: Suite):
    run = suite(
        f"""
{NET}
def test_within(request, net): request.applymarker(pytest.mark.max_params(58, model="net"))
def test_over(request, net): request.applymarker(pytest.mark.max_params(57, model="net"))
def test_part(request, net): request.applymarker(pytest.mark.max_size("159 B", model="net.encoder"))
def test_no_model(request, net): request.applymarker(pytest.mark.max_params(58, model="other"))
class TestHook:
    def test_hook(self, request): request.applymarker(pytest.mark.max_params(19))
    def test_bad_hook(self, request): request.applymarker(pytest.mark.max_params(19))
""",
        conftest="""
def pytest_modelbudget_model(item):
    return {"test_hook": Tiny(), "test_bad_hook": 7}.get(item.name)
""",
    )
    assert run.outcomes["test_within"] == "passed"
    assert run.measured("test_within") == [("net (Net)", "58")]
    assert run.headline("test_over") == "max_params: net (Net) 58 > 57 (+1.8 %)"
    assert run.headline("test_part") == "max_size: net.encoder (Linear) 160 bytes > 159 bytes (+0.6 %)"
    assert 'model="other" is no fixture, parameter or attribute of this test' in run.headline("test_no_model")
    assert run.headline("TestHook::test_hook") == "max_params: Tiny 20 > 19 (+5.3 %)"
    assert "the hook pytest_modelbudget_model returned a int" in run.headline("TestHook::test_bad_hook")


def test_a_test_that_was_observed_for_another_limit_is_judged_as_far_as_that_goes(suite: Suite):
    run = suite(
        """
@pytest.mark.max_macs("1k")
class TestCompute:
    def test_params(self, request):
        Net()(batch())
        request.applymarker(pytest.mark.max_params(57))
    def test_closer(self, request):
        request.applymarker(pytest.mark.max_macs(95))
        Net()(batch())
    def test_lifted(self, request):
        request.applymarker(pytest.mark.max_macs(None))
    def test_within(self, request):
        request.applymarker(pytest.mark.max_flops(192))
        Net()(batch())
    def test_elsewhere(self, request):
        request.applymarker(pytest.mark.max_flops(192, device="meta"))
        Net()(batch())
@pytest.mark.max_params(58)
def test_state(request):
    request.applymarker(pytest.mark.max_macs(96))
    Net()(batch())
"""
    )
    assert run.headline("TestCompute::test_params") == "max_params: Net 58 > 57 (+1.8 %)"
    assert run.headline("TestCompute::test_closer") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert run.outcomes["TestCompute::test_lifted"] == "passed"
    assert run.verdicts("TestCompute::test_lifted") == []
    assert run.outcomes["TestCompute::test_within"] == "passed"
    assert ("Net", "192 FLOPs") in run.measured("TestCompute::test_within")
    assert run.headline("TestCompute::test_elsewhere") == f"max_flops: {too_late('flops')}"
    assert run.headline("test_state") == f"max_macs: {too_late('macs')}"
    assert run.measured("test_state")[0] == ("Net", "58")


def test_where_every_test_is_observed_only_compiled_code_is_unseen(suite: Suite, dynamo: None):
    source = """
def test_params(request):
    request.applymarker(pytest.mark.max_params(57))
    Net()(batch())
def test_macs(request):
    request.applymarker(pytest.mark.max_macs(95))
    Net()(batch())
"""
    run = suite(source, "--modelbudget")  # Dynamo is loaded: anything may have been compiled
    assert run.headline("test_params") == "max_params: Net 58 > 57 (+1.8 %)"
    assert run.headline("test_macs") == f"max_macs: {too_late('macs')}"
    suite.write(source)
    result = suite.pytester.runpytest_subprocess("--modelbudget", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4*"])


@WORKERS
def test_a_body_that_did_not_pass_is_not_judged(suite: Suite, workers: tuple[str, ...]):
    run = suite(
        """
import unittest

def test_failed(request):
    request.applymarker(pytest.mark.max_macs("ten"))
    assert False, "for another reason"
def test_skipped(request):
    request.applymarker(pytest.mark.max_macs("ten"))
    pytest.skip()
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def ask(self, request): self.request = request
    def test_failed(self):
        self.request.applymarker(pytest.mark.max_macs("ten"))
        self.fail("for another reason")
    def test_late(self): self.request.applymarker(pytest.mark.max_macs("1T"))
@pytest.mark.xfail(strict=True)
def test_expected(request): request.applymarker(pytest.mark.max_macs("1T"))
""",
        *workers,
    )
    assert run.outcomes == {
        "test_failed": "failed",
        "test_skipped": "skipped",
        "TestCase::test_failed": "failed",
        "TestCase::test_late": "failed",
        "test_expected": "skipped",
    }
    assert "for another reason" in run.failure("test_failed")
    assert "for another reason" in run.failure("TestCase::test_failed")
    assert "ten" not in run.failure("TestCase::test_failed").replace('max_macs("ten")', "")


def test_subtests_that_failed_leave_it_unjudged(suite: Suite):
    if pytest.version_tuple < (9,):
        pytest.skip("subtests came with pytest 9")
    run = suite(
        """
def test_it(request, subtests):
    request.applymarker(pytest.mark.max_macs("1T"))
    with subtests.test(): assert False
"""
    )
    assert "max_macs" not in run.result.stdout.str().replace("request.applymarker(pytest.mark.max_macs", "")


def test_a_mark_of_others_costs_nothing(suite: Suite):
    run = suite(
        """
def test_it(request): request.applymarker(pytest.mark.xfail)
def test_lifted(request): request.applymarker(pytest.mark.max_macs(None))
def test_off(request): request.applymarker(pytest.mark.usefixtures())
"""
    )
    assert set(run.outcomes.values()) == {"passed"}
    assert run.results == {}


def test_a_rerun_is_observed_from_its_beginning(suite: Suite):
    pytest.importorskip("pytest_rerunfailures")
    run = suite(
        """
def test_it(request):
    request.applymarker(pytest.mark.max_macs(96))
    Net()(batch())
""",
        "--reruns=1",
        off=("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest"),
    )
    run.result.assert_outcomes(passed=1)
    assert [report.outcome for report in run.reports if report.when == "call"] == ["rerun", "passed"]


def test_nothing_is_said_when_switched_off(suite: Suite):
    run = suite("def test_it(request): request.applymarker(pytest.mark.max_macs('ten'))", "--no-modelbudget")
    assert run.outcomes == {"test_it": "passed"}
