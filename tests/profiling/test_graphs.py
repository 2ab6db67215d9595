"""Models that were made into graphs or machine code: counted as the model itself, or said to be out of sight.

A convolution of 3 to 8 channels, 3 x 3 on 6 x 6: 36 x 8 x 27 MACs a sample; a layer of 288 x 10. Backward, twice as
much but for the gradient of the input.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from pytest_modelbudget.profiling.run import profile

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore")

CONVOLUTION, LAYER = 36 * 8 * 27, 288 * 10
X = torch.ones(2, 3, 6, 6)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.layer = nn.Linear(288, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.convolution(x).relu().flatten(1))


def exported(**options: Any) -> nn.Module:
    return torch.export.export(Net().eval(), (X,), **options).module()


def decomposed() -> nn.Module:
    return torch.export.export(Net().eval(), (X,)).run_decompositions().module()


GRAPHS: dict[str, Callable[[], nn.Module]] = {
    "exported": exported,
    "exported for any batch": lambda: exported(dynamic_shapes=({0: torch.export.Dim("batch", max=64)},)),
    "exported without strictness": lambda: exported(strict=False),
    "exported strictly": lambda: exported(strict=True),
    "decomposed": decomposed,
    "fx": lambda: torch.fx.symbolic_trace(Net()),
    "make_fx": lambda: make_fx(Net())(X),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_counts_as_the_model(name: str, watch: Any) -> None:
    model = GRAPHS[name]()
    watch(model, X)
    for figures in (watch.profile(model), profile(model, X), profile(model, X, device="cpu")):
        assert (figures.macs, figures.uncounted) == (2 * (CONVOLUTION + LAYER), {})


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.usefixtures("strict_export")
def test_making_a_graph_is_no_work(name: str, watch: Any) -> None:
    def make_and_run() -> nn.Module:
        return GRAPHS[name]()(X)

    watch(make_and_run)
    works = [tree.work for call in watch.observation.tracker.calls if call.tree for tree in call.tree.walk()]
    assert sum(work.cost.macs for works in works for work in works) == 2 * (CONVOLUTION + LAYER)


@pytest.mark.parametrize("training", [False, True])
def test_what_aot_autograd_compiles_counts_as_the_model(training: bool, watch: Any) -> None:
    from functorch.compile import aot_module, nop

    model = aot_module(Net(), nop)

    def run() -> None:
        for _ in range(2):  # the first one makes the graph
            output = model(X)
            if training:
                output.sum().backward()

    watch(run)
    profiles = watch.profiles(model)  # two: at the second the gradients of the first are there
    assert sum(count for _, count in profiles) == 2
    for figures, _ in profiles:
        assert (figures.macs, figures.uncounted) == (2 * (CONVOLUTION + LAYER), {})
        assert figures.backward_flops == (2 * 2 * (CONVOLUTION + 2 * LAYER) if training else None)
    assert profile(model, X).macs == 2 * (CONVOLUTION + LAYER)


def test_an_exported_program_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"not ExportedProgram: pass its \.module\(\)"):
        profile(torch.export.export(Net(), (X,)), X)  # type: ignore[arg-type]


def test_machine_code_of_aot_inductor_is_work_of_unknown_cost(monkeypatch: pytest.MonkeyPatch, watch: Any) -> None:
    for name in ("torch.export.pt2_archive._package", "torch._inductor.package.package"):
        try:
            kind = importlib.import_module(name).AOTICompiledModel
            break
        except (ImportError, AttributeError):
            continue
    monkeypatch.setattr(kind, "__call__", lambda self, x: self.loader(x))  # making machine code takes half a minute
    assert kind.__module__ in sys.modules

    class Deployed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = kind(lambda x: x[:, :2].clone())

        def forward(self, x: Tensor) -> Tensor:
            return self.head(super().forward(x))

    model = nn.Sequential(Deployed())
    watch(model, X)
    figures = watch.profile(model)
    assert figures.uncounted == {"AOTInductor's machine code": 1}
    assert figures.macs == 2 * (CONVOLUTION + LAYER)


class Convolves(nn.Module):
    """8x8 to 6x6: 36 x 4 x 3 x 9 = 3,888 MACs, then 144 x 5 = 720; 112 and 725 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(144, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).flatten(1))


def test_the_weights_of_a_frozen_script_are_constants_of_its_graph():
    frozen = torch.jit.freeze(torch.jit.script(Convolves().eval()))
    assert not [*frozen.parameters()]
    for device in ("cpu", "meta"):
        figures = profile(frozen, torch.zeros(1, 3, 8, 8), device=device)
        assert (figures.params, figures.trainable_params, figures.size) == (837, 0, 837 * 4)
        assert (figures.macs, figures.uncounted) == (3888 + 720, {})
    inside = profile(nn.Sequential(frozen, nn.Linear(5, 2)), torch.zeros(1, 3, 8, 8))
    assert (inside.params, inside.modules["0"].params) == (837 + 12, 837)


class Repeats(nn.Module):
    """32 products on four rows of eight, one after the other, with a ReLU each; `asks` compares two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class Asks(Repeats):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.equal(x, x + 1):
            return x
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_torchscript_compares_to_optimise_a_graph_is_no_work_of_the_model(device: str):
    frozen = torch.jit.freeze(torch.jit.script(Repeats().eval()))
    for _ in range(3):  # it is optimised in the first calls
        figures = profile(frozen, torch.zeros(4, 8), device=device)
        assert (figures.macs, figures.elementwise_flops) == (4 * 4 * 64, 4 * 32)
        assert "aten::equal" not in figures.operators


def test_what_a_script_compares_itself_is_its_work():
    """A sum and a comparison of 32 elements each, beside four times a ReLU of 32."""
    frozen = torch.jit.freeze(torch.jit.script(Asks().eval()))
    figures = profile(frozen, torch.zeros(4, 8), device="cpu")
    assert figures.operators["aten::equal"].calls >= 1
    assert figures.elementwise_flops >= 6 * 32
    assert profile(Asks().eval(), torch.zeros(4, 8), device="cpu").elementwise_flops == 6 * 32


def test_kernels_that_a_script_calls_past_the_dispatcher_are_unknown():
    script = torch.jit.optimize_for_inference(torch.jit.script(Convolves().eval()))
    if "prim::mkldnn_convolution" not in str(script.graph):
        pytest.skip("this PyTorch was built without oneDNN")
    figures = profile(script, torch.zeros(1, 3, 8, 8), device="cpu")
    assert (figures.macs, figures.params) == (720, 837)
    assert figures.uncounted == {"prim::mkldnn_convolution": 1}


def test_frozen_weights_are_alive_during_the_call():
    frozen = torch.jit.freeze(torch.jit.script(Convolves().eval()))
    for device in ("cpu", "meta"):
        figures = profile(frozen, torch.zeros(1, 3, 8, 8), device=device)
        assert figures.memory_by_kind["parameters"] == 837 * 4
        assert figures.memory > 837 * 4
