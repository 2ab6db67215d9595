"""Verdicts: a limit held against the profiles of a model. Pure: no torch, no pytest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import Enum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_modelbudget.budget import Limit, Per, Uncounted
from pytest_modelbudget.metrics import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_modelbudget.baseline import Entry, Key
    from pytest_modelbudget.budget import Budget
    from pytest_modelbudget.profiling.profile import Profile

    Calls = Sequence[tuple[Profile, int]]
    """Distinct calls of one model, and how often each came."""


SHARED_MACHINE = "workers of pytest-xdist shared the machine"
"""The note on a time that was measured while others computed, too."""


class Outcome(str, Enum):
    """How a limit fared."""

    WITHIN = "within"
    EXCEEDED = "exceeded"
    UNCOUNTED = "uncounted"
    """Within, were it not for operators of unknown cost."""
    NOT_MEASURED = "not measured"
    INVALID = "invalid"
    """What the limit asks for is not possible."""
    UNRECORDED = "not in the baseline"
    """Held against a baseline that does not know the test."""
    NEW = "new"
    """Not in the baseline, and that is no fault: this run records it, or the limit is for the whole suite."""
    ACCEPTED = "accepted"
    """Grown beyond the limit, and this run records that."""
    INCOMPARABLE = "not comparable"
    """Hypothesis chose other inputs than those that were recorded."""
    INCOMPLETE = "incomplete"
    """The body failed or was skipped: nothing can be said."""


_HARMLESS = frozenset({Outcome.WITHIN, Outcome.NEW, Outcome.ACCEPTED, Outcome.INCOMPARABLE, Outcome.INCOMPLETE})


@dataclass(frozen=True)
class Growth:
    """What was recorded, and what was measured now.

    Attributes:
        key: the entry of the baseline.
        before: as it is recorded; None: it is not.
        after: as this run would record it.
        known_as: the model as which it is recorded, and of which test, where that is another one.
        replaces: the entry of that, in whose place its own comes when it is recorded.
        by_chance: whether hypothesis chose other examples than those that are recorded, or others each time.
        calls: how often the test called the model.
        summed: whether it is of several models together, which is recorded of each.
    """

    key: Key
    before: Entry | None
    after: Entry
    known_as: str = ""
    replaces: Key | None = None
    by_chance: bool = False
    calls: int = 1
    summed: bool = False


@dataclass(frozen=True)
class Verdict:
    """One limit held against one model, or one submodule of it.

    Attributes:
        limit: what was allowed.
        outcome: how it fared.
        model: the model for people: `ResNet`, or `student (ResNet)` where there are several.
        measured: the figure in the metric's unit, of what `limit.per` says; None: there is none.
        profile: the call that decided.
        module: the path of the submodule that was judged; `""` is the model.
        reason: why there is no figure.
        unknown: operators of unknown cost, which the figure leaves out, and how often they ran; empty where the user
            ignores them.
        growth: of a limit relative to the baseline, the two that were compared.
    """

    limit: Limit
    outcome: Outcome
    model: str
    measured: Fraction | None = None
    profile: Profile | None = None
    module: str = ""
    reason: str = ""
    unknown: dict[str, int] = field(default_factory=dict)
    growth: Growth | None = None

    @property
    def used(self) -> Fraction | None:
        """The share of the limit that is used up; None where there is no such share."""
        if self.measured is None or not self.limit.value or (self.growth is not None and self.growth.before is None):
            return None
        return self.measured / self.limit.value

    @property
    def interval(self) -> tuple[Fraction, Fraction] | None:
        """What half of the timed calls took, on the scale of `measured`; None of figures that have no spread."""
        timing = None if self.profile is None else self.profile.latency_measurement
        if timing is None or self.limit.metric.source is not Source.CLOCK or self.limit.per is Per.TEST:
            return None
        share = self.profile.batch if self.limit.per is Per.SAMPLE and self.profile and self.profile.batch else 1
        return _fraction(timing.lower) / share, _fraction(timing.upper) / share

    @property
    def straddles(self) -> bool:
        """Whether another run might well have judged otherwise."""
        if self.interval is None or self.limit.value is None:
            return False
        lower, upper = self.interval
        return lower <= self.limit.value < upper

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to trust the figure."""
        if self.profile is None or self.measured is None or not self.limit.metric.needs_call:
            return ()
        notes = self.profile.notes
        before = self.growth.before if self.growth is not None else None
        if names := _other_names(self):
            notes = (*notes, f"{self.module} also ran as {' and '.join(names)}, which is not in its figure")
        if self.growth is not None and before is not None and before.inputs != self.growth.after.inputs:
            notes = (*notes, f"recorded for {before.inputs or 'no input'}, so it may have grown all the same")
        return notes

    @property
    def is_failure(self) -> bool:
        """Whether the limit does not hold, or cannot be said to."""
        if self.outcome is Outcome.NOT_MEASURED:
            # Whoever wrote the limit here means this test; one that comes from afar may not be meant for it.
            return self.limit.source.direct
        return self.outcome not in _HARMLESS


