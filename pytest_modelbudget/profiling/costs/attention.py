"""Attention: batch x query heads x S_q x S_k x (d_qk + d_v) MACs, for every fused operator of every backend.

The figure is the dense one, also under a causal mask, a sliding window or a block mask: that is what the unfused
products execute. Grouped queries count by their own heads, not by those of the keys. Backward takes exactly twice the
forward, as its four products do; that a kernel computes the scores once more is no work of the model.

Per score: 1 for the scale, 5 for the softmax, 1 for a mask, 1 for dropout; backward 4 for the softmax in place of 5.
Activations are the scores and the output, the results of the two products.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, zip_longest
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .cost import Cost, total
from .formula import CostFunction, Table, contraction
from .normalization import LAYER_NORM, SOFTMAX, SOFTMAX_BACKWARD
from .sizes import Shape, numbers, shapes

if TYPE_CHECKING:
    from torch import Tensor

_SCALE = 1


class _Sizes(NamedTuple):
    """One attention. `queries` are all of them: batch x query heads x S_q."""

    queries: int
    keys: int
    depth: int
    value_depth: int


def _sizes_heads_first(query: Shape, key: Shape, value: Shape) -> _Sizes:
    """From (…, heads, S, d); leading dimensions broadcast, and fewer key heads are shared by the queries'."""
    leading = zip_longest(reversed(query[:-2]), reversed(key[:-2]), fillvalue=1)
    return _Sizes(prod(map(max, leading)) * query[-2], key[-2], query[-1], value[-1])


def _sizes_heads_last(query: Shape, key: Shape, value: Shape) -> _Sizes:
    """From (…, S, heads, d)."""
    return _Sizes(prod(query[:-1]), key[-3], query[-1], value[-1])


def _forward(sizes: _Sizes, steps: int) -> Cost:
    """The cost of one attention with so many further operations per score: masks, dropout."""
    scores = sizes.queries * sizes.keys
    return Cost(
        macs=scores * (sizes.depth + sizes.value_depth),
        elementwise=scores * (_SCALE + SOFTMAX + steps),
        activations=scores + sizes.queries * sizes.value_depth,
    )


def _backward(sizes: _Sizes, steps: int) -> Cost:
    scores = sizes.queries * sizes.keys
    return Cost(
        macs=2 * scores * (sizes.depth + sizes.value_depth),
        elementwise=scores * (_SCALE + SOFTMAX_BACKWARD + steps),
    )


def _steps(mask: object, is_causal: bool, dropout_p: float) -> int:
    return (mask is not None or is_causal) + (dropout_p > 0)


_Work: TypeAlias = Callable[[_Sizes, int], Cost]


def unpacked(work: _Work) -> CostFunction:
    """Query (…, heads, S_q, d_qk), key and value (…, heads, S_k, d); or nested, each component with its own S."""

    def cost(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
    ) -> Cost:
        steps = _steps(mask, is_causal, dropout_p)
        each = map(_sizes_heads_first, shapes(query), shapes(key), shapes(value))
        return total(work(sizes, steps) for sizes in each)

    return cost


def packed(work: _Work, dense: Callable[[Shape, Shape, Shape], _Sizes] = _sizes_heads_last) -> CostFunction:
    """Query (S_q of all sequences, heads, d_qk) with the offsets where they begin; without, a `dense` layout.

    The lengths are read from the offsets, since shapes do not tell them, and from `used_k` where the keys lie in a
    cache that is larger than what is in use. Where these tensors have no data, each sequence counts as the longest.
    """

    def cost(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        offsets_q: Tensor | None = None,
        offsets_k: Tensor | None = None,
        longest_q: int | None = None,
        longest_k: int | None = None,
        used_k: Tensor | None = None,
        mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool | int = False,
    ) -> Cost:
        steps = _steps(mask, bool(is_causal), dropout_p)
        if offsets_q is None and used_k is None:
            return work(dense(query.shape, key.shape, value.shape), steps)
        lengths_q = _lengths(offsets_q, longest_q) if offsets_q is not None else [query.shape[1]] * query.shape[0]
        if used_k is not None:
            lengths_k = numbers(used_k) or [longest_k or key.shape[1]] * used_k.numel()
        else:
            lengths_k = _lengths(offsets_k, longest_k) if offsets_k is not None else lengths_q
        heads, depth = query.shape[-2:]
        return total(
            work(_Sizes(heads * length_q, length_k, depth, value.shape[-1]), steps)
            for length_q, length_k in zip(lengths_q, lengths_k, strict=True)
        )

    return cost


