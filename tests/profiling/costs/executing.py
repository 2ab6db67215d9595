"""A short dispatch mode that adds up the costs of what is executed, and tensors that are only shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelbudget.profiling.costs import Cost, Kind, lookup


class Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.costs: list[Cost] = []
        self.unknown: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = lookup(func)
        if rule.kind is Kind.UNKNOWN:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
            self.unknown.append(str(func))
        output = func(*args, **kwargs)
        if rule.kind in (Kind.CONTRACTION, Kind.OTHER):
            self.costs.append(rule.cost(args, kwargs, output))
        return output


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def operator_named(name):
    """`aten.mm`; skips the test where this torch has no such operator."""
    operator = torch.ops
    for part in name.split("."):
        operator = getattr(operator, part, None)
        if operator is None:
            pytest.skip(f"this torch has no {name}")
    return operator
