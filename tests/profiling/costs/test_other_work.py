"""Other work: the weights of every family that multiplies nothing and accumulates nothing."""

from __future__ import annotations

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pytest_modelbudget.profiling.costs import Cost, Kind, lookup

aten = torch.ops.aten


def x(*shape):
    return torch.linspace(0.1, 0.9, torch.Size(shape).numel()).reshape(shape)


POINTWISE = {
    "add": (lambda: x(2, 3) + x(3), 6),
    "in place": (lambda: x(2, 3).mul_(2), 6),
    "compare in place": (lambda: x(2, 3).eq_(1), 6),
    "broadcast": (lambda: x(2, 1) * x(3), 6),
    "relu": (lambda: F.relu(x(6)), 6),
    "gelu": (lambda: F.gelu(x(6)), 6),
    "glu": (lambda: F.glu(x(12)), 6),
    "hardswish": (lambda: F.hardswish(x(6)), 6),
    "leaky_relu": (lambda: F.leaky_relu(x(6)), 6),
    "where": (lambda: torch.where(x(6) > 0, x(6), x(6)), 12),
    "masked_fill": (lambda: x(6).masked_fill(x(6) > 0, 0.0), 12),
    "dropout": (lambda: torch.native_dropout(x(6), 0.5, True), 6),
    "random": (lambda: torch.rand(6), 6),
    "foreach": (lambda: torch._foreach_add([x(2), x(4)], 1.0), 6),
    "foreach in place": (lambda: torch._foreach_mul_([x(2), x(4)], [x(2), x(4)]), 6),
    "foreach, a scalar first": (lambda: torch._foreach_pow(2.0, [x(2), x(4)]), 6),
}

REDUCTIONS = {
    "sum": (lambda: x(2, 3).sum(), 6),
    "mean over a dimension": (lambda: x(2, 3).mean(1), 6),
    "amax": (lambda: x(2, 3).amax(0), 6),
    "argmax": (lambda: x(2, 3).argmax(), 6),
    "max with indices": (lambda: x(2, 3).max(1), 6),
    "var": (lambda: x(2, 3).var(), 6),
    "vector norm": (lambda: torch.linalg.vector_norm(x(2, 3)), 6),
    "any": (lambda: (x(2, 3) > 0).any(), 12),
    "cumsum": (lambda: x(2, 3).cumsum(1), 6),
    "trace": (lambda: x(2, 3).trace(), 2),
    "sort": (lambda: x(3, 8).sort(1), 24 * 3),
    "sort along the first dimension": (lambda: x(8, 3).sort(0), 24 * 3),
    "topk": (lambda: x(3, 8).topk(4), 24 + 3 * 4 * 2),
    "unique": (lambda: x(8).unique(), 8 * 3),
    "searchsorted": (lambda: torch.searchsorted(x(8), x(5)), 5 * 3),
}

NORMS = {
    "softmax": (lambda: x(2, 3).softmax(1), 5 * 6),
    "log_softmax": (lambda: x(2, 3).log_softmax(1), 5 * 6),
    "batch norm, training": (lambda: F.batch_norm(x(2, 3), None, None, training=True), 7 * 6),
    "batch norm, eval": (lambda: nn.BatchNorm1d(3).eval()(x(2, 3)), 2 * 6),
    "layer norm": (lambda: nn.LayerNorm(3)(x(2, 3)), 7 * 6),
    "group norm": (lambda: nn.GroupNorm(2, 4)(x(2, 4, 3)), 7 * 24),
}

