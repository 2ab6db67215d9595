"""Quantized operators: the products and convolutions of their families, with weights in a packed format.

Quantizing inside an operator and rescaling its result belong to the product and are free, as a bias is.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Protocol

from .conv import steps_of, with_steps
from .cost import Cost
from .formula import FREE, CostFunction, Formula, Table, contraction, other
from .matmul import packed, product
from .pooling import maximum
from .rates import per_output, table
from .sizes import elements

if TYPE_CHECKING:
    from torch import Tensor


class PackedConvolution(Protocol):
    """The TorchScript class that holds a convolution's weight."""

    def unpack(self) -> tuple[Tensor, Tensor | None]: ...


def linear(steps: int) -> CostFunction:
    """A linear layer followed by so many pointwise steps."""

    def cost(rows: Tensor, *, output: Tensor) -> Cost:
        return with_steps(packed(rows, output=output), steps)

    return cost


def linear_then(rows: Tensor, attribute: str, *, output: Tensor) -> Cost:
    return with_steps(packed(rows, output=output), steps_of(attribute))


def linear_then_binary(rows: Tensor, binary: str, unary: str, *, output: Tensor) -> Cost:
    return with_steps(packed(rows, output=output), steps_of(binary) + steps_of(unary))


def conv(steps: int) -> CostFunction:
    def cost(weight: PackedConvolution, *, output: Tensor) -> Cost:
        return with_steps(_conv(output, weight, output), steps)

    return cost


def conv_transposed(data: Tensor, weight: PackedConvolution, *, output: Tensor) -> Cost:
    return _conv(data, weight, output)


def _conv(positions: Tensor, weight: PackedConvolution, output: Tensor) -> Cost:
    # The packed object tells its kernel no other way than by the weight itself.
    unpacked, _ = weight.unpack()
    return Cost(macs=positions.numel() * prod(unpacked.shape[1:]), activations=elements(output))


