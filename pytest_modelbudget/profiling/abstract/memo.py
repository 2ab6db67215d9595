"""The memo of abstract runs: what each operator answered to operands of which shapes, so that a repeated layer costs a
look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.profiling.memo import Memo

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pytest_modelbudget.profiling.abstract.log import Did


class Answer(NamedTuple):
    """What an operator does with operands of known shapes.

    Attributes:
        func: the operator.
        make: makes the output from the arguments.
        did: what it does beside that; None: nothing.
        is_alone: whether the output is one tensor with a storage of its own, whose bytes `did` tells.
        made: picks from the output what is new, rather than an operand or a view of one; None: nothing is.
        writes: positions and names of real operands that it writes.
        reads: whether operands may be what the run was not given, and did not make.
    """

    func: Any
    make: Callable[[tuple[Any, ...], dict[str, Any] | None], Any]
    did: Did | None = None
    is_alone: bool = False
    made: Callable[[Any], tuple[Tensor, ...]] | None = None
    writes: tuple[tuple[int, str], ...] = ()
    reads: bool = False


memo: Memo[Answer] = Memo()
"""The memo of this process."""
