"""Operators about nested tensors, which an abstract run does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answered import Answered, Rules, aten

if TYPE_CHECKING:
    from torch import Tensor


def _is_left_aligned(tensor: Tensor, mask: Tensor) -> Answered:
    """No: `nn.TransformerEncoder` then runs padded, as it does in training, and on masks of any other form."""
    return Answered(False, aten._nested_tensor_from_mask_left_aligned.default, (tensor, mask))


RULES: Rules = {aten._nested_tensor_from_mask_left_aligned.default: _is_left_aligned}
