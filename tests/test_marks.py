"""Marks as users write them: what is refused at collection, and which one wins."""

from __future__ import annotations

import inspect

import pytest

from pytest_modelbudget.budget import Budget, Level, Per, TensorSpec, Uncounted
from pytest_modelbudget.catalogue import MARKS
from pytest_modelbudget.marks import signature_of
from pytest_modelbudget.metrics import METRICS, Unit

OFF = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest")


@pytest.fixture
def budgets(pytester, monkeypatch):
    """Runs tests and returns the budget of each, by name."""

    def run(*args: str, outcomes: dict[str, int] | None = None, **files: str) -> dict[str, Budget]:
        found: dict[str, Budget] = {}

        def observe(item, budget, settings, resolve):
            found[item.name] = budget
            return (yield)

        monkeypatch.setattr("pytest_modelbudget.gate.observe", observe)
        for name, text in files.items():
            pytester.makepyfile(**{name: text})
        result = pytester.runpytest_inprocess(*OFF, *args)
        assert result.ret == pytest.ExitCode.OK
        return found

    return run


def written(budget: Budget) -> dict[str, str]:
    return {limit.metric.name: limit.written for limit in budget.limits}


# What is refused.

WRONG_UNIT = {Unit.COUNT: "4 GB", Unit.FLOP: "4 GB", Unit.MAC: "4 GFLOPs", Unit.BYTE: "4 GFLOPs", Unit.SECOND: "4 GB"}

BAD_LIMITS = {
    '"ten"': "'ten' is not a quantity; write e.g. *",
    "": "missing a required argument: 'limit'; write e.g. max_*(*)",
    '"1", modle="net"': "got an unexpected keyword argument 'modle'; did you mean *?",
    '"1", "2"': "too many positional arguments; write e.g. *",
    "-1": "-1 is negative; write e.g. *",
    '"-1"': "'-1' is negative; write e.g. *",
    'float("nan")': "NaN is not finite; write e.g. *",
    'float("inf")': "Infinity is not finite; write e.g. *",
    "True": "True is not a quantity; write e.g. *",
    '""': "an empty string is not a quantity; write e.g. *",
    '"1", per="foo"': 'per=\'foo\' is not allowed; write one of "call", "sample", "test"',
    '"1", level="fatal"': 'level=\'fatal\' is not allowed; write one of "error", "warn"',
    '"1", device="gpu"': "device='gpu' is no device; write auto, *",
    '"1", uncounted="maybe"': "uncounted='maybe' is not allowed; write fail, warn or ignore",
    '"1", model=1': 'model=1 is no text; write e.g. model="student"',
    '"1", module=""': "module='' is no text; write e.g. *",
    '"1", message=3': "message=3 is no text; write e.g. *",
    '"1", inputs=3': "inputs=3 is not understood; write a shape *",
    "\"1\", inputs=['1,128:int65']": "inputs: '1,128:int65': torch has no dtype int65 (did you mean int64?)",
    '"1", inputs="1,128:int65"': "inputs: '1,128:int65': torch has no dtype int65 (did you mean int64?)",
    "\"1\", inputs={'x': '2:torch.flaot32'}": "inputs: '2:torch.flaot32': torch has no dtype flaot32 (did you mean *?)",
    "\"1\", inputs=['2:tensor']": "inputs: '2:tensor': torch has no dtype tensor (usual ones are bool, *float32, *)",
    '"0", inputs="bacth"': "inputs: there is no fixture 'bacth'; did you mean 'batch'?",
}


