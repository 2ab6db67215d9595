"""Attention and LSTMs as the fused operators of devices also where autograd records.

`meta` has neither: it would materialise the scores, and run the time steps one by one, whose backward is another one.
Without autograd both operators arrive at the mode whole. With it, kernels registered for the time of the run take them
to the fused operators of the CPU, which have shape rules and a backward. They serve meta tensors only, so no real
device is touched.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.abstract.rules.fused import is_fused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LSTM = 2  # as oneDNN and cuDNN number their kinds of recurrent layers
_OF_ONEDNN = (torch.float32, torch.bfloat16, torch.float16)


@contextmanager
def fused_kernels(*, attention: bool) -> Iterator[None]:
    """Let LSTMs, and scaled dot product `attention`, on meta tensors be fused operators in the block."""
    library = torch.library.Library("aten", "IMPL")
    if attention:
        library.impl("scaled_dot_product_attention", _attention, "AutogradMeta")
    library.impl("lstm.input", _lstm, "AutogradMeta")
    try:
        yield
    finally:
        internals.unregister(library)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    output: torch.Tensor
    # No fused kernel gives a gradient to its mask, as that of T5 needs one.
    if not is_fused(query, key, value, enable_gqa) or (attn_mask is not None and attn_mask.requires_grad):
        output = internals.run_composite_kernel(
            torch.ops.aten.scaled_dot_product_attention.default,
            *(query, key, value, attn_mask, dropout_p, is_causal),
            scale=scale,
            enable_gqa=enable_gqa,
        )
        return output
    output = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return output


def _lstm(
    data: torch.Tensor,
    states: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, ...]:
    """Layer by layer and direction by direction, as the CPU does it; with projections, step by step as there."""
    hidden, cell = states
    if data.dtype not in _OF_ONEDNN or hidden.shape[-1] != cell.shape[-1] or not data.numel():
        operator = torch.ops.aten.lstm.input
        stepwise: tuple[torch.Tensor, ...] = internals.run_composite_kernel(
            operator, data, states, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
        )
        return stepwise
    directions = 1 + bidirectional
    each = len(params) // (num_layers * directions)
    output = (data.transpose(0, 1) if batch_first else data).contiguous()
    last: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            weights = list(params[index * each : (index + 1) * each])
            if not has_biases:
                weights += [data.new_zeros(weights[0].shape[0]) for _ in range(2)]
            made, *both, _ = torch.ops.aten.mkldnn_rnn_layer(
                *(output, *weights, hidden[index], cell[index], direction > 0, [], _LSTM, hidden.shape[-1], num_layers),
                *(has_biases, bidirectional, batch_first, train),
            )
            outputs.append(made)
            last.append((both[0], both[1]))
        output = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if dropout and train and layer < num_layers - 1:
            output = torch.dropout(output, dropout, train)
    hidden, cell = (torch.stack(state) for state in zip(*last, strict=True))
    return output.transpose(0, 1) if batch_first else output, hidden, cell
