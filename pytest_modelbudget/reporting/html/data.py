"""What the page knows: an overview that is read at once, and blocks that are read when somebody looks at them.

A block is a model (its modules, operators, memory) or a difference (the modules of one before and after). Modules
stand in columns, and what several tests have in common stands in the page once: that keeps hundreds of tests small.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.baseline import Key, to_json
from pytest_modelbudget.budget import told
from pytest_modelbudget.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_modelbudget.baseline import Figure

    Row = Mapping[str, Any]
    Paths = Mapping[str, int | str | None]


class Content(NamedTuple):
    """What a page is made from.

    Attributes:
        title: of the page.
        overview: what is read as the page opens.
        models, differences: what is read when it is looked at.
    """

    title: str
    overview: dict[str, Any]
    models: Sequence[Row]
    differences: Sequence[Row]


def of_report(report: Row) -> Content:
    """Of a run."""
    models = _Models()
    tests = []
    for index, test in enumerate(report["tests"]):
        numbers = [models.number(profile, index) for profile in test["profiles"]]
        tests.append({"id": test["id"], "outcome": test["outcome"], "models": numbers})
    recorded = _recorded(report)
    budgets = [
        {**_budget(verdict, recorded, test["id"]), "test": index, "of": _judged(verdict, test, tests[index]["models"])}
        for index, test in enumerate(report["tests"])
        for verdict in test["verdicts"]
        if verdict["outcome"] != "incomplete"
    ]
    figures = _figures_of(report)
    outgrown = _outgrown(report)
    changes, differences = _changes(
        (
            {**change, "allowed": (change["test"], change["model"], change["metric"], change["per"]) not in outgrown}
            for change in report["changes"]
            if change["kind"] != "moved"
        ),
        lambda change: figures.get((change["test"], change["model"]), {}).get(change["metric"], {}),
    )
    overview = {
        **_overview("run"),
        "run": report["run"],
        "tests": tests,
        "budgets": budgets,
        "models": models.summaries,
        "changes": changes,
        "differences": [_heading(difference) for difference in differences],
        "unmeasured": report["unmeasured"],
    }
    return Content("Model budgets", overview, models.blocks, differences)


def of_profile(profile: Row) -> Content:
    """Of one model, without a test."""
    models = _Models()
    models.number(profile, None)
    return Content(profile["model"], {**_overview("model"), "models": models.summaries}, models.blocks, ())


def of_comparison(comparison: Row, modules: Mapping[Key, Mapping[str, Figure]]) -> Content:
    """Of two reports or baselines."""

    def after(change: Row) -> Paths:
        key = Key(*(change[name] for name in Key._fields))
        return {path: to_json(figure) for path, figure in modules.get(key, {}).items()}

    changes, differences = _changes(comparison["changes"], after)
    overview = {
        **_overview("comparison"),
        "changes": changes,
        "differences": [_heading(difference) for difference in differences],
        "unchanged": comparison["unchanged"],
        "mixed": comparison["mixed"],
    }
    return Content("Model figures compared", overview, (), differences)


def _overview(kind: str) -> dict[str, Any]:
    empty: dict[str, Any] = {name: [] for name in ("tests", "budgets", "models", "changes", "differences")}
    metrics = {
        metric.name: {"unit": metric.unit.value, "noun": metric.noun, "definition": metric.definition}
        for metric in METRICS.values()
    }
    return {**empty, "unmeasured": [], "kind": kind, "metrics": metrics}


# -- models -----------------------------------------------------------------------------------------------------------


class _Models:
    """The distinct models, numbered in the order of the first test that measured each."""

    def __init__(self) -> None:
        self.summaries: list[dict[str, Any]] = []
        self.blocks: list[Row] = []
        self._numbers: dict[str, int] = {}

    def number(self, profile: Row, test: int | None) -> int:
        block = _block(profile)
        summary = {
            **{name: profile[name] for name in ("model", "inputs", "device", "how", "batch", "calls", "flops_per_mac")},
            "figures": {name: _exact(figure) for name in METRICS if (figure := _figure(profile, name)) is not None},
            "size": len(profile.get("modules", ())),
            "outside": bool(profile.get("outside")),
        }
        key = json.dumps([summary, block])
        number = self._numbers.setdefault(key, len(self.blocks))
        if number == len(self.blocks):
            self.summaries.append({**summary, "tests": []})
            self.blocks.append(block)
        if test is not None and test not in self.summaries[number]["tests"]:
            self.summaries[number]["tests"].append(test)
        return number


def _figure(profile: Row, metric: str) -> Any:
    """Of the whole call; those of custom metrics stand apart."""
    return profile.get(metric, profile.get("custom", {}).get(metric))


_PARTS = tuple(name for name, metric in METRICS.items() if metric.has_parts or name == "memory")


def _block(profile: Row) -> dict[str, Any]:
    modules: Mapping[str, Row] = profile.get("modules", {})
    places = {path: place for place, path in enumerate(modules)}
    types, shapes = _Words(), _Words()
    measured = [name for name in _PARTS if any(module.get(name) is not None for module in modules.values())]
    return {
        "names": [path.rpartition(".")[2] for path in modules],
        "parents": [places.get(path.rpartition(".")[0], 0) if path else -1 for path in modules],
        "types": [types.number(module["type"]) for module in modules.values()],
        "type_names": types.words,
        "calls": [module["calls"] for module in modules.values()],
        "inputs": [shapes.number(_shapes(module["input_shapes"])) for module in modules.values()],
        "outputs": [shapes.number(_shapes(module["output_shapes"])) for module in modules.values()],
        "shapes": shapes.words,
        "same_as": {places[path]: module["same_as"] for path, module in modules.items() if module.get("same_as")},
        "figures": {name: [_exact(module.get(name)) for module in modules.values()] for name in measured},
        "operators": [
            [name, *(_exact(operator[figure]) for figure in OPERATOR_FIGURES)]
            for name, operator in profile.get("operators", {}).items()
        ],
        "operator_figures": OPERATOR_FIGURES,
        "memory_by_kind": {kind: _exact(size) for kind, size in profile.get("memory_by_kind", {}).items()},
        "memory_at": profile.get("memory_at"),
        "course": _course(profile.get("memory_course"), places),
        "uncounted": profile["uncounted"],
        "notes": profile["notes"],
    }


OPERATOR_FIGURES = (
    "calls",
    "backward_calls",
    "macs",
    "flops",
    "elementwise_flops",
    "backward_flops",
    "activations",
    "read",
    "written",
)


def _course(course: Row | None, places: Mapping[str, int]) -> dict[str, Any] | None:
    if course is None:
        return None
    births, alive, paths = zip(*course["points"], strict=True)
    return {
        "births": births,
        "alive": [_exact(size) for size in alive],
        "modules": [places.get(path, 0) for path in paths],
        "storages": course["storages"],
        "forward": course["forward"],
    }


class _Words:
    """Numbers words, so that each stands in the page once."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        number = self._numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return number


