"""Bytes read and written, by hand; float32 unless said otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelbudget.profiling.traffic import Traffic, effects_of


class Sum(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.read = self.written = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        read, written = effects_of(func, args, kwargs or {}, output).traffic
        self.read += read
        self.written += written
        return output


def moved(function: Any, *inputs: Any) -> Traffic:
    with torch.no_grad(), Sum() as total:
        function(*inputs)
    return Traffic(total.read, total.written)


X = torch.ones(2, 3)  # 24 bytes


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(lambda x: x + 1, (24, 24), id="pointwise"),
        pytest.param(lambda x: x * x, (24, 24), id="one operand twice is read once"),
        pytest.param(lambda x: x * x.clone(), (24 + 48, 48), id="two operands and a copy"),
        pytest.param(lambda x: x.view(3, 2).t()[0], (0, 0), id="views"),
        pytest.param(lambda x: x.detach().t_().unsqueeze_(0).detach_(), (0, 0), id="views in place"),
        pytest.param(lambda x: x.reshape(6), (0, 0), id="reshape that is a view"),
        pytest.param(lambda x: x.t().reshape(6), (24, 24), id="reshape that copies"),
        pytest.param(lambda x: x.sum(), (24, 4), id="reduction"),
        pytest.param(lambda x: x.expand(10, 2, 3) + 1, (24, 240), id="expanded operands count their storage"),
        pytest.param(lambda x: x.clone().add_(1), (48, 48), id="in place reads and writes"),
        pytest.param(lambda x: torch.empty(2, 3).copy_(x), (24, 24), id="a copy does not read its target"),
        pytest.param(lambda _: torch.zeros(5), (0, 20), id="filling writes"),
        pytest.param(lambda _: torch.empty(5), (0, 0), id="allocation moves nothing"),
        pytest.param(lambda x: torch.cat([x, x]), (24, 48), id="concatenation"),
        pytest.param(lambda x: x.to(torch.float16), (24, 12), id="conversion"),
        pytest.param(lambda x: x.max(dim=1), (24, 2 * 4 + 2 * 8), id="two outputs"),
        pytest.param(lambda x: x.item() if x.dim() == 0 else x[0, 0].item(), (4, 0), id="reading a number"),
    ],
)
def test_operators(function: Any, expected: tuple[int, int]) -> None:
    assert moved(function, X) == expected


def test_a_gather_reads_what_it_returns() -> None:
    table = torch.zeros(1000, 4)
    rows = torch.tensor([1, 2, 3])
    # three rows of 16 bytes, and the indices
    assert moved(lambda: nn.functional.embedding(rows, table)) == (48 + 24, 48)
    assert moved(lambda: table[rows]) == (48 + 24, 48)
    assert moved(lambda: table.index_select(0, rows)) == (48 + 24, 48)


def test_a_scatter_writes_what_it_is_given() -> None:
    cache = torch.zeros(1000, 4)
    rows = torch.tensor([1, 2, 3])

    def put(values: Tensor) -> None:
        cache[rows] = values

    read, written = moved(put, torch.ones(3, 4))
    assert (read, written) == (48 + 24, 48)


@pytest.mark.parametrize("value", [0, torch.zeros(())])
def test_one_value_put_where_a_mask_says_so_passes_over_everything(value: Any) -> None:
    data, mask = torch.zeros(2, 3), torch.tensor([True, False, True])

    def fill() -> None:
        data[:, mask] = value

    read, written = moved(fill)
    assert (read, written) in [(24 + 3, 24), (24 + 3 + 4, 24)]  # the value may be a tensor


def test_layers_move_what_torchstat_says() -> None:
    # VGG-16: features.0 and classifier.0, as torchstat prints MemRead(B) and MemWrite(B)
    assert moved(nn.Conv2d(3, 64, 3, padding=1), torch.zeros(1, 3, 224, 224)) == (609_280, 12_845_056)
    assert moved(nn.Linear(25088, 4096), torch.zeros(1, 25088)) == (411_158_528, 16_384)
