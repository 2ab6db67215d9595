"""What an operator is, and what one execution of it costs. Plain data; no torch."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kind(Enum):
    """What an operator does, as far as counting is concerned."""

    CONTRACTION = "contraction"
    """Multiplies and accumulates: matrix products, convolutions, attention, recurrent layers."""
    OTHER = "other"
    """Computes something else: pointwise work, reductions, norms, FFT, linear algebra."""
    FREE = "free"
    """Computes nothing: views, copies, allocation, indexing, metadata."""
    UNKNOWN = "unknown"
    """Nobody said what it costs; it must be listed, never taken for free."""


class Cost(NamedTuple):
    """The work of one execution of an operator, in exact integers.

    Attributes:
        macs: multiply-accumulates of contractions; one of complex numbers counts as four.
        flops: floating-point operations that are not MACs: FFT and linear algebra.
        elementwise: floating-point operations of everything else: pointwise work, reductions, norms, softmax.
        activations: elements produced by convolutions and matrix products; a complex element counts once.
    """

    macs: int = 0
    flops: int = 0
    elementwise: int = 0
    activations: int = 0


NOTHING = Cost()


def total(costs: Iterable[Cost]) -> Cost:
    """The sum, figure by figure; `+` would concatenate the tuples that costs are."""
    return Cost(*map(sum, zip(NOTHING, *costs, strict=True)))


def repeated(cost: Cost, times: int) -> Cost:
    """The cost of executing the same thing several times."""
    return Cost(*(figure * times for figure in cost))
