"""Runs a model that nobody else runs, on a configured device, and profiles it."""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_modelbudget.profiling.abstract import (
    AbstractExecution,
    DataDependentError,
    LoggingTracker,
    RunTracker,
    recall,
)
from pytest_modelbudget.profiling.abstract.environment import one_at_a_time, same_defaults, without_garbage_collection
from pytest_modelbudget.profiling.abstract.errors import MEASURE_FOR_REAL, without_weights
from pytest_modelbudget.profiling.copies import copied
from pytest_modelbudget.profiling.devices import allocator_peak, check_clock, resolve
from pytest_modelbudget.profiling.hooks import unobserved
from pytest_modelbudget.profiling.mistakes import check_arguments, explained
from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.parameters import check_built, has_weights, paths_of
from pytest_modelbudget.profiling.profile import KEPT_OUTSIDE
from pytest_modelbudget.profiling.shapes import tensors_of
from pytest_modelbudget.profiling.sharding import check_runs_alone
from pytest_modelbudget.profiling.specification import Specification, is_training, realize, specify

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from pytest_modelbudget.profiling.profile import Profile


ATTENTION = ("fused", "math")


class UnseenWorkError(RuntimeError):
    """A part of the work ran where it could not be seen."""


class NoBackwardError(ValueError):
    """A backward pass was asked for, and nothing that the model returned requires grad."""

    def __init__(self) -> None:
        super().__init__(
            "there is no backward pass: no output requires grad (its parameters are frozen, or it holds integers)"
        )


def profile(
    model: nn.Module,
    args: Any = (),
    kwargs: dict[str, Any] | None = None,
    *,
    device: str = "meta",
    backward: bool = False,
    latency: bool = False,
    durations: bool = False,
    flops_per_mac: int = 2,
    attention: str = "fused",
) -> Profile:
    """Profile one call of a model.

    The model, its state, its mode and the random number generators are the same before and after.

    Args:
        model: lives on any device, `meta` included.
        args: positional arguments, tensors of any device; a bare tensor is one argument. Data of floating tensors
            is not looked at: only shapes, strides and dtypes matter.
        kwargs: named arguments.
        device: where to run: `"meta"` (no weights, data or arithmetic), `"cpu"`, `"cuda"`, … (on a deep copy).
        backward: also run a backward pass from the sum of the outputs. Without, a run on `meta` keeps nothing for one:
            its `memory` is that of inference.
        latency: also time the call, on a real device: its median wall time, warmed up and synchronised.
        durations: also time each module, on a real device.
        flops_per_mac: 2, or 1 where MACs are called FLOPs.
        attention: the kernel whose memory and traffic a run on `meta` counts: `"fused"`, which keeps no scores, or
            `"math"`, which does, as devices without a fused kernel. MACs are the same.

    Returns:
        The figures of the call; those that were not measured are None.

    Raises:
        TypeError: `model` is no `nn.Module`, or a call failed that was given a shape instead of a tensor.
        ValueError: `device` is no device, `flops_per_mac` neither 1 nor 2, or `attention` not one of the two.
        DeviceUnavailableError: the device is not on this machine.
        UninitializedModelError: a lazy module has not seen its first input.
        NoClockError: time was asked for on `meta`.
        UncopyableModelError: on a real device, the model cannot be copied.
        DataDependentError: on `meta`, the model looks at values that depend on weights or floating inputs.
        ShardedModelError: the model is sharded by FSDP.
        NoBackwardError: with `backward`, no output requires grad.
        UnseenWorkError: the model calls its parts in threads of its own.

    And whatever the model itself raises.
    """
    if not isinstance(model, nn.Module):
        what = "its .module()" if type(model).__name__ == "ExportedProgram" else "the model itself"
        raise TypeError(f"profile() takes an nn.Module, not {type(model).__name__}: pass {what}")
    if flops_per_mac not in (1, 2):
        raise ValueError(f"flops_per_mac={flops_per_mac!r} is not allowed: write 2, or 1 where MACs are called FLOPs")
    if attention not in ATTENTION:
        raise ValueError(f"attention={attention!r} is not allowed: write one of {', '.join(map(repr, ATTENTION))}")
    check_arguments("profile", kwargs)
    if not isinstance(args, (tuple, list)):
        args = (args,)
    if latency or durations:
        # torch.utils.benchmark takes a while to import.
        from pytest_modelbudget.profiling.durations import measure_durations

        check_clock(resolve(device))
    specification = specify(model, tuple(args), dict(kwargs or {}), at_once=True)
    calls = [(model, specification)]
    try:
        ((figures, _),) = repeat(
            model, calls, device=device, backward=backward, flops_per_mac=flops_per_mac, attention=attention
        )
    except Exception as error:
        if why := explained("profile", model, tuple(args), kwargs or {}):
            raise TypeError(why) from error
        raise
    if latency:
        figures = timed(figures, *calls[0], device)
    if durations:
        taken = measure_durations(model, specification, resolve(device))
        modules = {path: replace(part, duration=taken.get(path)) for path, part in figures.modules.items()}
        figures = replace(figures, modules=modules)
    return figures


