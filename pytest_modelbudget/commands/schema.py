"""`python -m pytest_modelbudget schema`: the JSON Schema of the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_modelbudget.reporting.schema import schema

if TYPE_CHECKING:
    import argparse


def add_to(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of the program."""
    parser = subparsers.add_parser(
        "schema", help="the JSON Schema of the report", description="Print the JSON Schema of the JSON report."
    )
    parser.set_defaults(run=run, command="schema")


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - it has none
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return 0
