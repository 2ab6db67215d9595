"""What may be written about a limit -> Limit, with an error for everything else. Pure: no torch, no pytest."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pytest_modelbudget import quantity
from pytest_modelbudget.budget import Level, Limit, Per, Source, TensorSpec, Uncounted
from pytest_modelbudget.dtypes import unknown_dtype
from pytest_modelbudget.metrics import METRICS
from pytest_modelbudget.metrics import Source as Origin
from pytest_modelbudget.settings import parse_device, parse_uncounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_modelbudget.budget import Inputs
    from pytest_modelbudget.settings import Settings


class LimitError(ValueError):
    """A limit is malformed; the message says what is wrong and what to write."""


def limits_of(
    quantities: Mapping[str, object],
    settings: Settings,
    source: Source,
    *,
    model: str | None = None,
    inputs: object = None,
    module: str | None = None,
    per: str = "call",
    device: str | None = None,
    uncounted: str | None = None,
    level: str = "error",
    message: str | None = None,
) -> tuple[Limit, ...]:
    """The limits on several metrics that share their keywords: of a mark, a table or the fixture.

    Takes the names of metrics with what was written as their limit (None lifts), and the keywords as they were written;
    `settings` says what a MAC is worth.

    Raises:
        ValueError: something is malformed.
    """
    for name, value in (("model", model), ("module", module), ("message", message)):
        if value is not None and (not isinstance(value, str) or not value):
            raise LimitError(f'{name}={value!r} is no text; write e.g. {name}="{_EXAMPLES[name]}"')
    keywords: dict[str, Any] = {
        "model": model,
        "inputs": None if inputs is None else parse_inputs(inputs),
        "module": module,
        "per": _choice(Per, "per", per),
        "device": None if device is None else _parsed("device", parse_device, device),
        "uncounted": None if uncounted is None else Uncounted(_parsed("uncounted", parse_uncounted, uncounted)),
        "level": _choice(Level, "level", level),
        "message": message,
    }
    limits = []
    for name, written in quantities.items():
        metric = METRICS[name]
        if metric.source is Origin.CLOCK and device == "meta":
            raise LimitError(
                f'device="meta": nothing is computed there, so {name} has nothing to time; write device="cpu"'
            )
        if keywords["per"] is not Per.CALL and not metric.additive:
            raise LimitError(f'per="{per}": {name} is no sum over calls or samples; leave per out')
        if module is not None and not metric.has_parts:
            raise LimitError(f'module="{module}": {name} is a figure of the whole model; leave module out')
        limits.append(
            Limit(
                metric=metric,
                value=None if written is None else quantity.parse(written, metric.unit, settings.flops_per_mac),
                written=written if isinstance(written, str) else repr(written),
                source=source,
                **keywords,
            )
        )
    return tuple(limits)


_EXAMPLES = {"model": "student", "module": "layer4.*", "message": "edge device: see docs/edge.md"}


KEYWORDS = {
    name: parameter
    for name, parameter in inspect.signature(limits_of).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
"""What may be said about every limit, whether in a mark, a table or the fixture."""


def _choice(choices: Any, keyword: str, value: object) -> Any:
    try:
        return choices(value)
    except ValueError:
        allowed = ", ".join(f'"{choice.value}"' for choice in choices)
        raise LimitError(f"{keyword}={value!r} is not allowed; write one of {allowed}") from None


def _parsed(keyword: str, parse: Callable[[str], str], value: object) -> str:
    try:
        return parse(str(value))  # a torch.device reads as it is written
    except ValueError as error:
        raise LimitError(f"{keyword}={error}") from None


def parse_inputs(written: object) -> Inputs:
    """What to call a model with, as plain data.

    Args:
        written: the name of a fixture; one shape, `(1, 3, 224, 224)`; a list of positional inputs or a dict of named
            ones, each a shape or `"1,128:int64"`; or a callable.

    Raises:
        LimitError: it is none of them.
    """
    if isinstance(written, str):
        if not written.isidentifier():
            _check_dtype(written)  # who writes a tensor here would be told twice
            raise LimitError(
                f'inputs={written!r} is no fixture name; a tensor is written as a list, inputs=["1,128:int64"]'
            )
        return written
    if callable(written):
        return written
    if isinstance(written, dict) and written:
        return {str(name): _tensor(spec) for name, spec in written.items()}
    if isinstance(written, (list, tuple)) and written:
        if all(isinstance(size, int) for size in written):
            return (_tensor(written),)
        return tuple(_tensor(spec) for spec in written)
    raise LimitError(
        f"inputs={written!r} is not understood; write a shape such as (1, 3, 224, 224), or a fixture's name"
    )


def _tensor(spec: object) -> TensorSpec:
    if not isinstance(spec, (str, list, tuple)):
        raise LimitError(f'inputs: {spec!r} is no tensor; write a shape such as (1, 128), or "1,128:int64"')
    if isinstance(spec, str):
        shape, colon, name = spec.replace(" ", "").partition(":")
        dtype = name.removeprefix("torch.")
        if colon and not dtype.isidentifier():
            raise LimitError(f'inputs: {spec!r} names no dtype; write e.g. "1,128:int64"')
        sizes = shape.split(",") if shape else []
        if all(size.isdecimal() for size in sizes):
            _check_dtype(spec)
            return TensorSpec(tuple(map(int, sizes)), dtype or None)
    elif all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in spec):
        return TensorSpec(tuple(spec))
    raise LimitError(f'inputs: {spec!r} is no shape; write e.g. (1, 128), or "1,128:int64"')


def _check_dtype(spec: str) -> None:
    """Raise LimitError where a tensor, `1,128:int64`, is of a dtype that there is not."""
    name = spec.replace(" ", "").partition(":")[2].removeprefix("torch.")
    if name.isidentifier() and (complaint := unknown_dtype(name)):
        raise LimitError(f"inputs: {spec!r}: {complaint}")


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean 'flops'?`, or nothing where no known name is near; `cutoff`: as `difflib` has it."""
    found = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]!r}?" if found else ""
