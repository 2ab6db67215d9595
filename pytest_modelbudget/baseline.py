"""The baseline: figures recorded earlier and committed, one entry a line. Pure: no torch, no pytest."""

from __future__ import annotations

import json
import re
import sys
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_modelbudget import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KIND = "modelbudget baseline"
VERSION = 1

Figure = int | Fraction
"""An exact figure; only those `per="sample"` are ever broken."""

ANY_DEVICE = "any"
"""The device of figures that are the same on all of them."""


class Key(NamedTuple):
    """What an entry is about.

    Attributes:
        test: the node id, without the group that pytest-xdist appends.
        model: as messages name it: `ResNet`, or `student (ResNet)` where there are several.
        metric, per: by name.
        device: where it was measured, or `any` for figures that are the same everywhere.
    """

    test: str
    model: str
    metric: str
    per: str = "call"
    device: str = ANY_DEVICE


class Entry(NamedTuple):
    """What was measured.

    Attributes:
        value: of the whole model, in the metric's unit.
        modules: of each of its modules in the call that decided, by dotted path, everything below it included.
        largest: of those of which another call did more, what it did: limits on modules are for each one's largest.
        aliases: other names of modules that hold the same thing: path -> the name under which it stands first.
        flops_per_mac: the convention of a figure in FLOPs.
        inputs: the shapes that the model was called with: `1x3x224x224`.
        torch, plugin, python: the versions that measured it.
    """

    value: Figure
    modules: Mapping[str, Figure]
    flops_per_mac: int = 2
    inputs: str = ""
    torch: str = ""
    plugin: str = ""
    python: str = ""
    largest: Mapping[str, Figure] = MappingProxyType({})
    aliases: Mapping[str, str] = MappingProxyType({})

    def figure_of(self, module: str) -> Figure:
        """What a limit on a module is held against; `""` is the model."""
        if not module:
            return self.value
        figure = self.largest.get(module)
        return self.modules.get(module, 0) if figure is None else figure


Entries = dict[Key, Entry]


class BaselineError(ValueError):
    """A file is no baseline; the message says why and what to do."""


