"""The table at the end of a run.

Net: 58 parameters, 48 MACs a sample (encoder 40 and 32, head 18 and 16). Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
import torch
from _pytest.terminal import TerminalReporter

from pytest_modelbudget.reporting import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.suite import Run, Suite

SOURCE = """
@pytest.mark.max_params(60)
def test_b(): Net()(batch())

@pytest.mark.max_params(50)
@pytest.mark.max_macs(192)
def test_a(): Net()(batch())

@pytest.mark.max_params(100)
class TestMany:
    @pytest.mark.parametrize("kind", [Tiny, Net, Tiny])
    def test_it(self, kind): kind()(batch())
    def test_none(self): pass
"""


def table(run: Run) -> list[str]:
    """The lines of the table, without its title."""
    lines = run.lines
    start = next((i for i, line in enumerate(lines) if "= model budgets =" in line), None)
    if start is None:
        return []
    # With -q the last line of all has no rule around it.
    end = next(i for i, line in enumerate(lines) if i > start and (line.startswith("=") or " passed in " in line))
    return lines[start + 1 : end]


def test_the_short_table(suite: Suite):
    assert table(suite(SOURCE)) == [
        "test_it.py::TestMany::test_it[Net]  Net",
        "  params  58 / 100            █████░░░░░  58.0 %",
        "test_it.py::TestMany::test_it[Tiny0]  Tiny",
        "  params  20 / 100            ██░░░░░░░░  20.0 %  in 2 tests",
        "test_it.py::TestMany::test_none",
        "  params  - / 100             not measured",
        "    the test neither calls a model nor has a fixture that is one: call it, or",
        '    say model="..." (a fixture, a parameter or an attribute)',
        "test_it.py::test_a  Net",
        "  macs    96 MACs / 192 MACs  █████░░░░░  50.0 %",
        "  params  58 / 50             ██████████ 116.0 %  over",
        "test_it.py::test_b  Net",
        "  params  58 / 60             █████████░  96.7 %",
    ]


@pytest.fixture
def scan() -> Iterator[None]:
    """An operator of unknown cost."""
    library = torch.library.Library("modelbudget_narrow", "DEF")
    library.define("scan(Tensor x) -> Tensor")
    library.impl("scan", torch.clone, "CPU")
    yield
    library._destroy()


NARROW = """
@pytest.mark.max_params(1, module="head.*", level="warn")
@pytest.mark.max_latency("1 ns", level="warn")
@pytest.mark.max_total_flops("1M", uncounted="warn")
def test_it(): nn.Sequential(Net())(batch())

class Scanning(Net):
    def forward(self, x): return super().forward(torch.ops.modelbudget_narrow.scan(x))
@pytest.mark.max_total_flops("1M", uncounted="warn")
def test_unknown(): Scanning()(batch())

@pytest.mark.modelbudget(params=1, flops=1)
class TestMany:
    def test_none(self): pass
