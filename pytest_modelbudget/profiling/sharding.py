"""Models that are spread over several processes, as DTensor and FSDP do it: what their figures mean.

What runs is seen in this process only: compute, activations and traffic are those of this rank, as are bytes (size,
memory). Parameters are those of the whole model, however it is cut.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from torch.nn import Parameter

if TYPE_CHECKING:
    from pytest_modelbudget.profiling.parameters import Parts


class ShardedModelError(RuntimeError):
    """The profiler must not run this model on its own."""


def notes_on(parts: Parts) -> tuple[str, ...]:
    """What a reader must know of the figures of a model, by its `paths_of`, of which this process holds a part."""
    # Nobody has such a tensor who has not imported this.
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is None:
        return ()
    for _, part in parts:
        for parameter in part._parameters.values():
            if type(parameter) is not Parameter and isinstance(parameter, tensors.DTensor):
                mesh = parameter.device_mesh
                return (
                    f"sharded: compute, traffic, size and memory are those of rank {mesh.get_rank()} of {mesh.size()}, "
                    "parameters those of the whole model",
                )
    return ()


def check_runs_alone(parts: Parts) -> None:
    """Raise ShardedModelError for FSDP, whose forward gathers weights from the other processes and swaps them in."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return
    kinds = tuple(
        kind for name in ("FSDPModule", "FullyShardedDataParallel") if (kind := getattr(fsdp, name, None)) is not None
    )
    if any(issubclass(kind, kinds) for kind in {type(part) for _, part in parts}):
        raise ShardedModelError(
            f"{type(parts[0][1]).__name__} is sharded by FSDP, and running it would gather its weights from other "
            "processes: call it in the test, or measure it before it is sharded"
        )
