"""Which modules made a figure grow: trees of figures in, changes out."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_modelbudget.growth import ModuleChange, explain, summary

BEFORE = {"": 100, "stem": 10, "layer1": 40, "layer1.0": 15, "layer1.1": 25, "layer1.1.conv": 25, "head": 50, "relu": 0}


@pytest.mark.parametrize(
    ("changed", "changes"),
    [
        ({}, []),
        ({"": 105, "head": 55}, [("head", "grown", 5, "")]),
        ({"": 95, "head": 45}, [("head", "shrunk", -5, "")]),
        # The deepest module that changed is named, not what contains it.
        ({"": 103, "layer1": 43, "layer1.1": 28, "layer1.1.conv": 28}, [("layer1.1.conv", "grown", 3, "")]),
        # Work of a module's own, outside its children.
        ({"": 107, "layer1": 47}, [("layer1", "grown", 7, "")]),
        ({"": 101}, [("", "grown", 1, "")]),
        # A new subtree is one change.
        (
            {"": 130, "neck": 30, "neck.0": 10, "neck.1": 20},
            [("neck", "new", 30, "")],
        ),
        # From nothing is not new.
        ({"": 103, "relu": 3}, [("relu", "grown", 3, "")]),
        # What pulled the other way comes last.
        ({"": 106, "head": 57, "stem": 9}, [("head", "grown", 7, ""), ("stem", "shrunk", -1, "")]),
    ],
)
def test_what_changed(changed, changes):
    assert explain(BEFORE, {**BEFORE, **changed}) == [ModuleChange(*change) for change in changes]


def test_a_figure_without_parts_explains_itself():
    assert explain({"": 1}, {"": 2}) == []


def test_what_is_gone():
    after = {path: figure for path, figure in BEFORE.items() if not path.startswith("layer1")} | {"": 60}
    assert explain(BEFORE, after) == [ModuleChange("layer1", "gone", -40)]


@pytest.mark.parametrize("wrappers", [("net",), ("net", "inner")])
def test_what_a_wrapper_is_put_around_has_not_moved(wrappers: tuple[str, ...]):
    plain = {"": 9, "model": 6, "model.layers": 6, "model.layers.0": 3, "model.layers.1": 3, "head": 3}
    grown = {**plain, "": 12, "model": 9, "model.layers": 9, "model.layers.2": 3}

    def wrapped(figures: dict[str, int]) -> dict[str, int]:
        for wrapper in reversed(wrappers):
            inside = {f"{wrapper}.{path}": figure for path, figure in figures.items() if path}
            figures = {"": figures[""], wrapper: figures[""], **inside}
        return figures

    prefix = ".".join(wrappers)
    assert explain(plain, wrapped(grown)) == [ModuleChange(f"{prefix}.model.layers.2", "new", 3)]
    assert explain(wrapped(plain), grown) == [ModuleChange("model.layers.2", "new", 3)]
    assert explain(plain, wrapped(plain)) == explain(wrapped(plain), plain) == []


def test_another_model_is_no_wrapper():
    changes = explain({"": 3, "a": 1, "b": 2}, {"": 9, "net": 9, "net.c": 9})
    assert [(change.path, change.kind) for change in changes] == [("net", "new"), ("a", "gone"), ("b", "gone")]


def test_what_is_renamed_explains_nothing():
    after = {path.replace("layer1", "blocks"): figure for path, figure in BEFORE.items()} | {"": 105, "head": 55}
    assert explain(BEFORE, after) == [
        ModuleChange("head", "grown", 5),
        ModuleChange("blocks", "renamed", 0, "layer1"),
    ]


def test_what_moved_into_another_module():
    before = {"": 30, "stem": 10, "body": 20, "body.conv": 20}
    after = {"": 37, "body": 37, "body.conv": 20, "body.stem": 10, "body.norm": 7}
    assert explain(before, after) == [
        ModuleChange("body.norm", "new", 7),
        ModuleChange("body.stem", "renamed", 0, "stem"),
    ]


def test_shared_parameters_blame_no_bystander():
    before = {"": 40, "embedding": 40, "head": 40}
    after = {"": 50, "embedding": 50, "head": 50}
    assert explain(before, after) == [ModuleChange("embedding", "grown", 10), ModuleChange("head", "grown", 10)]


def test_a_shared_part_that_is_gone_makes_no_bystander_grow():
    before = {"": 40, "embedding": 40, "head": 40}
    after = {"": 40, "embedding": 40}
    assert explain(before, after) == [ModuleChange("head", "gone", -40)]


def test_a_module_that_lost_a_part_and_weighs_the_same_has_grown_by_itself():
    before = {"": 1, "a": 1, "a.a": 1, "b": 0}
    after = {"": 2, "a": 1, "b": 1, "b.a": 1}
    assert explain(before, after) == [ModuleChange("a", "grown", 1), ModuleChange("b.a", "renamed", 0, "a.a")]


def test_many_that_grew_alike_are_put_together():
    before = {"": 24, "layer1": 12, "layer2": 12, **{f"layer{i}.{j}": 2 for i in (1, 2) for j in range(6)}}
    after = {path: 2 * figure for path, figure in before.items()}
    assert len(explain(before, after)) == 12
    assert summary(explain(before, after)) == [
        ModuleChange("layer1", "grown", 12),
        ModuleChange("layer2", "grown", 12),
    ]


def test_one_that_says_it_all_is_not_put_together_with_others():
    before = {"": 16, **{f"layer.{i}": 1 for i in range(16)}, "layer": 16}
    after = {**before, "": 131, "layer": 131, **{f"layer.{i}": 2 for i in range(16)}, "layer.3": 101}
    assert summary(explain(before, after))[0] == ModuleChange("layer.3", "grown", 100)


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


@st.composite
def trees(draw):
    """Figures of a tree whose modules contain no more than their children and own work."""
    own = draw(st.dictionaries(paths, st.integers(0, 9), max_size=6))
    nodes = {""}
    for path in own:
        parts = path.split(".")
        nodes |= {".".join(parts[: index + 1]) for index in range(len(parts))}
    return {
        node: sum(figure for path, figure in own.items() if not node or path == node or path.startswith(node + "."))
        for node in nodes
    }


@given(trees())
def test_nothing_changed_in_what_is_the_same(tree):
    assert explain(tree, tree) == []


# A part moved, and the module that it left does as much as before: by itself, now.
@example({"": 1, "a": 1, "a.a": 1, "b": 0}, {"": 2, "a": 1, "b.a": 1, "b": 1})
@given(trees(), trees())
def test_without_shared_parts_the_changes_of_growth_are_named(before, after):
    changes = explain(before, after)
    assert all(change.path in after or change.path in before for change in changes)
    assert sum(change.delta for change in changes) == after[""] - before[""]
