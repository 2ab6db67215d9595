"""Runs a small suite of a user in this process and reads what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

# Modules that a run inside of this process imports are forgotten after it: torch must not be, and importing ours again
# for each run would take most of the time.
import pytest_modelbudget.gate
import pytest_modelbudget.inside
import pytest_modelbudget.marks
import pytest_modelbudget.profiling.latency
import pytest_modelbudget.reporting.terminal
import pytest_modelbudget.tables  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterable

OFF = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:rerunfailures")
"""Plugins that a suite does not need: each costs time in every run."""

MODELS = '''
"""Models whose figures anybody can check: a Linear(i, o) has i * o MACs a sample and i * o + o parameters."""

import torch
from torch import nn


class Net(nn.Module):
    """58 parameters: encoder 40, head 18. 48 MACs a sample: encoder 32, head 16."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward_features(self, x):
        return self.encoder(x).relu()

    def forward(self, x):
        return self.head(self.forward_features(x))


class Tiny(nn.Linear):
    """20 parameters, 16 MACs a sample."""

    def __init__(self):
        super().__init__(4, 4)


class Broken(Net):
    def forward(self, x):
        raise RuntimeError("no such thing")


def batch(size=2):
    return torch.ones(size, 4)
'''

HEADER = """
import pytest
import torch
from torch import nn
from models import *

"""


class Run:
    """What became of a suite.

    Attributes:
        result: pytester's: exit code and output.
        reports: pytest's, in their order.
        results: of the controlling process, by node id.
    """

    def __init__(self) -> None:
        self.result: pytest.RunResult
        self.reports: list[pytest.TestReport] = []
        self.results: dict[str, dict[str, Any]] = {}

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        session = config.pluginmanager.get_plugin("modelbudget-session")
        if session is not None:  # nobody collects results where no test has a budget
            self.results = session.results

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    @property
    def lines(self) -> list[str]:
        return self.result.outlines

    @property
    def outcomes(self) -> dict[str, str]:
        """What became of each test: its worst phase."""
        outcomes: dict[str, str] = {}
        for report in self.reports:
            name = _name(report.nodeid)
            if type(report) is pytest.TestReport and outcomes.get(name, "passed") == "passed":
                outcomes[name] = report.outcome
        return outcomes

    def failure(self, name: str) -> str:
        """What pytest prints about a failed test."""
        (text,) = [
            report.longreprtext
            for report in self.reports
            if _name(report.nodeid) == name and report.failed and type(report) is pytest.TestReport
        ]
        return text

    def headline(self, name: str) -> str:
        return next(line for line in self.failure(name).splitlines() if not line.startswith("[gw"))  # xdist's worker

    def verdicts(self, name: str) -> list[dict[str, Any]]:
        (found,) = [result for nodeid, result in self.results.items() if _name(nodeid) == name]
        return found["verdicts"]

    def measured(self, name: str) -> list[tuple[str, str]]:
        """`(model, figure)` of each verdict."""
        return [(verdict["model"], verdict["measured"]) for verdict in self.verdicts(name)]

    def outcome_of_limit(self, name: str) -> str:
        (outcome,) = self.outcome_of_limits(name)
        return outcome

    def outcome_of_limits(self, name: str) -> list[str]:
        return [verdict["outcome"] for verdict in self.verdicts(name)]


def _name(nodeid: str) -> str:
    return nodeid.partition("::")[2].removesuffix("@gpu")  # xdist appends the group


class Suite:
    """`suite(source)` writes `test_it.py`, beside `models.py` from above, and runs it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makepyfile(models=MODELS)

    def write(self, source: str = "", conftest: str = "", **files: str) -> None:
        header = HEADER.strip() + "\n\n"
        made = {"test_it": source, **files}
        if conftest:
            made["conftest"] = conftest
        for name, text in made.items():
            if text:
                self.pytester.makepyfile(**{name: header + _dedented(text)})

    def __call__(self, source: str = "", *args: str, off: Iterable[str] = OFF, conftest: str = "", **files: str) -> Run:
        self.write(source, conftest, **files)
        run = Run()
        # The filters of the run around this one are still there.
        args = (*off, "-W", "default", *args)
        run.result = self.pytester.runpytest_inprocess(*args, plugins=[run], no_reraise_ctrlc=True)
        return run


def _dedented(text: str) -> str:
    from textwrap import dedent

    return dedent(text.strip("\n"))
