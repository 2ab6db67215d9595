"""Budgets in TOML."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.settings import Settings
from pytest_modelbudget.tables import Table, load, unmatched

OFF = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest")

TWO_TESTS = "def test_one(): pass\ndef test_two(): pass\n"


def table(pattern: str) -> Table:
    return Table(pattern, (), "modelbudget.toml: budgets[0].tests")


@pytest.mark.parametrize(
    ("pattern", "nodeid"),
    [
        ("tests/test_a.py", "tests/test_a.py::test_x"),
        ("tests/test_a.py::TestA", "tests/test_a.py::TestA::test_x"),
        ("tests/test_a.py::test_x", "tests/test_a.py::test_x"),
        ("tests/test_a.py::test_x", "tests/test_a.py::test_x[1-a]"),
        ("tests/test_a.py::test_x[1-a]", "tests/test_a.py::test_x[1-a]"),
        ("tests/test_a.py::test_x", "tests/test_a.py::test_x@group"),
        ("tests/*", "tests/vision/test_a.py::test_x"),
        ("*test_x*", "tests/test_a.py::test_x[1]"),
        ("tests", "tests/test_a.py::test_x"),
        ("tests/vision", "tests/vision/test_a.py::test_x"),
        ("tests/vision/", "tests/vision/deep/test_a.py::test_x"),
        ("*/test_a.py", "tests/test_a.py::test_x"),
        ("*/test_a.py", "tests/vision/test_a.py::TestA::test_x[1]"),
        ("**/test_a.py", "tests/vision/test_a.py::test_x"),
        ("**/test_a.py", "test_a.py::test_x"),
        ("tests/**/test_a.py", "tests/test_a.py::test_x"),
        ("tests/**/test_a.py", "tests/vision/deep/test_a.py::test_x"),
        ("**/tests/**/test_a.py", "tests/test_a.py::test_x"),
        ("tests/*/models", "tests/vision/models/test_a.py::test_x"),
        ("tests/*/models/", "tests/vision/models/test_a.py::test_x"),
        ("tests/test_[ab].py", "tests/test_a.py::test_x"),
        ("tests/*.py::TestA", "tests/test_a.py::TestA::test_x"),
        ("*::test_x", "tests/test_a.py::test_x[1-a]"),
        ("*::test_x", "tests/test_a.py::test_x@group"),
    ],
)
def test_a_pattern_covers(pattern, nodeid):
    assert table(pattern).covers(nodeid)


@pytest.mark.parametrize(
    ("pattern", "nodeid"),
    [
        ("tests/test_a.py::test_x", "tests/test_a.py::test_xy"),
        ("tests/test_a", "tests/test_a.py::test_x"),
        ("tests/vis", "tests/vision/test_a.py::test_x"),
        ("vision", "tests/vision/test_a.py::test_x"),
        ("Tests/*", "tests/test_a.py::test_x"),
        ("test_a.py", "tests/test_a.py::test_x"),
        ("*/Test_a.py", "tests/test_a.py::test_x"),
        ("*/test_a", "tests/test_a.py::test_x"),
        ("*/test_a.py", "test_a.py::test_x"),
        ("**/test_a.py", "tests/my_test_a.py::test_x"),
        ("tests/*/models", "tests/models/test_a.py::test_x"),
        ("tests/*/models", "tests/vision/models_of_ours/test_a.py::test_x"),
        ("*::test_x", "tests/test_a.py::test_xy"),
        ("tests/test_a.py::test_x[a]", "tests/test_a.py::test_xa[1]"),
    ],
)
def test_a_pattern_does_not_cover(pattern, nodeid):
    assert not table(pattern).covers(nodeid)


def test_a_pattern_that_covers_nothing_is_named():
    assert unmatched([table("tests/*"), table("vision")], ["tests/test_a.py::test_x"]) == [
        "modelbudget.toml: budgets[0].tests: 'vision' matches no test; "
        "write the start of a node id, as pytest --collect-only -q lists them, or a pattern"
    ]


PYPROJECT = """
[[tool.modelbudget.budgets]]
tests = "*"
max_params = "25.6M"
max_flops = "4.2 GMACs"
message = "edge device: see docs/edge.md"
inputs = [1, 3, 224, 224]