def timed(
    figures: Profile,
    model: nn.Module,
    call: Specification,
    device: str,
    announce: Callable[[], None] = lambda: None,
) -> Profile:
    """The profile with the latency of the call, as `latency.measure_latency` measures it."""
    from pytest_modelbudget.profiling.latency import measure_latency

    measured = measure_latency(model, call, resolve(device), announce=announce)
    return replace(figures, latency=measured.median, latency_measurement=measured)


def repeat(
    model: nn.Module,
    calls: Sequence[tuple[nn.Module, Specification]],
    *,
    device: str = "auto",
    backward: bool = False,
    flops_per_mac: int = 2,
    attention: str = "fused",
) -> list[tuple[Profile, int]]:
    """Repeat recorded calls of a model or of its parts on a device: one profile of all of them.

    Args:
        model: whose profiles are asked for.
        calls: what to call, with what: the model, its parts or its wrappers.
        device: as in `profile`.
        backward: as in `profile`.
        flops_per_mac: as in `profile`.
        attention: as in `profile`.

    Returns:
        As `Observation.profiles`.

    Raises:
        What `profile` raises, and whatever the model raises.
    """
    where = resolve(device)
    check_runs_alone(paths_of(model))
    # A full collection of garbage takes longer than most runs.
    with one_at_a_time, unobserved(), without_garbage_collection() if where.type == "meta" else nullcontext():
        if where.type == "meta":
            try:
                observation, number, notes = _abstractly_somehow(model, calls, backward=backward, attention=attention)
            except DataDependentError as error:
                if has_weights(model):
                    raise
                raise without_weights(error) from error
            allocated = None
        else:
            observation, number, allocated = _for_real(model, calls, where, backward=backward)
            notes = ()
    how = "abstract" if where.type == "meta" else "observed"
    if observation.ran_unseen(number):
        raise UnseenWorkError(
            f"{type(model).__name__} calls modules in another thread, where operators cannot be seen: "
            "its figures would be too small"
        )
    if isinstance(observation.tracker, RunTracker):
        profile = recall.together(observation, observation.tracker, number, flops_per_mac)
    else:
        profile = observation.together(number, flops_per_mac)
    if backward and profile.backward_flops is None:  # it ran, and there was nothing to do
        modules = {path: replace(part, backward_flops=0) for path, part in profile.modules.items()}
        profile = replace(profile, backward_flops=0, modules=modules)
    profile = replace(profile, device=where.type, how=how, notes=(*profile.notes, *notes), allocated=allocated)
    return [(_without_what_autocast_changes(profile, calls) if where.type == "meta" else profile, 1)]


_Ran = tuple[Observation, int, tuple[str, ...]]
"""What was observed, the number of the model in it, and notes."""

_WANTS_ONE_DEVICE = ("on the same device", "on cpu", "the same device", "device type")
_NEEDS_AUTOGRAD = ("does not require grad", "to have been used in the graph", "invalid gradient at index")


def _abstractly_somehow(
    model: nn.Module, calls: Sequence[tuple[nn.Module, Specification]], *, backward: bool, attention: str
) -> _Ran:
    """The fast way first. A run leaves no trace, so another can follow for a model that needs more."""
    autograd = backward
    try:
        return _abstractly(model, calls, autograd=autograd, backward=backward, attention=attention)
    except DataDependentError:
        pass
    except RuntimeError as error:
        if backward and any(part in str(error) for part in _WANTS_ONE_DEVICE):
            # A kernel met a constant of the CPU beside an abstract tensor.
            return _abstractly(
                model, calls, autograd=autograd, backward=backward, attention=attention, keeps_floats=False
            )
        if backward or not any(part in str(error) for part in _NEEDS_AUTOGRAD):
            raise
        autograd = True  # the model differentiates in its forward, as a force field does
    return _abstractly(model, calls, autograd=autograd, backward=backward, attention=attention, literals=True)


