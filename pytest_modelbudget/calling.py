"""What a model is called with, and calling it: the plugin's own calls of a model, and why one cannot be made."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from pytest_modelbudget.budget import Per, TensorSpec
from pytest_modelbudget.profiling import mistakes
from pytest_modelbudget.profiling.abstract import DataDependentError
from pytest_modelbudget.profiling.copies import UncopyableModelError
from pytest_modelbudget.profiling.devices import DeviceUnavailableError, NoClockError, check_clock, resolve
from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.parameters import UninitializedModelError, has_weights
from pytest_modelbudget.profiling.run import NoBackwardError, repeat, timed
from pytest_modelbudget.profiling.specification import Specification, UnrepeatableCallError, specify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_modelbudget.budget import Inputs
    from pytest_modelbudget.profiling.profile import Profile

    Calls = Sequence[tuple[Profile, int]]
    Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class SubjectError(Exception):
    """There is no model to judge, or nothing to call it with; the message says what to write.

    Attributes:
        invalid: what was written is wrong, rather than merely not enough.
        of_the_run: nothing can be measured in this run, of whatever model, as on a device that is not there.
        lacks_backward: there is no backward pass to measure.
    """

    def __init__(
        self, message: str, *, invalid: bool = False, of_the_run: bool = False, lacks_backward: bool = False
    ) -> None:
        super().__init__(message)
        self.invalid = invalid
        self.of_the_run = of_the_run
        self.lacks_backward = lacks_backward


class How(NamedTuple):
    """How the plugin runs a model itself.

    Attributes:
        device: where, or `auto`.
        flops_per_mac: 1 or 2.
        backward: whether a backward pass follows.
        root: paths in messages are relative to it.
        latency: whether the calls are timed.
        announce: called before a measurement that will take long.
        notes: what a reader of the figures must know.
        attention: `fused` or `math`, on meta.
        instead: what the user can do where the call cannot be made,
        ways_out: and where the model raises, one or the other.
    """

    device: str
    flops_per_mac: int
    backward: bool
    root: Path
    latency: bool = False
    announce: Callable[[], None] = lambda: None
    notes: tuple[str, ...] = ()
    attention: str = "fused"
    instead: str = "call the model in the test"
    ways_out: tuple[str, ...] = ("call it in the test", "give it other inputs=")

    @property
    def where(self) -> str:
        """The device, `auto` resolved."""
        return "meta" if self.device == "auto" else self.device


def state(model: nn.Module) -> Calls:
    """What a model holds, without a call.

    Raises:
        SubjectError: it cannot be measured.
    """
    observation = Observation(compute=False)
    try:
        return observation.profiles(observation.look_at(model), 2)
    except UninitializedModelError as error:
        raise SubjectError(unmeasurable(type(model).__name__, error), invalid=True) from error


def run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], how: How) -> Calls:
    """One call of a model by the plugin.

    Raises:
        SubjectError: it cannot be made.
    """
    try:
        with torch.no_grad():
            specification = specify(model, args, kwargs)
    except UnrepeatableCallError as error:
        raise SubjectError(
            f"the inputs of {type(model).__name__} cannot be copied ({error.reason}): {how.instead}",
            invalid=True,
        ) from error
    return repeated(model, [(model, specification)], how)


def arguments_of(model: nn.Module, inputs: Inputs) -> Arguments:
    """The arguments that `inputs=`, which names no fixture, stands for.

    Raises:
        SubjectError: there are no such tensors, or the callable raises.
    """
    if callable(inputs):
        try:
            return as_arguments(inputs(model))
        except Exception as error:
            raise SubjectError(
                f"inputs= could not make the inputs of {type(model).__name__}: {type(error).__name__}: "
                f"{_first_line(error)}",
                invalid=True,
            ) from error
    return as_arguments(inputs)


def as_arguments(value: Any) -> Arguments:
    """Arguments from what a fixture, a callable or a hook gave: one input, a tuple, a dict, or `(args, kwargs)`."""
    args: Any
    kwargs: Any
    if _is_pair(value):
        args, kwargs = value
    elif isinstance(value, Mapping):
        args, kwargs = (), value
    elif isinstance(value, (tuple, list)):
        args, kwargs = value, {}
    else:
        args, kwargs = (value,), {}
    return tuple(map(_tensor, args)), {str(name): _tensor(spec) for name, spec in kwargs.items()}


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], (tuple, list))
        and isinstance(value[1], Mapping)
    )


def repeated(model: nn.Module, calls: Sequence[tuple[nn.Module, Specification]], how: How) -> Calls:
    """The calls made again, all together; timed ones come alone.

    Raises:
        SubjectError: they cannot be made.
    """
    try:
        if how.latency:
            check_clock(resolve(how.device))
        profiles = repeat(
            model,
            calls,
            device=how.device,
            backward=how.backward,
            flops_per_mac=how.flops_per_mac,
            attention=how.attention,
        )
        if how.latency:
            ((called, specification),) = calls
            profiles = [
                (replace(timed(profile, called, specification, how.device, how.announce), notes=how.notes), count)
                for profile, count in profiles
            ]
        return profiles
    except (NoClockError, UncopyableModelError, DeviceUnavailableError) as error:
        also = f"; or {how.instead}" if how.backward and isinstance(error, UncopyableModelError) else ""
        is_missing = isinstance(error, DeviceUnavailableError)
        raise SubjectError(f"{error}{also}", invalid=True, of_the_run=is_missing) from error
    except NoBackwardError as error:
        name = type(model).__name__
        raise SubjectError(
            f"{name}: {error}: limit its forward pass alone, or train a parameter", lacks_backward=True
        ) from error
    except UninitializedModelError as error:
        raise SubjectError(unmeasurable(type(model).__name__, error), invalid=True) from error
    except DataDependentError as error:  # says where, why and what to do
        reason = str(error).replace(f"{how.root}{os.sep}", "")
        raise SubjectError(f"{type(model).__name__} cannot be run on {how.where}: {reason}", invalid=True) from error
    except Exception as error:  # whatever the model raises
        raise SubjectError(
            f"{type(model).__name__} cannot be run on {how.where} "
            f"({type(error).__name__}: {_first_line(error)}{_place_of(error, how.root)}): "
            f"{_way_out(model, calls[0][1], error, how)}",
            invalid=True,
        ) from error


def _way_out(model: nn.Module, call: Specification, error: Exception, how: How) -> str:
    if tensor := mistakes.integers_meant(error, call.args, call.kwargs):
        inputs = f'inputs=["{tensor}"]' if len(call.args) == 1 and not call.kwargs else f'"{tensor}" in inputs='
        return f"it wants integers where it got floating numbers: write {inputs}"
    if shape := mistakes.shape_given(call.args, call.kwargs):
        return f"{shape} is a shape, and no tensor: pass a tensor, or write inputs={shape}"
    # Where the weights are on meta, no other device can run it.
    elsewhere = how.where == "meta" and has_weights(model)
    if operator := mistakes.operator_without_fake(error):
        way = f'say what {operator} returns, with @torch.library.register_fake("{operator}")'
        return f'{way}, or write device="cpu"' if elsewhere else way
    *ways, last = how.ways_out + (('another device=, for example "cpu"',) if elsewhere else ())
    return f"{', '.join(ways)}, or {last}" if ways else last


def unmeasurable(name: str, error: Exception | str) -> str:
    return f"{name} cannot be measured: {error}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def _place_of(error: Exception, root: Path) -> str:
    """The innermost line of the user's code that was running, if any: ` at models.py:12`."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if not theirs:
        return ""
    path = Path(theirs[-1].filename)
    return f" at {path.relative_to(root).as_posix() if path.is_relative_to(root) else path}:{theirs[-1].lineno}"


