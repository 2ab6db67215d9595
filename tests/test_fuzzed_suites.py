"""Random suites of random marks under random options: the verdict is that of an oracle of a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.suite import Suite

FIGURES = {"params": 58, "trainable_params": 58, "size": 232, "macs": 48, "flops": 48}
"""Of Net; compute for one sample, with one FLOP a MAC."""
STATE = ("params", "trainable_params", "size")

Marks = dict[tuple[str, str, str], int | None]
"""(metric, per, level) -> limit, on one node."""


@dataclass(frozen=True)
class Body:
    """What a test does: calls with these batches."""

    batches: tuple[int, ...]

    def __str__(self) -> str:
        return "".join(f"net(batch({size})); " for size in self.batches) or "pass"

    def figure(self, metric: str, per: str, flops_per_mac: int) -> int | None:
        """None: nothing to measure."""
        figure = FIGURES[metric] * (flops_per_mac if metric == "flops" else 1)
        if metric in STATE:
            return figure
        if not self.batches:
            return None
        return figure * {"call": max(self.batches), "test": sum(self.batches), "sample": 1}[per]


@st.composite
def marks(draw: Any) -> Marks:
    found: Marks = {}
    for _ in range(draw(st.integers(0, 3))):
        metric = draw(st.sampled_from(list(FIGURES)))
        per = "call" if metric in STATE else draw(st.sampled_from(["call", "test", "sample"]))
        level = draw(st.sampled_from(["error", "error", "warn"]))
        exactly = FIGURES[metric] * draw(st.sampled_from([1, 2, 3, 4, 6]))
        found[metric, per, level] = draw(st.sampled_from([exactly - 1, exactly, exactly + 1, None]))
    return found


bodies = st.builds(Body, st.lists(st.integers(1, 3), max_size=3).map(tuple))
tests = st.tuples(marks(), bodies)
suites = st.fixed_dictionaries(
    {
        "module": marks(),
        "class": marks(),
        "functions": st.lists(tests, max_size=3),
        "methods": st.lists(tests, max_size=3),
        "flops_per_mac": st.sampled_from([1, 2]),
        "options": st.sets(
            st.sampled_from(
                [
                    "--modelbudget",
                    "-v",
                    "-q",
                    "--modelbudget-device=meta",
                    "--modelbudget-report=json:report.json",
                    "-x",
                ]
            )
        ),
        "off": st.sampled_from([False, False, False, True]),
        "strict": st.booleans(),
    }
)


def written(found: Marks) -> str:
    return ", ".join(
        f'pytest.mark.max_{metric}({limit}, level="{level}"{"" if per == "call" else f", per={per!r}"})'
        for (metric, per, level), limit in found.items()
    )


def source(suite: dict[str, Any]) -> str:
    lines = [f"pytestmark = [{written(suite['module'])}]", "@pytest.fixture", "def net(): return Net()"]
    for index, (found, body) in enumerate(suite["functions"]):
        lines += [f"@{mark}" for mark in _decorators(found)] + [f"def test_f{index}(net): {body}"]
    lines += [*(f"@{mark}" for mark in _decorators(suite["class"])), "class TestClass:", "    def test_it(self): pass"]
    for index, (found, body) in enumerate(suite["methods"]):
        lines += [f"    @{mark}" for mark in _decorators(found)] + [f"    def test_m{index}(self, net): {body}"]
    return "\n".join(lines)


def _decorators(found: Marks) -> list[str]:
    return [written({key: limit}) for key, limit in found.items()]


def passes(nodes: list[Marks], body: Body, suite: dict[str, Any]) -> bool:
    """The oracle. `nodes`: the marks of a test, from the module inwards to the function."""
    limits: dict[tuple[str, str, str], tuple[int, bool]] = {}
    for node in nodes:
        lifted = {metric for (metric, _, _), limit in node.items() if limit is None}
        limits = {key: limit for key, limit in limits.items() if key[0] not in lifted}
        limits.update({key: (limit, node is nodes[-1]) for key, limit in node.items() if limit is not None})
    for (metric, per, level), (limit, is_direct) in limits.items():
        figure = body.figure(metric, per, suite["flops_per_mac"])
        holds = not is_direct if figure is None else figure <= limit
        if not holds and (level == "error" or suite["strict"]):
            return suite["off"]
    return True


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(described=suites)
def test_the_verdicts_on_a_suite_are_those_of_the_oracle(suite: Suite, described: dict[str, Any]):
    expected = {}
    module = described["module"]
    for index, (found, body) in enumerate(described["functions"]):
        expected[f"test_f{index}"] = passes([module, found], body, described)
    for index, (found, body) in enumerate(described["methods"]):
        expected[f"TestClass::test_m{index}"] = passes([module, described["class"], found], body, described)
    options = described["options"] - ({"-x"} if not all(expected.values()) else set())
    run = suite(
        source(described),
        *options,
        f"--modelbudget-flops-per-mac={described['flops_per_mac']}",
        *(["--no-modelbudget"] if described["off"] else []),
        *(["-W", "error::pytest_modelbudget.ModelBudgetWarning"] if described["strict"] else []),
    )
    output = run.result.stdout.str() + run.result.stderr.str()
    assert "INTERNALERROR" not in output
    assert {name: outcome == "passed" for name, outcome in run.outcomes.items() if name in expected} == expected