def _abstractly(
    model: nn.Module,
    calls: Sequence[tuple[nn.Module, Specification]],
    *,
    autograd: bool,
    backward: bool,
    attention: str,
    literals: bool = False,
    keeps_floats: bool = True,
) -> _Ran:
    if any(tensor.layout is torch.jagged for _, call in calls for tensor in tensors_of((call.args, call.kwargs))):
        raise DataDependentError(
            "the model is called with a jagged tensor, which keeps its lengths on the device of data that an abstract "
            f"run does not have: {MEASURE_FOR_REAL}"
        )
    observation = Observation(tracker=RunTracker() if autograd else LoggingTracker())
    # Looked at before the twins are in: originals may share storages.
    number = observation.look_at(model)
    for module, _ in calls:
        if module is not model:
            observation.look_at(module)
    with AbstractExecution(
        [model, *(module for module, _ in calls)],
        autograd=autograd,
        literals=literals,
        fuses_attention=attention == "fused",
        keeps_floats=keeps_floats,
    ) as execution:
        went_back = False
        for module, specification in calls:
            _set_flags(module, specification)
            args, kwargs = realize(specification, torch.device("meta"), integers=torch.device("cpu"))
            with (
                torch.set_grad_enabled(backward or (autograd and specification.grad)),
                observation.under(sys._getframe(), execution.mode),
            ):
                output = _exhausted(module(*args, **kwargs))
                if backward:
                    went_back |= _backward(output)
                del output
        del args, kwargs
        if backward and not went_back:
            raise NoBackwardError
    return observation, number, _said(execution.leftovers())


def _for_real(
    model: nn.Module, calls: Sequence[tuple[nn.Module, Specification]], where: torch.device, *, backward: bool
) -> tuple[Observation, int, int | None]:
    """Returns what was observed, the number of the model in it, and what the device's allocator handed out at most."""
    observation = Observation()
    check_built(model)
    originals = [model, *(module for module, _ in calls)]
    modules = copied(originals, where)  # in one go: parts stay parts
    with same_defaults(), _same_random_numbers(), allocator_peak(where) as peak:
        went_back = False
        for module, (_, specification) in zip(modules[1:], calls, strict=True):
            _set_flags(module, specification)
            args, kwargs = realize(specification, where)
            with ExitStack() as stack:
                stack.enter_context(torch.set_grad_enabled(specification.grad or backward))
                if specification.autocast is not None:
                    stack.enter_context(torch.autocast(where.type, dtype=specification.autocast))
                stack.enter_context(observation.under(sys._getframe()))
                output = _exhausted(module(*args, **kwargs))
                if backward:
                    went_back |= _backward(output)
        if backward and not went_back:
            raise NoBackwardError
        allocated = peak()
    return observation, observation.look_at(modules[0]), allocated


def _said(leftovers: Counter[str]) -> tuple[str, ...]:
    if not leftovers:
        return ()
    kept = ", ".join(f"{count} of {operator}" for operator, count in leftovers.items())
    return (
        f'{KEPT_OUTSIDE}, which have no data ({kept}): empty that cache after this test, or measure with device="cpu"',
    )


def _without_what_autocast_changes(profile: Profile, calls: Sequence[tuple[nn.Module, Specification]]) -> Profile:
    """PyTorch has no autocast for meta: what was called under one has the same work in other dtypes."""
    wanted = sorted({str(specification.autocast) for _, specification in calls if specification.autocast is not None})
    if not wanted:
        return profile
    note = (
        f"called under autocast to {', '.join(wanted)}, which an abstract run cannot apply: it has no figure of memory "
        'and traffic; measure them with device="cpu" or on the device'
    )
    unknown: dict[str, Any] = {"memory": None, "read": None, "written": None}
    return replace(
        profile,
        **unknown,
        memory_by_kind={},
        memory_at=None,
        memory_course=None,
        modules={path: replace(part, **unknown) for path, part in profile.modules.items()},
        operators={name: replace(part, read=None, written=None) for name, part in profile.operators.items()},
        notes=(*profile.notes, note),
    )


def _exhausted(output: Any) -> Any:
    """What a model returned; of a generator, which has done nothing yet, what it yields."""
    return list(output) if isinstance(output, GeneratorType) else output


def _set_flags(module: nn.Module, specification: Specification) -> None:
    if not specification.training:
        return
    for path, part in paths_of(module):
        training = specification.training.get(path, is_training(part))
        if is_training(part) is not training:
            part.training = training


def _backward(output: Any) -> bool:
    """Run the backward pass from the sum of all outputs, if there is one."""
    sums = [tensor.sum() for tensor in tensors_of(output) if tensor.requires_grad]
    losses = [total.real if total.is_complex() else total for total in sums]
    if losses:
        torch.autograd.backward(losses)
    return bool(losses)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """The state of every random number generator afterwards is that of before."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    # A device that nobody has used yet has no state to save, and asking for it would initialise it.
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy is not None:
                numpy.random.set_state(numpy_state)
