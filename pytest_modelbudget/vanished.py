"""Which tests of the baseline a suite has no more, and which new ones stand in their places."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_modelbudget.result import without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from pytest_modelbudget.baseline import Figure, Key

PLUGIN = "modelbudget-collected"

_MANY = 100
"""With so many names one is compared to find the most similar."""


class Collected:
    """Remembers every test that was collected, whatever is deselected later.

    A plugin, registered where the growth of whole suites is limited. Workers of pytest-xdist collect everything, and
    tell the controlling process, which collects nothing.

    Attributes:
        known_gone: the tests that were found to be gone.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self.known_gone: set[str] = set()

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
        self.known_gone |= gone
        return gone

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["modelbudget_gone"] = sorted(self.known_gone)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.known_gone.update(getattr(node, "workeroutput", {}).get("modelbudget_gone", ()))


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
        is_enough: whether that makes them one; else it takes a model of the same class, and what all tests measured.
    """

    of: Callable[[_Name], object]
    is_enough: bool = False


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
    _Common(lambda it: it.file),
    _Common(_nothing),
)
"""The closest first."""


class Predecessors:
    """The entries that what has a new name is to be held against, where names alone tell.

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
            for place in _places(test, is_enough=True):
                self._gone.setdefault(place, []).append(test)
        self._found: dict[str, str | None] = {}

    def of(self, key: Key, models: Iterable[str]) -> Key | None:
        """The entry of what is not known by its name; None where it is new.

        In its test, or in the one in whose place that came, it is the one of the same name; else the largest of its
        class (beside another model, `Net` is called `student (Net)`); else the largest of those that the test has no
        more, whose place it may have taken.

        Args:
            key: what was measured.
            models: of its test, by their names.
        """
        test = self._test_of(key)
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

    def _test_of(self, key: Key) -> str | None:
        """The test by the name under which it is known; None where it is new."""
        test = key.test
        if test in self._tests:
            return test
        if test not in self._found:
            places = (self._gone.get(place) for place in _places(test, is_enough=True))
            there = next(filter(None, places), [])
            self._found[test] = max(there[:_MANY], key=lambda other: _likeness(test, other), default=None)
        return self._found[test]


class _Model(NamedTuple):
    """A model of a test."""

    test: str
    name: str


_Figures = dict[tuple[str, str, str], "Figure"]
"""What was measured of a model, by metric, per and device."""


def stand_ins(
    before: Mapping[Key, Figure], gone: Container[str], new: Mapping[Key, Figure], taken: Iterable[Key] = ()
) -> dict[Key, Key]:
    """New key -> old key, of models of new tests whose names do not tell which vanished tests they came from.

    Only models of one class stand in for each other. Those of which all figures are the same do first, one to one: such
    a test has a new name and nothing else. What is left of the new ones is held to that of the vanished ones that has
    most in common with it, several perhaps to one; where names tell nothing, to the largest.

    Args:
        before: what is known by the old names, each with its figure.
        gone: the tests that there are no more.
        new: what was measured in the new tests.
        taken: the old keys whose new names are known.
    """
    spent = {_Model(key.test, key.model) for key in taken}
    old = {model: row for model, row in _by_model(before).items() if model.test in gone and model not in spent}
    left = _by_model(new)
    found = _unchanged(old, left)
    for model in found.values():
        del old[model]
    there: dict[object, list[_Model]] = {}
    for model in sorted(old):
        for place in _places(model.test):
            there.setdefault((place, kind(model.name)), []).append(model)
    for model in left.keys() - found.keys():
        alike = (there.get((place, kind(model.name))) for place in _places(model.test))
        if candidates := next(filter(None, alike), [])[:_MANY]:
            ranked = [(_likeness(model.test, other.test), max(old[other].values()), other) for other in candidates]
            found[model] = max(ranked)[2]
    pairs = {key: found.get(_Model(key.test, key.model)) for key in new}
    keys = {key: key._replace(test=model.test, model=model.name) for key, model in pairs.items() if model is not None}
    return {key: other for key, other in keys.items() if other in before}


def _unchanged(old: Mapping[_Model, _Figures], new: Mapping[_Model, _Figures]) -> dict[_Model, _Model]:
    """New model -> old one of the same class and figures, one to one, those first that have most in common."""
    known, measured = ({what for row in side.values() for what in row} for side in (old, new))
    common = sorted(known & measured)
    groups: dict[object, tuple[list[_Model], list[_Model]]] = {}
    for index, side in enumerate((old, new)):
        for model in sorted(side):
            figures = tuple([side[model].get(what) for what in common])
            if any(figure is not None for figure in figures):
                groups.setdefault((kind(model.name), figures), ([], []))[index].append(model)
    found: dict[_Model, _Model] = {}
    for olds, news in groups.values():
        if len(olds) * len(news) > _MANY**2:  # too many to compare their names, and any of them is as good
            found.update(zip(news, olds, strict=False))
            continue
        pairs = sorted([(_distance(one.test, other.test), one, other) for one in news for other in olds])
        spent: set[_Model] = set()
        for _, one, other in pairs:
            if one not in found and other not in spent:
                found[one] = other
                spent.add(other)
    return found


def _by_model(figures: Mapping[Key, Figure]) -> dict[_Model, _Figures]:
    found: dict[_Model, _Figures] = {}
    for key, figure in figures.items():
        found.setdefault(_Model(key.test, key.model), {})[key.metric, key.per, key.device] = figure
    return found


def _places(test: str, *, is_enough: bool = False) -> Iterator[tuple[int, object]]:
    """What a test may have in common with another one; with `is_enough` what makes them one."""
    name = _Name.of(test)
    return ((index, common.of(name)) for index, common in enumerate(_COMMON) if common.is_enough or not is_enough)


def _distance(one: str, other: str) -> tuple[int, float]:
    """How little two tests have in common, and their names."""
    first, second = _Name.of(one), _Name.of(other)
    closest = next(index for index, common in enumerate(_COMMON) if common.of(first) == common.of(second))
    return closest, -_likeness(one, other)


def _likeness(one: str, other: str) -> float:
    """How much the names of two tests have in common, or the parameters of one function."""
    first, second = _Name.of(one), _Name.of(other)
    same = len(first.function) if first.function == second.function else 0
    return SequenceMatcher(None, first.case[same:].strip("[]"), second.case[same:].strip("[]"), autojunk=False).ratio()


def renamed(before: Mapping[Key, Figure], after: Mapping[Key, Figure]) -> dict[Key, Key]:
    """New key -> old key, of what one of two whole runs does not know and may have been known by another name."""
    known, tests = ({key.test for key in side} for side in (before, after))
    gone = known - tests
    predecessors = Predecessors(before, gone)
    models: dict[Key, list[str]] = {}
    for key in after:
        models.setdefault(key._replace(model=""), []).append(key.model)
    new = [key for key in after if key not in before]
    found = {key: other for key in new if (other := predecessors.of(key, models[key._replace(model="")])) is not None}
    left = {key: after[key] for key in new if key not in found and key.test not in known}
    return {**stand_ins(before, gone, left, found.values()), **found}


def kind(model: str) -> str:
    """The class in a model's name: `Net` of `student (Net)` and of `Net #2`."""
    return model.partition(" #")[0].rpartition(" (")[2].removesuffix(")")


def full_name(key: Key, test: str) -> str:
    """The name of a model in a test, or of that of another one: `Net of test_net.py::test_it`."""
    return key.model if key.test == test else f"{key.model} of {key.test}"
