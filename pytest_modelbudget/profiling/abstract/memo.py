"""The memo: what each operator answered to operands of which shapes, so that a repeated layer costs a look-up.

One for the process. It holds shapes and costs, never tensors.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from pytest_modelbudget.profiling.abstract.signature import Key
    from pytest_modelbudget.profiling.modules import Work

LIMIT = 1 << 16
"""Answers kept at once. A generation loop makes new shapes with every token; a large model has some hundred."""


class Answer(NamedTuple):
    """What an operator does with operands of known shapes.

    Attributes:
        func: the operator; `operator`: its name.
        make: makes the output from the arguments.
        works: what it costs.
        made: picks from the output what is new, rather than an operand or a view of one; None: nothing is.
        transient: bytes that it holds beside what it returns, until it returns.
        size: bytes of the output where it is one tensor with a storage of its own; else None.
        writes: positions and names of real operands that it writes.
    """

    func: Any
    operator: str
    make: Callable[[tuple[Any, ...], dict[str, Any] | None], Any]
    works: tuple[Work, ...]
    made: Callable[[Any], tuple[Tensor, ...]] | None
    transient: int
    size: int | None = None
    writes: tuple[tuple[int, str], ...] = ()


class Memo:
    """Answers by signature.

    Single look-ups and insertions into a dictionary are atomic, so threads need no lock: two that miss at once work
    out the same answer.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.verify = False
        """Check every remembered answer against the kernel that it stands for. Slow: for tests."""
        self._edition: object = None
        self._answers: dict[Key, Answer] = {}
        self.get = self._answers.get

    def __len__(self) -> int:
        return len(self._answers)

    def remember(self, key: Key, answer: Answer) -> None:
        """Keep an answer. A full memo starts anew: what is in use is learned again within one run."""
        if len(self._answers) >= self.limit:
            self._answers.clear()
        self._answers[key] = answer

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()

    def hold_for(self, edition: object) -> None:
        """Forget everything that was learned under another edition of the catalogue of costs."""
        if edition is not self._edition:
            self._edition = edition
            self.clear()

    def items(self) -> tuple[tuple[Key, Answer], ...]:
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


memo = Memo()
"""The memo of this process."""
