"""Convolutions of any dimension: batch x output positions x C_out x C_in/groups x kernel MACs.

A transposed convolution counts input positions instead. Its weight is stored (C_in, C_out/groups, *kernel), that of the
others (C_out, C_in/groups, *kernel), so that in both cases each element on the side with the positions takes part in as
many MACs as the weight has elements behind its first dimension. Each gradient takes as many as the forward.
Torch executes a complex convolution as three real ones, and so it counts.
The bias is free, its gradient a sum; what is fused behind the convolution is other work, 1 per element and step.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from .cost import Cost
from .formula import Table, contraction
from .sizes import elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Reading between four pixels, as in bilinear interpolation.
_BETWEEN_PIXELS = 7


def _macs(positions: Tensor, weight: Tensor) -> int:
    return positions.numel() * prod(weight.shape[1:])


def forward(data: Tensor, weight: Tensor, transposed: bool = False, *, output: Tensor) -> Cost:
    return Cost(macs=_macs(data if transposed else output, weight), activations=elements(output))


def forward_transposed(data: Tensor, weight: Tensor, *, output: Tensor) -> Cost:
    return forward(data, weight, transposed=True, output=output)


def time_batch_channel(weight: Tensor, *, output: Tensor) -> Cost:
    """`conv_tbc`, whose weight is (kernel, C_in, C_out)."""
    return Cost(macs=output.numel() * prod(weight.shape[:2]), activations=elements(output))


def then_relu(data: Tensor, weight: Tensor, *, output: Tensor) -> Cost:
    return with_steps(forward(data, weight, output=output), 1)


def then_add_and_relu(data: Tensor, weight: Tensor, *, output: Tensor) -> Cost:
    return with_steps(forward(data, weight, output=output), 2)


def then_pointwise(data: Tensor, weight: Tensor, attr: str, *, output: Tensor) -> Cost:
    return with_steps(forward(data, weight, output=output), steps_of(attr))


def then_binary(data: Tensor, weight: Tensor, unary_attr: str | None, *, output: Tensor) -> Cost:
    return with_steps(forward(data, weight, output=output), 1 + steps_of(unary_attr))


def transposed_then_pointwise(data: Tensor, weight: Tensor, attr: str, *, output: Tensor) -> Cost:
    return with_steps(forward_transposed(data, weight, output=output), steps_of(attr))


def steps_of(attribute: str | None) -> int:
    """Pointwise operations that oneDNN's attribute of that name stands for."""
    return 0 if attribute in (None, "", "none") else 1


def with_steps(cost: Cost, steps: int) -> Cost:
    """The cost with so many pointwise operations on each element of the result."""
    return cost._replace(elementwise=cost.activations * steps)


def backward(
    grad_output: Tensor, data: Tensor, weight: Tensor, output_mask: Sequence[bool], transposed: bool = False
) -> Cost:
    """The gradients that are asked for: of the input, of the weight, and of the bias where the operator does it too."""
    for_data, for_weight, *for_bias = output_mask
    return Cost(
        macs=_macs(data if transposed else grad_output, weight) * (for_data + for_weight),
        elementwise=grad_output.numel() * sum(for_bias),
    )


def backward_transposed(grad_output: Tensor, data: Tensor, weight: Tensor, output_mask: Sequence[bool]) -> Cost:
    return backward(grad_output, data, weight, output_mask, transposed=True)


def backward_of_all(grad_output: Tensor, data: Tensor, weight: Tensor) -> Cost:
    return backward(grad_output, data, weight, (True, True, True))


def time_batch_channel_backward(grad_output: Tensor, weight: Tensor) -> Cost:
    """Gradients of input, weight and bias."""
    macs = grad_output.numel() * prod(weight.shape[:2])
    return Cost(macs=2 * macs, elementwise=grad_output.numel())


def deformable(data: Tensor, weight: Tensor, use_mask: bool = True, *, output: Tensor) -> Cost:
    """A convolution of what it reads between the pixels, each tap at a place of its own, masked by a factor or not."""
    return Cost(
        macs=_macs(output, weight),
        elementwise=_taps(data, weight, output) * (_BETWEEN_PIXELS + use_mask),
        activations=elements(output),
    )


