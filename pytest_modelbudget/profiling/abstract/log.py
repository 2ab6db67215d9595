"""What happens in a run, in the order in which it happens, as a flat list that is read when the run is over.

An operator that is remembered leaves one reference and the storage that it made; a module call leaves one entry when
it begins and one when it ends. Everything else that is to be known follows from them, and where the same happens again
it need not even be worked out again: see `recall.py`.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pytest_modelbudget.profiling.memory import Storage
from pytest_modelbudget.profiling.storages import holder_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

    from pytest_modelbudget.profiling.calls import Work
    from pytest_modelbudget.profiling.memory import Account
    from pytest_modelbudget.profiling.profile import Shape


class Did(NamedTuple):
    """What an operator did in the module that is running.

    Attributes:
        sizes: bytes of the new storages, which follow in the log.
        transient: bytes that it held beside them until it returned.
    """

    operator: str
    works: tuple[Work, ...]
    sizes: tuple[int, ...] = ()
    transient: int = 0


class Entered(NamedTuple):
    """A call of the module with that number began."""

    number: int


class Found(NamedTuple):
    """A storage of that many bytes was read which was there before, in nobody's keeping; it follows in the log."""

    size: int


class Resized(NamedTuple):
    """A storage, which follows in the log, has that many bytes now."""

    size: int


Left: TypeAlias = "tuple[torch.Size | tuple[Shape, ...], torch.Size | tuple[Shape, ...]]"
"""The innermost call has ended: shapes of what it was given and what it returned, or the one shape."""


class Log:
    """The events of one run."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        """`Did`, `Entered`, `Left`, and storages: one when it was made, and again when it has died."""
        self.append = self.events.append

    def did(
        self,
        operator: str,
        works: tuple[Work, ...],
        made: Iterable[torch.Tensor],
        transient: int,
        account: Account,
    ) -> None:
        """Note what an operator did, whose output may hold storages that are followed already."""
        sizes, storages = [], []
        for tensor in made:
            key, size, holder = holder_of(tensor)
            if not account.holds(key) and not any(map(self._is_own, weakref.getweakrefs(holder))):
                storages.append(Storage(holder, self.append))
                sizes.append(size)
        self.append(Did(operator, works, tuple(sizes), transient))
        self.events += storages

    def knows(self, tensor: torch.Tensor, account: Account) -> bool:
        """Whether the call holds this, was given it, has made it, or was seen to read it."""
        key, _, holder = holder_of(tensor)
        return account.holds(key) or any(map(self._is_own, weakref.getweakrefs(holder)))

    def read(self, tensor: torch.Tensor) -> None:
        """Note that an operator reads this, which the call does not know."""
        _, size, holder = holder_of(tensor)
        if size:
            self.events += (Found(size), Storage(holder, self.append))

    def resized(self, tensor: torch.Tensor) -> None:
        """Note that a tensor may have been resized in place."""
        _, size, holder = holder_of(tensor)
        for storage in filter(self._is_own, weakref.getweakrefs(holder)):
            self.events += (Resized(size), storage)

    def _is_own(self, reference: Any) -> bool:
        return type(reference) is Storage and reference.__callback__ == self.append

    def taken(self) -> list[Any]:
        """What has happened since this was last asked for."""
        events = self.events[:]
        del self.events[: len(events)]  # in place: what dies meanwhile is appended
        return events

    def comparable(self, inputs: Iterable[Storage]) -> list[Any]:
        """The events, with storages by their numbers, the `inputs` first: equal where the same has happened."""
        numbers = {id(storage): number for number, storage in enumerate(inputs)}
        of = numbers.setdefault
        return [of(id(event), len(numbers)) if type(event) is Storage else event for event in self.events]

    def remaining(self) -> Iterator[str]:
        """The operators that made what has no data and is still there."""
        if not any(type(event) is Storage and event() is not None for event in self.events):
            return
        operator = ""
        events = iter(self.events)
        for event in events:
            if type(event) is Did:
                operator = event.operator
            elif type(event) in (Found, Resized):
                next(events)
            elif type(event) is Storage and (holder := event()) is not None and holder.device.type == "meta":
                yield operator
