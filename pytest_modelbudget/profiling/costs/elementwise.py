"""Other work that has no family of its own: 1 per output element if pointwise, 1 per input element if it reduces.

Most pointwise operators and reductions are known by their tags (see `schema`); here stand those that carry none, in
this or an earlier torch, and those that do more: sorting n log2 n, searching log2 n, scattering with a sum 1 per
summand. Drawing a random number counts as one operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .cost import NOTHING, Cost
from .formula import Table, other
from .rates import per_first_output, per_input, per_output, table
from .sizes import elements, times_log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_MASKS = (torch.bool, torch.uint8)


def sort(values: Tensor, dim: int | None = -1) -> Cost:
    """Each slice of n along the dimension takes n log2 n comparisons."""
    length = values.shape[dim] if dim is not None and values.dim() else values.numel()
    return Cost(elementwise=times_log2(values.numel(), length))


def sort_all(values: Tensor) -> Cost:
    return sort(values, None)


def largest(values: Tensor, k: int) -> Cost:
    """`topk`: one look at each element, then k log2 k for those it keeps of each slice."""
    length = max(values.shape[-1], 1) if values.dim() else 1
    return Cost(elementwise=values.numel() + times_log2(values.numel() // length * k, k))


def search(among: Tensor, *, output: Tensor) -> Cost:
    """log2 n comparisons for each value that is looked up."""
    return Cost(elementwise=times_log2(elements(output), among.shape[-1] if among.dim() else 1))


def membership(test_elements: Tensor | None = None, *, output: Tensor) -> Cost:
    """`isin`: both sides sorted, or compared with a single value."""
    return Cost(elementwise=times_log2(output.numel(), max(elements(test_elements), 2)))


def diagonal_sum(matrix: Tensor) -> Cost:
    return Cost(elementwise=min(matrix.shape))


def scattered(values: Tensor, accumulate: bool = True) -> Cost:
    """A sum for each value that is added to what is there; nothing where it replaces it."""
    return Cost(elementwise=values.numel()) if accumulate else NOTHING


def put(data: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Cost:
    """As scattering; a masked fill counts as `masked_fill`, which torch from 2.15 on calls by that name."""
    if is_masked_fill(indices, values, accumulate):
        return Cost(elementwise=data.numel())
    return scattered(values, accumulate)


def is_masked_fill(indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> bool:
    """Whether `index_put` writes one value wherever one mask says so: its kernels then run `masked_fill`."""
    given = [index for index in indices if index is not None]
    return not accumulate and values.numel() == 1 and len(given) == 1 and given[0].dtype in _MASKS


def bags(weight: Tensor, indices: Tensor) -> Cost:
    """The embeddings of each bag, added up."""
    return Cost(elementwise=indices.numel() * weight.shape[-1])


def bags_weights_backward(grad: Tensor, indices: Tensor) -> Cost:
    """The dot product of each embedding with its bag's gradient."""
    return Cost(elementwise=2 * indices.numel() * grad.shape[-1])


def renormalized(table_: Tensor, indices: Tensor) -> Cost:
    """Square, sum and product for the embeddings that are looked up."""
    return Cost(elementwise=3 * indices.numel() * table_.shape[-1])


def linear_combination(data: Tensor, coefficients: Tensor) -> Cost:
    """Of a few large matrices, for `matrix_exp`: a product and a sum for each element and coefficient."""
    return Cost(elementwise=2 * data.numel() * coefficients.shape[0])


def sampled_categories(weights: Tensor, *, output: Tensor) -> Cost:
    """`multinomial`: the cumulative sums, then a draw for each sample."""
    return Cost(elementwise=weights.numel() + output.numel())


def histogram(values: Tensor) -> Cost:
    """A place and a count for each value."""
    return Cost(elementwise=2 * values.numel())


