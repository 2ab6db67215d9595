"""The HTML report as people use it: in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.baseline import Entry, Key, save
from pytest_modelbudget.reporting import compare as comparing
from pytest_modelbudget.reporting import html
from pytest_modelbudget.reporting.json import with_details
from tests import browser as chromium
from tests.benchmarks.html import model as large_model
from tests.benchmarks.html import verdict as verdict_on
from tests.suite import OFF

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Report = dict[str, Any]

pytest.importorskip("jinja2")
pytest.importorskip("plotly")

HOSTILE = "<img src=x onerror=window['hacked']=1></script><script>window['hacked']=1</script>\"'&amp;<b>\u202edlrow"

# Linear(4, width) and Linear(width, 2) in two blocks.
SUITE = f"""
import pytest
import torch
from torch import nn

HOSTILE = {HOSTILE!r}


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(4, width)
        self.down = nn.Linear(width, 4)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.blocks = nn.Sequential(Block(width), Block(2 * width))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.blocks(x))


class Tiny(nn.Linear):
    pass


@pytest.mark.modelbudget(params=400, flops="1k", macs="1k", memory="1 MiB")
def test_net():
    Net()(torch.ones(2, 4)).sum().backward()

@pytest.mark.max_growth(params="10%")
def test_grown():
    Net()(torch.ones(1, 4))

@pytest.mark.max_params(20)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_tiny(batch):
    Tiny(4, 4)(torch.ones(batch, 4))

@pytest.mark.max_params(100, message=HOSTILE)
@pytest.mark.parametrize("name", [HOSTILE], ids=[HOSTILE])
def test_hostile(name):
    model = type(HOSTILE, (nn.Sequential,), {{}})()
    model.add_module(HOSTILE, nn.Linear(4, 4))
    model(torch.ones(1, 4))
