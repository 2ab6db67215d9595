"""The HTML report as a file: what is in it, what is not, and what is said where it cannot be made."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import torch
from torch import nn

from pytest_modelbudget import extras, profile
from pytest_modelbudget.__main__ import main
from pytest_modelbudget.baseline import Entry, Key, save
from pytest_modelbudget.reporting import html
from pytest_modelbudget.reporting.html.page import embedded
from pytest_modelbudget.reporting.schema import schema
from tests.suite import OFF

if TYPE_CHECKING:
    from pathlib import Path

    from tests.suite import Suite

pytest.importorskip("jinja2")
pytest.importorskip("plotly")

HOSTILE = "</script><script>alert(1)</script>&\"'`\u2028\u202e"


class Elements(HTMLParser):
    """The elements of a page and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))

    def json(self, name: str) -> Any:
        (text,) = [text for attributes, text in self.scripts if attributes.get("id") == name]
        return json.loads(text)


def page_of(model: nn.Module, *args: Any, **options: Any) -> str:
    return html.render_profile(profile(model, args, **options).to_dict())


def column(block: Any, metric: str) -> dict[str, Any]:
    """Path -> figure."""
    paths: list[str] = []
    for name, parent in zip(block["names"], block["parents"], strict=True):
        above = paths[parent] if parent > 0 else ""
        paths.append("" if parent < 0 else f"{above}.{name}".lstrip("."))
    return dict(zip(paths, block["figures"][metric], strict=True))


def test_the_figures_of_the_page_are_those_of_the_profile() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    found = profile(model, torch.ones(3, 4))
    block = Elements(html.render_profile(found.to_dict())).json("model-0")
    for metric in ("params", "macs", "flops", "total_flops", "memory", "traffic", "activations"):
        assert column(block, metric) == {path: getattr(part, metric) for path, part in found.modules.items()}
    # Linear(4, 8) and Linear(8, 2) on three rows.
    assert column(block, "macs") == {"": 144, "0": 96, "1": 48, "1.0": 0, "1.1": 48}


def test_figures_beyond_what_a_float_holds_keep_their_digits() -> None:
    found = profile(nn.Linear(4, 8), torch.ones(3, 4)).to_dict()
    found["flops"] = found["modules"][""]["flops"] = 2**53 + 1
    elements = Elements(html.render_profile(found))
    assert elements.json("overview")["models"][0]["figures"]["flops"] == "9007199254740993"
    assert elements.json("model-0")["figures"]["flops"] == ["9007199254740993"]


def test_nothing_that_a_model_is_called_becomes_markup() -> None:
    model = nn.Sequential()
    model.add_module(HOSTILE, nn.Linear(4, 4))
    model.__class__ = type(HOSTILE, (nn.Sequential,), {})
    text = page_of(model, torch.ones(1, 4))
    elements = Elements(text)
    assert [attributes.get("type") for attributes, _ in elements.scripts] == [
        "application/json",
        "application/json",
        "text/plain",
        None,
    ]
    assert elements.json("model-0")["names"] == ["", HOSTILE]
    assert elements.json("overview")["models"][0]["model"] == HOSTILE
    assert text.isascii()
    assert "alert(1)</" not in text


@pytest.mark.parametrize("character", ["<", ">", "&", "\u2028", "\u2029", "\u202e"])
def test_no_character_of_the_data_ends_its_element(character: str) -> None:
    text = embedded({"name": character})
    assert character not in text
    assert json.loads(text) == {"name": character}


def test_the_page_asks_nobody_for_anything() -> None:
    text = page_of(nn.Linear(4, 8), torch.ones(3, 4))
    elements = Elements(text)
    (policy,) = [attributes["content"] for tag, attributes in elements.tags if "http-equiv" in attributes]
    assert policy is not None
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert re.fullmatch(r"('sha256-[\w+/]{43}=' ?){2}", directives["script-src"])
    assert "connect-src" not in directives, "default-src stands for it"
    links = [attributes.get("src") or attributes.get("href") for _, attributes in elements.tags]
    assert [link for link in links if link] == ["data:,", "#main"]


def test_the_same_report_is_the_same_page() -> None:
    found = profile(nn.Linear(4, 8), torch.ones(3, 4)).to_dict()
    assert html.render_profile(found) == html.render_profile(found)


def test_tests_that_measure_the_same_share_it(suite: Suite) -> None:
    source = """
    @pytest.mark.parametrize("again", range(20))
    @pytest.mark.max_params(58)
    def test_it(again): Net()(batch())
    """
    suite(source, "--modelbudget-report=html:r.html")
    elements = Elements(suite.pytester.path.joinpath("r.html").read_text("utf-8"))
    (model,) = elements.json("overview")["models"]
    assert model["tests"] == list(range(20))


def test_a_run_with_failures_writes_what_was_measured(suite: Suite) -> None:
    source = """
    @pytest.mark.modelbudget(params=57, macs=96)
    def test_it(): Net()(batch())
    @pytest.mark.max_params(1)
    def test_broken(): assert False
    """
    run = suite(source, "--modelbudget-report=html:out/r.html", "--modelbudget-report=json:out/r.json")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    found = Elements(suite.pytester.path.joinpath("out", "r.html").read_text("utf-8")).json("overview")
    assert [(budget["metric"], budget["failed"], budget["of"]) for budget in found["budgets"]] == [
        ("params", True, 0),
        ("macs", False, 0),
    ]
    report = json.loads(suite.pytester.path.joinpath("out", "r.json").read_text("utf-8"))
    jsonschema.validate(report, schema())
    assert found["models"][0]["figures"]["params"] == report["tests"][1]["profiles"][0]["params"] == 58


