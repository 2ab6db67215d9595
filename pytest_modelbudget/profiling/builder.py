"""From call trees to the profile of a model: each module's own work, and what is below it, by path."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_modelbudget.profiling.anatomy import CONTAINERS
from pytest_modelbudget.profiling.operators import operators_of
from pytest_modelbudget.profiling.profile import MemoryCourse, ModuleProfile, Profile, Shape, module_profile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_modelbudget.profiling.anatomy import Anatomy
    from pytest_modelbudget.profiling.calls import CallTree, Path, Work
    from pytest_modelbudget.profiling.memory import Account, Course, Peak


Unknown: TypeAlias = "defaultdict[str, Counter[str]]"
"""Operators of unknown cost and how often they ran, by the path of the module that ran them."""


class _Row:
    """What ran in one module: first in itself, then also below it. `made`: bytes alive at the peak."""

    __slots__ = (
        *("activations", "backward_flops", "backward_macs", "calls", "elementwise", "flops", "inputs", "macs"),
        *("made", "output_elements", "outputs", "read", "written"),
    )

    def __init__(self) -> None:
        self.calls = self.output_elements = self.made = 0
        self.inputs: tuple[Shape, ...] = ()
        self.outputs: tuple[Shape, ...] = ()
        self.macs = self.flops = self.elementwise = self.activations = self.read = self.written = 0
        self.backward_macs = self.backward_flops = 0

    def called(self, tree: CallTree) -> None:
        self.calls += 1
        for shape in tree.outputs:
            self.output_elements += prod(shape)
        if self.calls == 1:
            self.inputs, self.outputs = tree.inputs, tree.outputs

    def add(self, other: _Row) -> None:
        self.macs += other.macs
        self.flops += other.flops
        self.elementwise += other.elementwise
        self.activations += other.activations
        self.read += other.read
        self.written += other.written
        self.made += other.made

    def add_backward(self, other: _Row) -> None:
        self.backward_macs += other.backward_macs
        self.backward_flops += other.backward_flops


class ProfileBuilder:
    """Builds profiles of one model.

    Args:
        anatomy: of the model.
        flops_per_mac: None where compute was not observed.
    """

    def __init__(self, anatomy: Anatomy, flops_per_mac: int | None) -> None:
        self.paths = anatomy.paths()
        self._anatomy = anatomy
        self._flops_per_mac = flops_per_mac
        self._shared = len(self.paths) < len(anatomy.numbers)
        self._parents = {path: path.rpartition(".")[0] for path in anatomy.numbers if path}
        self._is_container = {kind: issubclass(kind, CONTAINERS) for kind in set(anatomy.kinds.values())}

    def build(
        self,
        trees: list[tuple[CallTree, str]],
        *,
        outside: Iterable[tuple[str, list[Work]]] = (),
        backward: dict[Path, list[Work]] | None = None,
        memory: Account | None = None,
        beside: int = 0,
        inputs: tuple[Shape, ...] = (),
        batch: int | None = None,
        device: str = "",
    ) -> Profile:
        """The profile of what `trees`, each at a path, and `outside` and `backward` hold together.

        `beside` is what the model holds that `memory`, of a part of it, knows nothing of: in bytes.
        """
        rows = {path: _Row() for path in self._anatomy.numbers}
        uncounted: Unknown = defaultdict(Counter)
        ran: list[Work] = []
        outside = list(outside)
        for tree, path in trees:
            self._add_tree(rows, uncounted, ran, tree, path)
            for wrapper in self._wrappers_of(path):  # their methods called it
                rows[wrapper].called(tree)
        for path, works in outside:
            _add_forward(rows[path], uncounted, path, works)
            ran += works
        for chain, works in (backward or {}).items():
            path = self._path_of_chain(chain)
            _add_backward(rows[path], uncounted, path, works)
        for path, names in self._anatomy.machine_code.items():
            if rows[path].calls:
                for name in names:
                    uncounted[path][name] += rows[path].calls
        peak = None if memory is None or self._flops_per_mac is None else memory.peak().with_held(beside)
        for chain, made in () if peak is None else peak.made.items():
            rows[self._path_of_chain(chain)].made += made
        # Parents come before their children: backwards, each row is complete when its parent takes it in.
        for path, parent in reversed(self._parents.items()):
            rows[parent].add(rows[path])
            if backward:
                rows[parent].add_backward(rows[path])
        modules = self._modules(
            rows, measured=bool(trees or outside), ran_backward=bool(backward), held=peak is not None
        )
        if peak is not None:
            modules[""] = replace(modules[""], memory=peak.bytes)
        root = modules[""]
        return Profile(
            model=root.type,
            params=root.params,
            trainable_params=root.trainable_params,
            size=root.size,
            macs=root.macs,
            flops=root.flops,
            elementwise_flops=root.elementwise_flops,
            backward_flops=root.backward_flops,
            activations=root.activations,
            read=root.read,
            written=root.written,
            **({} if memory is None or peak is None else self._memory(peak, memory.course().with_held(beside))),
            uncounted=dict(sorted(sum(uncounted.values(), Counter()).items())),
            uncounted_in={path: dict(sorted(names.items())) for path, names in sorted(uncounted.items())},
            operators={}
            if self._flops_per_mac is None
            else operators_of(
                ran, [work for works in (backward or {}).values() for work in works], self._flops_per_mac
            ),
            modules=modules,
            batch=batch,
            inputs=", ".join("x".join(map(str, shape)) or "scalar" for shape in inputs),
            device=device,
            how="observed",
            flops_per_mac=self._flops_per_mac or 2,
            calls=max(root.calls, 1) if trees or outside else 0,
            notes=self._anatomy.notes,
        )

    def _wrappers_of(self, path: str) -> list[str]:
        """The modules around that at `path` that only wrap it, the model itself first; none where it is a mere part."""
        wrapped = self._wrapped if path else ()
        return ["", *wrapped[: wrapped.index(path)]] if path in wrapped else []

    @cached_property
    def _wrapped(self) -> list[str]:
        return self._anatomy.wrapped()

    def size_beside(self, path: str) -> int:
        """The bytes of what the model holds beside the part at `path`."""
        states = self._anatomy.states
        return states[""].size - states[path].size

    def _memory(self, peak: Peak, course: Course) -> dict[str, Any]:
        chain, operator = peak.where
        path_of = self._path_of_chain
        return {
            "memory": peak.bytes,
            "memory_by_kind": peak.by_kind,
            "memory_at": (self._path_of_chain(chain), operator),
            "memory_course": MemoryCourse(
                points=tuple([(birth, alive, path_of(path)) for birth, alive, path in course.samples]),
                storages=course.births,
                forward=course.in_forward,
            ),
        }

    def _modules(
        self, rows: dict[str, _Row], *, measured: bool, ran_backward: bool, held: bool
    ) -> dict[str, ModuleProfile]:
        kinds, states = self._anatomy.kinds, self._anatomy.states
        flops_per_mac = self._flops_per_mac if measured else None
        modules = {}
        for path, row in rows.items():
            kind = kinds[path]
            params, trainable_params, size = states[path]
            figures = {
                "type": kind.__name__,
                "is_container": self._is_container[kind],
                "same_as": self._same_as(path) if self._shared else None,
                "calls": row.calls,
                "params": params,
                "trainable_params": trainable_params,
                "size": size,
                "input_shapes": row.inputs,
                "output_shapes": row.outputs,
                "output_elements": row.output_elements,
            }
            if flops_per_mac is not None:
                figures["macs"] = row.macs
                figures["flops"] = flops_per_mac * row.macs + row.flops
                figures["elementwise_flops"] = row.elementwise
                figures["activations"] = row.activations
                figures["read"] = row.read
                figures["written"] = row.written
                if ran_backward:
                    figures["backward_flops"] = flops_per_mac * row.backward_macs + row.backward_flops
                if held:
                    figures["memory"] = size + row.made
            modules[path] = module_profile(figures)
        return modules

    def _same_as(self, path: str) -> str | None:
        first = self.paths[self._anatomy.numbers[path]][0]
        return None if first == path else first

    def _add_tree(self, rows: dict[str, _Row], uncounted: Unknown, ran: list[Work], tree: CallTree, path: str) -> None:
        row = rows[path]
        if tree.module == self._anatomy.numbers[path]:  # else a module from elsewhere, part of its caller's work
            row.called(tree)
        if tree.work:
            _add_forward(row, uncounted, path, tree.work)
            ran += tree.work
        for child in tree.children:
            places = self.paths.get(child.module)
            where = places[0] if places and len(places) == 1 else self._path_of(child.module, path)
            self._add_tree(rows, uncounted, ran, child, where)

    def _path_of(self, number: int, caller: str) -> str:
        """Where a called module stands in the model; a module from elsewhere stands where its caller does."""
        paths = self.paths.get(number)
        if paths is None:
            return caller
        if len(paths) == 1:
            return paths[0]
        return max(paths, key=lambda path: _shared_prefix(path, caller))

    def _path_of_chain(self, chain: Path) -> str:
        last = self.paths.get(chain[-1]) if chain else None
        if last is not None and len(last) == 1:
            return last[0]
        path = ""
        for number in chain:
            path = self._path_of(number, path)
        return path


def _add_forward(row: _Row, uncounted: Unknown, path: str, works: Iterable[Work]) -> None:
    for operator, cost, (read, written) in works:
        row.read += read
        row.written += written
        if cost is None:
            uncounted[path][operator] += 1
        else:
            macs, flops, elementwise, activations = cost
            row.macs += macs
            row.flops += flops
            row.elementwise += elementwise
            row.activations += activations


def _add_backward(row: _Row, uncounted: Unknown, path: str, works: Iterable[Work]) -> None:
    for operator, cost, _ in works:
        if cost is None:
            uncounted[path][operator] += 1
        else:
            row.backward_macs += cost.macs
            row.backward_flops += cost.flops


def _shared_prefix(path: str, other: str) -> int:
    shared = 0
    for mine, theirs in zip(path.split("."), other.split("."), strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared
