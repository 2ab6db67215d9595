"""Around one test: observe, judge, fail. It only conducts."""

from __future__ import annotations

import inspect
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_modelbudget.budget import Level, Per, Uncounted
from pytest_modelbudget.calling import SubjectError, specify_or_explain
from pytest_modelbudget.compiling import note_on_compiling
from pytest_modelbudget.errors import BudgetExceeded, ModelBudgetWarning
from pytest_modelbudget.importing import Imports
from pytest_modelbudget.marks import PER_TEST_OF_HYPOTHESIS
from pytest_modelbudget.metrics import METRICS, MetricError, Source
from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.relative import numbered
from pytest_modelbudget.reporting.failure import failure_texts, unknown_text
from pytest_modelbudget.result import body_failed, result_of, without_group
from pytest_modelbudget.settings import command_for
from pytest_modelbudget.subject import Subjects
from pytest_modelbudget.subject_profiler import SubjectProfiler
from pytest_modelbudget.verdict import Outcome, Verdict, judge, unjudged

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from types import FrameType

    import pytest

    from pytest_modelbudget.budget import Budget, Limit
    from pytest_modelbudget.calling import Calls
    from pytest_modelbudget.metrics import Metric
    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.subject import Subject

    Judge = Callable[[Limit, str, Calls, Uncounted], list[Verdict]]


def observe(
    item: pytest.Item, budget: Budget, settings: Settings, resolve: Callable[[], Budget]
) -> Generator[None, object, object]:
    """Observe the body of a test, then hold its budget against what was seen.

    Args:
        item: the test.
        budget: as it is before the body.
        settings: of the test.
        resolve: finds the budget as it is after the body, which may have added marks.

    Raises:
        BudgetExceeded: a limit does not hold, or could not be measured where it must be.
    """
    __tracebackhide__ = True
    observation = observation_for(budget.limits, settings)
    failed_before = item.session.testsfailed
    passed = None
    with ExitStack() as over:
        imports = Imports()
        over.callback(imports.put_back)
        try:
            with observation.under(_running_frame()), ExitStack() as body:
                body.callback(imports.restore)
                result = yield
            if not body_failed(item, failed_before):
                passed = resolve()
        except BaseException as error:
            result_of(item).verdicts += unjudged(budget)
            if observation.is_eager and (note := note_on_compiling(item, error, budget)):
                item.add_report_section("call", "model budgets", note)
            raise
        if passed is None:
            result_of(item).verdicts += unjudged(budget)
        else:
            late = [limit for limit in passed.limits if limit not in budget.limits]
            unseen = [limit for limit in late if not observation.covers(observation_for([limit], settings))]
            seen = [limit for limit in passed.limits if limit not in unseen]
            judge_test(item, observation, seen, settings, list(map(_too_late, unseen)))
    return result


def judge_unobserved(item: pytest.Item, budget: Budget, settings: Settings) -> None:
    """Judge the marks that a test has added to itself although nothing of it was observed.

    What a model holds can be said of one that a mark or the hook names; nobody knows which ones the test used.

    Raises:
        BudgetExceeded: a limit does not hold, or cannot be judged any more.
    """
    __tracebackhide__ = True
    subjects = Subjects(item, Observation(compute=False))
    profiler = SubjectProfiler(subjects)
    verdicts: list[Verdict] = []
    for limit in budget.limits:
        if limit.source.everywhere:
            continue  # it is for observed tests
        try:
            is_known = not limit.metric.needs_call and subjects.is_named(limit.model)
        except SubjectError as error:
            verdicts.append(_without_figure(limit, "", error))
            continue
        verdicts += _judge(limit, profiler, settings) if is_known else [_too_late(limit)]
    settle(item, verdicts)


def _too_late(limit: Limit) -> Verdict:
    reason = (
        "its mark was added while the test ran, which was not observed for it: decorate the test, or add the mark in a "
        "fixture"
    )
    if not limit.relative:
        reason += f"; inside a test, write `with modelbudget.limit({limit.metric.name}=...):`"
    return Verdict(limit, Outcome.INVALID, "", reason=reason)


def observation_for(limits: Iterable[Limit], settings: Settings) -> Observation:
    """An observation that sees what the limits need, and no more."""
    limits = list(limits)
    compute = [limit for limit in limits if limit.metric.source in (Source.COMPUTE, Source.STORAGE)]
    latency = any(limit.metric.source is Source.CLOCK for limit in limits)
    again = any((limit.device or settings.device) != "auto" or limit.metric.backward for limit in compute)
    return Observation(
        compute=bool(compute) or latency or settings.observe_all,
        # Who limits compute wants to know it, compiled or not; who only looks on, or at the clock, must not change what
        # runs.
        compiled=not compute,
        specify=specify_or_explain if again or latency else None,
    )


