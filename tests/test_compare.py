"""Two reports or baselines against each other, from the command line; and what is safe to show of hostile ids."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import jsonschema
import pytest
from markdown_it import MarkdownIt

from pytest_modelbudget.__main__ import main
from pytest_modelbudget.baseline import BaselineError, Entry, Key, save
from pytest_modelbudget.reporting import compare, markdown
from pytest_modelbudget.reporting.escape import code, plain

PARAMS = Key("test_it.py::test_it", "Net", "params")
FLOPS = PARAMS._replace(metric="flops")
GONE, NEW = PARAMS._replace(test="gone"), PARAMS._replace(test="new", model="Other")

BASE = {
    PARAMS: Entry(58, {"": 58, "encoder": 40, "head": 18}),
    FLOPS: Entry(96, {"": 96}),
    GONE: Entry(7, {"": 7}),
}
HEAD = {
    PARAMS: Entry(98, {"": 98, "encoder": 80, "head": 18}),
    FLOPS: Entry(96, {"": 96}),
    NEW: Entry(9, {"": 9}),
}


@pytest.fixture
def paths(tmp_path):
    save(tmp_path / "base.json", BASE)
    save(tmp_path / "head.json", HEAD)
    return [str(tmp_path / "base.json"), str(tmp_path / "head.json")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_report_against_a_baseline_is_refused(paths, capsys, tmp_path, order):
    report = tmp_path / "report.json"
    run = dict.fromkeys(("torch", "plugin", "python"), "")
    report.write_text(json.dumps({"kind": "modelbudget report", "version": 1, "run": run, "tests": []}), "utf-8")
    with pytest.raises(SystemExit) as exit_:
        raise SystemExit(main(["compare", *[str(report), paths[0]][::order]]))
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{report} is a report" in err
    assert f"{paths[0]} is a baseline" in err
    assert "write two reports, or two baselines" in err


@pytest.mark.parametrize(
    ("old", "new", "known_as"),
    [
        (PARAMS, PARAMS._replace(test="test_it.py::test_that"), "Net of test_it.py::test_it"),
        (PARAMS, PARAMS._replace(test="test_other.py::test_it"), "Net of test_it.py::test_it"),
        (PARAMS, PARAMS._replace(model="Net2"), "Net"),
        (PARAMS, PARAMS._replace(model="student (Net)"), "Net"),
    ],
)
def test_growth_under_another_name_is_growth(old, new, known_as):
    comparison = compare.compare({old: Entry(4, {})}, {new: Entry(5, {})})
    grown, gone = sorted(comparison.changes, key=lambda change: change.key != new)
    assert (grown.key, grown.before.value, grown.after.value, grown.known_as) == (new, 4, 5, known_as)
    assert (gone.key, gone.after) == (old, None)
    assert compare.broken(comparison, {"params": Fraction(1, 100)}) == [grown]
    text = compare.as_terminal(comparison, [grown])
    assert f"  NOT ALLOWED {new.model}, known as {known_as}, params 4 -> 5 (+25.0 %) in {new.test}" in text
    assert f"`{new.model}`, was `{known_as}` | params | 4 | 5 |" in compare.as_markdown(comparison, [grown])
    (row, _) = sorted(compare.as_json(comparison, [grown])["changes"], key=lambda row: row["kind"] != "grown")
    assert row["known_as"] == known_as


@pytest.mark.parametrize(
    "new",
    [
        PARAMS._replace(test="test_it.py::test_that", model="Other"),  # another model in another test
        PARAMS._replace(test="test_it.py::test_that", metric="size"),
        PARAMS._replace(model="Net2"),  # beside the one that is there
        PARAMS._replace(test="test_it.py::test_that"),  # and the test that was is there, too
    ],
)
def test_what_stands_in_no_place_of_another_is_new(new):
    is_beside = new.model == "Net2" or new == PARAMS._replace(test="test_it.py::test_that")
    head = {new: Entry(5, {}), **({PARAMS: Entry(4, {})} if is_beside else {})}
    comparison = compare.compare({PARAMS: Entry(4, {})}, head)
    assert [change.before for change in comparison.changes if change.key == new] == [None]
    assert compare.broken(comparison, {"params": Fraction(0)}) == []


def test_under_another_name_as_much_or_less_is_new():
    new = PARAMS._replace(test="test_it.py::test_that")
    for value in (3, 4):
        changes = compare.compare({PARAMS: Entry(4, {})}, {new: Entry(value, {})}).changes
        assert sorted((change.key.test, change.before is None) for change in changes) == [
            (PARAMS.test, False),
            (new.test, True),
        ]


def test_work_outside_of_calls_has_no_device():
    key = PARAMS._replace(metric="elementwise_flops", device="")
    comparison = compare.compare({key: Entry(1, {})}, {key: Entry(2, {})})
    assert "  Net elementwise_flops 1 FLOPs -> 2 FLOPs (+100.0 %) in test_it.py::test_it" in (
        compare.as_terminal(comparison, []).splitlines()
    )
    assert compare.as_bencher({key: Entry(1, {})}) == {"test_it.py::test_it Net": {"elementwise_flops": {"value": 1}}}


def test_what_changed(paths, capsys):
    assert main(["compare", *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "grown (1)",
        "  Net params 58 -> 98 (+69.0 %) in test_it.py::test_it: encoder +40",
        "new (1)",
        "  new Other: params 9",
        "gone (1)",
        "  gone Net: params 7",
        "3 figures changed, 1 stayed the same",
    ]


@pytest.mark.parametrize(
    ("rules", "code"),
    [([], 0), (["params=68%"], 1), (["params=69%"], 0), (["flops=0%"], 0), (["1%"], 1), (["params=1%", "100%"], 0)],
)
def test_a_rule_that_is_broken_is_exit_code_1(paths, capsys, rules, code):
    assert main(["compare", *paths, *(f"--fail-on-growth={rule}" for rule in rules)]) == code
    assert ("NOT ALLOWED" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize("rule", ["flops=1", "latency=1%", "=1%"])
def test_a_rule_that_is_none_is_refused(paths, capsys, rule):
    with pytest.raises(SystemExit) as exited:
        main(["compare", *paths, f"--fail-on-growth={rule}"])
    assert exited.value.code == 2
    assert re.search('; write (e.g.|"1%")', capsys.readouterr().err)


def test_a_misspelt_metric_is_told_which_was_meant(paths, capsys):
    assert main(["compare", *paths, "--fail-on-growth=flop=1%"]) == 2
    assert "'flop' is no metric of this plugin or of the two files; did you mean 'flops'?" in capsys.readouterr().err
    for rule, said in (("flop", "did you mean 'flops'?"), ("flops", "'flops' has no percentage; write flops=1%")):
        with pytest.raises(SystemExit):
            main(["compare", *paths, f"--fail-on-growth={rule}"])
        assert said in capsys.readouterr().err


def test_the_last_line_says_what_grew_more_than_is_allowed(capsys):
    def entries(figure: int) -> dict[Key, Entry]:
        return {
            Key(f"test_it.py::test_{test}", "Net", metric, "call", "any"): Entry(figure, {"": figure})
            for test in "abcd"
            for metric in ("flops", "params")
        }

    found = compare.compare(entries(100), entries(102))
    rules = {"flops": Fraction(1, 100), "params": Fraction(1, 100)}
    assert compare.as_terminal(found, compare.broken(found, rules)).splitlines()[-1] == (
        "8 figures grew more than is allowed: flops, params in test_it.py::test_a; "
        "flops, params in test_it.py::test_b; flops, params in test_it.py::test_c; and 1 more test"
    )


def test_a_rule_for_a_metric_that_neither_file_has_is_refused(paths, capsys):
    assert main(["compare", *paths, "--fail-on-growth=speed=1%"]) == 2
    assert "'speed' is no metric of this plugin or of the two files; write e.g. flops=1%" in capsys.readouterr().err


def test_a_file_that_is_none_of_both_is_refused(paths, tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"kind": "something"}', encoding="utf-8")
    assert main(["compare", paths[0], str(tmp_path / "other.json")]) == 2
    assert main(["compare", paths[0], str(tmp_path / "none.json")]) == 2
    assert main(["compare", paths[0], str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all("write the path of a baseline, or of a JSON report" in error for error in errors)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("<!doctype html>", "a page, which is for people"),
        ("## Model budgets: none judged", "a report in Markdown, which is for people"),
        ("[project]", "no report of pytest-modelbudget"),
        ("name = 1", "no JSON"),
        ('{"kind": "something"}', "no report of pytest-modelbudget"),
        ('{"kind": "modelbudget comparison"}', "a comparison, which has been made of two reports"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(paths, tmp_path, capsys, text, what):
    other = tmp_path / "other"
    other.write_text(text, encoding="utf-8")
    assert main(["compare", paths[0], str(other)]) == 2
    assert f"{other} is {what}: write the path of" in capsys.readouterr().err


def test_a_baseline_that_is_damaged_is_said_to_be_one(paths, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text('{"kind": "modelbudget baseline", "version": 1, "entries": [', encoding="utf-8")
    assert main(["compare", paths[0], str(other)]) == 2
    assert "restore it from version control" in capsys.readouterr().err


def test_as_json(paths, capsys):
    assert main(["compare", *paths, "--format=json", "--fail-on-growth=0%"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(change["test"], change["kind"], change["allowed"]) for change in found["changes"]] == [
        ("gone", "gone", True),
        ("new", "new", True),
        ("test_it.py::test_it", "grown", False),
    ]
    assert found["changes"][2]["modules"] == [{"path": "encoder", "kind": "grown", "delta": 40, "before": ""}]
    assert (found["unchanged"], found["mixed"]) == (1, 0)


def test_as_markdown(paths, capsys):
    assert main(["compare", *paths, "--format=markdown", "--fail-on-growth=0%"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "## ❌ Model figures: 3 figures changed, 1 stayed the same"
    assert lines[2] == "### Grown more than is allowed"
    assert lines[6] == "| 🔺 | `test_it.py::test_it` | `Net` | params | 58 | 98 | +40 (+69.0 %) | encoder +40 |"


def test_as_html(paths, capsys):
    assert main(["compare", *paths, "--format=html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>")
    assert '"metric":"params","per":"call","kind":"grown","before":58,"after":98' in page


def test_other_conventions_are_not_compared():
    comparison = compare.compare(BASE, {FLOPS: Entry(48, {"": 48}, flops_per_mac=1)})
    assert comparison.mixed == 1


def entries_on(device: str, metric: str = "memory", **keywords) -> dict:
    return {PARAMS._replace(metric=metric, device=device): Entry(8, {}, **keywords)}


@pytest.mark.parametrize(
    ("base", "head", "reason"),
    [
        (
            entries_on("cpu"),
            entries_on("cuda"),
            "memory: no test and model was measured in both files on the same device",
        ),
        (
            entries_on("any", "flops"),
            entries_on("any", "flops", flops_per_mac=1),
            "flops: 1 figure with 2 FLOPs for a MAC in one file and 1 in the other: measure both with one",
        ),
    ],
)
def test_a_rule_that_could_not_be_held_does_not_pass(tmp_path, capsys, base, head, reason):
    save(tmp_path / "base.json", base)
    save(tmp_path / "head.json", head)
    paths = [str(tmp_path / "base.json"), str(tmp_path / "head.json")]
    assert main(["compare", *paths, f"--fail-on-growth={reason.partition(':')[0]}=1%"]) == 2
    assert f"--fail-on-growth {reason}" in capsys.readouterr().err
    assert main(["compare", *paths, "--fail-on-growth=params=1%"]) == 2
    assert "--fail-on-growth params: the files have no such figures of one test and model" in capsys.readouterr().err
    assert main(["compare", *paths, "--fail-on-growth=macs=1%"]) == 2
    assert "--fail-on-growth macs: neither file has figures of it" in capsys.readouterr().err


def test_what_only_one_side_measured_breaks_no_rule(paths, tmp_path, capsys):
    both = {PARAMS: Entry(8, {}), FLOPS: Entry(16, {})}
    save(tmp_path / "fewer.json", {PARAMS: Entry(8, {})})
    save(tmp_path / "more.json", both)
    files = [str(tmp_path / name) for name in ("fewer.json", "more.json")]
    assert main(["compare", *files, "--fail-on-growth=0%"]) == 0


@pytest.mark.parametrize(("place", "name"), [(0, "first"), (1, "second")])
def test_a_file_without_figures_passes_no_rule(paths, tmp_path, capsys, place, name):
    save(tmp_path / "empty.json", {})
    files = [*paths]
    files[place] = str(tmp_path / "empty.json")
    assert main(["compare", *files]) == 0
    assert main(["compare", *files, "--fail-on-growth=0%"]) == 2
    said = f"--fail-on-growth params, flops: the {name} file has no figures; look whether its run came to its tests"
    assert said in capsys.readouterr().err


def test_several_rules_may_be_written_as_the_key_of_a_suite_is(paths, capsys):
    assert main(["compare", *paths, "--fail-on-growth=flops=0%,params=68%"]) == 1
    assert main(["compare", *paths, "--fail-on-growth=flops=0%, params=69%"]) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_modules_of_a_report_stand_in_the_profile_or_in_its_details(version):
    figures = dict.fromkeys(compare.METRICS) | {"model": "Net", "device": "cpu", "inputs": "", "flops_per_mac": 2}
    modules = {"": {"params": 40}, "encoder": {"params": 40}}
    profile = {**figures, "params": 40, **({"modules": modules} if version == 1 else {"details": 1})}
    report = {
        "kind": "modelbudget report",
        "version": version,
        "run": {"torch": "2", "plugin": "0", "python": "3"},
        "tests": [{"id": "test", "profiles": [profile]}],
        "details": [{}, {"modules": modules}],
    }
    (entry,) = compare.read(json.dumps(report), "r.json").values()
    assert entry.modules == {"": 40, "encoder": 40}
    report["details"].pop()
    if version == 2:
        with pytest.raises(BaselineError, match=r"r.json: a damaged report \(IndexError: .*make it anew"):
            compare.read(json.dumps(report), "r.json")


def test_a_report_that_was_cut_short_is_to_be_made_anew():
    text = json.dumps({"kind": "modelbudget report", "version": 2, "tests": []}, indent=1)
    with pytest.raises(BaselineError, match=r"r.json:4: no JSON \(.*\); the report is damaged, make it anew$"):
        compare.read(text[:-3], "r.json")


@pytest.mark.parametrize("number", [-1, True, None, "0"])
def test_a_report_that_names_no_details_is_damaged(number):
    report = {
        "kind": "modelbudget report",
        "version": 2,
        "run": {"torch": "2", "plugin": "0", "python": "3"},
        "tests": [{"id": "test", "profiles": [{**dict.fromkeys(compare.METRICS), "details": number}]}],
        "details": [{}, {}],
    }
    with pytest.raises(BaselineError, match=r"a damaged report .* is the number of no details"):
        compare.read(json.dumps(report), "r.json")


def test_the_largest_call_of_a_report_counts():
    def profile(flops: int) -> dict:
        figures = dict.fromkeys(compare.METRICS) | {"params": 40, "flops": flops}
        return {**figures, "model": "Net", "device": "cpu", "inputs": "", "flops_per_mac": 2, "modules": {}}

    report = {
        "kind": "modelbudget report",
        "version": 1,
        "run": {"torch": "2", "plugin": "0", "python": "3"},
        "tests": [{"id": "test", "profiles": [profile(1), profile(3), profile(2)]}],
    }
    found = compare.read(json.dumps(report), "r.json")
    assert {key.metric: entry.value for key, entry in found.items()} == {"params": 40, "flops": 3}


def test_for_github_action_benchmark(paths, capsys):
    assert main(["convert", paths[0], "--to=github-action-benchmark"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "test_it.py::test_it Net flops",
        "unit": "FLOP",
        "value": 96,
    }


def test_for_bencher(paths, capsys):
    assert main(["convert", paths[0], "--to=bencher"]) == 0
    assert json.loads(capsys.readouterr().out)["test_it.py::test_it Net"] == {
        "flops": {"value": 96},
        "params": {"value": 58},
    }


# https://bencher.dev/docs/reference/bencher-metric-format: patternProperties in patternProperties, "value" required,
# names of 1,024 characters, those of measures of 64.
BENCHER = {
    "type": "object",
    "propertyNames": {"maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {
            "type": "object",
            "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
            "required": ["value"],
            "additionalProperties": False,
        },
    },
}


def test_no_two_figures_become_one_where_they_are_kept():
    long = "x" * 5000
    keys = [
        PARAMS,
        FLOPS,
        FLOPS._replace(per="sample"),
        *(PARAMS._replace(metric="memory", device=device) for device in ("cpu", "cuda")),
        *(PARAMS._replace(test=f"{long}{end}") for end in "ab"),
        *(PARAMS._replace(test=text) for text in HOSTILE),
    ]
    entries = {key: Entry(Fraction(100, 3), {}) for key in keys}
    found = json.loads(json.dumps(compare.as_bencher(entries)))
    jsonschema.validate(found, BENCHER)
    assert sum(map(len, found.values())) == len(keys)
    listed = compare.as_github_action_benchmark(entries)
    assert len({row["name"] for row in listed}) == len(keys)


def test_latency_is_in_the_unit_of_benchers_own_measure():
    key = PARAMS._replace(metric="latency", device="cpu")
    assert compare.as_bencher({key: Entry(Fraction(5, 1000), {})}) == {
        "test_it.py::test_it Net on cpu": {"latency": {"value": 5_000_000.0}}
    }


def test_the_schema_is_printed(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Report of pytest-modelbudget"


def test_figures_that_move_along_with_others_are_counted():
    base = {PARAMS._replace(metric=metric): Entry(4, {}) for metric in ("params", "size", "flops", "macs", "memory")}
    head = {key: Entry(8, {}) for key in base}
    told = compare.as_terminal(compare.compare(base, head), [])
    assert told.splitlines() == [
        "grown (3)",
        "  Net flops 4 FLOPs -> 8 FLOPs (+100.0 %) in test_it.py::test_it",
        "  Net memory 4 bytes -> 8 bytes (+100.0 %) in test_it.py::test_it",
        "  Net params 4 -> 8 (+100.0 %) in test_it.py::test_it",
        "2 more figures moved along (macs, size): --format json has them",
        "5 figures changed, 0 stayed the same",
    ]
    # Alone, it is told; and so it is where a rule forbids it.
    macs = PARAMS._replace(metric="macs")
    alone = compare.compare(base, {**base, macs: head[macs]})
    assert "Net macs 4 MACs -> 8 MACs" in compare.as_terminal(alone, [])
    forbidden = compare.compare(base, head)
    violations = compare.broken(forbidden, {"macs": 0})
    assert "NOT ALLOWED Net macs 4 MACs -> 8 MACs" in compare.as_terminal(forbidden, violations)
    assert "*1 more figure moved along (size): --format json has them*" in compare.as_markdown(forbidden, violations)


# -- what is told together ----------------------------------------------------------------------------------------


def grown(test: str, metric: str = "params", before: int = 58, after: int = 98) -> dict:
    modules = [{"path": "encoder", "kind": "grown", "delta": after - before, "before": ""}]
    key = {**PARAMS._asdict(), "test": test, "metric": metric}
    return {
        **key,
        "kind": "grown",
        "before": before,
        "after": after,
        "modules": modules,
        "recorded": False,
        "known_as": "",
    }


def test_the_same_change_in_many_tests_is_one_line_and_other_metrics_stand_below_it():
    changes = [grown(f"test[{index}]", *figures) for index in (1, 2) for figures in FIGURES]
    assert markdown.change_rows([*changes, grown("other", after=97)]) == [
        "| 🔺 | `test[1]` and 1 more | `Net` | flops, macs | 96 FLOPs | 192 FLOPs | +96 FLOPs (+100.0 %) "
        "| encoder +96 FLOPs |",
        "| 🔺 |  |  | params, trainable_params | 58 | 98 | +40 (+69.0 %) | encoder +40 |",
        "| 🔺 | `other` | `Net` | params | 58 | 97 | +39 (+67.2 %) | encoder +39 |",
    ]


FIGURES = [("flops", 96, 192), ("macs", 48, 96), ("params", 58, 98), ("trainable_params", 58, 98)]


def verdict(**changes) -> dict:
    source = {"text": "@max_params(60)", "location": "test_it.py:1", "direct": True}
    row = {"metric": "params", "relative": False, "model": "Net", "module": "", "per": "call", "level": "error"}
    row |= {"outcome": "within", "failed": False, "measured": "58", "limit": "60", "figure": 58, "bound": 60}
    return {**row, "used": 58 / 60, "growth": None, "reason": "", "unknown": {}, "source": source, **changes}


def report_of(*tests: list[dict]) -> dict:
    found = [{"id": f"test[{index}]", "outcome": "passed", "verdicts": rows} for index, rows in enumerate(tests)]
    return {"tests": found, "changes": [], "unmeasured": []}


def rows_of(report: dict) -> list[list[str]]:
    lines = [line for line in markdown.render(report).splitlines() if line.startswith(("| ✅", "| ❌"))]
    return [[cell.strip() for cell in line.split("|")[2:6]] for line in lines]


def test_a_limit_that_many_tests_keep_is_one_line_with_the_closest_test():
    lighter = verdict(measured="20", figure=20, used=20 / 60)
    assert rows_of(report_of([lighter], [verdict()], [lighter])) == [["`test[1]` and 2 more", "`Net`", "params", "58"]]


def test_several_limits_of_one_model_stand_together():
    other = verdict(metric="macs", measured="48 MACs", used=0.1)
    third = verdict(model="Tiny", used=0.5)
    assert rows_of(report_of([other, verdict(), third])) == [
        ["`test[0]`", "`Net`", "macs", "48 MACs"],
        ["", "", "params", "58"],
        ["`test[0]`", "`Tiny`", "params", "58"],
    ]


def test_failures_with_different_figures_are_all_shown():
    failed = verdict(failed=True, outcome="exceeded", measured="61", figure=61, used=61 / 60)
    worse = {**failed, "measured": "62", "figure": 62, "used": 62 / 60}
    assert rows_of(report_of([failed], [worse], [failed])) == [
        ["`test[1]`", "`Net`", "params", "62"],
        ["`test[0]` and 1 more", "`Net`", "params", "61"],
    ]


# -- what others write -------------------------------------------------------------------------------------------

HOSTILE = [
    "test[a|b]",
    "test[`code`]",
    "test[``two``]",
    "test[<script>alert(1)</script>]",
    "test[<!-- ]",
    "test[a\\|b]",
    "test[\\]",
    "test[a\nb\r\n| x |]",
    "test[\u202egnp.exe]",
    "test[\u2028\x00\x1b[31m]",
    "test[![x](http://x/y.png)]",
    "test[*a* _b_ ~~c~~ @user #1 $x$ :smile:]",
    'test[it\'s "quoted" & <b>]',
    "test[ü 日本 🙂]",
    "test[\ud800]",
    " test ",
    "`",
    "x" * 10_000,
]


@pytest.mark.parametrize("shown", [code, plain])
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_of_others_stays_in_its_cell(text, shown):
    cell = shown(text)
    cell.encode()
    table = f"| a | b |\n|---|---|\n| {cell} | after |\n"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    cells = [token for token in tokens if token.type == "inline"]
    assert [token.content for token in cells[2:]][-1] == "after"
    assert len(cells) == 4
    inside = {token.type for token in cells[2].children}
    assert inside <= {"text", "code_inline", "html_inline", "text_special"}
    assert {token.content for token in cells[2].children if token.type == "html_inline"} <= {"<code>", "</code>"}
    seen = "".join(token.content for token in cells[2].children if token.type != "html_inline")
    assert len(seen) <= 400
    assert "\u202e" not in seen
    assert "&#" not in seen
    if text.isascii() and text.isprintable() and len(text) < 100:
        assert seen.strip() == text.strip()


def test_hostile_ids_make_an_orderly_report():
    change = {**PARAMS._asdict(), "kind": "new", "before": None, "after": 1, "modules": [], "known_as": ""}
    changes = [{**change, "test": text, "model": text} for text in HOSTILE]
    report = {"tests": [], "changes": changes, "unmeasured": HOSTILE}
    text = markdown.render(report)
    rows = [line for line in text.splitlines() if line.startswith("| 🆕")]
    assert len(rows) == len(HOSTILE)


@pytest.mark.parametrize("limit", [65_000, 20_000, 1_000, 100, 0])
def test_a_report_keeps_to_its_limit_and_says_what_is_missing(limit):
    change = {**PARAMS._asdict(), "kind": "new", "before": None, "after": 1, "modules": [], "known_as": ""}
    changes = [{**change, "model": f"Net{index}"} for index in range(3000)]
    report = {"tests": [], "changes": changes, "unmeasured": []}
    text = markdown.render(report, limit)
    assert len(text.encode()) <= limit
    if limit >= 1_000:
        rows = text.count("| 🆕")
        assert f"*{3000 - rows} more rows do not fit here: see the JSON report.*" in text
        assert rows > 0
