"""Costs of what is executed, and of operators that cannot be executed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from executing import Counter

from pytest_modelbudget.profiling.costs import Cost, lookup, total

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def measure() -> Callable[[Callable[[], object]], Cost]:
    """The cost of everything that a function executes; an operator of unknown cost is a failure."""

    def measure(function: Callable[[], object]) -> Cost:
        with Counter() as counter:
            function()
        assert counter.unknown == []
        return total(counter.costs)

    return measure


@pytest.fixture
def cost_of() -> Callable[..., Cost]:
    """The cost of an operator that is not executed, from its arguments: for kernels of other devices."""

    def cost_of(op: Any, *args: object, output: object = None, **kwargs: object) -> Cost:
        return lookup(op).cost(args, kwargs, output)

    return cost_of


@pytest.fixture
def define() -> Any:
    """Declare an operator of a package that is not installed, for the time of a test."""
    libraries = []

    def define(namespace: str, name: str, signature: str) -> Any:
        packet = getattr(getattr(torch.ops, namespace), name, None)
        if packet is None:
            library = torch.library.Library(namespace, "FRAGMENT")
            libraries.append(library)
            library.define(f"{name}{signature}")
            packet = getattr(getattr(torch.ops, namespace), name)
        return packet.default

    yield define
    for library in libraries:
        library._destroy()