def bad_marks() -> list[tuple[str, str]]:
    """Decorators and what is said about each."""
    table = []
    for metric in METRICS.values():
        table.append((metric.mark, "missing a required argument: 'limit'; write e.g. *"))
        table.append((f'{metric.mark}("{WRONG_UNIT[metric.unit]}")', f"'{WRONG_UNIT[metric.unit]}' is in *; write *"))
        for arguments, complaint in BAD_LIMITS.items():
            table.append((f"{metric.mark}({arguments})", complaint))
            if arguments and "modle" not in arguments and '"2"' not in arguments:
                table.append((f"modelbudget({metric.name}={arguments})", complaint))
        if not metric.additive:
            table += [
                (f'{metric.mark}("1", per="{per}")', f'per="{per}": {metric.name} is no sum *')
                for per in ("sample", "test")
            ]
    table += [
        ("modelbudget", "no limit; write e.g. modelbudget(*)"),
        ('modelbudget(model="net")', "no limit; write e.g. modelbudget(*)"),
        ('modelbudget("4G")', "too many positional arguments; write e.g. modelbudget(*)"),
        ('modelbudget(flop="4G")', "got an unexpected keyword argument 'flop'; did you mean 'flops'?"),
        ('modelbudget(weight="4G")', "got an unexpected keyword argument 'weight'*"),
        ('modelbudget(params="1", size="ten")', "'ten' is not a quantity; write e.g. *"),
    ]
    return table


def escaped(pattern: str) -> str:
    return pattern.replace("[", "[[]")


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_every_malformed_mark_is_one_line_of_one_collection_error(pytester, workers):
    lines, expected = ["import pytest", "@pytest.fixture", "def batch(): ..."], []
    for number, (mark, complaint) in enumerate(bad_marks()):
        lines += [f"@pytest.mark.{mark}", f"def test_{number}(batch): pass"]
        shown = mark.replace('float("nan")', "nan").replace('float("inf")', "inf").removesuffix("()")
        expected.append(f"test_bad.py:{len(lines) - 1}: @{shown}: {complaint}")
    pytester.makepyfile(test_bad="\n".join(lines))
    result = pytester.runpytest(*OFF, *workers)
    result.stdout.fnmatch_lines([escaped(line) for line in expected], consecutive=True)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.assert_outcomes(errors=1)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_marks_everywhere_in_a_module_are_in_its_report(pytester, workers):
    pytester.makepyfile(
        test_bad="""
        import unittest
        import pytest

        pytestmark = [
            pytest.mark.max_params("1M"),
            pytest.mark.max_params("module"),
        ]

        @pytest.mark.parametrize("x", [
            1,
            pytest.param(2, marks=pytest.mark.max_params("param")),
        ])
        @pytest.mark.max_params("function")
        def test_function(x): pass

        class Mixin:
            @pytest.mark.max_params("mixin")
            def test_mixin(self): pass

        @pytest.mark.max_params("class")
        class TestClass(Mixin):
            @pytest.mark.max_params("method")
            @pytest.mark.parametrize("x", [1, 2, 3])
            def test_method(self, x): pass

            @staticmethod
            @pytest.mark.max_params("static")
            def test_static(): pass

        class TestOther(Mixin):
            pytestmark = pytest.mark.max_params("attribute")

        @pytest.mark.max_params("case")
        class TestCase(unittest.TestCase):
            @pytest.mark.max_params("in case")
            def test_case(self): pass
        """
    )
    result = pytester.runpytest(*OFF, *workers)
    result.assert_outcomes(errors=1)
    places = [line.split('"')[0:2] for line in result.outlines if line.startswith("test_bad.py:")]
    assert sorted(places) == sorted(
        [f"test_bad.py:{line}: @max_params(", name]
        for line, name in [
            (6, "module"),
            (11, "param"),
            (13, "function"),
            (17, "mixin"),
            (20, "class"),
            (22, "method"),
            (27, "static"),
            (31, "attribute"),
            (33, "case"),
            (35, "in case"),
        ]
    )


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_two_marks_with_one_key_in_one_place_are_an_error(pytester, workers):
    pytester.makepyfile(
        test_twice="""
        import pytest

        @pytest.mark.max_flops("1G")
        @pytest.mark.max_flops("2G")
        def test_marks(): pass

        @pytest.mark.modelbudget(flops="1G")
        @pytest.mark.max_flops("2G")
        def test_both_spellings(): pass

        @pytest.mark.max_flops(None)
        @pytest.mark.max_flops("2G")
        def test_lifted(): pass

        @pytest.mark.max_flops("1G", level="warn")
        @pytest.mark.max_flops("1G", per="sample")
        @pytest.mark.max_flops("1G", model="net")
        @pytest.mark.max_flops("1G", module="head")
        @pytest.mark.max_flops("2G")
        def test_different_keys(): pass

        @pytest.mark.max_params("1M")
        class TestClass:
            pytestmark = [pytest.mark.max_params("2M")]
            def test_class(self): pass
        """
    )
    result = pytester.runpytest(*OFF, *workers)
    result.assert_outcomes(errors=1)
    expected = [
        'test_twice.py:3: @max_flops("1G"): contradicts @max_flops("2G") at test_twice.py:4; keep one of them',
        'test_twice.py:7: @modelbudget(flops="1G"): contradicts @max_flops("2G") at test_twice.py:8; keep one of them',
        'test_twice.py:11: @max_flops(None): contradicts @max_flops("2G") at test_twice.py:12; keep one of them',
        'test_twice.py:22: @max_params("1M"): contradicts @max_params("2M") at test_twice.py:24; keep one of them',
    ]
    assert sorted(line for line in result.outlines if line.startswith("test_twice.py:")) == sorted(expected)