def judge_test(
    item: pytest.Item,
    observation: Observation,
    limits: Iterable[Limit],
    settings: Settings,
    others: Iterable[Verdict] = (),
    *,
    runs_models: bool = True,
    raised: bool = False,
) -> None:
    """Judge every limit against what was observed; `others` are verdicts that stand beside them.

    `runs_models`: whether models that were not called are run, as a test without a call asks for.
    `raised`: whether what was observed ended early, so that what was not measured is no surprise.

    Raises:
        BudgetExceeded: a limit does not hold, or could not be measured where it must be.
    """
    __tracebackhide__ = True
    limits = list(limits)
    subjects = Subjects(item, observation)
    profiler = SubjectProfiler(subjects, runs_models=runs_models, limits=limits)
    strays = (_STRAYS,) if observation.has_stray_contractions() else ()
    if settings.observe_all:
        result_of(item).calls += _overview(observation, subjects, settings, strays)
    verdicts = [verdict for limit in limits for verdict in _judge_or_pass_over(limit, profiler, settings)]
    if raised:
        verdicts = [
            replace(verdict, outcome=Outcome.INCOMPLETE, reason="the block raised before anything was measured")
            if verdict.outcome is Outcome.NOT_MEASURED
            else verdict
            for verdict in verdicts
        ]
    settle(item, [*(_noted(verdict, strays) for verdict in verdicts), *others])


_STRAYS = "beside it, matrix products, convolutions or attention ran outside every nn.Module and are in no figure"


_THREADS = "called in another thread, where operators cannot be seen: not measured"
_THREADS_TOO = "was also called in another thread, where operators cannot be seen: those calls are not measured"


def _overview(
    observation: Observation, subjects: Subjects, settings: Settings, notes: tuple[str, ...]
) -> Iterator[tuple[Profile, int]]:
    """What was seen of every model of a test and how often, and that something was not."""
    used = subjects.used()
    unseen = subjects.unseen()
    for subject in used:
        threads = (_THREADS_TOO,) if subject in unseen else ()
        for profile, count in observation.profiles(subject.number, settings.flops_per_mac):
            yield replace(profile, notes=(*profile.notes, *_hidden(profile), *notes, *threads)), count
            threads = ()  # once a test
    for subject in unseen:
        if subject not in used:
            profiles = observation.profiles(subject.number, settings.flops_per_mac)
            yield from ((replace(profile, notes=(*profile.notes, _THREADS)), count) for profile, count in profiles)


def _noted(verdict: Verdict, notes: tuple[str, ...]) -> Verdict:
    if verdict.profile is None or not notes:
        return verdict
    return replace(verdict, profile=replace(verdict.profile, notes=(*verdict.profile.notes, *notes)))


def _hidden(profile: Profile) -> tuple[str, ...]:
    # Compiled code calls no modules, and not all of its operators pass by.
    compiled = [row for row in profile.modules.values() if row.type == "OptimizedModule" and row.calls]
    return () if profile.calls and all(row.macs for row in compiled) else ("compiled, not measured",)


def settle(item: pytest.Item, verdicts: list[Verdict]) -> None:
    """Keep the verdicts for the report, and raise or warn about those that do not hold.

    Raises:
        BudgetExceeded: with all violations of the test.
    """
    __tracebackhide__ = True
    result_of(item).verdicts += verdicts
    failures = [verdict for verdict in verdicts if verdict.is_failure]
    errors = [verdict for verdict in failures if verdict.limit.level is Level.ERROR]
    replaced = [verdict.growth.replaces for verdict in failures if verdict.growth and verdict.growth.replaces]
    test = without_group(item.nodeid)
    command = command_for(item.config, test, replaced[0].test if replaced else "") if failures else ""
    fatal = failure_texts(errors, errors, command)
    warnings = failure_texts([verdict for verdict in failures if verdict.limit.level is Level.WARN], errors, command)
    warnings += dict.fromkeys(
        unknown_text(verdict) for verdict in verdicts if verdict.unknown and verdict.outcome is Outcome.WITHIN
    )
    for text in warnings:
        try:
            item.warn(ModelBudgetWarning(text))
        except ModelBudgetWarning:  # the user makes warnings errors
            fatal.append(text)
    if fatal:
        raise BudgetExceeded("\n\n".join(fatal))


def _judge_or_pass_over(limit: Limit, profiler: SubjectProfiler, settings: Settings) -> list[Verdict]:
    """The verdicts on a limit; none on one that is set for every test where this one has nothing to measure."""
    if not limit.source.everywhere:
        return _judge(limit, profiler, settings)
    return [verdict for verdict in _judge(limit, profiler, settings) if verdict.outcome is not Outcome.NOT_MEASURED]


