"""Marks -> Budget: signatures, validation, precedence."""

from __future__ import annotations

import inspect
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import Budget, Limit, Per, Source
from pytest_modelbudget.catalogue import MARKS
from pytest_modelbudget.limits import KEYWORDS, limits_of, near
from pytest_modelbudget.locate import place_of
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.nodes import nodes_below, nodes_of
from pytest_modelbudget.relative import growth_limits, holds_still, no_growth_of, suite_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_modelbudget.nodes import Node
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.tables import Table


def signature_of(mark: str) -> inspect.Signature:
    """How a mark is called: marks are bound like calls, so that Python itself says what is missing or unknown."""
    limit = inspect.Parameter("limit", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    several = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in METRICS]
    steady = [parameter for parameter in several if holds_still(METRICS[parameter.name])]
    first = {"modelbudget": several, "max_growth": [limit.replace(default="0%"), *steady]}
    return inspect.Signature([*first.get(mark, [limit]), *KEYWORDS.values()])


def _example(mark: str) -> str:
    if mark == "modelbudget":
        return 'modelbudget(params="26M")'
    if mark == "max_growth":
        return 'max_growth("1%")'
    return f"{mark}({quantity.example(METRICS[mark.removeprefix('max_')].unit)})"


PER_TEST_OF_HYPOTHESIS = 'per="test" would sum over the examples that hypothesis happens to choose: write per="call"'


class MarkError(Exception):
    """A mark is malformed; one line with its place."""


def budget_for(item: pytest.Item, settings: Settings, tables: Sequence[Table]) -> Budget:
    """The limits that apply to an item: of each key the closest one, as far as none closer lifts the metric.

    Raises:
        MarkError: a mark of the item is malformed. Marks that were there at collection are not, see `errors_of`.
    """
    chosen: dict[object, Limit] = {}
    lifted: set[tuple[str, bool]] = set()
    for limits in _limits_by_distance(item, settings, tables):
        for limit in limits:
            if (limit.metric.name, limit.relative) not in lifted:
                chosen.setdefault(limit.key, limit)
        lifted.update((limit.metric.name, limit.relative) for limit in limits if limit.value is None)
    if chosen or settings.observe_all:  # every observed test
        for limit in suite_limits(settings, _configured_at(item.config)):
            if (limit.metric.name, True) not in lifted:
                chosen.setdefault(limit.key, limit)
    return Budget(tuple(limit for limit in chosen.values() if limit.value is not None))


def _limits_by_distance(item: pytest.Item, settings: Settings, tables: Sequence[Table]) -> Iterator[list[Limit]]:
    for node in nodes_of(item):
        limits: dict[object, Limit] = {}
        for mark in node.marks:
            _add(limits, mark, node, item, settings)
        yield list(limits.values())
    for table in reversed(tables):
        if table.covers(item.nodeid):
            yield list(table.limits)


def _configured_at(config: pytest.Config) -> str:
    return (
        "the command line"
        if config.getoption("modelbudget_max_growth")
        else str(config.inipath and config.inipath.name)
    )


def _add(
    limits: dict[object, Limit], mark: pytest.Mark, node: Node, item: pytest.Item | pytest.Collector, settings: Settings
) -> None:
    """Add a mark's limits to those of its node, by their keys."""
    for limit in bind(mark, node, item, settings):
        # A rerun runs fixtures again: a mark that they add comes twice, and the last one counts.
        if limit.key in limits and node.owner is not None:
            first = limits[limit.key].source
            raise _error(mark, node, item, f"contradicts {first.text} at {first.location}; keep one of them")
        limits[limit.key] = limit
        if isinstance(limit.inputs, str) and (complaint := unknown_fixture(limit.inputs, item)):
            raise _error(mark, node, item, f"inputs: {complaint}")
        if limit.per is Per.TEST and getattr(node.owner, "is_hypothesis_test", False):
            raise _error(mark, node, item, PER_TEST_OF_HYPOTHESIS)


_bound_key = pytest.StashKey[dict[tuple[int, int], tuple[pytest.Mark, object, tuple[Limit, ...]]]]()


def bind(mark: pytest.Mark, node: Node, item: pytest.Item | pytest.Collector, settings: Settings) -> tuple[Limit, ...]:
    """The limits that a mark sets.

    Raises:
        MarkError: it is malformed.
    """
    if node.owner is None:
        return _bind(mark, node, item, settings)
    # A mark concerns all the tests of its class or parametrisation, and finding its line takes a while. Marks cannot be
    # hashed; the entry keeps what the ids belong to alive.
    bound = item.config.stash.setdefault(_bound_key, {})
    key = (id(mark), id(node.owner))
    if key not in bound:
        bound[key] = (mark, node.owner, _bind(mark, node, item, settings))
    return bound[key][2]


