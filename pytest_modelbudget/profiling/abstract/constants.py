"""What stays real in an abstract run: small tensors that depend on no weight and no floating input."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_modelbudget.profiling.abstract.protection import SMALL
from pytest_modelbudget.profiling.operands import CPU, META, as_meta, on_device, replaced, tensors, traits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_modelbudget.profiling.internals import OpOverload

    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]

# Look at an operand's shape only, so that their result is as constant as if it had none.
_OF_SHAPE = frozenset(
    {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"}
    | {"new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"}
)
# Made to be written: where autograd records, abstract data in a CPU tensor would get a gradient from meta.
_TO_BE_WRITTEN = frozenset({"zeros", "ones", "full", "empty", "empty_strided"}) | _OF_SHAPE
# Take a real tensor to the shape or dtype of an abstract one: the result is still real.
_AFTER_ANOTHER = frozenset({"expand_as", "view_as", "reshape_as", "type_as", "to.other", "broadcast_tensors"})
# C++ kernels that read the data of integer operands.
_READERS = frozenset(
    {"lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data", "_pack_padded_sequence", "_pad_packed_sequence"}
    | {"tensor_split.tensor_indices_or_sections", "ctc_loss.Tensor", "_ctc_loss.Tensor"}
)


@cache
def _in(operator: OpOverload, names: frozenset[str]) -> bool:
    if operator.namespace != "aten":
        return False
    packet = operator._schema.name.removeprefix("aten::")
    return packet in names or f"{packet}.{operator._overloadname}" in names


def keeps_real_floats(operator: OpOverload) -> bool:
    """Whether a composite operator's real floating operands may stay beside abstract ones."""
    return _in(operator, _AFTER_ANOTHER)


def reads_values(operator: OpOverload) -> bool:
    """Whether the kernel reads the data of integer operands: they stay real, and the result is not remembered."""
    return _in(operator, _READERS)


@cache
def returns_tensors(operator: OpOverload) -> bool:
    """Whether anything that the operator returns is a tensor."""
    return any("Tensor" in str(value.type) for value in operator._schema.returns)


@cache
def makes_tensors(operator: OpOverload) -> bool:
    """Whether the operator makes tensors out of nothing."""
    return not _takes_tensors(operator) and returns_tensors(operator)


@cache
def _is_of_shape(operator: OpOverload) -> bool:
    return _in(operator, _OF_SHAPE)


@cache
def _takes_tensors(operator: OpOverload) -> bool:
    return any("Tensor" in str(argument.type) for argument in operator._schema.arguments)


def makes_constant(
    operator: OpOverload, args: Args, kwargs: Kwargs, *, floats_abstract: bool, everywhere: bool = False
) -> bool:
    """Whether the operator makes a small tensor out of nothing, which is then made for real.

    With `floats_abstract`, floating tensors are not where the model asks for them beside abstract ones: autograd and
    C++ kernels expect gradients and operands on one device. With `everywhere`, they are nowhere.
    """
    is_of_shape = _is_of_shape(operator)
    if not is_of_shape and not makes_tensors(operator):
        return False
    positional, named = on_device(operator, args, kwargs, META, always=True)
    made = operator(*positional, **{name: None if name == "generator" else value for name, value in named.items()})
    if not isinstance(made, Tensor) or made.numel() > SMALL:
        return False
    if floats_abstract and (made.is_floating_point() or made.is_complex()):
        if everywhere:
            return False
        asked = _device(operator, args, kwargs) or (args[0].device if is_of_shape else CPU)
        return asked.type != "meta" and not _in(operator, _TO_BE_WRITTEN)
    return True


@cache
def computation(operator: OpOverload) -> Callable[[Args, Kwargs | None], Any]:
    """Runs the operator for real, on the CPU, whatever device the model asked for."""
    always = _is_of_shape(operator) or makes_tensors(operator)
    is_empty = operator._schema.name.removeprefix("aten::").startswith(("empty", "new_empty"))
    takes_device = traits(operator).takes_device

    def run(args: Args, kwargs: Kwargs | None) -> Any:
        kwargs = kwargs or {}
        if takes_device:
            args, kwargs = on_device(operator, args, kwargs, CPU, always=always)
        output = operator(*args, **kwargs)
        # Garbage would decide differently each time.
        return output.zero_() if is_empty else output

    return run


def gathered(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    """Real operands of several devices, all on the CPU: constants are made there, a model's own may be elsewhere."""
    if len({tensor.device.type for tensor in tensors(args, kwargs)}) < 2:
        return args, kwargs
    return replaced(args, kwargs, Tensor.cpu)


def is_large(operator: OpOverload, args: Args, kwargs: Kwargs) -> bool:
    """Whether computing real operands would make something large, as comparing all positions of a long text with all.

    Views make nothing, and what has small operands only grows by broadcasting or repeating.
    """
    told = traits(operator)
    if told.is_view or told.writes or told.needs_values:
        return False
    product = 1
    for tensor in tensors(args, kwargs):
        product *= max(1, tensor.numel())
    if product <= SMALL and "repeat" not in operator._schema.name:
        return False
    args, kwargs = replaced(*on_device(operator, args, kwargs, META), as_meta)
    try:
        made = operator(*args, **kwargs)
    except (NotImplementedError, RuntimeError):
        return False
    return any(tensor.numel() > SMALL for tensor in tensors((made,), {}))


def on_zeros(operator: OpOverload, args: Args, kwargs: Kwargs) -> Any:
    """The result's shape, learned from a run on zeros, of an operator without meta kernel; else NotImplemented."""
    told = traits(operator)
    operands = list(tensors(args, kwargs))
    if told.needs_values or told.writes or any(tensor.numel() > SMALL for tensor in operands):
        return NotImplemented
    args, kwargs = replaced(*on_device(operator, args, kwargs, CPU), _zeros)
    try:
        made = operator(*args, **kwargs)
    except (NotImplementedError, RuntimeError):
        return NotImplemented
    if isinstance(made, Tensor):
        return _meta(made)
    if isinstance(made, (tuple, list)):
        return type(made)(_meta(item) if isinstance(item, Tensor) else item for item in made)
    return NotImplemented


def _zeros(tensor: Tensor) -> Tensor:
    if not tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CPU).zero_()


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def _device(operator: OpOverload, args: Args, kwargs: Kwargs) -> torch.device | None:
    position = traits(operator).device
    if position is not None and position < len(args):
        asked: torch.device | None = args[position]
        return asked
    return kwargs.get("device")