def reordered_conv(weight: Tensor, attr: str, *, output: Tensor) -> Cost:
    """Groups may stand in a dimension of their own: only the number of the weight's elements is sure."""
    channels = max(output.shape[1], 1)
    cost = Cost(macs=output.numel() * weight.numel() // channels, activations=elements(output))
    return with_steps(cost, steps_of(attr))


def reordered_conv_binary(weight: Tensor, binary_attr: str, unary_attr: str | None, *, output: Tensor) -> Cost:
    cost = reordered_conv(weight, binary_attr, output=output)
    return cost._replace(elementwise=cost.elementwise + cost.activations * steps_of(unary_attr))


def bags(indices: Tensor, *, output: Tensor) -> Cost:
    """The embeddings of each bag, unpacked and added up."""
    return Cost(elementwise=2 * indices.numel() * output.shape[-1])


def _both(formula: Formula, names: str) -> Table:
    """The operators exist in two namespaces."""
    return {**table(formula, names, "quantized"), **table(formula, names, "_quantized")}


_PLAIN = "linear linear_dynamic linear_dynamic_fp16 linear_with_input_q_dq_qweight_dq_output_fp32"
_ACTIVATED = (
    "linear_relu linear_relu_dynamic linear_relu_dynamic_fp16 linear_tanh linear_leaky_relu"
    " linear_with_input_q_dq_qweight_dq_relu_output_fp32"
)
_CONV = "conv1d conv2d.new conv3d.new conv1d_dynamic conv2d_dynamic conv3d_dynamic"
_CONV_RELU = "conv1d_relu conv2d_relu.new conv3d_relu.new"
_TRANSPOSED = (
    "conv_transpose1d conv_transpose2d conv_transpose3d conv_transpose1d_dynamic conv_transpose2d_dynamic"
    " conv_transpose3d_dynamic"
)
_POINTWISE = (
    "add add_out add_scalar add_scalar_out mul mul_out mul_scalar mul_scalar_out celu clamp dropout elu hardswish"
    " leaky_relu prelu relu6 sigmoid threshold cat_relu cat_relu_out embedding_byte embedding_4bit"
)
_POINTWISE_RELU = (
    "add_relu add_relu_out add_scalar_relu add_scalar_relu_out mul_relu mul_relu_out mul_scalar_relu"
    " mul_scalar_relu_out"
)
_PACKING = (
    "linear_prepack linear_prepack_fp16 linear_prepack_legacy linear_prepack_fp16_legacy"
    " linear_unpack linear_unpack_fp16"
    " conv_prepack conv1d_prepack conv2d_prepack conv3d_prepack conv_transpose1d_prepack conv_transpose2d_prepack"
    " conv_transpose3d_prepack conv_unpack conv1d_unpack conv2d_unpack conv3d_unpack conv_transpose1d_unpack"
    " conv_transpose2d_unpack conv_transpose3d_unpack embedding_bag_prepack embedding_bag_unpack"
    " embedding_bag_byte_prepack embedding_bag_4bit_prepack embedding_bag_2bit_prepack embedding_bag_byte_unpack"
    " embedding_bag_4bit_unpack embedding_bag_2bit_unpack embedding_bag_byte_prepack_with_rowwise_min_max"
    " embedding_bag_4bit_prepack_with_rowwise_min_max embedding_bag_2bit_prepack_with_rowwise_min_max"
    " make_quantized_cell_params make_quantized_cell_params_dynamic make_quantized_cell_params_fp16 cat cat_out"
    " _wrapped_linear_prepack wrapped_fbgemm_pack_gemm_matrix_fp16"
)
_ONEDNN_LINEAR = contraction(linear_then, rows="qx", attribute="post_op_name")
_ONEDNN_LINEAR_BINARY = contraction(linear_then_binary, rows="qx", binary="binary_post_op", unary="unary_post_op")
_ONEDNN_CONV = contraction(reordered_conv, weight="qw")
_ONEDNN_CONV_BINARY = contraction(reordered_conv_binary, weight="qw")

TABLE: Table = {
    **_both(contraction(linear(0), rows="X"), _PLAIN),
    **_both(contraction(linear(1), rows="X"), _ACTIVATED),
    **_both(contraction(linear(0), rows="X"), "linear_dynamic_fp16_unpacked_weight wrapped_quantized_linear"),
    **_both(contraction(linear(0), rows="X"), "_wrapped_quantized_linear_prepacked wrapped_fbgemm_linear_fp16_weight"),
    "aten::_wrapped_quantized_linear_prepacked": contraction(linear(0), rows="input"),
    **table(
        contraction(linear(0), rows="input"),
        "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_fp16_weight"
        " fbgemm_linear_fp16_weight_fp32_activation",
    ),
    # Which blocks of the weight are stored is known to the packed object alone: these count as dense.
    **table(contraction(linear(0), rows="X"), "qlinear qlinear_dynamic", "sparse"),
    **table(contraction(linear(1), rows="X"), "qlinear_relu qlinear_relu_dynamic", "sparse"),
    "quantized::matmul": contraction(product, left="qa", right="qb"),
    **_both(contraction(conv(0), weight="packed_weight"), _CONV),
    **_both(contraction(conv(1), weight="packed_weight"), _CONV_RELU),
    **table(contraction(conv(0), weight="packed_weight"), "conv2d conv3d", "_quantized"),
    **table(contraction(conv(1), weight="packed_weight"), "conv2d_relu conv3d_relu", "_quantized"),
    # With the strides and paddings that are now part of the packed weight.
    **table(contraction(conv(0)), "conv2d conv3d", "quantized"),
    **table(contraction(conv(1)), "conv2d_relu conv3d_relu", "quantized"),
    "quantized::conv2d_add": contraction(conv(1), weight="packed_weight"),
    "quantized::conv2d_add_relu": contraction(conv(2), weight="packed_weight"),
    **_both(contraction(conv_transposed, data="qx", weight="packed_weight"), _TRANSPOSED),
    **_both(per_output(), _POINTWISE),
    **_both(per_output(2), _POINTWISE_RELU),
    **table(per_output(2), "batch_norm batch_norm1d batch_norm2d batch_norm3d", "quantized"),
    **table(per_output(3), "batch_norm_relu batch_norm1d_relu batch_norm2d_relu batch_norm3d_relu", "quantized"),
    **table(per_output(7), "layer_norm group_norm instance_norm", "quantized"),
    "quantized::softmax": per_output(5),
    "quantized::max_pool1d": other(maximum(1)),
    "quantized::max_pool2d": other(maximum(2)),
    **table(
        other(bags),
        "embedding_bag_byte embedding_bag_4bit embedding_bag_byte_rowwise_offsets embedding_bag_4bit_rowwise_offsets"
        " embedding_bag_2bit_rowwise_offsets",
        "quantized",
    ),
    **_both(FREE, _PACKING),
    # oneDNN
    "onednn::linear_dynamic_fp16": contraction(linear(0), rows="x"),
    "onednn::linear_relu_dynamic_fp16": contraction(linear(1), rows="x"),
    "onednn::qlinear_pointwise": _ONEDNN_LINEAR,
    "onednn::qlinear_pointwise.binary": _ONEDNN_LINEAR_BINARY,
    "onednn::qlinear_pointwise.binary_tensor": _ONEDNN_LINEAR_BINARY,
    **table(_ONEDNN_CONV, "qconv_pointwise qconv1d_pointwise qconv2d_pointwise qconv3d_pointwise", "onednn"),
    "onednn::qconv2d_pointwise.binary": _ONEDNN_CONV_BINARY,
    "onednn::qconv2d_pointwise.binary_tensor": _ONEDNN_CONV_BINARY,
    **table(per_output(), "qadd qmul", "onednn"),
    "onednn::qadd_relu": per_output(2),
    "onednn::qbatch_norm2d": per_output(2),
    **table(FREE, "linear_prepack_fp16 qlinear_prepack qconv_prepack", "onednn"),
}
