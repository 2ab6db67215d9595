"""Attention and recurrence, as the kernels of devices run them: meta has none, and takes the long way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.abstract.rules.answered import Answered, Rules, aten, empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def is_fused(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> bool:
    """Whether devices have one operator for attention of these shapes. Others take the unfused path everywhere."""
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4 or 0 in query.shape or 0 in key.shape:
        return False
    if not query.shape[-1] == key.shape[-1] == value.shape[-1] or query.shape[0] != key.shape[0]:
        return False
    if query.shape[1] != key.shape[1] and not (enable_gqa and internals.FUSED_ATTENTION_SHARES_HEADS):
        return False
    return query.dtype == key.dtype == value.dtype and query.is_floating_point()


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,  # noqa: ARG001 - named as the operator names it
    enable_gqa: bool = False,
) -> Answered | None:
    """One operator that keeps no scores."""
    if not is_fused(query, key, value, enable_gqa):
        return None
    batch, heads, length, width = query.shape
    output = empty((batch, length, heads, width), query.dtype).transpose(1, 2)
    counted = aten.scaled_dot_product_attention.default
    sums = empty((batch, heads, length), torch.float32 if query.dtype.itemsize <= 4 else query.dtype)
    return Answered(output, counted, (query, key, value, attn_mask, dropout_p, is_causal), (sums,))


def _lstm(
    data: Tensor,
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Answered | None:
    """The fused layer, which PyTorch has for every device but meta, where time steps run one by one."""
    hidden, cell = states
    if data.dim() != 3 or hidden.shape[-1] != cell.shape[-1] or (train and dropout):
        return None
    width = hidden.shape[-1] * (2 if bidirectional else 1)
    if batch_first:
        output = empty((data.shape[1], data.shape[0], width), data.dtype).transpose(0, 1)
    else:
        output = empty((*data.shape[:2], width), data.dtype)
    arguments = (data, states, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    made = output, empty(hidden.shape, data.dtype), empty(cell.shape, data.dtype)
    return Answered(made, aten.lstm.input, arguments)


RULES: Rules = {
    aten.scaled_dot_product_attention.default: _attention,
    aten.lstm.input: _lstm,
}
