"""Where the marks of an item stand, closest first. Light: every collection uses it."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.catalogue import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import _pytest.nodes


class Node:
    """Marks that stand in one place, as a function's decorators do: two of them with one key contradict each other.

    Attributes:
        marks: ours, of this place.
        owner: the function, class or module in whose source they stand; None for marks added at run time.
        direct: whether they were meant for this very test.
    """

    __slots__ = ("direct", "marks", "owner")

    def __init__(self, marks: Sequence[pytest.Mark], owner: object, *, direct: bool) -> None:
        self.marks = marks
        self.owner = owner
        self.direct = direct


def is_marked(item: pytest.Item) -> bool:
    """Whether any of our marks concerns an item. Asked of every test, so: fast."""
    for mark in item.iter_markers():  # noqa: SIM110 - any() with a generator takes twice as long
        if mark.name in MARKS:
            return True
    return False


def nodes_of(item: pytest.Item) -> Iterator[Node]:
    """The places where an item's marks stand, closest first.

    `item.get_closest_marker` will not do: it puts the function before `pytest.param` (pytest#10406) and base classes
    before derived ones (pytest#14329).
    """
    function = getattr(item, "function", None)
    on_param = _ours(getattr(getattr(item, "callspec", None), "marks", ()))
    on_function = _ours(_stored(function))
    yield Node(_added(item, on_param, on_function), None, direct=True)
    yield Node(on_param, function, direct=True)
    cls = getattr(item, "cls", None)
    bases = () if cls is None else cls.__mro__
    # The function comes after the classes that inherit it, and before the one that defines it.
    name = getattr(item, "originalname", item.name)
    defining = next((base for base in bases if name in vars(base)), None)
    inheriting = bases[: bases.index(defining)] if defining in bases else ()
    for base in inheriting:
        yield Node(_ours(_stored(base)), base, direct=False)
    yield Node(on_function, function, direct=True)
    for base in bases[len(inheriting) :]:
        yield Node(_ours(_stored(base)), base, direct=False)
    for parent in reversed(item.listchain()[:-1]):
        owner = getattr(parent, "obj", None)
        places = [Node(_ours(_stored(owner)), owner, direct=False) for owner in _bases(owner)]
        yield Node(_added(parent, *(place.marks for place in places)), None, direct=False)
        if owner is not cls:
            yield from places


def nodes_below(
    collector: pytest.Collector, collected: Iterable[pytest.Item | pytest.Collector]
) -> Iterator[tuple[Node, pytest.Item | pytest.Collector]]:
    """The places of all marks that a collector's report is responsible for, each with a node to report it for.

    Classes are collected after their module; looking into them already here puts all of a module into one report.
    """
    if isinstance(collector, pytest.Module):
        yield Node(_ours(_stored(collector.obj)), collector.obj, direct=False), collector
    for node in collected:
        if isinstance(node, pytest.Item):
            if is_marked(node):
                yield from ((place, node) for place in nodes_of(node))
        elif isinstance(node, pytest.Class):
            for base in node.obj.__mro__:
                yield Node(_ours(_stored(base)), base, direct=False), node
                for value in vars(base).values():
                    function = getattr(value, "__func__", value)
                    if isinstance(function, FunctionType):
                        yield Node(_ours(_stored(function)), function, direct=True), node


def _bases(owner: object) -> Sequence[object]:
    if isinstance(owner, type):
        return owner.__mro__
    return (owner,) if isinstance(owner, ModuleType) else ()


def _stored(owner: object) -> Iterable[pytest.Mark]:
    """The marks on a function, module or class, without those of its bases."""
    stored = vars(owner).get("pytestmark", ()) if isinstance(owner, type) else getattr(owner, "pytestmark", ())
    for mark in stored if isinstance(stored, (list, tuple)) else (stored,):
        bare = getattr(mark, "mark", mark)  # in lists written by hand stand MarkDecorators
        if isinstance(bare, pytest.Mark):
            yield bare


def _ours(marks: Iterable[pytest.Mark]) -> list[pytest.Mark]:
    return [mark for mark in marks if mark.name in MARKS]


def _added(node: _pytest.nodes.Node, *written: Sequence[pytest.Mark]) -> list[pytest.Mark]:
    """Marks that a hook or fixture added: those that nothing in the source holds. Equal marks are not the same mark."""
    ids = {id(mark) for marks in written for mark in marks}
    return [mark for mark in _ours(node.own_markers) if id(mark) not in ids]
