"""Storages: what tells them from each other, and which of them a model holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.packed import holds_packed, packed_in
from pytest_modelbudget.profiling.parameters import modules_of
from pytest_modelbudget.profiling.traffic import PLAIN, inner_tensors, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def holder_of(tensor: torch.Tensor) -> tuple[int, int, Any]:
    """What tells it from others, its bytes, and the object that lives as long as it does."""
    try:
        storage = internals.unwrapped(tensor).untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors
        return id(tensor), stored_bytes(tensor), tensor
    return storage._cdata, storage.nbytes(), storage


def parts_of(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Tensors, and in the place of those that wrap others what they wrap: a shard, the codes of a quantized weight."""
    for tensor in tensors:
        wrapped = inner_tensors(tensor)
        if wrapped:
            yield from parts_of(wrapped)
        else:
            yield tensor


def storages_of(tensors: Iterable[torch.Tensor]) -> set[int]:
    """What tells the storages of tensors from others."""
    return {key for key, _, _ in map(holder_of, parts_of(tensors))}


def storages_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """The bytes of the storages of tensors, each once and whole."""
    return sum({key: size for key, size, _ in map(holder_of, tensors)}.values())


class Holding(NamedTuple):
    """The storages that stay while a model is called: those of its parameters and buffers.

    Attributes:
        parameters, buffers: bytes.
        storages: which they are.
        complete: False where a lazy module has not seen its first input.
    """

    parameters: int
    buffers: int
    storages: frozenset[int]
    complete: bool


def holding_of(module: torch.nn.Module) -> Holding:
    """What a module holds, each storage once and whole: it is alive as long as a part of it is used."""
    parts = modules_of(module)
    seen: set[int] = set()
    sizes = []
    complete = True
    for tables in ([getattr(part, name, None) for part in parts] for name in ("_parameters", "_buffers")):
        total = 0
        for tensor in [tensor for table in tables if table for tensor in table.values() if tensor is not None]:
            if isinstance(tensor, internals.UninitializedTensorMixin):
                complete = False
                continue
            if type(tensor) not in PLAIN and not isinstance(tensor, torch.Tensor):
                continue
            for part in (tensor,) if type(tensor) in PLAIN else parts_of((tensor,)):
                key, size, _ = holder_of(part)
                if key not in seen:
                    seen.add(key)
                    total += size
        sizes.append(total)
    parameters, buffers = sizes
    parameters += sum(tensor.nbytes for part in parts if holds_packed(part) for tensor in packed_in(part))
    return Holding(parameters, buffers, frozenset(seen), complete)