"""


@pytest.mark.usefixtures("scan")
@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("args", [(), ("-v",), ("--modelbudget",)])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(
    suite: Suite, monkeypatch, width: int, args: tuple[str, ...]
):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = table(suite(NARROW, "test_it.py", *args))
    assert max(map(len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    assert 'module="head.*" matches none of the 3 submodules of Sequential: 0.head, ...' in whole
    assert 'or say model="..." (a fixture, a parameter or an attribute)' in whole
    assert "unknown cost: modelbudget_narrow::scan" in whole
    assert "over (warning)" in whole


@pytest.mark.usefixtures("scan")
def test_a_reason_that_several_limits_share_is_told_once(suite: Suite):
    lines = table(suite(NARROW, "test_it.py"))
    assert sum("neither calls a model" in line for line in lines) == 1


@pytest.mark.usefixtures("scan")
def test_bars_stay_in_their_lines_on_a_narrow_terminal(suite: Suite, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert "  total_flops  208 FLOPs / 1 MFLOPs  ░░░░░░░░░░   0.0 %" in table(suite(NARROW, "test_it.py"))


def test_quiet_shows_failures_only(suite: Suite):
    assert table(suite(SOURCE, "-q")) == [
        "test_it.py::test_a  Net",
        "  params  58 / 50  ██████████ 116.0 %  over",
    ]
    assert table(suite("@pytest.mark.max_params(60)\ndef test_b(): Net()(batch())", "-q")) == []


def test_verbose_shows_every_test_and_whole_reasons(suite: Suite):
    lines = table(suite(SOURCE, "-v"))
    assert [line for line in lines if "::" in line] == [
        "test_it.py::TestMany::test_it[Net]  Net",
        "test_it.py::TestMany::test_it[Tiny0]  Tiny",
        "test_it.py::TestMany::test_it[Tiny1]  Tiny",
        "test_it.py::TestMany::test_none",
        "test_it.py::test_a  Net",
        "test_it.py::test_b  Net",
    ]
    assert any(line.endswith("(a fixture, a parameter or an attribute)") for line in lines)


def test_more_verbose_shows_the_modules(suite: Suite):
    lines = table(suite(SOURCE, "-vv", "-k", "test_a"))
    start = lines.index("Net  2x4  on cpu")
    assert lines[start + 1].startswith("  params 58  trainable_params 58  size 232 bytes  macs 96 MACs")
    assert "  test_it.py::test_a" in lines[start:]
    (encoder,) = [line for line in lines if line.startswith("    encoder  Linear")]
    assert "params 40" in encoder
    assert "macs 64 MACs" in encoder


def test_it_has_a_verbosity_of_its_own(suite: Suite):
    suite.pytester.makeini("[pytest]\nverbosity_modelbudget = -1\n")
    assert len(table(suite(SOURCE, "-v"))) == 2
    suite.pytester.makeini("[pytest]\nverbosity_modelbudget = 1\n")
    assert len(table(suite(SOURCE, "-q"))) > 10


def test_without_budgets_there_is_no_table(suite: Suite):
    assert "model budgets" not in suite("def test_it(): Net()(batch())").result.stdout.str()


def test_many_limits_make_a_short_table_of_the_most_used(suite: Suite):
    tests = "".join(f"@pytest.mark.max_params({limit})\ndef test_{limit}(net): pass\n" for limit in range(58, 58 + 30))
    run = suite("@pytest.fixture\ndef net(): return Net()\n" + tests)
    lines = table(run)
    assert len(lines) == 2 * 20 + 1
    assert lines[-1] == "10 more within budget, less used (-v shows them)"
    assert lines[0] == "test_it.py::test_58  Net"
    assert "test_it.py::test_77  Net" in lines
    assert "test_it.py::test_78  Net" not in lines


def test_failures_are_never_left_out(suite: Suite):
    tests = "".join(f"@pytest.mark.max_params({limit})\ndef test_{limit}(net): pass\n" for limit in range(30, 58))
    run = suite(
        "@pytest.fixture\ndef net(): return Net()\n@pytest.mark.max_params(99)\ndef test_99(net): pass\n" + tests
    )
    assert sum(line.endswith("over") for line in table(run)) == 28


DEAD = """
@pytest.mark.modelbudget(macs="1k", params="1k")
class TestDead:
    @pytest.mark.parametrize("number", range({tests}))
    def test_it(self, number): pass
"""


def test_tests_of_which_an_inherited_limit_measured_nothing_are_listed(suite: Suite):
    expected = [f"test_it.py::TestDead::test_it[{number}]" for number in range(3)]
    assert [line.partition(": ")[0] for line in table(suite(DEAD.format(tests=3), "test_it.py"))] == [
        *expected,
        "  params  - / 1 K      not measured",
        "  macs    - / 1 KMACs  not measured",
        "    the test neither calls a model nor has a fixture that is one",
        '    say model="..." (a fixture, a parameter or an attribute)',
    ]


def test_many_of_them_are_cut_and_none_are_when_asked(suite: Suite):
    lines = table(suite(DEAD.format(tests=30), "test_it.py"))
    assert len([line for line in lines if line.startswith("test_it.py::TestDead::test_it[")]) == 5
    assert "25 more (-v shows them)" in lines
    assert sum("[" in line for line in table(suite(DEAD.format(tests=30), "test_it.py", "-v"))) == 30


def test_limits_that_measured_nothing_are_not_cut_for_others(suite: Suite):
    within = "".join(f"@pytest.mark.max_params({100 + n})\ndef test_{n}(): Net()(batch())\n" for n in range(30))
    lines = table(suite(within + DEAD.format(tests=1), "test_it.py"))
    assert "test_it.py::TestDead::test_it[0]" in lines
    assert lines[-1] == "12 more within budget, less used (-v shows them)"


def test_a_warning_says_that_it_is_one(suite: Suite):
    run = suite("@pytest.mark.max_params(29, level='warn')\ndef test_it(): Net()(batch())")
    assert table(run)[1] == "  params  58 / 29  ██████████ 200.0 %  over (warning)"


def test_every_model_of_the_suite_grouped(suite: Suite):
    source = """
