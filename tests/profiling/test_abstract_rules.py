"""Every shape rule of our own says what the operator's meta kernel says, or nothing."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling.abstract import rules
from pytest_modelbudget.profiling.abstract.rules import nested
from pytest_modelbudget.profiling.abstract.verification import check_output
from pytest_modelbudget.profiling.costs import lookup, total
from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.profiling.traffic import NO_TRAFFIC, effects_of, total_traffic

aten = torch.ops.aten


def meta(*shape, dtype=torch.float32, layout=torch.contiguous_format):
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


X = meta(2, 6, 4, 8)
LAST = meta(2, 6, 4, 8, layout=torch.channels_last)
TURNED = X.transpose(1, 2)
SLICED = X[:, ::2]
HALF = meta(2, 6, 4, 8, dtype=torch.bfloat16)
INTEGER = meta(2, 6, 4, 8, dtype=torch.int64)
SCALAR = meta()
EMPTY = meta(2, 0, 4, 8)
ALL = (X, LAST, TURNED, SLICED, HALF, INTEGER, SCALAR, EMPTY, meta(8), meta(4, 1), meta(3, 1, 1, 1, 8))

W = meta(5, 6, 3, 3)
W_LAST = meta(5, 6, 3, 3, layout=torch.channels_last)
STATS = (meta(6), meta(6), meta(6), meta(6))


def lstm(layers, directions, batch_first=False):
    x = meta(2, 3, 8)
    states = [meta(layers * directions, 2 if batch_first else 3, 4) for _ in range(2)]
    weights = []
    for layer in range(layers):
        width = 8 if layer == 0 else 4 * directions
        weights += directions * [meta(16, width), meta(16, 4), meta(16), meta(16)]
    return (x, states, weights, True, layers, 0.0, False, directions == 2, batch_first)


QUESTIONS = {
    aten.one_hot.default: [(INTEGER, 5), (meta(3, dtype=torch.int64), 2)],
    aten.linear.default: [
        *((x, meta(5, 8), bias) for x in ALL if x.dtype.is_floating_point for bias in (None, meta(5))),
        (HALF, meta(5, 8, dtype=torch.bfloat16), None),
    ],
    aten.mm.default: [(meta(2, 3), meta(3, 4)), (meta(3, 2).t(), meta(4, 3).t()), (meta(2, 0), meta(0, 4))],
    aten.bmm.default: [
        (meta(5, 2, 3), meta(5, 3, 4)),
        (meta(5, 3, 2).mT, meta(5, 3, 4)),
        (meta(5, 2, 3).half(), meta(5, 3, 4).half()),
    ],
    aten.matmul.default: [
        (X, meta(2, 6, 8, 5)),
        (X, X.mT),
        (TURNED, TURNED.mT),
        (SLICED, SLICED.mT),
        (SLICED.transpose(1, 2), SLICED.transpose(1, 2).mT),
        (X, meta(6, 8, 5)),
        (X, meta(8, 5)),
        (HALF, HALF.mT),
        (EMPTY, EMPTY.mT),
        (meta(3, 4), meta(4, 5)),
    ],
    aten.reshape.default: [
        *((x, shape) for x in (X, TURNED, SLICED, LAST, HALF) for shape in ([-1], [2, -1, 4], [x.numel()])),
        (TURNED, [8, 6, -1]),
        (EMPTY, [0, 5]),
        (SCALAR, [1, 1]),
        (X.mT, [2, 6, 32]),
    ],
    aten.contiguous.default: [(x,) for x in ALL],
    aten.adaptive_avg_pool2d.default: [(x, size) for x in (X, LAST, SLICED, HALF, EMPTY) for size in ([1, 1], [2, 2])],
    aten.conv1d.default: [
        (meta(2, 6, 9), meta(5, 6, 3)),
        (meta(2, 6, 9), meta(6, 1, 3), meta(6), [2], [1], [2], 6),
        (meta(6, 9), meta(5, 6, 3)),
    ],
    aten.conv2d.default: [
        *((x, w) for x in (X, LAST, SLICED, EMPTY, X[0]) for w in (W, W_LAST)),
        (X, W, meta(5), [2, 1], [1, 0], [1, 2]),
        (X, meta(6, 1, 3, 3), None, [2], [1], [1], 6),
        (meta(2, 6, 1, 1), meta(5, 6, 1, 1)),
    ],
    aten.conv3d.default: [
        (meta(2, 6, 5, 5, 5), meta(4, 6, 3, 3, 3)),
        (meta(2, 6, 5, 5, 5), meta(4, 3, 3, 3, 3), None, [2], [1], [1], 2),
    ],
    aten.batch_norm.default: [
        (x, *STATS, training, 0.1, 1e-5, True) for x in (X, LAST, SLICED) for training in (False, True)
    ],
    aten.layer_norm.default: [(x, [8], meta(8), meta(8)) for x in (X, LAST, TURNED, meta(2, 8))] + [(X, [4, 8])],
    aten.softmax.int: [(x, -1) for x in ALL if x.dim()] + [(X, 1, torch.float64), (HALF, 1, torch.float32)],
    aten.cat.default: [
        ([X, X],),
        ([X, LAST], 1),
        ([X, EMPTY], 1),
        ([meta(0), X], 1),
        ([X, HALF], -1),
        ([meta(3)] * 3,),
        ([SCALAR.view(1)],),
    ],
    aten.roll.default: [(X, [1], [2]), (TURNED, [1, 1], [1, 2]), (X, [3])],
    aten.scaled_dot_product_attention.default: [
        (meta(2, 4, 5, 8), meta(2, 4, 7, 8), meta(2, 4, 7, 8)),
        (meta(2, 4, 5, 8), meta(2, 4, 7, 8), meta(2, 4, 7, 6)),
        (meta(4, 5, 8), meta(4, 7, 8), meta(4, 7, 8)),
    ],
    aten.lstm.input: [lstm(1, 1), lstm(2, 2), lstm(1, 2, batch_first=True)],
}
BOTH = {"add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum"}


def questions(operator):
    if operator in QUESTIONS:
        return QUESTIONS[operator]
    if f"{operator._schema.name.removeprefix('aten::')}.{operator._overloadname}".removesuffix(".default") in BOTH:
        scalars = () if "imum" in operator._schema.name else (2, 0.5, True)
        return [pair for pair in itertools.product(ALL, (*ALL, *scalars)) if broadcasts(*pair)]
    if operator is aten.pow.Tensor_Scalar:
        return [(x, power) for x in ALL for power in (2, 0.5)]
    if operator is aten.clamp.default:
        return [(x, 0.0, 1) for x in ALL]
    return [(x,) for x in ALL]


def broadcasts(left, right):
    try:
        return not isinstance(right, torch.Tensor) or bool(torch.broadcast_shapes(left.shape, right.shape) or True)
    except RuntimeError:
        return False


@pytest.mark.parametrize("operator", rules.RULES, ids=str)
def test_a_rule_agrees_with_the_meta_kernel(operator):
    answered = 0
    if operator._schema.name == "aten::_grouped_mm":
        pytest.skip("in a test of its own: the meta kernel refuses float32")
    if operator in nested.RULES:
        pytest.skip("in a test of its own: there is no meta kernel")
    for args in questions(operator):
        found = rules.answer(operator, args, {})
        if found is not None:
            answered += 1
            check_output(operator, args, {}, found.output)
    assert answered


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_padded_batch_runs_padded():
    # On a device the fused encoder of eval drops the padding; abstract runs do what training does: per token four
    # projections of 16 x 16 and two layers of 16 x 32, and attention of 5 tokens to 5 in 4 heads of 4 and 4.
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 1).eval()
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    with torch.no_grad():
        figures = profile(encoder, torch.randn(2, 5, 16), {"src_key_padding_mask": padding})
    assert figures.macs == 10 * (4 * 256 + 2 * 512) + 2 * 4 * 25 * (4 + 4)


@pytest.mark.parametrize("operator", [o for o in rules.RULES if o in QUESTIONS], ids=str)
def test_a_composite_costs_what_it_comes_down_to(operator):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Sums(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            costs.append(lookup(func).cost(args, kwargs or {}, output))
            return output

    if operator in (aten.scaled_dot_product_attention.default, aten.lstm.input):
        pytest.skip("fused by devices, and only by them")
    for args in questions(operator):
        found = rules.answer(operator, args, {})
        if found is None:
            continue
        costs = []
        with Sums():
            operator(*args)
        assert lookup(found.counted).cost(found.arguments, {}, found.output) == total(costs), args


@pytest.mark.parametrize("operator", [aten.matmul.default, aten.reshape.default, aten.contiguous.default], ids=str)
def test_a_composite_moves_what_its_parts_move(operator):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Moves(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            moved.append(effects_of(func, args, kwargs or {}, output).traffic)
            return output

    for args in questions(operator):
        found = rules.answer(operator, args, {})
        if found is None:
            continue
        moved = [NO_TRAFFIC]
        with Moves():
            operator(*args)
        counted = [effects_of(found.counted, found.arguments, {}, found.output).traffic]
        counted += [effects_of(aten.clone.default, (original,), {}, copy).traffic for original, copy in found.copies]
        assert total_traffic(counted) == total_traffic(moved), args


def test_products_of_groups_in_any_dtype():
    if not hasattr(aten, "_grouped_mm"):
        pytest.skip("this torch has none")
    offsets = torch.tensor([2, 5, 12], dtype=torch.int32)
    for left, right in (
        (torch.zeros(12, 8), torch.zeros(3, 8, 16)),
        (torch.zeros(16, 12), torch.zeros(12, 8)),
        (torch.zeros(3, 4, 8), torch.zeros(3, 8, 16)),
    ):
        offs = offsets if left.dim() + right.dim() < 6 else None
        real = torch._grouped_mm(left, right, offs=offs)
        found = rules.answer(aten._grouped_mm.default, (left.to("meta"), right.to("meta"), offs), {})
        assert found.output.shape == real.shape


@pytest.mark.parametrize(
    ("operator", "args", "expected"),
    [
        (aten.add_.Tensor, (X, meta(8)), True),
        (aten.add_.Tensor, (meta(8), X), False),
        (aten.add_.Tensor, (meta(4, 1), meta(1, 8)), False),
        (aten.mul_.Tensor, (X, 2), True),
        (aten.add_.Tensor, (INTEGER, 2), False),
        (aten.relu_.default, (X,), True),
        (aten.squeeze_.default, (X,), False),
    ],
)
def test_what_in_place_operators_leave_alone(operator, args, expected):
    assert rules.writes_itself(operator, *args) is expected