POOLING = {
    "max pool": (lambda: F.max_pool2d(x(1, 2, 8, 8), 2), (4 - 1) * 32),
    "max pool 1-D": (lambda: F.max_pool1d(x(1, 2, 9), 3), (3 - 1) * 6),
    "max pool 3-D": (lambda: F.max_pool3d(x(1, 1, 4, 4, 4), 2), (8 - 1) * 8),
    "average pool": (lambda: F.avg_pool2d(x(1, 2, 8, 8), (2, 4)), 8 * 16),
    "average pool 1-D": (lambda: F.avg_pool1d(x(1, 2, 9), 3), 3 * 6),
    "adaptive average pool": (lambda: F.adaptive_avg_pool2d(x(1, 2, 8, 8), 2), 2 * 64),
    # Windows of 5 into 3 overlap: 0-2, 1-4, 3-5, that is 2 + 3 + 2 in each dimension.
    "overlapping windows": (lambda: F.adaptive_avg_pool2d(x(1, 2, 5, 5), 3), 2 * 7 * 7),
    "global average pool": (lambda: F.adaptive_avg_pool2d(x(1, 2, 8, 8), 1), 2 * 64),
    "adaptive max pool": (lambda: F.adaptive_max_pool2d(x(1, 2, 8, 8), 2), 2 * (64 - 4)),
    "nearest": (lambda: F.interpolate(x(1, 2, 4, 4), scale_factor=2), 0),
    "linear": (lambda: F.interpolate(x(1, 2, 4), scale_factor=2, mode="linear"), 3 * 16),
    "bilinear": (lambda: F.interpolate(x(1, 2, 4, 4), scale_factor=2, mode="bilinear"), 7 * 128),
    "bicubic": (lambda: F.interpolate(x(1, 2, 4, 4), scale_factor=2, mode="bicubic"), 31 * 128),
    "trilinear": (lambda: F.interpolate(x(1, 1, 2, 2, 2), scale_factor=2, mode="trilinear"), 15 * 64),
    "grid_sample": (lambda: F.grid_sample(x(1, 2, 4, 4), x(1, 3, 5, 2), align_corners=False), 7 * 30),
    "grid_sample, nearest": (
        lambda: F.grid_sample(x(1, 2, 4, 4), x(1, 3, 5, 2), mode="nearest", align_corners=False),
        0,
    ),
}

LOSSES = {
    "mse": (lambda: F.mse_loss(x(2, 3), x(2, 3)), 3 * 6),
    "cross entropy": (lambda: F.cross_entropy(x(2, 3), torch.tensor([0, 2])), 5 * 6 + 2),
    "binary cross entropy": (lambda: F.binary_cross_entropy(x(2, 3), x(2, 3)), 7 * 6),
}

GATHERS = {
    "embedding": (lambda: F.embedding(torch.tensor([1, 2]), x(4, 3)), 0),
    "index": (lambda: x(4, 3)[torch.tensor([1, 2])], 0),
    "gather": (lambda: x(4, 3).gather(0, torch.zeros(1, 3, dtype=torch.long)), 0),
    "embedding bag": (lambda: F.embedding_bag(torch.tensor([[1, 2], [0, 3]]), x(4, 3)), 4 * 3),
    "scatter_add": (lambda: x(4).scatter_add(0, torch.tensor([0, 0]), x(2)), 2),
    "scatter": (lambda: x(4).scatter(0, torch.tensor([0, 1]), x(2)), 0),
    "scatter that adds": (lambda: x(4).scatter(0, torch.tensor([0, 0]), x(2), reduce="add"), 2),
    "index_add": (lambda: x(4, 3).index_add(0, torch.tensor([0, 0]), x(2, 3)), 6),
    "index_put": (lambda: x(4).index_put((torch.tensor([0, 0]),), x(2)), 0),
    "index_put that adds": (lambda: x(4).index_put((torch.tensor([0, 0]),), x(2), accumulate=True), 2),
    "index_put by a mask": (lambda: x(4).index_put((torch.tensor([True, False, True, False]),), x(2)), 0),
    # One value: the kernels run `masked_fill`, also where torch does not call it by that name.
    "index_put of one value": (lambda: x(4).index_put((torch.tensor([0, 1]),), x(1)), 0),
    "index_put of one value by a mask": (lambda: x(4).index_put((torch.tensor([True, False, True, False]),), x(1)), 4),
    "assignment by a mask": (lambda: operator.setitem(x(2, 3), (slice(None), torch.tensor([True, False, True])), 0), 6),
}

