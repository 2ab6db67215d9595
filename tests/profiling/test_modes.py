"""One figure for all: each kind of layer, in every mode in which it can run, against MACs derived by hand."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable


class Attention(nn.Module):
    """Grouped queries: 4 query heads share 2 key and value heads; the values are wider than the keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ijk->bjk", x, self.weight)


class Distances(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)


# name: how to build it, its inputs' shapes, its MACs
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...], int]] = {
    "linear": (lambda: nn.Linear(4, 8), ((2, 3, 4),), 2 * 3 * 4 * 8),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), ((2, 3), (2, 4)), 2 * 3 * 4 * 5),
    "einsum": (Einsum, ((3, 4),), 3 * 4 * 5 * 6),
    "cdist": (Distances, ((3, 7), (5, 7)), 3 * 5 * 7),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), ((2, 4, 10),), 2 * 8 * 6 * 4 * 3),
    "conv2d, same padding": (lambda: nn.Conv2d(3, 8, 3, padding="same"), ((1, 3, 5, 7),), 35 * 8 * 3 * 9),
    "conv2d, grouped": (lambda: nn.Conv2d(8, 8, 3, groups=8), ((2, 8, 10, 10),), 2 * 64 * 8 * 9),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, stride=2), ((1, 2, 4, 4, 4),), 8 * 3 * 2 * 8),
    "conv transpose2d": (lambda: nn.ConvTranspose2d(4, 6, 2, stride=2), ((1, 4, 5, 5),), 25 * 4 * 6 * 4),
    # per step and sample 4h(i + h)
    "lstm": (lambda: nn.LSTM(8, 16), ((5, 2, 8),), 15_360),
    # two directions; the second layer reads both: 10 x 2 x (4 x 16 x 24 + 4 x 16 x 48)
    "lstm, two layers, both ways": (
        lambda: nn.LSTM(8, 16, num_layers=2, bidirectional=True),
        ((5, 2, 8),),
        10 * 2 * (4 * 16 * 24 + 4 * 16 * 48),
    ),
    "gru": (lambda: nn.GRU(8, 16, batch_first=True), ((2, 5, 8),), 10 * 3 * 16 * 24),
    "rnn": (lambda: nn.RNN(8, 16), ((5, 2, 8),), 10 * 16 * 24),
    "lstm cell": (lambda: nn.LSTMCell(8, 16), ((2, 8),), 2 * 4 * 16 * 24),
    # batch x query heads x S_q x S_k x (d_qk + d_v)
    "attention": (Attention, ((2, 4, 6, 8), (2, 2, 5, 8), (2, 2, 5, 8)), 2 * 4 * 6 * 5 * 16),
    # projections 4 x 12 x 16 x 16, scores and values 2 x 4 heads x 36 x (4 + 4)
    "multi-head attention": (lambda: nn.MultiheadAttention(16, 4, batch_first=True), ((2, 6, 16),) * 3, 14_592),
    # the same, and two layers of 12 x 16 x 32
    "encoder layer": (_encoder_layer, ((2, 6, 16),), 14_592 + 2 * 12 * 16 * 32),
    "embedding of positions": (lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), ((3, 4),), 3 * 4 * 2),
}

MODES: dict[str, Callable[[], Any]] = {
    "grad": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_observed_on_the_cpu(name: str, mode: str, training: bool, watch: Any) -> None:
    build, shapes, macs = LAYERS[name]
    model = build().train(training)
    with MODES[mode]():
        watch(model, *(torch.randn(shape) for shape in shapes))
    figures = watch.profile(model)
    assert (figures.macs, figures.uncounted) == (macs, {})


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_run_by_the_profiler(name: str, device: str, training: bool, grad: bool) -> None:
    build, shapes, macs = LAYERS[name]
    model = build().train(training)
    with torch.set_grad_enabled(grad):
        figures = profile(model, tuple(torch.randn(shape) for shape in shapes), device=device)
    assert (figures.macs, figures.uncounted) == (macs, {})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_run_on_cuda(name: str, training: bool) -> None:
    build, shapes, macs = LAYERS[name]
    figures = profile(build().train(training), tuple(torch.randn(shape) for shape in shapes), device="cuda")
    assert (figures.macs, figures.uncounted) == (macs, {})


@pytest.mark.parametrize("name", LAYERS)
def test_in_another_dtype_by_autocast(name: str, watch: Any) -> None:
    build, shapes, macs = LAYERS[name]
    model = build().eval()
    inputs = tuple(torch.randn(shape) for shape in shapes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            model(*inputs)
        except RuntimeError as error:
            pytest.skip(f"not on this CPU: {error}")  # oneDNN's LSTM in bfloat16 needs AVX-512
        watch(model, *inputs)
    assert watch.profile(model).macs == macs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", [name for name in LAYERS if "cell" not in name])
def test_traced_by_torchscript(name: str, watch: Any) -> None:
    build, shapes, macs = LAYERS[name]
    inputs = tuple(torch.randn(shape) for shape in shapes)
    traced = torch.jit.trace(build().eval(), inputs, check_trace=False)
    watch(traced, *inputs)
    assert watch.profile(traced).macs == macs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("inference", [False, True], ids=["grad", "inference_mode"])
@pytest.mark.parametrize("name", [name for name in LAYERS if "cell" not in name])
def test_torchscript_traces_the_same_graph_while_it_is_observed(name: str, inference: bool, watch: Any) -> None:
    build, shapes, macs = LAYERS[name]
    model = build().eval()
    inputs = tuple(torch.randn(shape) for shape in shapes)

    def trace() -> Any:
        with torch.inference_mode(inference):
            return torch.jit.trace(model, inputs, check_trace=False)

    def trace_and_run() -> Any:
        traced = trace()
        model(*inputs)
        return traced

    plain, observed = trace(), watch(trace_and_run)
    kinds = [[node.kind() for node in traced.inlined_graph.nodes()] for traced in (plain, observed)]
    assert kinds[0] == kinds[1]
    others = tuple(value + 1 for value in inputs)  # what became a constant would not follow them
    torch.testing.assert_close(observed(*others), model(*others))
    assert watch.profile(model).macs == macs  # of the run; making a graph is no work


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights")
@pytest.mark.parametrize("name", LAYERS)
def test_exported(name: str, watch: Any) -> None:
    build, shapes, macs = LAYERS[name]
    inputs = tuple(torch.randn(shape) for shape in shapes)
    torch.compiler.reset()  # torch 2.6 gives up on functions that it has met with too many others
    exported = torch.export.export(build().eval(), inputs).module()
    watch(exported, *inputs)
    assert watch.profile(exported).macs == macs


@pytest.mark.parametrize("name", LAYERS)
def test_twice_the_batch_is_twice_the_work(name: str) -> None:
    build, shapes, _ = LAYERS[name]
    dimension = 1 if name in ("lstm", "lstm, two layers, both ways", "rnn") else 0
    model = build().eval()

    def macs(times: int) -> int:
        inputs = [torch.randn(shape) for shape in shapes]
        inputs = [torch.cat([tensor] * times, dimension) for tensor in inputs[: 1 if name == "cdist" else None]] + (
            inputs[1:] if name == "cdist" else []
        )
        return profile(model, tuple(inputs)).macs

    assert macs(2) == 2 * macs(1)
