"""The profiles of a model, drawn from what was observed: its distinct calls, and all that its parts did beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget.profiling.builder import ProfileBuilder

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from pytest_modelbudget.profiling.calls import Call, CallTree, Outside, Path, Work
    from pytest_modelbudget.profiling.memory import Account
    from pytest_modelbudget.profiling.observation import Observation
    from pytest_modelbudget.profiling.profile import Profile, Shape
    from pytest_modelbudget.profiling.stretch import Chain


class _Part(NamedTuple):
    """A call of a part of the model from outside a call of the model itself.

    Attributes:
        tree: what ran in the part, and `path`: where that is in the model.
    """

    call: Call
    tree: CallTree
    path: str


@dataclass(slots=True)
class _Alike:
    """Calls that did the same.

    Attributes:
        call: the one that took most memory, together with calls before it.
        tree: what ran in the model, at `path`, and `backward`: in its backward pass.
        memory: of that call, or of those.
        is_whole: whether the model itself was called.
        count: how many there were.
    """

    call: Call
    tree: CallTree
    path: str
    backward: dict[Path, list[Work]]
    memory: Account
    is_whole: bool
    count: int = 0

    def key(self) -> Hashable:
        """Equal where calls did the same and took as much memory."""
        peak = self.memory.peak() if self.is_whole else None
        return (
            self.tree,
            tuple((path, tuple(works)) for path, works in self.backward.items()),
            self.call.batch,
            self.call.device,
            peak and (peak.bytes, *peak.by_kind.values()),
        )


class Drawing:
    """What was seen of one model.

    Args:
        observation: all that was seen.
        number: of the model in it.
        flops_per_mac: 1 or 2.
    """

    def __init__(self, observation: Observation, number: int, flops_per_mac: int) -> None:
        self._observation = observation
        self._number = number
        self._builder = ProfileBuilder(observation.anatomy(number), flops_per_mac if observation.compute else None)
        self._calls = [call for call in observation.calls_of(self._builder.paths, number) if call.tree is not None]

    def profiles(self) -> list[tuple[Profile, int]]:
        """As `Observation.profiles`."""
        alike, parts = self._sorted()
        found = [(self._profile_of(each), each.count) for each in alike]
        outside, backward = self._outside()
        if parts or outside:
            found.append((self._profile_beside(parts, outside, backward), 1))
        return found or [(self._builder.build([]), 0)]

    def together(self) -> Profile:
        """As `Observation.together`."""
        profiles = self.profiles()
        if len(profiles) == 1 and profiles[0][1] <= 1:
            return profiles[0][0]
        trees: list[tuple[CallTree, str]] = []
        outside, backward = self._outside()
        for call in self._calls:
            assert call.tree is not None
            whole = [(tree, "") for tree in _outermost(call.tree, self._number)]
            is_part = not whole
            if is_part and self._is_anothers(call):
                continue
            trees += [(call.tree, self._builder.paths[call.module][0])] if is_part else whole
            for chain, works in (call.backward if is_part else _backward_of(call, self._number)).items():
                backward.setdefault(chain, []).extend(works)
        first = profiles[0][0]
        profile = self._builder.build(trees, outside=self._by_path(outside), backward=backward)
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

    def _sorted(self) -> tuple[Iterable[_Alike], list[_Part]]:
        """The distinct calls of the model, and the calls of its parts alone."""
        alike: dict[Hashable, _Alike] = {}
        parts: list[_Part] = []
        wrapped = self._observation.wrapped_in(self._number)
        chains = _chains(call for call in self._calls if self._is_whole(call))
        for call in self._calls:
            assert call.tree is not None
            trees = list(_outermost(call.tree, self._number))
            path = "" if trees else wrapped.get(call.module)
            if path != "" and self._is_anothers(call):
                continue
            if path is None:
                parts.append(_Part(call, call.tree, self._builder.paths[call.module][0]))
                continue
            for index, tree in enumerate(trees or [call.tree]):
                # All of the backward pass goes with the first.
                backward = {} if index else call.backward if path else _backward_of(call, self._number)
                this = _Alike(call, tree, path, backward, call.memory, self._is_whole(call))
                same = alike.setdefault(this.key(), this)
                same.count += 1
                if call in chains and chains[call].peak().bytes > same.memory.peak().bytes:
                    same.call, same.memory = call, chains[call]
        return alike.values(), parts

    def _profile_of(self, alike: _Alike) -> Profile:
        return self._builder.build(
            [(alike.tree, alike.path)],
            backward=alike.backward,
            memory=alike.memory if alike.is_whole else None,
            inputs=alike.call.inputs if alike.is_whole else alike.tree.inputs,
            batch=alike.call.batch if alike.is_whole else _batch_of(alike.tree.inputs),
            device=alike.call.device,
        )

    def _profile_beside(self, parts: list[_Part], outside: list[Outside], backward: dict[Path, list[Work]]) -> Profile:
        """What parts of the model did outside a call of it, together."""
        for part in parts:
            for chain, works in part.call.backward.items():
                backward.setdefault(chain, []).extend(works)
        memory, beside = max(
            self._accounts(parts), key=lambda found: found[0].peak().bytes + found[1], default=(None, 0)
        )
        first = parts[0].call if parts else outside[0]
        return self._builder.build(
            [(part.tree, part.path) for part in parts],
            outside=self._by_path(outside),
            backward=backward,
            memory=memory,
            beside=beside,
            inputs=first.inputs,
            batch=first.batch,
            device=first.device,
        )

    def _accounts(self, parts: Iterable[_Part]) -> Iterator[tuple[Account, int]]:
        """The memory of what parts of the model did, and the bytes that the rest of the model holds meanwhile."""
        for part in parts:
            yield part.call.memory, self._builder.size_beside(part.path)
        for number, stretch in self._observation.tracker.stretches.items():
            if number in self._builder.paths:
                yield stretch, self._builder.size_beside(self._builder.paths[number][0])

    def _outside(self) -> tuple[list[Outside], dict[Path, list[Work]]]:
        """What methods of the model did outside every module call, and the backward pass of that."""
        outside: list[Outside] = []
        backward: dict[Path, list[Work]] = {}
        for each in self._observation.outside():
            part = each.selves[0]
            if part in self._builder.paths and not self._observation.is_anothers(self._number, part, each.selves):
                outside.append(each)
                if each.backward:
                    backward.setdefault((part,), []).extend(each.backward)
        return outside, backward

    def _by_path(self, outside: Iterable[Outside]) -> list[tuple[str, list[Work]]]:
        return [(self._builder.paths[each.selves[0]][0], each.work) for each in outside]

    def _is_whole(self, call: Call) -> bool:
        return self._observation.is_call_of(self._number, call.module)

    def _is_anothers(self, call: Call) -> bool:
        return self._observation.is_anothers(self._number, call.module, call.selves)


def _chains(calls: Iterable[Call]) -> dict[Call, Chain]:
    """The memory of several calls of a model through which backward passes went together, by the last call of each."""
    members: dict[Chain, list[Call]] = {}
    for call in calls:
        if call.chain is not None and call.went_back:
            members.setdefault(call.chain, []).append(call)
    return {calls[-1]: chain for chain, calls in members.items() if len(calls) > 1}


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