def test_a_malformed_mark_that_is_added_at_run_time_fails_the_test(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def small(request):
            request.applymarker(pytest.mark.max_params("ten"))

        def test_it(small): pass
        """
    )
    result = pytester.runpytest(*OFF)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*.py:7: @max_params("ten"): \'ten\' is not a quantity; write e.g. "25.6M"'])


@pytest.mark.parametrize("args", [("--strict-markers",), ("-W", "error"), ()], ids=["strict", "error", "warning"])
def test_the_mark_that_was_meant_is_named(pytester, args):
    pytester.makepyfile("import pytest\n@pytest.mark.max_parms('1M')\ndef test_it(): pass\n")
    result = pytester.runpytest(*OFF, *args)
    result.stdout.fnmatch_lines(["*@pytest.mark.max_parms: did you mean @pytest.mark.max_params[?]"])


def test_a_strange_mark_gets_no_hint(pytester):
    pytester.makepyfile("import pytest\n@pytest.mark.slowish\ndef test_it(): pass\n")
    result = pytester.runpytest(*OFF, "--strict-markers")
    result.stdout.fnmatch_lines(["'slowish' not found in `markers` configuration option"])
    result.stdout.no_fnmatch_line("*did you mean*")


@pytest.mark.parametrize("args", [("--strict-markers", "--strict-config"), ("-W", "error")])
def test_strict_suites_accept_the_marks(budgets, args):
    found = budgets(*args, test_it="import pytest\n@pytest.mark.max_params('1M')\ndef test_it(): pass\n")
    assert written(found["test_it"]) == {"params": "1M"}


# Which one wins.


def test_the_closest_mark_wins_metric_by_metric(budgets):
    found = budgets(
        test_it="""
        import pytest

        pytestmark = [pytest.mark.max_params("9M"), pytest.mark.max_size("9M")]

        @pytest.mark.max_params("2M")
        @pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.max_params("1M"))])
        def test_function(x): pass

        @pytest.mark.max_params("3M")
        class TestClass:
            def test_in_class(self): pass
            @pytest.mark.max_params("2M")
            @pytest.mark.parametrize("x", [pytest.param(2, marks=pytest.mark.max_params("1M"))])
            def test_marked(self, x): pass
            class TestInner:
                def test_inner(self): pass

        def test_module(): pass
        """
    )
    assert {name: written(budget) for name, budget in found.items()} == {
        "test_function[1]": {"params": "2M", "size": "9M"},
        "test_function[2]": {"params": "1M", "size": "9M"},
        "test_in_class": {"params": "3M", "size": "9M"},
        "test_marked[2]": {"params": "1M", "size": "9M"},
        "test_inner": {"params": "3M", "size": "9M"},
        "test_module": {"params": "9M", "size": "9M"},
    }


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        # The function stands in Root: only classes between TestX and Root are closer.
        ("TestPlain", {"test_marked": "5M", "test_unmarked": "6M", "test_overridden": "5M"}),
        # pytest#14329: a derived class's mark beats its base's, and the inherited function's.
        (
            "TestDerived",
            {"test_marked": "1M", "test_unmarked": "1M", "test_overridden": "2M", "test_mixin": "1M"},
        ),
        (
            "TestMixed",
            {"test_marked": "4M", "test_unmarked": "4M", "test_overridden": "4M", "test_mixin": "3M"},
        ),
    ],
)
def test_classes_by_method_resolution_order(budgets, cls, expected):
    found = budgets(
        "-k",
        cls,
        test_it="""
        import pytest

        @pytest.mark.max_params("6M")
        class Root:
            @pytest.mark.max_params("5M")
            def test_marked(self): pass
            def test_unmarked(self): pass
            @pytest.mark.max_params("5M")
            def test_overridden(self): pass

        @pytest.mark.max_params("4M")
        class Mixin:
            @pytest.mark.max_params("3M")
            def test_mixin(self): pass

        class TestPlain(Root): pass

        @pytest.mark.max_params("1M")
        class TestDerived(Mixin, Root):
            @pytest.mark.max_params("2M")
            def test_overridden(self): pass

        class TestMixed(Mixin, Root): pass
        """,
    )
    assert {name: written(budget)["params"] for name, budget in found.items()} == expected


def test_none_lifts_every_inherited_limit_of_a_metric(budgets):
    found = budgets(
        test_it="""
        import pytest

        @pytest.mark.max_flops("1G")
        @pytest.mark.max_flops("2G", level="warn")
        @pytest.mark.max_flops("3G", module="head")
        @pytest.mark.max_params("1M")
        class TestClass:
            @pytest.mark.max_flops(None)
            def test_lifted(self): pass

            @pytest.mark.max_flops(None)
            @pytest.mark.max_flops("4G", module="stem")
            def test_replaced(self): pass

            @pytest.mark.max_flops("4G")
            @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.modelbudget(flops=None, params=None))])
            def test_unlimited(self, x): pass
        """
    )
    assert [limit.written for limit in found["test_lifted"].limits] == ["1M"]
    assert [limit.written for limit in found["test_replaced"].limits] == ["4G", "1M"]
    assert "test_unlimited[1]" not in found


def test_a_warning_and_an_error_live_side_by_side(budgets):
    found = budgets(
        test_it="""
        import pytest

        @pytest.mark.max_flops("4G", level="warn")
        class TestClass:
            @pytest.mark.max_flops("5G")
            def test_it(self): pass
        """
    )
    assert [(limit.level, limit.value) for limit in found["test_it"].limits] == [
        (Level.ERROR, 5 * 10**9),
        (Level.WARN, 4 * 10**9),
    ]


def test_marks_added_at_run_time_are_the_closest(budgets):
    found = budgets(
        conftest="""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                if "hook" in item.name:
                    item.add_marker(pytest.mark.max_params("1M"))
                if "node" in item.name:
                    item.parent.add_marker(pytest.mark.max_size("1M"))

        @pytest.fixture
        def small(request):
            request.applymarker(pytest.mark.max_params("2M"))
            request.applymarker(pytest.mark.max_params("3M"))
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.max_params("9M"))])
        def test_hook(x): pass
        @pytest.mark.max_params("9M")
        def test_fixture(small): pass
        def test_unmarked(small): pass
        def test_plain(): pass

        class TestClass:
            def test_node(self): pass
        """,
    )
    assert {name: written(budget) for name, budget in found.items()} == {
        "test_hook[1]": {"params": "1M"},
        "test_fixture": {"params": "3M"},
        "test_unmarked": {"params": "3M"},
        "test_node": {"size": "1M"},
    }
    assert all(limit.source.direct for limit in found["test_fixture"].limits)


def test_a_mark_that_is_removed_again_does_not_count(budgets):
    found = budgets(
        conftest="""
        def pytest_collection_modifyitems(items):
            for item in items:
                item.own_markers.clear()
        """,
        test_it="import pytest\n@pytest.mark.max_params('1M')\ndef test_it(): pass\n",
    )
    assert not found


def test_unittest_async_and_doctest_items_have_budgets(budgets):
    found = budgets(
        "--doctest-modules",
        test_it='''
        import unittest
        import pytest

        pytestmark = pytest.mark.max_params("2M")

        def documented():
            """
            >>> 1 + 1
            2
            """

        class TestCase(unittest.TestCase):
            @pytest.mark.max_params("1M")
            def test_case(self): pass

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_async(self): pass
        ''',
    )
    assert {name: written(budget) for name, budget in found.items()} == {
        "test_case": {"params": "1M"},
        "test_async": {"params": "2M"},
        "test_it.documented": {"params": "2M"},
    }


# What a limit knows.


def test_sources_name_the_line_to_edit(budgets):
    found = budgets(
        base="""
        import pytest

        class Base:
            @pytest.mark.max_macs("5G")
            def test_inherited(self): pass
        """,
        test_it="""
        import pytest
        from base import Base

        LIMIT = "1M"
        alias = pytest.mark.max_macs("7M")

        pytestmark = [
            pytest.mark.max_size(
                "1G",
            ),
        ]

        @pytest.mark.max_params(LIMIT)
        @pytest.mark.parametrize("x", [
            pytest.param(1, marks=[pytest.mark.max_flops("1G")]),
            pytest.param(2, marks=[pytest.mark.max_flops("2G")]),
        ])
        @alias
        def test_function(x): pass

        @pytest.mark.max_trainable_params(
            1,
        )
        class TestClass(Base): pass
        """,
    )

    def sources(name: str) -> dict[str, tuple[str, str, bool]]:
        sources = {limit.metric.name: limit.source for limit in found[name].limits}
        return {name: (source.text, source.location, source.direct) for name, source in sources.items()}

    module = ('@max_size("1G")', "test_it.py:8", False)
    assert sources("test_function[2]") == {
        "flops": ('@max_flops("2G")', "test_it.py:16", True),
        "macs": ('@max_macs("7M")', "test_it.py:19", True),  # the alias's own line is not on the function
        "params": ('@max_params("1M")', "test_it.py:13", True),
        "size": module,
    }
    assert sources("test_inherited") == {
        "macs": ('@max_macs("5G")', "base.py:4", True),
        "trainable_params": ("@max_trainable_params(1)", "test_it.py:21", False),
        "size": module,
    }


def test_every_keyword_arrives(budgets):
    found = budgets(
        "--modelbudget-flops-per-mac=1",
        test_it="""
        import pytest

        @pytest.mark.max_flops(
            "4 GMACs", model="student", inputs=["1,128:int64", (1, 3)], module="layer*", per="sample",
            device="meta", uncounted="ignore", level="warn", message="edge",
        )
        def test_it(): pass
        """,
    )
    (limit,) = found["test_it"].limits
    assert limit.value == 4 * 10**9
    assert limit.written == "4 GMACs"
    assert limit.inputs == (TensorSpec((1, 128), "int64"), TensorSpec((1, 3)))
    assert (limit.model, limit.module, limit.per, limit.device) == ("student", "layer*", Per.SAMPLE, "meta")
    assert (limit.uncounted, limit.level, limit.message) == (Uncounted.IGNORE, Level.WARN, "edge")


# What pytest shows.


def test_every_mark_is_documented_with_its_signature(pytester):
    assert {"modelbudget", "max_growth", *(metric.mark for metric in METRICS.values())} == MARKS
    result = pytester.runpytest("--markers", *OFF)
    for name in MARKS:
        signature = signature_of(name)
        (line,) = (line for line in result.outlines if line.startswith(f"@pytest.mark.{name}("))
        shown, _, sentence = line.removeprefix(f"@pytest.mark.{name}").partition(": ")
        assert sentence.endswith(".")
        for parameter in signature.parameters.values():
            assert parameter.name in shown
            if parameter.default not in (None, inspect.Parameter.empty):
                assert f'{parameter.name}="{parameter.default}"' in shown
        assert ("latency=" in shown) == (name == "modelbudget"), "growth of a time is never judged"
