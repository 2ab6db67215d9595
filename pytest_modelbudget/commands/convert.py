"""`python -m pytest_modelbudget convert report.json --to bencher`: figures for services that draw curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_modelbudget.commands.compare import read
from pytest_modelbudget.reporting import compare as comparing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pytest_modelbudget.baseline import Entries

_FORMATS: dict[str, Callable[[Entries], object]] = {
    "github-action-benchmark": comparing.as_github_action_benchmark,
    "bencher": comparing.as_bencher,
}


def add_to(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of the program."""
    parser = subparsers.add_parser(
        "convert",
        help="a report or baseline in the format of a service that keeps the history",
        description="Print a JSON report or baseline in the format of github-action-benchmark "
        "(customSmallerIsBetter) or Bencher (the Bencher Metric Format).",
    )
    parser.set_defaults(run=run, command="convert")
    parser.add_argument("report", type=Path, help="a report (--modelbudget-report=json:PATH) or a baseline")
    parser.add_argument("--to", choices=_FORMATS, required=True)


def run(options: argparse.Namespace) -> int:
    """Print the figures.

    Raises:
        CommandError: the file cannot be read.
    """
    print(json.dumps(_FORMATS[options.to](read(options.report)), indent=1))
    return 0
