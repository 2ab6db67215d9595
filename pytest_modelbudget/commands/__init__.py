"""The commands of `python -m pytest_modelbudget`, one file each. Nothing here imports torch before a command runs."""

from __future__ import annotations


class CommandError(Exception):
    """What was asked for cannot be done: one line, which ends in what to write instead."""