def _lengths(offsets: Tensor, longest: int | None) -> list[int]:
    """How long the sequences between these offsets are."""
    known = numbers(offsets)
    if known is None:
        return [longest or 0] * (offsets.numel() - 1)
    return [end - start for start, end in pairwise(known)]


def multi_head(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    mask: Tensor | None = None,
    need_weights: bool = False,
) -> Cost:
    """The inference path of `nn.MultiheadAttention`: three projections, attention, the output projection.

    Query, key, value (batch, S, E) or nested. Weights that are asked for are averaged over the heads, 1 per score.
    """
    steps = _steps(mask, False, 0.0) + need_weights
    return total(
        _multi_head(*each, heads, steps) for each in zip(shapes(query), shapes(key), shapes(value), strict=True)
    )


def _multi_head(query: Shape, key: Shape, value: Shape, heads: int, steps: int) -> Cost:
    width = query[-1]
    projected = 2 * prod(query) + prod(key) + prod(value)
    depth = width // heads
    attention = _forward(_Sizes(prod(query[:-1]) * heads, key[-2], depth, depth), steps)
    return total((attention, Cost(macs=projected * width, activations=projected)))


def encoder_layer(src: Tensor, heads: int, ffn_weight: Tensor, mask: Tensor | None = None) -> Cost:
    """The inference path of `nn.TransformerEncoderLayer`: attention, two products with an activation between them.

    Besides, two layer norms and two residual additions per element. Src (batch, S, E) or nested.
    """
    inner, width = ffn_weight.shape
    rows = src.numel() // max(width, 1)
    feed_forward = Cost(
        macs=2 * rows * width * inner,
        elementwise=rows * inner + src.numel() * 2 * (LAYER_NORM + 1),
        activations=rows * (inner + width),
    )
    return total((multi_head(src, src, src, heads, mask), feed_forward))


_UNPACKED = contraction(unpacked(_forward), mask="attn_mask")
_UNPACKED_BIASED = contraction(unpacked(_forward), mask="attn_bias")
_UNPACKED_BACKWARD = contraction(unpacked(_backward), mask="attn_mask")
_UNPACKED_BIASED_BACKWARD = contraction(unpacked(_backward), mask="attn_bias")

_TORCH = {"offsets_q": "cum_seq_q", "offsets_k": "cum_seq_k", "longest_q": "max_q", "longest_k": "max_k"}
_FLASH = {**_TORCH, "used_k": "seqused_k"}
_CUDNN = {**_TORCH, "mask": "attn_bias"}
_VARLEN = {**_FLASH, "offsets_q": "cu_seq_q", "offsets_k": "cu_seq_k"}
_XFORMERS = {
    "offsets_q": "cu_seqlens_q",
    "offsets_k": "cu_seqlens_k",
    "longest_q": "max_seqlen_q",
    "longest_k": "max_seqlen_k",
    "used_k": "seqused_k",
}
_EFFICIENT = {**_XFORMERS, "mask": "bias", "is_causal": "custom_mask_type", "used_k": "seqlen_k"}
_SHORT = {"query": "q", "key": "k", "value": "v"}
_DAO = {**_XFORMERS, **_SHORT, "is_causal": "causal"}
_DAO_3 = {**_XFORMERS, **_SHORT}

