"""The text of growth: from what, to what, and which modules account for it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_modelbudget import quantity
from pytest_modelbudget.growth import compared, explain, summary
from pytest_modelbudget.metrics import METRICS, Source, Unit
from pytest_modelbudget.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_modelbudget.baseline import Entry, Figure, Key
    from pytest_modelbudget.growth import ModuleChange
    from pytest_modelbudget.verdict import Growth, Verdict


def percent(before: Figure, after: Figure, *, against: Fraction | None = None) -> str:
    """`+3.9 %`: the change, with as many digits as it takes to be no zero, and to differ from the allowed share.

    From nothing there is no share: empty.
    """
    if not before:
        return ""
    share = 100 * (Fraction(after) / Fraction(before) - 1)
    if Fraction(after) / Fraction(before) > quantity.HUGE:
        return f"{quantity.times(Fraction(after) / Fraction(before))} as much"
    digits = 1
    while digits < 12 and (
        (share and not round(share, digits))
        or (against is not None and share != 100 * against and round(share, digits) == round(100 * against, digits))
    ):
        digits += 1
    return f"{float(share):+.{digits}f} %"


def signed(delta: Figure, unit: Unit) -> str:
    """`+0.21 GMACs`."""
    return f"{'-' if delta < 0 else '+'}{quantity.format(max(delta, -delta), unit)}"


def unit_of(key: Key) -> Unit:
    """The unit of an entry; metrics of other versions and plugins are plain counts."""
    return METRICS[key.metric].unit if key.metric in METRICS else Unit.COUNT


def change_text(before: Entry | None, after: Entry | None, unit: Unit) -> str:
    """`40 -> 80 (+100.0 %)`."""
    if before is None or after is None:
        entry = after or before
        return "" if entry is None else quantity.format(entry.value, unit)
    share = percent(before.value, after.value)
    first = quantity.format(before.value, unit, against=after.value)
    second = quantity.format(after.value, unit, against=before.value)
    return f"{first} -> {second}{f' ({share})' if share else ''}"


def where(before: Entry, after: Entry, unit: Unit, module: str = "") -> str:
    """`layer3.2.conv1 +0.21 GMACs of +0.23 GMACs   neck new, +20 MACs`: the modules that changed, the most first."""
    changes = explain(*compared(before, after, module))
    texts = [module_text(change, unit) for change in summary(changes)]
    if not texts:
        return "   ".join(f"{change.before} is now {change.path}" for change in changes[:3])
    left = len([change for change in changes if change.kind != "renamed"]) - len(texts)
    texts[0] += (
        f" of {signed(after.figure_of(module) - before.figure_of(module), unit)}" if left > 0 or len(texts) > 1 else ""
    )
    return "   ".join(texts)


def module_text(change: ModuleChange, unit: Unit) -> str:
    """`layer3.2.conv1 +0.21 GMACs`."""
    if change.kind == "unshared":
        return f"the modules of {change.path or 'the model'} share less, {signed(change.delta, unit)}"
    name = change.path or "the model itself"
    note = f" {change.kind}," if change.kind in ("new", "gone") else ""
    return f"{name}{note} {signed(change.delta, unit)}"


def headline(verdict: Verdict, growth: Growth) -> str:
    """The violation in one line."""
    limit, metric = verdict.limit, verdict.limit.metric
    subject = f"{verdict.model} {verdict.module}".strip()
    per = "" if growth.key.per == "call" else f" per {growth.key.per}"
    inputs = f" for {growth.after.inputs}" if growth.after.inputs else ""
    if growth.before is None or verdict.measured is None:
        figure = quantity.format(growth.after.value, metric.unit)
        return f"max_growth: {subject} {metric.name} {figure}{per}{inputs}: not in the baseline"
    old = growth.before.figure_of(verdict.module)
    first = quantity.format(old, metric.unit, against=verdict.measured)
    second = quantity.format(verdict.measured, metric.unit, against=old)
    allowed = Fraction(limit.value or 0) / Fraction(old) - 1 if old else None
    share = percent(old, verdict.measured, against=allowed)
    subject += f", recorded as {growth.known_as}:" if growth.known_as else ""
    compared = f" ({share} > {limit.written})" if share else ""
    if share and not share.endswith("%"):
        compared = f" ({share}, {limit.written} of growth is allowed)"
    return f"max_growth: {subject} {metric.name} {second}, was {first}{per}{compared}{inputs}"


def update_of(verdicts: Iterable[Verdict]) -> str:
    """What `--modelbudget-update` must say for a test with these violations to pass; empty: nothing would do."""
    words: set[str] = set()
    for verdict in verdicts:
        if verdict.growth is None or not describes(verdict):
            return ""
        words |= _words(verdict.growth)
    return ",".join(sorted(words))


def _words(growth: Growth) -> set[str]:
    """What accepts it."""
    words = {"new"} if growth.before is None or growth.known_as else set()
    return words if growth.before is None else {*words, "raise"}


def details(
    verdict: Verdict, growth: Growth, update: str, source: str, command: str, kinds: str
) -> Iterator[tuple[str, str]]:
    """The lines below the headline, each with its label.

    Args:
        verdict: of the violation.
        growth: of the verdict.
        update: as `update_of` all that the test violates.
        source: of the limit.
        command: what runs the test again.
        kinds: what a figure that has no parts is made of now.
    """
    limit, metric = verdict.limit, verdict.limit.metric
    yield "limit", f"{limit.written} of growth from {source}"
    word = ",".join(sorted(_words(growth)))
    how = f": {command} --modelbudget-update={update}"
    if not update:  # only what passes everything else is recorded
        how = f" with --modelbudget-update={word} when the other limits of this test hold"
    if growth.before is None:
        yield "measured", quantity.exact(growth.after.value, metric)
        yield "next", f"record it, and commit the baseline{how}"
        return
    before, after, module = growth.before, growth.after, verdict.module
    first, second = before.figure_of(module), after.figure_of(module)
    yield "baseline", f"{quantity.exact(first, metric)}, measured with torch {before.torch}"
    is_sum = (
        verdict.profile is not None and verdict.profile.is_outside and growth.key.per == "call" and metric.needs_call
    )
    of_what = ", all work of its parts outside a call of the model together" if is_sum else ""
    yield "measured", f"{quantity.exact(second, metric)}, with torch {after.torch}{of_what}"
    if text := where(before, after, metric.unit, module) if metric.has_parts else kinds:
        yield "where", text
    for hint in _hints(verdict, growth, before):
        yield "hint", hint
    yield "next", f"make the model lighter, or accept the growth{how}"


_CHANCE = frozenset(
    f"aten::{name}"
    for names in (
        ("multinomial", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like"),
        ("random_", "randperm", "uniform_"),
    )
    for name in names
)
"""Operators that draw numbers, of which a model may make what it does depend; dropout draws others."""


def _hints(verdict: Verdict, growth: Growth, before: Entry) -> Iterator[str]:
    after = growth.after
    old, new = (entry.inputs or "none" for entry in (before, after))
    # How often one came among the arguments makes no difference to a reader.
    if set(old.split(", ")) != set(new.split(", ")):
        if growth.calls > 1 and not growth.by_chance:
            # A loop that became longer, a cache that is used no more: chance has no part in that.
            yield f"the largest of its {growth.calls} calls is now for {new}, was for {old}"
        else:
            change = f"the inputs changed from {old} to {new}"
            yield f"{change}: if chance decides them, exempt the test with {_EXEMPTION}"
    elif before.torch != after.torch and before.modules.keys() == after.modules.keys():
        yield f"the same modules and inputs; torch changed from {before.torch} to {after.torch}"
    drawn = sorted(_CHANCE.intersection(verdict.profile.operators)) if verdict.profile is not None else []
    if drawn and verdict.limit.metric.source in (Source.COMPUTE, Source.STORAGE):
        yield (
            f"the model draws random numbers ({', '.join(drawn)}): if they decide what it does, seed them in the test, "
            f"or exempt it with {_EXEMPTION}"
        )


_EXEMPTION = '@max_growth(None), or max_growth = "none" in a table'


def describes(verdict: Verdict) -> bool:
    """Whether a verdict is about growth, rather than about what could not be measured."""
    return verdict.growth is not None and verdict.outcome in (
        Outcome.EXCEEDED,
        Outcome.UNRECORDED,
        Outcome.NEW,
        Outcome.ACCEPTED,
    )
