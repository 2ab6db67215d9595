"""What the plugin costs where it is not used: at pytest's start, and around a test without a budget.

    python -m tests.benchmarks.idle [RUNS]

The start is measured in fresh processes that have imported pytest: importing the plugin, registering it with its
options and hooks, configuring it. The first process writes the bytecode and does not count. Around a test: pytest's
whole protocol of an empty test, with the plugin's parts registered and without, in turns. All in time of the processor:
on a busy machine a process waits for longer than all this takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = """
import gc, sys, time
import pytest
from _pytest.config import get_config

config = get_config()
manager = config.pluginmanager
gc.disable()  # a full collection of what pytest has made takes longer than all of this, and may come at any time
start = time.process_time()
import pytest_modelbudget.plugin as plugin
imported = time.process_time()
manager.register(plugin, "modelbudget")
registered = time.process_time()
config.parse(["-q"])
parsed = time.process_time()
plugin.pytest_configure(config)
configured = time.process_time()
print(imported - start, registered - imported, configured - parsed, "torch" in sys.modules)
"""
_NO_AUTOLOAD = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
_STEPS = ("import", "register", "configure")


def start(runs: int) -> dict[str, float]:
    """Seconds of each step of a start, the median over that many processes; raises if torch was imported."""
    taken: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            _NO_AUTOLOAD: "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONPYCACHEPREFIX": folder,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(runs + 1):
            command = [sys.executable, "-c", _START]
            output = subprocess.run(
                command, cwd=folder, env=environment, check=True, capture_output=True, text=True
            ).stdout
            *seconds, torch = output.split()
            assert torch == "False"
            taken.append(list(map(float, seconds)))
    steps = dict(zip(_STEPS, map(median, zip(*taken[1:], strict=True)), strict=True))
    return {**steps, "in all": median(map(sum, taken[1:]))}


class _Stopwatch:
    """In place of running the tests, times two of them again and again."""

    def __init__(self, rounds: int, runs: int) -> None:
        self._rounds = rounds
        self._runs = runs
        self.added: list[float] = []
        """Seconds that the plugin adds to one run of the test, of each round."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        one, other = session.items
        for _ in range(self._rounds):
            with_plugin = self._seconds(one, other)
            with _without_plugin(session.config.pluginmanager):
                without = self._seconds(one, other)
            self.added.append((with_plugin - without) / (2 * self._runs))
        return True

    def _seconds(self, one: pytest.Item, other: pytest.Item) -> float:
        from _pytest.runner import runtestprotocol

        begin = process_time()
        for _ in range(self._runs):
            for item, following in ((one, other), (other, one)):
                reports = runtestprotocol(item, log=True, nextitem=following)
                assert all(report.passed for report in reports)
        return process_time() - begin


@contextmanager
def _without_plugin(manager: pytest.PytestPluginManager) -> Iterator[None]:
    parts = [(name, part) for name, part in manager.list_name_plugin() if name.startswith("modelbudget-")]
    for _, part in parts:
        manager.unregister(part)
    try:
        yield
    finally:
        for name, part in parts:
            manager.register(part, name)


_TEST = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("x", [1, 2])
class TestIt:
    def test_it(self, x): pass
"""


def around_a_test(rounds: int = 40, runs: int = 50) -> float:
    """Seconds that the plugin adds to a test without a budget, its reports included; the median of the rounds."""
    stopwatch = _Stopwatch(rounds, runs)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_it.py").write_text(_TEST, encoding="utf-8")
        Path(folder, "pytest.ini").write_text("[pytest]\nmarkers = slow\n", encoding="utf-8")
        quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:logging"]
        others = os.environ.get(_NO_AUTOLOAD)
        os.environ[_NO_AUTOLOAD] = "1"  # as if no other plugin were installed
        try:
            pytest.main([*quiet, "-p", "pytest_modelbudget.plugin", "--rootdir", folder, folder], plugins=[stopwatch])
        finally:
            del os.environ[_NO_AUTOLOAD]
            os.environ.update({} if others is None else {_NO_AUTOLOAD: others})
    return median(stopwatch.added)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=40, help="processes that are started")
    for name, seconds in start(parser.parse_args().runs).items():
        print(f"start, {name:<9}  {1e3 * seconds:6.2f} ms")
    print(f"around a test     {1e6 * around_a_test():6.1f} us")


if __name__ == "__main__":
    main()
