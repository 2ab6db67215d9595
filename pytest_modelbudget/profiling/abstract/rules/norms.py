"""Norms, means and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling.abstract.rules.answered import Answered, Rules, aten, empty, like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _layer_norm(
    data: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: ARG001 - named as the operator names it
) -> Answered | None:
    """Contiguous, whatever the input; the meta kernel keeps the input's strides, and later operators would copy."""
    if data.shape[-len(normalized_shape) :] != tuple(normalized_shape) or not data.is_floating_point():
        return None
    counted = aten.native_layer_norm.default
    rows = (*data.shape[: -len(normalized_shape)], *(1 for _ in normalized_shape))
    # Mean and deviation of narrow inputs are kept in float32.
    statistic = data.dtype if data.dtype.itemsize > 2 else torch.float32
    beside = empty(rows, statistic), empty(rows, statistic)
    return Answered(empty(data.shape, data.dtype), counted, (data, normalized_shape, weight, bias, eps), beside)


def _batch_norm(
    data: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,  # noqa: ARG001 - named as the operator names it
) -> Answered | None:
    output = like(data)
    if output is None:
        return None
    counted = (data, weight, bias, running_mean, running_var, training, momentum, eps)
    channels = (data.shape[1],) if training else (0,)
    beside = empty(channels, data.dtype), empty(channels, data.dtype)
    return Answered(output, aten.native_batch_norm.default, counted, beside)


def _softmax(data: Tensor, dim: int, dtype: torch.dtype | None = None) -> Answered | None:
    if not data.is_contiguous() or not data.is_floating_point() or dtype not in (None, data.dtype):
        return None
    return Answered(empty(data.shape, data.dtype), aten._softmax.default, (data, dim, False))


def _adaptive_avg_pool2d(data: Tensor, output_size: Sequence[int]) -> Answered | None:
    """To one position it is a mean."""
    if [*output_size] != [1, 1] or data.dim() != 4 or not data.is_contiguous() or not data.is_floating_point():
        return None
    if not data.numel():
        return None
    return Answered(empty((*data.shape[:2], 1, 1), data.dtype), aten.mean.dim, (data, [-1, -2], True))


RULES: Rules = {
    aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
    aten.layer_norm.default: _layer_norm,
    aten.batch_norm.default: _batch_norm,
    aten.softmax.int: _softmax,
}
