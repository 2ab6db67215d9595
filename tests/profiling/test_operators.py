"""What each operator costs in a whole call, by hand."""

from __future__ import annotations

import torch
from torch import nn

from pytest_modelbudget import profile


def test_operators_stand_by_cost_and_add_up_to_the_call() -> None:
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        found = profile(model, torch.randn(3, 4))
    assert list(found.operators) == ["aten::linear", "aten::relu"]
    linear, relu = found.operators.values()
    assert (linear.calls, linear.macs, linear.flops) == (2, 3 * (32 + 16), 2 * 3 * (32 + 16))
    assert (relu.calls, relu.macs, relu.flops, relu.elementwise_flops) == (1, 0, 0, 24)
    # Weights and inputs are read, outputs are written: 4 bytes an element.
    assert (linear.read, linear.written) == (4 * (12 + 32 + 24 + 16), 4 * (24 + 6))
    assert (relu.read, relu.written) == (96, 96)
    for name in ("macs", "flops", "elementwise_flops", "activations", "read", "written"):
        assert sum(getattr(row, name) for row in found.operators.values()) == getattr(found, name)


def test_the_backward_pass_stands_apart() -> None:
    found = profile(nn.Linear(4, 8, bias=False), torch.randn(3, 4), backward=True)
    assert sum(row.backward_flops for row in found.operators.values()) == found.backward_flops == 2 * 3 * 32
    assert sum(row.macs for row in found.operators.values()) == 3 * 32
    # The gradient of the weight alone: that of the input is not needed.
    assert sum(row.backward_calls for row in found.operators.values() if row.backward_flops) == 1


def test_the_convention_is_that_of_the_profile() -> None:
    with torch.no_grad():
        found = profile(nn.Linear(4, 8, bias=False), torch.randn(3, 4), flops_per_mac=1)
    assert found.operators["aten::linear"].flops == found.flops == 96


def test_a_repeated_operator_is_one_row() -> None:
    model = nn.Sequential(*(nn.ReLU() for _ in range(50)))
    found = profile(model, torch.ones(2, 3))
    assert {name: row.calls for name, row in found.operators.items()} == {"aten::relu": 50}
