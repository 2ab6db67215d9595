"""Convolutions: batch x output positions x C_out x C_in/groups x kernel; transposed, input positions instead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from executing import meta
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_modelbudget.profiling.costs import Cost, lookup

aten = torch.ops.aten

# Module, input size, and by hand: positions x C_out x C_in/groups x kernel.
CONVOLUTIONS = {
    "1-D": (lambda: nn.Conv1d(3, 4, 5), (2, 3, 9), 2 * 5 * 4 * 3 * 5),
    "2-D": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 8, 10), 2 * (6 * 8) * 4 * 3 * 9),
    "3-D": (lambda: nn.Conv3d(3, 4, 2), (1, 3, 3, 4, 5), (2 * 3 * 4) * 4 * 3 * 8),
    "without a batch": (lambda: nn.Conv2d(3, 4, 3), (3, 8, 10), (6 * 8) * 4 * 3 * 9),
    "stride, padding, dilation": (lambda: nn.Conv2d(3, 4, 3, 2, 1, 2), (1, 3, 9, 9), (4 * 4) * 4 * 3 * 9),
    "padding='same'": (lambda: nn.Conv2d(3, 4, 4, padding="same"), (1, 3, 6, 7), (6 * 7) * 4 * 3 * 16),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5), 9 * 6 * 2 * 9),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 8, 16), (8 * 16) * 8 * 9),
    # Torch executes it as three real ones.
    "complex": (lambda: nn.Conv1d(3, 4, 5, dtype=torch.complex64), (2, 3, 9), 3 * 2 * 5 * 4 * 3 * 5),
    # 25 input positions x 4 x 6 x 4 taps.
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 2, 2), (1, 4, 5, 5), 2_400),
    "transposed 1-D": (lambda: nn.ConvTranspose1d(4, 6, 3, 2), (2, 4, 7), 2 * 7 * 4 * 6 * 3),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 25 * 4 * 3 * 9),
}


def data(size, layer):
    return torch.ones(size, dtype=layer.weight.dtype)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize(("build", "size", "macs"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_forward(measure, mode, build, size, macs):
    layer = build()
    with mode():
        assert measure(lambda: layer(data(size, layer))).macs == macs


@pytest.mark.parametrize(("build", "size", "macs"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_each_gradient_takes_as_much_as_the_forward(measure, build, size, macs):
    layer = build()
    x = data(size, layer).requires_grad_()
    y = layer(x)
    assert measure(lambda: y.backward(torch.ones_like(y))).macs == 2 * macs


def test_the_backward_of_a_depthwise_convolution_respects_the_groups(measure):
    # Two gradients of 128 positions x 8 channels x 9 taps.
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    y = layer(torch.ones(1, 8, 8, 16, requires_grad=True))
    assert measure(lambda: y.backward(torch.ones_like(y))).macs == 2 * 9_216 == 18_432


def test_a_gradient_that_nobody_needs_is_not_counted(measure):
    layer = nn.Conv2d(3, 4, 3)
    y = layer(torch.ones(2, 3, 8, 10))
    assert measure(lambda: y.backward(torch.ones_like(y))).macs == 2 * 48 * 4 * 27


def test_the_bias_is_free_and_its_gradient_a_sum(measure):
    layer = nn.Conv2d(3, 4, 3)
    x = torch.ones(2, 3, 8, 10)
    assert measure(lambda: layer(x)).elementwise == 0
    y = layer(x)
    assert measure(lambda: y.backward(torch.ones_like(y))).elementwise == y.numel()


def test_activations_are_the_elements_of_the_output(measure):
    layer = nn.Conv2d(3, 4, 3)
    assert measure(lambda: layer(torch.ones(2, 3, 8, 10))).activations == 2 * 4 * 6 * 8


def test_the_double_backward_counts_the_convolutions_it_consists_of(measure):
    x, w = torch.ones(1, 3, 6, requires_grad=True), torch.ones(4, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.conv1d(x, w).sum(), x, create_graph=True)
    # Of the weight and of the gradient that came in: 4 positions x 4 x 3 x 3 taps each.
    assert measure(lambda: gradient.sum().backward()).macs == 2 * 144


@given(
    transposed=st.booleans(),
    groups=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    extra=st.integers(0, 3),
    stride=st.integers(1, 3),
    batch=st.integers(1, 3),
)
def test_any_convolution_counts_its_taps(transposed, groups, channels, kernel, extra, stride, batch):
    c_in, c_out = channels[0] * groups, channels[1] * groups
    x = meta(batch, c_in, *(size + extra for size in kernel))
    w = meta(*((c_in, channels[1]) if transposed else (c_out, channels[0])), *kernel)
    zeros, ones = [0] * len(kernel), [1] * len(kernel)
    args = (x, w, None, [stride] * len(kernel), zeros, ones, transposed, zeros, groups)
    y = aten.convolution.default(*args)
    taps = 1
    for size in kernel:
        taps *= size
    side = x if transposed else y
    positions = side.numel() // side.shape[1]
    macs = positions * channels[0] * channels[1] * groups * taps
    assert lookup(aten.convolution.default).cost(args, {}, y) == Cost(macs=macs, activations=y.numel())
    backward = (y, x, w, [c_out], *args[3:], (True, True, False))
    assert lookup(aten.convolution_backward.default).cost(backward, {}, None) == Cost(macs=2 * macs)


class TestBackends:
    x, y = meta(2, 4, 8, 8), meta(2, 6, 6, 6)
    weight = meta(6, 2, 3, 3)
    macs = 2 * 36 * 6 * 2 * 9

    @pytest.mark.parametrize(
        "op",
        [
            aten.convolution_overrideable,
            aten._convolution,
            aten.cudnn_convolution,
            aten.miopen_convolution,
            aten.miopen_depthwise_convolution,
            aten.mkldnn_convolution,
            aten._mps_convolution,
            aten._conv_depthwise2d,
            aten._slow_conv2d_forward,
            aten._nnpack_spatial_convolution,
            aten.slow_conv_dilated2d,
        ],
        ids=str,
    )
    def test_forward(self, cost_of, op):
        assert cost_of(op.default, self.x, self.weight, output=self.y) == Cost(self.macs, activations=2 * 6 * 36)

    @pytest.mark.parametrize(("backend"), ["cudnn", "miopen"])
    def test_fused_steps_are_other_work(self, cost_of, backend):
        relu = getattr(aten, f"{backend}_convolution_relu").default
        add_relu = getattr(aten, f"{backend}_convolution_add_relu").default
        assert cost_of(relu, self.x, self.weight, output=self.y).elementwise == 432
        assert cost_of(add_relu, self.x, self.weight, output=self.y).elementwise == 2 * 432

    def test_onednn_fused_steps(self, cost_of):
        op = torch.ops.mkldnn._convolution_pointwise
        plain = (self.x, self.weight, None, [0, 0], [1, 1], [1, 1], 2)
        assert cost_of(op.default, *plain, "none", [], "", output=self.y) == Cost(self.macs, 0, 0, 432)
        assert cost_of(op.default, *plain, "relu", [], "", output=self.y).elementwise == 432
        binary = (self.x, self.y, self.weight, None, [0, 0], [1, 1], [1, 1], 2, "add", None, "relu", [], None)
        assert cost_of(op.binary, *binary, output=self.y) == Cost(self.macs, 0, 2 * 432, 432)

    @pytest.mark.parametrize(
        "op", [aten.cudnn_convolution_transpose, aten.miopen_convolution_transpose, aten._mps_convolution_transpose]
    )
    def test_transposed(self, cost_of, op):
        x, weight = meta(1, 4, 5, 5), meta(4, 6, 2, 2)
        assert cost_of(op.default, x, weight, output=meta(1, 6, 10, 10)).macs == 2_400

    @pytest.mark.parametrize("mask", [(True, True, True), (True, False, False), (False, True, False)], ids=str)
    def test_backward_on_mps(self, cost_of, mask):
        options = ([0, 0], [1, 1], [1, 1], 2)
        op = aten.mps_convolution_backward.default
        cost = cost_of(op, self.x, self.y, self.weight, *options, mask)
        assert cost == Cost(macs=(mask[0] + mask[1]) * self.macs, elementwise=mask[2] * 432)

    def test_transposed_backward_on_mps(self, cost_of):
        x, y, weight = meta(1, 4, 5, 5), meta(1, 6, 10, 10), meta(4, 6, 2, 2)
        op = aten.mps_convolution_transpose_backward.default
        assert cost_of(op, x, y, weight, [0, 0], [0, 0], [2, 2], [1, 1], 1, (True, True)).macs == 2 * 2_400

    def test_time_first(self, measure):
        # 5 output steps x 2 samples x 3 taps x 4 x 6.
        assert measure(lambda: torch.conv_tbc(torch.ones(7, 2, 4), torch.ones(3, 4, 6), torch.ones(6))).macs == 720

    def test_deformable(self, cost_of, define):
        signature = (
            "(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w,"
            " SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups,"
            " bool use_mask) -> Tensor"
        )
        op = define("torchvision", "deform_conv2d", signature)
        args = (self.x, self.weight, meta(0), meta(0), meta(6), 1, 1, 0, 0, 1, 1, 2, 1)
        taps = 2 * 36 * 4 * 9
        assert cost_of(op, *args, False, output=self.y) == Cost(self.macs, 0, 7 * taps, 432)
        assert cost_of(op, *args, True, output=self.y) == Cost(self.macs, 0, 8 * taps, 432)
