"""Limits on latency. Real times are only ever held against an hour and a nanosecond."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.budget import Limit, Per, Source
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.profiling import latency
from pytest_modelbudget.profiling.profile import LatencyMeasurement, ModuleProfile, Profile
from pytest_modelbudget.quantity import parse
from pytest_modelbudget.reporting.failure import verdict_text
from pytest_modelbudget.verdict import Outcome, Verdict, judge

if TYPE_CHECKING:
    from tests.suite import Suite


@pytest.fixture(autouse=True)
def in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """How steady the times are does not matter here."""
    monkeypatch.setattr(latency, "_LEAST", 0.01)
    monkeypatch.setitem(latency.measure_latency.__kwdefaults__, "most", 0.02)


AN_HOUR, NOTHING = '"3600 s"', '"1 ns"'
NET = "\n@pytest.fixture\ndef net(): return Net()\n"


def call(*, batch: int | None = 4, notes: tuple[str, ...] = ()) -> Profile:
    """Calls that took 5 ms in the median, and half of them 4 to 7 ms."""
    timing = LatencyMeasurement(median=0.005, lower=0.004, upper=0.007, runs=200, threads=2, device="cpu")
    return Profile(
        *("Net", 10, 10, 40),
        latency=0.005,
        latency_measurement=timing,
        modules={"": ModuleProfile("Net", 1, 10, 10, 40)},
        batch=batch,
        inputs="4x8",
        notes=notes,
    )


def verdict(written: str, per: Per = Per.CALL, **of_call: object) -> Verdict:
    metric = METRICS["latency"]
    limit = Limit(metric, parse(written, metric.unit), written, Source(f'@max_latency("{written}")', "t.py:1", True))
    (only,) = judge(Limit(**{**vars(limit), "per": per}), "Net", [(call(**of_call), 3)], None)
    return only


class TestVerdict:
    @pytest.mark.parametrize(
        ("written", "per", "outcome"),
        [
            ("5 ms", Per.CALL, Outcome.WITHIN),
            ("4.999 ms", Per.CALL, Outcome.EXCEEDED),
            ("1.25 ms", Per.SAMPLE, Outcome.WITHIN),  # of a batch of four
            ("1.249 ms", Per.SAMPLE, Outcome.EXCEEDED),
            ("15 ms", Per.TEST, Outcome.WITHIN),  # three calls
            ("14.9 ms", Per.TEST, Outcome.EXCEEDED),
        ],
    )
    def test_a_median_is_held_against_the_limit(self, written, per, outcome):
        assert verdict(written, per).outcome is outcome

    @pytest.mark.parametrize(
        ("written", "per", "straddles"),
        [
            ("3.9 ms", Per.CALL, False),
            ("4 ms", Per.CALL, True),
            ("6.9 ms", Per.CALL, True),
            ("7 ms", Per.CALL, False),
            ("1.5 ms", Per.SAMPLE, True),
            ("2 ms", Per.SAMPLE, False),
            ("15 ms", Per.TEST, False),  # a sum of medians has no quartiles
        ],
    )
    def test_a_limit_within_the_spread_of_the_times_is_in_doubt(self, written, per, straddles):
        assert verdict(written, per).straddles is straddles

    def test_the_text_gives_the_spread_the_threads_and_the_doubts(self):
        assert verdict_text(verdict("4.5 ms", notes=("it was loud",))).splitlines() == [
            "max_latency: Net 5 ms > 4.5 ms (+11.1 %) for 4x8",
            '  limit     4.5 ms from @max_latency("4.5 ms") at t.py:1',
            "  measured  5 ms, the median of 200 calls (half of them took 4 ms to 7 ms), on cpu with 2 threads",
            "  note      the limit is within this spread, so another run may pass: leave more room",
            "  note      it was loud",
            "  next      make the model faster, or raise the limit at t.py:1",
        ]


@pytest.mark.parametrize(
    "how", ["net(batch())", "net(batch()); net(batch(3))", "Net()(batch())", "nn.DataParallel(net)(batch())"]
)
def test_what_the_test_calls_is_timed(suite: Suite, how: str):
    run = suite(
        f"""{NET}
@pytest.mark.max_latency({AN_HOUR})
def test_within(net): {how}
@pytest.mark.max_latency({NOTHING})
def test_over(net): {how}
"""
    )
    run.result.assert_outcomes(passed=1, failed=1)
    assert run.headline("test_over").startswith("max_latency: Net ")
    assert ", on cpu with " in run.failure("test_over")


def test_calls_that_a_method_makes_are_timed_each(suite: Suite):
    run = suite(
        f"""{NET}
