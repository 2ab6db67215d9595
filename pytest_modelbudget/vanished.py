"""Which tests of the baseline a suite has no more, and which new ones stand in their places."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest

from pytest_modelbudget.result import without_group

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

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
        name = name or file
        path, bracket, parameters = name.partition("[")
        function = path.rpartition("::")[2]
        return cls(file, file.rpartition("/")[2], name, function + bracket + parameters, function)


class _Common(NamedTuple):
    """What a new test may have in common with the vanished one in whose place it came.

    Attributes:
        of: what it is.
        is_enough: whether that makes them one; else it takes a model of the same class, and what all tests measured.
        in_function: whether it is another case of one function, so that models of any class may be the same one.
        in_name: whether that may be so where there is no other test of the name.
    """

    of: Callable[[_Name], object]
    is_enough: bool = False
    in_function: bool = False
    in_name: bool = False


def _nothing(_: _Name) -> None:
    return None


_COMMON = (
    _Common(lambda it: (it.base, it.name), is_enough=True),  # in another folder
    _Common(lambda it: (it.file, it.case), is_enough=True),  # in another class, or in none
    _Common(lambda it: (it.base, it.case), is_enough=True),
    _Common(lambda it: (it.file, it.function), in_function=True),  # with other parameters, which may name a model
    _Common(lambda it: (it.base, it.function), in_function=True),
    _Common(lambda it: it.name, in_name=True),  # anywhere: `test_forward` stands in many files
    _Common(lambda it: it.case, in_name=True),
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
            for place in _places(test):
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
            places = map(self._gone.get, _places(test))
            there = next(filter(None, places), [])
            self._found[test] = max(there[:_MANY], key=lambda other: _likeness(test, other), default=None)
        return self._found[test]


def _places(test: str) -> Iterator[tuple[int, object]]:
    """What makes another test the same one."""
    name = _Name.of(test)
    return ((index, common.of(name)) for index, common in enumerate(_COMMON) if common.is_enough)


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

    Those of one class of which all figures are the same stand in for each other first, one to one: such a test has a
    new name and nothing else. What is left of the new ones is held to that of the vanished ones of its class that has
    most in common with it, several perhaps to one. Where the class is another one, too, it must be another case of the
    same function, or of the only class that is new while one is gone.

    Args:
        before: what is known by the old names, each with its figure.
        gone: the tests that there are no more.
        new: what was measured in the new tests.
        taken: the old keys whose new names are known.
    """
    spent = {_Model(key.test, key.model) for key in taken}
    old = {model: row for model, row in _by_model(before).items() if model.test in gone and model not in spent}
    left = _by_model(new)
    found: dict[_Model, _Model] = {}
    classes = _Classes((kind(key.model) for key in before if key.test not in gone), old, left)
    for class_of in (classes.of, None):
        _pair_unchanged(old, left, found, class_of)
    unchanged = set(found.values())
    for class_of in (classes.of, None):
        there = [
            model for model in sorted(old) if model not in (set(found.values()) if class_of is None else unchanged)
        ]
        found |= _closest({model: old[model] for model in there}, left, found, class_of)
    pairs = {key: found.get(_Model(key.test, key.model)) for key in new}
    keys = {key: key._replace(test=model.test, model=model.name) for key, model in pairs.items() if model is not None}
    return {key: other for key, other in keys.items() if other in before}


class _Classes:
    """The classes of models. One that is new is one that is gone, if it stands in as many tests and is the only one.

    Args:
        there: those of models that are still there.
        old: models that there are no more, and `new` ones.
    """

    def __init__(self, there: Iterable[str], old: Iterable[_Model], new: Iterable[_Model]) -> None:
        before, now = (Counter(kind(model.name) for model in side) for side in (old, new))
        kept = {*there}
        gone, made = before.keys() - now.keys() - kept, now.keys() - before.keys() - kept
        self._names = {
            name: other
            for name, other in zip(made, gone, strict=False)
            if len(made) == len(gone) == 1 and now[name] == before[other] > 1
        }

    def of(self, model: _Model) -> str:
        """The class of a model, by its old name."""
        name = kind(model.name)
        return self._names.get(name, name)


