"""What the controlling process writes when a run ends: the baseline and the reports.

Imported as soon as a test has a budget: standard library and pytest only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.result import without_group
from pytest_modelbudget.settings import command_for, is_full_run, without_bodies

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_modelbudget.session import Session
    from pytest_modelbudget.settings import Settings

    Report = tuple[str, Path | None]


class Outputs:
    """Writes files, once, in the controlling process, whatever became of the tests.

    Attributes:
        said: what to print at the end, each line with whether it is an error.
    """

    def __init__(self, config: pytest.Config, settings: Settings, session: Session) -> None:
        self._config = config
        self._settings = settings
        self._session = session
        self._outcomes: dict[str, str] = {}
        self._deselected = 0
        self._ran = False
        """Whether any test came to its body."""
        self.said: list[tuple[str, bool]] = []

    @pytest.hookimpl(trylast=True)  # the session has taken the result from the report
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A worker that crashed names no phase.
        self._ran = self._ran or report.when not in ("setup", "teardown")
        test = without_group(report.nodeid)
        worst = self._outcomes.get(test)
        if report.failed or hasattr(report, "wasxfail"):
            self._outcomes[test] = "failed" if report.failed else "xfailed"
        elif report.skipped and worst not in ("failed", "xfailed"):
            self._outcomes[test] = "skipped"
        elif worst is None or report.when == "setup":  # a rerun begins anew
            self._outcomes[test] = "passed"

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["modelbudget_deselected"] = self._deselected

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._deselected += getattr(node, "workeroutput", {}).get("modelbudget_deselected", 0)

    @pytest.hookimpl(tryfirst=True)  # before the terminal sums up
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        settings = self._settings
        if hasattr(self._config, "workerinput") or not settings.active:
            return
        if option := without_bodies(self._config):
            if settings.update:
                self.said.append(
                    (f"with {option} nothing is measured; --modelbudget-dry-run says what would change", False)
                )
            return
        held = any(
            result["entries"] or any(verdict["outcome"] == "not comparable" for verdict in result["verdicts"])
            for result in self._session.results.values()
        )
        recording = None
        gated = settings.observe_all and settings.max_growth is not None  # what is measured no more is missed, too
        if held or gated or settings.update or settings.update_refused:
            from pytest_modelbudget.recording import record

            recording = record(
                path=self._config.rootpath / settings.baseline,
                results=self._session.results,
                outcomes=self._outcomes,
                settings=settings,
                incomplete=self._incomplete(exitstatus),
                has_last_failed=self._config.pluginmanager.has_plugin("lfplugin"),
                command=command_for(self._config),
                misses_it=self._session.misses_baseline,
                stand_ins=self._session.outgrown,
            )
            self.said += recording.lines
        if reports := self._reports():
            from pytest_modelbudget.reporting.document import document
            from pytest_modelbudget.reporting.kinds import write_all

            report = document(
                self._session.results, self._outcomes, settings, int(exitstatus), self._session.complaints, recording
            )
            hook = self._config.hook.pytest_modelbudget_update_report
            try:
                hook(config=self._config, report=report)
                self.said += write_all(reports, report)
            except Exception as error:
                if not hook.get_hookimpls():
                    raise
                where = ", ".join(implementation.plugin_name for implementation in hook.get_hookimpls())
                self.said.append(
                    (
                        f"the reports were not written ({type(error).__name__}: {error}): "
                        f"pytest_modelbudget_update_report in {where} must keep what the schema has, and add only what "
                        "JSON can hold",
                        True,
                    )
                )
            if ("junit", None) in reports and not self._config.getoption("xmlpath", None):
                # No error, since it may stand in addopts, where people run tests without it.
                self.said.append(
                    ("no JUnit properties: they go into the file of --junitxml=PATH: write that, too", False)
                )
        if exitstatus == pytest.ExitCode.OK and any(is_error for _, is_error in self.said):
            # What was asked for could not be written: that is no passed run.
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _reports(self) -> list[Report]:
        """What to write: a run in which no test came to its body has nothing to say, and replaces no report."""
        kept = {path for _, path in self._settings.reports if path is not None and path.is_file() and not self._ran}
        self.said += (
            (f"{path} is that of an earlier run and stays, since no test ran", False) for path in sorted(kept)
        )
        return [(kind, path) for kind, path in self._settings.reports if path not in kept]

    def _incomplete(self, exitstatus: int) -> str:
        """Why figures and tests may be missing from this run; empty where none is."""
        if exitstatus == pytest.ExitCode.TESTS_FAILED:
            return "tests failed"
        if exitstatus != pytest.ExitCode.OK:
            return "the run did not come to its end"
        if not is_full_run(self._config):
            return "only part of the suite was selected"
        return (
            f"{self._deselected} test{'s were' if self._deselected > 1 else ' was'} deselected"
            if self._deselected
            else ""
        )

    @pytest.hookimpl(trylast=True)  # below the table of budgets
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.said:
            return
        terminalreporter.write_sep("=", "model baseline and reports")
        for line, is_error in self.said:
            terminalreporter.write_line(f"ERROR {line}" if is_error else line, red=is_error)
