"""Budgets in TOML: `[[tool.modelbudget.budgets]]` in pyproject.toml, or `[[budgets]]` in modelbudget.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
import tomli

from pytest_modelbudget.budget import Limit, Source
from pytest_modelbudget.limits import KEYWORDS, LimitError, limits_of, near
from pytest_modelbudget.marks import unknown_fixture
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.relative import growth_limits, growth_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_modelbudget.settings import Settings


@dataclass(frozen=True)
class Table:
    """Limits for the tests whose node ids match a pattern.

    Attributes:
        tests: the pattern.
        limits: what the table sets.
        key: where the pattern stands: `pyproject.toml: tool.modelbudget.budgets[0].tests`.
    """

    tests: str
    limits: tuple[Limit, ...]
    key: str

    def covers(self, nodeid: str) -> bool:
        """Whether the pattern is the node id, or its beginning up to `::`, `[` or `/`, or matches one.

        So whatever pytest takes on its command line, folders included, names the same tests here.
        """
        if nodeid.startswith(self.tests):
            rest = nodeid[len(self.tests.rstrip("/")) :]
            # xdist appends "@group" to node ids.
            if not rest or rest.startswith(("::", "[", "/", "@")):
                return True
        if fnmatchcase(nodeid, self.tests):
            return True
        path, _, _ = self.tests.partition("::")
        # Behind "::", brackets alone are those of a parameter.
        if not ("*" in self.tests or "?" in self.tests or "[" in path):
            return False
        beginnings = [nodeid, *_beginnings(nodeid)]
        return any(fnmatchcase(beginning, pattern) for pattern in _variants(self.tests) for beginning in beginnings)


def _beginnings(nodeid: str) -> Iterator[str]:
    for end in re.finditer(r"::|[\[/@]", nodeid):
        yield nodeid[: end.start()]
        if end.group() == "/":  # who names a folder may end it with one
            yield nodeid[: end.end()]


def _variants(pattern: str) -> set[str]:
    """The pattern, and those in which a `**/` stands for no folder: to fnmatch it is one at least."""
    first, *others = re.split(r"(?:(?<=/)|^)(?:\*\*/)+", pattern)
    variants = {first}
    for other in others:
        variants = {f"{variant}{folders}{other}" for variant in variants for folders in ("*/", "")}
    return variants


def load(rootdir: Path, settings: Settings) -> tuple[Table, ...]:
    """The tables of a project, in their order.

    Raises:
        pytest.UsageError: one line with file, table and key.
    """
    own, shared = rootdir / "modelbudget.toml", rootdir / "pyproject.toml"
    in_own = _section(own) if own.is_file() else {}
    in_shared = _tool(_section(shared)) if shared.is_file() else {}
    if in_own and in_shared:
        raise pytest.UsageError("modelbudget.toml and pyproject.toml ([tool.modelbudget]) both set budgets; keep one")
    if in_own:
        return tuple(_tables(in_own, "modelbudget.toml: budgets", settings))
    return tuple(_tables(in_shared, "pyproject.toml: tool.modelbudget.budgets", settings))


def unmatched(tables: Iterable[Table], nodeids: Iterable[str], selected_in: Path | None = None) -> list[str]:
    """For each table that covers none of the tests: what is wrong with it.

    Args:
        tables: of the project.
        nodeids: of the tests.
        selected_in: the rootdir where these are but a part of the suite: then a table is wrong if it names a path that
            is not there.
    """
    ids = list(nodeids)
    return [
        f"{table.key}: {table.tests!r} matches no test; write the start of a node id, as pytest --collect-only -q "
        "lists them, or a pattern"
        for table in tables
        if not any(map(table.covers, ids)) and (selected_in is None or _is_lost(table.tests, selected_in))
    ]


def _is_lost(pattern: str, rootdir: Path) -> bool:
    path = pattern.partition("::")[0]
    return not set("*?[") & set(path) and not (rootdir / path).exists()


def without_fixtures(
    tables: Iterable[Table], settings: Settings, items: Sequence[pytest.Item], config: pytest.Config
) -> list[str]:
    """For each `inputs` in a table or in the settings: where none of the tests has such a fixture, what is wrong."""
    wanted = []
    for table in tables:
        name = table.limits[0].inputs if table.limits else None  # the limits of a table share it
        if isinstance(name, str):
            covered = [item for item in items if table.covers(item.nodeid)]
            wanted.append((name, f"{table.key.removesuffix('.tests')}.inputs", covered))
    if settings.inputs is not None:
        typed = config.getoption("modelbudget_inputs") is not None
        key = "--modelbudget-inputs" if typed else f"{config.inipath or 'ini'}: modelbudget_inputs"
        wanted.append((settings.inputs, key, list(items)))
    errors = []
    for name, key, covered in wanted:
        complaints = [unknown_fixture(name, item) for item in covered]
        if complaints and all(complaints):
            errors.append(f"{key}: {complaints[0]}")
    return errors


def _section(file: Path) -> dict[str, Any]:
    try:
        return tomli.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise pytest.UsageError(f"{file.name}: {error}") from None


def _tool(section: dict[str, Any]) -> object:
    """Our table in pyproject.toml.

    Raises:
        pytest.UsageError: it has another name, under which nothing would be limited.
    """
    tools = section.get("tool", {})
    for names, prefix in ((section, ""), (tools, "tool.")):
        for name in names:
            meant = name.replace("_", "").replace("-", "") in ("modelbudget", "modelbudgets", "pytestmodelbudget")
            # Who keeps to the standard has no tables of his own beside [tool].
            if (meant or (name == "budgets" and not prefix)) and f"{prefix}{name}" != "tool.modelbudget":
                raise pytest.UsageError(
                    f"pyproject.toml: {prefix}{name}: unknown key; budgets stand in [[tool.modelbudget.budgets]]"
                )
    return tools.get("modelbudget", {})


def _tables(section: object, where: str, settings: Settings) -> Iterable[Table]:
    file, _, path = where.partition(": ")
    if not isinstance(section, dict):
        raise pytest.UsageError(f"{file}: {path.rpartition('.')[0]} is no table; write [[{path}]]")
    for key in section:
        if key != "budgets":
            raise pytest.UsageError(
                f"{file}: {path.removesuffix('budgets')}{key}: unknown key; budgets stand in [[{path}]], "
                "settings among pytest's own, as modelbudget_<name>"
            )
    tables = section.get("budgets", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise pytest.UsageError(f"{where}: not an array of tables; write [[{path}]]")
    return [_table(table, f"{where}[{index}]", settings) for index, table in enumerate(tables)]


def _table(table: dict[str, Any], where: str, settings: Settings) -> Table:
    marks = {metric.mark: metric.name for metric in METRICS.values()}
    known = {"tests", "max_growth", *marks, *KEYWORDS}
    for key in table:
        if key not in known:
            raise pytest.UsageError(f"{where}.{key}: unknown key{near(key, known)}")
    tests = table.get("tests")
    if not isinstance(tests, str) or not tests:
        raise pytest.UsageError(f'{where}.tests: {tests!r} is no pattern; write e.g. tests = "tests/vision/*"')
    keywords = {key: value for key, value in table.items() if key in KEYWORDS}
    file = where.partition(":")[0]
    limits: list[Limit] = []
    for mark, name in marks.items():
        if mark in table:
            try:
                limits += limits_of(
                    {name: _limit(table[mark])}, settings, Source(f"{where}.{mark}", file, direct=False), **keywords
                )
            except ValueError as error:
                raise pytest.UsageError(f"{where}.{mark}: {error}") from None
    if "max_growth" in table:
        try:
            limits += growth_limits(
                _growth(table["max_growth"]),
                settings,
                Source(f"{where}.max_growth", file, direct=False),
                **keywords,
            )
        except ValueError as error:
            raise pytest.UsageError(f"{where}.max_growth: {error}") from None
    if not limits:
        raise pytest.UsageError(f'{where}: no limit; write e.g. {next(iter(marks))} = "26M"')
    return Table(_from_rootdir(tests), tuple(limits), f"{where}.tests")


def _from_rootdir(pattern: str) -> str:
    """The pattern as node ids are written, which start at the rootdir without saying so."""
    while pattern.startswith("./"):
        pattern = pattern[2:].lstrip("/")
    return "*" if pattern in ("", ".") else pattern


def _limit(written: object) -> object:
    """What a mark would be given: TOML has no None, which lifts every inherited limit of the metric."""
    if written == _LIFTED:
        return None
    if isinstance(written, str) and written.strip().lower() == _LIFTED:
        raise LimitError(f'{written!r} is not a limit; write "{_LIFTED}" to lift those of earlier tables')
    return written


def _growth(written: object) -> Mapping[str, object]:
    """What a mark would be given by `"1%"`, `"1%, memory=5%"` or `{memory = "5%"}`."""
    if isinstance(written, dict):
        for name in written:
            if name not in METRICS:
                raise LimitError(f'{name!r} is no metric{near(name, METRICS)}; write e.g. {{memory = "5%"}}')
        return {name: _limit(share) for name, share in written.items()}
    limit = _limit(written)
    return growth_of(limit) if isinstance(limit, str) else {"limit": limit}


_LIFTED = "none"
