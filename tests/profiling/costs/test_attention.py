"""Attention: batch x query heads x S_q x S_k x (d_qk + d_v) MACs, and twice that backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from executing import meta, operator_named
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_modelbudget.profiling.costs import Cost

aten = torch.ops.aten

# Sizes of query, key and value (batch, heads, S, d), and the MACs by hand.
SIZES = {
    "self-attention": ((2, 4, 6, 8), (2, 4, 6, 8), (2, 4, 6, 8), 2 * 4 * 6 * 6 * (8 + 8)),
    "cross-attention": ((2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 8), 2 * 4 * 6 * 9 * (8 + 8)),
    "values of another width": ((2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 5), 2 * 4 * 6 * 9 * (8 + 5)),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=lambda each: each.name)
@pytest.mark.parametrize(("query", "key", "value", "macs"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("causal", [False, True], ids=["dense", "causal"])
def test_fused_and_unfused_agree(measure, mode, backend, query, key, value, macs, causal):
    q, k, v = map(torch.rand, (query, key, value))
    with mode(), sdpa_kernel([backend, SDPBackend.MATH]):
        assert measure(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)).macs == macs


def test_grouped_queries_count_by_their_own_heads(measure):
    q, k, v = torch.rand(2, 8, 6, 4), torch.rand(2, 2, 9, 4), torch.rand(2, 2, 9, 4)

    def attend():
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    with sdpa_kernel(SDPBackend.MATH):
        assert measure(attend).macs == 2 * 8 * 6 * 9 * 8
    assert measure(attend).macs == 2 * 8 * 6 * 9 * 8


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=lambda each: each.name)
def test_backward_takes_exactly_twice_the_forward_fused_or_not(measure, backend):
    q, k, v = (torch.rand(2, 4, 6, 8, requires_grad=True) for _ in range(3))
    with sdpa_kernel(backend):
        y = F.scaled_dot_product_attention(q, k, v)
        assert measure(lambda: y.backward(torch.ones_like(y))).macs == 2 * 4_608


def test_scores_are_other_work_and_activations(cost_of):
    # 2 x 4 x 6 x 9 scores: scale and softmax; and one more for a mask, and for dropout.
    q, k, v = meta(2, 4, 6, 8), meta(2, 4, 9, 8), meta(2, 4, 9, 8)
    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    assert cost_of(op, q, k, v) == Cost(432 * 16, 0, 432 * 6, 432 + 2 * 4 * 6 * 8)
    assert cost_of(op, q, k, v, 0.0, True).elementwise == 432 * 7
    assert cost_of(op, q, k, v, attn_mask=meta(6, 9)).elementwise == 432 * 7
    assert cost_of(op, q, k, v, 0.1, attn_mask=meta(6, 9)).elementwise == 432 * 8


class TestBackends:
    q, k, v = meta(2, 8, 6, 4), meta(2, 2, 9, 4), meta(2, 2, 9, 5)
    macs = 2 * 8 * 6 * 9 * (4 + 5)

    @pytest.mark.parametrize(
        "name",
        [
            "scaled_dot_product_attention",
            "_scaled_dot_product_attention_math",
            "_scaled_dot_product_attention_math_for_mps",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
            "_triton_scaled_dot_attention",
        ],
    )
    def test_forward(self, cost_of, name):
        assert cost_of(getattr(aten, name).default, self.q, self.k, self.v).macs == self.macs

    @pytest.mark.parametrize(
        "name",
        [
            "_scaled_dot_product_flash_attention_backward",
            "_scaled_dot_product_flash_attention_for_cpu_backward",
            "_scaled_dot_product_efficient_attention_backward",
            "_scaled_dot_product_cudnn_attention_backward",
            "_scaled_dot_product_fused_attention_overrideable_backward",
        ],
    )
    def test_backward(self, cost_of, name):
        cost = cost_of(getattr(aten, name).default, meta(0), self.q, self.k, self.v)
        assert (cost.macs, cost.activations) == (2 * self.macs, 0)

    @pytest.mark.parametrize("name", ["_flash_attention_forward", "_efficient_attention_forward"])
    def test_kernels_want_the_heads_behind_the_sequence(self, cost_of, name):
        q, k, v = meta(2, 6, 8, 4), meta(2, 9, 2, 4), meta(2, 9, 2, 5)
        assert cost_of(getattr(aten, name).default, q, k, v).macs == self.macs

    def test_the_cudnn_kernel_wants_them_in_front(self, cost_of):
        assert (
            cost_of(operator_named("aten._cudnn_attention_forward").default, self.q, self.k, self.v).macs == self.macs
        )

    def test_flex_attention(self, cost_of):
        op = torch.ops.higher_order.flex_attention
        assert cost_of(op, self.q, self.k, self.v, None, (), 1.0, {}).macs == self.macs
        op = torch.ops.higher_order.flex_attention_backward
        assert (
            cost_of(op, self.q, self.k, self.v, None, None, None, None, None, None, (), 1.0, {}).macs == 2 * self.macs
        )


class TestPackedSequences:
    """Three sequences of 2, 3 and 5 queries with 4, 1 and 2 keys, two heads, d 8: 21 pairs."""

    q, k = meta(10, 2, 8), meta(7, 2, 8)
    offsets_q = torch.tensor([0, 2, 5, 10])
    offsets_k = torch.tensor([0, 4, 5, 7])
    macs = 2 * (2 * 4 + 3 * 1 + 5 * 2) * 16

    @pytest.mark.parametrize("name", ["_flash_attention_forward", "_cudnn_attention_forward"])
    def test_lengths_come_from_the_offsets(self, cost_of, name):
        named = {"cum_seq_q": self.offsets_q, "cum_seq_k": self.offsets_k, "max_q": 5, "max_k": 4}
        assert cost_of(operator_named(f"aten.{name}").default, self.q, self.k, self.k, **named).macs == self.macs

    def test_backward(self, cost_of):
        named = {"cum_seq_q": self.offsets_q, "cum_seq_k": self.offsets_k, "max_q": 5, "max_k": 4}
        op = aten._flash_attention_backward.default
        assert cost_of(op, meta(0), self.q, self.k, self.k, **named).macs == 2 * self.macs

    def test_efficient_attention_has_a_batch_of_one(self, cost_of):
        q, k = self.q[None], self.k[None]
        op = aten._efficient_attention_forward.default
        assert cost_of(op, q, k, k, None, self.offsets_q, self.offsets_k, 5, 4).macs == self.macs

    def test_without_data_each_sequence_counts_as_the_longest(self, cost_of):
        offsets = meta(4, dtype=torch.int64)
        op = aten._flash_attention_forward.default
        assert cost_of(op, self.q, self.k, self.k, offsets, offsets, 5, 4).macs == 2 * 3 * 5 * 4 * 16

    def test_a_cache_counts_what_is_in_use(self, cost_of):
        q, cache = meta(2, 1, 4, 8), meta(2, 100, 4, 8)
        used = torch.tensor([7, 30])
        op = aten._flash_attention_forward.default
        cost = cost_of(op, q, cache, cache, None, None, 1, 100, 0.0, True, False, seqused_k=used)
        assert cost.macs == 4 * (7 + 30) * 16

    def test_varlen_attn(self, cost_of):
        varlen = pytest.importorskip("torch.nn.attention.varlen", reason="this torch has no varlen_attn")
        assert varlen
        op = torch.ops.torch_attn._varlen_attn.default
        assert cost_of(op, self.q, self.k, self.k, self.offsets_q, self.offsets_k, 5, 4).macs == self.macs

    def test_the_flash_attn_package(self, cost_of, define):
        signature = (
            "(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q,"
            " SymInt max_seqlen_k, float dropout_p, float softmax_scale, bool causal) -> Tensor"
        )
        op = define("flash_attn", "_flash_attn_varlen_forward", signature)
        args = (self.q, self.k, self.k, self.offsets_q, self.offsets_k, 5, 4, 0.0, 1.0, True)
        assert cost_of(op, *args).macs == self.macs
        dense = define(
            "flash_attn",
            "_flash_attn_forward",
            "(Tensor q, Tensor k, Tensor v, float dropout_p, float softmax_scale, bool causal) -> Tensor",
        )
        assert cost_of(dense, meta(2, 6, 8, 4), meta(2, 9, 2, 4), meta(2, 9, 2, 4), 0.0, 1.0, True).macs == (
            2 * 8 * 6 * 9 * 8
        )


class TestMultiheadAttention:
    """16 wide, 4 heads, 2 samples of 6 tokens: 12 x 16 x 48 in, 2 x 4 x 36 x 8 between, 12 x 16 x 16 out."""

    macs = 14_592
    x = torch.rand(2, 6, 16)

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
    def test_the_fast_path_counts_as_the_slow_one(self, measure, training, mode):
        layer = nn.MultiheadAttention(16, 4, batch_first=True).train(training)
        with mode():
            assert measure(lambda: layer(self.x, self.x, self.x)).macs == self.macs
            assert measure(lambda: layer(self.x, self.x, self.x, need_weights=False)).macs == self.macs

    def test_the_fast_path_books_the_activations_of_what_it_fuses(self, measure):
        layer = nn.MultiheadAttention(16, 4, batch_first=True).eval()
        with torch.no_grad():
            activations = measure(lambda: layer(self.x, self.x, self.x)).activations
        # Queries, keys, values, scores, their product with the values, the output.
        assert activations == 3 * 192 + 2 * 4 * 36 + 192 + 192


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
class TestTransformerEncoder:
    """Attention as above and a feed-forward of 32: 2 x 12 x 16 x 32 more."""

    macs = 14_592 + 12_288

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("norm_first", [False, True])
    def test_the_fast_path_counts_as_the_slow_one(self, measure, training, norm_first):
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first).train(training)
        with torch.no_grad():
            assert measure(lambda: layer(torch.rand(2, 6, 16))).macs == self.macs

    def test_padding_counts_what_is_computed(self, measure):
        # The nested path computes 6 and 4 tokens of the two samples.
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
        encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=True).eval()
        mask = torch.zeros(2, 6, dtype=torch.bool)
        mask[1, 4:] = True
        with torch.no_grad():
            cost = measure(lambda: encoder(torch.rand(2, 6, 16), src_key_padding_mask=mask))
        assert cost.macs == 10 * 16 * (48 + 16 + 2 * 32) + (36 + 16) * 4 * 8
