"""What an operator moves and makes: the bytes that it reads and writes, each tensor once, nothing fused.

Views move nothing. An expanded tensor counts what it stores. Of a table that is gathered from, what is returned
counts; of a tensor that is scattered into, what is put there. torchstat's MemRead and MemWrite are the same figures for
the layers that it knows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pytest_modelbudget.profiling.costs.elementwise import is_masked_fill
from pytest_modelbudget.profiling.packed import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Traffic(NamedTuple):
    """Bytes read and written."""

    read: int
    written: int


NO_TRAFFIC = Traffic(0, 0)

# Take memory and leave it as it is.
_ALLOCATE = frozenset(
    {
        "aten::empty",
        "aten::empty_like",
        "aten::empty_strided",
        "aten::empty_permuted",
        "aten::new_empty",
        "aten::new_empty_strided",
        "aten::resize_",
        "aten::resize_as_",
        "aten::set_",
        "aten::_resize_output_",
    }
)
# Write an operand without reading it.
_OVERWRITE = frozenset(
    {
        "aten::copy_",
        "aten::fill_",
        "aten::zero_",
        "aten::uniform_",
        "aten::normal_",
        "aten::bernoulli_",
        "aten::random_",
        "aten::exponential_",
        "aten::cauchy_",
        "aten::log_normal_",
        "aten::geometric_",
        "aten::_foreach_copy_",
        "aten::_foreach_zero_",
    }
)
# Read as much of their first tensor as they return.
_GATHER = frozenset(
    {
        "aten::index",
        "aten::_unsafe_index",
        "aten::index_select",
        "aten::gather",
        "aten::take",
        "aten::embedding",
        "aten::masked_select",
        "aten::_embedding_bag",
        "aten::_embedding_bag_forward_only",
    }
)
# Their arguments are a table, indices, values and whether to add them.
_PUT = frozenset({"aten::index_put_", "aten::_index_put_impl_"})
# Write as much of their first tensor as they are given to put there.
_SCATTER = _PUT | frozenset(
    {
        "aten::index_copy_",
        "aten::index_fill_",
        "aten::scatter_",
        "aten::put_",
        "aten::masked_scatter_",
    }
)


# Gets what no operator made: `torch.tensor([1, 2])`.
_BRING_IN = frozenset({"aten::lift_fresh"})


class Effects(NamedTuple):
    """What a call of an operator did to memory.

    Attributes:
        traffic: what it moved.
        made: those of its outputs that are no views of its operands, and literals.
    """

    traffic: Traffic
    made: tuple[Tensor, ...]


class _Plan(NamedTuple):
    """What the schema and the tables say about an operator, looked up once."""

    is_view: bool
    brings_in: bool
    allocates: bool
    written: frozenset[str | int]
    overwrites: bool
    gathers: bool
    scatters: bool
    puts: bool


_NO_EFFECTS = Effects(NO_TRAFFIC, ())
_plans: dict[Any, _Plan] = {}


def total_traffic(traffics: Iterable[Traffic]) -> Traffic:
    """The traffic of several operators together."""
    reads, writes = zip(*traffics, strict=True)
    return Traffic(sum(reads), sum(writes))


def effects_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Effects:
    """What a call of an operator moved and made."""
    plan = _plans.get(func)
    if plan is None:
        plan = _plans[func] = _plan(func)
    if plan.brings_in:
        return Effects(NO_TRAFFIC, (output,))
    if plan.is_view:
        return _NO_EFFECTS
    operands: dict[int, Tensor] = {}
    written: set[int] = set()
    for place, value in (*enumerate(args), *kwargs.items()):
        for tensor in _tensors(value):
            operands[id(tensor)] = tensor
            if place in plan.written:
                written.add(id(tensor))
    storages = {_storage(tensor) for tensor in operands.values()}
    outputs = tuple(_tensors(output))
    made = tuple(tensor for tensor in outputs if _storage(tensor) not in storages)
    if plan.allocates:
        return Effects(NO_TRAFFIC, made)
    if outputs and not made and not written:
        return _NO_EFFECTS  # a view, also where the schema does not say so
    made_bytes = sum(map(stored_bytes, made))
    sizes = {number: stored_bytes(tensor) for number, tensor in operands.items()}
    reads = {number: size for number, size in sizes.items() if not (plan.overwrites and number in written)}
    first, *others = operands or (0,)
    if plan.gathers:
        reads[first] = made_bytes
    if plan.scatters and len(others) > 1 and not (plan.puts and is_masked_fill(*args[1:4])):  # table, places, values
        del reads[first]
        sizes[first] = sizes[others[-1]]
    return Effects(Traffic(sum(reads.values()), sum(sizes[number] for number in written) + made_bytes), made)


def stored_bytes(tensor: Tensor) -> int:
    """The bytes that a tensor's elements take: those of its storage where the tensor is expanded."""
    if tensor.layout is not torch.strided:
        return sum(map(stored_bytes, _parts(tensor)))
    if tensor.is_nested:
        return int(tensor._nested_tensor_size().prod(1).sum()) * tensor.element_size()
    strides = tensor.stride()
    if 0 in strides:  # told by shape and strides alone, so that it is the same wherever the tensor is a part of more
        elements = math.prod(size for size, stride in zip(tensor.shape, strides, strict=True) if stride)
        return elements * tensor.element_size() if tensor.numel() else 0
    return tensor.numel() * tensor.element_size()


def inner_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensors that a tensor of a subclass wraps; none where it is a plain one."""
    if type(tensor) in PLAIN or not hasattr(tensor, "__tensor_flatten__"):
        return []
    names, _ = tensor.__tensor_flatten__()
    parts = (getattr(tensor, name) for name in names)
    return [part for part in parts if isinstance(part, Tensor)]  # a DTensor also names its mesh


PLAIN = frozenset({Tensor, torch.nn.Parameter, torch.nn.Buffer})
"""Classes of tensors that wrap no others."""


def _plan(func: Any) -> _Plan:
    schema = getattr(func, "_schema", None)
    if schema is None or func.namespace in ("prim", "profiler"):
        return _Plan(True, False, False, frozenset(), False, False, False, False)
    written: set[str | int] = set()
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            written |= {argument.name, position}
    name = schema.name
    out = any(argument.is_out for argument in schema.arguments)
    return _Plan(
        is_view=func.is_view or torch.Tag.inplace_view in func.tags,  # `transpose_`, `detach_`
        brings_in=name in _BRING_IN,
        allocates=name in _ALLOCATE,
        written=frozenset(written),
        overwrites=name in _OVERWRITE or out,
        gathers=name in _GATHER,
        scatters=name in _SCATTER,
        puts=name in _PUT,
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, torch.ScriptObject):
        yield from unpacked(value)


def _storage(tensor: Tensor) -> int:
    """Who shares it: the storage, or the tensor itself where its layout has none."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return ()  # opaque
