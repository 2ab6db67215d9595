"""The memo of abstract runs: what each operator answered to operands of which shapes, so that a repeated layer costs a
look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling.memo import Memo

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pytest_modelbudget.profiling.calls import Work


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


memo: Memo[Answer] = Memo()
"""The memo of this process."""
