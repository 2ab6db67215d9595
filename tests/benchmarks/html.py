"""How large a page is, and how long it takes in a browser: `python -m tests.benchmarks.html`.

500 tests of 20 models, 19 with 162 modules each and one with 2,002; 1,500 budgets. Times are medians of three, from the
start of the navigation or the click to the next frame.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.profiling.profile import MemoryCourse, ModuleProfile, OperatorProfile, Profile
from pytest_modelbudget.reporting import html
from tests import browser


def model(name: str, blocks: int, scale: int) -> dict[str, Any]:
    """A transformer of so many blocks of 10 modules."""
    modules: dict[str, ModuleProfile] = {}

    def add(path: str, kind: str, weight: int) -> None:
        shape = ((1, 128, 64),)
        modules[path] = ModuleProfile(
            type=kind, calls=1, params=weight, trainable_params=weight, size=4 * weight, macs=128 * weight,
            flops=256 * weight, elementwise_flops=weight, backward_flops=0, activations=weight, read=4 * weight,
            written=weight, memory=5 * weight, input_shapes=shape, output_shapes=shape,
        )  # fmt: skip

    parts = {"attn": 0, "attn.q": 4, "attn.k": 4, "attn.v": 4, "attn.out": 4, "mlp": 0, "mlp.up": 16, "mlp.down": 16}
    norms = {"norm1": 1}
    add("", name, scale * blocks * 49)
    add("blocks", "ModuleList", scale * blocks * 49)
    for block in range(blocks):
        add(f"blocks.{block}", "Block", scale * 49)
        for path, weight in {**parts, **norms}.items():
            inner = 16 if path == "attn" else 32 if path == "mlp" else weight
            kind = {"attn": "Attention", "mlp": "MLP", "norm1": "LayerNorm"}.get(path, "Linear")
            add(f"blocks.{block}.{path}", kind, scale * inner)
    course = MemoryCourse(tuple((step, scale * (step % 97), "blocks.0") for step in range(1, 257)), 256, 256)
    root = modules[""]
    figures = {metric: getattr(root, metric, None) for metric in METRICS}
    figures = {name: value for name, value in figures.items() if name in Profile.__dataclass_fields__}
    return Profile(
        model=name, **figures, memory_by_kind={"parameters": 4 * root.params}, memory_at=("blocks.0", "aten::mm"),
        memory_course=course, operators={"aten::mm": OperatorProfile(calls=6 * blocks, macs=root.macs or 0)},
        modules=modules, inputs="1x128x64", device="cpu", how="observed", batch=1,
    ).to_dict()  # fmt: skip


def verdict(profile: dict[str, Any], metric: str, share: float) -> dict[str, Any]:
    figure = profile[metric]
    return {
        "metric": metric, "relative": False, "model": profile["model"], "module": "", "per": "call", "level": "error",
        "outcome": "within" if share <= 1 else "exceeded", "failed": share > 1, "measured": f"{figure:,}",
        "limit": f"{int(figure / share):,}", "figure": figure, "bound": int(figure / share), "baseline": None,
        "used": share, "reason": "", "unknown": {},
        "source": {"text": f"@max_{metric}(1)", "location": "tests/test_models.py:12", "direct": True},
    }  # fmt: skip


def report() -> dict[str, Any]:
    profiles = [model(f"Model{number}", 16, 1000 + number) for number in range(19)] + [model("Giant", 200, 5000)]
    tests = []
    for number in range(500):
        profile = profiles[number % len(profiles)]
        metrics = ("params", "flops", "memory")
        tests.append(
            {
                "id": f"tests/test_models.py::TestModel{number % 20}::test_size[{number}]",
                "outcome": "passed",
                "verdicts": [verdict(profile, metric, 0.5 + (number * 7 % 60) / 100) for metric in metrics],
                "profiles": [profile],
            }
        )
    run = {"torch": "", "python": "", "platform": "", "device": "auto", "flops_per_mac": 2, "exit_status": 1}
    return {"run": run, "tests": tests, "unmeasured": [], "changes": []}


# Until the frame after the work that a click starts has been drawn.
_CLICK = """
const [selector, done] = arguments;
const drawn = () => document.getElementById('treemap')?.dataset.drawn ?? '0';
const before = drawn();
const started = performance.now();
const finished = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
document.querySelector(selector).click();
const wait = () => (drawn() === before ? setTimeout(wait, 2) : finished());
wait();
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    page = folder / "page.html"
    page.write_text(html.render(report()), encoding="utf-8")
    print(f"page {page.stat().st_size / 1e6:.1f} MB")
    with browser.browser(folder / "profile") as driver:
        browser.resize(driver, 1360)
        times: dict[str, list[float]] = {}

        def note(what: str, milliseconds: float) -> None:
            times.setdefault(what, []).append(milliseconds)

        for _ in range(3):
            driver.get("about:blank")
            driver.get(page.as_uri())
            load = "const [page] = performance.getEntriesByType('navigation'); return page.loadEventEnd"
            note("load, 500 tests, 1,500 budgets", driver.execute_script(load))
            search = """const field = document.getElementById('search'); const started = performance.now();
            field.value = 'giant memory'; field.dispatchEvent(new Event('input')); document.body.offsetHeight;
            return performance.now() - started"""
            note("search", driver.execute_script(search))
            giant = "a.call[href='#/model/19']"
            note("open 2,000 modules, chart library included", driver.execute_async_script(_CLICK, giant))
            note("switch metric", driver.execute_async_script(_CLICK, ".card[data-metric=params]"))
            note("zoom in", driver.execute_async_script(_CLICK, "#modules-table tbody button"))
            note("zoom out", driver.execute_async_script(_CLICK, ".crumbs button"))
            rows = """const select = document.getElementById('rows'); const started = performance.now();
            select.value = 'all'; select.dispatchEvent(new Event('change')); document.body.offsetHeight;
            return performance.now() - started"""
            note("table of all modules", driver.execute_script(rows))
    for what, measured in times.items():
        print(f"{what:45} {statistics.median(measured):7.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
