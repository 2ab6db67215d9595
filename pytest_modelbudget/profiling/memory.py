"""What is alive during a call and its backward: storages as they are born and die, and their peak.

Storages, not tensors: views share them, and they survive the hidden copies that autograd makes of tensors.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.parameters import paths_of
from pytest_modelbudget.profiling.traffic import inner_tensors, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Where = tuple[tuple[int, ...], str]
"""The path of modules and the operator that made a tensor."""

NOWHERE: Where = ((), "")

KINDS = ("parameters", "buffers", "gradients", "inputs", "activations", "temporaries")
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})
_PARAMETERS, _BUFFERS, _GRADIENTS, _INPUTS, _FORWARD, _BACKWARD = range(6)


class Peak(NamedTuple):
    """The largest number of bytes that were alive at once.

    Attributes:
        bytes: all of them.
        by_kind: bytes of each of `KINDS`. Activations outlive the forward pass, because they were saved for the
            backward pass or returned; temporaries do not, or were made and released within the backward pass.
        where: what was made at that moment.
    """

    bytes: int
    by_kind: dict[str, int]
    where: Where


class _Facts(NamedTuple):
    key: int
    size: int
    kind: int
    birth: int
    where: Where


_make = tuple.__new__  # makes a named tuple in a third of the time


class _Storage(weakref.ref[Any]):
    """A storage that is followed until it dies."""

    __slots__ = ("account", "facts")

    account: Account
    facts: _Facts


class Account:
    """The memory of one call: what the model and its inputs hold, and what was made since the call began."""

    def __init__(self) -> None:
        self._live = [0] * 6
        self._alive = 0  # their sum
        self._followed: dict[int, _Storage] = {}
        self._held: frozenset[int] = frozenset()
        self._births = 0
        self._in_forward = True
        self._peak = 0
        self._at_peak = list(self._live)
        self._peak_birth = 0
        self._where = NOWHERE
        self._short_lived = {_FORWARD: 0, _BACKWARD: 0}
        """Bytes alive at the peak that turned out to be temporaries."""

    def open(self, holding: Holding, gradients: Iterable[torch.Tensor], inputs: Iterable[torch.Tensor]) -> None:
        """The call begins: parameters, buffers, gradients and inputs are alive."""
        self.hold(holding)
        for tensor in _parts(gradients):
            self._follow(tensor, _GRADIENTS, NOWHERE)
        for tensor in _parts(inputs):
            self._follow(tensor, _INPUTS, NOWHERE)
        self._compare(NOWHERE)

    def hold(self, holding: Holding) -> None:
        """Parameters and buffers are there; those of lazy modules were taken for activations until now."""
        for key in holding.storages & self._followed.keys():
            _, size, kind, birth, _ = self._followed.pop(key).facts
            self._live[kind] -= size
            if birth <= self._peak_birth:
                self._at_peak[kind] -= size
                self._at_peak[_PARAMETERS] += size
        self._held = holding.storages
        self._live[_PARAMETERS] = holding.parameters
        self._live[_BUFFERS] = holding.buffers
        self._alive = sum(self._live)

    def made(
        self, tensors: Iterable[torch.Tensor], where: Where, *, backward: bool = False, transient: int = 0
    ) -> None:
        """An operator made these, and held `transient` bytes more until it returned them."""
        kind = _BACKWARD if backward else _FORWARD
        for tensor in tensors:
            self._follow(tensor, kind, where)
        if self._alive + transient > self._peak:
            self._compare(where, kind, transient)

    def made_afresh(self, tensor: torch.Tensor, size: int, where: Where, backward: bool, transient: int) -> None:
        """As `made`, for a tensor whose storage, of `size` bytes, nobody can have seen before."""
        holder = tensor.untyped_storage()
        key = holder._cdata
        kind = _BACKWARD if backward else _FORWARD
        self._births = birth = self._births + 1
        self._followed[key] = storage = _Storage(holder, _died)
        storage.account = self
        storage.facts = _make(_Facts, (key, size, kind, birth, where))
        self._live[kind] += size
        self._alive = alive = self._alive + size
        if alive + transient > self._peak:
            self._compare(where, kind, transient)

    def forward_over(self) -> None:
        """The call has ended; its backward pass may follow."""
        self._in_forward = False

    def remaining(self) -> list[str]:
        """The operators that made what has no data and is still there."""
        return [
            where[1]
            for storage, (_, _, kind, _, where) in ((each, each.facts) for each in self._followed.values())
            if kind in (_FORWARD, _BACKWARD) and (held := storage()) is not None and held.device.type == "meta"
        ]

    def peak(self) -> Peak:
        """The peak so far."""
        live = dict(enumerate(self._at_peak))
        temporaries = sum(self._short_lived.values())
        return Peak(
            bytes=self._peak,
            by_kind={
                "parameters": live[_PARAMETERS],
                "buffers": live[_BUFFERS],
                "gradients": live[_GRADIENTS] + live[_BACKWARD] - self._short_lived[_BACKWARD],
                "inputs": live[_INPUTS],
                "activations": live[_FORWARD] - self._short_lived[_FORWARD],
                "temporaries": temporaries,
            },
            where=self._where,
        )

    def _follow(self, tensor: torch.Tensor, kind: int, where: Where) -> None:
        key, size, holder = _storage_of(tensor)
        if key in self._followed or key in self._held:
            return
        self._births += 1
        self._followed[key] = storage = _Storage(holder, _died)
        storage.account = self
        storage.facts = _make(_Facts, (key, size, kind, self._births, where))
        self._live[kind] += size
        self._alive += size

    def _compare(self, where: Where, kind: int = _FORWARD, transient: int = 0) -> None:
        alive = self._alive + transient
        if alive > self._peak:
            self._peak, self._where = alive, where
            self._at_peak = list(self._live)
            self._at_peak[kind] += transient
            self._peak_birth = self._births
            self._short_lived = {_FORWARD: 0, _BACKWARD: 0}
            self._short_lived[kind] = transient

    def died(self, facts: _Facts) -> None:
        """A storage is gone."""
        key, size, kind, birth, _ = facts
        if self._followed.pop(key, None) is None:
            return
        self._live[kind] -= size
        self._alive -= size
        if birth > self._peak_birth:
            return  # was not there at the peak
        if (kind == _FORWARD and self._in_forward) or (
            kind == _BACKWARD and internals.current_autograd_node() is not None
        ):
            self._short_lived[kind] += size


def _died(storage: Any) -> None:
    storage.account.died(storage.facts)


def _storage_of(tensor: torch.Tensor) -> tuple[int, int, Any]:
    """What tells it from others, its bytes, and the object that lives as long as it does."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors, and those that `torch.func` wraps
        return id(tensor), stored_bytes(tensor), tensor
    return storage._cdata, storage.nbytes(), storage


def _parts(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Tensors, and in the place of those that wrap others what they wrap: a shard, the codes of a quantized weight."""
    for tensor in tensors:
        wrapped = inner_tensors(tensor)
        if wrapped:
            yield from _parts(wrapped)
        else:
            yield tensor


def storages_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """The bytes of the storages of tensors, each once and whole."""
    return sum({key: size for key, size, _ in map(_storage_of, tensors)}.values())


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
    parts = {id(part): part for _, part in paths_of(module)}.values()
    seen: set[int] = set()
    sizes = []
    complete = True
    for tables in ([part._parameters for part in parts], [part._buffers for part in parts]):
        total = 0
        for tensor in _parts(tensor for table in tables for tensor in table.values() if tensor is not None):
            if type(tensor) in _PLAIN and tensor.layout is torch.strided:  # nearly all
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
            elif isinstance(tensor, internals.UninitializedTensorMixin):
                complete = False
                continue
            else:
                key, size, _ = _storage_of(tensor)
            if key not in seen:
                seen.add(key)
                total += size
        sizes.append(total)
    parameters, buffers = sizes
    return Holding(parameters, buffers, frozenset(seen), complete)
