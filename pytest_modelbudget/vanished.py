"""Which tests of the baseline a suite has no more, and which new ones stand in their places."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

from pytest_modelbudget.result import without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pytest

    from pytest_modelbudget.baseline import Figure, Key

PLUGIN = "modelbudget-collected"

_MANY = 100
"""With so many names one is compared to find the most similar."""


class Collected:
    """Remembers every test that was collected, whatever is deselected later.

    A plugin, registered where the growth of whole suites is limited: workers of pytest-xdist collect everything, too.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self._ids.append(item.nodeid)

    def tests(self) -> set[str]:
        """Their ids, without the group that pytest-xdist appends."""
        return set(map(without_group, self._ids))

    def gone(self, tests: Iterable[str], config: pytest.Config) -> set[str]:
        """Those tests that the suite certainly has no more.

        Their file is gone, or it was collected as a whole, and they are not in it. A file from which nothing came may
        have skipped itself.
        """
        seen = self.tests()
        whole = {_Name.of(test).file for test in seen}
        if config.getoption("lf", False) or any("::" in argument for argument in config.args):
            whole = set()  # of some files only part was collected
        files: dict[str, bool] = {}
        """Of each file whether it is there."""
        gone = set()
        for test in set(tests) - seen:
            file = _Name.of(test).file
            if file in whole or not files.setdefault(file, (config.rootpath / file).exists()):
                gone.add(test)
        return gone


class _Name(NamedTuple):
    """A test's id in its parts: `tests/test_net.py`, `test_net.py`, `TestNet::test_it[8]`, `test_it[8]`, `test_it`."""

    file: str
    base: str
    name: str
    case: str
    function: str

    @classmethod
    def of(cls, test: str) -> _Name:
        file, _, name = test.partition("::")
        path, bracket, parameters = name.partition("[")
        function = path.rpartition("::")[2]
        return cls(file, file.rpartition("/")[2], name, function + bracket + parameters, function)


class _Common(NamedTuple):
    """What a new test may have in common with the vanished one in whose place it came.

    Attributes:
        of: what it is.
        is_enough: whether that makes them one; else one of its models must be of the same class, too.
        names_it: whether their names are of one function; else it is rather the one in which as much was measured.
    """

    of: Callable[[_Name], object]
    is_enough: bool = False
    names_it: bool = True


def _nothing(_: _Name) -> None:
    return None


_COMMON = (
    _Common(lambda it: (it.base, it.name), is_enough=True),  # in another folder
    _Common(lambda it: (it.file, it.case), is_enough=True),  # in another class, or in none
    _Common(lambda it: (it.base, it.case), is_enough=True),
    _Common(lambda it: (it.file, it.function)),  # with other parameters, which may name a model
    _Common(lambda it: (it.base, it.function)),
    _Common(lambda it: it.name),  # anywhere: `test_forward` stands in many files
    _Common(lambda it: it.case),
    _Common(lambda it: it.function),
    _Common(lambda it: it.file, names_it=False),
    _Common(_nothing, names_it=False),
)
"""The closest first."""


