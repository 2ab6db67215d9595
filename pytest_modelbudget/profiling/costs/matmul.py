"""Matrix products and everything that is one: an m x k by k x n product is m k n MACs.

The bias, `beta * self` and the scales of low-bit formats start or scale the accumulator and are free. An activation
function fused behind a product is other work, 1 per element. A complex MAC is 4 real ones. Activations are the
elements of the product; gradients are none.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from .cost import Cost, total
from .formula import Table, contraction
from .sizes import elements, is_sparse, numbers_per_element, real_macs, shapes, stored_elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .sizes import Shape


def product(left: Tensor, right: Tensor, *, output: Tensor) -> Cost:
    """(…, m, k) by (…, k, n), where k or m and n may be missing; nested and sparse operands too."""
    return Cost(macs=_macs(left, right), activations=elements(output))


def _macs(left: Tensor, right: Tensor) -> int:
    if left.layout is torch.strided and right.layout is torch.strided and not left.is_nested and not right.is_nested:
        each = real_macs(left) * numbers_per_element(left)
        return _dense_macs(left.shape, right.shape) * each
    if left.is_nested or right.is_nested:
        return _nested_macs(shapes(left), shapes(right)) * real_macs(left)
    return _sparse_macs(left, right) * real_macs(left)


def _dense_macs(left: Shape, right: Shape) -> int:
    """MACs of a product with its batch dimensions broadcast, as `matmul` defines it."""
    if len(left) == len(right) == 2:
        return left[0] * left[1] * right[1]
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    batch, other = left[:-2], right[:-2]
    if batch != other:
        batch = torch.broadcast_shapes(batch, other)
    return prod(batch) * rows * left[-1] * columns


def _nested_macs(left: list[Shape], right: list[Shape]) -> int:
    """The sum over the components; an operand that is not nested is the same for all of them, or holds one for each."""
    count = max(len(left), len(right))
    left, right = (_per_component(each, count) for each in (left, right))
    return sum(map(_dense_macs, left, right))


def _per_component(sizes: list[Shape], count: int) -> list[Shape]:
    if len(sizes) == count:
        return sizes
    (shape,) = sizes
    return [shape[1:] if len(shape) > 2 else shape] * count


def _sparse_macs(left: Tensor, right: Tensor) -> int:
    """Stored elements of the sparse operand x the other dimension of the dense one.

    Of two sparse operands the exact figure depends on where their elements lie; this is what evenly spread ones take.
    """
    if not is_sparse(left):
        return stored_elements(right) * left.shape[-2]
    if not is_sparse(right):
        return stored_elements(left) * (right.shape[-1] if right.dim() > 1 else 1)
    return stored_elements(left) * stored_elements(right) // max(right.shape[-2], 1)


def outer(left: Tensor, right: Tensor, *, output: Tensor) -> Cost:
    """`addr`: an m x 1 by 1 x n product. (`outer` without an addend executes as a pointwise multiplication.)."""
    return Cost(macs=left.numel() * right.numel() * real_macs(left), activations=elements(output))


def packed(rows: Tensor, *, output: Tensor) -> Cost:
    """`linear` and its like: each row of k numbers becomes one of n, whatever format the weight is packed in."""
    return Cost(macs=elements(rows) * output.size(-1) * real_macs(rows), activations=elements(output))


def packed_and_activated(rows: Tensor, *, output: Tensor) -> Cost:
    return packed(rows, output=output)._replace(elementwise=elements(output))


def packed_and_perhaps_activated(rows: Tensor, activation: str | None, *, output: Tensor) -> Cost:
    return (packed if activation in (None, "", "none") else packed_and_activated)(rows, output=output)


def product_and_activated(left: Tensor, right: Tensor, *, output: Tensor) -> Cost:
    return product(left, right, output=output)._replace(elementwise=elements(output))


def reduced_product(left: Tensor, right: Tensor, *, output: tuple[Tensor, Tensor]) -> Cost:
    """Sparse by dense, added up or reduced otherwise; with the result come the indices of what it took."""
    return product(left, right, output=output[0])


def products(left: Sequence[Tensor], right: Sequence[Tensor], *, output: Sequence[Tensor]) -> Cost:
    """A list of products."""
    return total(product(a, b, output=c) for a, b, c in zip(left, right, output, strict=True))


def grouped(left: Tensor, right: Tensor, *, output: Tensor) -> Cost:
    """`_grouped_mm`: each row meets the matrix of its group. Rows x k x n, wherever the groups begin and end.

    Left (rows, k) by right (groups, k, n); (groups, m, k) by (k, columns); (m, all k) by (all k, n) for the gradient of
    the weights; or one matrix for each group on both sides.
    """
    shared = prod(left.shape[-2:]) if right.dim() == 2 else left.numel()
    return Cost(macs=shared * right.shape[-1] * numbers_per_element(left), activations=elements(output))


def grouped_backward(left: Tensor, right: Tensor, *, output: Sequence[Tensor]) -> Cost:
    """The gradients of both, each as much as the product."""
    forward = grouped(left, right, output=left)
    return Cost(macs=2 * forward.macs, activations=sum(map(elements, output)))


def sampled(sample: Tensor, left: Tensor) -> Cost:
    """`sparse_sampled_addmm`: (m, k) by (k, n), where `sample` stores an element."""
    return Cost(macs=stored_elements(sample) * left.shape[-1] * real_macs(left), activations=stored_elements(sample))


def semi_structured(compressed: Tensor, dense: Tensor, *, output: Tensor) -> Cost:
    """2:4 sparse (m, k/2 stored) by (k, n): the stored half takes part."""
    return Cost(macs=compressed.numel() * dense.shape[-1], activations=elements(output))


def semi_structured_linear(rows: Tensor, activation: str | None = None, *, output: Tensor) -> Cost:
    return _halved(packed_and_perhaps_activated(rows, activation, output=output))


def semi_structured_in_one_buffer(dense: Tensor, *, output: Tensor) -> Cost:
    """A buffer of cuSPARSELt holds values and metadata: only the other sizes tell how much of it takes part."""
    return _halved(Cost(macs=elements(output) * dense.shape[0], activations=elements(output)))


def _halved(cost: Cost) -> Cost:
    return cost._replace(macs=cost.macs // 2)


def linear_backward(grad_output: Tensor, weight: Tensor, output_mask: Sequence[bool]) -> Cost:
    """Gradients of input and weight, each as much as the forward; that of the bias is a sum."""
    for_input, for_weight, for_bias = output_mask
    macs = grad_output.numel() * weight.shape[-1] * real_macs(weight)
    return Cost(macs=macs * (for_input + for_weight), elementwise=grad_output.numel() * for_bias)


def linear_backward_of_input(grad_output: Tensor, weight: Tensor) -> Cost:
    return linear_backward(grad_output, weight, (True, False, False))


def linear_backward_of_weights(grad_output: Tensor, weight: Tensor, bias_defined: bool) -> Cost:
    return linear_backward(grad_output, weight, (False, True, bias_defined))


def matmul_backward(left: Tensor, right: Tensor, mask: Sequence[bool]) -> Cost:
    return Cost(macs=_macs(left, right) * sum(mask))


def trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    *,
    output: Tensor,
) -> Cost:
    """The heart of `nn.Bilinear` and of its gradients: the product of the sizes of all indices."""
    expanded = (_with_ones(tensor.shape, at) for tensor, at in ((first, expand1), (second, expand2), (third, expand3)))
    return Cost(macs=prod(torch.broadcast_shapes(*expanded)) * real_macs(first), activations=elements(output))


def _with_ones(shape: Shape, at: Sequence[int]) -> Shape:
    """The shape with a 1 inserted at each of these positions of the result."""
    rest = iter(shape)
    return [1 if position in at else next(rest) for position in range(len(shape) + len(at))]


def distances(points: Tensor, p: float = 2.0, *, output: Tensor) -> Cost:
    """`cdist`, `pdist`: for each pair d MACs and a root with p=2, else d differences, powers and additions."""
    terms = elements(output) * points.shape[-1]
    if p == 2:
        return Cost(macs=terms, elementwise=elements(output), activations=elements(output))
    return Cost(elementwise=3 * terms)


def distances_backward(grad: Tensor, points: Tensor, p: float) -> Cost:
    """The gradient of one side: each pair's weight times its difference; the power too unless p=2."""
    terms = grad.numel() * points.shape[-1]
    return Cost(macs=terms, elementwise=terms) if p == 2 else Cost(elementwise=4 * terms)


