"""Pointwise operators on floating operands of one dtype, and their namesakes in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.abstract.rules.answered import Answered, Rules, aten, elementwise_like, empty

if TYPE_CHECKING:
    from collections.abc import Callable


def _unary(operator: Any) -> Callable[..., Answered | None]:
    def rule(data: Tensor, *others: Any, **named: Any) -> Answered | None:
        if not data.is_floating_point() or not all(map(_is_real, (*others, *named.values()))):
            return None
        output = elementwise_like(data)
        return None if output is None else Answered(output, operator, (data, *others))

    return rule


def _binary(operator: Any) -> Callable[..., Answered | None]:
    def rule(left: Any, right: Any, **named: Any) -> Answered | None:
        if not all(map(_is_real, named.values())) or not isinstance(left, Tensor) or not left.is_floating_point():
            return None
        if not isinstance(right, Tensor):
            output = elementwise_like(left) if _is_real(right) else None
            return None if output is None else Answered(output, operator, (left, right))
        if left.dtype != right.dtype or not left.is_contiguous() or not right.is_contiguous():
            return None
        shape = torch.broadcast_shapes(left.shape, right.shape)
        if shape not in (left.shape, right.shape):
            return None
        return Answered(empty(shape, left.dtype), operator, (left, right))

    return rule


def writes_itself(operator: Any, written: Any, *others: Any) -> bool:
    """Whether an operator in place does nothing but write its first operand, of the shape that this has already."""
    if operator not in _IN_PLACE or not written.is_floating_point():
        return False
    for other in others:
        if isinstance(other, Tensor):
            if other.dim() > written.dim() or torch.broadcast_shapes(written.shape, other.shape) != written.shape:
                return False
        elif not _is_real(other):
            return False
    return True


def _is_real(value: object) -> bool:
    """Whether a scalar leaves a floating operand its dtype."""
    return value is None or isinstance(value, (int, float, str))


def _overload(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(aten, packet), overload or "default")


_UNARY = (
    *("relu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "elu", "mish"),
    *("softplus", "neg", "rsqrt", "sqrt", "exp", "cos", "sin", "abs", "erf", "square", "clamp", "pow.Tensor_Scalar"),
)
_BINARY = ("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum")
_WRITING = (
    *("relu_", "gelu_", "silu_", "sigmoid_", "tanh_", "hardswish_", "hardsigmoid_", "hardtanh_", "leaky_relu_", "elu_"),
    *("clamp_", "add_.Tensor", "sub_.Tensor", "mul_.Tensor", "div_.Tensor", "zero_", "fill_.Scalar"),
)

RULES: Rules = {
    **{operator: _unary(operator) for operator in map(_overload, _UNARY)},
    **{operator: _binary(operator) for operator in map(_overload, _BINARY)},
}
_IN_PLACE = frozenset(map(_overload, _WRITING))
