"""Costs that are so many FLOPs for each element of one of the operator's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Cost
from .formula import Formula, other
from .sizes import elements

if TYPE_CHECKING:
    from torch import Tensor


def per_output(rate: int = 1) -> Formula:
    """For each element that is returned."""

    def cost(*, output: object) -> Cost:
        return Cost(elementwise=rate * elements(output))

    return other(cost)


def per_first_output(rate: int = 1) -> Formula:
    """For each element of the first tensor that is returned; what comes with it are by-products: masks, indices."""

    def cost(*, output: tuple[Tensor, ...]) -> Cost:
        return Cost(elementwise=rate * elements(output[0]))

    return other(cost)


def per_input(rate: int = 1, values: str = "self") -> Formula:
    """For each element of the argument of that name: a tensor or a list of them."""

    def cost(values: object) -> Cost:
        return Cost(elementwise=rate * elements(values))

    return other(cost, values=values)


def table(formula: Formula, names: str, namespace: str = "aten") -> dict[str, Formula]:
    """The same formula for operators whose names are separated by blanks."""
    return {f"{namespace}::{name}": formula for name in names.split()}
