"""What a model is made of, as it was when it was looked at: its modules by path and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import nn

from pytest_modelbudget.profiling.compilation import machine_code_among
from pytest_modelbudget.profiling.parameters import State, states_and_bytes
from pytest_modelbudget.profiling.sharding import notes_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_modelbudget.profiling.parameters import Parts

T = TypeVar("T")

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Anatomy(NamedTuple):
    """A model as it was when it was looked at.

    Attributes:
        numbers: what the tracker calls the modules, by path; the model itself, `""`, comes first.
        kinds: their classes.
        states: what they hold.
        machine_code: by the path of a module, what it runs past PyTorch's dispatcher each time it is called.
        notes: what a reader must know to trust the figures.
    """

    numbers: dict[str, int]
    kinds: dict[str, type[nn.Module]]
    states: dict[str, State]
    machine_code: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def paths(self) -> dict[int, list[str]]:
        """The paths of each module."""
        paths: dict[int, list[str]] = {}
        for path, number in self.numbers.items():
            if number in paths:
                paths[number].append(path)
            else:
                paths[number] = [path]
        return paths

    def comparable(self) -> tuple[Any, ...]:
        """All that profiles are told from, without classes: first the name and the state of the model."""
        names = [kind.__name__ for kind in self.kinds.values()]
        are_containers = {kind: issubclass(kind, CONTAINERS) for kind in set(self.kinds.values())}
        flags = [are_containers[kind] for kind in self.kinds.values()]
        return (names[0], self.states[""]), self.numbers, self.states, names, flags, self.machine_code, self.notes

    def wrapped(self) -> list[str]:
        """The paths of the modules that are all there is in the model: its only child, the only child of that."""
        found: list[str] = []
        children = self._children("")
        while len(children) == 1 and self.states[""].size and self.states[children[0]] == self.states[""]:
            found += children
            children = self._children(children[0])
        return found

    def _children(self, parent: str) -> list[str]:
        below = f"{parent}." if parent else ""
        return [path for path in self.numbers if path.startswith(below) and path and "." not in path[len(below) :]]

    def part(self, child: str) -> Anatomy:
        """The anatomy of a direct child."""
        return Anatomy(
            numbers=_below(self.numbers, child),
            kinds=_below(self.kinds, child),
            states=_below(self.states, child),
            machine_code=_below(self.machine_code, child),
            notes=self.notes,
        )


def anatomy_of(parts: Parts, numbers: list[int]) -> tuple[Anatomy, tuple[int, int] | None]:
    """The anatomy of a model by its `paths_of`, and what it holds in bytes, as `states_and_bytes` returns it.

    Raises:
        UninitializedModelError: a lazy module has not seen its first input.
    """
    paths = [path for path, _ in parts]
    states, held = states_and_bytes(parts)
    anatomy = Anatomy(
        dict(zip(paths, numbers, strict=True)),
        {path: type(part) for path, part in parts},
        states,
        machine_code_among(parts),
        notes_on(parts),
    )
    return anatomy, held


def _below(table: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The rows of `prefix` and of what is below it, by their paths from there."""
    return {path[len(prefix) + 1 :]: row for path, row in table.items() if f"{path}.".startswith(f"{prefix}.")}