"""

INI = """
[pytest]
disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page and the JSON report of the same run."""
    if (reason := chromium.missing()) and not chromium.REQUIRED:
        pytest.skip(f"{reason}: the page is not tried in a browser")
    folder = tmp_path_factory.mktemp("run")
    folder.joinpath("test_it.py").write_text(SUITE, encoding="utf-8")
    folder.joinpath("pytest.ini").write_text(INI, encoding="utf-8")
    # As it was with blocks of 8 and 32.
    figures = {"": 396, "blocks": 386, "blocks.0": 76, "blocks.0.up": 40, "blocks.0.down": 36}
    key = Key("test_it.py::test_grown", "Net", "params")
    save(folder / "modelbudget-baseline.json", {key: Entry(396, figures)})
    reports = (f"--modelbudget-report={kind}:report.{kind}" for kind in ("html", "json"))
    command = [sys.executable, "-m", "pytest", "-q", *OFF, "--modelbudget", *reports]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def driver(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def report(written: Path) -> Report:
    return with_details(json.loads(written.joinpath("report.json").read_text("utf-8")))


class Page:
    """The page, and what one does to it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, view: str = "") -> Page:
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}{view}")
        chromium.wait(self.driver, lambda _: self.all("main h1"))
        return self

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        # What is not drawn yet (`content-visibility`) has no inner text.
        return [
            text.strip()
            for text in self.run(
                f"return [...document.querySelectorAll({selector!r})].map(e => e.innerText || e.textContent)"
            )
        ]

    def until(self, script: str) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 30, poll_frequency=0.05).until(lambda driver: driver.execute_script(script))

    def treemap(self) -> Page:
        """Wait until it is drawn."""
        self.run("document.getElementById('treemap').scrollIntoView({block: 'center', behavior: 'instant'})")
        self.until("return document.querySelector('#treemap text.slicetext')")
        return self

    def areas(self) -> list[str]:
        """The labels of the treemap."""
        return self.run(
            """return [...document.querySelectorAll('#treemap text.slicetext')].map(text =>
            (text.querySelector('tspan') ?? text).textContent)"""
        )

    def click_area(self, label: str) -> None:
        drawn = self.run("return document.getElementById('treemap').dataset.drawn")
        (area,) = [area for area in self.all("#treemap .slice") if area.text.split("\n")[0].startswith(label)][:1]
        from selenium.webdriver import ActionChains

        text = area.find_element("css selector", "text.slicetext")
        ActionChains(self.driver).move_to_element(text).click().perform()
        self.until(f"return document.getElementById('treemap').dataset.drawn > {drawn}")

    def figures(self, key: str) -> dict[str, int]:
        """The exact figures in a column of the table of modules, by path, in their order."""
        pairs = self.run(
            """return [...document.querySelectorAll('#modules-table tbody tr')].map(row =>
            [row.dataset.path, Number(row.querySelector(arguments[0]).dataset.exact)])""",
            f"td[data-key={key}] [data-exact]",
        )
        return dict(pairs)

    def choose(self, selector: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(selector)).select_by_value(value)

    def type(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.clear()
        field.send_keys(text)


@pytest.fixture
def page(driver: Any, written: Path) -> Iterator[Page]:
    chromium.resize(driver, 1360)
    chromium.theme(driver, "light")
    driver.get_log("browser")
    driver.get_log("performance")
    yield Page(driver, written.joinpath("report.html").as_uri())
    # Whatever a test does: no word on the console, no request for anything but the page itself.
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    # `chrome:` is the browser's own, as for its tooltips.
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:", "chrome:"))] == []
    assert not driver.execute_script("return window.hacked")


def entries(**figures: dict[str, int]) -> dict[Key, Entry]:
    """What `test_it` and, the same, `test_again` measured of each metric, by module."""
    tests = ("test_it.py::test_it", "test_it.py::test_again")
    return {
        Key(test, "Net", metric): Entry(modules[""], modules) for metric, modules in figures.items() for test in tests
    }


@pytest.fixture
def comparison(page: Page, tmp_path: Path) -> Page:
    """Of two runs: parameters grew by a tenth and may by a twentieth, activations by half and may."""
    base = entries(
        activations={"": 20, "head": 20},
        params={"": 200, "body": 150, "body.up": 150, "head": 50},
        traffic={"": 400, "head": 400},
    )
    head = entries(
        activations={"": 30, "head": 30},
        params={"": 220, "body": 170, "body.up": 150, f"body.{HOSTILE}": 20, "head": 50},
        traffic={"": 300, "head": 300},
    )
    found = comparing.compare(base, head)
    text = comparing.as_html(found, comparing.broken(found, {"params": Fraction(1, 20)}))
    path = tmp_path / "compared.html"
    path.write_text(text, encoding="ascii")
    return Page(page.driver, path.as_uri())


@pytest.fixture
def long_figures(page: Page, tmp_path: Path) -> Page:
    """Figures and limits so close that every digit is written, and names that nothing breaks."""
    profile = {**large_model("N" * 60, 1, 10**9), "inputs": "x".join(["1"] * 40)}
    close = {
        **verdict_on(profile, "flops", 1.0000001),
        "measured": "12,544,000,000,000 FLOPs",
        "limit": "12,543,999,999,999 FLOPs",
    }
    test = {"id": f"test_it.py::test_{'x' * 120}", "outcome": "failed", "verdicts": [close], "profiles": [profile]}
    run = {"torch": "", "python": "", "platform": "", "device": "auto", "flops_per_mac": 2, "exit_status": 1}
    path = tmp_path / "long.html"
    path.write_text(html.render({"run": run, "tests": [test], "unmeasured": [], "changes": []}), encoding="ascii")
    return Page(page.driver, path.as_uri())


def number_of(report: Report, name: str) -> int:
    """The model that the named test measured, as the page counts them."""
    seen: list[str] = []
    for test in report["tests"]:
        for profile in test["profiles"]:
            key = json.dumps({**profile, "latency": None}, sort_keys=True)
            if key not in seen:
                seen.append(key)
            if test["id"].endswith(name):
                return seen.index(key)
    raise AssertionError(name)


def profile_of(report: Report, name: str) -> Report:
    (test,) = [test for test in report["tests"] if test["id"].endswith(name)]
    return test["profiles"][0]


# -- the overview -------------------------------------------------------------------------------------------------


def test_what_failed_stands_first(page: Page) -> None:
    page.open()
    assert page.one("h1").text == "3 of 9 budgets not kept"
    assert page.driver.title == "3 of 9 budgets not kept"
    groups = page.texts(".group h3 bdi")
    assert groups[0] == "Net"
    rows = page.all(".group:first-child .budget")
    assert ["over" in row.get_attribute("class") for row in rows[:4]] == [True, True, True, False]


def test_work_outside_a_call_of_the_model_says_so(page: Page, tmp_path: Path) -> None:
    profile = {**large_model("Net", 1, 100), "inputs": "2x4", "outside": True}
    test = {"id": "test_it.py::test_it", "outcome": "passed", "verdicts": [], "profiles": [profile]}
    run = {"torch": "", "python": "", "platform": "", "device": "auto", "flops_per_mac": 2, "exit_status": 0}
    path = tmp_path / "outside.html"
    path.write_text(html.render({"run": run, "tests": [test], "unmeasured": [], "changes": []}), encoding="ascii")
    other = Page(page.driver, path.as_uri()).open()
    assert other.texts(".call-inputs") == ["outside a call of the model"]


def test_what_a_test_expects_to_be_over_is_neither_kept_nor_broken(page: Page, tmp_path: Path) -> None:
    profile = large_model("Net", 1, 100)
    kept = verdict_on(profile, "params", 0.5)
    over = {**verdict_on(profile, "flops", 1.5), "outcome": "exceeded", "failed": False}
    test = {"id": "test_it.py::test_it", "outcome": "passed", "profiles": [profile], "verdicts": [kept, over]}
    run = {"torch": "", "python": "", "platform": "", "device": "auto", "flops_per_mac": 2, "exit_status": 0}
    path = tmp_path / "expected.html"
    path.write_text(html.render({"run": run, "tests": [test], "unmeasured": [], "changes": []}), encoding="ascii")
    other = Page(page.driver, path.as_uri()).open()
    assert other.one("h1").text == "1 budget kept, 1 over, as expected"
    assert other.texts(".stat")[:3] == ["0\nover budget", "1\nwithin", "1\nover, as expected"]
    assert other.texts(".group .pill") == ["1 budget within, 1 over, as expected"]
    other.choose("#state", "held")
    assert other.one(".count").text == "1 of 2 budgets"


def test_what_was_not_measured_is_no_budget_kept(page: Page, tmp_path: Path) -> None:
    profile = large_model("Net", 1, 100)
    kept = verdict_on(profile, "params", 0.5)
    nothing = {"outcome": "not measured", "model": "", "measured": None, "figure": None, "used": None}
    test = {"id": "test_it.py::test_it", "outcome": "passed", "profiles": [profile]}
    test["verdicts"] = [kept, {**kept, **nothing, "reason": "the test calls no model"}]
    run = {"torch": "", "python": "", "platform": "", "device": "auto", "flops_per_mac": 2, "exit_status": 0}
    path = tmp_path / "unmeasured.html"
    path.write_text(html.render({"run": run, "tests": [test], "unmeasured": [], "changes": []}), encoding="ascii")
    other = Page(page.driver, path.as_uri()).open()
    assert other.one("h1").text == "1 budget kept, 1 not measured"
    assert other.texts(".stat")[:3] == ["0\nover budget", "1\nwithin", "1\nnot measured"]
    assert other.texts(".group .pill") == ["1 budget within", "1 not measured"]
    other.choose("#state", "held")
    assert other.one(".count").text == "1 of 2 budgets"
    other.choose("#state", "unmeasured")
    assert other.texts(".budget .bar-reason") == ["the test calls no model"]


def test_the_figures_of_each_budget_are_those_of_the_report(page: Page, report: Report) -> None:
    page.open()
    shown = page.run(
        "return [...document.querySelectorAll('.budget-figures strong')].map(e => [e.dataset.exact, e.innerText])"
    )
    expected = [
        [str(verdict["figure"]), verdict["measured"]] for test in report["tests"] for verdict in test["verdicts"]
    ]
    assert sorted(shown) == sorted(expected)


def test_a_bar_shows_what_is_used_and_where_the_limit_and_the_baseline_are(page: Page) -> None:
    page.open()
    text = "test_grown"
    page.type("#search", text)
    bar = page.one(".budget .bar")
    # 16 and 32 wide: 2 x 4 x 16 + 20 = 148, 292 and 10 parameters; the baseline of 396 allows 435.6.
    assert bar.get_attribute("aria-label") == "103.3 % of the limit, baseline at 90.9 %"
    width = bar.size["width"]
    fill = page.one(".budget .bar-fill").size["width"]
    assert fill > page.one(".budget .bar-limit").location["x"] - bar.location["x"] > 0.9 * width


def test_budgets_are_searched_and_filtered(page: Page) -> None:
    page.open()
    page.type("#search", "tiny params")
    assert page.one(".count").text == "3 of 9 budgets"
    page.type("#search", "")
    page.one("#search").send_keys("x", "\ue003")
    page.choose("#state", "failed")
    assert len(page.all(".budget")) == 3
    assert page.one(".count").text == "3 of 9 budgets"
    page.choose("#metric", "macs")
    assert page.texts(".groups .notice") == ["Nothing here is called that."]
    page.choose("#state", "all")
    assert page.texts(".metric-name") == ["MACs"]


def test_tests_that_measure_the_same_have_one_view_each(page: Page, report: Report) -> None:
    page.open()
    calls = page.all(".call")
    assert len(calls) == len({json.dumps(profile) for test in report["tests"] for profile in test["profiles"]})


# -- a model ------------------------------------------------------------------------------------------------------


@pytest.fixture
def net(page: Page, report: Report) -> Page:
    return page.open(f"#/model/{number_of(report, 'test_net')}").treemap()


@pytest.mark.parametrize("metric", ["total_flops", "flops", "macs", "params", "memory", "traffic", "activations"])
def test_the_figures_of_the_modules_are_those_of_the_report(net: Page, report: Report, metric: str) -> None:
    net.choose("#rows", "all")
    net.one(f".card[data-metric={metric}]").click()
    modules = profile_of(report, "test_net")["modules"]
    assert net.figures("share") == {path: module[metric] for path, module in modules.items() if path}
    assert net.one(f".card[data-metric={metric}] .figure").get_attribute("data-exact") == str(modules[""][metric])


def test_a_click_zooms_and_the_crumbs_lead_back(net: Page) -> None:
    assert {"Net", "blocks", "up", "down"} <= set(net.areas())
    net.click_area("blocks")
    assert net.texts(".crumbs li") == ["Net", "blocks"]
    assert set(net.figures("share")) == {"blocks.0", "blocks.1"}
    net.click_area("1")
    assert net.texts(".crumbs li") == ["Net", "blocks", "1"]
    assert "head" not in net.areas()
    net.one(".crumbs button").click()
    assert set(net.figures("share")) == {"blocks", "head"}


def test_a_click_on_a_layer_marks_it_in_the_table(net: Page) -> None:
    net.click_area("1")
    net.click_area("up")
    assert net.one("tr.chosen").get_attribute("data-path") == "blocks.1.up"
    assert net.texts(".crumbs li") == ["Net", "blocks", "1"]


def test_hovering_shows_shapes_and_shares(net: Page) -> None:
    from selenium.webdriver import ActionChains

    net.click_area("1")
    area = next(area for area in net.all("#treemap .slice") if area.text.startswith("up"))
    ActionChains(net.driver).move_to_element(area.find_element("css selector", "text.slicetext")).perform()
    net.until("return !document.getElementById('tip').hidden")
    tip = net.one("#tip").text
    assert tip.startswith("blocks.1.up\nLinear")
    # Two rows by 4 by 32, twice.
    assert "512 FLOPs (512)" in tip
    assert "2x4" in tip
    assert "2x32" in tip
    net.one("body").send_keys("\ue00c")
    assert not net.one("#tip").is_displayed()


def test_the_layers_to_cut_are_named(net: Page) -> None:
    net.one(".card[data-metric=macs]").click()
    # 2 x (64 + 64 + 128 + 128 + 8) = 784 MACs: one of the wide layers, 256, is more than a fifth, two more than half.
    assert net.one("#savings p").text.startswith("1 layer of 5 holds 32.7 % of the MACs.")
    assert net.texts(".cuts .path") == ["blocks.1.up"]
    net.type("#share", "60")
    assert net.one("#savings p").text.startswith("2 layers of 5 hold 65.3 % of the MACs.")
    net.one(".cuts button").click()
    assert net.one("tr.chosen").get_attribute("data-path") == "blocks.1.up"


def test_what_is_over_its_limit_says_how_much_keeps_it(net: Page) -> None:
    # 2 x 784 = 1,568 FLOPs of 1,000: 36.3 % less make 999.
    net.one(".card[data-metric=flops]").click()
    net.one("#enough").click()
    assert net.one("#share").get_property("value") == "36.3"
    assert net.one("#savings p").text.startswith("2 layers of 5 hold 65.3 % of the FLOPs.")
    net.one(".card[data-metric=traffic]").click()
    assert not net.all("#enough")


def test_two_clicks_from_the_start_to_the_layers_that_would_save_a_fifth_of_the_flops(page: Page) -> None:
    page.open()
    page.one(".budget-link").click()
    page.one(".card[data-metric=flops]").click()
    assert page.one("#savings p").text.startswith("1 layer of 5 holds 32.7 % of the FLOPs.")
    assert page.texts(".cuts .path") == ["blocks.1.up"]
    # Without a turn of the wheel.
    assert page.run("return document.querySelector('.cuts').getBoundingClientRect().bottom < innerHeight")


def test_the_table_sorts_and_filters(net: Page) -> None:
    net.choose("#rows", "layers")
    net.one("th[data-key=params] button").click()
    assert list(net.figures("params").values()) == sorted(net.figures("params").values(), reverse=True)
    assert net.one("th[data-key=params]").get_attribute("aria-sort") == "descending"
    net.one("th[data-key=params] button").click()
    assert list(net.figures("params").values()) == sorted(net.figures("params").values())
    net.type("#module-filter", "DOWN linear")
    assert set(net.figures("share")) == {"blocks.0.down", "blocks.1.down"}


def test_operators_and_memory_are_those_of_the_report(net: Page, report: Report) -> None:
    profile = profile_of(report, "test_net")
    assert set(net.texts(".operators tbody th")) == set(profile["operators"])
    shown = net.run(
        """return [...document.querySelectorAll('.operators td[data-key=macs] [data-exact]')].map(figure =>
        Number(figure.dataset.exact))"""
    )
    assert sorted(shown) == sorted(row["macs"] for row in profile["operators"].values())
    assert net.one(".memory p [data-exact]").get_attribute("data-exact") == str(profile["memory"])
    net.run("document.querySelector('.chart.memory').scrollIntoView({behavior: 'instant'})")
    net.until("return document.querySelector('.chart.memory .scatterlayer')")
    drawn = net.run(
        "const {x, y} = document.querySelector('.chart.memory').data[1]; return [Array.from(x), Array.from(y)]"
    )
    births, alive, _ = zip(*profile["memory_course"]["points"], strict=True)
    assert drawn == [list(births), list(alive)]
    assert max(alive) == profile["memory"]
    assert any("peak" in text for text in net.texts(".chart.memory .annotation-text"))


def test_the_course_of_memory_is_seen_above_what_the_model_holds(net: Page, report: Report) -> None:
    profile = profile_of(report, "test_net")
    held = sum(profile["memory_by_kind"].get(kind, 0) for kind in ("parameters", "buffers"))
    net.run("document.querySelector('.chart.memory').scrollIntoView({behavior: 'instant'})")
    net.until("return document.querySelector('.chart.memory .scatterlayer')")
    least = "return document.querySelector('.chart.memory').layout.yaxis.range[0]"
    box = net.one("#above")
    assert not box.is_selected(), "parameters are no three quarters of a step with gradients"
    assert net.run(least) == 0
    box.click()
    net.until(f"return document.querySelector('.chart.memory').layout.yaxis.range[0] === {held}")


def test_layers_stand_by_arithmetic_intensity(net: Page, report: Report) -> None:
    net.run("document.getElementById('intensity').scrollIntoView({behavior: 'instant'})")
    net.until("return document.querySelector('#intensity .scatterlayer .point')")
    xs = net.run("return Array.from(document.getElementById('intensity').data[0].x)")
    modules = profile_of(report, "test_net")["modules"]
    layers = [module for module in modules.values() if module["type"] == "Linear"]
    assert sorted(xs) == pytest.approx(sorted(module["total_flops"] / module["traffic"] for module in layers))
    before = net.one(".balance > p").text
    net.type("#machine", "0.1")
    assert net.one(".balance > p").text != before


def test_a_view_can_be_linked_and_left_again(page: Page, report: Report) -> None:
    number = number_of(report, "test_net")
    page.open(f"#/model/{number}?metric=params&zoom=blocks.1").treemap()
    assert page.texts(".crumbs li") == ["Net", "blocks", "1"]
    assert page.one(".card[data-metric=params]").get_attribute("aria-pressed") == "true"
    page.one(".back").click()
    assert page.one("h1").text == "3 of 9 budgets not kept"
    page.driver.back()
    page.until("return document.querySelector('.crumbs')")


# -- what grew ----------------------------------------------------------------------------------------------------


def test_what_grew_is_in_the_treemap_and_in_the_table(page: Page) -> None:
    page.open()
    page.one(".changes tbody a").click()
    page.treemap()
    assert page.texts(".crumbs li") == ["Net"]
    rows = dict(zip(page.texts("#modules-table tbody .path"), page.texts("#modules-table .delta"), strict=True))
    # 148 parameters in the first block, 76 before: 72 more.
    assert rows["blocks.0"] == "+72 (+94.7 %)"
    assert rows["Net"] == "+54 (+13.6 %)"
    assert any("\u25b2" in text for text in page.texts("#treemap text.slicetext"))


def test_growth_that_a_test_does_not_allow_is_marked(page: Page) -> None:
    page.open()
    assert page.texts(".changes .pill") == ["not allowed"]
    page.one(".changes tbody a").click()
    assert page.texts(".card.over > span:first-child") == ["Parameters"]


def test_what_changed_alike_in_several_tests_has_one_row(comparison: Page) -> None:
    comparison.open()
    assert comparison.texts(".changes td[data-key=metric]") == ["Parameters", "Activations", "Traffic"]
    assert comparison.texts(".changes summary") == ["the same in 1 more test"] * 3
    comparison.one(".changes summary").click()
    comparison.one(".changes .others a").click()
    assert comparison.texts(".facts .path") == ["test_it.py::test_it"]


def test_a_comparison_opens_on_what_broke(comparison: Page) -> None:
    comparison.open()
    assert comparison.one("h1").text == "2 figures grew more than is allowed"
    assert comparison.texts(".changes tbody tr:first-child .pill") == ["not allowed"]
    # Without a word on the metric.
    comparison.open("#/difference/0").treemap()
    assert comparison.texts(".card[aria-pressed=true] > span:first-child") == ["Parameters"]
    assert comparison.one(".crumbs [aria-current]").text == "Net"


def test_a_comparison_without_a_rule_opens_on_what_grew_most(page: Page, tmp_path: Path) -> None:
    base = entries(activations={"": 20, "head": 20}, params={"": 200, "head": 200}, traffic={"": 400, "head": 400})
    head = entries(activations={"": 10, "head": 10}, params={"": 210, "head": 210}, traffic={"": 500, "head": 500})
    path = tmp_path / "compared.html"
    path.write_text(comparing.as_html(comparing.compare(base, head), []), encoding="ascii")
    found = Page(page.driver, path.as_uri()).open("#/difference/0")
    assert found.texts(".card[aria-pressed=true] > span:first-child") == ["Traffic"]
    # In the order of the view of a model.
    assert found.texts(".card > span:first-child") == ["Parameters", "Traffic", "Activations"]


def test_names_in_a_comparison_are_shown_and_do_nothing(comparison: Page) -> None:
    comparison.open("#/difference/0").treemap()
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert f"body.{shown}" in comparison.texts("#modules-table tbody .path")
    comparison.click_area("body")
    assert comparison.run("return document.querySelectorAll('main img, main script, main b').length") == 0


# -- by keyboard, on paper, small and dark ------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    page.open()
    press(Keys.TAB)
    assert page.driver.switch_to.active_element.text == "Skip to the content"
    page.run("document.querySelector('.budget-link').focus()")
    press(Keys.ENTER)
    page.until("return document.activeElement.id === 'title'")
    page.treemap()
    page.run("document.querySelector('#modules-table tbody button').focus()")
    press(Keys.ENTER)
    assert page.texts(".crumbs li") == ["Net", "blocks"]
    page.run("document.querySelector('.card[data-metric=params]').focus()")
    press(Keys.SPACE)
    assert page.one(".card[data-metric=params]").get_attribute("aria-pressed") == "true"
    assert page.one("#status").get_attribute("textContent") == "Parameters by module"


def test_a_reader_of_screens_finds_landmarks_and_labels(net: Page) -> None:
    assert len(net.all("main")) == len(net.all("h1")) == 1
    assert net.one("html").get_attribute("lang") == "en"
    for section in net.all("section"):
        assert net.one(f"#{section.get_attribute('aria-labelledby')}").text
    unnamed = net.run(
        """return [...document.querySelectorAll('input, select, button, a, [role=img], [role=region], nav')].filter(e =>
        !(e.getAttribute('aria-label') || e.labels?.length || e.innerText?.trim() || e.title)).map(e => e.outerHTML)"""
    )
    assert unnamed == []
    assert all(net.run("return [...document.querySelectorAll('table')].map(e => Boolean(e.caption.textContent))"))


@pytest.mark.parametrize("width", [360, 768, 1360])
@pytest.mark.parametrize("view", ["", "#/model/0", "#/difference/0"])
def test_nothing_is_wider_than_the_screen(page: Page, view: str, width: int) -> None:
    chromium.resize(page.driver, width)
    page.open(view)
    assert page.run("return document.documentElement.scrollWidth") <= width


# Whatever is wider than the row, card or panel that it stands in, but for tables that scroll.
SPILT = """
const rows = '.panel, .budget, .budget-figures, .card, .stat, .call, .cuts li, .filters, .crumbs, .stacks tr, .stats';
return [...document.querySelectorAll(rows)].filter(row => row.getClientRects().length)
  .flatMap(row => [...row.querySelectorAll('*')]
    .filter(e => !e.closest('.hidden, svg, .js-plotly-plot, table:not(.stacks)'))
    .filter(e => e.getBoundingClientRect().right > row.getBoundingClientRect().right + 1)
    .map(e => `${row.className}: ${e.className} ${e.textContent.slice(0, 40)}`));
"""


@pytest.mark.parametrize("width", [360, 390, 768, 1100, 1360])
@pytest.mark.parametrize("view", ["", "#/model/0"])
def test_no_figure_runs_past_its_row(long_figures: Page, view: str, width: int) -> None:
    chromium.resize(long_figures.driver, width)
    long_figures.open(view)
    assert "12,544,000,000,000 FLOPs" in long_figures.one(".budget-figures").text
    assert long_figures.run(SPILT) == []
    assert long_figures.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 390])
