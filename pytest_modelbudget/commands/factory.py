"""`torchvision.models:resnet50(num_classes=10)` -> a model."""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget.commands import CommandError
from pytest_modelbudget.limits import near

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "torchvision.models:resnet50"


class Factory(NamedTuple):
    """Where a model comes from.

    Attributes:
        module, names: the module to import, and the attributes to follow from there.
        call: literal arguments; None where there are no parentheses.
        written: the whole as it was written.
    """

    module: str
    names: tuple[str, ...]
    call: tuple[list[Any], dict[str, Any]] | None
    written: str


def parse(written: str) -> Factory:
    """What `PKG.MODULE:FACTORY`, or `PKG.MODULE:FACTORY(literal, name=literal)`, means.

    Raises:
        CommandError: it is neither.
    """
    module, colon, factory = written.partition(":")
    if module.endswith(".py"):
        importable = module.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise CommandError(f"{module!r} is a file; write the module that it is, {importable}:{factory or 'FACTORY'}")
    if not colon or not factory or not all(part.isidentifier() for part in module.split(".")):
        raise CommandError(f"{written!r} names no model; write PKG.MODULE:FACTORY, for example {EXAMPLE}")
    try:
        expression = ast.parse(factory.strip(), mode="eval").body
        call = None
        if isinstance(expression, ast.Call):
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
            call = [ast.literal_eval(value) for value in expression.args], named
            expression = expression.func
        return Factory(module, tuple(_names(expression)), call, written)
    except (SyntaxError, ValueError):
        raise CommandError(
            f"{factory!r} is no name of a factory; write FACTORY, or FACTORY(10, width=0.5) with literal arguments"
        ) from None


def _names(expression: ast.expr) -> list[str]:
    if isinstance(expression, ast.Name):
        return [expression.id]
    if isinstance(expression, ast.Attribute):
        return [*_names(expression.value), expression.attr]
    raise ValueError


def make(factory: Factory) -> nn.Module:
    """The model: what the factory returns, or is.

    Raises:
        CommandError: there is no such factory, it raises, or what it makes is no model.
    """
    from torch import nn

    value = _find(factory)
    if isinstance(value, nn.Module):
        if factory.call is not None:
            raise CommandError(f"{factory.written} is a model already; write it without parentheses")
        return value
    if not callable(value):
        raise CommandError(f"{factory.written} is a {type(value).__name__}; write a class, a function or a model")
    name = ".".join(factory.names)
    args, kwargs = factory.call or ([], {})
    try:
        model = value(*args, **kwargs)
    except Exception as error:
        place = place_of(error)
        instead = "" if place else f"; write its arguments, {factory.module}:{name}(...), or a function that needs none"
        raise CommandError(f"{name} raised {said(error)}{place}{instead}") from error
    if not isinstance(model, nn.Module):
        raise CommandError(f"{name} returned a {type(model).__name__}; write a factory that returns an nn.Module")
    return model


def _find(factory: Factory) -> object:
    value: object = _imported(factory.module)
    for name in factory.names:
        try:
            value = getattr(value, name)
        except AttributeError:
            known = [known for known in dir(value) if not known.startswith("_")]
            meant = near(name, known) or "; write one of its classes, functions or models"
            raise CommandError(f"{factory.module} has no {'.'.join(factory.names)}{meant}") from None
        except Exception as error:  # modules that import their parts when these are asked for
            raise CommandError(f"importing {factory.module}:{name} raised {said(error)}{place_of(error)}") from error
    return value


def _imported(name: str) -> object:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise CommandError(
                f"there is no module {missing}; write one that can be imported from {Path.cwd()}"
            ) from None
        raise CommandError(f"importing {name} raised {said(error)}{place_of(error)}") from error


def said(error: BaseException) -> str:
    """`ValueError: its first line`."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place_of(error: BaseException) -> str:
    """The innermost line of the user's code that was running, if any: ` at models.py:12`."""
    torch = sys.modules.get("torch")
    ours = (str(Path(__file__).parents[1]), *(torch.__path__ if torch else ()), str(Path(importlib.__file__).parent))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*ours, "<frozen"))
    ]
    if not frames:
        return ""
    path = Path(frames[-1].filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f" at {shown.as_posix()}:{frames[-1].lineno}"
