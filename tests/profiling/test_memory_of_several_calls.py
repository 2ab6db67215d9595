"""Where a backward pass goes through several calls of a model, what the earlier ones keep is alive beside the latest.

`Cell` on a batch of 16: the weight takes 256 bytes, and each state 512.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHT, STATE = 4 * 8 * 8, 4 * 16 * 8


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8, bias=False)

    def forward(self, state: Tensor) -> Tensor:
        return torch.tanh(self.layer(state))


class Unrolled(nn.Module):
    """The same as one call."""

    def __init__(self, run: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.cell = Cell()
        self.run = run

    def forward(self) -> Tensor:
        return self.run(self.cell)


def rollout(cell: nn.Module) -> Tensor:
    state = torch.zeros(16, 8)
    for _ in range(20):
        state = cell(state)
    return state


def inputs_of_their_own(cell: nn.Module) -> Tensor:
    state = torch.zeros(16, 8)
    for _ in range(5):
        state = cell(state + torch.ones(16, 8))
    return state


def contrast(cell: nn.Module) -> Tensor:
    return cell(torch.zeros(16, 8)) * cell(torch.ones(16, 8))


def same_input(cell: nn.Module) -> Tensor:
    x = torch.zeros(16, 8)
    return cell(x) * cell(x) * cell(x)


def detour(cell: nn.Module) -> Tensor:
    """The middle one is in no backward pass."""
    first = cell(torch.zeros(16, 8))
    cell(first)
    return cell(first * 2)


def largest(watch: Any, model: nn.Module) -> int:
    return max(profile.memory for profile, _ in watch.profiles(model))


@pytest.mark.parametrize("run", [rollout, inputs_of_their_own, contrast, same_input, detour])
def test_calls_with_one_backward_pass_take_what_one_call_of_all_takes(run: Any, watch: Any) -> None:
    cell, unrolled = Cell(), Unrolled(run)
    watch(lambda: run(cell).sum().backward())
    watch(lambda: unrolled().sum().backward())
    inside = largest(watch, unrolled)
    # In one call inputs are made, and dropped where nobody needs them: there they are activations.
    assert largest(watch, cell) == inside
    assert inside > 4 * STATE


def test_a_rollout_of_two_steps(watch: Any) -> None:
    cell = Cell()

    def run() -> None:
        cell(cell(torch.zeros(16, 8))).sum().backward()

    watch(run)
    # The first two states, for the gradients of the weight; the loss and its gradient; the gradients of the second
    # step, for which the third state is needed no more: of the input of `tanh`, of the weight, and of the state before.
    assert largest(watch, cell) == WEIGHT + 2 * STATE + 2 * 4 + STATE + WEIGHT + STATE
    profile, _ = watch.profiles(cell)[-1]
    assert sum(profile.memory_by_kind.values()) == profile.memory
    assert max(alive for _, alive, _ in profile.memory_course.points) == profile.memory


def one_by_one(cell: nn.Module, times: int) -> None:
    for _ in range(times):
        cell.zero_grad()
        cell(torch.zeros(16, 8)).sum().backward()


def without_backward(cell: nn.Module, times: int) -> list[Tensor]:
    return [cell(torch.zeros(16, 8)) for _ in range(times)]


def truncated(cell: nn.Module, times: int) -> None:
    state = torch.zeros(16, 8)
    for _ in range(times):
        cell.zero_grad()
        state = cell(state.detach())
        state.sum().backward()


def one_of_two(cell: nn.Module, times: int) -> None:
    """What is compared with it goes into no backward pass."""
    before = cell(torch.zeros(16, 8)) if times > 1 else None
    after = cell(torch.zeros(16, 8))
    after.sum().backward()
    assert before is None or torch.equal(before, after)


@pytest.mark.parametrize("run", [one_by_one, without_backward, truncated, one_of_two])
def test_calls_with_a_backward_pass_each_or_none_are_alone(run: Any, watch: Any) -> None:
    cell, other = Cell(), Cell()
    watch(lambda: run(cell, 3))
    watch(lambda: run(other, 1))
    assert largest(watch, cell) == largest(watch, other)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.CrossEntropyLoss(), nn.functional.cross_entropy),
        (nn.MSELoss(), nn.functional.mse_loss),
        (nn.SmoothL1Loss(reduction="sum"), lambda x, y: nn.functional.smooth_l1_loss(x, y, reduction="sum")),
        (lambda x, _: nn.Tanh()(nn.Tanh()(x)).sum(), lambda x, _: torch.tanh(torch.tanh(x)).sum()),
    ],
)
def test_what_a_module_without_weights_does_after_a_call_counts_as_the_function_does(
    module: Any, function: Any, watch: Any
) -> None:
    first, second, x, y = Cell(), Cell(), torch.randn(16, 8), torch.randn(16, 8).softmax(1)
    watch(lambda: module(first(x), y).backward())
    watch(lambda: function(second(x), y).backward())
    assert watch.profile(first).memory == watch.profile(second).memory
    # Without a backward pass it is no work of the call.
    third, fourth = Cell(), Cell()
    watch(lambda: (module(third(x), y), fourth(x)))
    assert watch.profile(third).memory == watch.profile(fourth).memory


def test_the_gradient_that_another_model_hands_on_is_alive(watch: Any) -> None:
    generator, judge = nn.Linear(8, 8, bias=False), nn.Linear(8, 1, bias=False)
    watch(lambda: judge(generator(torch.zeros(16, 8))).sum().backward())
    # What was generated is gone by then; there are the input, and the gradients of what was generated and the weight.
    assert watch.profile(generator).memory == WEIGHT + STATE + STATE + WEIGHT


def test_weights_that_are_no_leaves_are_asked_for_no_gradient(watch: Any, recwarn: pytest.WarningsRecorder) -> None:
    cell, x = Cell(), torch.randn(16, 8)
    fast = {name: weight * 2 for name, weight in cell.named_parameters()}
    watch(lambda: torch.func.functional_call(cell, fast, (x,)).sum().backward())
    cell.layer._parameters["weight"] = fast["layer.weight"]
    watch(lambda: cell(x))
    assert not [warning for warning in recwarn if "leaf" in str(warning.message)]
