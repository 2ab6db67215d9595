"""`python -m pytest_modelbudget compare base.json head.json --fail-on-growth flops=1%`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_modelbudget import quantity
from pytest_modelbudget.baseline import BaselineError
from pytest_modelbudget.commands import CommandError
from pytest_modelbudget.extras import ExtraMissingError, check_html
from pytest_modelbudget.limits import near
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.relative import USUAL
from pytest_modelbudget.reporting import compare as comparing

if TYPE_CHECKING:
    from fractions import Fraction

    from pytest_modelbudget.baseline import Entries

_FORMATS = ("terminal", "markdown", "html", "json")


def add_to(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of the program."""
    parser = subparsers.add_parser(
        "compare",
        help="two reports or baselines: which models are new, gone, grown or shrunk, and where",
        description="Two JSON reports or baselines: which models are new, gone, grown or shrunk, and where. "
        "Exit code 1 where --fail-on-growth is broken.",
    )
    parser.set_defaults(run=run, command="compare")
    parser.add_argument("base", type=Path, help="a report (--modelbudget-report=json:PATH) or a baseline")
    parser.add_argument("head", type=Path, help="the other one")
    parser.add_argument("--format", choices=_FORMATS, default="terminal", help="default: terminal")
    parser.add_argument(
        "--fail-on-growth",
        action="append",
        default=[],
        type=_rules,
        metavar="METRIC=PERCENT",
        help=f"for example flops=1%%; a percentage alone is for {' and '.join(USUAL)}; several with commas",
    )


def run(options: argparse.Namespace) -> int:
    """Print what changed.

    Raises:
        CommandError: one of the files cannot be read, or there is nothing to hold a rule against.
    """
    base, head = _both(options.base, options.head)
    comparison = comparing.compare(base, head)
    allowed = {metric: share for rule in options.fail_on_growth for metric, share in rule.items()}
    known = {*METRICS, *(key.metric for key in (*base, *head))}
    for metric in allowed:
        if metric not in known:
            raise CommandError(
                f"--fail-on-growth: {metric!r} is no metric of this plugin or of the two files{near(metric, known)}; "
                "write e.g. flops=1%"
            )
    if reason := comparing.not_held(base, head, allowed):
        raise CommandError(f"--fail-on-growth {reason}")
    violations = comparing.broken(comparison, allowed)
    if options.format == "html":
        try:
            check_html()
        except ExtraMissingError as error:
            raise CommandError(f"--format html: {error}") from None
    if options.format == "json":
        text = json.dumps(comparing.as_json(comparison, violations), indent=1) + "\n"
    else:
        text = {
            "terminal": comparing.as_terminal,
            "markdown": comparing.as_markdown,
            "html": comparing.as_html,
        }[options.format](comparison, violations)
    # Tests are named in any script, and a pipe on Windows or a bare C locale takes ASCII.
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return 1 if violations else 0


def read(path: Path) -> Entries:
    """The figures of a report or a baseline.

    Raises:
        CommandError: it is neither, or cannot be read.
    """
    return _figures(_text(path), path)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}): {_WANTED}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no text: {_WANTED}") from None


_WANTED = (
    "write the path of a baseline, or of a JSON report, as python -m pytest --modelbudget-report=json:PATH makes it"
)


def _figures(text: str, path: Path) -> Entries:
    if not comparing.is_report(text) and not comparing.may_be_baseline(text):
        raise CommandError(f"{path} is {_kind_of(text)}: {_WANTED}")
    try:
        return comparing.read(text, str(path))
    except BaselineError as error:
        raise CommandError(str(error)) from None


def _kind_of(text: str) -> str:
    """What a file is that is neither a report nor a baseline."""
    start = text.lstrip()[:1]
    if not start:
        return "empty"
    if start == "<":
        return "a page, which is for people"
    if start == "#":
        return "a report in Markdown, which is for people"
    if start not in "[{":
        return "no JSON"
    if comparing.is_comparison(text):
        return "a comparison, which has been made of two reports"
    return "no report of pytest-modelbudget"


def _both(*paths: Path) -> list[Entries]:
    """The figures of two reports, or of two baselines: a report has every call and metric, which is no growth."""
    texts = [_text(path) for path in paths]  # once: a path may be a pipe
    found = [_figures(text, path) for text, path in zip(texts, paths, strict=True)]
    kinds = ["report" if comparing.is_report(text) else "baseline" for text in texts]
    if len(set(kinds)) > 1:
        each = " and ".join(f"{path} is a {kind}" for path, kind in zip(paths, kinds, strict=True))
        raise CommandError(f"{each}: write two reports, or two baselines, which hold only what tests are held to")
    return found


def _rules(text: str) -> dict[str, Fraction]:
    return {metric: share for part in text.split(",") for metric, share in _rule(part.strip()).items()}


def _rule(text: str) -> dict[str, Fraction]:
    metric, equals, percent = text.rpartition("=")
    if not equals and text.isidentifier():
        if text in METRICS:
            raise argparse.ArgumentTypeError(f"{text!r} has no percentage; write {text}=1%")
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a percentage nor a metric{near(text, METRICS)}; write e.g. flops=1%"
        )
    if equals and not (metric.isidentifier() and comparing.may_grow(metric)):
        raise argparse.ArgumentTypeError(f"{metric!r} is no metric whose growth can be judged; write e.g. flops=1%")
    try:
        share = quantity.parse_percent(percent)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return dict.fromkeys([metric] if equals else USUAL, share)
