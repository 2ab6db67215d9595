"""Which modules made a figure grow: two trees of figures, compared. Pure: no torch, no pytest."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_modelbudget.baseline import Entry, Figure

    Figures = Mapping[str, Figure]
    """Of each module by its dotted path, everything below it included; `""` is the model."""

_SHOWN = 4


class ModuleChange(NamedTuple):
    """What became of one module.

    Attributes:
        path: dotted.
        kind: `new`, `gone`, `renamed`, `grown`, `shrunk`, or `unshared`: its modules share less than they did.
        delta: by how much its figure changed; for one that contains others, what is not explained by them.
        before: the path under which it was known, where it was renamed.
    """

    path: str
    kind: str
    delta: Figure
    before: str = ""


def explain(before: Figures, after: Figures) -> list[ModuleChange]:
    """The modules that changed, those that explain most of the difference first.

    A subtree that is new, gone or renamed is one change, and so is a module in which nothing changed but itself.
    Of a figure that has no parts there is nothing to explain.
    """
    if len(before.keys() | after.keys()) < 2:
        return []
    names = _rewrapped(before, after)
    before = {path: before[name] for path, name in names.items()}
    gone = _roots(before, after)
    new = _roots(after, before)
    renamed = _renamed(gone, new, before, after)
    changes = [ModuleChange(path, "renamed", 0, old) for path, old in renamed.items()]
    changes += [ModuleChange(path, "new", after[path]) for path in new if path not in renamed]
    changes += [ModuleChange(path, "gone", -before[path]) for path in gone if path not in renamed.values()]
    explained: dict[str, Figure] = defaultdict(int)
    """For each module how much of its change the modules right below it explain."""
    for change in changes:
        explained[_parent(change.path)] += change.delta
        if change.before:
            # Taken from one place and put into another.
            explained[_parent(change.path)] += after[change.path]
            explained[_parent(change.before)] -= after[change.path]
    shared_before, shared_after = _shared(before), _shared(after)
    sharing = shared_before.keys() | shared_after.keys()
    # Deepest first, so that what the children explain is complete when their parent is looked at.
    for path in sorted(before.keys() & after.keys(), key=_depth, reverse=True):
        delta = after[path] - before[path]
        own = delta - explained[path]
        # Where parts are shared they count for each that holds them; a rest of another sign than the change comes
        # from counting them twice.
        if own and (path not in sharing or not explained[path] or own * delta > 0):
            is_unshared = own > 0 and own == shared_before.get(path, 0) - shared_after.get(path, 0)
            changes.append(ModuleChange(path, "unshared" if is_unshared else "grown" if own > 0 else "shrunk", own))
        if path:
            explained[_parent(path)] += delta
    grew = after.get("", 0) >= before.get("", 0)
    changes.sort(key=lambda change: (-change.delta if grew else change.delta, change.path))
    changes = [
        change._replace(path=names[change.path])
        if change.kind == "gone"
        else change._replace(before=names.get(change.before, ""))
        for change in changes
    ]
    return [change for change in changes if change.delta or change.kind == "renamed"]


def _rewrapped(before: Figures, after: Figures) -> dict[str, str]:
    """The names of modules in wrappers that came around the model, or without those that went: new -> old."""
    if wrapper := _wrapper(after, before):
        around = dict.fromkeys(("", *_above(wrapper), wrapper), "")
        return {**around, **{f"{wrapper}.{path}": path for path in before if path}}
    if wrapper := _wrapper(before, after):
        below = f"{wrapper}."
        return {"": "", **{path.removeprefix(below): path for path in before if path.startswith(below)}}
    return {path: path for path in before}


def _wrapper(outer: Figures, inner: Figures) -> str:
    """The one module of a model, or the only one of that, with most modules of another model; empty: there is none."""
    modules = _names_below("", inner)
    wrapper = ""
    while modules and "" in inner and len(names := _names_below(wrapper, outer)) == 1:
        wrapper = f"{wrapper}.{names.pop()}".lstrip(".")
        if wrapper in modules:
            return ""
        if 2 * len(modules & _names_below(wrapper, outer)) > len(modules):
            return wrapper
    return ""


def _names_below(parent: str, figures: Figures) -> set[str]:
    """The names of the modules right below one."""
    below = f"{parent}." if parent else ""
    return {path[len(below) :].partition(".")[0] for path in figures if path and path.startswith(below)}


def _above(path: str) -> Iterator[str]:
    """The paths of the modules around one, without the model."""
    parts = path.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts)))


def compared(before: Entry, after: Entry, module: str = "") -> tuple[Figures, Figures]:
    """The figures of two entries that explain how the figure of a module, `""` for the model, came to change.

    They are those of one call, the one that decided for the model, and a module that goes by several names stands there
    once. Where a module did most in another call, entries hold its own figure of that call and nothing of its parts.
    """
    return _named_once(before, after, module), _named_once(after, before, module)


def _named_once(entry: Entry, other: Entry, module: str) -> Figures:
    """The figures of an entry in a module, each thing under the first name that it has there."""
    if module in entry.largest or module in other.largest:
        return {module: entry.figure_of(module)}
    paths: dict[str, str] = {}
    for path in entry.modules:
        if not module or f"{path}.".startswith(f"{module}."):
            paths.setdefault(_thing(path, entry, other), path)
    return {path: entry.modules[path] for path in paths.values()}


def _thing(path: str, entry: Entry, other: Entry) -> str:
    """The name under which what a path leads to stands first in the model."""
    if entry.aliases:
        return entry.aliases.get(path, path)
    # Entries of earlier versions do not say so.
    first = other.aliases.get(path)
    return path if first is None or entry.modules[path] != entry.modules.get(first) else first


def summary(changes: Iterable[ModuleChange], shown: int = _SHOWN) -> list[ModuleChange]:
    """At most so many changes: modules that changed alike are put together where there are more than fit.

    Renamed modules explain nothing and are left out.
    """
    changes = [change for change in changes if change.kind != "renamed"]
    depth = max((_depth(change.path) for change in changes), default=0)
    while len(changes) > shown and depth > 1:
        top = sum(map(_weight, changes[:shown]))
        if 4 * top >= 3 * sum(map(_weight, changes)):
            break  # the few that are shown say most of it
        depth -= 1
        changes = _rolled_up(changes, depth)
    return changes[:shown]


def _rolled_up(changes: Iterable[ModuleChange], depth: int) -> list[ModuleChange]:
    """What lies deeper than that, as a change of the module at that depth."""
    groups: dict[str, list[ModuleChange]] = {}
    for change in changes:
        groups.setdefault(".".join(change.path.split(".")[:depth]), []).append(change)
    merged = []
    for path, group in groups.items():
        delta = sum(change.delta for change in group)
        alone = len(group) == 1 and group[0].path == path
        merged.append(group[0] if alone else ModuleChange(path, "grown" if delta > 0 else "shrunk", delta))
    return sorted(filter(_weight, merged), key=_weight, reverse=True)


def _weight(change: ModuleChange) -> Figure:
    return max(change.delta, -change.delta)


def _shared(figures: Figures) -> dict[str, Figure]:
    """The modules that are less than the sum of what is right below them, and by how much."""
    parts: dict[str, Figure] = defaultdict(int)
    for path, figure in figures.items():
        if path:
            parts[_parent(path)] += figure
    excess = {path: figure - figures.get(path, 0) for path, figure in parts.items()}
    return {path: figure for path, figure in excess.items() if figure > 0}


def _roots(here: Figures, there: Figures) -> list[str]:
    """The modules that are only here, without those below them."""
    only = [path for path in here if path not in there]
    return [path for path in only if _parent(path) in there or _parent(path) not in here]


def _renamed(gone: Iterable[str], new: Iterable[str], before: Figures, after: Figures) -> dict[str, str]:
    """New path -> old path, of subtrees that are alike figure by figure."""
    known: dict[object, list[str]] = defaultdict(list)
    for path in gone:
        if before[path]:  # everything without work or weight is alike
            known[_shape(path, before)].append(path)
    renamed = {}
    for path in new:
        if candidates := known[_shape(path, after)]:
            renamed[path] = candidates.pop(0)
    return renamed


def _shape(root: str, figures: Figures) -> frozenset[tuple[str, Figure]]:
    return frozenset(
        (path[len(root) :], figure) for path, figure in figures.items() if path == root or path.startswith(f"{root}.")
    )


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0
