"""Literals written on the device of an abstract tensor, `torch.tensor([[2, 3]], device=x.device)`.

On meta PyTorch drops their values before any dispatch mode sees them. Only a function mode comes early enough, and that
makes every `tensor.shape` ten times as slow; so a run goes without, and is repeated with it where a value was missing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_modelbudget.profiling.operands import CPU

_LITERALS = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor})


class RealLiterals(TorchFunctionMode):
    """Literals are made on the CPU, where they are constants like any other."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, **kwargs, "device": CPU}
            return torch.tensor(*args[1:], **kwargs)
        if func in _LITERALS and args and not isinstance(args[0], torch.Tensor):
            device = kwargs.get("device")
            if device is not None and torch.device(device).type == "meta":
                kwargs = {**kwargs, "device": CPU}
        return func(*args, **kwargs)
