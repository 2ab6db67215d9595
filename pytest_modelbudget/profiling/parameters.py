"""What a model holds: its distinct parameters and buffers, for each module of the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.packed import holds_packed, packed_in
from pytest_modelbudget.profiling.traffic import PLAIN, inner_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


Parts: TypeAlias = "list[tuple[str, nn.Module]]"
"""A model's modules by path, as `paths_of` finds them."""


class UninitializedModelError(ValueError):
    """The model holds parameters that get their shape in the first call, or was not built as modules are."""


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The distinct modules of a model, itself first: `modules()` takes five times as long."""
    found = {id(model): model}
    pending = [model]
    for module in pending:
        if children := getattr(module, "_modules", None):  # without `super().__init__()` there are none
            for child in children.values():
                if id(child) not in found and isinstance(child, torch.nn.Module):
                    found[id(child)] = child
                    pending.append(child)
    return pending


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the distinct modules of a model."""
    parts = modules_of(model)
    try:
        return [tensor for part in parts for tensor in part._parameters.values() if tensor is not None]
    except AttributeError:
        return [
            tensor for part in parts if _is_built(part) for tensor in part._parameters.values() if tensor is not None
        ]


def _is_built(module: nn.Module) -> bool:
    """Whether a module has what `nn.Module.__init__` gives it."""
    return all(hasattr(getattr(module, table, None), "values") for table in ("_parameters", "_buffers", "_modules"))


def check_built(model: nn.Module) -> None:
    """Raise UninitializedModelError where a part of a model is not built as modules are."""
    for part in modules_of(model):
        if not _is_built(part):
            raise UninitializedModelError(_NOT_BUILT.format(f"{type(part).__name__} has no tables of what it holds"))


_NOT_BUILT = (
    "it was not built as modules are ({}): call super().__init__() first in its __init__, and leave its tables of "
    "parameters, buffers and modules to torch"
)


class State(NamedTuple):
    """What one module holds, everything below it included.

    Attributes:
        params, trainable_params: elements; tied parameters once.
        size: bytes of the storages of parameters and buffers; shared storages once.
    """

    params: int
    trainable_params: int
    size: int


_make = tuple.__new__  # makes a named tuple in a third of the time


class _Held(NamedTuple):
    elements: int
    trainable: bool
    is_parameter: bool
    storages: tuple[_Storage, ...]


class _Storage(NamedTuple):
    key: object
    """The same for tensors that share it."""
    used: int
    """Bytes that the tensor shows of it, an expanded one more than there are."""
    size: int


def paths_of(model: nn.Module) -> Parts:
    """Every path by which a module can be reached, depth first: a shared module once for each of its names.

    `named_modules(remove_duplicate=False)` does not come back from a module that contains itself; this does.
    """
    found: Parts = []
    _walk("", model, found, set())
    return found


# No closure: one that calls itself is a cycle, which would keep the modules until the garbage collector comes by.
def _walk(path: str, module: nn.Module, found: Parts, ancestors: set[int]) -> None:
    if id(module) in ancestors:
        return
    found.append((path, module))
    if children := getattr(module, "_modules", None):
        ancestors.add(id(module))
        for name, child in children.items():
            if isinstance(child, torch.nn.Module):
                _walk(f"{path}.{name}" if path else name, child, found, ancestors)
        ancestors.discard(id(module))


def state_of(model: nn.Module) -> dict[str, State]:
    """The state of each module by its path; `""` is the model.

    Raises:
        UninitializedModelError: a lazy module has not seen its first input.
    """
    return states_and_bytes(paths_of(model))[0]


def states_and_bytes(parts: Parts) -> tuple[dict[str, State], tuple[int, int] | None]:
    """The same of a model by its `paths_of`, and the bytes of its parameters and of its buffers.

    Those are what tensors of the same shapes would take; None where one is not all of its storage.

    Raises:
        UninitializedModelError: a lazy module has not seen its first input, or tables hold something else than tensors.
    """
    try:
        try:
            plain = _of_plain_parts(parts)
        except NotImplementedError:  # a transform of `torch.func` has wrapped them
            plain = None
        return plain or (_states(parts), None)
    except AttributeError as error:
        raise UninitializedModelError(_NOT_BUILT.format(error)) from error