def load(path: Path) -> Entries:
    """The entries of a baseline, none where there is no such file.

    Raises:
        BaselineError: it holds something else.
        OSError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            entries = _by_line(stream)
        if entries is not None:
            return entries
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: no UTF-8 text ({error.reason} at byte {error.start}); {_REMEDY}") from None
    return parse(text, str(path))


def _by_line(stream: Iterator[str]) -> Entries | None:
    """The entries as `save` writes them, one after the other: the document as a whole would take gigabytes.

    None of anything else; `parse` says what that is.
    """
    if next(stream, "") != _FIRST:
        return None
    entries: Entries = {}
    for line in stream:
        if line == _LAST:
            return entries if next(stream, None) is None else None
        if not line.endswith(",\n"):
            return None
        try:
            key, entry = of_row(_DECODER.decode(line[:-2]))
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        if key in entries:
            return None
        entries[key] = entry
    return None


_FIRST = f'{{"kind": "{KIND}", "version": {VERSION}, "entries": [\n'
# So that each line of an entry ends alike, and those of two branches merge without touching each other's.
_LAST = "null]}\n"

_REMEDY = "restore it from version control, or remove it and record anew with --modelbudget-update=new"


def parse(text: str, name: str) -> Entries:
    """The entries in the text of a baseline.

    Raises:
        BaselineError: it is none.
    """
    document = read_json(text, name)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise BaselineError(f'{name}: not a baseline of pytest-modelbudget: it has no "kind": "{KIND}"')
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise BaselineError(
            f"{name}: version {version!r} of the format, and this plugin knows {VERSION}: update pytest-modelbudget"
        )
    rows = document.get("entries")
    if not isinstance(rows, list):
        raise BaselineError(f'{name}: "entries" is no list; {_REMEDY}')
    entries: Entries = {}
    for index, row in enumerate(rows):
        if row is None:
            continue
        try:
            key, entry = of_row(row)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise BaselineError(f"{name}: entries[{index}]: {what}; {_REMEDY}") from None
        if key in entries:
            raise BaselineError(
                f"{name}: two entries for {key.test} ({key.model} {key.metric}): a merge kept both; remove one"
            )
        entries[key] = entry
    return entries


def read_json(text: str, name: str, remedy: str = "") -> object:
    """JSON without what JSON does not have: keys that come twice, NaN, infinity.

    Args:
        text: of a file.
        name: of that file.
        remedy: what is to be done where it is none, instead of what is to be done with a baseline.

    Raises:
        BaselineError: it is none; the message says where, and recognises the markers of a merge conflict.
    """
    remedy = remedy or _REMEDY
    if conflict := re.search(r"^(<{7}|={7}|>{7})( |$)", text, re.MULTILINE):
        line = text.count("\n", 0, conflict.start()) + 1
        raise BaselineError(
            f"{name}:{line}: a merge conflict: keep one side, each line is an entry; then run the tests, with "
            "--modelbudget-update=new,raise if figures of both sides count"
        )
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BaselineError(f"{name}:{error.lineno}: no JSON ({error.msg}); {remedy}") from None
    except RecursionError:
        raise BaselineError(f"{name}: no JSON (nested too deeply); {remedy}") from None
    except ValueError as error:
        raise BaselineError(f"{name}: {error}; {remedy}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} comes twice in one object")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no figure")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_number)


def save(path: Path, entries: Mapping[Key, Entry]) -> None:
    """Write a baseline, as a whole or not at all.

    Raises:
        OSError: the file is as it was.
    """
    files.write(path, lines(entries))


def lines(entries: Mapping[Key, Entry]) -> Iterator[str]:
    """The text of a baseline, sorted: equal entries give equal files."""
    yield _FIRST
    for key in sorted(entries):
        # ASCII, so that no character of a test's id ends the line or hides the rest of it.
        yield f"{json.dumps(to_row(key, entries[key]))},\n"
    yield _LAST


def to_row(key: Key, entry: Entry) -> dict[str, Any]:
    """An entry as JSON-able primitives."""
    return {
        **key._asdict(),
        "value": to_json(entry.value),
        **{name: getattr(entry, name) for name in _PROVENANCE},
        "modules": {path: to_json(figure) for path, figure in entry.modules.items()},
        **({"largest": {path: to_json(figure) for path, figure in entry.largest.items()}} if entry.largest else {}),
        **({"aliases": dict(entry.aliases)} if entry.aliases else {}),
    }


_PROVENANCE = ("inputs", "flops_per_mac", "torch", "plugin", "python")
_TEXTS = (*Key._fields, "inputs", "torch", "plugin", "python")


def of_row(row: Any) -> tuple[Key, Entry]:
    """The entry that `to_row` made primitives of.

    Raises:
        KeyError: something is missing.
        TypeError, ValueError: something is of the wrong kind.
    """
    if not isinstance(row, dict):
        raise TypeError(f"{row!r} is no object")
    for name in _TEXTS:
        if not isinstance(row[name], str):
            raise TypeError(f"{name}: {row[name]!r} is no text")
    if row["flops_per_mac"] not in (1, 2):
        raise ValueError(f"flops_per_mac: {row['flops_per_mac']!r} is neither 1 nor 2")
    modules, largest = (_figures(name, row[name] if name == "modules" else row.get(name, {})) for name in _TABLES)
    aliases = row.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise TypeError(f"aliases: {aliases!r} is no object of texts")
    # One string for all entries that say the same, which is nearly all.
    test, model, metric, per, device, inputs, torch, plugin, python = (sys.intern(row[name]) for name in _TEXTS)
    key = Key(test, model, metric, per, device)
    value = of_json(row["value"])
    return key, Entry(value, modules, row["flops_per_mac"], inputs, torch, plugin, python, largest, aliases)


_TABLES = ("modules", "largest")


def _figures(name: str, table: object) -> dict[str, Figure]:
    if not isinstance(table, dict):
        raise TypeError(f"{name}: {table!r} is no object")
    return {path: figure if type(figure) is int else of_json(figure) for path, figure in table.items()}


def to_json(figure: Figure) -> int | str:
    """An integer, or `"100/3"`: exactly, which no float is."""
    return figure.numerator if figure.denominator == 1 else f"{figure.numerator}/{figure.denominator}"


def of_json(written: object) -> Figure:
    """The figure that `to_json` wrote.

    Raises:
        ValueError: it is none.
    """
    if type(written) is int and written >= 0:
        return written
    if isinstance(written, str) and re.fullmatch(r"[0-9]{1,99}/[1-9][0-9]{0,99}", written):
        return Fraction(written)
    raise ValueError(f"{written!r} is no figure: a whole number, or a fraction in quotes")
