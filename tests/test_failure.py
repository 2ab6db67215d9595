"""The text of a failure, and what pytest makes of it.

Net: 58 parameters, 48 MACs a sample (encoder 40 and 32, head 18 and 16).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import Limit, Per, Source, Uncounted
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.profiling.profile import ModuleProfile, Profile
from pytest_modelbudget.reporting.failure import _alike, headline, unknown_text, verdict_text
from pytest_modelbudget.verdict import Outcome, Verdict, judge

if TYPE_CHECKING:
    from tests.suite import Suite

# ResNet-50's figures by stage: 4,089,184,256 MACs in all, so twice as many FLOPs.
STAGES = {
    "conv1": 118_013_952,
    "layer1": 667_942_912,
    "layer2": 1_027_604_480,
    "layer3": 1_464_336_384,
    "layer4": 809_238_528,
    "fc": 2_048_000,
}


def module(macs: int, kind: str = "Sequential", params: int = 10) -> ModuleProfile:
    return ModuleProfile(kind, 1, params, params, 4 * params, macs=macs, flops=2 * macs)


def profile(parts: dict[str, int], **changes: object) -> Profile:
    rows = {"": module(sum(macs for path, macs in parts.items() if "." not in path), "ResNet")}
    rows.update((path, module(macs)) for path, macs in parts.items())
    root = rows[""]
    figures = {"batch": 1, "inputs": "1x3x224x224", "device": "cpu", "how": "observed", **changes}
    return Profile("ResNet", 10, 10, 40, macs=root.macs, flops=root.flops, modules=rows, **figures)


def limit(written: object, metric: str = "flops", **keywords: object) -> Limit:
    row = METRICS[metric]
    source = keywords.pop("source", None) or Source(f'@max_{metric}("{written}")', "tests/test_resnet.py:12", True)
    return Limit(row, quantity.parse(written, row.unit), str(written), source, **keywords)


def text(limited: Limit, call: Profile, uncounted: Uncounted = Uncounted.FAIL, count: int = 1) -> str:
    (verdict,) = judge(limited, call.model, [(call, count)], uncounted)
    return verdict_text(verdict)


def test_every_line():
    assert sum(STAGES.values()) == 4_089_184_256
    assert text(limit("4.1G"), profile(STAGES)).splitlines() == [
        "max_flops: ResNet 8.178 GFLOPs > 4.1 GFLOPs (+99.5 %) for 1x3x224x224",
        '  limit     4.1 GFLOPs from @max_flops("4.1G") at tests/test_resnet.py:12',
        "  measured  8,178,368,512 FLOPs = 4.089 GMACs x 2, observed on cpu",
        "  where     layer3  35.8 %   layer2  25.1 %   layer4  19.8 %   layer1  16.3 %",
        '  hint      4.089 GMACs would be within 4.1G: if the limit was meant in MACs, write "4.1 GMACs"',
        "  next      make the model lighter, or raise the limit at tests/test_resnet.py:12",
    ]


def test_the_teams_own_words_come_first():
    lines = text(limit("1G", message="edge device: see docs/edge.md"), profile(STAGES)).splitlines()
    assert lines[1] == "  message   edge device: see docs/edge.md"


def test_a_source_in_a_table_names_its_file_once():
    source = Source("pyproject.toml: tool.modelbudget.budgets[0].max_flops", "pyproject.toml", direct=False)
    lines = text(limit("1G", source=source), profile(STAGES)).splitlines()
    assert lines[1] == "  limit     1 GFLOPs from pyproject.toml: tool.modelbudget.budgets[0].max_flops"
    assert lines[-1] == "  next      make the model lighter, or raise the limit at pyproject.toml"


@pytest.mark.parametrize(
    ("written", "hinted"),
    [
        ("4.1G", True),
        ("4_100_000_000", True),
        ("5.1G", True),
        ("5.2G", False),  # 4.089 GMACs fill 79 % of it: an overrun by 57 %, as any other
        ("8.1G", False),
        ("4.1 GFLOPs", False),  # the unit is said
        ("8.1 GFLOPs", False),
        ("4.1GFlop", False),
        ("4G", False),  # the MACs are not within it either
        ("4 GMACs", False),  # they are what was meant
    ],
)
def test_a_hint_where_macs_may_have_been_meant(written, hinted):
    assert ("  hint  " in text(limit(written), profile(STAGES))) is hinted


def test_no_hint_where_a_mac_is_a_flop():
    call = profile(STAGES, flops_per_mac=1)
    one = {path: ModuleProfile("X", 1, 1, 1, 4, macs=row.macs, flops=row.macs) for path, row in call.modules.items()}
    call = profile(STAGES, flops_per_mac=1)
    call.modules.update(one)
    call = Profile("ResNet", 1, 1, 4, macs=call.macs, flops=call.macs, modules=one, flops_per_mac=1, device="cpu")
    lines = text(limit("4G"), call)
    assert "measured  4,089,184,256 FLOPs = 4.089 GMACs x 1, observed on cpu" in lines
    assert "hint" not in lines


@pytest.mark.parametrize("excess", [1, 10**3, 10**6])
@pytest.mark.parametrize("value", [10**3, 4_100_000_000, 10**15, 123_456_789_012_345])
def test_two_different_numbers_never_read_the_same(value, excess):
    first = headline(judge(limit(value, "macs"), "Net", [(profile({"a": value + excess}), 1)], Uncounted.FAIL)[0])
    measured, allowed = first.removeprefix("max_macs: Net ").split(" (+")[0].split(" > ")
    assert measured != allowed
    assert "(+0.0 %)" not in first


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        # One part holds everything: what is in it says more.
        ({"body": 10, "body.a": 7, "body.b": 3}, "body.a  70.0 %   body.b  30.0 %"),
        ({"body": 10, "body.only": 10}, "body.only  100.0 %"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 0, "f": 5}, "f  33.3 %   d  26.7 %   c  20.0 %   b  13.3 %"),
        ({"a": 10, "idle": 0}, "a  100.0 %"),
        # A part that holds nearly everything is taken apart, as deep as it takes; the rest stays beside what is in it.
        (
            {"model": 95, "model.layers": 95, "model.layers.up": 60, "model.layers.down": 35, "head": 5},
            "model.layers.up  60.0 %   model.layers.down  35.0 %   head  5.0 %",
        ),
        # One that holds most of it, where there is room.
        ({"model": 60, "model.a": 30, "model.b": 30, "head": 40}, "head  40.0 %   model.a  30.0 %   model.b  30.0 %"),
        (
            {"model": 60, **{f"model.{name}": 20 for name in "abc"}, "head": 20, "neck": 20},
            "model  60.0 %   head  20.0 %   neck  20.0 %",
        ),
        # Its own work is told from the work of what is in it.
        (
            {"attention": 96, "attention.out": 16, "head": 4},
            "attention itself  80.0 %   attention.out  16.0 %   head  4.0 %",
        ),
    ],
)
def test_where_the_figure_sits(parts, where):
    assert f"  where     {where}\n" in text(limit(1), profile(parts))


def layers(count: int, **changes: int) -> dict[str, int]:
    """Layers of 10 each, 6 of them in `mlp`."""
    parts = {"model": 0, "model.layers": 0}
    for number in range(count):
        layer = f"model.layers.{number}"
        parts |= {layer: 10, f"{layer}.attention": 4, f"{layer}.mlp": 6}
    parts |= {path.replace("_", "."): macs for path, macs in changes.items()}
    whole = sum(macs for path, macs in parts.items() if path.count(".") == 2)
    return {**parts, "model": whole, "model.layers": whole}


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        # 32 x 6 and 32 x 4 of 320.
        (layers(32), "model.layers.0-31.mlp  60.0 %   model.layers.0-31.attention  40.0 %"),
        # The first of four has an MLP of 16, so it stands alone: 20 and 3 x 10 of 50.
        (
            layers(4, model_layers_0=20, model_layers_0_mlp=16),
            "model.layers.0  40.0 %   model.layers.1-3.mlp  36.0 %   model.layers.1-3.attention  24.0 %",
        ),
        # Two are named one by one.
        (layers(2), "model.layers.0  50.0 %   model.layers.1  50.0 %"),
    ],
)
def test_equal_layers_in_a_row_stand_together(parts, where):
    assert f"  where     {where}\n" in text(limit(1), profile(parts))


def test_a_model_without_parts_says_no_where():
    rows = {"": module(10, "Linear")}
    call = Profile("Linear", 10, 10, 40, macs=10, flops=20, modules=rows, device="cpu", how="observed")
    assert "where" not in text(limit(1), call)


def test_a_submodule_is_named_with_what_is_in_it():
    lines = text(limit(1, module="body"), profile({"body": 10, "body.a": 7, "body.b": 3})).splitlines()
    assert lines[0] == "max_flops: ResNet body 20 FLOPs > 1 FLOPs (+1900.0 %) for 1x3x224x224"
    assert "  where     body.a  70.0 %   body.b  30.0 %" in lines


@pytest.mark.parametrize(
    ("per", "count", "first", "measured"),
    [
        (Per.SAMPLE, 1, "10 FLOPs > 1 FLOPs (+900.0 %) per sample", "10 FLOPs = 20 MACs x 2 / 4 samples"),
        (Per.TEST, 3, "120 FLOPs > 1 FLOPs (120 times as much) per test", "120 FLOPs"),
    ],
)
def test_what_the_figure_covers(per, count, first, measured):
    lines = text(limit(1, per=per), profile({"a": 20}, batch=4, inputs="4x2"), count=count).splitlines()
    assert lines[0] == f"max_flops: ResNet {first} for 4x2"
    assert lines[1].startswith(f"  limit     1 FLOPs per {per.value} from ")
    assert lines[2].startswith(f"  measured  {measured}, observed on cpu")
    assert lines[2].endswith(", all calls of the test together") is (per is Per.TEST)


def test_how_it_was_measured():
    assert "20 FLOPs = 10 MACs x 2, run abstractly on meta" in text(
        limit(1), profile({"a": 10}, device="meta", how="abstract")
    )
    assert "  measured  10 parameters\n" in text(limit(1, "params"), profile({"a": 10}))


def test_ffts_and_linear_algebra_are_no_macs():
    row = ModuleProfile("Net", 1, 0, 0, 0, macs=10, flops=25)
    call = Profile("Net", 0, 0, 0, macs=10, flops=25, modules={"": row}, device="cpu", how="observed")
    assert "25 FLOPs = 10 MACs x 2 + 5 FLOPs of FFT and linear algebra, observed on cpu" in text(limit(1), call)


def test_operators_of_unknown_cost():
    unknown = {"a::rare": 1, "mylib::scan": 3}
    lines = text(limit(100), profile({"a": 10}, uncounted=unknown)).splitlines()
    assert lines == [
        "max_flops: ResNet ran operators of unknown cost: mylib::scan (x3), a::rare",
        '  limit     100 FLOPs from @max_flops("100") at tests/test_resnet.py:12',
        "  measured  20 FLOPs = 10 MACs x 2, observed on cpu, without them",
        "  next      say what they cost, from the shapes of their arguments, for example in conftest.py:",
        "                from pytest_modelbudget import Cost, register_cost",
        '                @register_cost("mylib::scan")',
        "                def scan(<its arguments by name>, *, output):",
        "                    return Cost(macs=...)  # or flops=, elementwise=, activations=",
        '            or leave them out of the count: uncounted="warn" in the mark, or modelbudget_uncounted = warn',
    ]
    assert "  and operators of unknown cost, which are not counted: mylib::scan (x3), a::rare\n" in text(
        limit(1), profile({"a": 10}, uncounted=unknown)
    )


def test_a_long_list_of_operators_is_cut():
    verdict = Verdict(limit(1), Outcome.WITHIN, "Net", unknown={f"a::op{n}": n for n in range(1, 11)})
    assert unknown_text(verdict) == (
        "Net ran operators of unknown cost, which are not counted: a::op10 (x10), a::op9 (x9), a::op8 (x8), "
        "a::op7 (x7), a::op6 (x6), a::op5 (x5), 4 more"
    )


def test_many_inputs_are_cut():
    first = text(limit(1), profile({"a": 10}, inputs=", ".join(["2x3"] * 40))).splitlines()[0]
    assert len(first) < 120
    assert first.endswith("...")


def test_figures_that_are_no_integers_are_exact():
    (verdict,) = judge(limit("0.5", per=Per.SAMPLE), "Net", [(profile({"a": 1}, batch=3), 1)], Uncounted.FAIL)
    assert verdict.measured == Fraction(2, 3)
    assert "0.667 FLOPs > 0.5 FLOPs (+33.3 %)" in headline(verdict)


FAILING = "@pytest.mark.max_params('50', message='own words')\ndef test_it(): Net()(batch())"
FIRST = "max_params: Net 58 > 50 (+16.0 %)"


class TestInPytest:
    def test_the_message_is_all_that_is_printed(self, suite: Suite):
        run = suite(FAILING)
        start = run.lines.index(FIRST)
        assert run.lines[start - 1].startswith("____")
        assert run.lines[start + 1 : start + 5] == [
            "  message   own words",
            '  limit     50 from @max_params("50", message="own words") at test_it.py:6',
            "  measured  58 parameters",
            "  where     encoder  69.0 %   head  31.0 %",
        ]
        assert f"FAILED test_it.py::test_it - BudgetExceeded: {FIRST}" in run.lines

    @pytest.mark.parametrize("style", ["long", "short", "line", "native"])
    def test_in_every_style_of_traceback(self, suite: Suite, style: str):
        run = suite(FAILING, f"--tb={style}")
        assert any(line.endswith(FIRST) for line in run.lines)
        assert style == "line" or "gate.py" not in run.result.stdout.str()

    def test_without_tracebacks_the_summary_says_it(self, suite: Suite):
        run = suite(FAILING, "--tb=no", "--show-capture=no")
        assert f"FAILED test_it.py::test_it - BudgetExceeded: {FIRST}" in run.lines

    def test_in_junit(self, suite: Suite):
        suite(FAILING, "--junitxml=report.xml")
        failure = ET.parse(suite.pytester.path / "report.xml").find(".//testcase/failure")
        assert failure is not None
        assert failure.get("message", "").startswith(f"BudgetExceeded: {FIRST}")
        assert "  measured  58 parameters" in (failure.text or "")
        properties = ET.parse(suite.pytester.path / "report.xml").findall(".//property")
        assert properties == []


def test_names_that_would_command_a_terminal_are_shown():
    hostile = "\x1b[31mred\u202e"
    written = text(limit(1, message=f"of the {hostile} team"), profile({hostile: 20}))
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert r"\x1b[31mred\u202e  100.0 %" in written
    assert r"of the \x1b[31mred\u202e team" in written


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], ""),
        (["Net"], ", and 1 more like it (Net)"),
        (["Net #2"], ", and 1 more like it (Net #2)"),
        (["Net #3", "Net"], ", and 2 more like it (Net, #3)"),
        (["Net #2", "Net #3", "Net #4", "Net #7"], ", and 4 more like it (Net #2 to #4, #7)"),
    ],
)
def test_models_of_one_name_are_told_by_their_numbers(models, said):
    assert _alike(models) == said
