"""What one stretch of code did to which modules, and the profiles of a model drawn from it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.nn import Parameter

from pytest_modelbudget.profiling.anatomy import Anatomy, anatomy_of
from pytest_modelbudget.profiling.builder import ProfileBuilder
from pytest_modelbudget.profiling.compilation import dynamo_is_loaded, eager, unwarned
from pytest_modelbudget.profiling.drawing import Drawing
from pytest_modelbudget.profiling.hooks import unobserved
from pytest_modelbudget.profiling.modules import ModuleTracker
from pytest_modelbudget.profiling.parameters import UninitializedModelError, parameters_of, paths_of
from pytest_modelbudget.profiling.recorder import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from torch import nn
    from typing_extensions import Self

    from pytest_modelbudget.profiling.calls import Call, CallTree, Outside, Path
    from pytest_modelbudget.profiling.parameters import Parts
    from pytest_modelbudget.profiling.profile import Profile

WRAPPED = ("module", "_orig_mod")
"""The names under which DataParallel, DistributedDataParallel and `torch.compile` keep the model they wrap."""


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
        self._sums: dict[int, tuple[int, int, int] | None] = {}
        """What models held when they were looked at as a call ended."""
        self._swapped: dict[int, nn.Module] = {}
        """Modules whose parameters were others when a call ended, kept until they can be looked at again."""
        self._earlier: dict[int, list[Anatomy]] = {}
        """What was noted of modules that are made of something else by now."""
        self._kept: dict[int, nn.Module] = {}
        """What may have to be called again, and must not be gone by then."""
        self.uninitialized: dict[int, str] = {}
        """Modules that were used and could not be looked at, and why."""
        self._wrapped: dict[int, tuple[Anatomy, dict[int, str]]] = {}
        """The modules that are all there is in a model, as they were found in its anatomy."""
        self._index = _Index({}, {}, 0)
        self._unseen: set[int] = set()
        """What is part of a module that was called in another thread."""
        self.tracker = tracker or ModuleTracker(self._on_call, self._on_return, self._note, self._note_unseen)

    @property
    def is_eager(self) -> bool:
        """Whether what is compiled is made to run eagerly."""
        return self.compute and not self._compiled

    def covers(self, other: Observation) -> bool:
        """Whether what `other` was made to see has been seen here, too."""
        return (
            (self.compute or not other.compute)
            and (self._specify is not None or other._specify is None)
            # What ran compiled, if anything did, leaves no trace.
            and (not self._compiled or other._compiled or not dynamo_is_loaded())
        )

    @contextmanager
    def under(
        self, base: FrameType, mode: Callable[[Any], AbstractContextManager[object]] = recording
    ) -> Iterator[Self]:
        """Observe the block, which runs under the frame `base`, by the `mode` that runs and books its operators."""
        with ExitStack() as stack:
            stack.callback(self._look_again)
            stack.enter_context(unwarned())
            stack.enter_context(self.tracker.under(base))
            if self.compute:
                if self.is_eager:
                    stack.enter_context(eager())
                stack.enter_context(mode(self.tracker))
            yield self

    def _on_call(self, call: Call, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._specify is not None:
            with unobserved():
                call.specification = self._specify(module, args, kwargs)

    def _on_return(self, call: Call, module: nn.Module) -> None:  # noqa: ARG002
        # After the call, because only then a lazy module has its parameters.
        self._look_at_changed((call.module, *call.selves))

    def _look_at_changed(self, numbers: Iterable[int]) -> None:
        changed = []
        for number in numbers:
            part = self.tracker.numbers.module(number)
            sums = None if part is None else _sums(part)
            if sums is None and part is not None:
                self._swapped[number] = part
            if sums is None or self._sums.get(number) != sums:
                changed.append(number)
                self._sums[number] = sums
        if changed:
            self._note(changed, anew=True)

    def _look_again(self) -> None:
        """At the end, at what models are left as, and at those that `torch.func.functional_call` had swapped."""
        seen = dict.fromkeys(number for call in self.tracker.calls for number in (call.module, *call.selves))
        self._look_at_changed(number for number in seen if number in self._sums)
        self._swapped.clear()

    def _note(self, numbers: Iterable[int], *, anew: bool = False) -> None:
        """Look at modules while they are there: a model that the test builds may be gone when the test is over."""
        with unobserved():
            for number in numbers:
                module = self.tracker.numbers.module(number)
                if module is not None and self._specify is not None:
                    self._kept[number] = module
                if module is not None and (anew or number not in self._anatomies):
                    try:
                        self.look_at(module)
                    except UninitializedModelError as error:
                        self.uninitialized[number] = str(error)

    def _note_unseen(self, module: nn.Module) -> None:
        """As `_note`, in the thread that calls a module: what looking at it runs there is not observed anyway."""
        number = self.tracker.numbers[module]
        if number in self._unseen:
            return  # it was looked at together with the one that it belongs to, which was called first
        try:
            self.look_at(module)
            self._unseen.update(self._anatomies[number].numbers.values())
        except UninitializedModelError as error:
            self.uninitialized[number] = str(error)

    # -- who contains whom --------------------------------------------------------------------------------------

    def look_at(self, module: nn.Module, parts: Parts | None = None) -> int:
        """Note what `module` is made of, all of its `parts` or what `paths_of` finds, and return its number."""
        parts = parts or paths_of(module)
        numbers = self.tracker.numbers.of(parts)
        number = numbers[0]
        before = self._anatomies.get(number)
        self._anatomies[number], held = anatomy_of(parts, numbers)
        if before is not None and before.states != self._anatomies[number].states:
            self._earlier.setdefault(number, []).append(before)
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

    def is_anothers(self, number: int, module: int, selves: Path) -> bool:
        """Whether what a part of the model did was asked for by a method of another one, which shares that part.

        `selves` are the modules whose methods were on the call stack, innermost first.
        """
        for owner in selves:
            if owner == number or self.contains(owner, number):
                return False
            if not self.contains(number, owner) and self.contains(owner, module):
                return True
        return False

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
                self._anatomies[inner] = anatomy.part(children[0])
            number = inner

    def is_call_of(self, number: int, called: int) -> bool:
        """Whether a call of a module is one of a model: of the model itself, in a wrapper, or of all that it wraps.

        A model that only wraps another one, as for adapters, has methods that call that one.
        """
        return self.unwrapped(called) == number or called in self.wrapped_in(number)

    def wrapped_in(self, number: int) -> dict[int, str]:
        """The modules that are all there is in a model, with their paths: its only child, the only child of that."""
        anatomy = self._anatomies.get(number)
        if anatomy is None:
            return {}
        known = self._wrapped.get(number)
        if known is None or known[0] is not anatomy:
            known = anatomy, {anatomy.numbers[path]: path for path in anatomy.wrapped()}
            self._wrapped[number] = known
        return known[1]

    def outside(self) -> Iterator[Outside]:
        """What methods did outside every module call.

        Methods that merely copy, as `load_state_dict` does, put no model to work.
        """
        return filter(_is_work, self.tracker.outside.values())

    def _works_itself(self, number: int) -> bool:
        """Whether contractions ran in the module itself, in none of its parts."""
        works = [
            work
            for call in self.calls_of((), number)
            if call.tree
            for tree in call.tree.walk()
            if tree.module == number
            for work in tree.work
        ]
        for outside in self.tracker.outside.values():
            if outside.selves and outside.selves[0] == number:
                works += outside.work
        return any(work.cost is None or work.cost.macs or work.cost.flops for work in works)

    # -- profiles -----------------------------------------------------------------------------------------------

    def profiles(self, number: int, flops_per_mac: int) -> list[tuple[Profile, int]]:
        """The distinct calls of a model, in the order of the first of each, and how often each of them came.

        Work of the model's parts outside a call of the model itself is summed into one further call, the last.
        Without any call there is one profile of what the model holds.
        """
        return Drawing(self, number, flops_per_mac).profiles()

    def together(self, number: int, flops_per_mac: int) -> Profile:
        """All calls of a model and all other work of its parts in one profile.

        A call that the profiler itself makes may become several: hooks that call the model again, generators.
        """
        return Drawing(self, number, flops_per_mac).together()

    def states(self, number: int, flops_per_mac: int) -> list[tuple[Profile, int]]:
        """As `profiles`, for what a model holds, with what it held when it was called and holds no more."""
        earlier = self._earlier.get(number, ())
        return self.profiles(number, flops_per_mac) + [(ProfileBuilder(each, None).build([]), 0) for each in earlier]

    def calls_of(self, parts: Iterable[int], number: int) -> list[Call]:
        """The calls in which a module ran, or that were calls of `parts` alone, in their order.

        Where a test calls thousands of models, to go through all calls for each of them would take its time squared.
        """
        calls = self.tracker.calls
        finished = sum(call.tree is not None for call in calls)
        if self._index.finished != finished:
            self._index = _Index.of(calls, finished)
        roots, within, _ = self._index
        found = {*within.get(number, ()), *(place for part in parts for place in roots.get(part, ()))}
        return [calls[place] for place in sorted(found)]

    def has_stray_contractions(self) -> bool:
        """Whether contractions ran in no module, as those of a model written as a function do."""
        strays = self.tracker.outside.get(())
        return strays is not None and any(
            work.cost is not None and (work.cost.macs or work.cost.flops) for work in strays.work
        )

    def went_back_before(self, number: int) -> bool:
        """Whether a backward pass came to what the model had computed before anything was observed."""
        module, reached = self.tracker.numbers.module(number), self.tracker.reached_before
        if module is None or not reached:
            return False
        return any(id(own) in reached and reached[id(own)]() is own for own in parameters_of(module))

    def ran_unseen(self, number: int) -> bool:
        """Whether the model or a part of it was called in another thread, where operators cannot be seen."""
        return any(self.contains(number, module) for module in list(self.tracker.unseen))


class _Index(NamedTuple):
    """Where in a list of calls modules are found, once some of these have finished.

    Attributes:
        roots: the calls of a module from outside every other.
        within: the calls in which it ran.
        finished: how many have.
    """

    roots: dict[int, list[int]]
    within: dict[int, list[int]]
    finished: int

    @classmethod
    def of(cls, calls: list[Call], finished: int) -> _Index:
        roots: dict[int, list[int]] = {}
        within: dict[int, list[int]] = {}
        members: dict[CallTree, set[int]] = {}
        for place, call in enumerate(calls):
            if call.tree is None:
                continue
            roots.setdefault(call.module, []).append(place)
            numbers = members.get(call.tree)
            if numbers is None:
                numbers = members[call.tree] = {tree.module for tree in call.tree.walk()}
            for number in numbers:
                within.setdefault(number, []).append(place)
        return cls(roots, within, finished)


def _is_work(outside: Outside) -> bool:
    """Whether methods of models did something, other than to copy."""
    return bool(outside.selves) and any(work.cost is None or any(work.cost) for work in outside.work)


def _sums(module: nn.Module) -> tuple[int, int, int] | None:
    """What tells in a tenth of the time whether a model must be looked at again; None: it must."""
    elements = trainable = size = 0
    for parameter in parameters_of(module):
        if type(parameter) is not Parameter:
            return None
        count = parameter.numel()
        elements += count
        size += count * parameter.element_size()
        if parameter.requires_grad:
            trainable += count
    return elements, trainable, size