Net.generate = lambda self, x: self(self(x).relu().repeat(1, 2)[:1]).argmax()
@pytest.mark.max_latency({AN_HOUR})
def test_within(net): net.generate(batch())
@pytest.mark.max_latency({NOTHING})
def test_over(net): net.generate(batch())
@pytest.mark.max_latency({AN_HOUR}, per="test")
def test_all(net): net.generate(batch())
"""
    )
    run.result.assert_outcomes(passed=1, failed=2)
    assert run.headline("test_over").startswith("max_latency: Net ")
    assert run.headline("test_all") == (
        "max_latency: part of the work of Net ran in its methods, outside module calls, and cannot be repeated on "
        'cpu: limit the time of a call, with per="call", or call Net itself in the test'
    )


def test_a_model_with_a_call_of_its_own_is_timed_where_it_is_checked(suite: Suite):
    run = suite(
        f"""
class Own(Net):
    def __call__(self, x): return self.head(self.encoder(x).relu())
@pytest.mark.max_latency({AN_HOUR})
def test_marked(): global own; own = Own(); own(batch())
def test_checked(modelbudget): modelbudget.check(Own(), batch(), latency={AN_HOUR})
"""
    )
    assert run.outcomes == {"test_marked": "failed", "test_checked": "passed"}
    assert run.headline("test_marked").endswith(
        ": Own has a __call__ of its own: time it in the test, with modelbudget.check(model, args, latency=...)"
    )


def test_what_nobody_calls_is_called_with_inputs(suite: Suite):
    run = suite(
        f"""{NET}
@pytest.mark.max_latency({NOTHING}, inputs=(2, 4))
def test_over(net): pass
@pytest.mark.max_latency({NOTHING})
def test_unknown_inputs(net): pass
"""
    )
    assert run.headline("test_over").endswith("for 2x4")
    assert "say with inputs= what to call it with" in run.headline("test_unknown_inputs")


@pytest.mark.usefixtures("dynamo")  # decompositions on meta import it
def test_what_cannot_be_timed_is_refused(suite: Suite):
    run = suite(
        f"""{NET}
@pytest.mark.max_latency({AN_HOUR})
def test_parts(net): net.encoder(batch())
@pytest.mark.max_latency({AN_HOUR})
def test_weights(): Net().to("meta")(batch().to("meta"))
@pytest.mark.max_latency({AN_HOUR})
def test_configured(net): net(batch())
"""
    )
    assert run.headline("test_parts") == (
        "max_latency: parts of Net were called outside a call of the model: call Net itself in the test, or name the "
        'part that is to be timed with model="..."'
    )
    assert run.headline("test_weights") == (
        "max_latency: the weights of Net are on meta, so cpu cannot run it: build it on a real device"
    )
    run = suite(
        f"{NET}\n@pytest.mark.max_latency({AN_HOUR})\ndef test_it(net): net(batch())", "--modelbudget-device=meta"
    )
    assert run.headline("test_it") == (
        'max_latency: nothing is computed on "meta", so there is no time to measure: write device="cpu"'
    )


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ("max_latency(5)", "5 has no unit"),
        ('max_latency("5")', "'5' has no unit"),
        ('max_latency("5 MB")', "5 MB"),
        (
            'max_latency("5 ms", device="meta")',
            'nothing is computed there, so latency has nothing to time; write device="cpu"',
        ),
        ('max_latency("5 ms", module="encoder")', "latency is a figure of the whole model; leave module out"),
        (
            'max_growth(latency="1%")',
            "latency differs from run to run and from machine to machine: limit it with max_latency",
        ),
    ],
)
def test_bad_marks_are_errors_of_collection(suite: Suite, mark: str, complaint: str):
    run = suite(f"{NET}\n@pytest.mark.{mark}\ndef test_it(net): net(batch())")
    run.result.assert_outcomes(errors=1)
    run.result.stdout.fnmatch_lines([f"*test_it.py:*{complaint}*".replace("[", "[[]")])


def test_limits_in_tables_and_inside_a_test(suite: Suite, pytester: pytest.Pytester):
    pytester.path.joinpath("modelbudget.toml").write_text(
        '[[budgets]]\ntests = "*::test_table"\nmax_latency = "1 ns"\n'
    )
    run = suite(
        f"""{NET}