def _shapes(shapes: Iterable[Iterable[int]]) -> str:
    return ", ".join("x".join("?" if size < 0 else str(size) for size in shape) or "scalar" for shape in shapes)


_SAFE = 2**53


def _exact(figure: Any) -> Any:
    """The figure as a script reads it without losing a digit: JSON's numbers are floats there."""
    return str(figure) if isinstance(figure, int) and abs(figure) >= _SAFE else figure


# -- budgets ----------------------------------------------------------------------------------------------------------

_SHOWN = ("metric", "relative", "model", "module", "per", "level", "outcome", "failed", "measured", "limit", "used")


def _budget(verdict: Row, recorded: Mapping[tuple[str, ...], Any], test: str) -> dict[str, Any]:
    key = (test, verdict["model"], verdict["metric"], verdict["per"])
    baseline = None if verdict["module"] else recorded.get(key)
    return {
        **{name: verdict[name] for name in (*_SHOWN, "reason", "unknown")},
        "figure": _exact(verdict["figure"]),
        "bound": _exact(verdict["bound"]),
        "baseline": _exact(baseline if verdict["baseline"] is None else verdict["baseline"]),
        "source": told(verdict["source"]["text"], verdict["source"]["location"]),
    }


def _recorded(report: Row) -> dict[tuple[str, ...], Any]:
    """What the baseline holds, of each figure that a relative limit or a change tells of."""
    found: dict[tuple[str, ...], Any] = {
        (change["test"], change["model"], change["metric"], change["per"]): change["before"]
        for change in report["changes"]
        if change["before"] is not None
    }
    for test in report["tests"]:
        for verdict in test["verdicts"]:
            if verdict["baseline"] is not None:
                key = (test["id"], verdict["model"], verdict["metric"], verdict["per"])
                found[key] = verdict["baseline"]
    return found


