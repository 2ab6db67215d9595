"""The controlling process: collects what the tests measured, prints the table, and knows the rules for whole runs.

Imported as soon as a test has a budget: standard library and pytest only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.budget import told
from pytest_modelbudget.errors import BudgetExceeded
from pytest_modelbudget.nodes import is_marked
from pytest_modelbudget.result import result_of, share, shorten, take_result, without_group
from pytest_modelbudget.settings import command_for, in_ci, is_full_run, settings_key, tables_key
from pytest_modelbudget.vanished import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pytest_modelbudget.baseline import Entries
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.tables import Table

_TREE = 2
"""The verbosity from which on the module tree is printed."""


def collect_results(config: pytest.Config) -> None:
    """Have the results of tests collected from now on. A suite without budgets never pays for it."""
    if config.pluginmanager.has_plugin("modelbudget-session"):
        return
    from pytest_modelbudget.outputs import Outputs

    settings = config.stash[settings_key]
    collected = Session(config, settings, config.stash[tables_key])
    config.pluginmanager.register(collected, "modelbudget-session")
    config.pluginmanager.register(Outputs(config, settings, collected), "modelbudget-outputs")


class Session:
    """Collects the results of tests. Under pytest-xdist every process has one; only the controller's keeps them.

    Attributes:
        results: what is known of each test, by node id (without the group that xdist appends).
        complaints: what fails the run although no test did: limits for many tests that measured none of them, growth
            under new names.
        misses_baseline: whether it says there that the baseline does not exist.
        outgrown: the new tests that are more than those in whose place they are.
    """

    def __init__(self, config: pytest.Config, settings: Settings, tables: Sequence[Table]) -> None:
        self._config = config
        self._settings = settings
        self._tables = tables
        self.complaints: list[str] = []
        self.misses_baseline = False
        self.outgrown: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}
        self._shared: dict[str, Any] = {}
        self._sent: set[str] | None = set() if hasattr(config, "workerinput") else None

    @property
    def _verbosity(self) -> int:
        return self._config.get_verbosity("modelbudget")

    @property
    def _quietest(self) -> int:
        """The verbosity down to which what was observed is listed: who types the option wants to see the list."""
        return -1 if self._config.getini("verbosity_modelbudget") == "auto" and self._is_typed else 0

    @property
    def _is_typed(self) -> bool:
        """Whether the option to observe every test stands on the command line itself."""
        return "--modelbudget" in self._config.invocation_params.args

    @property
    def _modules(self) -> bool:
        """Whether somebody wants to see the modules."""
        return self._verbosity >= _TREE or bool(self._settings.reports)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        # Subtests make reports of their own while the test still runs; the result belongs to the test.
        if type(report) is pytest.TestReport and call.when != "teardown":
            if call.when == "setup" and report.skipped and self._settings.active:
                self._leave_unjudged(item)
            if call.when == "call" or not report.passed:
                result = take_result(item)
                if result is not None:
                    # A test that passes although a limit did not hold has caught the failure, or was expected to fail.
                    caught = report.passed and item.session.testsfailed == result.failed_before
                    caught = caught or (report.skipped and hasattr(report, "wasxfail"))
                    row = result.to_dict(modules=self._modules, caught=caught)
                    report.modelbudget = row  # type: ignore[attr-defined]
            if call.excinfo is not None and isinstance(call.excinfo.value, BudgetExceeded):
                _point_at_test(report, call.excinfo, item)
        return report

    @pytest.hookimpl(tryfirst=True)  # before pytest-xdist sends it
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        result = getattr(report, "modelbudget", None)
        if result is None:
            return
        if self._sent is not None:
            # Here, not where the report is made: one that is thrown away in between was not sent.
            shorten(result, self._sent)
        else:
            share(result, self._shared)
            self.results[without_group(report.nodeid)] = result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        # A run that was stopped has raised, and has not seen all tests.
        if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
            is_full = is_full_run(session.config)
            self.complaints = self._unmeasured_sources() if is_full else []
            self.complaints += self._outgrown()
            if complaint := self._missing_baseline(is_full):
                self.misses_baseline = True
                self.complaints.append(complaint)
            # Not raised: the tests have run and passed, it is the run that fails.
            session.testsfailed += len(self.complaints)
        return result

    def _unmeasured_sources(self) -> list[str]:
        """The limits for many tests that were held against all of these and measured none."""
        measured: dict[tuple[str, str], list[bool]] = {}
        for result in self.results.values():
            for verdict in result["verdicts"]:
                source = verdict["source"]
                if not source["direct"]:
                    key = source["text"], source["location"]
                    measured.setdefault(key, []).append(verdict["outcome"] != "not measured")
        return [
            f"{told(text, location)} measured none of its {_tests(len(tests))} (-v shows why): correct it or remove it"
            for (text, location), tests in measured.items()
            if not any(tests)
        ]

    def _outgrown(self) -> list[str]:
        """What new tests have more than those in whose place they are, which is known once all is measured."""
        collected = self._config.pluginmanager.get_plugin(PLUGIN)
        if collected is None or not collected.known_gone:
            return []
        entries = self._entries()
        if not entries:
            return []
        from pytest_modelbudget.stand_ins import complaints, hold

        verdicts = hold(self.results, entries, collected.known_gone, self._settings)
        self.outgrown = {verdict.growth.key.test for verdict in verdicts if verdict.growth is not None}
        return complaints(verdicts, partial(command_for, self._config))

    def _entries(self) -> Entries | None:
        """The baseline as it is now; None where it cannot be read, which is said where it is recorded."""
        from pytest_modelbudget.baseline import BaselineError, load

        try:
            return load(self._config.rootpath / self._settings.baseline)
        except (BaselineError, OSError):
            return None

    def _missing_baseline(self, is_full: bool) -> str:
        """That there is nothing to hold the suite's growth against; empty where there is, or somebody watches."""
        settings = self._settings
        if settings.max_growth is None or settings.update or not in_ci():
            return ""
        outcomes = {
            "within" if verdict["known_as"] else verdict["outcome"]
            for result in self.results.values()
            for verdict in result["verdicts"]
            if verdict["relative"]
        }
        # One test that is new is no fault. That all of them are is what a mistyped path looks like, too, and tests that
        # were skipped, or could not be compared, are held to nothing.
        if "new" not in outcomes:
            return ""
        entries = self._entries()
        if entries is None or (entries and (not is_full or outcomes & {"within", "exceeded", "accepted"})):
            return ""
        what = "knows nothing of what this run measured" if entries else "has no entries"
        if not (self._config.rootpath / settings.baseline).exists():
            what = "does not exist"
        return (
            f"{settings.baseline} {what}, and with CI set a run in which nothing is held to growth does not "
            f"pass: run {command_for(self._config)} --modelbudget-update=new, and commit the file"
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        if not self.results:
            return
        from pytest_modelbudget.reporting import terminal

        terminal.write(
            terminalreporter,
            dict(sorted(self.results.items())),
            self.complaints,
            self._verbosity,
            observed=self._settings.observe_all and self._verbosity >= self._quietest,
        )
        if self._settings.observe_all and self._verbosity < self._quietest and self._is_typed:
            from pytest_modelbudget.reporting.measured import models_in

            if models := models_in(result["profiles"] for result in self.results.values()):
                own = self._config.getini("verbosity_modelbudget")
                why = "-qq" if own == "auto" else f"verbosity_modelbudget = {own}"
                terminalreporter.write_line(
                    f"modelbudget: {models} model{'s' * (models != 1)} observed, not listed with {why}"
                )
        # Who looks closely, at all there is: on a part of the suite, or a failed run, others may need the room.
        if self._verbosity > 0 and exitstatus == pytest.ExitCode.OK and is_full_run(self._config):
            from pytest_modelbudget.reporting.room import hints

            for line in hints(self.results):
                terminalreporter.write_line(line)

    def _leave_unjudged(self, item: pytest.Item) -> None:
        """Note that a test with a budget was skipped: nobody can say that its limits measure nothing."""
        if not self._tables and not is_marked(item):
            return
        from pytest_modelbudget.marks import MarkError, budget_for
        from pytest_modelbudget.verdict import unjudged

        try:
            budget = budget_for(item, self._settings, self._tables)
        except MarkError:
            return  # to be said where the test runs
        result_of(item).verdicts += unjudged(budget)


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"


def _point_at_test(report: pytest.TestReport, raised: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> None:
    """Have the report's place, which `--tb=line` and annotations show, in the test: the verdict falls outside of it.

    With it stands what was broken, and not all that is known about it.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    lines = [entry.lineno + 1 for entry in raised.traceback if entry.path == item.path]
    # What pytest does not cut in CI is one line there; the details stand among the failures.
    heads = [line for line in crash.message.splitlines() if line and not line.startswith(" ")]
    crash.message = "; ".join(heads)
    crash.path = str(item.path)
    crash.lineno = lines[-1] if lines else (item.location[1] or 0) + 1