class Predecessors:
    """The entries that what has a new name is to be held against.

    Args:
        before: what is known by the old names, each with its figure.
        gone: the tests that there are no more.
    """

    def __init__(self, before: Mapping[Key, Figure], gone: Iterable[str]) -> None:
        self._before = before
        self._tests = {key.test for key in before}
        self._models: dict[Key, list[Key]] = {}
        for key in before:
            self._models.setdefault(key._replace(model=""), []).append(key)
        self._gone: dict[object, list[str]] = {}
        for test in sorted(gone):
            for place in _places(test):
                self._gone.setdefault(place, []).append(test)
        self._found: dict[tuple[Key, Figure | None], str | None] = {}

    def of(self, key: Key, figure: Figure, models: Iterable[str]) -> Key | None:
        """The entry of what is not known by its name; None where it is new.

        In its test, or in the one in whose place that came, it is the one of the same name; else the largest of its
        class (beside another model, `Net` is called `student (Net)`); else the largest of those that the test has no
        more, whose place it may have taken.

        Args:
            key: what was measured.
            figure: what it came to.
            models: of its test, by their names.
        """
        test = self._test_of(key, figure)
        if test is None:
            return None
        key = key._replace(test=test)
        if key in self._before:
            return key
        there = self._models.get(key._replace(model=""), [])
        alike = [other for other in there if kind(other.model) == kind(key.model)]
        return max(alike or self._without(key, models), key=self._before.__getitem__, default=None)

    def gone_from(self, key: Key, models: Iterable[str]) -> list[Key]:
        """The entries, as this one, of models that its test has no more, by whatever name."""
        test = self._test_of(key)
        return [] if test is None else self._without(key._replace(test=test), models)

    def _without(self, key: Key, models: Iterable[str]) -> list[Key]:
        names = set(models)
        kinds = set(map(kind, names))
        there = self._models.get(key._replace(model=""), [])
        return [other for other in there if other.model not in names and kind(other.model) not in kinds]

    def _test_of(self, key: Key, figure: Figure | None = None) -> str | None:
        """The test by the name under which it is known; None where it is new."""
        if key.test in self._tests:
            return key.test
        asked = key._replace(model=kind(key.model)), figure
        if asked not in self._found:
            self._found[asked] = self._vanished(*asked)
        return self._found[asked]

    def _vanished(self, key: Key, figure: Figure | None) -> str | None:
        """Of the vanished tests that have most in common with a new one, that with the most similar name.

        Where names tell nothing, that in which most was measured.
        """
        for place, common in zip(_places(key.test), _COMMON, strict=True):
            tests = [test for test in self._gone.get(place, ()) if common.is_enough or self._alike(key, test)]
            if len(tests) > 1 and not common.names_it:
                tests = [test for test in tests if figure in self._alike(key, test)] or tests
            if tests:
                return max(
                    tests[:_MANY], key=lambda test: (_likeness(key.test, test), max(self._alike(key, test), default=0))
                )
        return None

    def _alike(self, key: Key, test: str) -> list[Figure]:
        """The figures of a test's models of the class, measured in the same way."""
        there = self._models.get(key._replace(test=test, model=""), ())
        return [self._before[other] for other in there if kind(other.model) == kind(key.model)]


def _places(test: str) -> Iterator[tuple[int, object]]:
    name = _Name.of(test)
    return ((index, common.of(name)) for index, common in enumerate(_COMMON))


def _likeness(one: str, other: str) -> float:
    """How much the names of two tests have in common, or the parameters of one function."""
    first, second = _Name.of(one), _Name.of(other)
    same = len(first.function) if first.function == second.function else 0
    return SequenceMatcher(None, first.case[same:].strip("[]"), second.case[same:].strip("[]"), autojunk=False).ratio()


def renamed(before: Mapping[Key, Figure], after: Mapping[Key, Figure]) -> dict[Key, Key]:
    """New key -> old key, of what one of two whole runs does not know and may have been known by another name."""
    tests = {key.test for key in after}
    predecessors = Predecessors(before, {key.test for key in before} - tests)
    models: dict[Key, list[str]] = {}
    for key in after:
        models.setdefault(key._replace(model=""), []).append(key.model)
    found = {
        key: predecessors.of(key, figure, models[key._replace(model="")])
        for key, figure in after.items()
        if key not in before
    }
    return {key: other for key, other in found.items() if other is not None}


def kind(model: str) -> str:
    """The class in a model's name: `Net` of `student (Net)` and of `Net #2`."""
    return model.partition(" #")[0].rpartition(" (")[2].removesuffix(")")


def full_name(key: Key, test: str) -> str:
    """The name of a model in a test, or of that of another one: `Net of test_net.py::test_it`."""
    return key.model if key.test == test else f"{key.model} of {key.test}"
