"""Two reports or baselines against each other: which models are new, gone, grown or shrunk. Pure."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import baseline, quantity
from pytest_modelbudget.baseline import ANY_DEVICE, BaselineError, Entry, Key, to_json
from pytest_modelbudget.metrics import METRICS, Source
from pytest_modelbudget.relative import USUAL
from pytest_modelbudget.reporting import document
from pytest_modelbudget.reporting.changes import kind_of, line_of, merged, name_of
from pytest_modelbudget.reporting.escape import visible
from pytest_modelbudget.reporting.growth import unit_of
from pytest_modelbudget.reporting.json import with_details
from pytest_modelbudget.reporting.markdown import CHANGE_HEADER, COMMENT_LIMIT, Section, change_rows, fitted
from pytest_modelbudget.update import Change, Update, same_convention
from pytest_modelbudget.vanished import full_name, renamed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pytest_modelbudget.baseline import Entries


_COMPARISON = "modelbudget comparison"


def read(text: str, name: str) -> Entries:
    """The figures in the text of a report or a baseline.

    Raises:
        BaselineError: it is neither.
    """
    found = baseline.read_json(text, name, "the report is damaged, make it anew" if is_report(text) else "")
    if isinstance(found, dict) and found.get("kind") == document.KIND:
        if found.get("version") not in (1, document.VERSION):
            raise BaselineError(f"{name}: version {found.get('version')!r} of the report: update pytest-modelbudget")
        try:
            return dict(_of_report(with_details(found)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BaselineError(f"{name}: a damaged report ({type(error).__name__}: {error}): make it anew") from None
    return baseline.parse(text, name)


def is_report(text: str) -> bool:
    """Whether a text that can be read is that of a report, rather than of a baseline."""
    return re.search(rf'"kind":\s*"{re.escape(document.KIND)}"', text) is not None


def may_be_baseline(text: str) -> bool:
    """Whether a text is that of a baseline, whole or damaged, as a conflict of a merge leaves it."""
    return baseline.KIND in text or re.search(r"^<{7}", text, re.MULTILINE) is not None


def is_comparison(text: str) -> bool:
    """Whether a text is what `as_json` makes."""
    return f'"{_COMPARISON}"' in text


def _of_report(report: Mapping[str, Any]) -> Iterator[tuple[Key, Entry]]:
    """Of each test and model the largest call, which is what limits are held against."""
    largest: Entries = {}
    versions = [report["run"][name] for name in ("torch", "plugin", "python")]
    for test in report["tests"]:
        for profile in test["profiles"]:
            known = [(name, profile[name], metric.portable, metric.has_parts) for name, metric in METRICS.items()]
            others = [(name, value, False, False) for name, value in profile.get("custom", {}).items()]
            for name, value, portable, has_parts in (*known, *others):
                if value is None:
                    continue
                device = ANY_DEVICE if portable else profile["device"]
                key = Key(test["id"], profile["model"], name, "call", device)
                modules = {
                    path: Fraction(str(module.get(name) or 0))
                    for path, module in profile.get("modules", {}).items()
                    if has_parts
                }
                entry = Entry(Fraction(str(value)), modules, profile["flops_per_mac"], profile["inputs"], *versions)
                if modules and not METRICS[name].needs_call:
                    rows = profile["modules"].items()
                    entry = entry._replace(aliases={path: row["same_as"] for path, row in rows if row.get("same_as")})
                if key not in largest or largest[key].value < entry.value:
                    largest[key] = entry
    return iter(largest.items())


class Comparison(NamedTuple):
    """What changed from one to the other.

    Attributes:
        changes: of each figure that changed, sorted by test, model and metric.
        unchanged: how many figures are the same.
        mixed: how many cannot be compared, since they count MACs differently.
    """

    changes: list[Change]
    unchanged: int
    mixed: int


def compare(base: Entries, head: Entries) -> Comparison:
    """Every figure that one of them has, but for times: those differ from run to run.

    What is new and more than that in whose place it came has grown: a new name hides nothing.
    """
    changes, unchanged, mixed = [], 0, 0
    known_as = renamed(*({key: entry.value for key, entry in side.items()} for side in (base, head)))
    for key in sorted(key for key in base.keys() | head.keys() if may_grow(key.metric)):
        before, after = base.get(key), head.get(key)
        if before is None:
            assert after is not None
            old = known_as.get(key)
            if old is None or base[old].value >= after.value or not same_convention(key, base[old], after):
                changes.append(Change(key, None, after, Update.NEW))
            else:
                changes.append(Change(key, base[old], after, Update.RAISE, known_as=full_name(old, key.test)))
        elif after is None:
            changes.append(Change(key, before, None, Update.LOWER))
        elif not same_convention(key, before, after):
            mixed += 1
        elif before.value == after.value:
            unchanged += 1
        else:
            changes.append(Change(key, before, after, Update.RAISE if after.value > before.value else Update.LOWER))
    return Comparison(changes, unchanged, mixed)


def broken(comparison: Comparison, allowed: Mapping[str, Fraction]) -> list[Change]:
    """The changes that grow a metric beyond what is allowed, a share of what it was."""
    return [
        change
        for change in comparison.changes
        if change.before is not None
        and change.after is not None
        and change.key.metric in allowed
        and change.after.value > change.before.value * (1 + allowed[change.key.metric])
    ]


def not_held(base: Entries, head: Entries, allowed: Mapping[str, Fraction]) -> str:
    """Why a rule could not be held against what both sides measured; empty where each could.

    What only one side measured is new or gone. But where no figure can be compared at all, as with the report of a run
    that failed as tests were collected, the rule would pass because nobody looked.
    """
    for side, name in ((base, "first"), (head, "second")):
        if allowed and not side:
            return f"{', '.join(allowed)}: the {name} file has no figures; look whether its run came to its tests"
    for metric in allowed:
        sides = [{key for key in side if key.metric == metric} for side in (base, head)]
        both = sides[0] & sides[1]
        mixed = [key for key in both if not same_convention(key, base[key], head[key])]
        if mixed:
            number = quantity.counted(len(mixed), "figure")
            return (
                f"{metric}: {number} with {base[mixed[0]].flops_per_mac} FLOPs for a MAC in one file and "
                f"{head[mixed[0]].flops_per_mac} in the other: measure both with one modelbudget_flops_per_mac"
            )
        if all(sides) and not both:
            devices = [sorted({key.device for key in side}) for side in sides]
            where_from = "" if devices[0] == devices[1] else f" ({', '.join(devices[0])}; {', '.join(devices[1])})"
            return f"{metric}: no test and model was measured in both files on the same device{where_from}"
        if not any(sides) and metric not in USUAL:  # those stand for whatever a file has of them
            return f"{metric}: neither file has figures of it"
    if allowed and not any(key in head for key in base if key.metric in allowed):
        return f"{', '.join(allowed)}: the files have no such figures of one test and model"
    return ""


def may_grow(metric: str) -> bool:
    """Whether growth of a metric can be judged: real time differs from run to run. Others may be a suite's own."""
    return metric not in METRICS or METRICS[metric].source is not Source.CLOCK