TABLE: Table = {
    "aten::scaled_dot_product_attention": _UNPACKED,
    "aten::_scaled_dot_product_attention_math": _UNPACKED,
    "aten::_scaled_dot_product_attention_math_for_mps": _UNPACKED,
    "aten::_scaled_dot_product_flash_attention": _UNPACKED,
    "aten::_scaled_dot_product_flash_attention_backward": _UNPACKED_BACKWARD,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _UNPACKED,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _UNPACKED_BACKWARD,
    "aten::_scaled_dot_product_efficient_attention": _UNPACKED_BIASED,
    "aten::_scaled_dot_product_efficient_attention_backward": _UNPACKED_BIASED_BACKWARD,
    "aten::_scaled_dot_product_cudnn_attention": _UNPACKED_BIASED,
    "aten::_scaled_dot_product_cudnn_attention_backward": _UNPACKED_BIASED_BACKWARD,
    "aten::_scaled_dot_product_fused_attention_overrideable": _UNPACKED_BIASED,
    "aten::_scaled_dot_product_fused_attention_overrideable_backward": _UNPACKED_BIASED_BACKWARD,
    "aten::_triton_scaled_dot_attention": contraction(unpacked(_forward), **_SHORT),
    "aten::_flash_attention_forward": contraction(packed(_forward), **_FLASH),
    "aten::_flash_attention_forward_no_dropout_inplace": contraction(packed(_forward), **_FLASH),
    "aten::_flash_attention_backward": contraction(packed(_backward), **_FLASH),
    "aten::_efficient_attention_forward": contraction(packed(_forward), **_EFFICIENT),
    "aten::_efficient_attention_backward": contraction(packed(_backward), **_EFFICIENT),
    "aten::_cudnn_attention_forward": contraction(packed(_forward, _sizes_heads_first), **_CUDNN),
    "aten::_cudnn_attention_backward": contraction(packed(_backward, _sizes_heads_first), **_CUDNN),
    "torch_attn::_varlen_attn": contraction(packed(_forward), **_VARLEN),
    "torch_attn::_varlen_attn_out": contraction(packed(_forward), **_VARLEN),
    "torch_attn::_varlen_attn_backward": contraction(packed(_backward), **_VARLEN),
    "aten::_native_multi_head_attention": contraction(multi_head, heads="num_head"),
    "aten::_triton_multi_head_attention": contraction(multi_head, heads="num_head"),
    "aten::_transformer_encoder_layer_fwd": contraction(encoder_layer, heads="num_heads", ffn_weight="ffn_weight_1"),
    # A score or mask function counts as one more step, whatever it computes.
    "higher_order::flex_attention": contraction(unpacked(_forward), mask="score_mod"),
    "higher_order::flex_attention_backward": contraction(unpacked(_backward), mask="fw_graph"),
    # the packages flash-attn and xformers
    "flash_attn::_flash_attn_forward": contraction(packed(_forward), **_DAO),
    "flash_attn::_flash_attn_backward": contraction(packed(_backward), **_DAO),
    "flash_attn::_flash_attn_varlen_forward": contraction(packed(_forward), **_DAO),
    "flash_attn::_flash_attn_varlen_backward": contraction(packed(_backward), **_DAO),
    "flash_attn_3::fwd": contraction(packed(_forward), **_DAO_3),
    "flash_attn_3::bwd": contraction(packed(_backward), **_DAO_3),
    "flash_attn_3::_flash_attn_forward": contraction(packed(_forward), **_DAO),
    "flash_attn_3::_flash_attn_backward": contraction(packed(_backward), **_DAO),
    "xformers_flash::flash_fwd": contraction(packed(_forward), **_XFORMERS, dropout_p="p"),
    "xformers_flash::flash_bwd": contraction(packed(_backward), **_XFORMERS, dropout_p="p"),
}
