"""What `--modelbudget-update` changes: entries and figures in, changes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelbudget.baseline import Entry, Key
from pytest_modelbudget.update import Update, applied, changes, vanished

KEY = Key("test_it.py::test_it", "Net", "params")
NEW, RAISE, LOWER = Update.NEW, Update.RAISE, Update.LOWER


def entry(value: int, **keywords: object) -> Entry:
    return Entry(value, {"": value}, **keywords)


def changed(before: int | None, after: int, *allowed: Update, not_lower: str = "") -> int | None:
    """The recorded figure after a run that measured another one."""
    entries = {} if before is None else {KEY: entry(before)}
    found = changes(entries, {KEY: entry(after)}, allowed, not_lower=not_lower)
    result = applied(entries, found).get(KEY)
    return None if result is None else result.value


@pytest.mark.parametrize(
    ("before", "after", "needs"),
    [(None, 5, NEW), (5, 6, RAISE), (6, 5, LOWER), (5, 0, LOWER), (0, 1, RAISE)],
)
def test_each_word_allows_one_thing(before, after, needs):
    assert changed(before, after, needs) == after
    assert changed(before, after, *({NEW, RAISE, LOWER} - {needs})) == before


def test_what_is_refused_says_what_it_needs():
    (change,) = changes({KEY: entry(5)}, {KEY: entry(6)}, [NEW])
    assert (change.needs, change.refused) == (RAISE, "needs --modelbudget-update=raise")


def test_lowering_can_be_out_of_the_question():
    (change,) = changes({KEY: entry(5)}, {KEY: entry(4)}, [LOWER], not_lower="2 tests failed")
    assert change.refused == "2 tests failed"
    assert changed(5, 6, RAISE, not_lower="2 tests failed") == 6


def test_an_equal_figure_keeps_who_measured_it_first():
    measured = {KEY: entry(5, torch="2.13.0")}
    assert changes({KEY: entry(5, torch="2.6.0")}, measured, list(Update)) == []


def test_another_way_to_the_same_figure_has_to_be_accepted():
    before, after = Entry(5, {"": 5, "a": 3}), Entry(5, {"": 5, "a": 4})
    (change,) = changes({KEY: before}, {KEY: after}, [RAISE])
    assert (change.needs, change.refused) == (RAISE, "")


def test_as_much_for_other_inputs_may_be_growth_and_has_to_be_accepted():
    before, after = entry(5, inputs="4x32"), entry(5, inputs="1x32")
    assert [change.needs for change in changes({KEY: before}, {KEY: after}, [RAISE])] == [RAISE]
    assert changes({KEY: before}, {KEY: after}, [RAISE], by_chance=[KEY]) == []


@pytest.mark.parametrize("allowed", [[], [LOWER], list(Update)])
def test_what_hypothesis_chose_smaller_is_not_lowered(allowed):
    (change,) = changes({KEY: entry(5)}, {KEY: entry(4)}, allowed, by_chance=[KEY])
    assert change.refused == (
        "since hypothesis chose other examples than those that are recorded: an @example of the largest keeps the "
        "figure still"
    )
    assert applied({KEY: entry(5)}, [change]) == {KEY: entry(5)}


def test_two_conventions_are_not_compared():
    key = KEY._replace(metric="flops")
    entries, measured = {key: entry(5)}, {key: entry(6, flops_per_mac=1)}
    (change,) = changes(entries, measured, list(Update))
    assert change.refused.startswith("recorded with flops_per_mac=2, measured with 1")
    assert applied(entries, [change]) == entries
    # Parameters are the same in both.
    assert changed(5, 6, RAISE) == 6


def test_entries_of_vanished_tests_are_dropped_by_lower_alone():
    entries = {KEY: entry(5)}
    assert applied(entries, changes(entries, {}, [NEW, RAISE], gone=[KEY])) == entries
    assert applied(entries, changes(entries, {}, [LOWER], gone=[KEY], not_lower="no")) == entries
    assert applied(entries, changes(entries, {}, [LOWER], gone=[KEY])) == {}


@pytest.mark.parametrize(
    ("key", "is_gone"),
    [
        (Key("gone.py::test", "Net", "params"), True),
        (Key("skipped.py::test", "Net", "params"), False),
        (Key("here.py::test", "Net", "params"), False),
        (Key("here.py::test", "Renamed", "params"), True),  # measured alike, but it is not this model
        (Key("here.py::test", "Renamed", "flops"), False),  # nobody looked
        (Key("here.py::test", "Renamed", "params", device="cuda"), False),  # nobody looked there
    ],
)
def test_what_vanished(key, is_gone):
    measured = {Key("here.py::test", "Net", "params"): entry(1)}
    seen = {"here.py::test", "skipped.py::test"}
    assert vanished({key: entry(1)}, measured, seen) == ([key] if is_gone else [])


keys = st.builds(Key, st.sampled_from("ab"), st.just("Net"), st.sampled_from(["params", "flops"]))
books = st.dictionaries(keys, st.builds(entry, st.integers(0, 3)), max_size=4)
words = st.sets(st.sampled_from(Update))


@given(books, books, words)
def test_nothing_changes_without_a_word(entries, measured, allowed):
    after = applied(entries, changes(entries, measured, allowed))
    for key in entries.keys() | measured.keys():
        if key not in entries:
            assert (key in after) == (NEW in allowed)
        elif key not in measured:
            assert after[key] == entries[key]
        elif measured[key].value > entries[key].value:
            assert (after[key] == measured[key]) == (RAISE in allowed)
        elif measured[key].value < entries[key].value:
            assert (after[key] == measured[key]) == (LOWER in allowed)


@given(books, books, words)
def test_an_update_twice_is_an_update_once(entries, measured, allowed):
    once = applied(entries, changes(entries, measured, allowed))
    again = changes(once, measured, allowed)
    assert applied(once, again) == once
    assert all(change.refused for change in again)


@given(books, books)
def test_with_every_word_the_baseline_is_what_was_measured(entries, measured):
    gone = [key for key in entries if key not in measured]
    assert applied(entries, changes(entries, measured, list(Update), gone=gone)) == measured