_KINDS = ("grown", "new", "shrunk", "gone")


def as_terminal(comparison: Comparison, violations: Sequence[Change]) -> str:
    """Lines for a terminal, what grew first."""
    lines = []
    keys = {change.key for change in violations}
    leading = _leading(comparison, keys)
    for kind in _KINDS:
        chosen = [change for change in leading if kind_of(change) == kind]
        if chosen:
            lines.append(f"{kind} ({len(chosen)})")
            # What is not allowed stands apart, so that no line is half of both.
            for verbs in ({kind: "NOT ALLOWED"}, {}):
                some = [change for change in chosen if (change.key in keys) == bool(verbs)]
                lines += (f"  {line_of(group, verbs)}" for group in merged(some))
    if note := _followers(comparison, leading):
        lines.append(note)
    lines.append(_totals(comparison))
    if violations:
        lines.append(f"{quantity.counted(len(violations), 'figure')} grew more than is allowed: {_grown(violations)}")
    return "\n".join(lines) + "\n"


_NAMED_TESTS = 3


def _grown(violations: Sequence[Change]) -> str:
    """`flops, params in test_it.py::test_it; flops in 3 more tests`: what to look for where the lines are many."""
    tests: dict[str, list[str]] = {}
    for change in violations:
        tests.setdefault(change.key.test, []).append(name_of(change.key))
    named = [f"{', '.join(dict.fromkeys(names))} in {visible(test)}" for test, names in tests.items()]
    left = len(named) - _NAMED_TESTS
    return "; ".join(named[:_NAMED_TESTS]) + (f"; and {quantity.counted(left, 'more test')}" if left > 0 else "")


_LEADERS = {
    **dict.fromkeys(("trainable_params", "size"), "params"),
    **dict.fromkeys(
        (
            "macs",
            "elementwise_flops",
            "total_flops",
            "backward_flops",
            "training_flops",
            "activations",
            "traffic",
        ),
        "flops",
    ),
}
"""Metrics that as a rule move with another one: told only where that one does not move, or they are not allowed to."""


