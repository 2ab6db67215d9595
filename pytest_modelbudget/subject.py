"""Which model a test puts to the test: section 3.2 of the design."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from pytest_modelbudget.calling import SubjectError, unmeasurable
from pytest_modelbudget.marks import fixtures_known_to
from pytest_modelbudget.metrics import Source
from pytest_modelbudget.profiling.parameters import UninitializedModelError, modules_of
from pytest_modelbudget.values import kind_of, modules_in, part_of, parts_of, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from pytest_modelbudget.metrics import Metric
    from pytest_modelbudget.profiling.observation import Observation


UNSEEN = "{} called in another thread, where operators cannot be seen: call it in the thread of the test"


class Subject(NamedTuple):
    """A model under test: its number in the observation, and the name under which the test knows it, if any."""

    number: int
    name: str | None


class Subjects:
    """Finds the models of one test in what was observed of it.

    Args:
        item: the test, while its fixtures are set up.
        observation: of its body, or of a block in it.
    """

    def __init__(self, item: pytest.Item, observation: Observation) -> None:
        self.item = item
        self.observation = observation
        self._unmeasurable: dict[int, str] = {}
        """The parts of models that cannot be measured yet, and why."""
        self._known: dict[int, str] = {}
        for name, value in values_of(item):
            for place, module in modules_in(value):
                number = self.number_of(module)
                if number is not None:
                    self._known.setdefault(number, name + place)

    def find(self, name: str | None, metric: Metric) -> list[Subject]:
        """The models under test: the one that a mark or the hook names, else those that the test used, or its only one.

        Args:
            name: what `model=` says.
            metric: what is to be limited: a module that is no model by itself is one where it is all that there is.

        Raises:
            SubjectError: there is none.
        """
        if name is not None:
            return [Subject(self._measurable(self.named(name), name), name)]
        if self.from_hook is not None:
            number = self._measurable(self.from_hook[0], "the model of pytest_modelbudget_model")
            return [Subject(number, self._known.get(number))]
        used = self.used()
        if not metric.needs_call:  # what it holds is known wherever it was called
            used += [subject for subject in self.unseen() if subject not in used]
        for module, _ in self._works():
            if module in self._unmeasurable:
                raise SubjectError(self._unmeasurable[module], invalid=True)
            if module in self.observation.uninitialized and not self.observation.has(module):
                kind = self.observation.tracker.numbers.types[module]
                raise SubjectError(unmeasurable(kind, self.observation.uninitialized[module]), invalid=True)
        return used or [self._only_one(metric)]

    def is_named(self, name: str | None) -> bool:
        """Whether a mark, with `model=`, or the hook says which model is under test, whatever the test uses.

        Raises:
            SubjectError: what the hook says is no model.
        """
        return name is not None or self.from_hook is not None

    def describe(self, subject: Subject, *, alone: bool) -> str:
        """The model for people: its type, and its name in the test where there are several."""
        kind = self.observation.tracker.numbers.types[subject.number]
        return kind if alone or subject.name is None else f"{subject.name} ({kind})"

    def used(self) -> list[Subject]:
        """The models that the test body used, in the order of their first use."""
        observation, tracker = self.observation, self.observation.tracker
        for number in {number for module, selves in self._works() for number in (module, *selves)}:
            part = tracker.numbers.module(number)
            if part is not None and not observation.has(number):
                self.number_of(part)
        return [Subject(number, self._known.get(number)) for number in self._owners() if self._is_model(number)]

    def _owners(self) -> list[int]:
        """The outermost modules of all that did something, models or not, in the order of their first use."""
        works = self._works()
        called = [*dict.fromkeys(module for module, _ in works)]
        owners: dict[int, None] = {}
        for working, selves in dict.fromkeys(works):
            number = next(filter(self._is_compiled, selves), working)
            # Who was at work goes before who merely contains the module: two models may share one.
            owner = self._owner(number, [*selves, *self._known, *called])
            owners[self.observation.unwrapped(owner)] = None
        return list(owners)

    def unseen(self) -> list[Subject]:
        """The models that the test called in other threads, where their work cannot be seen."""
        unseen = list(self.observation.tracker.unseen)
        for number in unseen:
            part = self.observation.tracker.numbers.module(number)
            if part is not None and not self.observation.has(number):  # a lazy one is complete by now
                self.number_of(part)
        called = [module for module, _ in self._works()]
        owners = [
            self.observation.unwrapped(self._owner(number, [*self._known, *called, *unseen])) for number in unseen
        ]
        return [Subject(number, self._known.get(number)) for number in dict.fromkeys(owners) if self._is_model(number)]

    def _is_compiled(self, number: int) -> bool:
        """Whether `module.compile()` was called: graphs that Dynamo made of a module run in place of it, unrelated."""
        module = self.observation.tracker.numbers.module(number)
        return getattr(module, "_compiled_call_impl", None) is not None

    def _works(self) -> list[tuple[int, tuple[int, ...]]]:
        """The modules that did something, each with those whose methods were on the call stack, innermost first."""
        tracker = self.observation.tracker
        works = [(call.module, call.selves) for call in tracker.calls]
        return works + [(each.selves[0], each.selves) for each in self.observation.outside()]

    def _owner(self, module: int, candidates: Sequence[int]) -> int:
        """The outermost of the candidates that contain the module."""
        contains = self.observation.contains
        owner = module
        for candidate in candidates:
            if candidate != owner and contains(candidate, owner):
                owner = candidate
        return owner

    def _is_model(self, number: int) -> bool:
        """Losses and metrics have neither parameters nor contractions."""
        if not self.observation.has(number):
            return False
        profiles = self.observation.profiles(number, 2)
        return any(profile.params or profile.macs or profile.flops or profile.uncounted for profile, _ in profiles)

    def _only_one(self, metric: Metric) -> Subject:
        """The only model that the test asks for, where it uses none."""
        known = list(self._known)
        asked_for = getattr(getattr(self.item, "_fixtureinfo", None), "initialnames", ())

        def holds_parameters(number: int) -> bool:  # losses and metrics do not
            return self.observation.anatomy(number).states[""].params > 0

        def is_outermost(number: int) -> bool:
            return not any(self.observation.contains(other, number) for other in known if other != number)

        def is_asked_for(number: int) -> bool:  # by the test, not by its fixtures
            return self._known[number].partition(".")[0] in ("self", *asked_for)

        models = known
        for is_meant in (holds_parameters, is_outermost, is_asked_for):
            models = list(filter(is_meant, models)) or models
        if len(models) == 1:
            return Subject(models[0], self._known[models[0]])
        if models:
            names = " or ".join(f'model="{self._known[number]}"' for number in models)
            raise SubjectError(f"the test calls none of its {len(models)} models: call one, or say which: {names}")
        for complaint in self._unmeasurable.values():
            raise SubjectError(complaint, invalid=True)
        if self.observation.tracker.unseen:
            raise SubjectError(UNSEEN.format("models were"))
        if self.observation.has_stray_contractions():
            raise SubjectError(
                "matrix products, convolutions or attention ran outside every nn.Module: put them in the forward of one"
            )
        owners = self._owners()
        if len(owners) == 1 and self._has(owners[0], metric):
            return Subject(owners[0], None)
        kinds = dict.fromkeys(self.observation.tracker.numbers.types[module] for module, _ in self._works())
        if kinds:
            raise SubjectError(
                f"what the test calls ({', '.join(kinds)}) has neither parameters nor contractions, as a loss has: "
                'if it is the model, say so with model="..." (a fixture, a parameter or an attribute)'
            )
        raise SubjectError(
            'the test neither calls a model nor has a fixture that is one: call it, or say model="..." (a fixture, a '
            "parameter or an attribute)"
        )

    def _has(self, number: int, metric: Metric) -> bool:
        """Whether a module that is no model by itself, with neither parameters nor contractions, has such a figure."""
        if not self.observation.has(number):
            return False
        if metric.source is Source.CLOCK:
            return True
        profiles = [*self.observation.profiles(number, 2), *self.observation.states(number, 2)]
        return any(metric.of(profile) for profile, _ in profiles)

    def number_of(self, module: nn.Module, name: str | None = None) -> int | None:
        """The number of the model, wrappers seen through; None and a note where it cannot be measured."""
        try:
            return self.observation.unwrapped(self.observation.look_at(module))
        except UninitializedModelError as error:
            complaint = unmeasurable(name or type(module).__name__, error)
            for part in modules_of(module):
                self._unmeasurable[self.observation.tracker.numbers[part]] = complaint
            return None

    def _measurable(self, module: nn.Module, name: str) -> int:
        number = self.number_of(module, name)
        if number is None:
            raise SubjectError(self._unmeasurable[self.observation.tracker.numbers[module]], invalid=True)
        return number

    @cached_property
    def from_hook(self) -> tuple[nn.Module, Any] | None:
        """The model that the hook names, and what to call it with, if it says so.

        Raises:
            SubjectError: it says something else.
        """
        answer = self.item.ihook.pytest_modelbudget_model(item=self.item)
        model, *inputs = answer if isinstance(answer, tuple) and answer else (answer,)
        if model is None:
            return None
        if not isinstance(model, nn.Module) or len(inputs) > 1:
            raise SubjectError(
                f"the hook pytest_modelbudget_model returned {kind_of(answer)}: return an nn.Module, "
                "or a tuple of one and what to call it with",
                invalid=True,
            )
        return model, inputs[0] if inputs else None

    def named(self, name: str) -> nn.Module:
        """The model that `model=` names: a fixture, a parameter, an attribute, or what one holds.

        Raises:
            SubjectError: there is no such thing, or it is no model.
        """
        values = dict(values_of(self.item))
        first, *rest = name.split(".")
        if first == "self" and rest:
            first, *rest = f"self.{rest[0]}", *rest[1:]
        if first not in values:
            raise SubjectError(
                f'model="{name}" is no fixture, parameter or attribute of this test{self._meant(name, first, values)}'
            )
        value: object = values[first]
        if first.startswith("self."):
            value = getattr(self.item.instance, first[5:])  # type: ignore[attr-defined]  # it may be a property
        path = first
        for part in rest:
            found = part_of(value, part)
            if found is None:
                parts = ", ".join(parts_of(value))
                raise SubjectError(
                    f'model="{name}": {path} ({type(value).__name__}) has no {part}'
                    f"{f', it has {parts}' if parts else ''}",
                    invalid=True,
                )
            value, path = found, f"{path}.{part}"
        modules = list(modules_in(value))
        if len(modules) != 1:
            several = ", ".join(f'model="{path}{place}"' for place, _ in modules)
            what = f"holds several: write one of {several}" if several else f"is no nn.Module but {kind_of(value)}"
            raise SubjectError(f'model="{name}" {what}', invalid=True)
        return modules[0][1]

    def _meant(self, name: str, first: str, values: Mapping[str, object]) -> str:
        """What the name of a model that the test does not have may stand for."""
        manager = self.item.session._fixturemanager
        if manager.getfixturedefs(first, self.item):
            return f": {first} is a fixture that it does not ask for, add it to its arguments"
        models = list(self._known.values())
        roots = [root + name.removeprefix(first) for root in get_close_matches(first, values, n=1)]
        found = (name == first and get_close_matches(name, models, n=1)) or roots
        there_are = f"its models are {', '.join(models)}" if models else ""
        meant = f'did you mean model="{found[0]}"?' if found else ""
        if not found and (unasked := get_close_matches(first, fixtures_known_to(self.item), n=1, cutoff=0.75)):
            meant = f"did you mean the fixture {unasked[0]}? the test does not ask for it, add it to its arguments"
        return "".join(f"; {text}" for text in (there_are, meant) if text)

    def module(self, number: int) -> nn.Module:
        """The model with that number.

        Raises:
            SubjectError: it is gone.
        """
        module = self.observation.tracker.numbers.module(number)
        if module is None:
            raise SubjectError(
                f"{self.observation.tracker.numbers.types[number]} is gone after the test: keep it in a fixture, "
                "so that it can be called again",
                invalid=True,
            )
        return module
