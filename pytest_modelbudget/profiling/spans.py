"""Who made which node of autograd: told when the backward pass comes to it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_modelbudget.profiling import internals

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from pytest_modelbudget.profiling.calls import Call, Outside, Path

    Maker: TypeAlias = "tuple[Call, Path] | Outside | None"
    """A module in a call, methods outside of calls, or neither."""

_sequence_number = internals.autograd_sequence_number


class Spans:
    """Sequence numbers of nodes grow, so those of one maker are spans: the k-th starts at `_starts[k]`."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._makers: list[Maker] = []
        self._claimed = 0
        """Nodes below this are spoken for."""
        self._first = -1
        """The first node that was made under observation."""

    def begin(self) -> None:
        """Nodes that are made from now on are of what is observed."""
        if self._first < 0:
            self._first = _sequence_number()

    def is_older(self, node: Any) -> bool:
        """Whether a node was made before anything was observed."""
        return bool(node._sequence_nr() < self._first)

    def mark(self, start: int, maker: Maker) -> None:
        """Nodes numbered from `start` on belong to `maker`."""
        if self._starts and self._starts[-1] >= start:  # no node since the last mark: it marked nothing
            self._makers[-1] = maker
        else:
            self._starts.append(start)
            self._makers.append(maker)

    def mark_latest(self, maker: Maker) -> None:
        """The latest node belongs to `maker`, and those that follow to nobody."""
        following = _sequence_number()
        self.mark(following - 1, maker)
        self.mark(following, None)

    def mark_all(self, maker: Maker) -> None:
        """All nodes since the last mark belong to `maker`."""
        self._makers[-1] = maker

    def claim(self, maker: Maker) -> None:
        """An operator is running, which has made its node already if it makes one.

        The latest node is its own unless that was there before: at the last mark, or at the last claim.
        """
        following = _sequence_number()
        if following <= self._claimed or (self._starts and following <= self._starts[-1]):
            return
        self._claimed = following
        if maker is None:
            return
        if len(self._makers) > 1 and self._makers[-2] is maker and self._starts[-1] == following - 1:
            self._starts[-1] = following  # one more of the same
        else:
            self.mark_latest(maker)

    def of(self, node: Any) -> Maker:
        """Who made a node."""
        index = bisect_right(self._starts, node._sequence_nr()) - 1
        return self._makers[index] if index >= 0 else None


def parameters_behind(node: Any, depth: int = 4) -> Iterator[torch.Tensor]:
    """The leaves that a node comes to in a few steps: the weights of what made it, which may be transposed before."""
    for following, _ in node.next_functions:
        variable = getattr(following, "variable", None)
        if variable is not None:
            yield variable
        elif following is not None and depth:
            yield from parameters_behind(following, depth - 1)