def judge(limit: Limit, model: str, calls: Calls, uncounted: Uncounted) -> list[Verdict]:
    """Hold one limit against the calls of one model.

    Args:
        limit: with a value.
        model: the model for people.
        calls: at least one; a profile of zero calls where the model was not called.
        uncounted: what operators of unknown cost mean where the limit itself does not say.

    Returns:
        One verdict for each submodule over the limit; if there is none, the one that comes closest.
    """
    assert limit.value is not None
    figures = list(figures_of(limit, calls))
    if limit.module is not None and not figures:
        return [Verdict(limit, Outcome.INVALID, model, reason=_no_match(limit.module, calls))]
    if not limit.metric.needs_call:  # what a module holds is the same at each of its places
        judged = {path for path, _, _ in figures}
        figures = [figure for figure in figures if figure[2].modules[figure[0]].same_as not in judged]
    verdicts = []
    for path, measured, profile in figures:
        if measured is None:
            reason = "the model was not called"
            if profile.calls:
                why = "".join(f": {note}" for note in profile.notes)
                reason = f"the metric {limit.metric.name} has no figure for it{why}"
                if limit.metric.source is Source.STORAGE and not why:
                    reason = (
                        f"it ran inside another model, and {limit.metric.name} is that of what is called: name that one"
                    )
            return [Verdict(limit, Outcome.NOT_MEASURED, model, reason=reason)]
        if limit.per is Per.SAMPLE and profile.batch is None:
            reason = 'per="sample" needs a tensor with a batch dimension among the inputs'
            return [Verdict(limit, Outcome.INVALID, model, reason=reason)]
        outcome = Outcome.EXCEEDED if measured > limit.value else Outcome.WITHIN
        verdicts.append(Verdict(limit, outcome, model, measured, profile, path))
    if limit.metric.source is not Source.COMPUTE:
        exceeded = [verdict for verdict in verdicts if verdict.outcome is Outcome.EXCEEDED]
        return exceeded or [max(verdicts, key=lambda verdict: verdict.measured or 0)]
    decision = limit.uncounted or uncounted
    if decision is not Uncounted.IGNORE:
        verdicts = [replace(verdict, unknown=uncounted_of(calls, verdict.module)) for verdict in verdicts]
    exceeded = [verdict for verdict in verdicts if verdict.outcome is Outcome.EXCEEDED]
    if exceeded:
        return exceeded
    incomplete = [verdict for verdict in verdicts if verdict.unknown]
    if incomplete and decision is Uncounted.FAIL:
        return [replace(verdict, outcome=Outcome.UNCOUNTED) for verdict in incomplete]
    closest = max(verdicts, key=lambda verdict: verdict.measured or 0)
    if limit.value and not closest.measured and limit.metric.measure is None and not _multiplied_alone(closest):
        what = f'module="{limit.module}"' if limit.module else "the model"
        reason = f"no matrix product, convolution or attention ran in {what}"
        if closest.profile is not None and closest.profile.batch == 0:
            reason = "the batch was empty: call the model with at least one sample"
        elif names := _other_names(closest):
            reason += f': it ran as {" and ".join(names)}, the same module: write module="{names[0]}"'
        return [Verdict(limit, Outcome.NOT_MEASURED, model, reason=reason, unknown=closest.unknown)]
    return [closest]


