"""Everything about a model and its process that profiling must not change, as something that can be compared."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy
import torch

if TYPE_CHECKING:
    from torch import nn


def snapshot(model: nn.Module) -> dict[str, Any]:
    """The identity, bytes, version and gradient of every tensor, every attribute, and the state of the process."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "tensors": {
            name: (id(t), str(t.device), t._version, t.requires_grad, id(t.grad), _bytes(t))
            for name, t in tensors.items()
        },
        "attributes": {name: _attributes(module) for name, module in model.named_modules()},
        "classes": {name: type(module) for name, module in model.named_modules()},
        "process": process(),
    }


def process() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(numpy.random.get_state()),
        "python": random.getstate(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "patched": {name: id(value) for name, value in vars(torch.nn.functional).items()},
    }


def _bytes(tensor: torch.Tensor) -> Any:
    return None if tensor.is_meta else tensor.detach().cpu().flatten().tolist()


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: _frozen(value) for name, value in vars(module).items()}


def _frozen(value: Any) -> Any:
    """Contents of containers by identity, so that an equal but other tensor shows."""
    if isinstance(value, dict):
        return [(key, _frozen(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_frozen(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(id, value))
    return id(value) if not isinstance(value, (int, float, str, bool, type(None))) else value
