"""What methods do outside module calls has a backward pass, too, and it is that of their module.

On a batch of 3, `embed` takes 3 x 4 x 8 = 96 MACs and `second` 3 x 8 x 2 = 48; each gradient takes as many again. `x`
needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return gradients[0] @ w.t(), x.t() @ gradients[0]


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 8))
        self.second = nn.Linear(8, 2, bias=False)

    def embed(self, x: Tensor) -> Tensor:
        return x @ self.w

    def embed_by_name(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,ij->bj", x, self.w)

    def embed_by_function(self, x: Tensor) -> Tensor:
        return Multiply.apply(x, self.w)

    def score(self, x: Tensor) -> Tensor:
        return self.second(self.embed(x))

    def gram(self, x: Tensor) -> Tensor:
        return (x * 2) @ x.t()

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x)


@pytest.fixture
def model() -> Scores:
    return Scores()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4)


def penalised(model: Scores, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(model.embed(x).square().sum(), model.w, create_graph=True)
    return gradient.square()


def between_others(model: Scores, x: Tensor) -> Tensor:
    """What the test contracts itself, before a method runs that needs no gradient, is no work of the model."""
    mine = torch.randn(8, 8, requires_grad=True)
    scores = model.embed(x) @ mine
    model.gram(x)
    with torch.no_grad():
        model.embed(x)
    return scores @ mine


WAYS = [
    (lambda model, x: model.embed(x), 96),
    (lambda model, x: model.embed_by_name(x), 96),
    (lambda model, x: model.embed_by_function(x), 2 * 96),  # it makes the gradient of x, too
    (lambda model, x: model.score(x), 96 + 2 * 48),
    (lambda model, x: model.forward(x), 96 + 2 * 48),
    (lambda model, x: model(x).sum() + model.embed(x).sum(), 96 + 2 * 48 + 96),
    # Such a checkpoint stops before its last operator, whose result nobody needs.
    (lambda model, x: checkpoint(model.embed, x, use_reentrant=False), 96),
    (lambda model, x: checkpoint(model.embed, x.requires_grad_(), use_reentrant=True), 96 + 2 * 96),
    (lambda model, x: checkpoint(model.score, x, use_reentrant=False), 96 + 96 + 2 * 48),
    (penalised, 96 + 96 + 96),  # of the first gradient, and again to `w` by the graph of that and by `embed`
    (between_others, 96),
]


@pytest.mark.parametrize(("run", "macs"), WAYS)
def test_the_backward_pass_of_methods_is_work_of_their_module(
    run: Callable[[Scores, Tensor], Tensor], macs: int, watch: Any, model: Scores, x: Tensor
) -> None:
    watch(lambda: run(model, x).sum().backward())
    assert sum(profile.backward_flops or 0 for profile, _ in watch.profiles(model)) == 2 * macs


def test_it_belongs_to_the_part_whose_method_ran(watch: Any, x: Tensor) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = Scores()
            self.head = nn.Parameter(torch.randn(2, 5))

        def rate(self, x: Tensor) -> Tensor:
            return self.scores.score(x) @ self.head

    whole = Whole()
    watch(lambda: whole.rate(x).sum().backward())
    profile = watch.profile(whole)
    # The product with `head`, 3 x 2 x 5, has two gradients.
    assert profile.backward_flops == 2 * (2 * 30 + 2 * 48 + 96)
    assert profile.modules["scores"].backward_flops == 2 * (2 * 48 + 96)
    assert profile.modules["scores.second"].backward_flops == 2 * 2 * 48
    assert watch.profile(whole.scores).backward_flops == 2 * (2 * 48 + 96)