def specify_or_explain(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Specification | UnrepeatableCallError:
    """As `specify`; a call that cannot be repeated must not fail the test that makes it."""
    try:
        return specify(module, args, kwargs)
    except UnrepeatableCallError as error:
        return error


def _tensor(spec: Any) -> Any:
    if not isinstance(spec, TensorSpec):
        return spec
    dtype = torch.get_default_dtype() if spec.dtype is None else getattr(torch, spec.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise SubjectError(f"inputs=: torch has no dtype {spec.dtype}", invalid=True)
    if dtype is torch.bool:
        return torch.ones(spec.shape, dtype=dtype)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.empty(spec.shape, dtype=dtype, device="meta")  # becomes noise where it is needed
    return torch.zeros(spec.shape, dtype=dtype)


def instead(*, latency: bool, is_there: bool, is_complete: bool) -> str:
    """What the user can do where the calls of the test cannot be repeated: have no need to."""
    if latency:
        return "what is timed is called again, so call the model itself, with arguments that can be copied"
    observed = [] if is_there else ['use device="auto" for this test']
    return " and ".join(observed + ([] if is_complete else ["run the backward pass in the test"]))


def way_to_time(model: nn.Module, per: Per) -> str:
    """What the user can do where a model did what is to be timed outside a call of it."""
    name = type(model).__name__
    if type(model).__call__ is not nn.Module.__call__:
        return (
            f"{name} has a __call__ of its own: time it in the test, with modelbudget.check(model, args, latency=...)"
        )
    if per is Per.TEST:
        return f'limit the time of a call, with per="call", or call {name} itself in the test'
    return f'call {name} itself in the test, or name the part that is to be timed with model="..."'
