"""Quantized operators count as the products and convolutions that they are."""

from __future__ import annotations

import pytest
import torch
import torch.ao.nn.quantized as nnq
from executing import meta
from torch import nn

from pytest_modelbudget.profiling.costs import Cost

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
    pytest.mark.skipif(torch.backends.quantized.engine == "none", reason="this torch has no quantized kernels"),
]


def quantized(*shape):
    return torch.quantize_per_tensor(torch.rand(shape), 0.1, 0, torch.quint8)


def test_a_dynamically_quantized_linear(measure):
    layer, x = nnq.dynamic.Linear(16, 32), torch.rand(2, 5, 16)
    assert measure(lambda: layer(x)) == Cost(10 * 16 * 32, 0, 0, 320)


@pytest.mark.parametrize(
    ("build", "size", "macs"),
    [
        (lambda: nnq.Linear(16, 32), (5, 16), 5 * 16 * 32),
        (lambda: nnq.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8), 2 * 36 * 6 * 2 * 9),
        (lambda: nnq.Conv1d(4, 6, 3), (2, 4, 8), 2 * 6 * 6 * 4 * 3),
        (lambda: nnq.ConvTranspose2d(4, 6, 2, 2), (1, 4, 5, 5), 2_400),
    ],
    ids=["linear", "grouped convolution", "1-D convolution", "transposed convolution"],
)
def test_static_quantization(measure, build, size, macs):
    layer, x = build(), quantized(*size)
    assert measure(lambda: layer(x)).macs == macs


def test_a_fused_activation_is_other_work(measure):
    layer = torch.ao.nn.intrinsic.quantized.LinearReLU(16, 32)
    x = quantized(5, 16)
    assert measure(lambda: layer(x)) == Cost(5 * 16 * 32, 0, 160, 160)


def test_quantizing_and_dequantizing_are_pointwise(measure):
    layer = nn.Sequential(nnq.Quantize(torch.tensor([0.1]), torch.tensor([0]), torch.quint8), nnq.DeQuantize())
    x = torch.rand(5, 16)
    assert measure(lambda: layer(x)).elementwise == 2 * 80


def test_fbgemm_products_hide_nothing(cost_of):
    op = torch.ops.aten.fbgemm_linear_fp16_weight_fp32_activation.default
    assert cost_of(op, meta(5, 16), meta(99), None, output=meta(5, 32)).macs == 5 * 16 * 32


def test_onednn_products(cost_of):
    op = torch.ops.onednn.qlinear_pointwise.default
    scales = (0.1, 0, meta(32, 16), meta(32), meta(32), None, 1.0, 0, None)
    plain = cost_of(op, meta(5, 16), *scales, "none", [], "", output=meta(5, 32))
    assert plain == Cost(5 * 16 * 32, 0, 0, 160)
    assert cost_of(op, meta(5, 16), *scales, "relu", [], "", output=meta(5, 32)).elementwise == 160


def test_onednn_convolutions_with_groups_in_a_dimension_of_their_own(cost_of):
    op = torch.ops.onednn.qconv2d_pointwise.default
    for weight in (meta(6, 2, 3, 3), meta(2, 3, 2, 3, 3)):
        args = (meta(2, 4, 8, 8), 0.1, 0, weight, meta(6), meta(6), None, [1], [0], [1], 2, 1.0, 0, None)
        assert cost_of(op, *args, "none", [], "", output=meta(2, 6, 6, 6)).macs == 2 * 36 * 6 * 2 * 9
