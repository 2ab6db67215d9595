"""Models that are spread over several processes, as DTensor and FSDP do it: what their figures mean.

What runs is seen in this process only: compute, activations and traffic are those of this rank, as are bytes (size,
memory). Parameters are those of the whole model, however it is cut.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from torch.nn import Parameter

from pytest_modelbudget.profiling.parameters import parameters_of

if TYPE_CHECKING:
    from torch import nn


class ShardedModelError(RuntimeError):
    """The profiler must not run this model on its own."""


def notes_on(model: nn.Module) -> tuple[str, ...]:
    """What a reader must know of the figures of a model of which this process holds a part."""
    # Nobody has such a tensor who has not imported this.
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is None:
        return ()
    for parameter in parameters_of(model):
        if type(parameter) is not Parameter and isinstance(parameter, tensors.DTensor):
            mesh = parameter.device_mesh
            return (
                f"sharded: compute, traffic, size and memory are those of rank {mesh.get_rank()} of {mesh.size()}, "
                "parameters those of the whole model",
            )
    return ()


def check_runs_alone(model: nn.Module) -> None:
    """Raise ShardedModelError for FSDP, whose forward gathers weights from the other processes and swaps them in."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return
    kinds = tuple(
        kind for name in ("FSDPModule", "FullyShardedDataParallel") if (kind := getattr(fsdp, name, None)) is not None
    )
    if any(isinstance(part, kinds) for part in model.modules()):
        raise ShardedModelError(
            f"{type(model).__name__} is sharded by FSDP, and running it would gather its weights from other processes: "
            "call it in the test, or measure it before it is sharded"
        )
