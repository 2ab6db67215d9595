"""The tensors that objects of TorchScript hold: packed for quantized kernels, or constants of a frozen graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pytest_modelbudget.profiling import internals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


def holds_packed(module: nn.Module) -> bool:
    """Whether a module itself may hold such objects."""
    return not _PACKED.isdisjoint(map(type, module.__dict__.values()))


_PACKED = frozenset({torch.ScriptObject, torch.ScriptModule})


def packed_in(module: nn.Module) -> Iterator[Tensor]:
    """The packed tensors of one module, which are no `parameters()`; each storage of an object once."""
    if isinstance(module, torch.jit.ScriptModule) and not hasattr(module, "training"):
        # Frozen: its parameters are constants of its graph, as are its buffers.
        constants = internals.constants_of(module)
        yield from (tensor for tensor in constants if tensor.is_floating_point() or tensor.is_complex())
    for value in vars(module).values():
        if type(value) is torch.ScriptObject:
            # Cells hold their biases themselves and in what they pack.
            yield from {tensor.untyped_storage()._cdata: tensor for tensor in unpacked(value)}.values()


def unpacked(packed: torch.ScriptObject) -> list[Tensor]:
    """The weights and biases that modules of `torch.ao` pack for quantized kernels. To unpack them is nobody's work."""
    tensors: list[Tensor] = []
    with internals.without_dispatch_modes():
        pending: list[object] = [packed]
        while pending:
            value = pending.pop(0)
            if isinstance(value, torch.ScriptObject):
                pending += _content(value)
            elif isinstance(value, torch.Tensor):
                tensors.append(value)
            elif isinstance(value, (tuple, list)):
                pending += value
    return tensors


def _content(packed: torch.ScriptObject) -> list[object]:
    kind = packed._type().qualified_name()
    if kind.startswith("__torch__.torch.classes.rnn."):
        return [packed.__getstate__()]  # type: ignore[attr-defined]
    if kind.startswith("__torch__.torch.classes.") and hasattr(packed, "unpack"):
        return [packed.unpack()]
    return []  # scripted modules are objects of TorchScript, too
