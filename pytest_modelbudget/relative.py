"""Limits relative to the baseline: what may be written, and holding them against it. Pure: no torch, no pytest."""

from __future__ import annotations

import glob
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import quantity
from pytest_modelbudget.baseline import ANY_DEVICE, Entry, Key
from pytest_modelbudget.budget import Per, Source
from pytest_modelbudget.limits import LimitError, limits_of, near
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.metrics import Source as Origin
from pytest_modelbudget.update import Update, same_convention
from pytest_modelbudget.vanished import full_name
from pytest_modelbudget.verdict import Growth, Outcome, Verdict, figures_of, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pytest_modelbudget.baseline import Figure
    from pytest_modelbudget.budget import Limit, Uncounted
    from pytest_modelbudget.metrics import Metric
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.verdict import Calls

USUAL = ("params", "flops")
"""What is covered where no metric is named."""


def growth_limits(
    written: Mapping[str, object], settings: Settings, source: Source, **keywords: Any
) -> tuple[Limit, ...]:
    """The limits of `max_growth`.

    Args:
        written: `limit` for the usual metrics, or None for all, and metrics by name; 0 % of the usual ones where there
            is nothing.
        settings: as for `limits_of`.
        source: as for `limits_of`.
        keywords: as for `limits_of`.

    Raises:
        ValueError: something is malformed.
    """
    quantities = {name: value for name, value in written.items() if name in METRICS}
    if "limit" in written or not quantities:
        summed = keywords.get("per", "call") != "call"
        limit = written.get("limit", 0)
        # None exempts from whatever the suite is held to.
        names = USUAL if limit is not None else [name for name, metric in METRICS.items() if holds_still(metric)]
        if keywords.get("module") is not None and limit is None:
            names = [name for name in names if METRICS[name].has_parts]
        usual = [name for name in names if METRICS[name].additive or not summed]
        quantities = {**dict.fromkeys(usual, limit), **quantities}
    shares = {}
    for name, value in quantities.items():
        if not holds_still(METRICS[name]):
            raise LimitError(no_growth_of(name))
        shares[name] = None if value is None else quantity.parse_percent(value)
    limits = limits_of(dict.fromkeys(shares), settings, source, **keywords)
    return tuple(
        replace(limit, value=shares[limit.metric.name], written=_shown(quantities[limit.metric.name]), relative=True)
        for limit in limits
    )