def _multiplied_alone(verdict: Verdict) -> bool:
    """Whether there was no elementwise work because contractions are all that the model does."""
    if verdict.profile is None or verdict.limit.metric.name != "elementwise_flops":
        return False
    return bool(verdict.profile.modules[verdict.module].macs)


def _other_names(verdict: Verdict) -> list[str]:
    """The other names of a module that was judged, under which it did work in the same call.

    Each name stands for its own work: a limit is for the place of a module in the model.
    """
    if verdict.profile is None or not verdict.module or not verdict.limit.metric.needs_call:
        return []
    modules = verdict.profile.modules
    first = modules[verdict.module].same_as or verdict.module
    return [
        path
        for path, part in modules.items()
        if path != verdict.module and first in (path, part.same_as) and getattr(part, verdict.limit.metric.name)
    ]


def unjudged(budget: Budget) -> list[Verdict]:
    """The limits of a test that failed or was skipped."""
    return [Verdict(limit, Outcome.INCOMPLETE, "", reason="the test did not pass") for limit in budget.limits]


def uncounted_of(calls: Calls, module: str) -> dict[str, int]:
    """The operators of unknown cost in a module and below it, in all calls, and how often they ran."""
    total: dict[str, int] = {}
    for profile, count in calls:
        inside = [profile.uncounted]
        if module:
            inside = [names for path, names in profile.uncounted_in.items() if f"{path}.".startswith(f"{module}.")]
        for names in inside:
            for operator, runs in names.items():
                total[operator] = total.get(operator, 0) + runs * count
    return total


def figures_of(limit: Limit, calls: Calls) -> Iterator[tuple[str, Fraction | None, Profile]]:
    """For each judged module its path, its figure and the call that decided."""
    paths: dict[str, None] = {}
    for profile, _ in calls:
        for path in profile.modules:
            if (path == "") if limit.module is None else (path and fnmatchcase(path, limit.module)):
                paths[path] = None
    for path in paths:
        best: tuple[Fraction | None, Profile] | None = None
        total = Fraction(0)
        for profile, count in calls:
            if path not in profile.modules:
                continue  # another model that counts as this one
            value = getattr(profile.modules[path], limit.metric.name) if path else limit.metric.of(profile)
            figure = None if value is None else _fraction(value)
            if figure is not None:
                total += figure * count
                if limit.per is Per.SAMPLE and profile.batch:
                    figure /= profile.batch
            if best is None or best[0] is None or (figure is not None and figure > best[0]):
                best = figure, profile
        assert best is not None
        yield path, (total if limit.per is Per.TEST and best[0] is not None else best[0]), best[1]


def _fraction(figure: float) -> Fraction:
    """The figure as it is shown: 0.005 seconds are 5 ms."""
    return Fraction(repr(figure)) if isinstance(figure, float) else Fraction(figure)


def _no_match(pattern: str, calls: Calls) -> str:
    names = sorted({path for profile, _ in calls for path in profile.modules if path})
    if not names:
        return f'module="{pattern}" matches nothing: {calls[0][0].model} has no submodules'
    near = get_close_matches(pattern, names, n=3, cutoff=0.5) or names[:3]
    more = ", ..." if len(names) > len(near) else ""
    model = calls[0][0].model
    if len(names) == 1:
        return f'module="{pattern}" does not match the only submodule of {model}: {names[0]}'
    return f'module="{pattern}" matches none of the {len(names)} submodules of {model}: {", ".join(near)}{more}'