def _bind(mark: pytest.Mark, node: Node, item: pytest.Item | pytest.Collector, settings: Settings) -> tuple[Limit, ...]:
    signature = signature_of(mark.name)
    try:
        arguments = signature.bind(*mark.args, **mark.kwargs).arguments
    except TypeError as error:
        unknown = [name for name in mark.kwargs if name not in signature.parameters]
        hint = f"; write e.g. {_example(mark.name)}"
        if unknown and repr(unknown[0]) in str(error):
            hint = near(unknown[0], signature.parameters)
            if mark.name == "max_growth" and unknown[0] in METRICS:
                raise _error(mark, node, item, no_growth_of(unknown[0])) from None
        raise _error(mark, node, item, f"{error}{hint}") from None
    if mark.name == "max_growth":
        names = [name for name in ("limit", *METRICS) if name in arguments]
        quantities = {name: arguments.pop(name) for name in names}
        parse: Callable[..., tuple[Limit, ...]] = growth_limits
    elif mark.name == "modelbudget":
        parse = limits_of
        quantities = {name: arguments.pop(name) for name in METRICS if name in arguments}
    else:
        parse = limits_of
        quantities = {mark.name.removeprefix("max_"): arguments.pop("limit")}
    if not quantities and mark.name != "max_growth":
        raise _error(mark, node, item, f"no limit; write e.g. {_example(mark.name)}")
    source = Source(text_of(mark), location_of(mark, node, item), node.direct)
    try:
        return parse(quantities, settings, source, **arguments)
    except ValueError as error:
        raise _error(mark, node, item, str(error)) from None


def meant_by(complaint: str) -> str | None:
    """The mark that was meant, where pytest complains about one that it does not know."""
    unknown = re.search(r"'(\w+)' not found in `markers`|Unknown pytest\.mark\.(\w+)", complaint)
    if unknown is None:
        return None
    name = unknown[1] or unknown[2]
    found = get_close_matches(name, MARKS, n=1, cutoff=0.8)
    return f"@pytest.mark.{name}: did you mean @pytest.mark.{found[0]}?" if found else None


def _error(mark: pytest.Mark, node: Node, item: pytest.Item | pytest.Collector, what: str) -> MarkError:
    return MarkError(f"{location_of(mark, node, item)}: {text_of(mark)}: {what}")


def text_of(mark: pytest.Mark) -> str:
    """The mark as it was written, or near enough: `@max_flops("4.1G")`."""
    arguments = [*map(_shown, mark.args), *(f"{name}={_shown(value)}" for name, value in mark.kwargs.items())]
    return f"@{mark.name}({', '.join(arguments)})" if arguments else f"@{mark.name}"


def _shown(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and '"' not in value:
        return f'"{value}"'
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)


def location_of(mark: pytest.Mark, node: Node, item: pytest.Item | pytest.Collector) -> str:
    """`tests/test_resnet.py:12`, relative to the rootdir."""
    place = None if node.owner is None else place_of(mark, node.owner)
    if place is None:
        path, line = item.path, item.location[1] if isinstance(item, pytest.Item) else None
        return _relative(path, item) + ("" if line is None else f":{line + 1}")
    return f"{_relative(place.file, item)}:{place.line}"


def _relative(path: Path, item: pytest.Item | pytest.Collector) -> str:
    root = item.config.rootpath
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def errors_of(
    collector: pytest.Collector, collected: Iterable[pytest.Item | pytest.Collector], settings: Settings
) -> list[str]:
    """What is wrong with the marks below a collector: one line for each mark."""
    errors: dict[str, None] = {}  # an ordered set: a function's mark comes again with each of its parametrisations
    for node, holder in nodes_below(collector, collected):
        limits: dict[object, Limit] = {}
        for mark in node.marks:
            try:
                _add(limits, mark, node, holder, settings)
            except MarkError as error:
                errors[str(error)] = None
    return list(errors)


def unknown_fixture(name: str, item: pytest.Item | pytest.Collector) -> str:
    """What is wrong with the name of a fixture that an item is to have; empty where it has it, or is none."""
    if not isinstance(item, pytest.Item) or name in getattr(item, "fixturenames", ()):
        return ""
    if not item.session._fixturemanager.getfixturedefs(name, item):
        return f"there is no fixture {name!r}{near(name, fixtures_known_to(item))}"
    return ""


def fixtures_known_to(item: pytest.Item) -> set[str]:
    """The names of all fixtures that may be near to what somebody meant."""
    # pytest keeps renaming this table, and near names are only a help.
    tables = ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs")
    return {name for table in tables for name in getattr(item.session._fixturemanager, table, ())}
