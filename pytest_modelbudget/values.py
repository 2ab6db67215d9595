"""The values that a test has: its fixtures, parameters and attributes, and the modules in them."""

from __future__ import annotations

import contextlib
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, cast

from torch import nn

from pytest_modelbudget.profiling.observation import WRAPPED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pytest


def values_of(item: pytest.Item) -> Iterator[tuple[str, object]]:
    """The fixture and parameter values of a test and the attributes of its instance, by the names that marks use."""
    yield from getattr(item, "funcargs", {}).items()
    instance = getattr(item, "instance", None)
    if instance is not None:
        attributes: dict[str, object] = {}
        for base in reversed(type(instance).__mro__):
            attributes.update(vars(base))
        attributes.update(getattr(instance, "__dict__", {}))
        for name, value in attributes.items():
            yield f"self.{name}", value


def modules_in(value: object) -> Iterator[tuple[str, nn.Module]]:
    """A module, or the modules that a fixture returns together with something else, each with its place: `.0`."""
    kind = type(value)  # `isinstance` would ask the object itself, which may be a mock or worse
    if issubclass(kind, nn.Module):
        yield "", cast("nn.Module", value)
        return
    items: Iterable[tuple[object, object]] = ()
    if issubclass(kind, (tuple, list)):
        items = enumerate(cast("Sequence[object]", value))
    elif issubclass(kind, dict):
        items = cast("dict[object, object]", value).items()
    elif not issubclass(kind, (type, ModuleType, FunctionType)):
        # An object that somebody put models into: a namespace, a dataclass, a trainer.
        with contextlib.suppress(AttributeError):
            items = object.__getattribute__(value, "__dict__").items()
    for place, inner in list(items):
        if issubclass(type(inner), nn.Module):
            yield f".{place}", cast("nn.Module", inner)


def part_of(value: object, name: str) -> object | None:
    """An attribute, submodule, key or index."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, (tuple, list)) and name.isdecimal():
        return value[int(name)] if int(name) < len(value) else None
    found: object = getattr(value, name, None)
    if found is None and isinstance(value, nn.Module):
        wrapped = next((value._modules[wrapper] for wrapper in WRAPPED if wrapper in value._modules), None)
        return None if wrapped is None else part_of(wrapped, name)
    return found


def parts_of(value: object) -> list[str]:
    """What `part_of` may be asked for."""
    if isinstance(value, nn.Module):
        return [name for name, _ in value.named_children()]
    return [place[1:] for place, _ in modules_in(value)]


def kind_of(value: object) -> str:
    """`a Net`, for people."""
    return "None" if value is None else f"a {type(value).__name__}"
