"""What the models under test did, and doing it again where that is not enough: section 3.2 of the design."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pytest_modelbudget.budget import Per
from pytest_modelbudget.calling import (
    How,
    SubjectError,
    arguments_of,
    as_arguments,
    instead,
    repeated,
    run,
    way_to_time,
)
from pytest_modelbudget.limits import near
from pytest_modelbudget.marks import fixtures_known_to
from pytest_modelbudget.metrics import Source
from pytest_modelbudget.profiling.specification import UnrepeatableCallError
from pytest_modelbudget.subject import UNSEEN
from pytest_modelbudget.verdict import SHARED_MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from pytest_modelbudget.budget import Inputs, Limit
    from pytest_modelbudget.calling import Arguments, Calls
    from pytest_modelbudget.metrics import Metric
    from pytest_modelbudget.profiling.calls import Call
    from pytest_modelbudget.profiling.profile import Profile
    from pytest_modelbudget.profiling.specification import Specification
    from pytest_modelbudget.subject import Subject, Subjects


class SubjectProfiler:
    """Profiles the models of one test.

    Args:
        subjects: which they are.
        runs_models: whether models that were not called are run: not for a block, which is judged by what ran in it.
        limits: all that the test is held to: one may say what to call a model with for all of them.
    """

    def __init__(self, subjects: Subjects, *, runs_models: bool = True, limits: Iterable[Limit] = ()) -> None:
        self.subjects = subjects
        self._item = subjects.item
        self._observation = subjects.observation
        self._runs_models = runs_models
        self._limits = [limit for limit in limits if limit.inputs is not None]
        self._repeated: dict[tuple[Any, ...], Calls] = {}

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
            raise SubjectError(UNSEEN.format(f"{self._name(subject)} was"), invalid=True)
        profiles = self._observation.profiles(subject.number, flops_per_mac)
        called = any(count for _, count in profiles)
        is_there = device == "auto" or all(profile.device == torch.device(device).type for profile, _ in profiles)
        ran_backward = any(profile.backward_flops is not None for profile, _ in profiles)
        if metric.backward and self._observation.went_back_before(subject.number):
            raise SubjectError(
                f"the backward pass went on into what {self._name(subject)} had computed before, in a fixture for "
                "example, where nothing was observed: compute that in the test, or detach it",
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
            how = How(device, flops_per_mac, backward, self._item.config.rootpath, attention=attention)
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
        model = self.subjects.module(subject.number)
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
            return limit.model is None or self.subjects.number_of(self.subjects.named(limit.model)) == subject.number
        except SubjectError:
            return False

    def _arguments(self, model: nn.Module, inputs: Inputs | None, fallback: str | None) -> Arguments | None:
        """What to call a model with, if anybody says so."""
        if isinstance(inputs, str):
            return as_arguments(self._fixture(inputs, "inputs="))
        if inputs is not None:
            return arguments_of(model, inputs)
        if (
            self.subjects.from_hook is not None
            and self.subjects.from_hook[0] is model
            and self.subjects.from_hook[1] is not None
        ):
            return as_arguments(self.subjects.from_hook[1])
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
        model = self.subjects.module(subject.number)
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
                parts.append((self.subjects.module(call.module), call.specification))
        if how.backward and not is_alone and not all(specification.grad for _, specification in parts):
            raise SubjectError(
                f"parts of {type(model).__name__} were called without gradients, outside a call of the model, so that "
                "nobody can tell what a backward pass does between them: call the model itself, or run the backward "
                "pass in the test"
            )
        profiles: list[tuple[Profile, int]] = []
        for call, count in distinct.values():
            again = [(self.subjects.module(call.module), call.specification)]
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
            reporter.write_line(f"timing {self._name(subject)} on {device} for {self._item.nodeid}")

    def _name(self, subject: Subject) -> str:
        return self.subjects.describe(subject, alone=True)

    def _notes(self) -> tuple[str, ...]:
        workers = int(getattr(self._item.config, "workerinput", {}).get("workercount", 1))
        if workers < 2:
            return ()
        return (f"{workers} {SHARED_MACHINE}: without -n times are steadier",)


def _with_dummy_inputs(profile: Profile) -> Profile:
    note = (
        f"the test does not call it, so it was called with its own dummy_inputs, {profile.inputs}: say with inputs= "
        "what it is really called with"
    )
    return replace(profile, notes=(*profile.notes, note))
