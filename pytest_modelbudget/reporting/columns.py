"""The columns that the summary of a profile can show. A new column is a new row of the table below."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget import quantity
from pytest_modelbudget.limits import near
from pytest_modelbudget.metrics import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_modelbudget.profiling.profile import ModuleProfile, Profile, Shape

Figure = int | float | None

NOT_MEASURED = "-"


class Column(NamedTuple):
    """One column of the table.

    Attributes:
        name: as in `columns=` and `--columns`.
        title: what stands above it.
        definition: one clause for `--help`.
        cell: the text for a module that stands for so many equal ones.
        figure: the number to sort by; None for a column of text.
    """

    name: str
    title: str
    definition: str
    cell: Callable[[ModuleProfile, int], str]
    figure: Callable[[ModuleProfile], Figure] | None = None


def _metric(name: str, title: str, definition: str, unit: Unit = Unit.COUNT, *, additive: bool = True) -> Column:
    # Absent from profiles that were made without it.
    def figure(module: ModuleProfile) -> Figure:
        value: Figure = getattr(module, name, None)
        return value

    def cell(module: ModuleProfile, times: int) -> str:
        value = figure(module)
        return NOT_MEASURED if value is None else short(value * times if additive else value, unit)

    return Column(name, title, definition, cell, figure)


def short(value: float, unit: Unit) -> str:
    """`25.56 M`, `97.50 MiB`, `1.200 ms`: four digits, also where they are zeros, so that columns align."""
    if not value:
        return "0"
    number, _, suffix = quantity.format(value, unit).partition(" ")
    missing = 4 - sum(map(str.isdecimal, number))
    if suffix in ("", "bytes") or missing <= 0:
        return f"{number} {suffix}".rstrip()
    return f"{number}{'' if '.' in number else '.'}{'0' * missing} {suffix}"


def shapes(found: tuple[Shape, ...]) -> str:
    """`1x3x224x224`; of several tensors the first, and how many more there are."""
    if not found:
        return NOT_MEASURED
    first = "x".join(map(str, found[0])) or "scalar"
    return first if len(found) == 1 else f"{first} +{len(found) - 1}"


_BYTE = Unit.BYTE
_ROWS = (
    Column("type", "type", "the class of the module", lambda module, _: module.type),
    Column("input", "input", "shape of the first input", lambda module, _: shapes(module.input_shapes)),
    Column("output", "output", "shape of the first output", lambda module, _: shapes(module.output_shapes)),
    Column("calls", "calls", "how often it was called", lambda module, _: str(module.calls), lambda row: row.calls),
    _metric("params", "params", "parameters, tied ones once"),
    _metric("trainable_params", "trainable", "parameters that require grad"),
    _metric("size", "size", "bytes of parameters and buffers", _BYTE),
    _metric("macs", "MACs", "multiply-accumulates of contractions"),
    _metric("flops", "FLOPs", "of contractions, FFTs and linear algebra"),
    _metric("elementwise_flops", "other FLOPs", "of everything else"),
    _metric("total_flops", "total FLOPs", "the two together"),
    _metric("backward_flops", "backward", "FLOPs of contractions of the backward pass"),
    _metric("activations", "activations", "elements produced by contractions"),
    _metric("memory", "memory", "bytes of the module at the peak of the call", _BYTE, additive=False),
    _metric("read", "read", "bytes read", _BYTE),
    _metric("written", "written", "bytes written", _BYTE),
    _metric("traffic", "traffic", "bytes read and written", _BYTE),
    _metric("duration", "time", "measured wall time", Unit.SECOND),
)

COLUMNS: dict[str, Column] = {column.name: column for column in _ROWS}
"""Every column by name, in the order in which the table shows them, but for the share."""

SHARES: dict[str, str] = {
    "share": "percent of the FLOPs, or of what is sorted by",
    "duration_share": "percent of the measured time",
}
"""The columns that relate to the whole model."""

NAMES: dict[str, str] = {**{column.name: column.definition for column in _ROWS}, **SHARES}
"""What may be asked for, and what it is."""

_ALWAYS = ("type", "output", "params", "macs", "share")
_MEASURED = ("duration", "duration_share", "backward_flops")
"""Shown before others where they are known, because somebody asked for them."""
_WHERE_THERE_IS_ROOM = ("input", "flops", "total_flops", "read", "written", "activations")


class ColumnError(ValueError):
    """A column that there is not; the message names those that there are."""


def columns_of(profile: Profile, names: Iterable[str], sort: str | None) -> list[Column]:
    """The columns of those names, in their order."""
    return [_column(profile, name, sort) for name in names]


def wanted(profile: Profile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a table has without being asked, and those that it has where there is room, best first."""
    rows = profile.modules.values()

    def is_known(name: str) -> bool:
        column = COLUMNS[name.removesuffix("_share")]
        return column.figure is None or any(column.figure(row) for row in rows)

    measured = tuple(name for name in _MEASURED if is_known(name))
    if profile.trainable_params < profile.params:
        measured += ("trainable_params",)
    return (*_ALWAYS, *measured), tuple(name for name in _WHERE_THERE_IS_ROOM if is_known(name))


def in_order(names: Iterable[str]) -> list[str]:
    """The names as the table shows them from left to right."""
    order = [*COLUMNS, *SHARES]
    return sorted(names, key=order.index)


def check_names(names: Iterable[str]) -> None:
    """Raise ColumnError unless there are columns of those names."""
    for name in names:
        if name not in NAMES:
            raise ColumnError(f"there is no column {name!r}{near(name, NAMES)}; write any of {', '.join(NAMES)}")


def check_sort(name: str) -> None:
    """Raise ColumnError unless a table can be sorted by the column of that name."""
    known = [column.name for column in _ROWS if column.figure is not None]
    if name not in known:
        raise ColumnError(f"cannot sort by {name!r}{near(name, known)}; write one of {', '.join(known)}")


def _column(profile: Profile, name: str, sort: str | None) -> Column:
    if name in COLUMNS:
        return COLUMNS[name]
    whole = COLUMNS["duration" if name == "duration_share" else sort or _main_figure(profile)]
    figure = whole.figure
    assert figure is not None
    total = figure(profile.modules[""])

    def cell(module: ModuleProfile, times: int) -> str:
        value = figure(module)
        if value is None or not total:
            return NOT_MEASURED
        times = 1 if whole.name == "memory" else times
        return f"{100 * value * times / total:.1f}" if value else "0"

    return Column(name, f"{whole.title} %", NAMES[name], cell, figure)


def _main_figure(profile: Profile) -> str:
    return "flops" if profile.flops else "params"
