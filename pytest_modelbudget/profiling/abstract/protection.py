"""Keeps a run off the model: meta twins stand in for its tensors, and everything it holds is put back afterwards."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from itertools import filterfalse
from operator import is_, itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from pytest_modelbudget.profiling import internals
from pytest_modelbudget.profiling.operands import CPU, META
from pytest_modelbudget.profiling.parameters import UninitializedModelError, paths_of
from pytest_modelbudget.profiling.storages import holder_of, storages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SMALL = 1 << 20
"""Elements up to which constants are worth having for real: they may steer the model, and take no time to compute."""

_empty_strided = torch.empty_strided
_DICTS = (dict, OrderedDict, defaultdict)
_CONTAINERS = frozenset({*_DICTS, list, set})
_PLAIN = frozenset({Tensor, Parameter})
_STRIDED = torch.strided
_LEAVES = frozenset(
    {int, float, bool, str, bytes, type(None), type, torch.Size, torch.dtype, torch.device, ModuleType}
    | {FunctionType, BuiltinFunctionType, MethodType, complex, range, slice, frozenset}
)


class Protection:
    """A context in which models run on twins.

    A twin has shape, strides, dtype and `requires_grad` of its original, and no data. Nothing is converted in place:
    `weight.data = weight.data / norm` then changes the twin, and gradients arrive there. Integers and single values,
    which may steer the model, are copied instead.

    Args:
        models: what will be called.
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        self._models = tuple(models)
        self._twins: dict[int, Tensor] = {}
        self._seen: dict[int, Any] = {}  # holds what it has seen, so that no id comes twice
        self._filled: list[tuple[Any, Any]] = []
        self._empty: list[Any] = []
        self._families: dict[type, type | None] = {}
        self._attributes: list[tuple[Any, type, dict[str, Any]]] = []
        self._reached = 0
        """How many modules the models hold, wherever."""
        self._registered = {*map(id, self._models)}
        """Those that are parts of others."""
        self._holds_without_data = False
        """Whether there are tensors on meta in plain attributes."""
        self._own_copies: set[int] | None = None
        self._own: set[int] | None = None
        self._plans: dict[tuple[type, ...], _Plan] = {}
        """By the classes of a module's attributes: where to look for what it holds."""

    def __enter__(self) -> Protection:
        """Note what the models hold, then put the twins in."""
        try:
            tables: list[Any] = []
            self._note(self._models, tables)
            self._put_in_twins(tables)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Put everything back."""
        for owner, kind, attributes in self._attributes:
            if type(owner) is not kind:
                owner.__class__ = kind
            now = owner.__dict__
            if len(now) != len(attributes) or not all(map(is_, now.values(), attributes.values())):
                now.clear()
                now.update(attributes)
        for container, content in self._filled:
            if isinstance(content, dict):
                _refill_table(container, content)
            elif isinstance(container, list):
                container[:] = content
            else:
                container.clear()
                _refill(container, content)
        if any(self._empty):
            for container in self._empty:
                container.clear()
        # The twins end here: whoever holds one now has kept it from outside.
        self._twins.clear()
        self._families.clear()
        self._seen.clear()
        self._attributes.clear()
        self._filled.clear()
        self._empty.clear()

    def _put_in_twins(self, tables: Iterable[Any]) -> None:
        twins = self._twins  # the copies of the tables hold the originals
        for table in tables:
            entries: Iterable[tuple[Any, Any]] = enumerate(table) if type(table) is list else table.items()
            for key, tensor in entries:
                kind = type(tensor)
                if kind is NoneType:
                    continue
                twin = twins.get(id(tensor))
                if twin is None:
                    if kind is Parameter and tensor.layout is _STRIDED and not tensor.__dict__:  # nearly all
                        twin = _empty_strided(
                            tensor.shape,
                            tensor.stride(),
                            dtype=tensor.dtype,
                            device=META,
                            requires_grad=tensor.requires_grad,
                        )
                        twin.__class__ = Parameter
                    elif isinstance(tensor, Tensor):
                        twin = _twin(tensor)
                    else:
                        continue
                    twins[id(tensor)] = twin
                table[key] = twin

    def twin(self, tensor: Tensor) -> Tensor:
        """The twin of a tensor; tied tensors have the same one."""
        twin = self._twins.get(id(tensor))
        if twin is None:
            twin = self._twins[id(tensor)] = _twin(tensor)
            self._seen[id(tensor)] = tensor
        return twin

    @property
    def has_foreign(self) -> bool:
        """Whether what the models hold has tensors without data that are none of their parameters and buffers."""
        return self._holds_without_data or self._holds_foreign_modules

    @property
    def _holds_foreign_modules(self) -> bool:
        return self._reached > len(self._registered - {id(None)})

    def is_foreign(self, tensor: Tensor) -> bool:
        """Whether a tensor is no parameter or buffer of the models: neither a twin nor an original."""
        if self._own_copies is None:
            copies = () if self._holds_foreign_modules else self._twins.values()
            self._own_copies = storages_of(twin for twin in copies if not twin.is_meta)
        key = holder_of(tensor)[0]
        if key in self._own_copies:  # nearly always: constants that steer the model
            return False
        if self._own is None:
            parts = [part for model in self._models for _, part in paths_of(model)]
            tables = {id(table) for part in parts for table in (part._parameters, part._buffers)}
            originals = (content for table, content in self._filled if id(table) in tables)
            twins = (table for part in parts for table in (part._parameters, part._buffers))
            self._own = storages_of(
                tensor for table in (*originals, *twins) for tensor in table.values() if tensor is not None
            )
        return key not in self._own

    # -- what a model holds -------------------------------------------------------------------------------------

    def _note(self, values: Iterable[Any], tables: list[Any]) -> None:
        """Note values and whatever can be reached from them, however deep; collect the tables that tensors stand in."""
        pending = [*values]
        while pending:
            value = pending.pop()
            kind = type(value)
            if kind in _LEAVES or id(value) in self._seen:
                continue
            try:
                family = self._families[kind]
            except KeyError:
                family = self._families[kind] = _family(kind)
            if family is None:
                self._holds_without_data |= isinstance(value, Tensor) and value.is_meta
                continue
            self._seen[id(value)] = value
            if family is nn.Module:
                self._note_module(value, tables, pending)
            elif family is torch.jit.ScriptModule:
                self._note_script(value, tables)
            elif family is list:
                self._note_container(value, tables, pending)
            elif family is tuple:
                pending += value
            else:
                attributes = getattr(value, "__dict__", None)
                if type(attributes) is dict:
                    self._attributes.append((value, kind, attributes.copy()))
                    pending += attributes.values()

    def _note_module(self, module: nn.Module, tables: list[Any], pending: list[Any]) -> None:
        attributes = module.__dict__
        self._attributes.append((module, type(module), attributes.copy()))
        self._reached += 1
        if children := attributes.get("_modules"):
            self._registered.update(map(id, children.values()))
        values = (*attributes.values(),)
        kinds = (*map(type, values),)
        plan = self._plans.get(kinds)
        if plan is None:
            plan = self._plans[kinds] = _plan(kinds)
        containers, others = plan
        held = containers(values)
        self._empty += filterfalse(None, held)  # most of a module's attributes are empty tables of hooks
        parameters: Any = attributes.get("_parameters")
        buffers: Any = attributes.get("_buffers")
        for container in filter(None, held):
            if container is parameters or container is buffers:
                self._seen[id(container)] = container
                self._filled.append((container, container.copy()))
                tables.append(container)
            else:
                pending.append(container)
        for position in others:
            value = values[position]
            if type(value) is not tuple or not _LEAVES.issuperset(map(type, value)):
                pending.append(value)

    def _note_script(self, script: torch.jit.ScriptModule, tables: list[Any]) -> None:
        """Its parts hold their tensors in C++, behind tables whose entries can be replaced but not removed."""
        self._reached += 1
        for module in script.modules():
            self._seen[id(module)] = module
            for table in (module._parameters, module._buffers):
                self._filled.append((table, dict(table.items())))
                tables.append(table)

    def _note_container(self, container: Any, tables: list[Any], pending: list[Any]) -> None:
        if not container:
            self._empty.append(container)
            return
        self._filled.append((container, container.copy()))
        values = container.values() if isinstance(container, dict) else container
        if _LEAVES.issuperset(map(type, values)):
            return
        # RNNs keep a flat list of their parameters beside the table.
        if isinstance(container, list) and any(isinstance(item, Parameter) for item in container):
            tables.append(container)
        pending += values


class _Plan(NamedTuple):
    """Where a module with attributes of certain classes may hold something.

    `containers`: picks its lists, dicts and sets; `others`: positions of what is neither a container nor a leaf.
    """

    containers: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    others: tuple[int, ...]


def _plan(kinds: tuple[type, ...]) -> _Plan:
    containers = [position for position, kind in enumerate(kinds) if kind in _CONTAINERS]
    others = tuple([i for i, kind in enumerate(kinds) if kind not in _CONTAINERS and kind not in _LEAVES])
    if len(containers) < 2:  # itemgetter would return the item itself, or refuse
        return _Plan(lambda values: tuple([values[position] for position in containers]), others)
    return _Plan(itemgetter(*containers), others)


def _family(kind: type) -> type | None:
    """How values of a class are looked into: as a module, container, tuple or plain object; None: not at all."""
    if issubclass(kind, torch.jit.ScriptModule):
        return torch.jit.ScriptModule
    if issubclass(kind, nn.Module):
        return nn.Module
    if issubclass(kind, (list, set, deque, *_DICTS)):
        return list
    if kind is tuple:
        return tuple
    return None if issubclass(kind, (type, Tensor)) or kind.__module__.startswith("torch.") else object


def _refill_table(table: Any, content: dict[Any, Any]) -> None:
    if isinstance(table, dict):
        table.clear()
        table.update(content)
    else:
        for name, value in content.items():
            table[name] = value


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, set):
        container.update(content)
    else:
        container.extend(content)


def _twin(tensor: Tensor, *, is_part: bool = False) -> Tensor:
    kind = type(tensor)
    if kind in _PLAIN and tensor.layout is _STRIDED:  # nearly all
        if kind is Tensor and not is_part and not tensor.is_meta and _may_steer(tensor):
            twin = tensor.clone() if tensor.is_cpu else tensor.to(CPU)
            if twin.requires_grad:
                twin = twin.detach()
        else:
            twin = _empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META, requires_grad=tensor.requires_grad
            )
            if kind is not Tensor:
                twin.__class__ = kind
    elif isinstance(tensor, internals.UninitializedTensorMixin):
        raise UninitializedModelError(
            "the model has a lazy module whose parameters have no shape yet: call it once before it is measured"
        )
    elif kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return _twin_of_wrapper(tensor)
    elif tensor.layout is not torch.strided:
        return tensor
    else:
        twin = _empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
        if issubclass(kind, nn.Parameter):
            twin = internals.make_parameter(kind, twin, tensor.requires_grad)
        elif tensor.requires_grad:
            twin.requires_grad = True
    if tensor.__dict__:  # marks that libraries put on their parameters
        twin.__dict__.update(tensor.__dict__)
    return twin


def _twin_of_wrapper(tensor: Tensor) -> Tensor:
    """Of a class that says itself what its operators do: around twins of what it wraps.

    Integers there are the codes of a quantized weight, and steer nothing; the offsets of a nested tensor do.
    """
    if tensor.is_nested or not is_traceable_wrapper_subclass(tensor):
        return tensor
    names, context = tensor.__tensor_flatten__()
    parts = {name: getattr(tensor, name) for name in names}
    twins = {name: _twin(part, is_part=True) if isinstance(part, Tensor) else part for name, part in parts.items()}
    twin: Tensor = type(tensor).__tensor_unflatten__(twins, context, tensor.size(), tensor.stride())
    if isinstance(tensor, nn.Parameter):
        twin = nn.Parameter(twin.detach(), tensor.requires_grad)
    for name, mark in tensor.__dict__.items():
        twin.__dict__.setdefault(name, mark)
    return twin


def _may_steer(tensor: Tensor) -> bool:
    dtype = tensor.dtype
    if dtype.is_floating_point or dtype.is_complex:
        return tensor.dim() == 0
    return tensor.numel() <= SMALL
