"""A baseline over many runs, edits and updates: outcomes and entries are those of a model of a few lines.

Test i calls a Linear(4, width) without bias: 4 x width parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pytest_modelbudget.baseline import load

if TYPE_CHECKING:
    from tests.suite import Run, Suite

FILE = "modelbudget-baseline.json"
widths = st.integers(1, 3)
tests = st.integers(0, 2)


class Growth(RuleBasedStateMachine):
    """What a team does over time: models change, tests come and go, runs are accepted or not."""

    suite: Suite

    @initialize(widths=st.dictionaries(tests, widths, min_size=1))
    def start(self, widths: dict[int, int]) -> None:
        (self.suite.pytester.path / FILE).unlink(missing_ok=True)
        self.widths, self.recorded = widths, {}
        self.run({}, {"new"}, None, None)

    @rule(
        edits=st.dictionaries(tests, st.none() | widths),
        update=st.sets(st.sampled_from(["new", "raise", "lower"])),
        broken=st.none() | st.none() | tests,
        selected=st.none() | tests,
    )
    def run(self, edits: dict[int, int | None], update: set[str], broken: int | None, selected: int | None) -> None:
        """Tests get another width, or vanish; then some are run, and perhaps one of them fails by itself."""
        self.widths = {test: width for test, width in {**self.widths, **edits}.items() if width is not None}
        chosen = sorted(test for test in self.widths if selected in (None, test))
        if not chosen:
            return
        run = self._run(update, broken, selected)
        outcomes = {}
        for test in chosen:
            now, before = self.widths[test], self.recorded.get(test)
            accepted = "new" in update if before is None else now <= before or "raise" in update
            outcomes[f"test_{test}"] = "passed" if accepted and test != broken else "failed"
            if accepted and test != broken and (before is None or now > before):
                self.recorded[test] = now
        assert run.outcomes == outcomes
        if "lower" in update and selected is None and set(outcomes.values()) == {"passed"}:
            self.recorded = dict(self.widths)
        entries = load(self.suite.pytester.path / FILE)
        assert {key.test: entry.value for key, entry in entries.items()} == {
            f"test_it.py::test_{test}": 4 * width for test, width in self.recorded.items()
        }

    def _run(self, update: set[str], broken: int | None, selected: int | None) -> Run:
        source = "\n".join(
            f"""
@pytest.mark.max_growth(params="0%")
def test_{test}():
    nn.Linear(4, {width}, bias=False)(torch.ones(1, 4))
    assert {test != broken}
"""
            for test, width in self.widths.items()
        )
        return self.suite(
            source,
            *([f"--modelbudget-update={','.join(sorted(update))}"] if update else []),
            *(["-k", f"test_{selected}"] if selected is not None else []),
        )


def test_outcomes_and_entries_over_many_runs(suite: Suite) -> None:
    machine = type("GrowthOfThisSuite", (Growth,), {"suite": suite})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=6,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a run takes too long to look for shorter ones
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
