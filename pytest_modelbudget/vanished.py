"""Which tests of the baseline a suite has no more, and for which of them a new one stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_modelbudget.result import without_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pytest

    from pytest_modelbudget.baseline import Figure, Key

PLUGIN = "modelbudget-collected"


class Collected:
    """Remembers every test that was collected, whatever is deselected later.

    A plugin, registered where the growth of whole suites is limited: workers of pytest-xdist collect everything, too.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self._ids.append(item.nodeid)

    def gone(self, tests: Iterable[str], config: pytest.Config) -> set[str]:
        """Those tests that the suite certainly has no more.

        Their file is gone, or it was collected as a whole, and they are not in it. A file from which nothing came may
        have skipped itself.
        """
        seen = set(map(without_group, self._ids))
        whole = set(map(_file, seen))
        if config.getoption("lf", False) or any("::" in argument for argument in config.args):
            whole = set()  # of some files only part was collected
        files: dict[str, bool] = {}
        """Of each file whether it is there."""
        gone = set()
        for test in set(tests) - seen:
            file = _file(test)
            if file in whole or not files.setdefault(file, (config.rootpath / file).exists()):
                gone.add(test)
        return gone


class Predecessors:
    """The entries of vanished tests in whose places new tests may have come.

    Args:
        gone: those entries, each with its figure.
    """

    def __init__(self, gone: Iterable[tuple[Key, Figure]]) -> None:
        self._largest: dict[object, tuple[Figure, Key]] = {}
        for key, figure in gone:
            for place in _places(key):
                if place not in self._largest or self._largest[place][0] < figure:
                    self._largest[place] = figure, key

    def of(self, key: Key) -> Key | None:
        """The one that a model of a new test is to be held against; None where there is none.

        It is of a model of the same class: that of the same test in another file, of the same function with other
        parameters, of the same file, or of any. Of several it is the largest.
        """
        return next((self._largest[place][1] for place in _places(key) if place in self._largest), None)


def _places(key: Key) -> Iterator[tuple[object, ...]]:
    """What another test may have in common with one, the closest first."""
    file, _, name = key.test.partition("::")
    function = key.test.partition("[")[0]
    for place in (("name", name), ("function", function), ("file", file), ("anywhere",)):
        yield *place, kind(key.model), *key[2:]


def renamed(before: Mapping[Key, Figure], after: Mapping[Key, Figure]) -> dict[Key, Key]:
    """New key -> old key, of what one of two whole runs does not know and may have been known by another name.

    A model takes the place of the largest that its test has no more, of its class if there is one; a test that of its
    predecessor.
    """
    tests_before, tests_after = ({key.test for key in side} for side in (before, after))
    models: dict[Key, list[Key]] = {}
    for key in before:
        if key in after:
            continue
        models.setdefault(key._replace(model=""), []).append(key)
    predecessors = Predecessors((key, figure) for key, figure in before.items() if key.test not in tests_after)
    found: dict[Key, Key | None] = {}
    for key in after.keys() - before.keys():
        if key.test in tests_before:
            there = models.get(key._replace(model=""), [])
            alike = [other for other in there if kind(other.model) == kind(key.model)]
            found[key] = max(alike or there, key=before.__getitem__, default=None)
        else:
            found[key] = predecessors.of(key)
    return {key: other for key, other in found.items() if other is not None}


def kind(model: str) -> str:
    """The class in a model's name: `Net` of `student (Net)` and of `Net #2`."""
    return model.partition(" #")[0].rpartition(" (")[2].removesuffix(")")


def full_name(key: Key, test: str) -> str:
    """The name of a model in a test, or of that of another one: `Net of test_net.py::test_it`."""
    return key.model if key.test == test else f"{key.model} of {key.test}"


def _file(test: str) -> str:
    return test.partition("::")[0]
