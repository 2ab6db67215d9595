"""The arguments of an operator: which are tensors, which name a device, which it writes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_modelbudget.profiling.internals import OpOverload

META = torch.device("meta")
CPU = torch.device("cpu")


def tensors(args: Iterable[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensor operands; lists are at most one deep in an operator's schema."""
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, Tensor):
                    yield item


def replaced(
    args: tuple[Any, ...], kwargs: dict[str, Any], replace: Callable[[Tensor], Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with every tensor operand replaced."""

    def convert(value: Any) -> Any:
        if isinstance(value, Tensor):
            return replace(value)
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
            return [replace(item) if isinstance(item, Tensor) else item for item in value]
        return value

    return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()} if kwargs else kwargs


def as_meta(tensor: Tensor) -> Tensor:
    """A meta tensor of the same shape, strides and dtype, with a storage of its own."""
    if tensor.is_meta:
        return tensor
    if tensor.layout is not torch.strided:
        return tensor.to(META)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


class Traits(NamedTuple):
    """What an operator's declaration tells of its arguments.

    Attributes:
        device: position of the argument that names a device, or None where it is given by name only.
        takes_device: whether there is such an argument.
        writes: positions and names of the arguments that it writes.
        returned: for each returned value the position or name of the written argument that it is, or None.
        is_pure: whether it neither writes an argument nor declares to return a view of one.
        is_view: whether everything that it returns is a view of an argument, which it does not write.
        changes_shape: whether it changes the shape of an argument in place.
        needs_values: whether the shape or value of what it returns depends on its operands' values.
    """

    device: int | None
    takes_device: bool
    writes: tuple[tuple[int, str], ...]
    returned: tuple[tuple[int, str] | None, ...]
    is_pure: bool
    is_view: bool
    changes_shape: bool
    needs_values: bool


@cache
def traits(operator: OpOverload) -> Traits:
    """The traits of an operator; looked up once."""
    schema = operator._schema
    writes = []
    device = None
    takes_device = False
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            writes.append((position, argument.name, frozenset(argument.alias_info.before_set)))
        if argument.name == "device":
            takes_device = True
            device = None if argument.kwarg_only else position
    returned: list[tuple[int, str] | None] = []
    aliases = [value.alias_info for value in schema.returns]
    for alias in aliases:
        names = frozenset() if alias is None else frozenset(alias.before_set)
        returned.append(next(((position, name) for position, name, theirs in writes if theirs & names), None))
    return Traits(
        device=device,
        takes_device=takes_device,
        writes=tuple((position, name) for position, name, _ in writes),
        returned=tuple(returned),
        is_pure=not writes and all(alias is None for alias in aliases),
        is_view=not writes and bool(aliases) and all(alias is not None for alias in aliases),
        changes_shape=torch.Tag.inplace_view in operator.tags,
        needs_values=bool(
            {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.intersection(operator.tags)
        ),
    )


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: tuple[int, str]) -> Any:
    """An argument by its position or name, whichever way it was given; None if it was not."""
    position, name = place
    return args[position] if position < len(args) else kwargs.get(name)


def on_device(
    operator: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], device: torch.device, *, always: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the device that they name replaced; with `always`, named also where they name none."""
    told = traits(operator)
    if not told.takes_device:
        return args, kwargs
    position = told.device
    if position is not None and position < len(args):
        if args[position] is not None or always:
            args = (*args[:position], device, *args[position + 1 :])
    elif always or kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": device}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    return args, kwargs