def test_c(): Net()(batch())
def test_b(): Tiny()(batch())
def test_a(): Net()(batch())
def test_d(): Net()(batch(1))
"""
    lines = table(suite(source, "--modelbudget"))
    assert [line for line in lines if not line.startswith("  ") or "test_it" in line] == [  # without the figures
        "Net  2x4  on cpu",
        "  test_it.py::test_a and 1 more",
        "Net  1x4  on cpu",
        "  test_it.py::test_d",
        "Tiny  2x4  on cpu",
        "  test_it.py::test_b",
    ]
    verbose = table(suite(source, "--modelbudget", "-v"))
    start = verbose.index("  test_it.py::test_a")
    assert verbose[start + 1] == "  test_it.py::test_c"
    quiet = table(suite(source, "--modelbudget", "-q"))
    assert [line for line in quiet if not line.startswith("    ")] == lines


OBSERVED = "def test_it(): Net()(batch())"


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["serial", "xdist"])
def test_who_asks_for_what_was_observed_sees_it_quietly_too(suite: Suite, workers):
    run = suite(
        OBSERVED + "\n@pytest.mark.max_params(58)\ndef test_within(): Net()(batch())", "--modelbudget", "-q", *workers
    )
    assert table(run)[0] == "Net  2x4  on cpu", "and no budget that is kept"


def test_who_asks_for_less_does_not(suite: Suite):
    assert table(suite(OBSERVED, "--modelbudget", "-qq")) == []
    suite.pytester.makeini("[pytest]\naddopts = --modelbudget\n")
    assert table(suite(OBSERVED, "-q")) == []
    suite.pytester.makeini("[pytest]\nverbosity_modelbudget = -1\n")
    assert table(suite(OBSERVED, "--modelbudget")) == []


def observed_line(run: Run) -> list[str]:
    """What is said in one line, apart from the header."""
    return [line for line in run.lines if line.startswith("modelbudget: ") and "observing every test" not in line]


def test_who_typed_the_option_is_told_that_nothing_is_listed(suite: Suite):
    source = OBSERVED + "\ndef test_twice(): Net()(batch(1)), Tiny()(batch())"
    assert observed_line(suite(source, "--modelbudget", "-qq")) == [
        "modelbudget: 2 models observed, not listed with -qq"
    ]
    assert observed_line(suite(OBSERVED, "--modelbudget", "-q")) == []
    assert observed_line(suite("def test_it(): pass", "--modelbudget", "-qq")) == []
    suite.pytester.makeini("[pytest]\nverbosity_modelbudget = -1\n")
    assert observed_line(suite(OBSERVED, "--modelbudget")) == [
        "modelbudget: 1 model observed, not listed with verbosity_modelbudget = -1"
    ]
    suite.pytester.makeini("[pytest]\naddopts = --modelbudget\n")
    assert observed_line(suite(OBSERVED, "-qq")) == []


KEEPING = """
kept = []
class Keeping(Net):
    def forward(self, x):
        kept.append(super().forward(x).relu())
        return kept[-1]

