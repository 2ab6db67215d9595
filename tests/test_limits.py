"""What may be written about a limit, wherever it is written."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pytest_modelbudget.budget import Source, TensorSpec
from pytest_modelbudget.dtypes import DTYPES, USUAL, unknown_dtype
from pytest_modelbudget.limits import KEYWORDS, LimitError, limits_of, near, parse_inputs
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.settings import Settings

SOURCE = Source("here", "test_it.py:1", direct=True)


def test_every_dtype_of_torch_may_be_written():
    torch = pytest.importorskip("torch")
    names = {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
    assert not [name for name in names if unknown_dtype(name)]
    assert names <= DTYPES, "add these, so that they are known before torch is imported"
    assert set(USUAL) <= names


def test_several_limits_share_their_keywords():
    params, flops = limits_of({"params": "1M", "flops": "2 GMACs"}, Settings(), SOURCE, model="net", level="warn")
    assert (params.metric, params.value, params.written) == (METRICS["params"], 10**6, "1M")
    assert (flops.metric, flops.value, flops.written) == (METRICS["flops"], 4 * 10**9, "2 GMACs")
    assert (params.model, params.level, params.source) == (flops.model, flops.level, flops.source)


def test_a_number_is_shown_as_it_was_written():
    (limit,) = limits_of({"params": 1_000_000}, Settings(), SOURCE)
    assert (limit.value, limit.written) == (Fraction(10**6), "1000000")


def test_none_is_no_value():
    (limit,) = limits_of({"params": None}, Settings(), SOURCE)
    assert limit.value is None


def test_limits_that_differ_in_a_part_of_the_key_are_no_rivals():
    variants = [{}, {"model": "a"}, {"module": "a"}, {"per": "sample"}, {"level": "warn"}]
    keys = {limits_of({"flops": 1}, Settings(), SOURCE, **variant)[0].key for variant in variants}
    assert len(keys) == len(variants)
    same = [{"device": "cpu"}, {"uncounted": "warn"}, {"message": "a"}, {"inputs": (1,)}]
    assert {limits_of({"flops": 1}, Settings(), SOURCE, **variant)[0].key for variant in same} <= keys


def test_a_torch_device_is_a_device():
    torch = pytest.importorskip("torch")
    (limit,) = limits_of({"flops": 1}, Settings(), SOURCE, device=torch.device("cuda:1"))
    assert limit.device == "cuda:1"


def test_near_names():
    assert near("flop", METRICS) == "; did you mean 'flops'?"
    assert near("modle", KEYWORDS) == "; did you mean 'module'?"
    assert near("zebra", METRICS) == ""


def make_inputs(model): ...


@pytest.mark.parametrize(
    ("inputs", "plain"),
    [
        ("batch", "batch"),
        ((1, 3, 224, 224), (TensorSpec((1, 3, 224, 224)),)),
        ([1, 3], (TensorSpec((1, 3)),)),  # TOML has no tuples
        ([(1, 3)], (TensorSpec((1, 3)),)),
        ([(1, 3), "1,128:int64"], (TensorSpec((1, 3)), TensorSpec((1, 128), "int64"))),
        ([[1, 3], [2]], (TensorSpec((1, 3)), TensorSpec((2,)))),
        (["1, 128 : torch.int64"], (TensorSpec((1, 128), "int64"),)),
        ([":bool"], (TensorSpec((), "bool"),)),
        ([()], (TensorSpec(()),)),
        ({"ids": "1,128:int64", "x": (1, 3)}, {"ids": TensorSpec((1, 128), "int64"), "x": TensorSpec((1, 3))}),
        (make_inputs, make_inputs),
    ],
)
def test_inputs_become_plain_data(inputs, plain):
    assert parse_inputs(inputs) == plain


@pytest.mark.parametrize(
    "inputs",
    [
        *(3, 1.5, [], {}, (), {1, 2}),
        *("1,128", ""),
        *([3.5], [None], [(1, -1)], [(1, True)], (1, -1)),
        *(["1,x"], ["1,128:"], ["1,,2"], ["1:a:b"]),
    ],
)
def test_inputs_that_make_no_sense(inputs):
    with pytest.raises(LimitError, match="inputs"):
        parse_inputs(inputs)
