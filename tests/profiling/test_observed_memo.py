"""What observing remembers of operators, and what it looks at each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget import Cost, register_cost
from pytest_modelbudget.profiling import recorder
from pytest_modelbudget.profiling.costs import registry
from pytest_modelbudget.profiling.costs.sizes import numbers
from tests.profiling import zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Calls(nn.Module):
    """A model that is one function, with a weight."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(self.weight, *args)


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An operator of another library, whose cost nobody has registered."""
    catalogue = registry.Catalogue()
    monkeypatch.setattr(registry, "_catalogue", catalogue)
    token = registry._registering_into.set(catalogue.registered)
    with torch.library._scoped_library("remembered", "DEF") as library:
        library.define("scan(Tensor x, Tensor lengths) -> Tensor")
        library.impl("scan", lambda x, lengths: x.clone(), "CompositeExplicitAutograd")
        yield torch.ops.remembered.scan
    registry._registering_into.reset(token)


@pytest.fixture
def empty_memo() -> Iterator[None]:
    recorder.memo.clear()
    yield
    recorder.memo.clear()


def test_a_second_call_is_answered_from_memory(empty_memo: None, watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Calls(lambda weight, x: torch.relu(x @ weight))
    watch(model, torch.ones(2, 4))
    remembered = len(recorder.memo)
    assert remembered
    monkeypatch.setattr(recorder, "effects_of", None)  # is not asked again
    watch(model, torch.ones(2, 4))
    assert len(recorder.memo) == remembered
    (profile, count), *others = watch.profiles(model)
    assert (profile.macs, profile.elementwise_flops, count, others) == (2 * 4 * 4, 2 * 4, 2, [])


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("name", zoo.OWN)
def test_what_is_remembered_is_what_operators_do(name: str, grad: bool, empty_memo: None, watch: Any) -> None:
    model, args, kwargs = zoo.own(name)
    with torch.set_grad_enabled(grad), recorder.memo.verified():
        for _ in range(2):
            watch(model, *args, **kwargs)


def test_what_a_boolean_index_returns_is_measured_each_time(empty_memo: None, watch: Any) -> None:
    model = Calls(lambda weight, x, mask: x[mask] @ weight)
    for kept in (1, 3):
        watch(model, torch.ones(4, 4), torch.arange(4) < kept)
    assert [profile.macs for profile, _ in watch.profiles(model)] == [1 * 4 * 4, 3 * 4 * 4]


def test_one_operand_twice_is_read_once(empty_memo: None, watch: Any) -> None:
    # 16 elements of 4 bytes are written, and 16 or 32 read.
    for other, read in ((lambda weight, x: x * x, 64), (lambda weight, x: x * weight, 128)):
        model = Calls(other)
        with torch.no_grad():
            watch(model, torch.ones(4, 4))
        assert (watch.profile(model).read, watch.profile(model).written) == (read, 64)


def test_a_cost_that_is_registered_between_two_calls_counts_from_then_on(
    scan: Any, empty_memo: None, watch: Any
) -> None:
    model = Calls(lambda weight, x, lengths: scan(x @ weight, lengths))
    operands = torch.ones(2, 4), torch.tensor([2, 2])
    with torch.no_grad():
        watch(model, *operands)
        (before, _), *_ = watch.profiles(model)
        register_cost("remembered::scan")(lambda x: Cost(macs=x.numel()))
        watch(model, *operands)
        *_, (after, _) = watch.profiles(model)
    assert (before.uncounted, before.macs) == ({"remembered::scan": 1}, 2 * 4 * 4)
    assert (after.uncounted, after.macs) == ({}, 2 * 4 * 4 + 8)


def test_a_cost_that_follows_from_values_is_worked_out_each_time(scan: Any, empty_memo: None, watch: Any) -> None:
    # As that of attention over sequences of several lengths, which stand in a tensor.
    register_cost("remembered::scan")(lambda lengths: Cost(macs=sum(numbers(lengths) or ())))
    model = Calls(lambda weight, x, lengths: scan(x, lengths))
    for lengths in ([1, 2], [3, 4]):
        watch(model, torch.ones(2, 4), torch.tensor(lengths))
    assert [profile.macs for profile, _ in watch.profiles(model)] == [3, 7]


def test_with_and_without_gradients_are_other_questions(empty_memo: None, watch: Any) -> None:
    # The fused layer returns a workspace for its backward pass, or nothing in its place.
    model = nn.LSTM(8, 16)
    for grad in (True, False, True):
        with torch.set_grad_enabled(grad):
            watch(model, torch.ones(5, 2, 8))
    assert {profile.macs for profile, _ in watch.profiles(model)} == {5 * 2 * 4 * 16 * (8 + 16)}


@pytest.mark.parametrize("product", [torch.sparse.mm, torch.matmul], ids=["sparse.mm", "matmul"])
def test_sparse_operands_are_looked_at_each_time(product: Any, empty_memo: None, watch: Any) -> None:
    def sparse(stored: int) -> Tensor:
        return (torch.arange(24).reshape(4, 6) < stored).float().to_sparse()

    model = Calls(lambda weight, x, y: product(x, y))
    with torch.no_grad():
        for stored in (3, 10, 20):
            watch(model, sparse(stored), torch.ones(6, 8))
        watch(model, torch.ones(1, 1).expand(4, 6).to_sparse().to_dense(), torch.ones(6, 8))
    assert [profile.macs for profile, _ in watch.profiles(model)] == [3 * 8, 10 * 8, 20 * 8, 4 * 6 * 8]