{mark}
def test_a(): Keeping()(batch())
{mark}
def test_b(): Keeping()(batch())
def test_c(): pass
"""
KEPT = (
    "something outside the model keeps tensors of this run, which have no data (1 of aten::relu): empty that cache "
    'after this test, or measure with device="cpu"'
)


@pytest.mark.parametrize("args", [("-q",), ("-qq",), ("-q", "-n1")], ids=" ".join)
def test_what_makes_later_tests_fail_is_said_quietly_too(suite: Suite, args: tuple[str, ...]):
    run = suite(KEEPING.format(mark="@pytest.mark.max_macs(200, device='meta')"), *args)
    assert table(run) == []
    assert observed_line(run) == [f"modelbudget: test_it.py::test_a and 1 more: {KEPT}"]


@pytest.mark.parametrize("args", [(), ("-v",)], ids=["short", "verbose"])
def test_it_is_said_once_where_the_table_says_it(suite: Suite, args: tuple[str, ...]):
    run = suite(KEEPING.format(mark="@pytest.mark.max_macs(200, device='meta')"), *args)
    assert observed_line(run) == []
    assert KEPT in " ".join(" ".join(table(run)).split())


def test_a_cut_table_does_not_hide_it(suite: Suite):
    # 96 MACs: the limits of the twenty others are fuller.
    others = "".join(f"@pytest.mark.max_macs({100 + n})\ndef test_{n}(): Net()(batch())\n" for n in range(20))
    run = suite(
        KEEPING.format(mark="")
        + others
        + "@pytest.mark.max_macs('1k', device='meta')\ndef test_far(): Keeping()(batch())"
    )
    assert observed_line(run) == [f"modelbudget: test_it.py::test_far: {KEPT}"]


def headings(run: Run) -> list[str]:
    return [line for line in table(run) if not line.startswith("  ")]


def test_the_heaviest_model_stands_first_with_its_heaviest_call(suite: Suite):
    source = """
def test_a(): Tiny()(batch(3))
def test_b(): Net()(batch(1))
def test_c(): Net()(batch(2))
"""
    # Tiny 16 MACs a sample, Net 48: 96 + 16 and 192 + 16 FLOPs of Net before 96 of Tiny.
    assert headings(suite(source, "--modelbudget")) == ["Net  2x4  on cpu", "Net  1x4  on cpu", "Tiny  3x4  on cpu"]
    verbose = headings(suite(source, "--modelbudget", "-v"))  # the calls as the tests make them
    assert verbose == ["Net  1x4  on cpu", "Net  2x4  on cpu", "Tiny  3x4  on cpu"]


def test_what_a_model_holds_is_told_with_the_first_of_its_calls(suite: Suite):
    lines = table(suite("def test_it(): net = Net(); net(batch(1)), net(batch(2))", "--modelbudget"))
    assert sum("  params 58" in line for line in lines) == 2
    assert sum("trainable_params 58  size 232 bytes" in line for line in lines) == 1
    other = "def test_it(): nn.Linear(4, 1)(batch()), nn.Linear(4, 2)(batch())"
    assert sum("trainable_params " in line for line in table(suite(other, "--modelbudget"))) == 2


def test_work_outside_a_call_of_the_model_says_so(suite: Suite):
    source = "def test_it(): net = Net(); net(batch(1)), net.encoder(batch(2)), net.forward_features(batch(3))"
    assert headings(suite(source, "--modelbudget")) == [
        "Net  outside a call of the model  on cpu",
        "Net  1x4  on cpu",
    ]


def test_calls_that_differ_in_nothing_that_is_shown_are_one(suite: Suite):
    run = suite(
        """
def test_dropped():
    Net()(batch())
    torch.ones(1)
def test_kept():
    kept = Net()(batch())
    torch.ones(1)
""",
        "--modelbudget",
    )
    assert sum(line.startswith("Net  2x4") for line in table(run)) == 1


def test_a_call_that_was_timed_is_told_together_with_its_other_figures(suite: Suite):
    source = "@pytest.mark.max_latency('9 s')\ndef test_it(): Net()(batch())\ndef test_other(): Net()(batch())"
    lines = table(suite(source, "--modelbudget"))
    assert lines.count("Net  2x4  on cpu") == 1
    assert "  test_it.py::test_it and 1 more" in lines
    assert any("traffic 536 bytes  latency " in line for line in lines)


def test_models_that_read_alike_and_are_not_the_same_are_counted(suite: Suite):
    source = """
