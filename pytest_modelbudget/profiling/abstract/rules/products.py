"""Matrix products and convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pytest_modelbudget.profiling.abstract.rules.answered import Answered, Rules, aten, empty, layout_of
from pytest_modelbudget.profiling.operands import META

if TYPE_CHECKING:
    from collections.abc import Sequence


def _linear(data: Tensor, weight: Tensor, bias: Tensor | None = None) -> Answered | None:
    """One product. With a bias, what is not contiguous takes another way, and adds the bias by itself."""
    if data.dim() < 2 or weight.dim() != 2 or not data.is_contiguous() or data.dtype != weight.dtype:
        return None
    if data.shape[-1] != weight.shape[1] or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return Answered(empty((*data.shape[:-1], weight.shape[0]), data.dtype), aten.linear.default, (data, weight, bias))


def _mm(left: Tensor, right: Tensor) -> Answered | None:
    if left.dtype != right.dtype or left.shape[1] != right.shape[0]:
        return None
    return Answered(empty((left.shape[0], right.shape[1]), left.dtype), aten.mm.default, (left, right))


def _bmm(left: Tensor, right: Tensor) -> Answered | None:
    if left.dtype != right.dtype or left.shape[0] != right.shape[0] or left.shape[2] != right.shape[1]:
        return None
    output = empty((left.shape[0], left.shape[1], right.shape[2]), left.dtype)
    return Answered(output, aten.bmm.default, (left, right))


def _matmul(left: Tensor, right: Tensor) -> Answered | None:
    """Of two batches of the same shape: a batched product, of copies where they are no views of one. Else folded."""
    batch = left.shape[:-2]
    if len(batch) < 1 or batch != right.shape[:-2] or left.dtype != right.dtype or left.shape[-1] != right.shape[-2]:
        return None
    operands = []
    copies = []
    for operand in (left, right):
        shape = (batch.numel(), *operand.shape[-2:])
        try:
            operands.append(operand.view(shape))
        except RuntimeError:
            operands.append(empty(shape, operand.dtype))
            copies.append((operand, operands[-1]))
    output = empty((*left.shape[:-1], right.shape[-1]), left.dtype)
    return Answered(output, aten.bmm.default, tuple(operands), copies=tuple(copies))


def _grouped_mm(
    left: Tensor,
    right: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Answered | None:
    """In any dtype; the meta kernel takes bfloat16 only, and pads its rows as the kernel of CUDA does."""
    if left.dtype is torch.bfloat16:
        return None
    shape = [left.shape[-2], right.shape[-1]]
    if left.dim() == 2 and right.dim() == 2:
        if offs is None:
            return None
        shape = [offs.shape[0], *shape]
    elif left.dim() == 3 and right.dim() == 3:
        shape = [left.shape[0], *shape]
    return Answered(
        empty(shape, out_dtype or left.dtype), aten._grouped_mm.default, (left, right, offs, bias, out_dtype)
    )


def _convolution(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Answered | None:
    """Channels last if either operand is; the meta kernel takes it from the input alone."""
    spatial = weight.dim() - 2
    if data.is_complex():
        return None  # it is made of three real ones
    if data.dim() != weight.dim() or data.dtype != weight.dtype or data.shape[1] != groups * weight.shape[1]:
        return None
    layout = layout_of(data)
    if layout is None or (spatial != 2 and layout is torch.channels_last):
        return None
    if spatial == 2 and layout_of(weight) is torch.channels_last:
        layout = torch.channels_last
    stride, padding, dilation = (_repeat(value, spatial) for value in (stride, padding, dilation))
    positions = [
        (size + 2 * pad - step_in * (width - 1) - 1) // step + 1
        for size, pad, step_in, width, step in zip(
            data.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    if min(positions) < 1:
        return None
    output = torch.empty(
        (data.shape[0], weight.shape[0], *positions), dtype=data.dtype, device=META, memory_format=layout
    )
    counted = (data, weight, bias, stride, padding, dilation, False, [0] * spatial, groups)
    return Answered(output, aten.convolution.default, counted)


def _repeat(value: Sequence[int], times: int) -> Sequence[int]:
    return [value[0]] * times if len(value) == 1 else value


RULES: Rules = {
    aten.linear.default: _linear,
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.matmul.default: _matmul,
    aten.conv1d.default: _convolution,
    aten.conv2d.default: _convolution,
    aten.conv3d.default: _convolution,
}
if hasattr(aten, "_grouped_mm"):  # torch >= 2.8
    RULES[aten._grouped_mm.default] = _grouped_mm
