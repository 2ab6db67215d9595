"""Deep copies of models, for runs that must not touch the original."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn


class UncopyableModelError(RuntimeError):
    """A real device runs a copy of the model, and the model cannot be copied."""


def copied(models: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Deep copies on a real device, made in one go: parts of each other stay so.

    Raises:
        UncopyableModelError: they cannot be copied.
    """
    name = type(models[0]).__name__
    if any(tensor.is_meta for model in models for tensor in (*model.parameters(), *model.buffers())):
        raise UncopyableModelError(
            f"the weights of {name} are on meta, so {device.type} cannot run it: build it on a real device"
        )
    try:
        copies = copy.deepcopy(list(models), _clones(models))
    except Exception as error:  # whatever the parts of a model raise
        raise UncopyableModelError(
            f'device="{device.type}" runs a copy of the model, and {name} cannot be copied ({error}): '
            'give it a __deepcopy__, or, unless it is to be timed, write device="meta"'
        ) from error
    for parameter in (parameter for model in copies for parameter in model.parameters()):
        if not parameter.is_leaf:  # TorchScript copies so that gradients would arrive at the originals
            parameter.detach_().requires_grad_()
    return [model if _is_on_cpu(model) and device.type == "cpu" else model.to(device) for model in copies]


def _is_on_cpu(model: nn.Module) -> bool:
    # Torch moves no model that contains itself.
    return all(tensor.device.type == "cpu" for tensor in (*model.parameters(), *model.buffers()))


def _clones(models: Iterable[nn.Module]) -> dict[int, torch.Tensor]:
    """Of the tensors in models that refuse to be deep-copied, by their ids.

    Compressed sparse ones, and what weight normalisation and pruning leave as the weight that they worked out.
    """
    clones = {}
    for module in (part for model in models for part in model.modules()):
        for value in (*module._buffers.values(), *vars(module).values()):
            if isinstance(value, torch.Tensor) and (value.layout in _COMPRESSED or not value.is_leaf):
                clones[id(value)] = value.detach().clone()
    return clones


_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