_ClassOf: TypeAlias = "Callable[[_Model], str] | None"
"""What tells models of different classes apart; None: nothing does, and they must be cases of one function."""


def _pair_unchanged(
    old: Mapping[_Model, _Figures], new: Mapping[_Model, _Figures], found: dict[_Model, _Model], class_of: _ClassOf
) -> None:
    """Add to `found`, new model -> old one, those that have the same figures, one to one, the closest first."""
    known, measured = ({what for row in side.values() for what in row} for side in (old, new))
    common = sorted(known & measured)
    figures = {model: tuple([row.get(what) for what in common]) for side in (old, new) for model, row in side.items()}
    spent = set(found.values())
    for place in _COMMON:
        if class_of is None and not (place.in_function or place.in_name):
            continue
        groups: dict[object, tuple[list[_Model], list[_Model]]] = {}
        for index, side in enumerate(({*old} - spent, new.keys() - found.keys())):
            for model in sorted(side):
                if any(figure is not None for figure in figures[model]):
                    key = place.of(_Name.of(model.test)), class_of and class_of(model), figures[model]
                    groups.setdefault(key, ([], []))[index].append(model)
        for olds, news in groups.values():
            for one, other in _by_likeness(news, olds):
                found[one] = other
                spent.add(other)


def _by_likeness(new: Sequence[_Model], old: Sequence[_Model]) -> Iterator[tuple[_Model, _Model]]:
    """Models of two sides in pairs, those first whose tests have the most similar names."""
    if len(new) * len(old) > _MANY**2:  # too many to compare, and any of them is as good
        yield from zip(new, old, strict=False)
        return
    taken: set[_Model] = set()
    for _, one, other in sorted([(-_likeness(one.test, other.test), one, other) for one in new for other in old]):
        if one not in taken and other not in taken:
            taken |= {one, other}
            yield one, other


def _closest(
    old: Mapping[_Model, _Figures], new: Mapping[_Model, _Figures], known: Container[_Model], class_of: _ClassOf
) -> dict[_Model, _Model]:
    """New model, unless it is known already -> the old one that has most in common with it.

    Of several whose tests have as much in common: that whose test has the most similar name, or that with the most
    similar figures if it is less. Chance makes names similar, and a test that is gone may have been larger.
    """
    found: dict[_Model, _Model] = {}
    for common in _COMMON:
        if class_of is None and not (common.in_function or common.in_name):
            continue

        def place_of(model: _Model, common: _Common = common) -> object:
            return common.of(_Name.of(model.test)), class_of and class_of(model)

        left = [model for model in sorted(new) if model not in known and model not in found]
        there: dict[object, list[_Model]] = {}
        for model in old:
            there.setdefault(place_of(model), []).append(model)
        rivals = Counter(map(place_of, left))
        for model in left:
            place = place_of(model)
            candidates = there.get(place, [])
            if candidates and (class_of or common.in_function or rivals[place] == len(candidates) == 1):
                apart = {it: _apart(old[it], new[model]) for it in candidates}
                alike = {it: _likeness(model.test, it.test) for it in candidates[:_MANY]}
                by_name, by_figures = max(alike, key=alike.__getitem__), min(apart, key=apart.__getitem__)
                found[model] = min(by_name, by_figures, key=lambda it: max(old[it].values()))
    return found


def _apart(one: _Figures, other: _Figures) -> float:
    """How much figures differ, as factors: 8 is as far from 4 as from 16."""
    return sum(abs(log((one[what] + 1) / (other[what] + 1))) for what in one.keys() & other.keys())


def _by_model(figures: Mapping[Key, Figure]) -> dict[_Model, _Figures]:
    found: dict[_Model, _Figures] = {}
    for key, figure in figures.items():
        found.setdefault(_Model(key.test, key.model), {})[key.metric, key.per, key.device] = figure
    return found


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
