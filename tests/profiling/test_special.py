"""Control flow, nested and sparse tensors, quantized layers, tensor subclasses: run as ever, and counted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable


class Model(nn.Module):
    """A function in the clothes of a model."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def macs(watch: Any, model: nn.Module, *inputs: Any) -> int:
    watch(model, *inputs)
    figures = watch.profile(model)
    assert figures.uncounted == {}
    return figures.macs


WEIGHT = torch.randn(4, 8)
LOOKS_FIRST = torch.__version__.startswith("2.6.")
"""Whether loops run their bodies once more, to see what they return: that is work as well."""


def test_of_a_condition_the_branch_that_runs_counts(watch: Any) -> None:
    def choose(x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x @ WEIGHT, lambda x: torch.zeros(len(x), 8), (x,))

    assert macs(watch, Model(choose), torch.ones(3, 4)) == 3 * 4 * 8


@pytest.mark.parametrize(("rows", "expected"), [(torch.ones(3, 4), 96), (-torch.ones(3, 4), 0)])
def test_a_branch_that_does_not_run_does_not_count(rows: Tensor, expected: int, watch: Any) -> None:
    def choose(x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x @ WEIGHT, lambda x: torch.zeros(len(x), 8), (x,))

    watch(Model(choose), rows)
    ((calls),) = [call.tree for call in watch.observation.tracker.calls]
    assert sum(work.cost.macs for work in calls.work) == expected


def test_a_loop_counts_each_round(watch: Any) -> None:
    from torch._higher_order_ops import while_loop

    def rounds(x: Tensor) -> Tensor:
        return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ x), (torch.tensor(0), x))[1]

    assert macs(watch, Model(rounds), torch.eye(4)) == 3 * 4 * 4 * 4


def test_a_scan_counts_each_step(watch: Any) -> None:
    from torch._higher_order_ops import scan

    def steps(x: Tensor) -> Tensor:
        return scan(lambda carry, row: (carry @ carry + row, carry.clone()), torch.zeros(4, 4), x)[1]

    assert macs(watch, Model(steps), torch.ones(5, 4, 4)) == (5 + 2 * LOOKS_FIRST) * 4 * 4 * 4


def test_a_map_counts_each_element(watch: Any) -> None:
    from torch._higher_order_ops.map import map as map_rows

    assert (
        macs(watch, Model(lambda x: map_rows(lambda row: row @ WEIGHT, x)), torch.ones(5, 3, 4))
        == (5 + LOOKS_FIRST) * 3 * 4 * 8
    )


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_counts_as_attention(watch: Any) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    query = torch.randn(1, 2, 16, 8)
    assert macs(watch, Model(lambda x: flex_attention(x, x, x)), query) == 2 * 16 * 16 * (8 + 8)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_of_a_nested_tensor_the_rows_that_are_there_count(layout: torch.layout, mode: Any, watch: Any) -> None:
    ragged = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=layout)
    linear = nn.Linear(4, 8)
    with mode():
        assert macs(watch, linear, ragged) == (2 + 3) * 4 * 8
    assert watch.profile(linear).batch == 2


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_padded_batch_in_the_fused_encoder_counts_what_is_not_padding(watch: Any) -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1).eval()
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    with torch.no_grad():
        figures = macs(watch, encoder, torch.randn(2, 5, 16), None, padding)
    # Four projections of 16 x 16 and two layers of 16 x 32 for 3 + 5 tokens; attention of each sample to itself, in
    # 4 heads with keys and values of 4.
    assert figures == 8 * (4 * 256 + 2 * 512) + 4 * (3 * 3 + 5 * 5) * (4 + 4)


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_sparse_matrix_counts_its_nonzeros(layout: str, watch: Any) -> None:
    sparse = getattr(torch.eye(5), layout)()
    assert macs(watch, Model(lambda a, b: a @ b), sparse, torch.randn(5, 3)) == 5 * 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        pytest.param(nn.Linear(4, 8), (2, 4), 64, id="linear"),
        pytest.param(nn.LSTM(8, 16), (5, 2, 8), 15_360, id="lstm"),
    ],
)
def test_dynamically_quantized_layers_count_as_the_float_ones(
    layer: nn.Module, inputs: tuple[int, ...], expected: int, watch: Any
) -> None:
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)})
    assert macs(watch, quantized, torch.randn(inputs)) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_packed_weights_are_alive_and_read(device: str) -> None:
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 32)), {nn.Linear})
    figures = profile(quantized, torch.randn(2, 64), device=device)
    # One byte a weight, and 32 biases of four.
    assert figures.size == 64 * 32 + 32 * 4
    assert figures.memory_by_kind["parameters"] == figures.size
    assert figures.read == figures.size + 2 * 64 * 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit")
