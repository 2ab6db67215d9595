"""Recurrent layers: per step and sample 4h(i+h), 3h(i+h), h(i+h) MACs for LSTM, GRU and plain RNN."""

from __future__ import annotations

import pytest
import torch
from executing import meta
from torch import nn
from torch.nn.utils.rnn import pack_sequence

aten = torch.ops.aten

# Five steps of two samples, 8 features in, 16 hidden.
NETWORKS = {
    "LSTM": (lambda: nn.LSTM(8, 16), 10 * 4 * 16 * (8 + 16)),
    "GRU": (lambda: nn.GRU(8, 16), 10 * 3 * 16 * (8 + 16)),
    "RNN": (lambda: nn.RNN(8, 16), 10 * 16 * (8 + 16)),
    "RNN with ReLU": (lambda: nn.RNN(8, 16, nonlinearity="relu"), 10 * 16 * (8 + 16)),
    "without bias": (lambda: nn.LSTM(8, 16, bias=False), 15_360),
    "two layers": (lambda: nn.LSTM(8, 16, num_layers=2), 10 * 64 * (24 + 32)),
    "both directions": (lambda: nn.LSTM(8, 16, bidirectional=True), 2 * 15_360),
    "two layers in both directions": (
        lambda: nn.GRU(8, 16, num_layers=2, bidirectional=True),
        2 * 10 * 48 * ((8 + 16) + (32 + 16)),
    ),
    # Gates from 8 features and 5 projected ones, and the projection.
    "projected": (lambda: nn.LSTM(8, 16, proj_size=5), 10 * (64 * (8 + 5) + 16 * 5)),
    "projected, two layers": (
        lambda: nn.LSTM(8, 16, num_layers=2, proj_size=5),
        10 * (64 * (8 + 5) + 16 * 5 + 64 * (5 + 5) + 16 * 5),
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize(("build", "macs"), NETWORKS.values(), ids=NETWORKS)
def test_forward(measure, mode, build, macs):
    network = build()
    with mode():
        assert measure(lambda: network(torch.rand(5, 2, 8))).macs == macs


def test_the_closed_form_of_an_lstm(measure):
    with torch.no_grad():
        assert measure(lambda: nn.LSTM(8, 16, batch_first=True)(torch.rand(2, 5, 8))).macs == 15_360


@pytest.mark.parametrize(("build", "macs"), NETWORKS.values(), ids=NETWORKS)
def test_packed_sequences_count_their_true_lengths(measure, build, macs):
    # 6 + 4 steps are as many as 5 of two samples.
    network = build()
    packed = pack_sequence([torch.rand(6, 8), torch.rand(4, 8)])
    with torch.no_grad():
        assert measure(lambda: network(packed)).macs == macs


@pytest.mark.parametrize(
    ("build", "macs"), [(lambda: nn.LSTMCell(8, 16), 4), (lambda: nn.GRUCell(8, 16), 3), (lambda: nn.RNNCell(8, 16), 1)]
)
def test_cells(measure, build, macs):
    cell = build()
    assert measure(lambda: cell(torch.rand(2, 8))).macs == macs * 2 * 16 * (8 + 16)


def test_the_fused_backward_takes_twice_the_forward(measure):
    network = nn.LSTM(8, 16)
    x, states = torch.rand(5, 2, 8, requires_grad=True), tuple(torch.rand(1, 2, 16, requires_grad=True) for _ in "hc")
    output, _ = network(x, states)
    assert measure(lambda: output.sum().backward()).macs == 2 * 15_360


def test_gradients_that_nobody_needs_are_not_booked(measure):
    network = nn.LSTM(8, 16)
    output, _ = network(torch.rand(5, 2, 8))
    # Both weights in each of 10 steps, and the hidden states but the first of each sample: 8 x 64 gates x 16.
    assert measure(lambda: output.sum().backward()).macs == 15_360 + 8_192


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("data_needs_it", [False, True])
@pytest.mark.parametrize(
    "frozen", [(), ("weight_ih_l0",), ("weight_hh_l0",), ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
)
def test_the_fused_backward_is_booked_as_the_unfused_one(measure, layers, data_needs_it, frozen):
    def macs(dtype):  # oneDNN has no LSTM in float64: that one runs step by step
        network = nn.LSTM(8, 16, num_layers=layers, bidirectional=True, dtype=dtype)
        for name in frozen:
            for direction in ("", "_reverse"):
                getattr(network, name + direction).requires_grad_(False)
        output, _ = network(torch.rand(5, 2, 8, dtype=dtype, requires_grad=data_needs_it))
        return measure(lambda: output.sum().backward() if output.requires_grad else None).macs

    assert macs(torch.float32) == macs(torch.float64)


def test_the_unfused_backward_takes_as_much(measure):
    network = nn.GRU(8, 16)
    x, state = torch.rand(5, 2, 8, requires_grad=True), torch.rand(1, 2, 16, requires_grad=True)
    output, _ = network(x, state)
    assert measure(lambda: output.sum().backward()).macs == 2 * 10 * 48 * 24


class TestBackends:
    """cuDNN numbers its modes: plain with ReLU, plain with tanh, LSTM, GRU."""

    x, hx = meta(5, 2, 8), meta(1, 2, 16)

    @pytest.mark.parametrize(("mode", "gates"), [(0, 1), (1, 1), (2, 4), (3, 3)])
    def test_cudnn_and_miopen(self, cost_of, mode, gates):
        macs = 2 * 10 * gates * 16 * ((8 + 16) + (32 + 16))
        miopen = {"mode": mode, "hidden_size": 16, "num_layers": 2, "bidirectional": True}
        cudnn = {**miopen, "proj_size": 0}
        for op, sizes in ((aten._cudnn_rnn, cudnn), (aten.miopen_rnn, miopen)):
            assert cost_of(op.default, self.x, [], 4, None, self.hx, **sizes).macs == macs
        for op, sizes in ((aten._cudnn_rnn_backward, cudnn), (aten.miopen_rnn_backward, miopen)):
            backward = (self.x, [], 4, None, self.hx)
            assert cost_of(op.default, *backward, **sizes, output_mask=[True] * 4).macs == 2 * macs
            frozen = [True, True, True, False]
            assert cost_of(op.default, *backward, **sizes, output_mask=frozen).macs == macs
            # Without the gradients of the data, 8 wide, and of the state, 16 wide, that 2 of 10 steps start from.
            first_layer = 2 * (10 * gates * 16 * 8 + 2 * gates * 16 * 16)
            second_layer = 2 * (2 * gates * 16 * 16)
            for_weights = [False, False, False, True]
            figure = cost_of(op.default, *backward, **sizes, output_mask=for_weights).macs
            assert figure == 2 * macs - first_layer - second_layer

    def test_packed_on_cudnn(self, cost_of):
        # Lengths 6 and 4: forwards both samples start at once, backwards the longer one alone.
        sizes = {"mode": 2, "hidden_size": 16, "proj_size": 0, "num_layers": 1, "bidirectional": True}
        backward = (meta(10, 8), [], 4, None, self.hx)
        mask = {"batch_sizes": [2, 2, 2, 2, 1, 1], "output_mask": [True, False, False, True]}
        figure = cost_of(aten._cudnn_rnn_backward.default, *backward, **sizes, **mask).macs
        assert figure == 2 * 2 * 15_360 - (2 + 1) * 64 * 16

    def test_a_projection_on_cudnn(self, cost_of):
        sizes = {"mode": 2, "hidden_size": 16, "proj_size": 5, "num_layers": 1, "bidirectional": False}
        cost = cost_of(aten._cudnn_rnn.default, self.x, [], 4, None, self.hx, **sizes)
        assert cost.macs == 10 * (64 * (8 + 5) + 16 * 5)

    def test_mps(self, cost_of):
        args = ([self.hx, self.hx], [], True, 1, 0.0, True, False, False)
        assert cost_of(aten._lstm_mps.default, self.x, *args).macs == 15_360
        backward = aten.lstm_mps_backward.default
        x, states = meta(5, 2, 8).requires_grad_(), [meta(1, 2, 16).requires_grad_() for _ in "hc"]
        figure = cost_of(backward, None, None, None, meta(0), meta(0), x, meta(0), states, *args[1:]).macs
        assert figure == 2 * 15_360

    def test_the_pointwise_part_of_a_fused_cell_is_other_work(self, cost_of):
        gates, state = meta(2, 64), meta(2, 16)
        cost = cost_of(aten._thnn_fused_lstm_cell.default, gates, gates, state)
        # Four sums, four activations, f*c + i*g, tanh and a product.
        assert (cost.macs, cost.elementwise) == (0, 32 * (4 + 4 + 3 + 2))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
def test_quantized(measure):
    network = torch.ao.nn.quantized.dynamic.LSTM(8, 16, bidirectional=True)
    assert measure(lambda: network(torch.rand(5, 2, 8))).macs == 2 * 15_360
