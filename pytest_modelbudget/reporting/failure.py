"""The text of a failure: what is too large, by how much, who said so, where it sits and what to do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import Per, told
from pytest_modelbudget.metrics import METRICS, Source, Unit
from pytest_modelbudget.relative import split_number
from pytest_modelbudget.reporting import growth
from pytest_modelbudget.reporting.escape import visible
from pytest_modelbudget.reporting.parts import largest
from pytest_modelbudget.verdict import SHARED_MACHINE, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pytest_modelbudget.budget import Limit
    from pytest_modelbudget.profiling.profile import Profile

_SHOWN_MODULES = 4
_SHOWN_VIOLATIONS = 3
_SHOWN_OPERATORS = 6
_INPUTS_WIDTH = 60


def failure_texts(verdicts: Sequence[Verdict], fatal: Sequence[Verdict], command: str) -> list[str]:
    """The texts of violations; of the submodules over one limit those that are furthest over it.

    What reads the same of several numbered models, apart from the number, is one text that names them all.

    `fatal`: all that fail the test, which tell whether an update of the baseline is of use.
    `command`: what runs the test again.
    """
    update = growth.update_of([*(verdict for verdict in verdicts if verdict.growth is not None), *fatal])
    by_limit: dict[int, list[list[Verdict]]] = {}
    for alike in _folded(verdicts, update, command):
        by_limit.setdefault(id(alike[0].limit), []).append(alike)
    texts: list[str] = []
    for group in by_limit.values():
        group.sort(key=lambda alike: -(alike[0].used or 0))  # stable: without a figure they stay as they are
        shown, left = group[:_SHOWN_VIOLATIONS], sum(map(len, group[_SHOWN_VIOLATIONS:]))
        texts += [
            verdict_text(first, update, command, [verdict.model for verdict in others]) for first, *others in shown
        ]
        if left:
            what = "more submodule" if any(verdict.module for verdict, *_ in group) else "more model"
            texts[-1] += f"\n  and {quantity.counted(left, what)} over this limit"
    return list(dict.fromkeys(texts))  # one cause may keep several limits from being held


def _folded(verdicts: Sequence[Verdict], update: str, command: str) -> list[list[Verdict]]:
    """Violations, those of numbered models together where their texts differ in nothing else."""
    groups: dict[Hashable, list[Verdict]] = {}
    for verdict in verdicts:
        key: Hashable = id(verdict)
        if verdict.limit.relative and verdict.model:
            name, _ = split_number(verdict.model)
            key = verdict.limit.mark, verdict_text(replace(verdict, model=name), update, command)
        groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def _alike(models: Sequence[str]) -> str:
    """`, and 6 more like it (Net #2 to #7)`; empty where there is none."""
    if not models:
        return ""
    name = split_number(models[0])[0]
    numbers = sorted(split_number(model)[1] for model in models)
    runs: list[list[int]] = []
    for number in numbers[numbers[0] == 1 :]:  # the first has no number
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"#{run[0]} to #{run[-1]}" if len(run) > 2 else ", ".join(f"#{n}" for n in run) for run in runs]
    if numbers[0] == 1:
        return f", and {len(models)} more like it ({', '.join([name, *shown])})"
    return f", and {len(models)} more like it ({name} {', '.join(shown)})"


def verdict_text(
    verdict: Verdict, update: str | None = None, command: str = "python -m pytest", alike: Sequence[str] = ()
) -> str:
    """One violation: a headline that is complete in itself, and below it what is known about it.

    Args:
        verdict: of the violation.
        update: as `growth.update_of` all that the test violates; None: the violation stands alone.
        command: what runs the test again.
        alike: the other numbered models of which the same is to be said.
    """
    lines = [f"{headline(verdict)}{_alike(alike)}"]
    update = growth.update_of([verdict]) if update is None else update
    lines += (f"  {label:<9} {text}" for label, text in _details(verdict, update, command))
    # Names of modules and messages are text of others, and a terminal obeys what it is sent.
    return "\n".join(visible(line) for text in lines for line in text.split("\n"))


def unknown_text(verdict: Verdict) -> str:
    """What a figure within its limit leaves out, for a warning."""
    return f"{verdict.model} ran operators of unknown cost, which are not counted: {_operators(verdict)}"


def headline(verdict: Verdict) -> str:
    """The violation in one line, with enough digits to tell the two figures apart."""
    limit, metric = verdict.limit, verdict.limit.metric
    if verdict.growth is not None and growth.describes(verdict):
        return growth.headline(verdict, verdict.growth)
    subject = f"{verdict.model} {verdict.module}".strip()
    if verdict.outcome is Outcome.UNCOUNTED:
        return f"{limit.mark}: {subject} ran operators of unknown cost: {_operators(verdict)}"
    if verdict.outcome is Outcome.NOT_MEASURED:
        return f"{limit.mark}: nothing was measured: {verdict.reason}"
    if verdict.outcome is Outcome.INVALID or verdict.measured is None or limit.value is None:
        return f"{limit.mark}: {verdict.reason}"
    measured = quantity.format(verdict.measured, metric.unit, against=limit.value, like=limit.written)
    allowed = quantity.format(limit.value, metric.unit, against=verdict.measured, like=limit.written)
    called_with = verdict.profile.inputs if verdict.profile and metric.needs_call else ""
    return (
        f"{limit.mark}: {subject} {measured} > {allowed}{_excess(verdict.measured, limit.value)}{_per(limit)}"
        f"{f' for {_shortened(called_with)}' if called_with else ''}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _INPUTS_WIDTH else f"{text[: _INPUTS_WIDTH - 3]}..."


def _per(limit: Limit) -> str:
    return "" if limit.per is Per.CALL else f" per {limit.per.value}"


def _operators(verdict: Verdict) -> str:
    """`mylib::scan (x3), mylib::gather`, the most frequent first."""
    counts = sorted(verdict.unknown.items(), key=lambda item: -item[1])
    names = [f"{name} (x{runs})" if runs > 1 else name for name, runs in counts[:_SHOWN_OPERATORS]]
    if len(counts) > _SHOWN_OPERATORS:
        names.append(f"{len(counts) - _SHOWN_OPERATORS} more")
    return ", ".join(names)


def _excess(measured: Fraction, limit: Fraction) -> str:
    if not limit:
        return ""
    percent = (measured / limit - 1) * 100
    if measured / limit > quantity.HUGE:
        return f" ({quantity.times(measured / limit)} as much)"
    digits = 1
    while digits < 12 and round(percent, digits) == 0:
        digits += 1
    return f" (+{float(percent):.{digits}f} %)"


def _details(verdict: Verdict, update: str, command: str) -> Iterator[tuple[str, str]]:
    limit, metric, profile = verdict.limit, verdict.limit.metric, verdict.profile
    location = limit.source.location
    if limit.message:
        yield "message", limit.message
    if verdict.growth is not None and growth.describes(verdict):
        kinds = "" if profile is None else _where(verdict, profile)
        yield from growth.details(verdict, verdict.growth, update, _source(limit), command, kinds)
        return
    if limit.relative:
        yield "limit", f"{limit.written} of growth from {_source(limit)}"
    elif limit.value is not None:
        yield (
            "limit",
            f"{quantity.format(limit.value, metric.unit, against=verdict.measured, like=limit.written)}{_per(limit)} "
            f"from {_source(limit)}",
        )
    if verdict.outcome is Outcome.EXCEEDED and profile is not None:
        yield "measured", _measured(verdict, profile)
        if verdict.unknown:
            yield "", f"and operators of unknown cost, which are not counted: {_operators(verdict)}"
        if where := _where(verdict, profile):
            yield "where", where
        yield from _doubts(verdict)
        if hint := _mac_hint(verdict, profile):
            yield "hint", hint
        better = "faster" if metric.source is Source.CLOCK else "lighter"
        if metric.source is Source.CLOCK and any(SHARED_MACHINE in note for note in profile.notes):
            yield "next", "time it alone, with -n0: workers compete for cores; if it is still too slow there,"
            yield "", f"make the model faster, or raise the limit at {location}"
        else:
            yield "next", f"make the model {better}, or raise the limit at {location}"
    elif verdict.outcome is Outcome.UNCOUNTED and profile is not None:
        yield "measured", f"{_measured(verdict, profile)}, without them"
        operator = max(verdict.unknown, key=lambda name: verdict.unknown[name])
        yield "next", "say what they cost, from the shapes of their arguments, for example in conftest.py:"
        yield "", "    from pytest_modelbudget import Cost, register_cost"
        yield "", f'    @register_cost("{operator}")'
        yield "", f"    def {operator.rpartition('::')[2]}(<its arguments by name>, *, output):"
        yield "", "        return Cost(macs=...)  # or flops=, elementwise=, activations="
        yield "", 'or leave them out of the count: uncounted="warn" in the mark, or modelbudget_uncounted = warn'
    elif verdict.outcome is Outcome.NOT_MEASURED:
        yield "next", f"let the test run what is to be measured, or remove the limit at {location}"
    else:
        yield "next", f"do what the first line says, or correct the limit at {location}"


def _doubts(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What speaks against a figure."""
    if verdict.straddles:
        yield "note", "the limit is within this spread, so another run may pass: leave more room"
    for note in verdict.notes:
        yield "note", note