def _outgrown(report: Row) -> set[tuple[str, ...]]:
    """Which figures grew more than a test allows."""
    return {
        (test["id"], verdict["model"], verdict["metric"], verdict["per"])
        for test in report["tests"]
        for verdict in test["verdicts"]
        if verdict["relative"] and verdict["failed"] and verdict["outcome"] == "exceeded"
    }


def _judged(verdict: Row, test: Row, numbers: Sequence[int]) -> int | None:
    """The model that a verdict is on, the call that decided where it can be told."""
    named = [
        (profile, number)
        for profile, number in zip(test["profiles"], numbers, strict=True)
        if verdict["model"] == profile["model"] or verdict["model"].endswith(f"({profile['model']})")
    ]
    for profile, number in named:
        part = profile.get("modules", {}).get(verdict["module"]) if verdict["module"] else profile
        if part is not None and _figure(part, verdict["metric"]) == verdict["figure"]:
            return number
    return named[0][1] if named else None


# -- changes ----------------------------------------------------------------------------------------------------------


def _figures_of(report: Row) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Of each test that has changes: model, metric, module -> figure, of the largest call."""
    wanted = {(change["test"], change["model"], change["metric"]) for change in report["changes"]}
    tests = {test for test, _, _ in wanted}
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    largest: dict[tuple[str, str, str], Any] = {}
    for test in report["tests"]:
        for profile in test["profiles"] if test["id"] in tests else ():
            for metric in METRICS:
                key = (test["id"], profile["model"], metric)
                figure = _figure(profile, metric) if key in wanted else None
                if figure is not None and figure > largest.get(key, -1):
                    largest[key] = figure
                    figures = {path: part.get(metric) for path, part in profile.get("modules", {}).items()}
                    found.setdefault(key[:2], {})[metric] = figures
    return found


def _changes(changes: Iterable[Row], after: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the table of changes, and for each model that has some what its modules were and are.

    Args:
        changes: as `document.change_to_json` makes them, each with whether it is allowed.
        after: of a change the figures of all modules afterwards, by path.
    """
    rows: list[dict[str, Any]] = []
    grouped: dict[tuple[str, str], list[tuple[dict[str, Any], Row]]] = {}
    for change in changes:
        row = {name: change[name] for name in ("test", "model", "metric", "per", "kind")}
        row |= {name: _exact(change[name]) for name in ("before", "after")}
        row["modules"] = [
            {**module, "delta": _exact(module["delta"])} for module in change["modules"] if module["kind"] != "renamed"
        ]
        row["allowed"] = change["allowed"]
        row["difference"] = None
        rows.append(row)
        compares = change["before"] is not None and change["after"] is not None and change["per"] == "call"
        if compares and change["figures"]:
            grouped.setdefault((change["test"], change["model"]), []).append((row, change))
    differences: list[dict[str, Any]] = []
    for (test, model), members in grouped.items():
        columns = {}
        for row, change in members:
            new = dict(after(change))
            old = dict(new)
            for path, (before, now) in change["figures"].items():
                old[path], new[path] = before, now
            columns[change["metric"]] = (old, new)
            row["difference"] = len(differences)
        differences.append(_difference(test, model, columns, [row for row, _ in members]))
    return rows, differences


def _difference(
    test: str, model: str, columns: Mapping[str, tuple[Paths, Paths]], rows: Iterable[Row]
) -> dict[str, Any]:
    paths = {path: None for pair in columns.values() for figures in pair for path in figures}
    _with_parents(paths)
    ordered = sorted(paths, key=lambda path: path.split(".") if path else [])
    places = {path: place for place, path in enumerate(ordered)}
    return {
        "test": test,
        "model": model,
        "names": [path.rpartition(".")[2] for path in ordered],
        "parents": [places[path.rpartition(".")[0]] if path else -1 for path in ordered],
        "before": {metric: [_exact(old.get(path)) for path in ordered] for metric, (old, _) in columns.items()},
        "after": {metric: [_exact(new.get(path)) for path in ordered] for metric, (_, new) in columns.items()},
        "totals": {row["metric"]: [row["before"], row["after"]] for row in rows},
    }


def _with_parents(paths: dict[str, None]) -> None:
    """Add the modules that have no figure of their own, as those whose parts alone are recorded."""
    for path in list(paths):
        while path:
            path = path.rpartition(".")[0]
            paths.setdefault(path)


def _heading(difference: Row) -> dict[str, Any]:
    return {name: difference[name] for name in ("test", "model", "totals")}
