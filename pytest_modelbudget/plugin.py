"""pytest's door: options, marks, registration. Imports stdlib and pytest only, the rest when it is used."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelbudget.catalogue import ROWS
from pytest_modelbudget.fixtures import modelbudget as modelbudget
from pytest_modelbudget.fixtures import modelbudget_device as modelbudget_device
from pytest_modelbudget.settings import (
    OPTIONS,
    Settings,
    in_ci,
    is_full_run,
    parse_report,
    parse_update,
    settings_for,
    settings_key,
    tables_key,
)

if TYPE_CHECKING:
    import warnings
    from collections.abc import Callable, Generator, Sequence

    from pytest_modelbudget.budget import Budget
    from pytest_modelbudget.tables import Table

_KEYWORDS = 'model=None, inputs=None, module=None, per="call", device=None, uncounted=None, level="error", message=None'


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("modelbudget", "budgets for PyTorch models")
    group.addoption(
        "--modelbudget", action="store_true", help="observe every test, also unmarked ones: what the suite costs"
    )
    group.addoption(
        "--no-modelbudget",
        action="store_true",
        help="measure and judge nothing; marks and fixtures stay registered",
    )
    group.addoption(
        "--modelbudget-update",
        type=_argument(parse_update),
        metavar="{new,raise,lower,all}",
        help="record figures in the baseline: new adds what is missing, in place of what has another name now, raise "
        "accepts growth, lower ratchets down and drops the entries of vanished tests (on a complete, passed run); "
        "several with commas",
    )
    group.addoption(
        "--modelbudget-dry-run",
        action="store_true",
        help="with --modelbudget-update: only say what would change",
    )
    group.addoption(
        "--modelbudget-report",
        action="append",
        default=[],
        type=_argument(parse_report),
        metavar="KIND:PATH",
        help="write a report, also when tests fail: json:PATH, markdown:PATH, html:PATH (needs "
        "pytest-modelbudget[html]), github (the step summary of GitHub Actions), junit "
        "(properties in the file of --junitxml); may be given several times",
    )
    for option in OPTIONS:
        key = f"modelbudget_{option.name}"
        group.addoption(
            f"--{key.replace('_', '-')}",
            dest=key,
            type=_argument(option.parse),
            metavar=option.metavar,
            help=option.help.replace("%", "%%"),
        )
        parser.addini(key, option.help, default=None)
    parser.addini(
        "verbosity_modelbudget",
        "verbosity of the table of budgets: -1 failures only, 0 short, 1 every measured test, 2 with modules",
        default="auto",
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_modelbudget import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def _argument(parse: Callable[[str], object]) -> Callable[[str], object]:
    # Of its own error, argparse prints the message.
    def argument(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return argument


def pytest_configure(config: pytest.Config) -> None:
    rows = [*ROWS, *_add_metrics(config)]
    for name, _, noun, _, definition in rows:
        config.addinivalue_line("markers", f"max_{name}(limit, *, {_KEYWORDS}): limit on {noun}: {definition}.")
    names = "".join(f"{row[0]}=…, " for row in rows)
    config.addinivalue_line("markers", f"modelbudget(*, {names}{_KEYWORDS}): several limits in one mark.")
    steady = "".join(f"{row[0]}=…, " for row in rows if row[3] != "clock")
    config.addinivalue_line(
        "markers", f'max_growth(limit="0%", *, {steady}{_KEYWORDS}): limit on growth over the baseline.'
    )
    settings = config.stash[settings_key] = Settings.from_config(config)

    if ("junit", None) in settings.reports:
        from pytest_modelbudget.reporting.junit import Properties

        config.pluginmanager.register(Properties(), "modelbudget-junit")
    tables = config.stash[tables_key] = _tables(config, settings) if settings.active else ()
    if settings.active:
        config.pluginmanager.register(Budgets(settings, tables), "modelbudget-budgets")
    if settings.active and settings.observe_all and settings.max_growth is not None:
        from pytest_modelbudget.vanished import PLUGIN, Collected

        config.pluginmanager.register(Collected(), PLUGIN)
    if tables or settings.wants_every_test or _knows_marks_too_late(config, settings):
        from pytest_modelbudget.session import collect_results

        collect_results(config)


def _add_metrics(config: pytest.Config) -> list[tuple[str, str, str, str, str]]:
    """Take in the metrics of the hook; their rows, as in the catalogue."""
    try:
        answers = [list(answer or ()) for answer in config.hook.pytest_modelbudget_metrics(config=config)]
        metrics = [metric for answer in answers for metric in answer]
        if metrics:
            from contextlib import ExitStack

            from pytest_modelbudget.custom import added

            stack = ExitStack()
            stack.enter_context(added(metrics))
            config.add_cleanup(stack.close)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"the hook pytest_modelbudget_metrics: {error}") from None
    return [(one.name, one.unit, one.noun, one.source, one.definition) for one in metrics]


def _knows_marks_too_late(config: pytest.Config, settings: Settings) -> bool:
    """Whether results have to be collected although no mark was seen yet."""
    # The controller of pytest-xdist sees no tests, only reports. A baseline is held against every test there is.
    controls = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    return controls or (config.rootpath / settings.baseline).exists()


def _tables(config: pytest.Config, settings: Settings) -> Sequence[Table]:
    own, shared = config.rootpath / "modelbudget.toml", config.rootpath / "pyproject.toml"
    # Most projects have a pyproject.toml without budgets: spare them the parser and the rest.
    if not own.is_file() and not (shared.is_file() and b"budget" in shared.read_bytes()):
        return ()
    from pytest_modelbudget.tables import load

    return load(config.rootpath, settings)


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = config.stash[settings_key]
    if not settings.active:
        return "modelbudget: off (--no-modelbudget)"
    default = Settings()
    parts = ["observing every test"] if settings.observe_all else []
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if value != getattr(default, option.name):
            parts.append(f"{option.name} {getattr(value, 'value', value)}")
    if settings.max_growth is not None and not settings.observe_all:
        parts.append("of tests with a budget alone; with --modelbudget of every test")
    return f"modelbudget: {', '.join(parts)}" if parts else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    settings = config.stash[settings_key]
    if settings.active and settings.max_growth is not None and not settings.observe_all and in_ci():
        terminalreporter.write_line(
            f"modelbudget_max_growth = {settings.max_growth} holds tests with a budget alone: with --modelbudget it "
            "holds every test"
        )


def _in_no_report(raised: object) -> bool:  # noqa: ARG001
    return False


class Budgets:
    """Finds the budgets of the tests, and has those tests observed. Registered unless `--no-modelbudget` is given."""

    def __init__(self, settings: Settings, tables: Sequence[Table]) -> None:
        # Not at the top: importing this file is to cost next to nothing.
        from pytest_modelbudget.nodes import is_marked, nodes_below

        self._is_marked = is_marked
        self._nodes_below = nodes_below
        self._settings = settings
        self._tables = tables
        self._observes_all = settings.observe_all or bool(tables)
        self._unmatched: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.outcome == "failed":
            # With --strict-markers or -W error, pytest has named a mark that it does not know.
            from pytest_modelbudget.marks import meant_by

            if hint := meant_by(str(report.longrepr)):
                report.longrepr = f"{report.longrepr}\n{hint}"
        elif report.passed and any(node.marks for node, _ in self._nodes_below(collector, report.result)):
            from pytest_modelbudget.marks import errors_of

            if errors := errors_of(collector, report.result, self._settings):
                report.outcome = "failed"
                # Plain text reads the same serially and under xdist.
                report.longrepr = "\n".join(errors)
                report.result = []
        return report

    @pytest.hookimpl(tryfirst=True)  # before the terminal reporter keeps the text
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        if issubclass(warning_message.category, pytest.PytestUnknownMarkWarning):
            from pytest_modelbudget.marks import meant_by

            complaint = str(warning_message.message)
            hint = meant_by(complaint)
            if hint and hint not in complaint:  # under xdist the worker was here before
                warning_message.message = pytest.PytestUnknownMarkWarning(f"{complaint}\n{hint}")

    @pytest.hookimpl(tryfirst=True)  # before anything deselects: a shard of a suite holds only some of the tests
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        if not (self._tables or self._settings.inputs) or session.testsfailed or config.option.collectonly:
            return
        from pytest_modelbudget.tables import unmatched, without_fixtures

        is_full = getattr(config, "workerinput", {}).get("modelbudget_full_run", False) or is_full_run(config)
        errors = unmatched(self._tables, (item.nodeid for item in items), None if is_full else config.rootpath)
        errors += without_fixtures(self._tables, self._settings, items, config) if is_full else []
        if not errors:
            return
        if not hasattr(config, "workeroutput"):
            raise pytest.UsageError(*errors)
        # A worker cannot end the run; without tests it is over before it began, and the controller says why.
        config.workeroutput["modelbudget_unmatched"] = errors
        items.clear()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if any(map(self._is_marked, session.items)):
            from pytest_modelbudget.session import collect_results

            collect_results(session.config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        # A worker does not know what was selected on the command line.
        node.workerinput["modelbudget_full_run"] = is_full_run(node.config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A worker that crashed has no output.
        self._unmatched = getattr(node, "workeroutput", {}).get("modelbudget_unmatched", self._unmatched)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        result = yield
        if self._unmatched:
            raise pytest.UsageError(*self._unmatched)
        return result

    @pytest.hookimpl(wrapper=True, trylast=True)  # innermost: only the body is observed, and what is printed captured
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        # From the debugger, which calls no function; a report in which all is hidden would say so.
        __tracebackhide__ = _in_no_report
        if self._observes_all or self._is_marked(item):
            # Only now: fixtures and hooks may have added marks.
            budget, settings = self._budget_of(item)
            if budget or settings.observe_all:
                from pytest_modelbudget.gate import observe
                from pytest_modelbudget.session import collect_results

                collect_results(item.config)
                # And again behind the body, which may add marks, too.
                return (yield from observe(item, budget, settings, lambda: self._budget_of(item)[0]))
        failed_before = item.session.testsfailed
        result = yield
        if self._is_marked(item):
            self._judge_late_marks(item, failed_before)
        return result

    def _budget_of(self, item: pytest.Item) -> tuple[Budget, Settings]:
        __tracebackhide__ = True
        from pytest_modelbudget.marks import MarkError, budget_for

        try:
            budget = budget_for(item, self._settings, self._tables)
            return budget, settings_for(item) if budget else self._settings
        except (MarkError, ValueError) as error:
            pytest.fail(str(error), pytrace=False)

    def _judge_late_marks(self, item: pytest.Item, failed_before: int) -> None:
        """Judge the marks that a test without a budget has added to itself in its body, which nobody observed."""
        __tracebackhide__ = True
        from pytest_modelbudget.result import body_failed

        if body_failed(item, failed_before):
            return
        budget, settings = self._budget_of(item)
        if budget:
            from pytest_modelbudget.gate import judge_unobserved
            from pytest_modelbudget.session import collect_results

            collect_results(item.config)
            judge_unobserved(item, budget, settings)