def pairwise_backward(grad: Tensor, points: Tensor, p: float) -> Cost:
    """`pdist`: each pair moves both of its points."""
    return total([distances_backward(grad, points, p)] * 2)


def gathered_products(rows: Tensor, *, output: tuple[Tensor, Sequence[Tensor]]) -> Cost:
    """The rows gathered from all processes by each of the weights."""
    _, results = output
    return Cost(macs=elements(results) * rows.shape[-1], activations=elements(results))


def scattered_product(left: Tensor, right: Tensor) -> Cost:
    """Products of which every process keeps its part of the sum over processes."""
    macs = _macs(left, right)
    return Cost(macs=macs, activations=macs // max(left.shape[-1], 1))


def affine_grid(*, output: Tensor) -> Cost:
    """Homogeneous coordinates of each position by the affine matrix."""
    return Cost(macs=elements(output) * (output.shape[-1] + 1), activations=elements(output))


def affine_grid_backward(grad: Tensor) -> Cost:
    return Cost(macs=grad.numel() * (grad.shape[-1] + 1))


def sum_of_two_products(a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, output: Tensor) -> Cost:
    return Cost(macs=_macs(a, b) + _macs(c, d), activations=elements(output))


_SELF_BY_MAT2 = contraction(product, left="self", right="mat2")
_MAT1_BY_MAT2 = contraction(product, left="mat1", right="mat2")
_BATCHES = contraction(product, left="batch1", right="batch2")
_PACKED_SELF = contraction(packed, rows="self")
_PACKED_INPUT = contraction(packed, rows="input")
_PACKED_X = contraction(packed, rows="X")
_GROUPED = contraction(grouped, left="self", right="mat2")

TABLE: Table = {
    "aten::mm": _SELF_BY_MAT2,
    "aten::bmm": _SELF_BY_MAT2,
    "aten::_int_mm": _SELF_BY_MAT2,
    "aten::_scaled_mm": _SELF_BY_MAT2,
    "aten::_scaled_mm_v2": _SELF_BY_MAT2,
    "aten::addmm": _MAT1_BY_MAT2,
    "aten::_addmm_activation": contraction(product_and_activated, left="mat1", right="mat2"),
    "aten::baddbmm": _BATCHES,
    "aten::addbmm": _BATCHES,
    "aten::mv": contraction(product, left="self", right="vec"),
    "aten::addmv": contraction(product, left="mat", right="vec"),
    "aten::dot": contraction(product, left="self", right="tensor"),
    "aten::vdot": contraction(product, left="self", right="other"),
    "aten::matmul": contraction(product, left="self", right="other"),
    "aten::matmul_backward": contraction(matmul_backward, left="self", right="other"),
    "aten::addr": contraction(outer, left="vec1", right="vec2"),
    "aten::_foreach_mm": contraction(products, left="self", right="mat2"),
    "_native::_foreach_mm_native_0": contraction(products, left="self", right="mat2"),
    "aten::_grouped_mm": _GROUPED,
    "aten::_scaled_grouped_mm": _GROUPED,
    "aten::_scaled_grouped_mm_v2": _GROUPED,
    # What transformers does where torch has no grouped product for a dtype, or none at all.
    "transformers::grouped_mm_fallback": contraction(grouped, left="input", right="weight"),
    "transformers::grouped_mm_fallback_backward": contraction(grouped_backward, left="input", right="weight"),
    # linear
    "aten::linear": _PACKED_INPUT,
    "aten::linear_backward": contraction(linear_backward),
    "aten::mkldnn_linear": _PACKED_SELF,
    "aten::mkldnn_linear_backward": contraction(linear_backward),
    "aten::mkldnn_linear_backward_input": contraction(linear_backward_of_input),
    "aten::mkldnn_linear_backward_weights": contraction(linear_backward_of_weights),
    "mkl::_mkl_linear": _PACKED_X,
    "mkldnn::_linear_pointwise": contraction(packed_and_perhaps_activated, rows="X", activation="attr"),
    "mkldnn::_linear_pointwise.binary": contraction(packed_and_activated, rows="X"),
    # low-bit weights
    "aten::_weight_int4pack_mm": _PACKED_SELF,
    "aten::_weight_int4pack_mm_for_cpu": _PACKED_SELF,
    "aten::_weight_int4pack_mm_with_scales_and_zeros": _PACKED_SELF,
    "aten::_weight_int8pack_mm": _PACKED_SELF,
    "quantized::int4mm_packed_weight_cpu": _PACKED_SELF,
    "aten::_dyn_quant_matmul_4bit": contraction(packed, rows="inp"),
    "aten::_mixed_dtypes_linear": contraction(packed_and_perhaps_activated, rows="input"),
    # sparse x dense, and dense where a sparse sample asks
    "aten::_sparse_mm": contraction(product, left="sparse", right="dense"),
    "aten::_sparse_mm_reduce_impl": contraction(reduced_product, left="self", right="other"),
    "aten::_sparse_mm_reduce_impl_backward": contraction(
        matmul_backward, left="self", right="weight", mask="output_mask"
    ),
    "aten::_sparse_addmm": _MAT1_BY_MAT2,
    "aten::sspaddmm": _MAT1_BY_MAT2,
    "aten::hspmm": _MAT1_BY_MAT2,
    "aten::_sparse_sparse_matmul": contraction(product, left="self", right="other"),
    "aten::sparse_sampled_addmm": contraction(sampled, sample="self", left="mat1"),
    "aten::_sparse_semi_structured_mm": contraction(semi_structured, compressed="mat1", dense="mat2"),
    "aten::_sparse_semi_structured_addmm": contraction(semi_structured, compressed="mat1", dense="mat2"),
    "aten::_sparse_semi_structured_linear": contraction(semi_structured_linear, rows="input"),
    "aten::_cslt_sparse_mm": contraction(semi_structured_in_one_buffer, dense="dense_B"),
    # products of three, and distances
    "aten::_trilinear": contraction(trilinear, first="i1", second="i2", third="i3"),
    "aten::_cdist_forward": contraction(distances, points="x1"),
    # The gradient has another name from torch 2.15 on; the distances have its shape.
    "aten::_cdist_backward": contraction(distances_backward, grad="cdist", points="x1"),
    "aten::_euclidean_dist": contraction(distances, points="x1"),
    "aten::_pdist_forward": contraction(distances, points="self"),
    "aten::_pdist_backward": contraction(pairwise_backward, grad="pdist", points="self"),
    "aten::affine_grid_generator": contraction(affine_grid),
    "aten::cudnn_affine_grid_generator": contraction(affine_grid),
    "aten::cudnn_affine_grid_generator_backward": contraction(affine_grid_backward),
    # products fused with communication, and by Inductor
    "symm_mem::_async_input_mm": contraction(product, left="a", right="b"),
    "symm_mem::fused_all_gather_matmul": contraction(gathered_products, rows="A"),
    "symm_mem::fused_all_gather_scaled_matmul": contraction(gathered_products, rows="A"),
    "symm_mem::fused_matmul_reduce_scatter": contraction(scattered_product, left="A", right="B"),
    "symm_mem::fused_scaled_matmul_reduce_scatter": contraction(scattered_product, left="A", right="B"),
    "inductor::_mm_plus_mm": contraction(sum_of_two_products),
}
