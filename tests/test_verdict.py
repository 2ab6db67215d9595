"""A limit held against the calls of a model: plain data in, verdicts out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from pytest_modelbudget.budget import Budget, Limit, Per, Source, Uncounted
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.profiling.profile import ModuleProfile, Profile
from pytest_modelbudget.verdict import Outcome, Verdict, judge, unjudged


def limit(value: object, metric: str = "macs", *, direct: bool = True, **keywords: object) -> Limit:
    return Limit(METRICS[metric], Fraction(value), str(value), Source("@mark", "test.py:1", direct), **keywords)


def call(macs: int | None = 0, batch: int | None = 1, unknown: dict[str, int] | None = None, **modules: int) -> Profile:
    """A call of a model with 10 parameters and the given submodules, by their MACs."""
    figures = {"": macs, **{name.replace("_", "."): figure for name, figure in modules.items()}}
    rows = {
        path: ModuleProfile("Linear", 1, 10, 10, 40, macs=figure, flops=None if figure is None else 2 * figure)
        for path, figure in figures.items()
    }
    root = rows[""]
    return Profile(
        "Net", 10, 10, 40, macs=root.macs, flops=root.flops, modules=rows, batch=batch, uncounted=unknown or {}
    )


def verdicts(limited: Limit, *calls: Profile | tuple[Profile, int], uncounted: Uncounted = Uncounted.FAIL):
    counted = [one if isinstance(one, tuple) else (one, 1) for one in calls]
    return judge(limited, "Net", counted, uncounted)


def verdict(*args, **kwargs) -> Verdict:
    (only,) = verdicts(*args, **kwargs)
    return only


@pytest.mark.parametrize(
    ("per", "measured"),
    [
        (Per.CALL, 90),  # the largest call
        (Per.SAMPLE, 40),  # 40 MACs on one sample, 90 on three
        (Per.TEST, 90 + 3 * 40),
    ],
)
def test_what_one_figure_covers(per, measured):
    judged = verdict(limit(1000, per=per), call(90, batch=3), (call(40, batch=1), 3))
    assert judged.measured == measured
    assert judged.outcome is Outcome.WITHIN


@pytest.mark.parametrize(
    ("value", "measured", "batch", "outcome"),
    [
        (Fraction(10, 3), 10, 3, Outcome.WITHIN),  # exactly: 10 <= 10/3 x 3, which no float knows
        (Fraction(10, 3) - Fraction(1, 10**30), 10, 3, Outcome.EXCEEDED),
        (33, 100, 3, Outcome.EXCEEDED),
        (34, 100, 3, Outcome.WITHIN),
    ],
)
def test_a_sample_is_compared_exactly(value, measured, batch, outcome):
    assert verdict(limit(value, per=Per.SAMPLE), call(measured, batch=batch)).outcome is outcome


def test_a_call_without_batch_has_no_samples():
    judged = verdict(limit(100, per=Per.SAMPLE), call(10, batch=None))
    assert judged.outcome is Outcome.INVALID
    assert judged.is_failure
    assert "needs a tensor with a batch dimension" in judged.reason


def test_equal_is_within_and_one_more_is_over():
    assert verdict(limit(64), call(64)).outcome is Outcome.WITHIN
    assert verdict(limit(64), call(65)).outcome is Outcome.EXCEEDED
    huge = 10**18
    assert verdict(limit(huge), call(huge + 1)).outcome is Outcome.EXCEEDED  # equal as floats


def test_zero_is_a_budget():
    assert verdict(limit(0), call(0)).outcome is Outcome.WITHIN
    assert verdict(limit(0), call(1)).outcome is Outcome.EXCEEDED
    assert verdict(limit(0, "params"), call(0)).outcome is Outcome.EXCEEDED
    assert verdict(limit(0), call(1)).used is None


def test_the_share_that_is_used():
    assert verdict(limit(200), call(50)).used == Fraction(1, 4)


class TestModules:
    calls = call(100, layer1=20, layer1_0=20, layer2=80, layer2_0=50, layer2_1=30)

    def test_each_that_matches_is_held_to_the_limit(self):
        found = verdicts(limit(40, module="layer*"), self.calls)
        assert [(judged.module, judged.measured) for judged in found] == [("layer2", 80), ("layer2.0", 50)]
        assert all(judged.outcome is Outcome.EXCEEDED for judged in found)

    def test_if_all_are_within_the_closest_one_speaks(self):
        judged = verdict(limit(50, module="layer?.?"), self.calls)
        assert (judged.outcome, judged.module, judged.measured) == (Outcome.WITHIN, "layer2.0", 50)

    def test_the_model_itself_is_no_submodule(self):
        assert {judged.module for judged in verdicts(limit(1, module="*"), self.calls)} == set(self.calls.modules) - {
            ""
        }

    def test_a_module_that_stands_at_two_places_is_held_once(self):
        calls = call(0, encoder=0, decoder=0)
        calls.modules["decoder"] = replace(calls.modules["decoder"], same_as="encoder")
        assert verdict(limit(9, "params", module="*"), calls).module == "encoder"
        assert verdict(limit(9, "params", module="decoder"), calls).module == "decoder"

    def test_case_matters(self):
        assert verdict(limit(1, module="Layer1"), self.calls).outcome is Outcome.INVALID

    def test_a_pattern_without_match_lists_near_names(self):
        judged = verdict(limit(1, module="layr1"), self.calls)
        assert judged.outcome is Outcome.INVALID
        assert judged.is_failure
        assert judged.reason.startswith('module="layr1" matches none of the 5 submodules of Net: layer1, ')
        assert verdict(limit(1, module="x"), call(1)).reason == ('module="x" matches nothing: Net has no submodules')

    def test_matching_parts_without_work_are_nothing_measured(self):
        judged = verdict(limit(10, module="head"), call(100, head=0))
        assert judged.outcome is Outcome.NOT_MEASURED
        assert judged.reason == 'no matrix product, convolution or attention ran in module="head"'
        assert verdict(limit(10, "params", module="head"), call(100, head=0)).measured == 10

    def test_a_module_that_ran_under_another_name_is_said(self):
        calls = call(100, encoder=0, body=100)
        calls.modules["body"] = replace(calls.modules["body"], same_as="encoder")
        judged = verdict(limit(10, module="encoder"), calls)
        assert judged.outcome is Outcome.NOT_MEASURED
        assert judged.reason == (
            'no matrix product, convolution or attention ran in module="encoder": it ran as body, the same module: '
            'write module="body"'
        )

    def test_a_module_that_also_ran_under_another_name_is_noted(self):
        calls = call(100, encoder=40, body=60)
        calls.modules["body"] = replace(calls.modules["body"], same_as="encoder")
        assert verdict(limit(50, module="encoder"), calls).notes == (
            "encoder also ran as body, which is not in its figure",
        )
        assert verdict(limit(100, module="b*"), calls).notes == (
            "body also ran as encoder, which is not in its figure",
        )
        assert verdict(limit(100), calls).notes == ()


def test_a_model_that_only_multiplies_has_no_elementwise_work():
    assert verdict(limit(10, "elementwise_flops"), elementwise(0, macs=5)).outcome is Outcome.WITHIN
    assert verdict(limit(10, "elementwise_flops"), elementwise(0, macs=0)).outcome is Outcome.NOT_MEASURED


def elementwise(figure: int, macs: int) -> Profile:
    called = call(macs)
    modules = {"": replace(called.modules[""], elementwise_flops=figure)}
    return replace(called, elementwise_flops=figure, modules=modules)


class TestUnknownOperators:
    calls = call(10, unknown={"a::b": 2}), (call(5, unknown={"a::b": 1, "c::d": 1}), 3)

    def test_they_fail_a_limit_on_compute(self):
        judged = verdict(limit(100), *self.calls)
        assert judged.outcome is Outcome.UNCOUNTED
        assert judged.is_failure
        assert judged.unknown == {"a::b": 5, "c::d": 3}

    def test_they_do_not_hide_that_the_limit_is_exceeded(self):
        judged = verdict(limit(9), *self.calls)
        assert judged.outcome is Outcome.EXCEEDED
        assert judged.unknown == {"a::b": 5, "c::d": 3}

    def test_where_they_are_to_be_warned_about_they_are_listed(self):
        judged = verdict(limit(100), *self.calls, uncounted=Uncounted.WARN)
        assert judged.outcome is Outcome.WITHIN
        assert judged.unknown == {"a::b": 5, "c::d": 3}

    def test_where_they_are_ignored_they_are_not(self):
        judged = verdict(limit(100), *self.calls, uncounted=Uncounted.IGNORE)
        assert judged.outcome is Outcome.WITHIN
        assert judged.unknown == {}

    def test_the_limit_goes_before_the_settings(self):
        judged = verdict(limit(100, uncounted=Uncounted.IGNORE), *self.calls)
        assert judged.outcome is Outcome.WITHIN

    def test_they_do_not_matter_to_what_the_model_holds(self):
        assert verdict(limit(100, "params"), *self.calls).outcome is Outcome.WITHIN

    def test_nothing_but_unknown_operators_is_nothing_measured(self):
        alone = call(0, unknown={"a::b": 1})
        assert verdict(limit(100), alone, uncounted=Uncounted.WARN).outcome is Outcome.NOT_MEASURED
        assert verdict(limit(100), alone, uncounted=Uncounted.IGNORE).outcome is Outcome.NOT_MEASURED


def test_nothing_measured_fails_only_where_the_limit_was_meant_for_this_test():
    assert verdict(limit(100), call(0)).is_failure
    inherited = verdict(limit(100, direct=False), call(0))
    assert inherited.outcome is Outcome.NOT_MEASURED
    assert not inherited.is_failure


def test_a_model_that_was_not_called_has_no_figure():
    judged = verdict(limit(100), (call(None), 0))
    assert judged.outcome is Outcome.NOT_MEASURED
    assert judged.measured is None


def test_a_test_that_did_not_pass_is_not_judged():
    (left,) = unjudged(Budget((limit(1),)))
    assert left.outcome is Outcome.INCOMPLETE
    assert not left.is_failure
