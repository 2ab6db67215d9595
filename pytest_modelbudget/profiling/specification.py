"""What a model is called with, without the data: recorded from a call, and made real on any device.

Floating tensors keep shape, strides and dtype only and live on `meta`; integer and boolean tensors, which steer
what a model does, are copied as they are; every other object is deep-copied, so that a cache that grows later does
not change what was recorded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_modelbudget.profiling.parameters import paths_of
from pytest_modelbudget.profiling.shapes import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@dataclass(frozen=True)
class Specification:
    """A call that can be repeated.

    Attributes:
        args, kwargs: with blueprints (see above) for tensors.
        training: the `training` flag of each module, by path; empty: as the modules are.
        grad: whether autograd recorded.
        autocast: the dtype that autocast used on the call's device type, or None.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    training: dict[str, bool]
    grad: bool
    autocast: torch.dtype | None = None


class UnrepeatableCallError(RuntimeError):
    """An argument cannot be copied, so the call cannot be made again.

    Attributes:
        reason: why it cannot.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"an argument of the call cannot be copied ({reason}): pass only what copy.deepcopy can copy, since the "
            "call is made with copies"
        )
        self.reason = reason


def specify(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, at_once: bool = False
) -> Specification:
    """Record a call of `module`, before it changes anything.

    `at_once`: it is repeated before anybody can change the mode of a module, which need not be noted then.

    Raises:
        UnrepeatableCallError: an argument cannot be copied.
    """
    tensor = next(tensors_of((args, kwargs)), None)
    device = "cpu" if tensor is None else tensor.device.type
    autocast = None
    if device != "meta" and torch.is_autocast_enabled(device):
        autocast = torch.get_autocast_dtype(device)
    args, kwargs = _deepcopy((args, kwargs), _blueprint)
    return Specification(
        args=args,
        kwargs=kwargs,
        training={} if at_once else {path: is_training(part) for path, part in paths_of(module)},
        grad=torch.is_grad_enabled(),
        autocast=autocast,
    )


def is_training(module: nn.Module) -> bool:
    """The mode of a module; a frozen TorchScript module has none any more."""
    return bool(getattr(module, "training", False))


def realize(
    specification: Specification, device: torch.device, *, integers: torch.device | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Fresh arguments on `device`: integers as recorded, floating tensors as normal noise (on `meta`: empty).

    `integers`: where integers are instead.
    """

    def make(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return tensor.to(integers or device, copy=True)
        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        if device.type != "meta":
            made.copy_(torch.randn(tensor.shape, device=device))
        return made.requires_grad_(tensor.requires_grad)

    made: tuple[tuple[Any, ...], dict[str, Any]] = _deepcopy((specification.args, specification.kwargs), make)
    return made


def _blueprint(tensor: torch.Tensor) -> torch.Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.detach().clone()
    if tensor.layout is not torch.strided:
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)
    blueprint = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return blueprint.requires_grad_(tensor.requires_grad)


class _CopyTensors(TorchFunctionMode):
    """Answers every `Tensor.__deepcopy__`."""

    def __init__(self, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._make = make

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            with torch.no_grad():
                made = self._make(tensor)
            memo[id(tensor)] = made
            return made
        return func(*args, **(kwargs or {}))


def _deepcopy(value: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    try:
        with _CopyTensors(make):
            return copy.deepcopy(value)
    except Exception as error:
        raise UnrepeatableCallError(str(error)) from error
