"""`python -m pytest_modelbudget summary torchvision.models:resnet50 --inputs 1,3,224,224`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import files
from pytest_modelbudget.commands import CommandError, factory
from pytest_modelbudget.extras import ExtraMissingError, check_html
from pytest_modelbudget.limits import parse_inputs
from pytest_modelbudget.reporting.columns import NAMES, ColumnError
from pytest_modelbudget.reporting.paper import Paper
from pytest_modelbudget.settings import parse_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from pytest_modelbudget.profiling.profile import Profile

_EPILOG = f"""\
inputs:
  --inputs 1,3,224,224                          one floating tensor
  --inputs 1,128:int64 --inputs 1,128:bool      several, with their dtypes
  --inputs input_ids=1,128:int64                by name
  Without --inputs, the model's own dummy_inputs.

columns:
{textwrap.fill(", ".join(NAMES), 78, initial_indent="  ", subsequent_indent="  ")}

examples:
  python -m pytest_modelbudget summary torchvision.models:resnet50 --inputs 1,3,224,224
  python -m pytest_modelbudget summary "timm:create_model('vit_tiny_patch16_224')" --inputs 1,3,224,224 --sort flops
  python -m pytest_modelbudget summary mypackage.models:tagger --inputs 8,40:int64 --device cpu --latency
"""


def add_to(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of the program."""
    parser = subparsers.add_parser(
        "summary",
        help="a model's modules as a table: shapes, parameters, MACs, FLOPs, memory, time",
        description="A model's modules as a table: shapes, parameters, MACs, FLOPs, memory, time; totals below it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, command="summary")
    parser.add_argument(
        "factory",
        metavar="PKG.MODULE:FACTORY",
        help="a class, a function or a model; literal arguments may follow in parentheses",
    )
    parser.add_argument(
        "--inputs", action="append", metavar="SHAPE", help="what to call it with, see below; repeatable"
    )
    table = parser.add_argument_group("the table")
    table.add_argument("--columns", metavar="NAME,NAME", help="which columns (default: what is measured and fits)")
    table.add_argument("--depth", type=_depth, metavar="N", help="levels of modules below the model (default: all)")
    table.add_argument("--sort", metavar="NAME", help="modules with the most of this column first")
    table.add_argument("--expand", action="store_true", help="a row for each of several equal modules in a row")
    table.add_argument("--json", action="store_true", help="the profile as JSON instead of a table")
    table.add_argument("--html", type=Path, metavar="PATH", help="also write a page: treemap, operators, memory")
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--device",
        type=_device,
        default="meta",
        metavar="NAME",
        help="meta (default: no weights, data or arithmetic), cpu, cuda, cuda:1, mps, xpu",
    )
    measuring.add_argument("--train", action="store_true", help="in training mode (default: in eval mode)")
    measuring.add_argument("--backward", action="store_true", help="with a backward pass, in training mode")
    measuring.add_argument("--latency", action="store_true", help="time the call, on a real device")
    measuring.add_argument("--durations", action="store_true", help="time each module, on a real device")
    measuring.add_argument(
        "--flops-per-mac", type=int, choices=(1, 2), default=2, help="1 where MACs are called FLOPs (default: 2)"
    )
    measuring.add_argument(
        "--attention",
        choices=("fused", "math"),
        default="fused",
        help="on meta, count memory and traffic of the fused kernel (default) or of one that keeps the scores",
    )


def run(options: argparse.Namespace) -> int:
    """Print the summary.

    Raises:
        CommandError: the model cannot be made or measured, or there is no such column.
    """
    from pytest_modelbudget.reporting.summary import check, summary

    columns = None if options.columns is None else [name.strip() for name in options.columns.split(",")]
    source = factory.parse(options.factory)
    inputs = _parsed(options.inputs)
    if options.device == "meta" and (options.latency or options.durations):
        option = "--latency" if options.latency else "--durations"
        raise CommandError(f"{option}: nothing is computed on meta, so there is no time to measure; write --device cpu")
    try:
        check(columns, options.sort)
        if options.html is not None:
            check_html()
        profile = _profile(source, inputs, options)
        if options.html is not None:
            _write_page(options.html, profile)
        if options.json:
            print(json.dumps(profile.to_dict(), indent=2))
        else:
            paper = Paper.of(sys.stdout)
            print(
                summary(
                    profile,
                    columns=columns,
                    depth=options.depth,
                    sort=options.sort,
                    expand=options.expand,
                    paper=paper,
                )
            )
    except ColumnError as error:
        raise CommandError(str(error)) from None
    except ExtraMissingError as error:
        raise CommandError(f"--html: {error}") from None
    return 0