def _source(limit: Limit) -> str:
    return told(limit.source.text, limit.source.location)


def _measured(verdict: Verdict, profile: Profile) -> str:
    metric, limit = verdict.limit.metric, verdict.limit
    assert verdict.measured is not None
    if metric.source is Source.CLOCK:
        return _timed(verdict, profile)
    text = quantity.exact(verdict.measured, metric)
    module = profile.modules[verdict.module]
    if metric.name == "flops" and module.macs and limit.per is not Per.TEST:
        text += f" = {quantity.format(module.macs, Unit.MAC)} x {profile.flops_per_mac}"
        other = (module.flops or 0) - profile.flops_per_mac * module.macs
        if other:
            text += f" + {quantity.exact(other, metric)} of FFT and linear algebra"
        if limit.per is Per.SAMPLE:
            text += f" / {quantity.counted(profile.batch or 1, 'sample')}"
    if limit.per is Per.SAMPLE and metric.name != "flops":
        batch = profile.batch or 1
        text += f" = {quantity.exact(verdict.measured * batch, metric)} / {quantity.counted(batch, 'sample')}"
    if metric.needs_call:
        text += ", run abstractly" if profile.how == "abstract" else ", observed"
        if profile.device:
            text += f" on {profile.device}"
        if limit.per is Per.TEST:
            text += ", all calls of the test together"
        elif profile.is_outside:
            text += ", all work of its parts outside a call of the model together"
    return text


