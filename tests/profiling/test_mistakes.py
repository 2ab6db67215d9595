"""Calls that fail because of what they were given say what to give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_modelbudget import profile
from pytest_modelbudget.profiling.abstract import DataDependentError
from pytest_modelbudget.profiling.mistakes import integers_meant, operator_without_fake


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 3, 8, 8), None),
        (torch.Size([1, 3, 8, 8]), None),
        ([(1, 3, 8, 8)], None),
        ((), {"input": (1, 3, 8, 8)}),
    ],
)
def test_a_shape_in_place_of_a_tensor_is_called_one(args: object, kwargs: dict[str, object] | None) -> None:
    with pytest.raises(
        TypeError, match=r"takes tensors, and \(1, 3, 8, 8\) is a shape: write torch\.empty\(1, 3, 8, 8\)"
    ):
        profile(nn.Conv2d(3, 4, 3), args, kwargs)


def test_named_arguments_in_a_bare_dict_are_told_where_to_go() -> None:
    with pytest.raises(TypeError, match=r"named arguments go into kwargs=\{\.\.\.\}"):
        profile(nn.Linear(4, 2), {"input": torch.ones(1, 4)})


def test_a_second_positional_argument_is_told_where_to_go() -> None:
    with pytest.raises(TypeError, match=r"several positional arguments go into a tuple, profile\(model, \(x, y\)\)"):
        profile(nn.Bilinear(4, 4, 2), torch.ones(1, 4), torch.ones(1, 4))  # type: ignore[arg-type]


class Resize(nn.Module):
    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        raise ValueError(f"cannot make it {size}")


def test_numbers_beside_a_tensor_are_no_mistake() -> None:
    with pytest.raises(ValueError, match="cannot make it"):
        profile(Resize(), (torch.ones(1, 3, 8, 8), (4, 4)))


def test_a_model_that_takes_numbers_may_have_them() -> None:
    class Positions(nn.Linear):
        def forward(self, *sizes: int) -> torch.Tensor:
            return super().forward(torch.ones(sizes))

    assert profile(Positions(4, 2), (3, 4)).macs == 24


@pytest.mark.parametrize(
    ("said", "operator"),
    [
        ("There was no fake impl registered for <CustomOpDef(mylib::scan)>. This is necessary", "mylib::scan"),
        ("Could not run 'mylib::scan' with arguments from the 'Meta' backend.", "mylib::scan"),
        ("mylib::scan: attempted to run this operator with Meta tensors, but there was no", "mylib::scan"),
        ("Could not run 'aten::of_torch' with arguments from the 'Meta' backend.", ""),
        ("something else", ""),
    ],
)
def test_an_operator_that_says_nothing_of_its_result_is_known_by_its_name(said: str, operator: str) -> None:
    assert operator_without_fake(RuntimeError(said)) == operator


@pytest.mark.parametrize("table", ["embedding", "index"])
def test_floats_in_place_of_token_numbers_are_found_in_the_error_of_this_torch(table: str) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.embedding(ids) if table == "embedding" else self.embedding.weight[ids]

    floats = torch.ones(1, 128)
    for device in ("meta", "cpu"):
        with pytest.raises((RuntimeError, IndexError)) as raised:
            profile(Tokens(), floats, device=device)
        assert integers_meant(raised.value, (floats,), {}) == "1,128:int64"
    assert integers_meant(raised.value, (torch.zeros(1, 128, dtype=torch.int64),), {}) == ""


class Choosy(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


def test_a_model_without_weights_is_not_sent_to_a_real_device() -> None:
    with pytest.raises(DataDependentError, match='measure this model on a real device, with device="cpu"'):
        profile(Choosy(4, 4), torch.ones(1, 4))
    with pytest.raises(DataDependentError, match="its weights are on meta, too, so build it on a real device"):
        profile(Choosy(4, 4, device="meta"), torch.ones(1, 4))