def test_what_torchscript_forks_is_counted(watch: Any) -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 40)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            future = torch.jit.fork(self.right, x)
            return self.left(x), torch.jit.wait(future)

    assert macs(watch, torch.jit.script(Fork()), torch.randn(1, 8)) == 8 * 4 + 8 * 40


def test_a_subclass_counts_what_it_is_made_of(watch: Any) -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    pair = TwoTensor(torch.randn(2, 4), torch.randn(2, 4))
    assert macs(watch, nn.Linear(4, 8), pair) == 2 * 64


def test_complex_products_count_four_real_ones(watch: Any) -> None:
    linear = nn.Linear(4, 8, dtype=torch.complex64)
    assert macs(watch, linear, torch.randn(2, 4, dtype=torch.complex64)) == 4 * 64


def test_an_fft_is_flops_without_macs(watch: Any) -> None:
    model = Model(torch.fft.fft)
    watch(model, torch.randn(3, 16, dtype=torch.complex64))
    figures = watch.profile(model)
    assert (figures.macs, figures.flops) == (0, 3 * 5 * 16 * 4)  # 5 N log2 N each


def test_under_a_fake_mode_of_the_user_work_counts_as_it_would_run(watch: Any) -> None:
    from torch._subclasses import FakeTensorMode

    linear = nn.Linear(4, 8)

    def run() -> None:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            linear(mode.from_tensor(torch.randn(2, 4)))

    watch(run)
    assert watch.profile(linear).macs == 64


def test_an_operator_of_unknown_cost_is_named_and_counted(watch: Any) -> None:
    @torch.library.custom_op("modelbudget_tests::mystery", mutates_args=())
    def mystery(x: Tensor) -> Tensor:
        return x.clone()

    model = Model(lambda x: mystery(mystery(x)))
    watch(model, torch.randn(2))
    assert watch.profile(model).uncounted == {"modelbudget_tests::mystery": 2}


def _ensemble(x: torch.Tensor) -> None:
    parameters, buffers = torch.func.stack_module_state([nn.Linear(4, 8, bias=False) for _ in range(3)])
    base = nn.Linear(4, 8, bias=False)
    torch.func.vmap(lambda *state: torch.func.functional_call(base, state, (x,)))(parameters, buffers)


def _transformed(transform: Callable[..., Any]) -> Callable[[torch.Tensor], None]:
    def run(x: torch.Tensor) -> None:
        model = nn.Linear(4, 8, bias=False)

        def total(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(model, parameters, (x,)).sum()

        transform(total, dict(model.named_parameters()), x)

    return run


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        # 2 rows of 4x8: 64 MACs; an ensemble of three.
        (_ensemble, 3 * 64),
        (_transformed(lambda total, p, x: torch.func.grad(total)(p, x)), 64),
        (_transformed(lambda total, p, x: torch.func.vjp(total, p, x)), 64),
        (_transformed(lambda total, p, x: torch.func.vmap(torch.func.grad(total), (None, 0))(p, x)), 64),
    ],
    ids=["ensemble", "grad", "vjp", "gradients of each sample"],
)
def test_modules_called_inside_transforms_with_wrapped_parameters(
    watch: Any, run: Callable[[torch.Tensor], None], macs: int
) -> None:
    watch(run, torch.ones(2, 4))
    (call,) = watch.observation.tracker.calls
    assert sum(work.cost.macs for work in call.tree.work) == macs
    ((figures, _),) = watch.observation.profiles(call.module, 2)
    assert figures.params == 32  # as the module was called: of an ensemble, one of the three