def growth_of(text: str) -> dict[str, str]:
    """What `max_growth` is given by `1%, memory=5%`: `limit`, and metrics by name.

    Raises:
        ValueError: it is not so written.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, percent = map(str.strip, part.rpartition("="))
        if equals and name not in METRICS:
            raise LimitError(f"{name!r} is no metric{near(name, METRICS)}; write e.g. 1%, memory=5%")
        if equals and not holds_still(METRICS[name]):
            raise LimitError(no_growth_of(name))
        if (name or "limit") in found:
            raise LimitError(f"{text!r} limits {name or 'growth'} twice")
        try:
            quantity.parse_percent(percent)
        except ValueError:
            raise LimitError(f"{part.strip()!r} is no percentage; write e.g. 1%, or 1%, memory=5%, or none") from None
        found[name or "limit"] = percent
    return found


def holds_still(metric: Metric) -> bool:
    """Whether a figure can be held against one of another day."""
    return metric.source is not Origin.CLOCK


def no_growth_of(name: str) -> str:
    """Why there is no limit on the growth of a metric, and what to write."""
    return f"{name} differs from run to run and from machine to machine: limit it with max_{name}"


def _shown(written: object) -> str:
    return written if isinstance(written, str) else f"{written} %"


def suite_limits(settings: Settings, location: str) -> tuple[Limit, ...]:
    """The limits that `modelbudget_max_growth` sets for every observed test."""
    if settings.max_growth is None:
        return ()
    source = Source(f"modelbudget_max_growth = {settings.max_growth}", location, direct=False, everywhere=True)
    return growth_limits(growth_of(settings.max_growth), settings, source)


class Versions(NamedTuple):
    """What measures in this run."""

    torch: str = ""
    plugin: str = ""
    python: str = ""


def entry_for(limit: Limit, test: str, model: str, calls: Calls, versions: Versions) -> tuple[Key, Entry] | None:
    """What there is to record of the calls of a model; None where nothing was measured."""
    ((_, value, profile),) = figures_of(replace(limit, module=None), calls)
    if value is None:
        return None
    parts: dict[str, Figure] = {"": _plain(value)}
    largest: dict[str, Figure] = {}
    aliases: dict[str, str] = {}
    if limit.metric.has_parts:
        everywhere = replace(limit, module="*")
        deciding = calls if limit.per is Per.TEST else [(profile, 1)]
        parts |= {path: _plain(figure or 0) for path, figure, _ in figures_of(everywhere, deciding)}
        for path, figure, _ in figures_of(everywhere, calls):
            if figure and figure > parts.get(path, 0):
                largest[path] = _plain(figure)
        if not limit.metric.needs_call:
            aliases = {path: part.same_as for path, part in profile.modules.items() if part.same_as is not None}
    device = ANY_DEVICE if limit.metric.portable else profile.device
    inputs = profile.inputs if limit.metric.needs_call else ""
    key = Key(test, model, limit.metric.name, limit.per.value, device)
    return key, Entry(_plain(value), parts, profile.flops_per_mac, inputs, *versions, largest, aliases)


def _plain(figure: Fraction | int) -> Figure:
    return figure.numerator if figure.denominator == 1 else figure


def judge_growth(
    limit: Limit,
    model: str,
    calls: Calls,
    uncounted: Uncounted,
    *,
    test: str,
    entries: Mapping[Key, Entry],
    versions: Versions,
    update: Collection[str] = (),
    by_chance: bool = False,
    known_as: Callable[[Key], Key | None] = lambda _: None,
) -> list[Verdict]:
    """Hold a relative limit against the calls of one model: as `judge`, with the bounds that the baseline gives.

    Args:
        limit: relative, with a value.
        model: the model for people.
        calls: as for `judge`.
        uncounted: as for `judge`.
        test: the node id.
        entries: the baseline.
        versions: what measures now.
        update: what this run records: growth that is accepted is no failure.
        by_chance: whether hypothesis chose what the model was called with.
        known_as: finds the entry of what the baseline does not know by this name, if it is plain which one it is.
    """
    if by_chance and (why := _chosen_anew(limit, calls)):
        outcome = Outcome.INCOMPARABLE if limit.source.everywhere else Outcome.INVALID
        return [Verdict(limit, outcome, model, reason=why)]
    measured = entry_for(limit, test, model, calls, versions)
    if measured is None:
        return [Verdict(limit, Outcome.NOT_MEASURED, model, reason="the model was not called")]
    key, after = measured
    before = entries.get(key)
    if by_chance:
        after = after._replace(largest={})  # of examples that do not decide, others each time
        if before is not None and before.inputs != after.inputs and limit.source.everywhere:
            reason = (
                f"hypothesis chose {after.inputs or 'nothing'} for its largest example, "
                f"and {before.inputs or 'nothing'} is recorded"
            )
            return [Verdict(limit, Outcome.INCOMPARABLE, model, reason=reason)]
    called = sum(count for profile, count in calls if profile.calls and not profile.is_outside)
    growth = Growth(key, before, after, by_chance=by_chance and _is_chosen(calls, before, after), calls=called)
    if before is None and limit.source.everywhere and (known_key := known_as(key)):
        old = entries[known_key]
        known = replace(growth, before=old, known_as=full_name(known_key, test), replaces=known_key)
        verdicts = _held(limit, model, calls, uncounted, known) if same_convention(key, old, after) else []
        growth = replace(known, before=None) if verdicts else growth
        if exceeded := [verdict for verdict in verdicts if verdict.outcome is Outcome.EXCEEDED]:
            is_accepted = {Update.NEW, Update.RAISE}.issubset(update)
            return [replace(verdict, outcome=Outcome.ACCEPTED) if is_accepted else verdict for verdict in exceeded]
    if before is None:
        # Judged against itself: operators of unknown cost and tests that run nothing are found all the same.
        # Nothing is a figure, too, over which there may be growth.
        least = 0 if called else 1
        alone = replace(limit, value=max(Fraction(after.value), Fraction(least)), module=None)
        if limit.module is not None and not _matching(limit.module, after):
            alone = replace(alone, module=limit.module)  # `judge` says what does not match
        missing = Outcome.NEW if Update.NEW in update or limit.source.everywhere else Outcome.UNRECORDED
        return [
            replace(verdict, limit=limit, growth=growth, outcome=missing if _is_fine(verdict) else verdict.outcome)
            for verdict in judge(alone, model, calls, uncounted)
        ]
    if not same_convention(key, before, after):
        reason = (
            f"the baseline counts {before.flops_per_mac} FLOPs for a MAC, and this run {after.flops_per_mac}: set "
            f"modelbudget_flops_per_mac = {before.flops_per_mac}, or remove the entry and record it anew"
        )
        return [Verdict(limit, Outcome.INVALID, model, reason=reason, growth=growth)]
    verdicts = _held(limit, model, calls, uncounted, growth)
    exceeded = _outermost([verdict for verdict in verdicts if not _is_fine(verdict)])
    if Update.RAISE in update:
        exceeded = [
            replace(verdict, outcome=Outcome.ACCEPTED) if verdict.outcome is Outcome.EXCEEDED else verdict
            for verdict in exceeded
        ]
    return exceeded or [max(verdicts, key=lambda verdict: verdict.used or 0)]


def sum_up(limit: Limit, before: Mapping[str, Entry], after: Mapping[str, Entry], key: Key) -> list[Verdict]:
    """Whether new models of a test are more, together, than those in whose place they are; nothing where they are not.

    Args:
        limit: relative, with a value.
        before: by their names what is recorded of the models that the test has no more.
        after: by their names what was measured of the new ones.
        key: of any of them.
    """
    assert limit.value is not None
    old, new = (sum(Fraction(entry.value) for entry in side.values()) for side in (before, after))
    bound = old * (1 + limit.value)
    if not before or new <= bound:
        return []
    name = f"{' and '.join(sorted(after))} together"
    recorded, measured = next(iter(before.values())), next(iter(after.values()))
    growth = Growth(
        key._replace(model=name),
        recorded._replace(value=_plain(old), modules={"": _plain(old)}, largest={}, aliases={}, inputs=""),
        measured._replace(value=_plain(new), modules={"": _plain(new)}, largest={}, aliases={}, inputs=""),
        known_as=" and ".join(sorted(before)),
        summed=True,
    )
    return [Verdict(replace(limit, value=bound), Outcome.EXCEEDED, name, Fraction(new), growth=growth)]


def _chosen_anew(limit: Limit, calls: Calls) -> str:
    """Why figures of a test of hypothesis are others in each run; empty where they may be the same."""
    if limit.metric.needs_call and any(profile.is_outside for profile, _ in calls):
        return (
            "methods of the model did work outside its calls, which is summed over the examples of hypothesis: "
            "call the model itself"
        )
    if limit.source.everywhere and _differ_in_size(calls):
        return "hypothesis chose models of different sizes"
    return ""


def _differ_in_size(calls: Calls) -> bool:
    return len({profile.params for profile, _ in calls}) > 1


def _is_chosen(calls: Calls, before: Entry | None, after: Entry) -> bool:
    """Whether a figure of a test of hypothesis may be another one than is recorded by chance alone."""
    return _differ_in_size(calls) or (before is not None and before.inputs != after.inputs)


def _held(limit: Limit, model: str, calls: Calls, uncounted: Uncounted, growth: Growth) -> list[Verdict]:
    """The verdicts on what may have grown over what is recorded."""
    assert growth.before is not None
    return [
        replace(verdict, limit=replace(bound, module=limit.module), growth=growth)
        for bound in _bounds(limit, growth.before, growth.after)
        for verdict in judge(bound, model, calls, uncounted)
    ]


def _outermost(verdicts: list[Verdict]) -> list[Verdict]:
    """Without the modules whose growth is that of another one: `blocks.*` matches `blocks.0.mlp.fc1`, too.

    What grew within them is said of the outer one.
    """
    grown = {verdict.module for verdict in verdicts if verdict.outcome is Outcome.EXCEEDED}

    def is_inner(path: str) -> bool:
        parts = path.split(".")
        return any(".".join(parts[:depth]) in grown for depth in range(1, len(parts)))

    return [verdict for verdict in verdicts if verdict.module not in grown or not is_inner(verdict.module)]


def _is_fine(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.WITHIN


def _bounds(limit: Limit, before: Entry, after: Entry) -> Iterable[Limit]:
    """The limit with a bound for the model, or for each module that it is for."""
    assert limit.value is not None
    factor = 1 + limit.value
    if limit.module is None:
        return [replace(limit, value=before.value * factor)]
    paths = _matching(limit.module, after)
    if not paths:
        return [replace(limit, value=Fraction(0))]  # `judge` says what does not match
    paths = [path for path in paths if after.aliases.get(path) not in paths]  # what goes by several names is one thing
    # A module that was not there had nothing. One that has nothing any more is no reason to doubt, beside others.
    return [
        replace(limit, value=before.figure_of(path) * factor, module=glob.escape(path))
        for path in [path for path in paths if after.figure_of(path)] or paths
    ]


def _matching(pattern: str, entry: Entry) -> list[str]:
    return [path for path in {**entry.modules, **entry.largest} if path and fnmatchcase(path, pattern)]


def split_number(model: str) -> tuple[str, int]:
    """The name of a model as `numbered` found it, and its number: `Net #2` is the second `Net`."""
    name, _, number = model.rpartition(" #")
    return (name, int(number)) if number.isdecimal() and name else (model, 1)


def numbered(names: Iterable[str]) -> list[str]:
    """The names of a test's models, told apart where they are equal: `Net`, `Net #2`."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return result
