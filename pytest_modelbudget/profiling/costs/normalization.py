"""Norms and softmax, per element: softmax 5; batch norm 2 in eval and 7 in training; layer, group norm 7; RMS norm 4.

What the 7 are: 1 for the mean, 3 for the variance (difference, square, sum), 1 for the scaling by the deviation, 2
for the affine map. In eval the statistics are known and everything folds into one factor and one summand. The 5 are
maximum, difference, exponential, sum and quotient. A backward operator takes twice its forward, that of softmax 4:
product, sum, difference, product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Cost
from .formula import CostFunction, Table, other
from .rates import per_first_output, per_input, per_output, table

if TYPE_CHECKING:
    from torch import Tensor

_TRAINING = 7
_EVAL = 2
_STATISTICS = 5
LAYER_NORM = 7
_RMS = 4
SOFTMAX = 5
SOFTMAX_BACKWARD = 4


def batch_norm(passes: int) -> CostFunction:
    """Batch norm that is told whether it trains; so many passes over the data, each at that rate."""

    def cost(data: Tensor, training: bool = True) -> Cost:
        return Cost(elementwise=passes * (_TRAINING if training else _EVAL) * data.numel())

    return cost


_BATCH = other(batch_norm(1), data="input")
_BATCH_BACKWARD = other(batch_norm(2), data="input")

TABLE: Table = {
    **table(
        _BATCH,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional batch_norm cudnn_batch_norm"
        " miopen_batch_norm _batch_norm_with_update _batch_norm_with_update_functional",
    ),
    **table(
        per_input(_EVAL, "input"), "_native_batch_norm_legit_no_training _batch_norm_no_update quantized_batch_norm"
    ),
    "aten::native_batch_norm_backward": other(batch_norm(2), data="input", training="train"),
    "aten::batch_norm_backward": other(batch_norm(2), data="input", training="update"),
    **table(_BATCH_BACKWARD, "cudnn_batch_norm_backward miopen_batch_norm_backward"),
    # Synchronised over processes: statistics, exchange of them, normalization.
    **table(per_input(_STATISTICS, "input"), "batch_norm_stats batch_norm_update_stats"),
    **table(per_input(_STATISTICS, "mean"), "batch_norm_gather_stats batch_norm_gather_stats_with_counts"),
    "aten::batch_norm_elemt": per_input(_EVAL, "input"),
    "aten::batch_norm_backward_reduce": per_input(2 * _STATISTICS, "input"),
    "aten::batch_norm_backward_elemt": per_input(2 * _EVAL, "input"),
    **table(per_input(LAYER_NORM, "input"), "native_layer_norm native_group_norm"),
    **table(per_input(2 * LAYER_NORM, "input"), "native_layer_norm_backward native_group_norm_backward"),
    "aten::_fused_rms_norm": per_input(_RMS, "input"),
    "aten::_fused_rms_norm_backward": per_input(2 * _RMS, "input"),
    # v * g / |v|: square, sum, product.
    "aten::_weight_norm_interface": per_first_output(3),
    "aten::_weight_norm_interface_backward": per_first_output(6),
    # Square, sum, and the product where the norm is too large.
    "aten::renorm": per_input(3),
    **table(per_output(SOFTMAX), "_softmax softmax _log_softmax log_softmax _safe_softmax"),
    **table(per_output(SOFTMAX), "_sparse_softmax _sparse_log_softmax _nested_tensor_softmax_with_shape"),
    "aten::_masked_softmax": per_output(SOFTMAX + 1),
    **table(
        per_output(SOFTMAX_BACKWARD),
        "_softmax_backward_data _log_softmax_backward_data _sparse_softmax_backward_data"
        " _sparse_log_softmax_backward_data _masked_softmax_backward",
    ),
}
