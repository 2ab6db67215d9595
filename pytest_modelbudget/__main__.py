"""`python -m pytest_modelbudget`: which commands there are."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from pytest_modelbudget import __version__
from pytest_modelbudget.commands import CommandError, compare, convert, schema, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (summary, compare, convert, schema)
"""Each adds its parser, and a function that runs it, with `add_to(subparsers)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 where it was asked for something that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_modelbudget",
        description="Figures of PyTorch models: parameters, compute, memory, time.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-modelbudget {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(subparsers)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(f"{parser.prog} {options.command}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
