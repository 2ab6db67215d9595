"""Abstract figures are those observed on a real CPU run, for architectures of every family; both memos are verified."""

from __future__ import annotations

import pytest
import torch

from pytest_modelbudget.profiling import recorder
from pytest_modelbudget.profiling.abstract import recall
from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.run import profile
from tests.profiling import zoo

FIGURES = ("macs", "flops", "activations", "uncounted", "params", "size")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small models spend their time waiting for threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def transformers(torchvision):
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def agree(specimen: zoo.Specimen) -> None:
    model, args, kwargs = specimen
    with torch.no_grad(), memo.verified(), recorder.memo.verified(), recall.memo.verified():
        expected = profile(model, args, kwargs, device="cpu")
        found = profile(model, args, kwargs)
    assert {name: getattr(found, name) for name in FIGURES} == {name: getattr(expected, name) for name in FIGURES}
    assert not found.uncounted
    assert found.macs
    for path, module in expected.modules.items():
        assert found.modules[path].macs == module.macs, path


@pytest.mark.parametrize("name", zoo.TIMM)
def test_timm(name, timm):
    agree(zoo.from_timm(timm, name))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", zoo.TRANSFORMERS)
def test_transformers(name, transformers):
    agree(zoo.from_transformers(transformers, name))


@pytest.mark.parametrize("name", zoo.OWN)
def test_others(name):
    agree(zoo.own(name))