[[tool.modelbudget.budgets]]
tests = "test_it.py"
max_params = 26_000_000
level = "warn"
"""


@pytest.mark.parametrize("file", ["pyproject.toml", "modelbudget.toml"])
def test_tables_hold_limits(tmp_path, file):
    text = PYPROJECT if file == "pyproject.toml" else PYPROJECT.replace("tool.modelbudget.", "")
    tmp_path.joinpath(file).write_text(text, encoding="utf-8")
    where = f"{file}: tool.modelbudget." if file == "pyproject.toml" else f"{file}: "
    first, second = load(tmp_path, Settings())
    assert [(limit.metric.name, limit.value, limit.written) for limit in first.limits] == [
        ("params", 25_600_000, "25.6M"),
        ("flops", 8_400_000_000, "4.2 GMACs"),
    ]
    assert first.limits[1].source.text == f"{where}budgets[0].max_flops"
    assert first.limits[1].source.location == file
    assert first.limits[1].message == "edge device: see docs/edge.md"
    assert not first.limits[1].source.direct
    assert second.key == f"{where}budgets[1].tests"


def test_most_projects_have_no_tables(tmp_path):
    assert load(tmp_path, Settings()) == ()
    tmp_path.joinpath("pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    assert load(tmp_path, Settings()) == ()


KEY = "tool.modelbudget.budgets[0]"
BAD = [
    ('max_flop = "1G"\ntests = "*"', f"{KEY}.max_flop: unknown key; did you mean 'max_flops'?"),
    ('max_flops = "1G"\ntest = "*"', f"{KEY}.test: unknown key; did you mean 'tests'?"),
    ('max_flops = "1G"', f'{KEY}.tests: None is no pattern; write e.g. tests = "tests/vision/*"'),
    ('max_flops = "1G"\ntests = ["a"]', f"{KEY}.tests: ['a'] is no pattern; *"),
    ('tests = "*"', f'{KEY}: no limit; write e.g. max_params = "26M"'),
    ('tests = "*"\nmax_flops = "ten"', f"{KEY}.max_flops: 'ten' is not a quantity; write e.g. \"4 GFLOPs\""),
    ('tests = "*"\nmax_flops = "None"', f"{KEY}.max_flops: 'None' is not a limit; write \"none\" to lift *"),
    ('tests = "*"\nmax_growth = {memry = "5%"}', f"{KEY}.max_growth: 'memry' is no metric; did you mean 'memory'?*"),
    ('tests = "*"\nmax_growth = {latency = "5%"}', f"{KEY}.max_growth: latency differs from run to run *"),
    ('tests = "*"\nmax_growth = "1%, latency=5%"', f"{KEY}.max_growth: latency differs from run to run *"),
    ('tests = "*"\nmax_growth = {memory = "5"}', f"{KEY}.max_growth: '5' is no percentage; write \"5%\""),
    ('tests = "*"\nmax_growth = "None"', f"{KEY}.max_growth: 'None' is not a limit; write \"none\" to lift *"),
    ('tests = "*"\nmax_flops = true', f"{KEY}.max_flops: True is not a quantity; *"),
    ('tests = "*"\nmax_flops = -1', f"{KEY}.max_flops: -1 is negative; *"),
    ('tests = "*"\nmax_flops = nan', f"{KEY}.max_flops: NaN is not finite; *"),
    ('tests = "*"\nmax_flops = ["1G"]', f"{KEY}.max_flops: ['1G'] is not a quantity; *"),
    ('tests = "*"\nmax_flops = "1G"\nper = "foo"', f"{KEY}.max_flops: per='foo' is not allowed; *"),
    ('tests = "*"\nmax_flops = "1G"\nmessage = 1', f"{KEY}.max_flops: message=1 is no text; *"),
    ('tests = "*"\nmax_params = "1G"\nper = "sample"', f'{KEY}.max_params: per="sample": params is no sum *'),
    ('tests = "*"\nmax_flops = "1G"\ninputs = 1.5', f"{KEY}.max_flops: inputs=1.5 is not understood; *"),
    (
        'tests = "*"\nmax_flops = "1G"\ninputs = ["1,128:int65"]',
        f"{KEY}.max_flops: inputs: '1,128:int65': torch has no dtype int65 (did you mean int64?)",
    ),
]


def escaped(pattern: str) -> str:
    return pattern.replace("[", "[[]")


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_a_malformed_table_is_one_line_with_its_key(pytester, text, complaint):
    pytester.makepyprojecttoml(f"[[tool.modelbudget.budgets]]\n{text}\n")
    refused(pytester, f"pyproject.toml: {complaint}")


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("modelbudget.toml", "[[budgets", "modelbudget.toml: Expected *"),
        ("modelbudget.toml", "[[budget]]", "modelbudget.toml: budget: unknown key; budgets stand in [[budgets]], *"),
        ("modelbudget.toml", "budgets = 1", "modelbudget.toml: budgets: not an array of tables; write [[budgets]]"),
        ("modelbudget.toml", "[budgets]\ntests = '*'", "modelbudget.toml: budgets: not an array of tables; *"),
        (
            "modelbudget.toml",
            "[[tool.modelbudget.budgets]]",
            "modelbudget.toml: tool: unknown key; budgets stand in [[budgets]], *",
        ),
        *(
            (
                "pyproject.toml",
                f"[[{name}]]\ntests = '*'\nmax_params = 1",
                f"pyproject.toml: {name.removesuffix('.budgets')}: unknown key; budgets stand in "
                "[[tool.modelbudget.budgets]]",
            )
            for name in (
                "budgets",
                "modelbudget.budgets",
                "tool.model_budget.budgets",
                "tool.modelbudgets",
                "tool.pytest-modelbudget.budgets",
            )
        ),
        ("pyproject.toml", "[tool]\nmodelbudget = 1", "pyproject.toml: tool.modelbudget is no table; write *"),
        (
            "pyproject.toml",
            "[tool.modelbudget]\ndevice = 'meta'",
            "pyproject.toml: tool.modelbudget.device: unknown key; *settings among pytest's own, as modelbudget_<name>",
        ),
    ],
)
def test_a_malformed_file_is_one_line(pytester, file, text, complaint):
    pytester.path.joinpath(file).write_text(text, encoding="utf-8")
    refused(pytester, complaint)


def test_two_files_are_one_too_many(pytester):
    pytester.makepyprojecttoml(PYPROJECT)
    pytester.path.joinpath("modelbudget.toml").write_text("[[budgets]]\n", encoding="utf-8")
    refused(pytester, "modelbudget.toml and pyproject.toml ([tool.modelbudget]) both set budgets; keep one")


def refused(pytester: pytest.Pytester, complaint: str) -> None:
    result = pytester.runpytest_inprocess(*OFF)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.errlines if line]) == 1
    result.stderr.fnmatch_lines([escaped(f"ERROR: {complaint}")])


@pytest.fixture
def with_pattern(pytester):
    """A project of two tests, and a table that covers neither."""
    pytester.makepyfile(test_it=TWO_TESTS)
    pytester.makepyprojecttoml('[[tool.modelbudget.budgets]]\ntests = "test_other.py"\nmax_params = "1M"\n')
    return pytester


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_on_a_full_run_a_pattern_that_covers_nothing_is_an_error(with_pattern, workers):
    result = with_pattern.runpytest(*OFF, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: pyproject.toml: tool.modelbudget.budgets[[]0].tests: 'test_other.py' matches no test; write *"]
    )
    assert "Traceback" not in result.stderr.str() + result.stdout.str()
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


@pytest.mark.parametrize("workers", [(), ("-n2",), ("-n2", "--dist=loadfile")], ids=" ".join)
def test_it_is_said_before_any_test_runs(with_pattern, workers):
    with_pattern.makepyfile(test_it="def test_it(): open('ran', 'w').close()\n")
    assert with_pattern.runpytest(*OFF, *workers).ret == pytest.ExitCode.USAGE_ERROR
    assert not with_pattern.path.joinpath("ran").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("test_it.py",),
        ("test_it.py", "-n2"),
        ("-k", "one"),
        ("--deselect", "test_it.py::test_one"),
        ("--collect-only",),
        ("--no-modelbudget",),
    ],
)
def test_on_other_runs_it_is_none(with_pattern, args):
    with_pattern.makepyfile(test_other="def test_no_more(): pass")
    with_pattern.makeini("[pytest]\npython_functions = test_one test_two\n")
    assert with_pattern.runpytest(*OFF, *args).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("args", [("-k", "one"), ("test_it.py",), ("test_it.py", "-n2")], ids=" ".join)
def test_a_file_that_is_not_there_is_an_error_on_every_run(with_pattern, args):
    result = with_pattern.runpytest(*OFF, *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *budgets[[]0].tests: 'test_other.py' matches no test; write *"])


@pytest.mark.parametrize("pattern", ["test_o*.py", "test_i?.py::test_three", "test_it.py::test_three[1-a]"])
def test_where_tests_are_selected_a_pattern_may_be_for_others(with_pattern, pattern):
    with_pattern.makepyprojecttoml(f'[[tool.modelbudget.budgets]]\ntests = "{pattern}"\nmax_params = "1M"\n')
    assert with_pattern.runpytest(*OFF, "test_it.py::test_one").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("./tests/test_a.py", "tests/test_a.py"),
        ("././tests", "tests"),
        (".//tests", "tests"),
        (".", "*"),
        ("./", "*"),
        ("../tests", "../tests"),
        (".hidden/test_a.py", ".hidden/test_a.py"),
    ],
)
def test_patterns_start_at_the_rootdir_however_that_is_written(tmp_path, written, pattern):
    text = f'[[budgets]]\ntests = "{written}"\nmax_params = 1\n'
    tmp_path.joinpath("modelbudget.toml").write_text(text, encoding="utf-8")
    assert [table.tests for table in load(tmp_path, Settings())] == [pattern]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
def test_a_shard_of_a_suite_covers_what_the_suite_covers(with_pattern, workers):
    with_pattern.makepyprojecttoml('[[tool.modelbudget.budgets]]\ntests = "*one"\nmax_params = "1M"\n')
    with_pattern.makeconftest("def pytest_collection_modifyitems(items):\n    del items[0]\n")
    result = with_pattern.runpytest(*OFF, *workers)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)


def test_a_module_that_cannot_be_imported_is_the_only_error(with_pattern):
    with_pattern.makepyfile(test_other="import nowhere")
    result = with_pattern.runpytest(*OFF)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stderr.no_fnmatch_line("*matches no test*")


def test_later_tables_win_and_marks_win_over_tables(pytester, monkeypatch):
    found = {}

    def observe(item, budget, settings, resolve):
        found[item.name] = {limit.metric.name: limit.written for limit in budget.limits}
        return (yield)

    monkeypatch.setattr("pytest_modelbudget.gate.observe", observe)
    pytester.makepyprojecttoml(
        """
        [[tool.modelbudget.budgets]]
        tests = "*"
        max_params = "1M"
        max_flops = "1G"

        [[tool.modelbudget.budgets]]
        tests = "test_it.py::test_two"
        max_params = "2M"
        """
    )
    pytester.makepyfile(
        test_it=f"""
        import pytest
        {TWO_TESTS.replace(chr(10), chr(10) + " " * 8)}
        @pytest.mark.max_params(None)
        def test_lifted(): pass
        """
    )
    assert pytester.runpytest_inprocess(*OFF).ret == pytest.ExitCode.OK
    assert found == {
        "test_one": {"params": "1M", "flops": "1G"},
        "test_two": {"params": "2M", "flops": "1G"},
        "test_lifted": {"flops": "1G"},
    }


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_can_be_limited(tmp_path, metric):
    text = f'[[budgets]]\ntests = "*"\nmax_{metric} = "0"\n'
    tmp_path.joinpath("modelbudget.toml").write_text(text, encoding="utf-8")
    ((limit,),) = [table.limits for table in load(tmp_path, Settings())]
    assert (limit.metric, limit.value) == (METRICS[metric], 0)


@pytest.mark.parametrize("mark", ["max_growth", *(f"max_{metric}" for metric in METRICS)])
def test_every_limit_can_be_lifted(tmp_path, mark):
    text = f'[[budgets]]\ntests = "*"\n{mark} = "none"\n'
    tmp_path.joinpath("modelbudget.toml").write_text(text, encoding="utf-8")
    ((*limits,),) = [table.limits for table in load(tmp_path, Settings())]
    steady = [name for name in METRICS if name != "latency"]
    names = steady if mark == "max_growth" else [mark.removeprefix("max_")]
    assert {(limit.metric.name, limit.value) for limit in limits} == {(name, None) for name in names}
    assert all(limit.relative == (mark == "max_growth") for limit in limits)


GROWTH = {"params": Fraction(1, 100), "flops": Fraction(1, 100), "memory": Fraction(5, 100)}


@pytest.mark.parametrize(
    ("written", "metrics"),
    [
        ('"1%"', ["params", "flops"]),
        ('"1%, memory=5%"', ["params", "flops", "memory"]),
        ('"memory = 5%"', ["memory"]),
        ('{memory = "5%"}', ["memory"]),
        ('{params = "1%", memory = "5%"}', ["params", "memory"]),
    ],
)
def test_growth_of_any_metric_is_limited_by_its_name(tmp_path, written, metrics):
    text = f'[[budgets]]\ntests = "*"\nmax_growth = {written}\n'
    tmp_path.joinpath("modelbudget.toml").write_text(text, encoding="utf-8")
    ((*limits,),) = [table.limits for table in load(tmp_path, Settings())]
    assert {limit.metric.name: limit.value for limit in limits} == {metric: GROWTH[metric] for metric in metrics}
    assert all(limit.relative for limit in limits)


@pytest.mark.parametrize("way", ["key", "table"])
def test_the_memory_of_a_suite_is_held_to_growth(suite, way):
    """A layer in double precision has the same parameters and FLOPs."""
    args = ["--modelbudget", "--modelbudget-max-growth=1%, memory=5%"]
    if way == "table":
        args = []
        text = '[[budgets]]\ntests = "*"\nmax_growth = {params = "1%", memory = "5%"}\n'
        suite.pytester.path.joinpath("modelbudget.toml").write_text(text, encoding="utf-8")
    test = "def test_it():\n    with torch.no_grad(): nn.Linear(4, 8).{0}()(torch.zeros(2, 4).{0}())"
    suite(test.format("float"), *args, "--modelbudget-update=new")
    assert suite(test.format("float"), *args).outcomes == {"test_it": "passed"}
    run = suite(test.format("double"), *args)
    # 40 parameters, 8 inputs and 16 outputs, of 4 bytes and then of 8.
    assert run.headline("test_it") == "max_growth: Linear memory 512 bytes, was 256 bytes (+100.0 % > 5%) for 2x4"


def test_a_table_lifts_what_earlier_tables_set(suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        """
        [[budgets]]
        tests = "test_it.py"
        max_params = 57
        max_flops = 95

        [[budgets]]
        tests = "test_it.py::test_exempt"
        max_params = "none"
        """,
        encoding="utf-8",
    )
    run = suite("def test_it(): Net()(batch(1))\ndef test_exempt(): Net()(batch(1))")
    # Net: 58 parameters, 96 FLOPs for one sample.
    assert [verdict["metric"] for verdict in run.verdicts("test_it")] == ["params", "flops"]
    assert [verdict["metric"] for verdict in run.verdicts("test_exempt")] == ["flops"]


def test_a_table_exempts_tests_from_the_growth_of_the_suite(suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "*exempt"\nmax_growth = "none"\n', encoding="utf-8"
    )
    run = suite(
        "def test_it(): Net()(batch(1))\ndef test_exempt(): Net()(batch(1))",
        "--modelbudget",
        "--modelbudget-max-growth=1%",
    )
    assert [verdict["outcome"] for verdict in run.verdicts("test_it")] == ["new", "new"]
    assert run.verdicts("test_exempt") == []


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["serial", "xdist"])
@pytest.mark.parametrize(
    ("args", "table", "complaint"),
    [
        (
            (),
            'inputs = "bacth"',
            "modelbudget.toml: budgets[[]0].inputs: there is no fixture 'bacth'; did you mean 'batch'?",
        ),
        (
            ("--modelbudget-inputs=bacth",),
            "",
            "--modelbudget-inputs: there is no fixture 'bacth'; did you mean 'batch'?",
        ),
        (("-o", "modelbudget_inputs=bacth"), "", "*modelbudget_inputs: there is no fixture 'bacth'; did you mean *"),
    ],
    ids=["table", "option", "ini"],
)
def test_inputs_that_are_no_fixture_are_one_line(pytester, workers, args, table, complaint):
    pytester.path.joinpath("modelbudget.toml").write_text(
        f'[[budgets]]\ntests = "*"\nmax_params = 1\n{table}\n', encoding="utf-8"
    )
    pytester.makepyfile("import pytest\n@pytest.fixture\ndef batch(): ...\ndef test_it(): pass\n")
    result = pytester.runpytest_inprocess(*OFF, *args, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {complaint}"])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_a_fixture_that_one_of_the_tests_has_is_no_mistake(pytester):
    pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "*"\nmax_params = 1\ninputs = "batch"\n', encoding="utf-8"
    )
    pytester.makepyfile(test_one="import pytest\n@pytest.fixture\ndef batch(): ...\ndef test_it(): pass\n")
    pytester.makepyfile(test_two="def test_it(): pass\n")
    result = pytester.runpytest_inprocess(*OFF)
    assert "no fixture" not in result.stdout.str() + result.stderr.str()


def test_models_that_are_built_in_the_test_are_run_elsewhere_too(suite):
    suite.pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "test_it.py"\nmax_macs = 95\n', encoding="utf-8"
    )
    run = suite("def test_it(): Net()(batch())", "--modelbudget-device=meta")  # 48 MACs a sample
    assert run.headline("test_it") == "max_macs: Net 96 MACs > 95 MACs (+1.1 %) for 2x4"
    assert "run abstractly on meta" in run.failure("test_it")