def _states(parts: Parts) -> dict[str, State]:
    held: dict[str, dict[object, _Held]] = {}
    for path, module in parts:
        own: dict[object, _Held] = {}
        for name, parameter in module._parameters.items():
            if parameter is not None:
                check_initialized(parameter, path, name)
                own[id(parameter)] = _held(parameter, is_parameter=True, trainable=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                check_initialized(buffer, path, name)
                own[id(buffer)] = _held(buffer, is_parameter=False)
        if holds_packed(module):
            own.update(_packed(module))
        held[path] = own
    return _united(held) if _is_anything_shared(held) else _added(held)


def _of_plain_parts(parts: Parts) -> tuple[dict[str, State], tuple[int, int] | None] | None:
    """For nearly all models: of plain tensors none of which shares anything with another. None for the rest."""
    sums: dict[str, list[int]] = {}
    storages: list[int] = []
    in_parameters = in_buffers = 0
    is_whole = True
    for path, module in parts:
        if holds_packed(module):
            return None
        elements = trainable = size = 0
        for tensor in module._parameters.values():
            if tensor is None:
                continue
            if type(tensor) not in PLAIN or tensor.layout is not torch.strided:
                return None
            count, storage = tensor.numel(), tensor.untyped_storage()
            storages.append(storage._cdata)
            used, held = tensor.nbytes, storage.nbytes()
            if used != held:
                used = min(used, held)
                is_whole = False
            size += used
            if tensor.dtype in _PAIRS:
                count *= 2
            elements += count
            if tensor.requires_grad:
                trainable += count
        in_parameters += size
        for buffer in module._buffers.values():
            if buffer is None:
                continue
            if type(buffer) not in PLAIN or buffer.layout is not torch.strided:
                return None
            storage = buffer.untyped_storage()
            storages.append(storage._cdata)
            used, held = buffer.nbytes, storage.nbytes()
            if used != held:
                used = min(used, held)
                is_whole = False
            size += used
            in_buffers += used
        sums[path] = [elements, trainable, size]
    if len(set(storages)) < len(storages):
        return None
    return _in_parents(sums), (in_parameters, in_buffers) if is_whole else None


def _packed(module: nn.Module) -> Iterator[tuple[object, _Held]]:
    for index, tensor in enumerate(packed_in(module)):
        key = id(module), index
        held = _held(tensor, is_parameter=True)
        # It is unpacked for this question alone, and the next one may come to lie in the same place.
        yield (
            key,
            held._replace(storages=tuple([storage._replace(key=(*key, storage.key)) for storage in held.storages])),
        )


def _is_anything_shared(held: dict[str, dict[object, _Held]]) -> bool:
    storages = [storage.key for tensors in held.values() for tensor in tensors.values() for storage in tensor.storages]
    return len(set(storages)) < len(storages)


def _united(held: dict[str, dict[object, _Held]]) -> dict[str, State]:
    """Each module with everything below it, what is shared once."""
    # Parents come before their children, so backwards each module is complete when its parent takes it in.
    for path in reversed(held):
        if path:
            held[path.rpartition(".")[0]].update(held[path])
    return {path: _sum(tensors) for path, tensors in held.items()}


def _added(held: dict[str, dict[object, _Held]]) -> dict[str, State]:
    """The same where nothing is shared: a module is the sum of itself and its children."""
    return _in_parents({path: [*_sum(tensors)] if tensors else [0, 0, 0] for path, tensors in held.items()})


def _in_parents(sums: dict[str, list[int]]) -> dict[str, State]:
    """Each module's own figures with those of the modules below it."""
    for path, (params, trainable, size) in reversed(sums.items()):
        if path and size:
            parent = sums[path.rpartition(".")[0]]
            parent[0] += params
            parent[1] += trainable
            parent[2] += size
    return {path: _make(State, figures) for path, figures in sums.items()}


def check_initialized(tensor: Tensor, path: str, name: str) -> None:
    """Raise UninitializedModelError if the parameter or buffer of that name belongs to a lazy module not yet called."""
    if isinstance(tensor, internals.UninitializedTensorMixin):
        name = f"{path}.{name}" if path else name
        raise UninitializedModelError(
            f"{name} has no shape yet: call the model once before it is measured, "
            "so that its lazy modules are initialised"
        )


def _held(tensor: Tensor, *, is_parameter: bool, trainable: bool = False) -> _Held:
    elements = tensor.numel() * (2 if tensor.dtype in _PAIRS else 1)
    if type(tensor) in PLAIN and tensor.layout is torch.strided:  # nearly all
        storage = internals.unwrapped(tensor).untyped_storage()
        stored: tuple[_Storage, ...] = (
            _Storage(storage._cdata, tensor.numel() * tensor.element_size(), storage.nbytes()),
        )
    else:
        stored = tuple(_storages(tensor))
    return _Held(elements, trainable, is_parameter, stored)


# Two numbers in one element are two parameters.
_PAIRS = {dtype for name, dtype in vars(torch).items() if isinstance(dtype, torch.dtype) and name.endswith("_x2")}


def _storages(tensor: Tensor) -> Iterator[_Storage]:
    """What a tensor is stored in: for subclasses that wrap tensors, and for sparse ones, that of their parts."""
    wrapped = inner_tensors(tensor)
    if wrapped:
        for part in wrapped:
            yield from _storages(part)
        return
    if tensor.layout is torch.sparse_coo:
        yield from _storages(tensor._indices())
        yield from _storages(tensor._values())
        return
    used = tensor.numel() * tensor.element_size()
    try:
        storage = tensor.untyped_storage()
    except NotImplementedError:  # opaque layouts, such as that of oneDNN
        yield _Storage(id(tensor), used, used)
        return
    yield _Storage(storage._cdata, used, storage.nbytes())


def _sum(tensors: dict[object, _Held]) -> State:
    parameters = [held for held in tensors.values() if held.is_parameter]
    # A view of a larger storage counts what it shows of it, an expanded tensor what is stored.
    used: dict[object, int] = {}
    for held in tensors.values():
        for storage in held.storages:
            used[storage.key] = min(used.get(storage.key, 0) + storage.used, storage.size)
    return State(
        params=sum(held.elements for held in parameters),
        trainable_params=sum(held.elements for held in parameters if held.trainable),
        size=sum(used.values()),
    )


def has_weights(model: nn.Module) -> bool:
    """Whether a real device could run the model: none of its parameters is on meta."""
    return not any(parameter.is_meta for parameter in model.parameters())
