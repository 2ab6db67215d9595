"""Our own shape rules: where PyTorch's refuse what its kernels take, and where they take longer than the operator.

Most meta kernels are written in Python and take hundreds of microseconds. A rule here takes ten, and returns None where
it is not sure; then the operator's own meta kernel decides. Every rule is tested against that.
"""

from __future__ import annotations

from typing import Any

from . import fused, moves, nested, norms, pointwise, products
from .answered import Answered, Rules, aten
from .pointwise import writes_itself

__all__ = ["OWN_LAYOUT", "RULES", "Answered", "answer", "writes_itself"]

RULES: Rules = {
    **fused.RULES,
    **products.RULES,
    **norms.RULES,
    **moves.RULES,
    **nested.RULES,
    **pointwise.RULES,
}

OWN_LAYOUT = frozenset(
    {aten.scaled_dot_product_attention.default, aten.layer_norm.default, aten.lstm.input}
    | {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default}
)
"""Operators whose results lie in memory as the kernels of devices leave them, not as the meta kernel says."""


def answer(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answered | None:
    """The result of an operator by a rule; None where there is none that is sure."""
    rule = RULES.get(operator)
    return None if rule is None else rule(*args, **kwargs)
