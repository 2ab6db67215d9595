"""What is remembered of operators from one call to the next: whatever depends on their signatures alone.

One memo for the process and purpose. None holds a tensor.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_modelbudget.profiling.signature import Key

A = TypeVar("A")

LIMIT = 1 << 16
"""Answers kept at once. A generation loop makes new shapes with every token; a large model has some hundred."""


class Memo(Generic[A]):
    """Answers by signature.

    Single look-ups and insertions into a dictionary are atomic, so threads need no lock: two that miss at once work
    out the same answer.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.verify = False
        """Check every remembered answer against what it stands for. Slow: for tests."""
        self.edition: object = None
        self._answers: dict[Key, A] = {}
        self.get = self._answers.get

    def __len__(self) -> int:
        return len(self._answers)

    def remember(self, key: Key, answer: A) -> None:
        """Keep an answer. A full memo starts anew: what is in use is learned again within one run."""
        if len(self._answers) >= self.limit:
            self._answers.clear()
        self._answers[key] = answer

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()

    def hold_for(self, edition: object) -> None:
        """Forget everything that was learned under another edition of the catalogue of costs."""
        if edition is not self.edition:
            self.edition = edition
            self.clear()

    def items(self) -> tuple[tuple[Key, A], ...]:
        """What has been asked, and what is remembered."""
        return tuple(self._answers.items())

    @contextmanager
    def verified(self) -> Iterator[None]:
        """In the block every remembered answer is checked."""
        before, self.verify = self.verify, True
        try:
            yield
        finally:
            self.verify = before
