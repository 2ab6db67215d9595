"""The parts of a model that a figure sits in: few, and as deep as it takes to be worth reading. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget.reporting.tree import is_next, span

if TYPE_CHECKING:
    from collections.abc import Mapping

    Figures = Mapping[str, int]
    """Of each module by its dotted path, everything below it included."""

_NEARLY_ALL = 0.9
"""A part that holds more than this share is what everybody knows: what is in it says more."""
_MOST = 0.5
"""A part that holds more than this share is taken apart where there is room."""
_LITTLE = 0.01
"""Parts of less than this share take no room from others."""
_REPEATED = 3
"""From so many on equal neighbours stand together: fewer are named one by one."""


class Part(NamedTuple):
    """A module, equal neighbours together, or what a module does beside its parts.

    Attributes:
        name: `model.layers.0-31.mlp`, `itself`.
        figure: of all of them together.
        paths: the modules; none of what cannot be taken apart.
    """

    name: str
    figure: int
    paths: tuple[str, ...] = ()


def largest(figures: Figures, module: str, shown: int) -> list[Part]:
    """At most `shown` parts of a module, the largest first; none of one that has no parts.

    A part that holds nearly everything is taken apart, and so is one that holds most of it, while all fit.
    """
    total = figures[module]
    children = _children(figures)
    whole = Part(module, total, (module,))
    parts = _taken_apart(whole, figures, children, itself="itself")
    while parts:
        first, *others = parts = sorted(parts, key=lambda part: -part.figure)  # stable
        below = _taken_apart(first, figures, children, itself=f"{first.name} itself")
        share = first.figure / total
        fits = sum(part.figure >= _LITTLE * total for part in [*below, *others]) <= shown
        if not below or not (share > _NEARLY_ALL or (share > _MOST and fits)):
            break
        parts = [*below, *others]
    return parts[:shown]


def _children(figures: Figures) -> dict[str, list[str]]:
    """For each module those right below it that have a figure."""
    children: dict[str, list[str]] = {path: [] for path in figures}
    for path, figure in figures.items():
        if path and figure:
            children[path.rpartition(".")[0]].append(path)
    return children


def _taken_apart(part: Part, figures: Figures, children: Mapping[str, list[str]], *, itself: str) -> list[Part]:
    if not part.paths:
        return []
    first = part.paths[0]  # of equal ones each has the same parts
    below = []
    for group in _groups(children[first], figures, children):
        names = [path[len(first) + 1 if first else 0 :] for path in group]
        name = names[0] if len(names) == 1 else span(names[0], names[-1])
        paths = tuple(f"{parent}.{name}" if parent else name for parent in part.paths for name in names)
        label = f"{part.name}.{name}" if part.name else name
        below.append(Part(label, figures[group[0]] * len(paths), paths))
    own = part.figure - sum(inner.figure for inner in below)
    return [*below, Part(itself, own)] if below and own > 0 else below


def _groups(paths: list[str], figures: Figures, children: Mapping[str, list[str]]) -> list[list[str]]:
    """Siblings, those that follow one another and are equal together."""
    runs: list[list[str]] = []
    for path in paths:
        if runs and is_next(_name(runs[-1][-1]), _name(path)) and _equal(runs[-1][-1], path, figures, children):
            runs[-1].append(path)
        else:
            runs.append([path])
    return [group for run in runs for group in ([run] if len(run) >= _REPEATED else [[path] for path in run])]


def _equal(path: str, other: str, figures: Figures, children: Mapping[str, list[str]]) -> bool:
    mine, theirs = children[path], children[other]
    return (
        figures[path] == figures[other]
        and list(map(_name, mine)) == list(map(_name, theirs))
        and all(_equal(one, another, figures, children) for one, another in zip(mine, theirs, strict=True))
    )


def _name(path: str) -> str:
    return path.rpartition(".")[2]
