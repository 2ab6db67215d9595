"""Recurrent layers: per step and sample 4h(i+h) MACs for an LSTM, 3h(i+h) for a GRU, h(i+h) for a plain RNN.

That for each layer and direction; a layer above the first reads all directions of the one below. With projections h
outputs become p: 4h(i+p) and hp. Packed sequences count their true lengths. Per unit, step and sample the gates take 9
further operations in an LSTM and a GRU and 1 in a plain RNN. Activations are the gates, once from the input and once
from the hidden state, and the projections.

Backward takes twice the forward: each product has two gradients. Those that nobody needs are left out: of an input, of
the first hidden state, of frozen weights. Fused operators may compute some of them all the same; to book those would
give one model different figures on different backends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .cost import NOTHING, Cost, repeated, total
from .formula import Table, contraction, other
from .sizes import elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .formula import CostFunction


class Cell(NamedTuple):
    """A kind of recurrent layer: how many gates it has, and the pointwise operations per hidden unit."""

    gates: int
    pointwise: int


RNN = Cell(gates=1, pointwise=1)
# f*c + i*g, o*tanh(c), and the activation of each gate.
LSTM = Cell(gates=4, pointwise=9)
# tanh(i_n + r*h_n), (1-z)*n + z*h, and the activation of the other two gates.
GRU = Cell(gates=3, pointwise=9)

# The numbers that cuDNN, MIOpen and oneDNN share: plain with ReLU, plain with tanh, LSTM, GRU.
_MODES = (RNN, RNN, LSTM, GRU)


def _steps(data: Tensor) -> int:
    """Steps x samples, of a padded (steps, batch, i) or (batch, steps, i) or a packed (sum of lengths, i) input."""
    return data.numel() // max(data.shape[-1], 1)


def _layer(cell: Cell, steps: int, width: int, hidden: int, projected: int = 0) -> Cost:
    """One layer in one direction over so many steps, `width` features in."""
    recurrent = projected or hidden
    gates = cell.gates * hidden
    return Cost(
        macs=steps * (gates * (width + recurrent) + hidden * projected),
        elementwise=steps * cell.pointwise * hidden,
        activations=steps * (2 * gates + projected),
    )


def _network(cell: Cell, data: Tensor, hidden: int, layers: int, bidirectional: bool, projected: int = 0) -> Cost:
    steps, directions = _steps(data), 1 + bidirectional
    widths = [data.shape[-1]] + [directions * (projected or hidden)] * (layers - 1)
    return repeated(total(_layer(cell, steps, width, hidden, projected) for width in widths), directions)


class _Needs(NamedTuple):
    """Which gradients a layer in one direction has to give, besides that of its hidden states after the first."""

    data: bool
    state: bool
    from_data: bool = True
    """Of the weight that the data is multiplied with."""
    from_hidden: bool = True
    projection: bool = True


def _layer_backward(
    cell: Cell, steps: int, first: int, width: int, hidden: int, needs: _Needs, projected: int = 0
) -> Cost:
    """The backward of `_layer`; `first` of the steps start from the given state."""
    gates, recurrent = cell.gates * hidden, projected or hidden
    through_time = steps if needs.state else max(steps - first, 0)
    return Cost(
        macs=steps * gates * width * (needs.data + needs.from_data)
        + gates * recurrent * (through_time + steps * needs.from_hidden)
        + steps * hidden * projected * (1 + needs.projection),
        elementwise=2 * _layer(cell, steps, width, hidden, projected).elementwise,
    )


def _network_backward(
    cell: Cell,
    data: Tensor,
    firsts: Sequence[int],
    hidden: int,
    weights: Sequence[Tensor],
    layers: int,
    needs: _Needs,
    projected: int = 0,
) -> Cost:
    """The backward of `_network`.

    Args:
        cell: the kind.
        data: the input.
        firsts: for each direction how many rows start from the given state.
        hidden: features of a hidden state.
        weights: layer by layer, direction by direction, as modules hold them: from the data, from the hidden state,
            biases, projection. Empty where the operator does not say.
        layers: how many.
        needs: of the first layer, as far as they are not the weights' own.
        projected: features of a projected hidden state, or 0.
    """
    steps, width = _steps(data), data.shape[-1]
    stride = len(weights) // (layers * len(firsts))
    cost = NOTHING
    for layer in range(layers):
        below = needs.data
        for direction, first in enumerate(firsts):
            start = (layer * len(firsts) + direction) * stride
            trained = [weight.requires_grad for weight in weights[start : start + stride]]
            own = needs._replace(data=below)
            if trained:
                own = _Needs(below, needs.state, trained[0], trained[1], trained[-1])
            cost = total((cost, _layer_backward(cell, steps, first, width, hidden, own, projected)))
            # The layer above reads what this one makes of whatever is trained.
            needs = needs._replace(data=needs.data or own.state or any(trained or own[2:]))
        width = len(firsts) * (projected or hidden)
    return cost


def one_layer(data: Tensor, mode: int, hidden_size: int) -> Cost:
    """`mkldnn_rnn_layer` runs once for each layer and direction."""
    return _layer(_MODES[mode], _steps(data), data.shape[-1], hidden_size)


def one_layer_backward(
    data: Tensor, from_data: Tensor, from_hidden: Tensor, state: Tensor, mode: int, hidden_size: int
) -> Cost:
    needs = _Needs(data.requires_grad, state.requires_grad, from_data.requires_grad, from_hidden.requires_grad)
    first = state.numel() // hidden_size
    return _layer_backward(_MODES[mode], _steps(data), first, data.shape[-1], hidden_size, needs)


def network(
    data: Tensor, mode: int, hidden_size: int, num_layers: int, bidirectional: bool, proj_size: int = 0
) -> Cost:
    """`_cudnn_rnn`, `miopen_rnn`: all layers at once."""
    return _network(_MODES[mode], data, hidden_size, num_layers, bidirectional, proj_size)


def network_backward(
    data: Tensor,
    weight: Sequence[Tensor],
    state: Tensor,
    mode: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    batch_sizes: Sequence[int],
    output_mask: Sequence[bool],
    proj_size: int = 0,
) -> Cost:
    """The gradients that are asked for: of data, hidden state, cell state, weights."""
    for_data, for_state, _, for_weights = output_mask
    needs = _Needs(for_data, for_state, for_weights, for_weights, for_weights)
    # Backwards in time, packed sequences start from the end of the longest ones.
    first = state.shape[-2]
    firsts = [first, batch_sizes[-1] if batch_sizes else first][: 1 + bidirectional]
    weights = weight if for_weights else ()
    return _network_backward(_MODES[mode], data, firsts, hidden_size, weights, num_layers, needs, proj_size)


def lstm(data: Tensor, states: Sequence[Tensor], num_layers: int, bidirectional: bool) -> Cost:
    """All layers of an LSTM; hidden and cell state tell the sizes, which differ under a projection."""
    projected, hidden = (state.shape[-1] for state in states)
    return _network(LSTM, data, hidden, num_layers, bidirectional, projected if projected != hidden else 0)


def lstm_backward(
    data: Tensor, states: Sequence[Tensor], params: Sequence[Tensor], num_layers: int, bidirectional: bool
) -> Cost:
    state = states[0]
    needs = _Needs(data.requires_grad, state.requires_grad)
    firsts = [state.shape[-2]] * (1 + bidirectional)
    return _network_backward(LSTM, data, firsts, state.shape[-1], params, num_layers, needs)


def network_of(cell: Cell) -> CostFunction:
    """All layers of a network with one state."""

    def cost(data: Tensor, state: Tensor, num_layers: int, bidirectional: bool) -> Cost:
        return _network(cell, data, state.shape[-1], num_layers, bidirectional)

    return cost


def cell_of(cell: Cell) -> CostFunction:
    """One step of one layer."""

    def cost(data: Tensor, state: Tensor | Sequence[Tensor]) -> Cost:
        hidden = (state if isinstance(state, Tensor) else state[0]).shape[-1]
        return _layer(cell, _steps(data), data.shape[-1], hidden)

    return cost


def gates(weight: int) -> CostFunction:
    """The pointwise part of a cell behind its two products: so much for each element of the state."""

    def cost(state: Tensor) -> Cost:
        return Cost(elementwise=weight * elements(state))

    return cost


_CUDNN = contraction(network, data="input")
_CUDNN_BACKWARD = contraction(network_backward, data="input", state="hx")
_LSTM = contraction(lstm, data="input", states="hx")
_PACKED_LSTM = contraction(lstm, data="data", states="hx")
_GRU = contraction(network_of(GRU), data="input", state="hx")
_PACKED_GRU = contraction(network_of(GRU), data="data", state="hx")
_RNN = contraction(network_of(RNN), data="input", state="hx")
_PACKED_RNN = contraction(network_of(RNN), data="data", state="hx")
# The cell's own operations, and the sums of the gates from input and hidden state.
_LSTM_GATES = LSTM.pointwise + LSTM.gates
_GRU_GATES = GRU.pointwise + GRU.gates - 1

TABLE: Table = {
    "aten::mkldnn_rnn_layer": contraction(one_layer, data="input"),
    "aten::mkldnn_rnn_layer_backward": contraction(
        one_layer_backward, data="input", from_data="weight1", from_hidden="weight2", state="hx_"
    ),
    "aten::_cudnn_rnn": _CUDNN,
    "aten::_cudnn_rnn_backward": _CUDNN_BACKWARD,
    "aten::miopen_rnn": _CUDNN,
    "aten::miopen_rnn_backward": _CUDNN_BACKWARD,
    "aten::_lstm_mps": _LSTM,
    "aten::lstm_mps_backward": contraction(lstm_backward, data="input", states="hx"),
    # whole, where they arrive whole
    "aten::lstm.input": _LSTM,
    "aten::lstm.data": _PACKED_LSTM,
    "aten::gru.input": _GRU,
    "aten::gru.data": _PACKED_GRU,
    "aten::rnn_tanh.input": _RNN,
    "aten::rnn_tanh.data": _PACKED_RNN,
    "aten::rnn_relu.input": _RNN,
    "aten::rnn_relu.data": _PACKED_RNN,
    # the pointwise part of a cell
    "aten::_thnn_fused_lstm_cell": other(gates(_LSTM_GATES), state="cx"),
    "aten::_thnn_fused_lstm_cell_backward_impl": other(gates(2 * _LSTM_GATES), state="cx"),
    "aten::_thnn_fused_gru_cell": other(gates(_GRU_GATES), state="hx"),
    "aten::_thnn_fused_gru_cell_backward": other(gates(2 * _GRU_GATES), state="grad_hy"),
    # quantized
    "aten::quantized_lstm.input": _LSTM,
    "aten::quantized_lstm.input_legacy": _LSTM,
    "aten::quantized_lstm.data": _PACKED_LSTM,
    "aten::quantized_lstm.data_legacy": _PACKED_LSTM,
    "aten::quantized_gru.input": _GRU,
    "aten::quantized_gru.input_legacy": _GRU,
    "aten::quantized_gru.data": _PACKED_GRU,
    "aten::quantized_gru.data_legacy": _PACKED_GRU,
    "aten::quantized_lstm_cell": contraction(cell_of(LSTM), data="input", state="hx"),
    "aten::quantized_gru_cell": contraction(cell_of(GRU), data="input", state="hx"),
    "aten::quantized_rnn_relu_cell": contraction(cell_of(RNN), data="input", state="hx"),
    "aten::quantized_rnn_tanh_cell": contraction(cell_of(RNN), data="input", state="hx"),
    "quantized::quantized_lstm_cell_dynamic": contraction(cell_of(LSTM), data="input", state="hx"),
    "quantized::quantized_gru_cell_dynamic": contraction(cell_of(GRU), data="input", state="hx"),
    "quantized::quantized_rnn_relu_cell_dynamic": contraction(cell_of(RNN), data="input", state="hx"),
    "quantized::quantized_rnn_tanh_cell_dynamic": contraction(cell_of(RNN), data="input", state="hx"),
}