def _leading(comparison: Comparison, violations: Collection[Key]) -> list[Change]:
    """The changes that are told to people: a wider layer changes a dozen figures."""
    moved = {(change.key.test, change.key.model, change.key.metric, kind_of(change)) for change in comparison.changes}
    return [
        change
        for change in comparison.changes
        if change.key in violations
        or (change.key.test, change.key.model, _LEADERS.get(change.key.metric), kind_of(change)) not in moved
    ]


def _followers(comparison: Comparison, leading: Sequence[Change]) -> str:
    hidden = {change.key.metric for change in comparison.changes} - {change.key.metric for change in leading}
    count = len(comparison.changes) - len(leading)
    if not count:
        return ""
    names = f" ({', '.join(sorted(hidden))})" if hidden else ""
    return f"{quantity.counted(count, 'more figure')} moved along{names}: --format json has them"


def _totals(comparison: Comparison) -> str:
    text = f"{quantity.counted(len(comparison.changes), 'figure')} changed, {comparison.unchanged} stayed the same"
    if comparison.mixed:
        text += f", {comparison.mixed} cannot be compared, since MACs are counted differently"
    return text


def as_markdown(comparison: Comparison, violations: Sequence[Change], limit: int = COMMENT_LIMIT) -> str:
    """Tables for a comment or a step summary."""
    # Without a rule that is broken nothing is good or bad.
    title = f"## {'❌ ' if violations else ''}Model figures: {_totals(comparison)}"
    keys = {change.key for change in violations}
    leading = _leading(comparison, keys)
    note = _followers(comparison, leading)

    def rows(changes: Sequence[Change]) -> list[str]:
        return change_rows([document.change_to_json(change) for change in changes])

    sections = [
        Section(title, (), ()),
        Section("### Grown more than is allowed", CHANGE_HEADER, rows(violations)),
        Section("### Changes", CHANGE_HEADER, rows([change for change in leading if change.key not in keys])),
        Section(f"*{note}*" if note else "", (), ()),
    ]
    return fitted(sections, limit)


def as_html(comparison: Comparison, violations: Sequence[Change]) -> str:
    """One page: a table of changes, and of each model a treemap of what grew and shrank.

    Raises:
        ExtraMissingError: the extra is not installed.
    """
    from pytest_modelbudget.reporting.html import render_comparison

    modules = {change.key: change.after.modules for change in comparison.changes if change.after is not None}
    return render_comparison(as_json(comparison, violations), modules)


def as_json(comparison: Comparison, violations: Sequence[Change]) -> dict[str, Any]:
    """Primitives: the changes as the report has them."""
    keys = {change.key for change in violations}
    return {
        "kind": _COMPARISON,
        "version": 1,
        "changes": [
            {**document.change_to_json(change), "allowed": change.key not in keys} for change in comparison.changes
        ],
        "unchanged": comparison.unchanged,
        "mixed": comparison.mixed,
    }


def as_github_action_benchmark(entries: Entries) -> list[dict[str, Any]]:
    """What github-action-benchmark reads as `customSmallerIsBetter`."""
    return [
        {"name": f"{_benchmark(key)} {_measure(key)}", "unit": unit_of(key).value, "value": _number(entry)}
        for key, entry in sorted(entries.items())
    ]


def as_bencher(entries: Entries) -> dict[str, dict[str, dict[str, Any]]]:
    """The Bencher Metric Format: benchmark, measure, value."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key, entry in sorted(entries.items()):
        # Bencher's own measure of this name is in nanoseconds.
        value = float(entry.value * 10**9) if key.metric == "latency" else _number(entry)
        found.setdefault(_benchmark(key), {})[_measure(key)] = {"value": value}
    return found


_LONGEST = 1024
"""Characters of a name that Bencher takes."""


def _benchmark(key: Key) -> str:
    """The name of a curve, the device included where figures differ between devices."""
    name = f"{key.test} {key.model}{'' if key.device in ('', ANY_DEVICE) else f' on {key.device}'}"
    if len(name) <= _LONGEST:
        return name
    # Still another one than any other.
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{name[: _LONGEST - 17]} {digest}"


def _measure(key: Key) -> str:
    return key.metric if key.per == "call" else f"{key.metric}-per-{key.per}"


def _number(entry: Entry) -> int | float:
    exact = to_json(entry.value)
    return exact if isinstance(exact, int) else float(entry.value)