def test_table(net): net(batch())
def test_inside(net, modelbudget): modelbudget.check(net, batch(), latency={NOTHING})
"""
    )
    run.result.assert_outcomes(failed=2)
    assert "modelbudget.toml" in run.failure("test_table")
    assert "on cpu with" in run.failure("test_inside")


def test_nothing_of_ours_is_in_the_way_of_the_clock(suite: Suite):
    run = suite(
        f"""{NET}
from torch.nn.modules import module
seen = set()
class Nosy(Net):
    def forward(self, x):
        modes, hooks = torch._C._len_torch_dispatch_stack(), len(module._global_forward_hooks)
        seen.add((modes, hooks))
        return super().forward(x)
@pytest.mark.max_flops("1G")
def test_it(modelbudget):
    net = Nosy()
    net(batch())
    assert seen == {{(1, 1)}}
    seen.clear()
    from pytest_modelbudget import profile
    from pytest_modelbudget.profiling.latency import measure_latency
    from pytest_modelbudget.profiling.specification import specify
    measure_latency(net, specify(net, (batch(),), {{}}), torch.device("cpu"))
    assert seen == {{(0, 0)}}
    net(batch())
    assert seen == {{(0, 0), (1, 1)}}
"""
    )
    run.result.assert_outcomes(passed=1)


@pytest.mark.usefixtures("dynamo")
def test_compiled_models_are_timed_compiled(compiles_under_modes: bool, suite: Suite):
    # Once in the test, once for the copy that was timed.
    expected = "len(compiled) >= 2" if compiles_under_modes else "not compiled"
    run = suite(
        f"""{NET}
compiled = []
def backend(graph, inputs):
    compiled.append(graph)
    return graph.forward
@pytest.mark.max_latency({AN_HOUR})
def test_it(net):
    torch.compile(net, backend=backend)(batch())
def test_frames():
    assert {expected}
    torch.compiler.reset()
"""
    )
    run.result.assert_outcomes(passed=2)


def test_times_stand_apart_in_the_report(suite: Suite, pytester: pytest.Pytester):
    documents = []
    for _ in range(2):
        suite(
            f"{NET}\n@pytest.mark.modelbudget(latency={AN_HOUR}, macs=96)\ndef test_it(net): net(batch())",
            "--modelbudget-report=json:report.json",
        ).result.assert_outcomes(passed=1)
        documents.append(json.loads(pytester.path.joinpath("report.json").read_text()))
    times = [document.pop("times") for document in documents]
    assert documents[0] == documents[1]
    assert [row["metric"] for row in documents[0]["tests"][0]["verdicts"]] == ["macs"]
    assert [(row["id"], row["metric"], row["bound"]) for row in times[0]] == [
        ("test_it.py::test_it", "latency", 3600.0)
    ]
    assert times[0][0]["figure"] > 0


def test_workers_are_said_to_disturb_each_other(suite: Suite):
    tests = f"{NET}\n@pytest.mark.max_latency({NOTHING})\ndef test_it(net): net(batch())"
    assert "shared the machine" not in suite(tests).result.stdout.str()
    output = suite(tests, "-n2", "-p", "xdist").result.stdout
    output.fnmatch_lines(
        [
            "*note *2 workers of pytest-xdist shared the machine: without -n times are steadier",
            "*next *time it alone, with -n0: workers compete for cores; if it is still too slow there,",
            "*make the model faster, or raise the limit at test_it.py:*",
        ]
    )
    output.fnmatch_lines(["workers of pytest-xdist shared the machine while times were measured*"])


def test_a_long_measurement_is_announced_on_a_terminal(suite: Suite, pytester: pytest.Pytester):
    pytester.makeconftest(
        """
import pytest
from pytest_modelbudget.profiling import latency

@pytest.fixture(autouse=True)
def long_calls(monkeypatch, request):
    monkeypatch.setattr(latency, "_LONG", 0 if "long" in request.node.name else 1000)

class Yes:  # pytest 8 has a boolean there, pytest 9 something that can also be called
    def __bool__(self): return True
    def __call__(self): return True

def pytest_collection_finish(session):
    session.config.pluginmanager.getplugin("terminalreporter").isatty = Yes()
"""
    )
    mark = f"@pytest.mark.max_latency({AN_HOUR})\n"
    run = suite(f"{NET}\n{mark}def test_long(net): net(batch())\n{mark}def test_short(net): net(batch())")
    run.result.assert_outcomes(passed=2)
    assert run.result.stdout.str().count("timing Net on cpu for test_it.py::test_long") == 1
    assert "test_short" not in run.result.stdout.str().partition("model budgets")[0]
