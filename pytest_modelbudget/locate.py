"""Where a mark stands in the source: the line that a person has to edit."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Place(NamedTuple):
    file: Path
    line: int


def place_of(mark: pytest.Mark, owner: object) -> Place | None:
    """Where a mark was written on a function, class or module; the owner's own line where that is not to be found.

    None where the owner has no source, as when it was made by `exec`.
    """
    owner = inspect.unwrap(owner) if callable(owner) else owner
    file = _file_of(owner)
    if file is None:
        return None
    source = _parsed(file)
    if isinstance(owner, ModuleType):
        return Place(file, _line_of(mark, source.tree) or 1)
    definition = source.definition_of(owner)
    line = _first_line(owner) if definition is None else definition.lineno
    return Place(file, _line_of(mark, definition) or line)


def _file_of(owner: object) -> Path | None:
    code = getattr(owner, "__code__", None)
    if code is not None:
        name = code.co_filename
    elif isinstance(owner, ModuleType):
        name = owner.__file__
    else:
        name = getattr(sys.modules.get(getattr(owner, "__module__", "")), "__file__", None)
    return Path(name) if name and Path(name).is_file() else None


def _first_line(owner: object) -> int:
    code = getattr(owner, "__code__", None)
    return code.co_firstlineno if code is not None else 1


class _Parsed(NamedTuple):
    tree: ast.Module | None
    definitions: dict[str, list[_Definition]]

    def definition_of(self, owner: object) -> _Definition | None:
        candidates = self.definitions.get(getattr(owner, "__qualname__", ""), [])
        code = getattr(owner, "__code__", None)
        if code is not None:
            # A name may be defined more than once; a function's code begins with its first decorator.
            candidates = [
                c
                for c in candidates
                if min((d.lineno for d in c.decorator_list), default=c.lineno) == code.co_firstlineno
            ]
        return candidates[-1] if candidates else None


@lru_cache(maxsize=64)
def _parsed(file: Path) -> _Parsed:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return _Parsed(None, {})
    definitions: dict[str, list[_Definition]] = {}
    for name, node in _definitions(tree, ""):
        definitions.setdefault(name, []).append(node)
    return _Parsed(tree, definitions)


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Functions and classes with their `__qualname__`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            name = prefix + child.name
            yield name, child
            yield from _definitions(child, f"{name}." if isinstance(child, ast.ClassDef) else f"{name}.<locals>.")
        else:
            yield from _definitions(child, prefix)


def _line_of(mark: pytest.Mark, definition: _Definition | ast.Module | None) -> int | None:
    """The line that applies this mark: the one with its name and arguments, or the only one with its name."""
    unreadable = []
    for line, arguments in _applied(definition, mark.name):
        if arguments is None:
            unreadable.append(line)
        elif arguments == repr((mark.args, mark.kwargs)):
            return line
    return unreadable[0] if len(unreadable) == 1 else None


def _applied(definition: _Definition | ast.Module | None, name: str) -> Iterator[tuple[int, str | None]]:
    """Lines that mention a mark in decorators or `pytestmark`, and its arguments where they are literals."""
    if definition is None:
        return
    roots: list[ast.expr] = []
    if not isinstance(definition, ast.Module):
        roots += definition.decorator_list
    if isinstance(definition, (ast.Module, ast.ClassDef)):
        roots += _pytestmarks(definition.body)
    for root in roots:
        called = set()
        for node in ast.walk(root):
            # Breadth first: a call comes before the name that it calls.
            if isinstance(node, ast.Call) and _is_named(node.func, name):
                called.add(node.func)
                yield node.func.end_lineno or node.lineno, _literal(node)
            elif _is_named(node, name) and node not in called:
                yield node.end_lineno or node.lineno, repr(((), {}))


def _is_named(node: ast.AST, name: str) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and node.attr == name


def _pytestmarks(body: Iterable[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets):
                yield statement.value


def _literal(call: ast.Call) -> str | None:
    """The repr of a call's arguments, so that 1 and True, or arrays, cannot be confused by `==`."""
    try:
        args = tuple(ast.literal_eval(arg) for arg in call.args)
        kwargs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        return None
    return repr((args, kwargs))