def _write_page(path: Path, profile: Profile) -> None:
    from pytest_modelbudget.reporting.html import render_profile

    try:
        files.write(path, [render_profile(profile.to_dict())])
    except OSError as error:
        raise CommandError(f"--html: {path} cannot be written: {error.strerror}") from None


_MADE_FOR_REAL = 8 * 2**30
"""Bytes of the largest model that is made with its weights where it does not do without."""


def _profile(source: factory.Factory, inputs: tuple[Any, Any], options: argparse.Namespace) -> Profile:
    """Of the model made without weights where none are needed; some factories look at what they make."""
    import torch

    if options.device == "meta":
        try:
            with torch.device("meta"):
                model = factory.make(source)
        except CommandError:
            return _measured(factory.make(source), inputs, options)
        try:
            return _measured(model, inputs, options)
        except CommandError:
            # Values of its buffers may be what is missing; but a giant is not made only to fail again.
            if sum(tensor.nbytes for tensor in model.state_dict().values()) > _MADE_FOR_REAL:
                raise
    return _measured(factory.make(source), inputs, options)


def _measured(model: nn.Module, inputs: tuple[Any, Any], options: argparse.Namespace) -> Profile:
    import torch

    from pytest_modelbudget.calling import SubjectError, as_arguments
    from pytest_modelbudget.profiling.abstract import DataDependentError
    from pytest_modelbudget.profiling.devices import DeviceUnavailableError
    from pytest_modelbudget.profiling.run import profile

    kind = type(model).__name__
    model.train(options.train or options.backward)
    written: Any = inputs
    if not any(inputs):
        written = getattr(model, "dummy_inputs", None)
        if written is None:
            raise CommandError(f"{kind} has no dummy_inputs; write what to call it with, --inputs 1,3,224,224")
    try:
        args, kwargs = as_arguments(written)
        with nullcontext() if options.backward else torch.no_grad(), _said_while_timing(kind, options):
            return profile(
                model,
                args,
                kwargs,
                device=options.device,
                backward=options.backward,
                latency=options.latency,
                durations=options.durations,
                flops_per_mac=options.flops_per_mac,
                attention=options.attention,
            )
    except SubjectError as error:
        raise CommandError(f'{error}; write e.g. --inputs "1,128:int64"') from None
    except DeviceUnavailableError:
        raise CommandError(f"device {options.device} is not available here; write --device meta or cpu") from None
    except DataDependentError as error:
        raise CommandError(f"{str(error).partition(': ')[0]}; write --device cpu") from None
    except Exception as error:  # whatever the model raises
        raised = f"{kind} raised {factory.said(error)}{factory.place_of(error)}"
        raise CommandError(f"{raised}; {_way_out(error, args, kwargs)}") from error


def _way_out(error: Exception, args: Any, kwargs: Any) -> str:
    from pytest_modelbudget.profiling.mistakes import integers_meant, operator_without_fake

    if tensor := integers_meant(error, args, kwargs):
        return f"it wants integers: write --inputs {tensor}"
    if operator := operator_without_fake(error):
        return f'register what it returns, with @torch.library.register_fake("{operator}"), or write --device cpu'
    return "write other --inputs, or another --device"


@contextmanager
def _said_while_timing(kind: str, options: argparse.Namespace) -> Iterator[None]:
    """A line that stands on a terminal for as long as it takes."""
    is_shown = (options.latency or options.durations) and sys.stderr.isatty()
    line = f"timing {kind} on {options.device} ..."
    if is_shown:
        print(line, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if is_shown:
            print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)


def _parsed(written: list[str] | None) -> tuple[Any, Any]:
    """Positional and named inputs."""
    positional: list[str] = []
    named: dict[str, str] = {}
    for text in written or ():
        match = re.fullmatch(r"\s*([^\W\d]\w*)\s*=(.*)", text)
        if match is None:
            positional.append(text)
        else:
            named[match[1]] = match[2]
    try:
        return (
            parse_inputs(positional) if positional else (),
            parse_inputs(named) if named else {},
        )
    except ValueError as error:
        said = str(error).removeprefix("inputs: ").partition("; ")[0]
        raise CommandError(f"--inputs: {said}; write e.g. --inputs 1,3,224,224 or --inputs ids=1,128:int64") from None


def _depth(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of levels; write e.g. --depth 2")
    return int(text)


def _device(text: str) -> str:
    try:
        return "meta" if text == "auto" else parse_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
