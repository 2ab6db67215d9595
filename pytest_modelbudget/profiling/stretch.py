"""Memory over more than one call: of what methods do outside of calls, of several calls, of what follows one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytest_modelbudget.profiling.memory import KINDS, NOWHERE, Account, Storage
from pytest_modelbudget.profiling.storages import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    import torch

    from pytest_modelbudget.profiling.memory import Where

_INPUTS = KINDS.index("inputs")


class Stretch(Account):
    """The memory of what the methods of a model do outside its calls, over the whole test: that has no end.

    Args:
        frame: of the outermost of those methods that are running.
        on_death: as that of `Account`.
    """

    def __init__(self, frame: FrameType, on_death: Callable[[Any], None] | None = None) -> None:
        super().__init__(on_death)
        self._frame, self._code, self._at = 0, frame.f_code, -1
        self._arguments: list[int] = []
        self.is_begun_by(frame)

    def is_begun_by(self, frame: FrameType) -> bool:
        """Whether this frame, under which the next thing happens, may be that of another call of a method.

        Frames are not held, which would keep what the method returns, and a later one may have the same id. But it
        begins at its beginning.
        """
        before = self._frame, self._code, self._at
        self._frame, self._code, self._at = id(frame), frame.f_code, frame.f_lasti
        return before[:2] != (self._frame, self._code) or self._at <= before[2]

    def has_other(self, arguments: list[Any]) -> bool:
        """Whether a method has other arguments than when this was last asked.

        Those with the same ids may be others by now, or hold more: what is read of that will be found.
        """
        before, self._arguments = self._arguments, [*map(id, arguments)]
        return before != self._arguments

    def given(self, tensors: Iterable[torch.Tensor]) -> None:
        """A part is called with these: what is new among them was an input of the method."""
        for tensor in parts_of(tensors):
            self._follow(tensor, _INPUTS, NOWHERE)
        if self._alive > self._peak:
            self._compare(NOWHERE)

    def found(self, storage: Storage, key: int, size: int) -> None:
        """As of any account, but since now: whether it was there at the first of the methods is not known."""
        self._birth(storage, key, size, _INPUTS, NOWHERE)
        if self._alive > self._peak:
            self._compare(NOWHERE)

    def made(
        self, tensors: tuple[torch.Tensor, ...], where: Where, *, backward: bool = False, transient: int = 0
    ) -> None:
        """As of any account; where the forward ends is known only when the backward begins."""
        super().made(tensors, where, backward=backward, transient=transient)
        if not backward:
            self._births_in_forward = self._births

    def _is_in_forward(self) -> bool:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if id(frame) == self._frame and frame.f_code is self._code:
                return True
            frame = frame.f_back
        return False


class After(Account):
    """Passes what a module without weights does after a call, as a loss does, on to the memory of that call.

    It counts as what the test itself computes there: if a backward pass of the call follows.
    """

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def made(
        self, tensors: tuple[torch.Tensor, ...], where: Where, *, backward: bool = False, transient: int = 0
    ) -> None:
        """As of any account."""
        self._account.later(tensors, where, transient, backward=backward)

    def later(self, tensors: tuple[torch.Tensor, ...], where: Where, transient: int, *, backward: bool = False) -> None:
        """As of any account."""
        self._account.later(tensors, where, transient, backward=backward)

    def read(self, tensors: Iterable[torch.Tensor]) -> None:
        """What it reads is its own affair."""

    def received(self, tensors: Iterable[torch.Tensor]) -> None:
        """As what it reads."""


class Chain(Account):
    """The memory of several calls of a model, of whose backward passes none had begun before the next call did.

    So the steps of a rollout are alive at once, or both sides of a contrast.
    """

    def take_over(self, account: Account) -> None:
        """A call has been there already, with what is alive of it."""
        for storage in [*account._followed.values()]:
            holder, (key, size, kind, _, where) = storage(), storage.facts
            if holder is not None and key not in self._followed and key not in self._held:
                self._birth(Storage(holder, self._on_death), key, size, kind, where)
        self._compare(NOWHERE)
        account.around += (self,)

    def take_in(self, account: Account, inputs: Iterable[torch.Tensor]) -> None:
        """A call begins."""
        self._in_forward = True
        for tensor in parts_of(inputs):
            self._follow(tensor, _INPUTS, NOWHERE)
        self._compare(NOWHERE)
        account.around += (self,)