FREE = {
    "views": (lambda: x(2, 3).view(6).reshape(3, 2).permute(1, 0).t().unsqueeze(0).expand(4, 3, 2)[0, 1:], 0),
    "in-place views": (lambda: x(2, 3).t_().squeeze_().unsqueeze_(0), 0),
    "copies": (lambda: x(2, 3).t().contiguous().clone().to(torch.float64).copy_(x(3, 2)), 0),
    "allocation": (lambda: (torch.empty(3), torch.zeros(3), torch.arange(3), torch.full((3,), 2.0)), 0),
    "concatenation": (lambda: torch.cat([torch.stack([x(3), x(3)]), x(1, 3)]), 0),
    "padding": (lambda: F.pad(x(2, 3), (1, 1)), 0),
    "rearranging": (lambda: (x(4).flip(0), x(4).roll(1), F.pixel_shuffle(x(1, 4, 2, 2), 2)), 0),
    "metadata": (lambda: x(2, 3).is_contiguous() and x(1).item(), 0),
    "triangles": (lambda: x(3, 3).tril(), 0),
}


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter:UserWarning")
@pytest.mark.parametrize(
    ("work", "flops"),
    [
        pytest.param(*case, id=name)
        for family in (POINTWISE, REDUCTIONS, NORMS, POOLING, LOSSES, GATHERS, FREE)
        for name, case in family.items()
    ],
)
def test_forward(measure, work, flops):
    assert measure(work) == Cost(elementwise=flops)


@pytest.mark.parametrize(
    ("forward", "flops"),
    [
        (lambda x: x.softmax(1), 4 * 24),
        (lambda x: F.layer_norm(x, (6,)), 2 * 7 * 24),
        (lambda x: F.batch_norm(x, None, None, training=True), 2 * 7 * 24),
        (lambda x: F.max_pool1d(x[None], 2)[0], 12),
        (lambda x: F.relu(x), 24),
        (lambda x: F.hardswish(x), 24),
        (lambda x: x.view(24), 0),
    ],
)
def test_backward(measure, forward, flops):
    data = x(4, 6).requires_grad_()
    y = forward(data)
    gradient = torch.ones_like(y)
    assert measure(lambda: y.backward(gradient)).elementwise == flops


@pytest.mark.parametrize(("optimizer", "rate"), [(torch.optim.Adam, 14), (torch.optim.AdamW, 14), (torch.optim.SGD, 6)])
def test_fused_optimizers_count_the_elements_of_all_parameters(cost_of, optimizer, rate):
    op = getattr(aten, f"_fused_{optimizer.__name__.lower()}_").default
    parameters = [torch.empty(2, 3), torch.empty(4)]
    assert cost_of(op, parameters).elementwise == rate * 10


def test_a_chunked_linear_cross_entropy_counts_its_products(cost_of):
    pytest.importorskip("torch.nn.modules.linear_cross_entropy", reason="this torch has none")
    op = torch.ops.torch_nn._linear_cross_entropy_batch_chunked.default
    args = (x(4, 3), x(5, 3), x(4), None, None, "mean", -100, 0.0, 2, "auto", torch.float32, False)
    assert cost_of(op, *args, False, False, False) == Cost(macs=60, elementwise=5 * 20, activations=20)
    assert cost_of(op, *args, True, True, False).macs == 3 * 60


def test_namespaces_of_the_tracer_are_free():
    for op in (torch.ops.prim.device.default, torch.ops.profiler._record_function_enter_new.default):
        assert lookup(op).kind is Kind.FREE


def test_activations_belong_to_contractions_only(measure):
    assert measure(lambda: F.relu(x(6)).sum()).activations == 0
