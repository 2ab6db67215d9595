"""The report as plain data: what the JSON file holds and every other report is made from."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pytest_modelbudget
from pytest_modelbudget.baseline import to_json
from pytest_modelbudget.growth import compared, explain
from pytest_modelbudget.reporting.changes import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_modelbudget.baseline import Entry
    from pytest_modelbudget.recording import Recording
    from pytest_modelbudget.settings import Settings
    from pytest_modelbudget.update import Change

KIND = "modelbudget report"
VERSION = 2
"""1: each profile of the file had its modules itself."""


def document(
    results: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, str],
    settings: Settings,
    exit_status: int,
    complaints: Sequence[str],
    recording: Recording | None,
) -> dict[str, Any]:
    """A run as JSON-able primitives, sorted and without times: equal runs give equal documents.

    Args:
        results: of each test, as `TestResult.to_dict` gives them.
        outcomes: of each test: `passed`, `failed`, `skipped` or `xfailed`.
        settings: of the run.
        exit_status: pytest's.
        complaints: what fails the run although no test did.
        recording: what became of the baseline, where there is one.
    """
    return {
        "kind": KIND,
        "version": VERSION,
        "run": {
            "torch": _torch_version(),
            "plugin": pytest_modelbudget.__version__,
            "python": platform.python_version(),
            "platform": platform.system(),
            "device": settings.device,
            "flops_per_mac": settings.flops_per_mac,
            "exit_status": exit_status,
        },
        "tests": [
            {
                "id": test,
                "outcome": outcomes.get(test, "failed"),  # a worker that crashed says nothing more
                "verdicts": result["verdicts"],
                "profiles": result["profiles"],
            }
            for test, result in sorted(results.items())
        ],
        "unmeasured": list(complaints),
        "changes": [] if recording is None else [change_to_json(change) for change in recording.changes],
    }


def _torch_version() -> str:
    # Under pytest-xdist the process that writes the report has no need of torch itself.
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def change_to_json(change: Change) -> dict[str, Any]:
    """A change of one figure, with the modules that explain it."""
    before, after = change.before, change.after
    modules = [] if before is None or after is None else explain(*compared(before, after))
    return {
        **change.key._asdict(),
        "kind": kind_of(change),
        "before": None if before is None else to_json(before.value),
        "after": None if after is None else to_json(after.value),
        "modules": [
            {"path": module.path, "kind": module.kind, "delta": to_json(module.delta), "before": module.before}
            for module in modules
        ],
        "figures": _changed(before, after),
        "recorded": not change.refused,
        "known_as": change.known_as,
    }


def _changed(before: Entry | None, after: Entry | None) -> dict[str, list[int | str | None]]:
    """Path -> figure before and after, of every module whose figure is another one."""
    old, new = ({} if entry is None else entry.modules for entry in (before, after))
    return {
        path: [to_json(modules[path]) if path in modules else None for modules in (old, new)]
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    }