def test_metrics_of_the_users_own_are_there(suite: Suite) -> None:
    conftest = """
    from pytest_modelbudget import custom_metric

    def pytest_modelbudget_metrics(config):
        yield custom_metric("joules", lambda profile: profile.flops / 64, "energy of a call", additive=True)
    """
    # Two rows: 96 MACs, 192 FLOPs.
    source = """
    @pytest.mark.max_joules(2)
    def test_it(): Net()(batch())
    """
    suite(source, "--modelbudget-report=html:r.html", conftest=conftest)
    overview = Elements(suite.pytester.path.joinpath("r.html").read_text("utf-8")).json("overview")
    (budget,) = overview["budgets"]
    assert (budget["metric"], budget["figure"], budget["failed"], budget["of"]) == ("joules", 3, True, 0)
    assert overview["models"][0]["figures"]["joules"] == 3
    assert overview["metrics"]["joules"]["definition"] == "energy of a call"


def test_growth_over_the_baseline_is_there_module_by_module(suite: Suite) -> None:
    key = Key("test_it.py::test_it", "Net", "params")
    save(suite.pytester.path / "modelbudget-baseline.json", {key: Entry(38, {"": 38, "encoder": 20, "head": 18})})
    source = """
    @pytest.mark.max_growth(params="10%")
    def test_it(): Net()(batch())
    """
    suite(source, "--modelbudget-report=html:r.html", "--modelbudget-report=json:r.json")
    elements = Elements(suite.pytester.path.joinpath("r.html").read_text("utf-8"))
    overview, difference = elements.json("overview"), elements.json("difference-0")
    (budget,) = overview["budgets"]
    assert (budget["figure"], budget["baseline"]) == (58, 38)
    (change,) = overview["changes"]
    assert (change["before"], change["after"], change["difference"]) == (38, 58, 0)
    assert difference["names"] == ["", "encoder", "head"]
    assert difference["before"]["params"] == [38, 20, 18]
    assert difference["after"]["params"] == [58, 40, 18]
    report = json.loads(suite.pytester.path.joinpath("r.json").read_text("utf-8"))
    jsonschema.validate(report, schema())
    assert report["changes"][0]["figures"] == {"": [38, 58], "encoder": [20, 40]}
    assert report["tests"][0]["verdicts"][0]["baseline"] == 38


def test_a_comparison_shows_modules_that_came_and_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Key("test_it.py::test_it", "Net", "params")
    save(tmp_path / "base.json", {key: Entry(30, {"": 30, "a": 20, "a.b": 20, "c": 10})})
    save(tmp_path / "head.json", {key: Entry(35, {"": 35, "c": 10, "d": 25})})
    assert main(["compare", str(tmp_path / "base.json"), str(tmp_path / "head.json"), "--format=html"]) == 0
    difference = Elements(capsys.readouterr().out).json("difference-0")
    assert difference["names"] == ["", "a", "b", "c", "d"]
    assert difference["parents"] == [-1, 0, 1, 0, 0]
    assert difference["before"]["params"] == [30, 20, 20, 10, None]
    assert difference["after"]["params"] == [35, None, None, 10, 25]


# -- where it cannot be made --------------------------------------------------------------------------------------


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)


INSTALL = 'needs jinja2 and plotly: pip install "pytest-modelbudget[html]"'


@pytest.mark.usefixtures("without_the_extra")
def test_without_the_extra_the_run_does_not_begin(suite: Suite) -> None:
    suite.write("def test_it(): open('ran', 'w')")
    result = suite.pytester.runpytest_inprocess(*OFF, "--modelbudget-report=html:r.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: --modelbudget-report=html: {INSTALL}"]
    assert not suite.pytester.path.joinpath("ran").exists()


@pytest.mark.usefixtures("without_the_extra")
def test_without_the_extra_the_commands_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "base.json", {})
    assert main(["compare", *[str(tmp_path / "base.json")] * 2, "--format=html"]) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"--format html: {INSTALL}")
    arguments = ["summary", "torch.nn:Linear(4, 8)", "--inputs=1,4", "--html", str(tmp_path / "page.html")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"--html: {INSTALL}")
    assert not (tmp_path / "page.html").exists()


def test_the_summary_of_a_model_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pages" / "page.html"
    assert main(["summary", "torch.nn:Linear(4, 8)", "--inputs=1,4", "--html", str(path)]) == 0
    assert "Linear" in capsys.readouterr().out, "the table is printed, too"
    overview = Elements(path.read_text("utf-8")).json("overview")
    assert (overview["kind"], overview["models"][0]["figures"]["params"]) == ("model", 40)


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "page.html"
    assert main(["summary", "torch.nn:Linear(4, 8)", "--inputs=1,4", "--html", str(path)]) == 2
    assert f"{path} cannot be written" in capsys.readouterr().err