@pytest.mark.parametrize("view", ["", "#/difference/0"])
def test_on_a_phone_a_table_of_changes_is_cards(comparison: Page, view: str, width: int) -> None:
    chromium.resize(comparison.driver, width)
    comparison.open(view)
    assert comparison.run(SPILT) == []
    cut = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert comparison.run(cut) == 0
    cells = comparison.run(
        """return [...document.querySelectorAll('.stacks tbody tr:first-child td')].map(cell =>
        [cell.dataset.title, cell.getBoundingClientRect().right <= innerWidth, cell.innerText.trim() !== ''])"""
    )
    last = "Where" if not view else "Change"
    assert [title for title, *_ in cells][-1] == last
    assert all(is_inside and is_filled for _, is_inside, is_filled in cells)
    # Still a table to who hears it, and still sorted by its header.
    roles = comparison.run(
        "return [...document.querySelectorAll('.stacks, .stacks *')].map(e => e.getAttribute('role'))"
    )
    assert {"table", "rowgroup", "row", "columnheader", "rowheader", "cell"} <= set(roles)
    comparison.one(".stacks th[data-key=after] button").click()
    assert comparison.one(".stacks th[data-key=after]").get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_the_table_of_modules_keeps_their_names_in_sight(net: Page, width: int) -> None:
    chromium.resize(net.driver, width)
    before = net.one("#modules-table tbody th").rect["x"]
    net.run("document.querySelector('#modules-table .scroll').scrollLeft = 200")
    assert net.run("return document.querySelector('#modules-table .scroll').scrollLeft") == 200
    assert net.one("#modules-table tbody th").rect["x"] == pytest.approx(before, abs=5)


