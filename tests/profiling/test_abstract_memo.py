"""What a remembered answer depends on, and what is done each time although it is remembered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.profiling.signature import signature


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.function = function

    def forward(self, x):
        return self.function(self.linear, x)


def test_numbers_of_other_kinds_are_other_questions():
    x = torch.empty(2, 8, device="meta")
    multiply = torch.ops.aten.mul.Tensor
    assert len({signature(multiply, (x, factor), {}) for factor in (1, 1.0, True)}) == 3


def test_an_operand_twice_is_another_question():
    x, y, z = (torch.empty(2, 8, device="meta") for _ in range(3))
    where = torch.ops.aten.addcmul.default
    keys = {signature(where, operands, {}) for operands in ((x, y, z), (x, x, z), (x, y, y), (x, y, x), (x, x, x))}
    assert len(keys) == 5
    assert signature(where, (y, z, x), {}) in keys


def test_what_cannot_be_compared_is_not_remembered():
    x = torch.empty(2, 8, device="meta")
    multiply = torch.ops.aten.mul.Tensor
    for argument in (float("nan"), torch.Generator(), object()):
        assert signature(multiply, (x, argument), {}) is None


def test_real_and_abstract_operands_are_other_questions():
    keys = {signature(torch.ops.aten.relu.default, (torch.zeros(2, device=d),), {}) for d in ("cpu", "meta")}
    assert len(keys) == 2


def test_symbolic_sizes_are_worked_out_each_time():
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    size = ShapeEnv().create_unbacked_symint()
    x = torch.empty(2, 8, device="meta")
    key = signature(torch.ops.aten.expand.default, (x, [size, 8]), {})
    if key is not None:
        with pytest.raises(TypeError):
            hash(key)  # so nothing is found, and nothing kept


def test_a_mask_that_is_written_in_place_is_written_each_time():
    def shifts(linear, x):
        for _ in range(3):
            mask = x.new_zeros(4, 4)
            for i in range(4):
                mask[i : i + 2, i:] = i
            assert mask.tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 0, 2, 3]]
            x = linear(x)
        return x

    with memo.verified():
        for _ in range(2):
            assert profile(Calls(shifts), torch.zeros(2, 8)).macs == 3 * 2 * 8 * 8


def test_constants_outside_the_model_that_it_writes_are_as_before_also_from_memory():
    table = torch.zeros(4)

    def counts(linear, x):
        table.fill_(7)
        return linear(x) if table.sum() == 28 else x

    model = Calls(counts)
    for _ in range(3):
        assert profile(model, torch.zeros(2, 8)).macs == 2 * 8 * 8
        assert table.tolist() == [0] * 4
