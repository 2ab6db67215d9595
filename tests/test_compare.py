"""Two reports or baselines against each other, from the command line; and what is safe to show of hostile ids."""

from __future__ import annotations

import json

import pytest
from markdown_it import MarkdownIt

from pytest_modelbudget.__main__ import main
from pytest_modelbudget.baseline import Entry, Key, save
from pytest_modelbudget.reporting import compare, markdown
from pytest_modelbudget.reporting.escape import code, plain

PARAMS = Key("test_it.py::test_it", "Net", "params")
FLOPS = PARAMS._replace(metric="flops")
GONE, NEW = PARAMS._replace(test="gone"), PARAMS._replace(test="new")

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


def test_what_changed(paths, capsys):
    assert main(["compare", *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "grown (1)",
        "  test_it.py::test_it Net params 58 -> 98 (+69.0 %): encoder +40",
        "new (1)",
        "  new Net params 9",
        "gone (1)",
        "  gone Net params 7",
        "3 figures changed, 1 are the same",
    ]


@pytest.mark.parametrize(
    ("rules", "code"),
    [([], 0), (["params=68%"], 1), (["params=69%"], 0), (["flops=0%"], 0), (["1%"], 1), (["params=1%", "100%"], 0)],
)
def test_a_rule_that_is_broken_is_exit_code_1(paths, capsys, rules, code):
    assert main(["compare", *paths, *(f"--fail-on-growth={rule}" for rule in rules)]) == code
    assert ("NOT ALLOWED" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize("rule", ["flops=1", "speed=1%", "latency=1%", "=1%"])
def test_a_rule_that_is_none_is_refused(paths, capsys, rule):
    with pytest.raises(SystemExit) as exited:
        main(["compare", *paths, f"--fail-on-growth={rule}"])
    assert exited.value.code == 2
    assert "write e.g." in capsys.readouterr().err


def test_a_file_that_is_none_of_both_is_refused(paths, tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"kind": "something"}', encoding="utf-8")
    assert main(["compare", paths[0], str(tmp_path / "other.json")]) == 2
    assert main(["compare", paths[0], str(tmp_path / "none.json")]) == 2
    assert main(["compare", paths[0], str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "not a baseline of pytest-modelbudget" in errors[0]


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
    assert lines[0] == "## ❌ Model figures: 3 figures changed, 1 are the same"
    assert lines[2] == "### Grown more than is allowed"
    assert lines[6] == "| 🔺 | `test_it.py::test_it` | `Net` | params | 58 | 98 | +40 (+69.0 %) | encoder +40 |"


def test_as_html(paths, capsys):
    assert main(["compare", *paths, "--format=html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>")
    assert "<td>58 -&gt; 98 (+69.0 %)</td>" in page


def test_other_conventions_are_not_compared():
    comparison = compare.compare(BASE, {FLOPS: Entry(48, {"": 48}, flops_per_mac=1)})
    assert comparison.mixed == 1


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


def test_the_schema_is_printed(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Report of pytest-modelbudget"


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
    if text.isascii() and text.isprintable() and len(text) < 100:
        assert seen.strip() == text.strip()


def test_hostile_ids_make_an_orderly_report():
    change = {**PARAMS._asdict(), "kind": "new", "before": None, "after": 1, "modules": []}
    changes = [{**change, "test": text, "model": text} for text in HOSTILE]
    report = {"tests": [], "changes": changes, "unmeasured": HOSTILE}
    text = markdown.render(report)
    rows = [line for line in text.splitlines() if line.startswith("| 🆕")]
    assert len(rows) == len(HOSTILE)


@pytest.mark.parametrize("limit", [65_000, 20_000, 1_000, 100, 0])
def test_a_report_keeps_to_its_limit_and_says_what_is_missing(limit):
    change = {**PARAMS._asdict(), "kind": "new", "before": None, "after": 1, "modules": []}
    report = {"tests": [], "changes": [change] * 3000, "unmeasured": []}
    text = markdown.render(report, limit)
    assert len(text.encode()) <= limit
    if limit >= 1_000:
        rows = text.count("| 🆕")
        assert f"*{3000 - rows} more rows do not fit here: see the JSON report.*" in text
        assert rows > 0