_POINTWISE = (
    "_conj_copy _neg_view_copy copysign floor_divide hardshrink_backward hardsigmoid_backward hardswish"
    " hardswish_backward hardtanh_backward leaky_relu leaky_relu_backward elu_backward softplus_backward"
    " softshrink_backward log_sigmoid_backward glu glu_backward glu_jvp glu_backward_jvp _prelu_kernel"
    " _prelu_kernel_backward rrelu_with_noise rrelu_with_noise_backward native_dropout_backward _masked_scale polar"
    " linalg_cross"
    " fake_quantize_per_tensor_affine_cachemask_backward fake_quantize_per_channel_affine_cachemask_backward"
    " _fake_quantize_learnable_per_tensor_affine _fake_quantize_learnable_per_channel_affine"
    " quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic dequantize"
    " _make_per_tensor_quantized_tensor _make_per_channel_quantized_tensor _transform_bias_rescale_qkv"
    " masked_fill __irshift__ __ilshift__ __iand__ __ior__ __ixor__"
    " hann_window hamming_window blackman_window bartlett_window kaiser_window"
)
_BY_PRODUCTS = (
    "log_sigmoid_forward native_dropout _fused_dropout rrelu_with_noise_functional"
    " fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask"
    " _fake_quantize_per_tensor_affine_cachemask_tensor_qparams"
)
_RANDOM = (
    "rand rand_like randn randn_like randint randint_like randperm bernoulli normal normal_functional uniform random"
    " exponential geometric cauchy log_normal poisson binomial _standard_gamma _standard_gamma_grad _sample_dirichlet"
    " _dirichlet_grad _fill_mem_eff_dropout_mask_ _philox_normal _philox_uniform"
)
_REDUCTIONS = (
    "sum nansum mean prod amax amin max min argmax argmin any all var std var_mean std_mean norm native_norm"
    " linalg_vector_norm logsumexp median nanmedian kthvalue count_nonzero hash_tensor equal _is_all_true _is_any_true"
    " cumsum cumprod cummax cummin _cummax_helper _cummin_helper logcumsumexp _logcumsumexp"
    " bincount _coalesce coalesce _sparse_sum _sparse_csr_sum _sparse_csr_prod unique_consecutive"
    " unique_dim_consecutive"
)
_PRIMS_POINTWISE = (
    "abs acos acosh add asin asinh atan atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1"
    " bitwise_and bitwise_not bitwise_or bitwise_xor cbrt ceil conj_physical cos cosh digamma div eq erf erf_inv erfc"
    " erfcx exp exp2 expm1 floor fmax fmin fmod gcd ge gt hypot igamma igammac isfinite le lgamma log log10 log1p log2"
    " lt maximum minimum mul ndtri ne neg nextafter pow reciprocal remainder round rsqrt shift_left"
    " shift_right_arithmetic sign signbit sin sinh spherical_bessel_j0 sqrt sub tan tanh trunc where zeta normal"
    " uniform"
)

TABLE: Table = {
    **table(per_output(), _POINTWISE),
    **table(per_output(), _PRIMS_POINTWISE, "prims"),
    **table(per_output(), _RANDOM),
    **table(per_first_output(), _BY_PRODUCTS),
    "prims::frexp": per_first_output(),
    "rngprims::philox_rand": per_first_output(),
    **table(per_input(), _REDUCTIONS),
    **table(per_input(1, "inp"), "sum prod amax amin xor_sum var", "prims"),
    # Both at once, a difference first, differences and a tolerance.
    **table(per_input(2), "aminmax _aminmax dist"),
    "aten::allclose": per_input(3),
    "aten::_add_relu": per_output(2),
    "aten::segment_reduce": per_input(1, "data"),
    "aten::_segment_reduce_backward": per_output(),
    "aten::trace": other(diagonal_sum, matrix="self"),
    # Observes the range, then rounds into it.
    **table(per_input(3), "_fused_moving_avg_obs_fq_helper _fused_moving_avg_obs_fq_helper_functional"),
    **table(
        per_input(4),
        "_fake_quantize_learnable_per_tensor_affine_backward _fake_quantize_learnable_per_channel_affine_backward",
    ),
    # Overlapping parts, added up.
    **table(per_input(), "col2im"),
    "aten::unfold_backward": per_input(1, "grad_in"),
    **table(
        per_input(1, "grad_output"),
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward"
        " replication_pad2d_backward replication_pad3d_backward embedding_dense_backward",
    ),
    **table(other(sort, values="self"), "sort mode"),
    **table(other(sort_all, values="self"), "_unique _unique2 unique_dim"),
    "aten::topk": other(largest, values="self"),
    "aten::bucketize": other(search, among="boundaries"),
    "aten::searchsorted": other(search, among="sorted_sequence"),
    "aten::isin": other(membership),
    **table(
        other(histogram, values="self"),
        "histc histogram _histogramdd_bin_edges _histogramdd_from_bin_cts _histogramdd_from_bin_tensors",
    ),
    "aten::multinomial": other(sampled_categories, weights="self"),
    **table(other(scattered, values="source"), "index_add index_reduce put"),
    **table(other(put, data="self"), "index_put _index_put_impl _unsafe_index_put"),
    **table(other(scattered), "_unsafe_masked_index_put_accumulate"),
    **table(other(scattered, values="index"), "scatter_add scatter_reduce scatter.reduce scatter.value_reduce"),
    **table(other(scattered, values="index"), "scatter_.reduce scatter_.value_reduce"),
    **table(other(scattered, values="index"), "scatter.reduce_out scatter.value_reduce_out"),
    **table(other(bags), "_embedding_bag _embedding_bag_forward_only"),
    **table(other(bags, weight="grad"), "_embedding_bag_backward _embedding_bag_dense_backward"),
    "aten::_embedding_bag_per_sample_weights_backward": other(bags_weights_backward),
    "aten::embedding_renorm": other(renormalized, table_="self"),
    "aten::_compute_linear_combination": other(linear_combination, data="input"),
}
