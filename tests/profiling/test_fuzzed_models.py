"""Random module trees whose figures are known by construction, in every mode in which they can run.

Every node maps (batch, tokens, width) to the same shape, and knows what a call of it takes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pytest_modelbudget.profiling.parameters import paths_of
from pytest_modelbudget.profiling.run import profile
from tests.profiling.conftest import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_modelbudget.profiling.profile import Profile

WIDTH = 4
# oneDNN announces once that it prefers flat weights; nested fused encoders are not among these trees.
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Call:
    """What one call of a tree takes: MACs of each module, everything below it included, by identity."""

    batch: int
    tokens: int
    macs: Counter[int] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return self.batch * self.tokens


class Node(nn.Module):
    """`expect` adds what a call takes to `call.macs` and returns it."""

    def __init__(self, *parts: nn.Module, own: int = 0) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def macs(self, call: Call) -> int:
        return sum(part.expect(call) for part in self.parts)

    def expect(self, call: Call) -> int:
        macs = self.macs(call)
        call.macs[id(self)] += macs
        return macs


class Leaf(Node):
    """One layer of torch."""

    def __init__(self, layer: nn.Module, macs: Callable[[Call], int]) -> None:
        super().__init__(layer)
        self._macs = macs

    def forward(self, x: Tensor) -> Tensor:
        layer = self.parts[0]
        if isinstance(layer, nn.MultiheadAttention):
            return layer(x, x, x, need_weights=False)[0]
        if isinstance(layer, nn.Conv1d):
            return layer(x.transpose(1, 2)).transpose(1, 2)
        output = layer(x)
        return output[0] if isinstance(output, tuple) else output

    def macs(self, call: Call) -> int:
        macs = self._macs(call)
        call.macs[id(self.parts[0])] += macs
        return macs


class Chain(Node):
    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Sum(Node):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.stack([part(x) for part in self.parts]).sum(0)


class Repeat(Node):
    """Its part again and again, as ALBERT does."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.own):
            x = self.parts[0](x)
        return x

    def macs(self, call: Call) -> int:
        return sum(self.parts[0].expect(call) for _ in range(self.own))


class Multiplied(Node):
    """Work of its own beside that of its parts."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__(part)
        self.weight = nn.Parameter(torch.ones(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x) @ self.weight

    def macs(self, call: Call) -> int:
        return super().macs(call) + call.rows * WIDTH**2


LAYERS: dict[str, Callable[[], Leaf]] = {
    "linear": lambda: Leaf(nn.Linear(WIDTH, WIDTH), lambda call: call.rows * WIDTH**2),
    "convolution": lambda: Leaf(
        nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=2), lambda call: call.rows * WIDTH * WIDTH // 2 * 3
    ),
    # Four projections, scores and values.
    "attention": lambda: Leaf(
        nn.MultiheadAttention(WIDTH, 2, batch_first=True),
        lambda call: call.rows * 4 * WIDTH**2 + call.batch * 2 * call.tokens**2 * WIDTH,
    ),
    "norm": lambda: Leaf(nn.LayerNorm(WIDTH), lambda call: 0),
    "activation": lambda: Leaf(nn.GELU(), lambda call: 0),
    "dropout": lambda: Leaf(nn.Dropout(0.1), lambda call: 0),
}
RECURRENT: dict[str, Callable[[], Leaf]] = {
    "lstm": lambda: Leaf(nn.LSTM(WIDTH, WIDTH, batch_first=True), lambda call: call.rows * 4 * WIDTH * 2 * WIDTH),
    "gru": lambda: Leaf(nn.GRU(WIDTH, WIDTH, batch_first=True), lambda call: call.rows * 3 * WIDTH * 2 * WIDTH),
}

leaves = st.sampled_from([*LAYERS, *RECURRENT])
descriptions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["chain", "sum"]), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["twice", "multiplied"]), inner),
        st.tuples(st.just("repeat"), inner, st.integers(0, 3)),
    ),
    max_leaves=8,
)


def build(description: Any) -> Node:
    if isinstance(description, str):
        return {**LAYERS, **RECURRENT}[description]()
    kind, inner, *rest = description
    if kind == "chain":
        return Chain(*map(build, inner))
    if kind == "sum":
        return Sum(*map(build, inner))
    part = build(inner)
    if kind == "twice":  # one module under two names
        return Chain(part, part)
    return Repeat(part, own=rest[0]) if kind == "repeat" else Multiplied(part)


def check(figures: Profile, model: Node, call: Call) -> None:
    expected = call.macs[id(model)]
    assert (figures.macs, figures.flops, figures.uncounted) == (expected, 2 * expected, {})
    assert figures.params == figures.trainable_params == sum(p.numel() for p in model.parameters())
    assert figures.size == 4 * figures.params
    # A module under several names stands where it was called.
    measured: Counter[int] = Counter()
    for path, part in paths_of(model):
        if not isinstance(part, nn.ModuleList):
            measured[id(part)] += figures.modules[path].macs or 0
    assert +measured == +call.macs


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(description=descriptions, shape=shapes, training=st.booleans())
def test_the_figures_of_a_tree_are_those_of_its_construction(
    description: Any, shape: tuple[int, int], training: bool
) -> None:
    model = build(description).train(training)
    call = Call(*shape)
    model.expect(call)
    x = torch.ones(*shape, WIDTH)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        watch = Watch()
        with mode():
            watch(model, x)
        check(watch.profile(model), model, call)
    for device in ("cpu", "meta"):
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                check(profile(model, x, device=device), model, call)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    description=descriptions.filter(lambda description: not any(name in repr(description) for name in RECURRENT)),
    shape=shapes,
)
def test_where_every_gradient_is_needed_backward_is_twice_forward(description: Any, shape: tuple[int, int]) -> None:
    model = build(description)
    call = Call(*shape)
    model.expect(call)
    x = torch.ones(*shape, WIDTH, requires_grad=True)
    expected = 2 * 2 * call.macs[id(model)]

    def step() -> None:
        model(x).sum().backward()

    watch = Watch()
    watch(step)
    figures = [watch.profile(model)]
    if expected or any(True for _ in model.parameters()):
        figures += [profile(model, x, device=device, backward=True) for device in ("cpu", "meta")]
    for found in figures:
        # Nobody saw a backward pass of a model that has nothing to differentiate.
        assert (found.macs, found.backward_flops or 0, found.uncounted) == (call.macs[id(model)], expected, {})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(description=descriptions, shape=st.lists(shapes, min_size=1, max_size=4))
def test_several_calls_add_up(description: Any, shape: list[tuple[int, int]]) -> None:
    model = build(description).eval()
    watch = Watch()
    total = 0
    for batch, tokens in shape:
        total += model.expect(Call(batch, tokens))
        watch(model, torch.ones(batch, tokens, WIDTH))
    assert sum(figures.macs * count for figures, count in watch.profiles(model)) == total
    assert sum(count for _, count in watch.profiles(model)) == len(shape)
