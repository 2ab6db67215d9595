"""The modules of a profile as the rows of a table: sorted, cut at a depth, equal neighbours in one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_modelbudget.profiling.profile import ModuleProfile

    Look = Callable[[ModuleProfile], object]
    """What of a module the table shows: modules of which this is equal may share a row."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: the last part of the path, `1-3` for equal neighbours, `""` for the model.
        module: its figures; of equal modules those of the first.
        equals: for how many equal neighbours it stands.
        times: the same for all rows around it, multiplied: what its figures are to be multiplied by.
        is_last: for each level down to its own, whether nothing follows there.
        is_idle: neither it nor anything below it was called, nor did it work.
        has_parts: whether modules below it are shown.
    """

    name: str
    module: ModuleProfile
    equals: int
    times: int
    is_last: tuple[bool, ...]
    is_idle: bool
    has_parts: bool


@dataclass
class _Node:
    name: str
    module: ModuleProfile
    children: list[_Node] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        works = self.module.calls or self.module.flops or self.module.elementwise_flops
        return not works and all(child.is_idle for child in self.children)


def rows_of(
    modules: Mapping[str, ModuleProfile],
    *,
    depth: int | None,
    order: Callable[[ModuleProfile], float] | None,
    look: Look | None,
) -> list[Row]:
    """The rows, the model first.

    Args:
        modules: by path, parents before their children.
        depth: levels below the model to show; None: all.
        order: siblings with more of this come first; None: as they are defined.
        look: what makes neighbours equal; None: each module has its own row.
    """
    nodes: dict[str, _Node] = {}
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        nodes[path] = _Node(name, module)
        if path:
            nodes[parent].children.append(nodes[path])
    if order is not None:
        for node in nodes.values():
            node.children.sort(key=lambda child: -order(child.module))  # stable
    return list(_rows(nodes[""], "", 1, 1, (), depth, look))


def _rows(
    node: _Node, name: str, equals: int, times: int, is_last: tuple[bool, ...], depth: int | None, look: Look | None
) -> Iterator[Row]:
    groups = [] if depth is not None and len(is_last) >= depth else _groups(node.children, look)
    yield Row(name, node.module, equals, times, is_last, node.is_idle, bool(groups))
    for index, group in enumerate(groups):
        first, last = group[0], group[-1]
        label = first.name if first is last else span(first.name, last.name)
        below = (*is_last, index + 1 == len(groups))
        yield from _rows(first, label, len(group), times * len(group), below, depth, look)


def _groups(nodes: list[_Node], look: Look | None) -> list[list[_Node]]:
    groups: list[list[_Node]] = []
    for node in nodes:
        last = groups[-1][-1] if groups else None
        if last is not None and look is not None and is_next(last.name, node.name) and _equal(last, node, look):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def is_next(name: str, other: str) -> bool:
    """Only what is numbered can be named by its ends: `0`, `1`; `layer_9`, `layer_10`."""
    (stem, number), (other_stem, following) = _numbered(name), _numbered(other)
    return bool(number and following) and stem == other_stem and int(number) + 1 == int(following)


def span(first: str, last: str) -> str:
    """`layer_9-10`: neighbours by the first and the last of them."""
    return f"{first}-{_numbered(last)[1]}"


def _numbered(name: str) -> tuple[str, str]:
    """`layer_10` -> `layer_`, `10`."""
    stem = name.rstrip("0123456789")
    return stem, name[len(stem) :]


def _equal(node: _Node, other: _Node, look: Look) -> bool:
    return (
        look(node.module) == look(other.module)
        and len(node.children) == len(other.children)
        and all(
            mine.name == theirs.name and _equal(mine, theirs, look)
            for mine, theirs in zip(node.children, other.children, strict=True)
        )
    )