def _timed(verdict: Verdict, profile: Profile) -> str:
    """`5.31 ms, the median of 212 calls (half of them took 5.1 ms to 5.6 ms), on cpu with 2 threads`."""
    assert verdict.measured is not None
    timing = profile.latency_measurement
    text = quantity.format(verdict.measured, Unit.SECOND)
    if timing is None:
        return text
    if verdict.limit.per is Per.TEST:
        text += ", all calls of the test together, medians"
    else:
        text += f", the median of {timing.runs:,} calls" if timing.runs > 1 else ", one call"
    if verdict.interval is not None and timing.runs > 1:
        lower, upper = (quantity.format(value, Unit.SECOND) for value in verdict.interval)
        text += f" (half of them took {lower} to {upper})"
    threads = f" with {timing.threads} thread{'s' * (timing.threads > 1)}" if timing.device == "cpu" else ""
    return f"{text}, on {timing.device}{threads}"


def _kinds(profile: Profile) -> str:
    """What the bytes at the peak of memory were, and where it was reached."""
    if not profile.memory or profile.memory_at is None:
        return ""
    kinds = sorted(profile.memory_by_kind.items(), key=lambda item: -item[1])[:_SHOWN_MODULES]
    shares = "   ".join(f"{kind}  {100 * size / profile.memory:.1f} %" for kind, size in kinds if size)
    return f"{shares}, at {' '.join(filter(None, profile.memory_at))}"


def _where(verdict: Verdict, profile: Profile) -> str:
    """The largest parts of the figure."""
    if verdict.limit.metric.source is Source.CLOCK:
        return ""
    if not verdict.limit.metric.has_parts:
        return _kinds(profile)
    name = verdict.limit.metric.name
    figures = {path: getattr(module, name) or 0 for path, module in profile.modules.items()}
    total = figures[verdict.module]
    parts = largest(figures, verdict.module, _SHOWN_MODULES) if total else []
    return "   ".join(f"{part.name}  {100 * part.figure / total:.1f} %" for part in parts)


_MEANT_IN_MACS = Fraction(4, 5)
"""The least share of a limit that MACs fill where it was meant in MACs: a limit is written close to what it is for."""


def _mac_hint(verdict: Verdict, profile: Profile) -> str:
    """What to write where a limit without a unit was taken from a paper that calls MACs FLOPs."""
    limit = verdict.limit
    macs = profile.modules[verdict.module].macs
    if limit.metric is not METRICS["flops"] or limit.per is not Per.CALL or profile.flops_per_mac == 1:
        return ""
    if not limit.value or macs is None or not _MEANT_IN_MACS * limit.value <= macs <= limit.value:
        return ""
    written = limit.written.lower()
    if "mac" in written or "madd" in written or "flop" in written:
        return ""
    as_macs = quantity.format(limit.value, Unit.MAC)
    return (
        f"{quantity.format(macs, Unit.MAC)} would be within {limit.written.strip(chr(39))}: "
        f'if the limit was meant in MACs, write "{as_macs}"'
    )