def contrast(one: str, other: str) -> float:
    """Of two colours of the page, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(page: Page, report: Report, theme: str) -> None:
    chromium.theme(page.driver, theme)
    surface = "rgb(255, 255, 255)" if theme == "light" else "rgb(27, 33, 40)"
    for view in ("", f"#/model/{number_of(report, 'test_net')}", "#/difference/0"):
        page.open(view)
        colours = page.run(
            """return [...new Set([...document.querySelectorAll('.panel *')]
            .filter(e => e.innerText && !e.closest('svg, .mark, .pill')).map(e => getComputedStyle(e).color))]"""
        )
        assert {colour: contrast(colour, surface) for colour in colours if contrast(colour, surface) < 4.5} == {}
        # The label of each area on its own colour.
    page.treemap()
    labels = page.run(
        """const colour = (area, selector) => getComputedStyle(area.querySelector(selector)).fill;
        return [...document.querySelectorAll('#treemap .slice')].filter(area => area.querySelector('text.slicetext'))
        .map(area => [colour(area, '.surface'), colour(area, 'text.slicetext')])"""
    )
    assert labels
    assert [pair for pair in labels if contrast(*pair) < 4.5] == []


def test_a_change_of_theme_is_followed(net: Page) -> None:
    before = net.run("return getComputedStyle(document.body).color")
    chromium.theme(net.driver, "dark")
    net.until(f"return getComputedStyle(document.body).color !== {before!r}")
    net.treemap()


def test_on_paper_every_chart_is_there(net: Page) -> None:
    net.run("window.dispatchEvent(new Event('beforeprint'))")
    net.until("return document.querySelectorAll('.chart .main-svg').length >= 3")
    net.until("return document.querySelector('#intensity .point')")
    net.run("window.dispatchEvent(new Event('afterprint'))")
    pdf = net.driver.print_page()
    assert len(pdf) > 10_000


@pytest.mark.parametrize("width", [360, 1360])
def test_on_paper_a_chart_is_as_wide_as_the_paper_and_light(page: Page, report: Report, width: int) -> None:
    chromium.theme(page.driver, "dark")
    chromium.resize(page.driver, width)
    page.open(f"#/model/{number_of(report, 'test_net')}").treemap()
    drawn = page.run("return document.getElementById('treemap').dataset.drawn")
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    page.until(f"return document.getElementById('treemap').dataset.drawn > {drawn}")
    # A4 is 794 pixels wide, Letter 816, with the margins that browsers leave 717 and more.
    assert 600 < page.run("return document.querySelector('#treemap .main-svg').getBoundingClientRect().width") < 717
    assert page.run("return document.querySelector('#modules-table .scroll').scrollWidth") < 717
    labels = page.run(
        "return [...document.querySelectorAll('#treemap text.slicetext')].map(text => getComputedStyle(text).fill)"
    )
    assert {contrast(label, "rgb(255, 255, 255)") > 10 for label in labels} == {True}, "dark on white"
    page.run("window.dispatchEvent(new Event('afterprint'))")


# -- nothing that somebody is called does anything ----------------------------------------------------------------


def test_names_are_shown_and_do_nothing(page: Page, report: Report) -> None:
    page.open()
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert shown in page.texts(".group h3 bdi")
    assert any(shown in text for text in page.texts(".budget .path"))
    page.open(f"#/model/{number_of(report, f'test_hostile[{HOSTILE}]')}").treemap()
    assert page.one("h1").text == shown
    assert shown in page.texts("#modules-table tbody .path")
    assert shown in page.areas()
    from selenium.webdriver import ActionChains

    area = page.all("#treemap .slice")[-1]
    ActionChains(page.driver).move_to_element(area).perform()
    assert page.run("return document.querySelectorAll('main img, main script, main b').length") == 0


def test_what_is_put_into_the_page_may_not_run(page: Page) -> None:
    page.open()
    page.run(
        """const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.head.append(script);"""
    )
    assert not page.run("return window.hacked")
    (entry,) = page.driver.get_log("browser")
    assert "Content Security Policy" in entry["message"]