def _judge(limit: Limit, profiler: SubjectProfiler, settings: Settings) -> list[Verdict]:
    if limit.value is None:
        return []
    subjects = profiler.subjects
    item = subjects.item
    if limit.per is Per.TEST and _is_hypothesis_test(item):
        return [Verdict(limit, Outcome.INVALID, "", reason=PER_TEST_OF_HYPOTHESIS)]
    try:
        found = subjects.find(limit.model, limit.metric)
    except SubjectError as error:
        return [_without_figure(limit, "", error)]
    hold: Judge = judge
    names = [subjects.describe(subject, alone=len(found) == 1 and limit.model is None) for subject in found]
    models = [(name, [subject]) for name, subject in zip(names, found, strict=True)]
    if limit.relative:
        from pytest_modelbudget.recorded import against_baseline, judge_together

        by_chance = _is_hypothesis_test(item)
        # How many models the examples build is chance, too: those of one name are one to the baseline.
        models = _by_name(models) if by_chance else _numbered_by_size(models, profiler, settings)
        hold = against_baseline(item, settings, [name for name, _ in models], by_chance=by_chance)
    verdicts = []
    for name, alike in models:
        verdicts += judge_or_explain(limit, name, partial(_calls, limit, alike, profiler, settings), settings, hold)
    if (
        limit.relative and len(models) > 1 and limit.metric.source is not Source.STORAGE
    ):  # they need not be alive at once
        verdicts += judge_together(item, settings, [name for name, _ in models], verdicts)
    # A small helper without contractions, beside a model that has them, is no reason to doubt.
    return [verdict for verdict in verdicts if verdict.outcome is not Outcome.NOT_MEASURED] or verdicts


def _numbered_by_size(
    models: Iterable[tuple[str, list[Subject]]], profiler: SubjectProfiler, settings: Settings
) -> list[tuple[str, list[Subject]]]:
    """Models told apart by number where names are equal, the largest first: the order of their calls may change."""

    def size(model: tuple[str, list[Subject]]) -> int:
        return max(profile.params for profile, _ in profiler.state(model[1][0], flops_per_mac=settings.flops_per_mac))

    ranked = sorted(models, key=size, reverse=True)  # stable
    return list(zip(numbered([name for name, _ in ranked]), [alike for _, alike in ranked], strict=True))


def _by_name(models: Iterable[tuple[str, list[Subject]]]) -> list[tuple[str, list[Subject]]]:
    found: dict[str, list[Subject]] = {}
    for name, subjects in models:
        found.setdefault(name, []).extend(subjects)
    return list(found.items())


def _calls(limit: Limit, alike: Sequence[Subject], profiler: SubjectProfiler, settings: Settings) -> Calls:
    """The calls of one model, or of all that count as one."""
    if not limit.metric.needs_call:
        return [call for subject in alike for call in profiler.state(subject, flops_per_mac=settings.flops_per_mac)]

    def calls(device: str, metric: Metric) -> Calls:
        return [
            call
            for subject in alike
            for call in profiler.profiles(
                subject,
                flops_per_mac=settings.flops_per_mac,
                attention=settings.attention,
                device=device,
                metric=metric,
                per=limit.per,
                inputs=limit.inputs,
                fallback=settings.inputs,
            )
        ]

    device = limit.device or settings.device
    try:
        return calls(device, limit.metric)
    except SubjectError as error:
        if error.lacks_backward and (limit.relative or limit.value == 0):
            # Nothing is a figure, where nothing is what is allowed.
            return list(map(_without_backward, calls(device, METRICS["flops"])))
        # What is the same on every device was seen where the test ran it: a gate for every test must not lose it.
        if error.of_the_run or not (limit.source.everywhere and limit.metric.portable):
            raise
        return calls("auto", limit.metric)


def _without_backward(call: tuple[Profile, int]) -> tuple[Profile, int]:
    profile, count = call
    modules = {path: replace(part, backward_flops=0) for path, part in profile.modules.items()}
    return replace(profile, backward_flops=0, modules=modules), count


def judge_or_explain(
    limit: Limit, model: str, calls: Callable[[], Calls], settings: Settings, hold: Judge = judge
) -> list[Verdict]:
    """Hold a limit against the calls of a model, or say why there are none."""
    try:
        return hold(limit, model, calls(), Uncounted(settings.uncounted))
    except SubjectError as error:
        return [_without_figure(limit, model, error)]
    except MetricError as error:
        return [Verdict(limit, Outcome.INVALID, model, reason=str(error))]


def _without_figure(limit: Limit, model: str, error: SubjectError) -> Verdict:
    # What is set for every test fails none of those that it was not made for.
    is_meant = error.of_the_run or not limit.source.everywhere
    outcome = Outcome.INVALID if error.invalid and is_meant else Outcome.NOT_MEASURED
    return Verdict(limit, outcome, model, reason=str(error))


def _is_hypothesis_test(item: pytest.Item) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


def _running_frame() -> FrameType:
    """The innermost frame that stays on the call stack while the test runs: generators leave it when they yield."""
    frame = sys._getframe(1)
    while frame.f_code.co_flags & inspect.CO_GENERATOR:
        assert frame.f_back is not None  # somebody runs the generator
        frame = frame.f_back
    return frame
