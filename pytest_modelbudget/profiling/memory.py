"""What is alive during a call and its backward: storages as they are born and die, and their peak.

Storages, not tensors: views share them, and they survive the hidden copies that autograd makes of tensors.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.storages import holder_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from pytest_modelbudget.profiling.storages import Holding

Where = tuple[tuple[int, ...], str]
"""The path of modules and the operator that made a tensor."""

NOWHERE: Where = ((), "")

KINDS = ("parameters", "buffers", "gradients", "inputs", "activations", "temporaries")
_PARAMETERS, _BUFFERS, _GRADIENTS, _INPUTS, _FORWARD, _BACKWARD = range(6)


class Peak(NamedTuple):
    """The largest number of bytes that were alive at once.

    Attributes:
        bytes: all of them.
        by_kind: bytes of each of `KINDS`. Activations outlive the forward pass, because they were saved for the
            backward pass or returned; temporaries do not, or were made and released within the backward pass.
        where: what was made at that moment.
        made: bytes that each module made, by its path; what the model held before the call is not among them.
    """

    bytes: int
    by_kind: dict[str, int]
    where: Where
    made: dict[tuple[int, ...], int]

    def with_held(self, held: int) -> Peak:
        """The same where a model held more parameters, of as many bytes, all the while."""
        by_kind = {**self.by_kind, "parameters": self.by_kind["parameters"] + held}
        return self._replace(bytes=self.bytes + held, by_kind=by_kind) if held else self


Sample = tuple[int, int, tuple[int, ...]]
"""The how manyth storage of the call was made, how many bytes were alive then, and the path of the module."""


class Course(NamedTuple):
    """What was alive over the course of a call: samples at equal distances, and the peak.

    Attributes:
        samples: at most `_SAMPLES` and the peak, the earliest first.
        births: how many storages the call has made or was given; `in_forward`: until its forward pass was over.
    """

    samples: tuple[Sample, ...]
    births: int
    in_forward: int

    def with_held(self, held: int) -> Course:
        """The same where as many bytes more were alive all the while."""
        samples = tuple([(birth, alive + held, path) for birth, alive, path in self.samples]) if held else self.samples
        return self._replace(samples=samples)


_SAMPLES = 256
"""Of a course: beyond, every other sample is dropped, and half as many are taken from then on."""


class _Facts(NamedTuple):
    key: int
    size: int
    kind: int
    birth: int
    where: Where


_make = tuple.__new__  # makes a named tuple in a third of the time


class Storage(weakref.ref[Any]):
    """A storage that is followed until it dies."""

    __slots__ = ("account", "facts")

    account: Account
    facts: _Facts


class _Before:
    """An account as it was before the latest of what `later` was told, for as long as no backward pass has followed.

    Attributes:
        births, in_forward: how many storages had been made, and until the end of the forward pass.
        short_lived: bytes alive at the peak that had turned out to be temporaries.
        peak: that, with what was alive at it and is not any more, where there is a higher one since; else None.
    """

    __slots__ = ("births", "in_forward", "peak", "short_lived")

    def __init__(self, births: int, in_forward: int, short_lived: dict[int, int]) -> None:
        self.births = births
        self.in_forward = in_forward
        self.short_lived = short_lived
        self.peak: _AtPeak | None = None


class _AtPeak(NamedTuple):
    """What was alive at the peak.

    Attributes:
        bytes: all of it; `live`: bytes of each of `KINDS`.
        birth: how many storages had been made by then.
        where: what was made at that moment, and held `transient` bytes beside it.
        gone: what is not alive any more.
    """

    bytes: int
    live: list[int]
    birth: int
    where: Where
    transient: int
    gone: list[_Facts]


class Account:
    """The memory of one call: what the model and its inputs hold, and what was made since the call began.

    Args:
        on_death: called with a `Storage` when it is gone, to have `died` called sooner or later.
    """

    def __init__(self, on_death: Callable[[Any], None] | None = None) -> None:
        self._on_death = on_death or _died
        self._live = [0] * 6
        self._alive = 0  # their sum
        self._followed: dict[int, Storage] = {}
        self._held: frozenset[int] = frozenset()
        self._births = 0
        self._in_forward = True
        self._peak = 0
        self._at_peak = list(self._live)
        self._peak_birth = 0
        self._where = NOWHERE
        self._transient = 0
        self._short_lived = {_FORWARD: 0, _BACKWARD: 0}
        """Bytes alive at the peak that turned out to be temporaries."""
        self._gone: list[_Facts] = []
        """What was alive at the peak and is not any more."""
        self._samples: list[Sample] = []
        self._step = self._due = 1
        self._births_in_forward = 0
        self._before: _Before | None = None
        self._is_later = False
        """Whether what happens is told by `later`."""
        self._holds_now: Callable[[], Holding] | None = None
        self._given_held: list[tuple[int, int, weakref.ref[Any]]] = []
        """Inputs that the model itself seemed to hold."""
        self.around: tuple[Account, ...] = ()
        """Those of the stretches that the call is a part of."""

    def open(
        self,
        holding: Holding,
        gradients: Iterable[torch.Tensor],
        inputs: Iterable[torch.Tensor],
        holds_now: Callable[[], Holding] | None = None,
    ) -> None:
        """The call begins: parameters, buffers, gradients and inputs are alive.

        `holds_now`: looks at the model again, where what it held when it was last looked at may be out of date.
        """
        self.hold(holding)
        self._holds_now = holds_now
        for tensor in parts_of(gradients):
            self._follow(tensor, _GRADIENTS, NOWHERE)
        for tensor in parts_of(inputs):
            key, size, holder = holder_of(tensor)
            if key in holding.storages:
                self._given_held.append((key, size, weakref.ref(holder)))
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
        self, tensors: tuple[torch.Tensor, ...], where: Where, *, backward: bool = False, transient: int = 0
    ) -> None:
        """An operator made these, and held `transient` bytes more until it returned them."""
        kind = _BACKWARD if backward else _FORWARD
        for tensor in tensors:
            self._follow(tensor, kind, where)
        if self._alive + transient > self._peak:
            self._compare(where, kind, transient)
        for account in self.around:
            account.made(tensors, where, backward=backward, transient=transient)

    def read(self, tensors: Iterable[torch.Tensor]) -> None:
        """An operator reads these. What nobody has told of was there before: in a closure, in a plain attribute."""
        held, followed = self._held, self._followed
        for tensor in tensors:
            try:
                storage = tensor.untyped_storage()
            except (NotImplementedError, RuntimeError):  # what `torch.func` wraps; sparse tensors, which are not told
                _, _, storage = holder_of(tensor)
                if storage is tensor:
                    continue
            key = storage._cdata
            if key in followed:
                known = followed[key]
                if known.facts[1] != storage.nbytes():
                    self.resized(known, storage.nbytes())
            elif key not in held:
                self._find(tensor)
                held = self._held

    def received(self, tensors: Iterable[torch.Tensor]) -> None:
        """The backward pass reads these. What nobody has told of came from whatever used what the call returned."""
        for tensor in tensors:
            if tensor.dim():
                self._follow(tensor, _BACKWARD, NOWHERE)
        if self._alive > self._peak:
            self._compare(NOWHERE, _BACKWARD)
        for account in self.around:
            account.received(tensors)

    def resized(self, storage: Storage, size: int) -> None:
        """A storage has grown or shrunk in place."""
        key, _, kind, _, where = facts = storage.facts
        self.died(facts)
        self._birth(storage, key, size, kind, where)
        if self._alive > self._peak:
            self._compare(where)

    def _find(self, tensor: torch.Tensor) -> None:
        key, size, holder = holder_of(tensor)
        if not size or not tensor.dim() or any(account.holds(key) for account in self.around):
            return  # kernels make tensors of single numbers, unseen
        if self._holds_now is not None:
            holding, self._holds_now = self._holds_now(), None
            if holding.storages != self._held:
                self._hold_instead(holding)
            if key in self._held:
                return
        self.found(Storage(holder, self._on_death), key, size)
        for account in self.around:
            account.read((tensor,))

    def _hold_instead(self, holding: Holding) -> None:
        """Somebody has set `parameter.data` since the model was looked at: what it held may be an input's by now."""
        self.hold(holding)
        for key, size, reference in self._given_held:
            holder = reference()
            if holder is not None and key not in self._held and key not in self._followed:
                self.found(Storage(holder, self._on_death), key, size)

    def found(self, storage: Storage, key: int, size: int) -> None:
        """A storage was there when the call began, and is noticed only now."""
        self._before = None
        self._followed[key] = storage
        storage.account = self
        storage.facts = _make(_Facts, (key, size, _INPUTS, 0, NOWHERE))
        self._live[_INPUTS] += size
        self._alive += size
        self._peak += size
        self._at_peak[_INPUTS] += size
        self._samples = [(birth, alive + size, path) for birth, alive, path in self._samples]

    def later(self, tensors: tuple[torch.Tensor, ...], where: Where, transient: int, *, backward: bool = False) -> None:
        """The test made these after the call: the loss, if a backward pass of the call follows, else no work of it.

        `backward`: they were made in the backward pass of that, which may or may not come to the call.
        """
        if self._before is None:
            self._before = _Before(self._births, self._births_in_forward, {**self._short_lived})
        around, self.around = self.around, ()
        self._is_later = True
        self.made(tensors, where, backward=backward, transient=transient)
        self._is_later = False
        self.around = around
        for account in around:
            account.later(tensors, where, transient, backward=backward)

    def made_alone(self, tensor: torch.Tensor, where: Where, backward: bool) -> None:
        """As `made`, for a tensor whose storage nobody can have seen before."""
        try:
            holder = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # what `torch.func` wraps
            self.made((tensor,), where, backward=backward)
            return
        kind = _BACKWARD if backward else _FORWARD
        self._birth(Storage(holder, self._on_death), holder._cdata, holder.nbytes(), kind, where)
        if self._alive > self._peak:
            self._compare(where, kind)
        for account in self.around:
            account.made((tensor,), where, backward=backward)

    def born(self, storages: Iterable[tuple[int, Storage]], where: Where, backward: bool, transient: int) -> None:
        """As `made`, told later: of new storages with their bytes, which somebody follows until they die."""
        kind = _BACKWARD if backward else _FORWARD
        for size, storage in storages:
            self._birth(storage, -self._births - 1, size, kind, where)
        if self._alive + transient > self._peak:
            self._compare(where, kind, transient)

    def _birth(self, storage: Storage, key: int, size: int, kind: int, where: Where) -> None:
        self._births = birth = self._births + 1
        if not self._is_later:
            self._before = None
        self._followed[key] = storage
        storage.account = self
        storage.facts = _make(_Facts, (key, size, kind, birth, where))
        self._live[kind] += size
        self._alive += size
        if birth >= self._due:
            self._sample(where)

    def holds(self, key: int) -> bool:
        """Whether the storage is one of the model's own."""
        return key in self._held

    def alive(self) -> tuple[tuple[int, ...], tuple[Storage, ...]]:
        """The bytes of each of `KINDS` that are alive, and the storages that are followed."""
        return tuple(self._live), tuple(self._followed.values())

    def forward_over(self) -> None:
        """The call has ended; its backward pass may follow."""
        self._in_forward = False
        self._births_in_forward = self._births

    def remaining(self) -> list[str]:
        """The operators that made what has no data and is still there."""
        return [
            where[1]
            for storage, (_, _, kind, _, where) in ((each, each.facts) for each in self._followed.values())
            if kind in (_FORWARD, _BACKWARD) and (held := storage()) is not None and held.device.type == "meta"
        ]

    def peak(self) -> Peak:
        """The peak so far."""
        before = self._before
        short_lived = self._short_lived if before is None else before.short_lived
        peak = self._as_it_is() if before is None or before.peak is None else before.peak
        return Peak(
            bytes=peak.bytes,
            by_kind={
                "parameters": peak.live[_PARAMETERS],
                "buffers": peak.live[_BUFFERS],
                "gradients": peak.live[_GRADIENTS] + peak.live[_BACKWARD] - short_lived[_BACKWARD],
                "inputs": peak.live[_INPUTS],
                "activations": peak.live[_FORWARD] - short_lived[_FORWARD],
                "temporaries": sum(short_lived.values()),
            },
            where=peak.where,
            made=self._made_at(peak),
        )

    def _as_it_is(self) -> _AtPeak:
        return _AtPeak(self._peak, self._at_peak, self._peak_birth, self._where, self._transient, self._gone)

    def _made_at(self, peak: _AtPeak) -> dict[tuple[int, ...], int]:
        made: Counter[tuple[int, ...]] = Counter()
        made[peak.where[0]] += peak.transient
        alive = (storage.facts for storage in self._followed.values())
        for facts in (*peak.gone, *alive):
            if facts.birth <= peak.birth and facts.kind != _INPUTS:
                made[facts.where[0]] += facts.size
        return dict(made)

    def course(self) -> Course:
        """What was alive over the course of the call so far."""
        before = self._before
        peak = self._as_it_is() if before is None or before.peak is None else before.peak
        total, in_forward = self._births, self._births_in_forward
        if before is not None:
            total, in_forward = before.births, before.in_forward
        births = [birth for birth, _, _ in self._samples]
        start, end, last = (
            bisect_left(births, peak.birth),
            bisect_right(births, peak.birth),
            bisect_right(births, total),
        )
        samples = (*self._samples[:start], (peak.birth, peak.bytes, peak.where[0]), *self._samples[end:last])
        return Course(samples, total, in_forward)

    def _sample(self, where: Where) -> None:
        self._samples.append((self._births, self._alive, where[0]))
        if len(self._samples) >= _SAMPLES:
            del self._samples[::2]  # the ones that remain are at multiples of the new step
            self._step *= 2
        self._due = self._births + self._step

    def _follow(self, tensor: torch.Tensor, kind: int, where: Where) -> None:
        key, size, holder = holder_of(tensor)
        if key in self._followed or key in self._held:
            return
        self._birth(Storage(holder, self._on_death), key, size, kind, where)

    def _compare(self, where: Where, kind: int = _FORWARD, transient: int = 0) -> None:
        alive = self._alive + transient
        if alive > self._peak:
            before = self._before
            if before is not None and before.peak is None:
                before.peak, self._gone = self._as_it_is(), []
            self._peak, self._where = alive, where
            self._at_peak = list(self._live)
            self._at_peak[kind] += transient
            self._peak_birth = self._births
            self._short_lived = {_FORWARD: 0, _BACKWARD: 0}
            self._short_lived[kind] = self._transient = transient
            self._gone.clear()

    def died(self, facts: _Facts) -> None:
        """A storage is gone."""
        key, size, kind, birth, _ = facts
        if self._followed.pop(key, None) is None:
            return
        self._live[kind] -= size
        self._alive -= size
        before = self._before
        if before is not None and before.peak is not None and birth <= before.peak.birth:
            before.peak.gone.append(facts)
        if birth > self._peak_birth:
            return  # was not there at the peak
        self._gone.append(facts)
        if (kind == _FORWARD and self._is_in_forward()) or (
            kind == _BACKWARD and internals.current_autograd_node() is not None
        ):
            self._short_lived[kind] += size

    def _is_in_forward(self) -> bool:
        return self._in_forward


def _died(storage: Any) -> None:
    storage.account.died(storage.facts)
