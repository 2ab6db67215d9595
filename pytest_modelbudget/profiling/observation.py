"""What one stretch of code did to which modules, and the profiles of a model drawn from it."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import nn

from pytest_modelbudget.profiling.compilation import binaries_in, eager, unwarned
from pytest_modelbudget.profiling.modules import Call, CallTree, ModuleTracker, Path, Work, unobserved
from pytest_modelbudget.profiling.operators import operators_of
from pytest_modelbudget.profiling.parameters import State, UninitializedModelError, paths_of, states_and_bytes
from pytest_modelbudget.profiling.profile import MemoryCourse, ModuleProfile, Profile, Shape, module_profile
from pytest_modelbudget.profiling.recorder import Recorder
from pytest_modelbudget.profiling.sharding import notes_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from typing_extensions import Self

    from pytest_modelbudget.profiling.memory import Account, Course, Peak

T = TypeVar("T")

WRAPPED = ("module", "_orig_mod")
"""The names under which DataParallel, DistributedDataParallel and `torch.compile` keep the model they wrap."""


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Anatomy(NamedTuple):
    """A model as it was when it was looked at: its modules by path and what they hold."""

    numbers: dict[str, int]
    types: dict[str, str]
    containers: dict[str, bool]
    states: dict[str, State]
    binaries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def paths(self) -> dict[int, list[str]]:
        """The paths of each module."""
        paths: dict[int, list[str]] = {}
        for path, number in self.numbers.items():
            paths.setdefault(number, []).append(path)
        return paths


@dataclass(slots=True)
class _Row:
    """What ran in one module itself, not below it."""

    calls: int = 0
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    output_elements: int = 0
    macs: int = 0
    flops: int = 0
    elementwise: int = 0
    activations: int = 0
    read: int = 0
    written: int = 0
    backward_macs: int = 0
    backward_flops: int = 0
    made: int = 0
    """Bytes alive at the peak."""

    def add(self, other: _Row) -> None:
        self.macs += other.macs
        self.flops += other.flops
        self.elementwise += other.elementwise
        self.activations += other.activations
        self.read += other.read
        self.written += other.written
        self.backward_macs += other.backward_macs
        self.backward_flops += other.backward_flops
        self.made += other.made


class Observation:
    """Observes everything that runs in the blocks of `with observation.under(frame)`.

    Args:
        compute: whether operators are recorded; otherwise only which modules are called.
        compiled: whether compiled code may run compiled, unseen.
        specify: makes what is needed to repeat a call of `(module, args, kwargs)`; None: calls are not repeated.
        tracker: follows the module calls, where they need not be looked at or repeated.
    """

    def __init__(
        self,
        *,
        compute: bool = True,
        compiled: bool = False,
        specify: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any] | None = None,
        tracker: ModuleTracker | None = None,
    ) -> None:
        self.compute = compute
        self._compiled = compiled
        self._specify = specify
        self._anatomies: dict[int, Anatomy] = {}
        self._kept: dict[int, nn.Module] = {}
        """What may have to be called again, and must not be gone by then."""
        self.uninitialized: dict[int, str] = {}
        """Modules that were used and could not be looked at, and why."""
        self.tracker = tracker or ModuleTracker(self._on_call, self._on_return, self._note)

    @contextmanager
    def under(
        self, base: FrameType, mode: Callable[[Any], AbstractContextManager[object]] = Recorder
    ) -> Iterator[Self]:
        """Observe the block, which runs under the frame `base`, by the `mode` that runs and books its operators."""
        with ExitStack() as stack:
            stack.enter_context(unwarned())
            stack.enter_context(self.tracker.under(base))
            if self.compute:
                if not self._compiled:
                    stack.enter_context(eager())
                stack.enter_context(mode(self.tracker))
            yield self

    def _on_call(self, call: Call, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._specify is not None:
            with unobserved():
                call.specification = self._specify(module, args, kwargs)

    def _on_return(self, call: Call, module: nn.Module) -> None:  # noqa: ARG002
        # After the call, because only then a lazy module has its parameters.
        self._note((call.module, *call.selves))

    def _note(self, numbers: Path) -> None:
        """Look at modules while they are there: a model that the test builds may be gone when the test is over."""
        with unobserved():
            for number in numbers:
                module = self.tracker.numbers.module(number)
                if module is not None and self._specify is not None:
                    self._kept[number] = module
                if module is not None and number not in self._anatomies:
                    try:
                        self.look_at(module)
                    except UninitializedModelError as error:
                        self.uninitialized[number] = str(error)

    # -- who contains whom --------------------------------------------------------------------------------------

    def look_at(self, module: nn.Module) -> int:
        """Note what `module` is made of, and return its number."""
        parts = paths_of(module)
        numbers = {path: self.tracker.numbers[part] for path, part in parts}
        types = {path: type(part).__name__ for path, part in parts}
        containers = {path: isinstance(part, _CONTAINERS) for path, part in parts}
        binaries = tuple([path for path, part in parts if binaries_in(part)])
        number = numbers[""]
        states, held = states_and_bytes(parts)
        self._anatomies[number] = Anatomy(numbers, types, containers, states, binaries, notes_on(module))
        if held is not None:
            self.tracker.will_hold(number, *held)
        return number

    def anatomy(self, number: int) -> Anatomy:
        """What was noted of the module with that number."""
        return self._anatomies[number]

    def has(self, number: int) -> bool:
        """Whether the module with that number has been looked at."""
        return number in self._anatomies

    def contains(self, outer: int, inner: int) -> bool:
        """Whether `inner` is `outer` or below it."""
        return outer == inner or (outer in self._anatomies and inner in self._anatomies[outer].numbers.values())

    def unwrapped(self, number: int) -> int:
        """The model inside of wrappers such as DataParallel and compiled modules."""
        while True:
            anatomy = self._anatomies.get(number)
            children = [path for path in anatomy.numbers if path and "." not in path] if anatomy else []
            if anatomy is None or len(children) != 1 or children[0] not in WRAPPED:
                return number
            if anatomy.states[""] != anatomy.states[children[0]] or self._works_itself(number):
                return number  # no wrapper: it adds to what is in it
            inner = anatomy.numbers[children[0]]
            if inner not in self._anatomies:
                self._anatomies[inner] = Anatomy(
                    numbers=_below(anatomy.numbers, children[0]),
                    types=_below(anatomy.types, children[0]),
                    containers=_below(anatomy.containers, children[0]),
                    states=_below(anatomy.states, children[0]),
                    binaries=tuple(_below(dict.fromkeys(anatomy.binaries, True), children[0])),
                    notes=anatomy.notes,
                )
            number = inner

    def outside(self) -> Iterator[tuple[Path, list[Work]]]:
        """Work outside every module call, with the modules whose methods did it, innermost first.

        Methods that merely copy, as `load_state_dict` does, put no model to work.
        """
        for selves, works in self.tracker.outside.items():
            if selves and any(work.cost is None or any(work.cost) for work in works):
                yield selves, works

    def _works_itself(self, number: int) -> bool:
        """Whether contractions ran in the module itself, in none of its parts."""
        works = [
            work
            for call in self.tracker.calls
            if call.tree
            for tree in call.tree.walk()
            if tree.module == number
            for work in tree.work
        ]
        for selves, outside in self.tracker.outside.items():
            if selves and selves[0] == number:
                works += outside
        return any(work.cost is None or work.cost.macs or work.cost.flops for work in works)

    # -- profiles -----------------------------------------------------------------------------------------------

    def profiles(self, number: int, flops_per_mac: int) -> list[tuple[Profile, int]]:
        """The distinct calls of a model, in the order of the first of each, and how often each of them came.

        Work of the model's parts outside a call of the model itself is summed into one further call, the last.
        Without any call there is one profile of what the model holds.
        """
        builder = _ProfileBuilder(self._anatomies[number], flops_per_mac if self.compute else None)
        profiles: dict[Any, tuple[Profile, int]] = {}
        parts: list[tuple[Call, CallTree, str]] = []
        for call in self.tracker.calls:
            if call.tree is None:
                continue
            trees = list(_outermost(call.tree, number))
            if not trees and self.contains(number, call.module):
                parts.append((call, call.tree, builder.paths[call.module][0]))
            for tree in trees:
                backward = _backward_of(call, number) if tree is trees[0] else {}
                is_whole = self.unwrapped(call.module) == number
                peak = call.memory.peak() if is_whole else None
                key = (
                    tree,
                    tuple((path, tuple(works)) for path, works in backward.items()),
                    call.batch,
                    call.device,
                    peak and (peak.bytes, *peak.by_kind.values()),
                )
                if key in profiles:
                    profile, count = profiles[key]
                    profiles[key] = profile, count + 1
                else:
                    profile = builder.build(
                        [(tree, "")],
                        backward=backward,
                        memory=call.memory if is_whole else None,
                        inputs=call.inputs if is_whole else tree.inputs,
                        batch=call.batch if is_whole else _batch_of(tree.inputs),
                        device=call.device,
                    )
                    profiles[key] = profile, 1
        found = list(profiles.values())
        outside = self._outside_of(builder)
        if parts or outside:
            backward = {}
            for call, _, _ in parts:
                for chain, works in call.backward.items():
                    backward.setdefault(chain, []).extend(works)
            first = parts[0][0] if parts else None
            profile = builder.build(
                [(tree, path) for _, tree, path in parts],
                outside=outside,
                backward=backward,
                memory=max((call.memory for call, _, _ in parts), key=lambda memory: memory.peak().bytes, default=None),
                inputs=first.inputs if first else (),
                batch=first.batch if first else None,
                device=first.device if first else "",
            )
            found.append((profile, 1))
        return found or [(builder.build([]), 0)]

    def together(self, number: int, flops_per_mac: int) -> Profile:
        """All calls of a model and all other work of its parts in one profile.

        A call that the profiler itself makes may become several: hooks that call the model again, generators.
        """
        profiles = self.profiles(number, flops_per_mac)
        if len(profiles) == 1 and profiles[0][1] <= 1:
            return profiles[0][0]
        builder = _ProfileBuilder(self._anatomies[number], flops_per_mac if self.compute else None)
        trees: list[tuple[CallTree, str]] = []
        backward: dict[Path, list[Work]] = {}
        for call in self.tracker.calls:
            if call.tree is None:
                continue
            whole = [(tree, "") for tree in _outermost(call.tree, number)]
            is_part = not whole and self.contains(number, call.module)
            trees += [(call.tree, builder.paths[call.module][0])] if is_part else whole
            for chain, works in (call.backward if is_part else _backward_of(call, number)).items():
                backward.setdefault(chain, []).extend(works)
        first = profiles[0][0]
        profile = builder.build(
            trees,
            outside=self._outside_of(builder),
            backward=backward,
        )
        most = max((profile for profile, _ in profiles), key=lambda profile: profile.memory or 0)
        for path, module in most.modules.items():
            profile.modules[path] = replace(profile.modules[path], memory=module.memory)
        return replace(
            profile,
            memory=most.memory,
            memory_by_kind=most.memory_by_kind,
            memory_at=most.memory_at,
            memory_course=most.memory_course,
            batch=first.batch,
            inputs=first.inputs,
            device=first.device,
        )

    def _outside_of(self, builder: _ProfileBuilder) -> list[tuple[str, list[Work]]]:
        return [(builder.paths[selves[0]][0], works) for selves, works in self.outside() if selves[0] in builder.paths]

    def has_stray_contractions(self) -> bool:
        """Whether contractions ran in no module, as those of a model written as a function do."""
        strays = self.tracker.outside.get((), ())
        return any(work.cost is not None and (work.cost.macs or work.cost.flops) for work in strays)

    def ran_unseen(self, number: int) -> bool:
        """Whether the model or a part of it was called in another thread, where operators cannot be seen."""
        return any(self.contains(number, module) for module in self.tracker.unseen)


class _ProfileBuilder:
    """Builds profiles of one model from call trees."""

    def __init__(self, anatomy: Anatomy, flops_per_mac: int | None) -> None:
        self.anatomy = anatomy
        self.paths = anatomy.paths()
        self.flops_per_mac = flops_per_mac
        self.ran_backward = False

    def build(
        self,
        trees: list[tuple[CallTree, str]],
        *,
        outside: Iterable[tuple[str, list[Work]]] = (),
        backward: dict[Path, list[Work]] | None = None,
        memory: Account | None = None,
        inputs: tuple[Shape, ...] = (),
        batch: int | None = None,
        device: str = "",
    ) -> Profile:
        self.ran_backward = bool(backward)
        rows = {path: _Row() for path in self.anatomy.numbers}
        uncounted: Counter[str] = Counter()
        ran: list[Work] = []
        outside = list(outside)
        for tree, path in trees:
            self._add_tree(rows, uncounted, ran, tree, path)
        for path, works in outside:
            _add_forward(rows[path], uncounted, works)
            ran += works
        for chain, works in (backward or {}).items():
            _add_backward(rows[self._path_of_chain(chain)], uncounted, works)
        for path in self.anatomy.binaries:
            if rows[path].calls:
                uncounted["AOTInductor's machine code"] += rows[path].calls
        peak = None if memory is None or self.flops_per_mac is None else memory.peak()
        for chain, made in () if peak is None else peak.made.items():
            rows[self._path_of_chain(chain)].made += made
        # Parents come before their children: backwards, each row is complete when its parent takes it in.
        for path in reversed(rows):
            if path:
                rows[path.rpartition(".")[0]].add(rows[path])
        modules = {
            path: self._module(path, row, measured=bool(trees or outside), held=peak is not None)
            for path, row in rows.items()
        }
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
            **({} if memory is None or peak is None else self._memory(peak, memory.course())),
            uncounted=dict(sorted(uncounted.items())),
            operators={}
            if self.flops_per_mac is None
            else operators_of(ran, (work for works in (backward or {}).values() for work in works), self.flops_per_mac),
            modules=modules,
            batch=batch,
            inputs=", ".join("x".join(map(str, shape)) or "scalar" for shape in inputs),
            device=device,
            how="observed",
            flops_per_mac=self.flops_per_mac or 2,
            calls=max(root.calls, 1) if trees or outside else 0,
            notes=self.anatomy.notes,
        )

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

    def _module(self, path: str, row: _Row, *, measured: bool, held: bool) -> ModuleProfile:
        params, trainable_params, size = self.anatomy.states[path]
        compute: dict[str, int] = {}
        if self.flops_per_mac is not None and measured:
            compute = {
                "macs": row.macs,
                "flops": self.flops_per_mac * row.macs + row.flops,
                "elementwise_flops": row.elementwise,
                "activations": row.activations,
                "read": row.read,
                "written": row.written,
            }
            if self.ran_backward:
                compute["backward_flops"] = self.flops_per_mac * row.backward_macs + row.backward_flops
            if held:
                compute["memory"] = size + row.made
        return module_profile(
            type=self.anatomy.types[path],
            is_container=self.anatomy.containers[path],
            same_as=None if len(self.paths) == len(self.anatomy.numbers) else self._same_as(path),
            calls=row.calls,
            params=params,
            trainable_params=trainable_params,
            size=size,
            input_shapes=row.inputs,
            output_shapes=row.outputs,
            output_elements=row.output_elements,
            **compute,
        )

    def _same_as(self, path: str) -> str | None:
        first = self.paths[self.anatomy.numbers[path]][0]
        return None if first == path else first

    def _add_tree(
        self, rows: dict[str, _Row], uncounted: Counter[str], ran: list[Work], tree: CallTree, path: str
    ) -> None:
        row = rows[path]
        if tree.module == self.anatomy.numbers[path]:  # else a module from elsewhere, part of its caller's work
            row.calls += 1
            for shape in tree.outputs:
                row.output_elements += prod(shape)
            if row.calls == 1:
                row.inputs, row.outputs = tree.inputs, tree.outputs
        if tree.work:
            _add_forward(row, uncounted, tree.work)
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


def _add_forward(row: _Row, uncounted: Counter[str], works: Iterable[Work]) -> None:
    for operator, cost, (read, written) in works:
        row.read += read
        row.written += written
        if cost is None:
            uncounted[operator] += 1
        else:
            macs, flops, elementwise, activations = cost
            row.macs += macs
            row.flops += flops
            row.elementwise += elementwise
            row.activations += activations


def _add_backward(row: _Row, uncounted: Counter[str], works: Iterable[Work]) -> None:
    for operator, cost, _ in works:
        if cost is None:
            uncounted[operator] += 1
        else:
            row.backward_macs += cost.macs
            row.backward_flops += cost.flops


def _outermost(tree: CallTree, number: int) -> Iterator[CallTree]:
    if tree.module == number:
        yield tree
    else:
        for child in tree.children:
            yield from _outermost(child, number)


def _backward_of(call: Call, number: int) -> dict[Path, list[Work]]:
    return {path[path.index(number) :]: works for path, works in call.backward.items() if number in path}


def _batch_of(shapes: tuple[Shape, ...]) -> int | None:
    return shapes[0][0] if shapes and shapes[0] else None


def _below(table: dict[str, T], prefix: str) -> dict[str, T]:
    """The rows of `prefix` and of what is below it, by their paths from there."""
    return {path[len(prefix) + 1 :]: row for path, row in table.items() if f"{path}.".startswith(f"{prefix}.")}


def _shared_prefix(path: str, other: str) -> int:
    shared = 0
    for mine, theirs in zip(path.split("."), other.split("."), strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared
