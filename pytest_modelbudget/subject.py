"""Which model a test puts to the test, and what it is called with: section 3.2 of the design."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from torch import nn

from pytest_modelbudget.budget import Per
from pytest_modelbudget.calling import (
    How,
    SubjectError,
    arguments_of,
    as_arguments,
    instead,
    repeated,
    run,
    unmeasurable,
    way_to_time,
)
from pytest_modelbudget.limits import near
from pytest_modelbudget.marks import fixtures_known_to
from pytest_modelbudget.metrics import Source
from pytest_modelbudget.profiling.parameters import UninitializedModelError, modules_of
from pytest_modelbudget.profiling.specification import UnrepeatableCallError
from pytest_modelbudget.values import kind_of, modules_in, part_of, parts_of, values_of
from pytest_modelbudget.verdict import SHARED_MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_modelbudget.budget import Inputs, Limit
    from pytest_modelbudget.calling import Arguments, Calls
    from pytest_modelbudget.metrics import Metric
    from pytest_modelbudget.profiling.calls import Call
    from pytest_modelbudget.profiling.observation import Observation
    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.profiling.specification import Specification


_UNSEEN = "{} called in another thread, where operators cannot be seen: call it in the thread of the test"


class Subject(NamedTuple):
    """A model under test: its number in the observation, and the name under which the test knows it, if any."""

    number: int
    name: str | None


class Subjects:
    """Finds the models of one test in what was observed of it.

    Args:
        item: the test, while its fixtures are set up.
        observation: of its body, or of a block in it.
        runs_models: whether models that were not called are run: not for a block, which is judged by what ran in it.
        limits: all that the test is held to: one may say what to call a model with for all of them.
    """

    def __init__(
        self, item: pytest.Item, observation: Observation, *, runs_models: bool = True, limits: Iterable[Limit] = ()
    ) -> None:
        self._item = item
        self._runs_models = runs_models
        self._limits = [limit for limit in limits if limit.inputs is not None]
        self._observation = observation
        self._root = item.config.rootpath
        self._unmeasurable: dict[int, str] = {}
        """The parts of models that cannot be measured yet, and why."""
        self._repeated: dict[tuple[Any, ...], Calls] = {}
        self._known: dict[int, str] = {}
        for name, value in values_of(item):
            for place, module in modules_in(value):
                number = self._look_at(module)
                if number is not None:
                    self._known.setdefault(number, name + place)

    # -- which model ----------------------------------------------------------------------------------------------

    def find(self, name: str | None, metric: Metric) -> list[Subject]:
        """The models under test: the one that a mark or the hook names, else those that the test used, or its only one.

        Args:
            name: what `model=` says.
            metric: what is to be limited: a module that is no model by itself is one where it is all that there is.

        Raises:
            SubjectError: there is none.
        """
        if name is not None:
            return [Subject(self._measurable(self._named(name), name), name)]
        if self._from_hook is not None:
            number = self._measurable(self._from_hook[0], "the model of pytest_modelbudget_model")
            return [Subject(number, self._known.get(number))]
        used = self.used()
        if not metric.needs_call:  # what it holds is known wherever it was called
            used += [subject for subject in self.unseen() if subject not in used]
        for module, _ in self._works():
            if module in self._unmeasurable:
                raise SubjectError(self._unmeasurable[module], invalid=True)
            if module in self._observation.uninitialized and not self._observation.has(module):
                kind = self._observation.tracker.numbers.types[module]
                raise SubjectError(unmeasurable(kind, self._observation.uninitialized[module]), invalid=True)
        return used or [self._only_one(metric)]

    def is_named(self, name: str | None) -> bool:
        """Whether a mark, with `model=`, or the hook says which model is under test, whatever the test uses.

        Raises:
            SubjectError: what the hook says is no model.
        """
        return name is not None or self._from_hook is not None

    def describe(self, subject: Subject, *, alone: bool) -> str:
        """The model for people: its type, and its name in the test where there are several."""
        kind = self._observation.tracker.numbers.types[subject.number]
        return kind if alone or subject.name is None else f"{subject.name} ({kind})"

    def used(self) -> list[Subject]:
        """The models that the test body used, in the order of their first use."""
        observation, tracker = self._observation, self._observation.tracker
        for number in {number for module, selves in self._works() for number in (module, *selves)}:
            part = tracker.numbers.module(number)
            if part is not None and not observation.has(number):
                self._look_at(part)
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
            owners[self._observation.unwrapped(owner)] = None
        return list(owners)

    def unseen(self) -> list[Subject]:
        """The models that the test called in other threads, where their work cannot be seen."""
        unseen = list(self._observation.tracker.unseen)
        for number in unseen:
            part = self._observation.tracker.numbers.module(number)
            if part is not None and not self._observation.has(number):  # a lazy one is complete by now
                self._look_at(part)
        called = [module for module, _ in self._works()]
        owners = [
            self._observation.unwrapped(self._owner(number, [*self._known, *called, *unseen])) for number in unseen
        ]
        return [Subject(number, self._known.get(number)) for number in dict.fromkeys(owners) if self._is_model(number)]

    def _is_compiled(self, number: int) -> bool:
        """Whether `module.compile()` was called: graphs that Dynamo made of a module run in place of it, unrelated."""
        module = self._observation.tracker.numbers.module(number)
        return getattr(module, "_compiled_call_impl", None) is not None

    def _works(self) -> list[tuple[int, tuple[int, ...]]]:
        """The modules that did something, each with those whose methods were on the call stack, innermost first."""
        tracker = self._observation.tracker
        works = [(call.module, call.selves) for call in tracker.calls]
        return works + [(each.selves[0], each.selves) for each in self._observation.outside()]

    def _owner(self, module: int, candidates: Sequence[int]) -> int:
        """The outermost of the candidates that contain the module."""
        contains = self._observation.contains
        owner = module
        for candidate in candidates:
            if candidate != owner and contains(candidate, owner):
                owner = candidate
        return owner

    def _is_model(self, number: int) -> bool:
        """Losses and metrics have neither parameters nor contractions."""
        if not self._observation.has(number):
            return False
        profiles = self._observation.profiles(number, 2)
        return any(profile.params or profile.macs or profile.flops or profile.uncounted for profile, _ in profiles)

    def _only_one(self, metric: Metric) -> Subject:
        """The only model that the test asks for, where it uses none."""
        known = list(self._known)
        asked_for = getattr(getattr(self._item, "_fixtureinfo", None), "initialnames", ())

        def holds_parameters(number: int) -> bool:  # losses and metrics do not
            return self._observation.anatomy(number).states[""].params > 0

        def is_outermost(number: int) -> bool:
            return not any(self._observation.contains(other, number) for other in known if other != number)

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
        if self._observation.tracker.unseen:
            raise SubjectError(_UNSEEN.format("models were"))
        if self._observation.has_stray_contractions():
            raise SubjectError(
                "matrix products, convolutions or attention ran outside every nn.Module: put them in the forward of one"
            )
        owners = self._owners()
        if len(owners) == 1 and self._has(owners[0], metric):
            return Subject(owners[0], None)
        kinds = dict.fromkeys(self._observation.tracker.numbers.types[module] for module, _ in self._works())
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
        if not self._observation.has(number):
            return False
        if metric.source is Source.CLOCK:
            return True
        profiles = [*self._observation.profiles(number, 2), *self._observation.states(number, 2)]
        return any(metric.of(profile) for profile, _ in profiles)

    def _look_at(self, module: nn.Module, name: str | None = None) -> int | None:
        """The number of the model, wrappers seen through; None and a note where it cannot be measured."""
        try:
            return self._observation.unwrapped(self._observation.look_at(module))
        except UninitializedModelError as error:
            complaint = unmeasurable(name or type(module).__name__, error)
            for part in modules_of(module):
                self._unmeasurable[self._observation.tracker.numbers[part]] = complaint
            return None

    def _measurable(self, module: nn.Module, name: str) -> int:
        number = self._look_at(module, name)
        if number is None:
            raise SubjectError(self._unmeasurable[self._observation.tracker.numbers[module]], invalid=True)
        return number

    @cached_property
    def _from_hook(self) -> tuple[nn.Module, Any] | None:
        answer = self._item.ihook.pytest_modelbudget_model(item=self._item)
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

    def _named(self, name: str) -> nn.Module:
        values = dict(values_of(self._item))
        first, *rest = name.split(".")
        if first == "self" and rest:
            first, *rest = f"self.{rest[0]}", *rest[1:]
        if first not in values:
            raise SubjectError(
                f'model="{name}" is no fixture, parameter or attribute of this test{self._meant(name, first, values)}'
            )
        value: object = values[first]
        if first.startswith("self."):
            value = getattr(self._item.instance, first[5:])  # type: ignore[attr-defined]  # it may be a property
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
        manager = self._item.session._fixturemanager
        if manager.getfixturedefs(first, self._item):
            return f": {first} is a fixture that it does not ask for, add it to its arguments"
        models = list(self._known.values())
        roots = [root + name.removeprefix(first) for root in get_close_matches(first, values, n=1)]
        found = (name == first and get_close_matches(name, models, n=1)) or roots
        there_are = f"its models are {', '.join(models)}" if models else ""
        meant = f'did you mean model="{found[0]}"?' if found else ""
        if not found and (unasked := get_close_matches(first, fixtures_known_to(self._item), n=1, cutoff=0.75)):
            meant = f"did you mean the fixture {unasked[0]}? the test does not ask for it, add it to its arguments"
        return "".join(f"; {text}" for text in (there_are, meant) if text)

    # -- its calls ------------------------------------------------------------------------------------------------

    def profiles(
        self,
        subject: Subject,
        *,
        flops_per_mac: int,
        attention: str,
        device: str,
        metric: Metric,
        per: Per,
        inputs: Inputs | None,
        fallback: str | None,
    ) -> Calls:
        """The calls of a model that count: those of the test, repeated on `device` if they ran elsewhere, else our own.

        Args:
            subject: the model.
            flops_per_mac: 1 or 2.
            attention: of abstract runs, `fused` or `math`.
            device: where, or `auto`.
            metric: what is asked for. Where it takes a backward pass and the test ran none, the calls are repeated with
                one; to be timed they are repeated where the test ran them, unless `device` says otherwise.
            per: what the limit is for.
            inputs: what the limit says to call the model with.
            fallback: the fixture with what to call it with where nobody says.

        Raises:
            SubjectError: a call is needed and cannot be made.
        """
        if self._observation.ran_unseen(subject.number):
            raise SubjectError(_UNSEEN.format(f"{self.describe(subject, alone=True)} was"), invalid=True)
        profiles = self._observation.profiles(subject.number, flops_per_mac)
        called = any(count for _, count in profiles)
        is_there = device == "auto" or all(profile.device == torch.device(device).type for profile, _ in profiles)
        ran_backward = any(profile.backward_flops is not None for profile, _ in profiles)
        if metric.backward and self._observation.went_back_before(subject.number):
            raise SubjectError(
                f"the backward pass went on into what {self.describe(subject, alone=True)} had computed before, in a "
                "fixture for example, where nothing was observed: compute that in the test, or detach it",
                invalid=True,
            )
        # What is alive at once is that of the whole training step.
        backward = metric.backward or (ran_backward and metric.source is Source.STORAGE)
        is_complete = not metric.backward or ran_backward
        latency = metric.source is Source.CLOCK
        if called and is_there and is_complete and not latency:
            return profiles
        if latency and device == "auto":
            device = next((profile.device for profile, _ in profiles if profile.device not in ("", "meta")), "cpu")
        # limits keep their inputs alive
        lacks = called and self._lacks_work(subject, metric, per)
        key = (subject.number, device, backward, latency, lacks, None if called else id(inputs))
        if key not in self._repeated:
            how = How(device, flops_per_mac, backward, self._root, attention=attention)
            if called:
                how = how._replace(instead=instead(latency=latency, is_there=is_there, is_complete=is_complete))
                if not is_complete:
                    how = how._replace(ways_out=("run the backward pass in the test",))
            if latency:
                how = how._replace(latency=True, announce=partial(self._announce, subject, device), notes=self._notes())
            self._repeated[key] = (
                self._repeat(subject, how, metric, per)
                if called
                else self._own_call(subject, how, inputs=inputs, fallback=fallback)
            )
        return self._repeated[key]

    def state(self, subject: Subject, *, flops_per_mac: int) -> Calls:
        """What the model holds, as calls for limits that need none."""
        return self._observation.states(subject.number, flops_per_mac)

    def _own_call(self, subject: Subject, how: How, *, inputs: Inputs | None, fallback: str | None) -> Calls:
        model = self._module(subject.number)
        if not self._runs_models and inputs is None:
            raise SubjectError(
                f"{type(model).__name__} was not called in the block: call it there, or say with inputs= what to call "
                "it with"
            )
        said = self._said(subject, model, inputs, fallback)
        if said:
            return [call for args, kwargs in said for call in run(model, args, kwargs, how)]
        args, kwargs = self._dummy_inputs(model)
        return [(_with_dummy_inputs(profile), count) for profile, count in run(model, args, kwargs, how)]

    def _said(self, subject: Subject, model: nn.Module, inputs: Inputs | None, fallback: str | None) -> list[Arguments]:
        """What to call a model with, as its limit says, the hook, other limits of the test, or who sets it for all."""
        own = self._arguments(model, inputs, None)
        if own is None:
            others = {id(limit.inputs): limit for limit in self._limits if self._is_for(limit, subject)}
            if others:
                return [said for limit in others.values() if (said := self._arguments(model, limit.inputs, None))]
            own = self._arguments(model, None, fallback)
        return [] if own is None else [own]

    def _is_for(self, limit: Limit, subject: Subject) -> bool:
        """Whether a limit is for a model; the test calls none, so that without a name it is for its only one."""
        try:
            return limit.model is None or self._look_at(self._named(limit.model)) == subject.number
        except SubjectError:
            return False

    def _arguments(self, model: nn.Module, inputs: Inputs | None, fallback: str | None) -> Arguments | None:
        """What to call a model with, if anybody says so."""
        if isinstance(inputs, str):
            return as_arguments(self._fixture(inputs, "inputs="))
        if inputs is not None:
            return arguments_of(model, inputs)
        if self._from_hook is not None and self._from_hook[0] is model and self._from_hook[1] is not None:
            return as_arguments(self._from_hook[1])
        if fallback is not None:
            return as_arguments(self._fixture(fallback, "modelbudget_inputs"))
        return None

    def _dummy_inputs(self, model: nn.Module) -> Arguments:
        """What a model of transformers gives to be called with; of any size, which readers must be told."""
        try:
            dummy = getattr(model, "dummy_inputs", None)
        except Exception as error:  # a property of the user's
            raise SubjectError(
                f"{type(model).__name__}.dummy_inputs raised {type(error).__name__}: {error}: "
                "say with inputs= what to call the model with",
                invalid=True,
            ) from error
        if dummy is None:
            raise SubjectError(
                f"the test does not call {type(model).__name__}: call it, or say with inputs= what to call it with, "
                "for example inputs=(1, 3, 224, 224)"
            )
        return as_arguments(dummy)

    def _fixture(self, name: str, who: str) -> object:
        request = getattr(self._item, "_request", None)
        try:
            if request is not None:
                return request.getfixturevalue(name)
        except pytest.FixtureLookupError:
            pass
        meant = near(name, fixtures_known_to(self._item))
        raise SubjectError(f"{who} names {name!r}, which is no fixture that this test can use{meant}", invalid=True)

    def _repeat(self, subject: Subject, how: How, metric: Metric, per: Per) -> Calls:
        model = self._module(subject.number)
        observation = self._observation
        if self._lacks_work(subject, metric, per):
            way_out = way_to_time(model, per) if how.latency else how.instead
            raise SubjectError(
                f"part of the work of {type(model).__name__} ran in its methods, outside module calls, and cannot be "
                f"repeated on {how.where}: {way_out}",
                invalid=True,
            )
        distinct: dict[tuple[Any, ...], tuple[Call, int]] = {}
        parts: list[tuple[nn.Module, Specification]] = []
        is_alone = True
        """Whether no part was given what another part, or a method around it, made."""
        for call in observation.tracker.calls:
            whole = observation.is_call_of(subject.number, call.module)
            if call.tree is None or not (whole or observation.contains(subject.number, call.module)):
                continue
            if not whole and observation.is_anothers(subject.number, call.module, call.selves):
                continue
            if isinstance(call.specification, UnrepeatableCallError):
                raise SubjectError(
                    f"the call of {type(model).__name__} cannot be repeated, because an argument cannot be copied "
                    f"({call.specification.reason}): {how.instead}",
                    invalid=True,
                )
            if whole:
                first, count = distinct.get((call.tree, call.inputs), (call, 0))
                distinct[call.tree, call.inputs] = first, count + 1
            else:
                methods = {*call.selves} - {call.module}
                is_alone &= not (parts or any(observation.contains(subject.number, around) for around in methods))
                parts.append((self._module(call.module), call.specification))
        if how.backward and not is_alone and not all(specification.grad for _, specification in parts):
            raise SubjectError(
                f"parts of {type(model).__name__} were called without gradients, outside a call of the model, so that "
                "nobody can tell what a backward pass does between them: call the model itself, or run the backward "
                "pass in the test"
            )
        profiles: list[tuple[Profile, int]] = []
        for call, count in distinct.values():
            again = [(self._module(call.module), call.specification)]
            for profile, _ in repeated(model, again, how):
                profiles.append((profile, count))
        if parts and how.latency:
            raise SubjectError(
                f"parts of {type(model).__name__} were called outside a call of the model: {way_to_time(model, per)}",
                invalid=True,
            )
        if parts:
            profiles += repeated(model, parts, how)
        # Methods alone were at work, which did nothing of what is asked for: that is the same everywhere.
        return profiles or observation.profiles(subject.number, how.flops_per_mac)

    def _lacks_work(self, subject: Subject, metric: Metric, per: Per) -> bool:
        """Whether methods did what is asked for outside module calls, so that these repeated are not all of it."""
        observation = self._observation
        works = [
            work
            for each in observation.outside()
            if observation.contains(subject.number, each.selves[0])
            and not observation.is_anothers(subject.number, each.selves[0], each.selves)
            for work in each.work
        ]
        if not works:
            return False
        called = {call.module for call in observation.tracker.calls}
        whole = {module for module in called if observation.is_call_of(subject.number, module)}
        if metric.source is Source.CLOCK and per is not Per.TEST:
            # A call has a time of its own, whatever a method that makes many of them, to generate, does in between.
            return not whole
        if metric.portable and not any(observation.contains(subject.number, part) for part in called - whole):
            # What follows from contractions alone, where the model itself makes them all.
            return any(work.cost is None or work.cost.macs or work.cost.flops for work in works)
        return True

    def _announce(self, subject: Subject, device: str) -> None:
        """A line on the terminal: what takes long should not look as if it hung."""
        config = self._item.config
        reporter = config.pluginmanager.getplugin("terminalreporter")
        capture = config.pluginmanager.getplugin("capturemanager")
        if reporter is None or not reporter.isatty or hasattr(config, "workerinput"):
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"timing {self.describe(subject, alone=True)} on {device} for {self._item.nodeid}")

    def _notes(self) -> tuple[str, ...]:
        workers = int(getattr(self._item.config, "workerinput", {}).get("workercount", 1))
        if workers < 2:
            return ()
        return (f"{workers} {SHARED_MACHINE}: without -n times are steadier",)

    def _module(self, number: int) -> nn.Module:
        module = self._observation.tracker.numbers.module(number)
        if module is None:
            raise SubjectError(
                f"{self._observation.tracker.numbers.types[number]} is gone after the test: keep it in a fixture, "
                "so that it can be called again",
                invalid=True,
            )
        return module


def _with_dummy_inputs(profile: Profile) -> Profile:
    note = (
        f"the test does not call it, so it was called with its own dummy_inputs, {profile.inputs}: say with inputs= "
        "what it is really called with"
    )
    return replace(profile, notes=(*profile.notes, note))
