"""Losses per element of the prediction, optimizers per element of the parameters: the operations of their formulas.

The gradient of a loss takes as much per element as the loss. A reduced loss includes the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Cost
from .formula import Table, contraction, other
from .normalization import SOFTMAX, SOFTMAX_BACKWARD
from .rates import per_input, per_output, table
from .sizes import elements

if TYPE_CHECKING:
    from torch import Tensor


def ctc(*, output: tuple[Tensor, Tensor]) -> Cost:
    """The forward variable of each step and label: log(exp a + exp b + exp c), plus a log probability.

    cuDNN and MIOpen return the gradient in its place, which has an element for each step and class.
    """
    _, by_step = output
    return Cost(elementwise=8 * elements(by_step))


def ctc_backward(log_probs: Tensor, log_alpha: Tensor) -> Cost:
    """The same for the backward variable; then one difference and exponential for each step and class."""
    return Cost(elementwise=8 * log_alpha.numel() + 2 * log_probs.numel())


def linear_cross_entropy(
    rows: Tensor,
    weight: Tensor,
    compute_input_grad: bool = False,
    compute_linear_weight_grad: bool = False,
) -> Cost:
    """A linear layer, softmax and loss in chunks, with the gradients that it works out beforehand."""
    classes = weight.shape[0]
    gradients = compute_input_grad + compute_linear_weight_grad
    logits = rows.shape[0] * classes
    return Cost(
        macs=rows.numel() * classes * (1 + gradients),
        elementwise=logits * (SOFTMAX + (SOFTMAX_BACKWARD if gradients else 0)),
        activations=logits,
    )


TABLE: Table = {
    # (x - y)², summed
    **table(per_input(3), "mse_loss mse_loss_backward"),
    # |x - y|, compared, squared or not, scaled, summed
    **table(per_input(5), "smooth_l1_loss smooth_l1_loss_backward huber_loss huber_loss_backward"),
    # y log x + (1 - y) log(1 - x), summed
    **table(per_input(7), "binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits"),
    # log(1 + exp(-y x)), summed
    **table(per_input(5), "soft_margin_loss soft_margin_loss_backward"),
    # max(0, margin - x_y + x)^p, summed
    **table(per_input(4), "multi_margin_loss multi_margin_loss_backward"),
    **table(per_input(4), "multilabel_margin_loss_forward multilabel_margin_loss_backward"),
    # picks one element for each target, and sums
    **table(per_input(1, "target"), "nll_loss nll_loss_forward nll_loss2d_forward"),
    **table(per_input(1, "target"), "nll_loss_backward nll_loss2d_backward"),
    **table(other(ctc), "_ctc_loss _cudnn_ctc_loss miopen_ctc_loss"),
    "aten::_ctc_loss_backward": other(ctc_backward),
    **table(
        contraction(linear_cross_entropy, rows="input", weight="linear_weight"),
        "_linear_cross_entropy_batch_chunked _linear_cross_entropy_batch_chunked_no_reduction",
        "torch_nn",
    ),
    # Two moments (3 + 4), the denominator (3), the step (3), weight decay (1).
    **table(per_input(14), "_fused_adam _fused_adamw"),
    # Weight decay, momentum, step: a product and a sum each.
    "aten::_fused_sgd": per_input(6),
    # The sum of squares (2), weight decay (2), denominator (2), step (2).
    "aten::_fused_adagrad": per_input(8),
    # Scaled gradients: a check and a product.
    "aten::_amp_foreach_non_finite_check_and_unscale": per_input(2),
    "aten::_amp_update_scale": per_output(),
}