def deformable_backward(grad_output: Tensor, data: Tensor, weight: Tensor, use_mask: bool = True) -> Cost:
    """Two convolutions' worth; the reading is done again, and its gradient goes to pixels and to places."""
    return Cost(
        macs=2 * _macs(grad_output, weight),
        elementwise=3 * _taps(data, weight, grad_output) * (_BETWEEN_PIXELS + use_mask) + grad_output.numel(),
    )


def _taps(data: Tensor, weight: Tensor, output: Tensor) -> int:
    """Values read: batch x output positions x C_in x kernel."""
    positions = output.numel() // max(output.shape[1], 1)
    return positions * data.shape[1] * prod(weight.shape[2:])


_FORWARD = contraction(forward, data="input")
_SELF_FORWARD = contraction(forward, data="self")
_SELF_TRANSPOSED = contraction(forward_transposed, data="self")

TABLE: Table = {
    "aten::convolution": _FORWARD,
    "aten::_convolution": _FORWARD,
    "aten::convolution_overrideable": _FORWARD,
    "aten::conv_tbc": contraction(time_batch_channel),
    "aten::_conv_depthwise2d": _SELF_FORWARD,
    "aten::conv_depthwise3d": _SELF_FORWARD,
    "aten::_slow_conv2d_forward": _SELF_FORWARD,
    "aten::slow_conv3d_forward": _SELF_FORWARD,
    "aten::slow_conv_dilated2d": _SELF_FORWARD,
    "aten::slow_conv_dilated3d": _SELF_FORWARD,
    "aten::slow_conv_transpose2d": _SELF_TRANSPOSED,
    "aten::slow_conv_transpose3d": _SELF_TRANSPOSED,
    "aten::_nnpack_spatial_convolution": _FORWARD,
    "aten::mkldnn_convolution": _SELF_FORWARD,
    "aten::cudnn_convolution": _SELF_FORWARD,
    "aten::cudnn_convolution_transpose": _SELF_TRANSPOSED,
    "aten::cudnn_convolution_relu": contraction(then_relu, data="self"),
    "aten::cudnn_convolution_add_relu": contraction(then_add_and_relu, data="self"),
    "aten::miopen_convolution": _SELF_FORWARD,
    "aten::miopen_depthwise_convolution": _SELF_FORWARD,
    "aten::miopen_convolution_transpose": _SELF_TRANSPOSED,
    "aten::miopen_convolution_relu": contraction(then_relu, data="self"),
    "aten::miopen_convolution_add_relu": contraction(then_add_and_relu, data="self"),
    "aten::_mps_convolution": _SELF_FORWARD,
    "aten::_mps_convolution_transpose": _SELF_TRANSPOSED,
    "mkldnn::_convolution_pointwise": contraction(then_pointwise, data="X", weight="W"),
    "mkldnn::_convolution_pointwise.binary": contraction(then_binary, data="X", weight="W"),
    "mkldnn::_convolution_pointwise_.binary": contraction(then_binary, data="X", weight="W"),
    "mkldnn::_convolution_transpose_pointwise": contraction(transposed_then_pointwise, data="X", weight="W"),
    # gradients
    "aten::convolution_backward": contraction(backward, data="input"),
    "aten::convolution_backward_overrideable": contraction(backward, data="input"),
    "aten::_slow_conv2d_backward.output_mask": contraction(backward, data="self"),
    "aten::_slow_conv2d_backward": contraction(backward_of_all, data="self"),
    "aten::conv_tbc_backward": contraction(time_batch_channel_backward, grad_output="self"),
    "aten::mps_convolution_backward": contraction(backward, data="self"),
    "aten::mps_convolution_transpose_backward": contraction(backward_transposed, data="self"),
    # torchvision
    "torchvision::deform_conv2d": contraction(deformable, data="input"),
    "torchvision::_deform_conv2d_backward": contraction(deformable_backward, grad_output="grad", data="input"),
}
