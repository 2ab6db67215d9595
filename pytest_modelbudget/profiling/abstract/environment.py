"""The state of the process around a run: random numbers, garbage collection, warnings, defaults."""

from __future__ import annotations

import gc
import random
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling import internals

if TYPE_CHECKING:
    from collections.abc import Iterator

one_at_a_time = threading.RLock()
"""Held by whoever runs a model: twins and random numbers are there for one run only."""
_SEED = 0


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block in which a model runs for nobody's sight but ours: the same numbers each time, and no trace of it."""
    with one_at_a_time, ExitStack() as stack:
        stack.enter_context(_same_random_numbers())
        stack.enter_context(without_garbage_collection())
        stack.enter_context(same_defaults())
        stack.enter_context(_without_autocast())
        torch.set_num_threads(1)  # constants are small: on a busy machine, starting threads takes longer than they save
        # Whatever a model has to say of its arguments, it says when the user calls it.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Seeded in the block, so that `if torch.rand(1) < p` decides alike each time, and as before after it."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    torch_state = torch.default_generator.get_state()
    try:
        # Not torch.manual_seed(): it seeds every device, now or when it is first used.
        torch.default_generator.manual_seed(_SEED)
        random.seed(_SEED)
        if numpy is not None:
            numpy.random.seed(_SEED)
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Cycles would be freed at the whim of the collector, and a full collection takes longer than most runs."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def same_defaults() -> Iterator[None]:
    """What a model may set for the whole process is afterwards as it was before."""
    dtype, grad, device = torch.get_default_dtype(), torch.is_grad_enabled(), _default_device()
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if _default_device() != device:
            if device == _UNLESS_SET:
                internals.unset_default_device()
            else:
                torch.set_default_device(device)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


_UNLESS_SET = torch.device("cpu")


def _default_device() -> torch.device:
    # torch.get_default_device() of torch 2.6 raises after torch.set_default_device(None).
    return torch.empty(0).device


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Autocast would change constants on the CPU, and leave all else as it is."""
    casting = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    for device in casting:
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        for device in casting:
            torch.set_autocast_enabled(device, True)