class Wide(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.layer = nn.Linear(4, 16)
        self.activation = activation
    def forward(self, x): return self.activation(self.layer(x))

def test_a(): Wide(torch.relu)(batch())
def test_b(): Wide(torch.tanh)(batch())
def test_c(): Wide(torch.tanh)(batch())
"""
    assert [line for line in table(suite(source, "--modelbudget")) if "Wide" in line] == [
        "Wide  2x4  on cpu  (2 alike)"
    ]
    modules = table(suite(source, "--modelbudget", "-vv"))
    assert [line for line in modules if "Wide" in line] == ["Wide  2x4  on cpu", "Wide  2x4  on cpu"]


THREADS = """
from threading import Thread

def elsewhere(model):
    thread = Thread(target=model, args=(batch(),))
    thread.start()
    thread.join()

@pytest.fixture
def net(): return Net()
"""


@pytest.mark.parametrize("body", ["elsewhere(net)", "elsewhere(net.encoder)", "elsewhere(Net())"])
def test_a_model_that_only_other_threads_call_is_listed_as_not_measured(suite: Suite, body: str):
    run = suite(f"{THREADS}\ndef test_it(net): {body}", "--modelbudget")
    assert table(run) == [
        "Net",
        "  params 58  trainable_params 58  size 232 bytes",
        "  called in another thread, where operators cannot be seen: not measured",
        "  test_it.py::test_it",
    ]


def test_calls_in_other_threads_beside_those_that_were_measured_are_told_once(suite: Suite):
    run = suite(
        f"{THREADS}\ndef test_it(net): net(batch()), net(batch(1)), elsewhere(net), elsewhere(net)", "--modelbudget"
    )
    assert sum("was also called in another thread" in line for line in run.lines) == 1


def test_losses_in_other_threads_are_no_models(suite: Suite):
    run = suite(f"{THREADS}\ndef test_it(net): net(batch()), elsewhere(nn.ReLU())", "--modelbudget")
    assert "another thread" not in run.result.stdout.str()


def test_a_marked_test_has_each_call_once(suite: Suite):
    run = suite(
        "@pytest.mark.modelbudget(params=58, flops=96)\ndef test_it(): Net()(batch())",
        "--modelbudget",
        "--modelbudget-flops-per-mac=1",
    )
    assert sum(line.startswith("Net  2x4") for line in table(run)) == 1
    (result,) = run.results.values()
    assert {profile["flops"] for profile in result["profiles"]} == {96}


def test_figures_of_a_backward_pass_are_shown_where_there_is_one(suite: Suite):
    without = "\n".join(table(suite("def test_it(): Net()(batch())", "--modelbudget")))
    assert "memory" in without
    assert "training_flops" not in without
    assert "training_flops" in "\n".join(
        table(suite("def test_it(): Net()(batch()).sum().backward()", "--modelbudget"))
    )


class Latin(io.StringIO):
    encoding = "latin-1"


def drawn(pytestconfig: pytest.Config, results: dict[str, Any], verbosity: int = 0) -> str:
    reporter = TerminalReporter(pytestconfig, Latin())
    terminal.write(reporter, results, ["@max_params(1) at a.py:1 measured none"], verbosity)
    text = reporter._tw._file.getvalue()
    return str(text)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "metric": "params",
        "relative": False,
        "model": "Net",
        "module": "",
        "per": "call",
        "level": "error",
        "outcome": "within",
        "failed": False,
        "measured": "1",
        "limit": "2",
        "used": 0.5,
        "reason": "",
        "unknown": {},
        "straddles": False,
        "source": {"text": "@max_params(2)", "location": "a.py:1", "direct": True},
        **changes,
    }


def test_a_terminal_that_only_knows_ascii_gets_ascii(pytestconfig: pytest.Config):
    rows = [row(), row(outcome="not measured", measured=None, used=None, reason="because " * 20)]
    text = drawn(pytestconfig, {"a.py::test": {"verdicts": rows, "profiles": []}})
    assert text.isascii()
    assert "#####.....  50.0 %" in text
    assert text.count("because") == 20
    assert "ERROR @max_params(1) at a.py:1 measured none" in text


def test_what_a_reader_must_know_of_a_figure_stands_with_it(pytestconfig: pytest.Config):
    rows = [row(notes=["called with little"]), row(metric="flops", notes=["called with little"])]
    text = drawn(pytestconfig, {"a.py::test": {"verdicts": rows, "profiles": []}})
    assert text.count("called with little") == 2
    rows = [row(notes=["called with little"], outcome="exceeded", failed=True)]
    assert "called with little" not in drawn(pytestconfig, {"a.py::test": {"verdicts": rows, "profiles": []}})


@pytest.mark.parametrize(
    ("used", "shown"),
    [
        (1.0, "100.0 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
        (1.0000001, "100.00001 %"),
        (0.0, "0.0 %"),
        (19.2, "1920.0 %"),
        (1234.56, "1,235 times"),
    ],
)
def test_only_what_is_full_reads_full(pytestconfig: pytest.Config, used: float, shown: str):
    text = drawn(pytestconfig, {"a.py::test": {"verdicts": [row(used=used)], "profiles": []}})
    (line,) = [line for line in text.splitlines() if line.startswith("  params")]
    assert line.split(maxsplit=5)[-1] == shown


def test_per_and_module_stand_beside_the_metric(pytestconfig: pytest.Config):
    rows = [row(metric="macs", module="layer4.0", per="sample")]
    text = drawn(pytestconfig, {"a.py::test": {"verdicts": rows, "profiles": []}})
    assert "  macs layer4.0 per sample  1 / 2  " in text


# -- limits that could be lower -------------------------------------------------------------------------------------

ROOM = """
@pytest.mark.max_params(100)
@pytest.mark.max_latency("1000 s")
@pytest.mark.modelbudget(macs=1000, level="warn")
def test_direct(): Net()(batch())

@pytest.mark.max_params(70, module="*")
@pytest.mark.parametrize("kind", [Tiny, Net])
def test_near_in_one(kind): nn.Sequential(kind())(batch())
"""


def room(run: Run) -> list[str]:
    lines = run.lines
    start = next((i for i, line in enumerate(lines) if line.startswith("limits with room")), None)
    return [] if start is None else [line for line in lines[start + 1 :] if line.startswith("  ")]


def test_who_looks_closely_sees_which_limits_could_be_lower(suite: Suite):
    assert room(suite(ROOM, "-v")) == [
        '  @max_params(100) at test_it.py:6: params 58 is 58.0 %, "58" is enough',
    ]


@pytest.mark.parametrize("args", [(), ("-v", "test_it.py"), ("-v", "-k", "test")])
def test_others_do_not_and_a_part_of_the_suite_says_nothing(suite: Suite, args: tuple[str, ...]):
    assert room(suite(ROOM, *args)) == []


def test_a_run_that_failed_says_nothing_of_room(suite: Suite):
    assert room(suite(ROOM + "\ndef test_failed(): assert False\n", "-v")) == []


def test_growth_is_shown_as_a_change_and_crowds_nobody_out(suite: Suite):
    source = """
    @pytest.mark.max_growth("10%")
    def test_it(): nn.Linear(4, {width})(batch())
    """
    suite(source.format(width=100), "--modelbudget-update=new")
    # 4 * 100 + 100 = 500 parameters may become 550; 4 * 104 + 104 = 520.
    assert table(suite(source.format(width=100)))[1].split() == ["params", "growth", "500", "/", "550", "unchanged"]
    assert table(suite(source.format(width=104)))[1].split() == ["params", "growth", "520", "/", "550", "+4.0", "%"]
    rows = [row(model=f"Net{index}", relative=True, growth="unchanged", used=0.99) for index in range(20)]
    results = {f"a{i:02}.py::test": {"verdicts": [one], "profiles": []} for i, one in enumerate(rows)}
    results["b.py::test"] = {"verdicts": [row(used=0.8)], "profiles": []}
    assert "b.py::test" in drawn(suite.pytester._request.config, results)
