"""`"4 GMACs"` <-> exact numbers. Pure: no torch, no pytest, and no float between text and number."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from operator import itemgetter
from typing import TYPE_CHECKING

from pytest_modelbudget.metrics import METRICS, Unit

if TYPE_CHECKING:
    from pytest_modelbudget.metrics import Metric


class QuantityError(ValueError):
    """What was written is no quantity of the unit that is wanted; the message says what to write."""


_DECIMAL = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"ki": 2**10, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_FRACTIONS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 10**3)}
_FRACTIONS["µ"] = _FRACTIONS["μ"] = _FRACTIONS["u"]  # the micro sign and the Greek letter look the same

_NAMES = {
    Unit.COUNT: ("params", "param", "parameters", "elements"),
    Unit.MAC: ("MACs", "MAC", "MACS", "Macs", "Mac", "MAdds", "MAdd"),
    Unit.FLOP: ("FLOPs", "FLOP", "FLOPS", "Flops", "Flop"),
    Unit.BYTE: ("B", "bytes", "byte"),
    Unit.SECOND: ("s",),
}
_EXAMPLES = {
    Unit.COUNT: "25.6M",
    Unit.MAC: "4.1 GMACs",
    Unit.FLOP: "4 GFLOPs",
    Unit.BYTE: "512 MiB",
    Unit.SECOND: "5 ms",
}


def _spellings() -> dict[str, tuple[Unit | None, Fraction]]:
    """Every suffix that means something -> its unit (None: the metric's own) and its factor."""
    table: dict[str, tuple[Unit | None, Fraction]] = {"": (None, Fraction(1))}
    for prefix, factor in _DECIMAL.items():
        table[prefix] = (None, Fraction(factor))
    for prefix, factor in _BINARY.items():
        table[prefix] = (Unit.BYTE, Fraction(factor))
    for unit, names in _NAMES.items():
        prefixes: dict[str, int] | dict[str, Fraction] = _DECIMAL
        if unit is Unit.SECOND:
            prefixes = _FRACTIONS
        elif unit is Unit.BYTE:
            prefixes = {**_DECIMAL, **_BINARY}
        for name in names:
            table[name] = (unit, Fraction(1))
            table.update((prefix + name, (unit, Fraction(factor))) for prefix, factor in prefixes.items())
    return table


_SPELLINGS = _spellings()

_NUMBER = re.compile(
    # At most three digits of exponent: "1e999999999" must not eat the memory.
    r"(?P<grouped>\d{1,3}(?:,\d{3})+)|(?:\d+(?:_\d+)*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?(?!\d)",
    re.ASCII,
)


def parse(value: object, unit: Unit, flops_per_mac: int = 2) -> Fraction:
    """The exact number of `unit` that was written.

    Args:
        value: an int, a string such as `"4 GMACs"`, a Decimal, a Fraction, or a float (taken as the decimal that
            its repr shows).
        unit: what the limited metric is counted in.
        flops_per_mac: what a MAC is worth where a limit on FLOPs is written in MACs.

    Raises:
        QuantityError: it is not a non-negative number of that unit.
    """
    if isinstance(value, str):
        return _parse_text(value.strip(), unit, flops_per_mac)
    if isinstance(value, bool) or not isinstance(value, (Rational, Decimal, float)):
        raise _error(f"{value!r} is not a quantity", unit)
    if isinstance(value, float):
        # Not repr(): NumPy's float64 is a float whose repr is "np.float64(1.5)".
        value = Decimal(float.__repr__(value))
    if isinstance(value, Decimal) and not value.is_finite():
        raise _error(f"{value} is not finite", unit)
    number = Fraction(value)
    if number < 0:
        raise _error(f"{value} is negative", unit)
    if unit is Unit.SECOND and number != 0:
        raise _error(f"{value} has no unit", unit)
    return number


def _parse_text(text: str, unit: Unit, flops_per_mac: int) -> Fraction:
    matched = _NUMBER.match(text)
    if matched is None:
        raise _error(_complaint(text), unit)
    number = Fraction(matched[0].replace(",", "").replace("_", ""))  # Python 3.10 takes no underscores
    # "4 G FLOPs" is as clear as "4 GFLOPs".
    suffix = "".join(text[matched.end() :].split())
    if matched["grouped"] and suffix and suffix not in _NAMES[unit]:
        # `exact` prints such groups, but in "4,089 G" the comma may be meant as a decimal point.
        raise _error(f"{text!r}: a comma separates the digits of whole numbers without prefix only", unit)
    if suffix == "B" and unit not in (Unit.BYTE, Unit.SECOND):
        return number * 10**9  # "7B": billions, as models are named
    if suffix.endswith("/s"):
        raise _error(f"{text!r} is a rate; a limit is an amount", unit)
    if suffix not in _SPELLINGS:
        raise _error(_unknown_suffix(text, suffix, unit), unit)
    written, factor = _SPELLINGS[suffix]
    number *= factor
    if written is None:
        if unit is Unit.SECOND and number != 0:
            raise _error(f"{text!r} has no unit", unit)
        return number
    if written is unit:
        return number
    if written is Unit.MAC and unit is Unit.FLOP:
        return number * flops_per_mac
    if written is Unit.FLOP and unit is Unit.MAC:
        raise QuantityError(
            f'{text!r} is in FLOPs; write max_flops("{text}"), or the limit in MACs, e.g. "{_EXAMPLES[unit]}"'
        )
    raise _error(f"{text!r} is in {_PLURALS[written]}, not in {_PLURALS[unit]}", unit)


def parse_percent(value: object) -> Fraction:
    """The exact share that was written: `"1%"`, `"0.5 %"`, 0.

    Raises:
        QuantityError: it is not a non-negative percentage.
    """
    if type(value) is int and value == 0:
        return Fraction(0)
    matched = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if matched is None:
        raise QuantityError(f"{value!r} is no percentage; {_percentage_meant(value)}")
    return Fraction(matched[1]) / 100


def _percentage_meant(value: object) -> str:
    """What to write where a number stands without its sign: it may be a share or a percentage."""
    matched = None if isinstance(value, bool) else _PLAIN.fullmatch(str(value).strip())
    if matched is None:
        return 'write e.g. "1%"'
    number = Fraction(matched[0])
    if not 0 < number < 1:
        return f'write "{_shortest(number)}%"'
    return f'write "{_shortest(100 * number)}%", or "{_shortest(number)}%" if so little is meant'


def _shortest(number: Fraction) -> str:
    text = f"{Decimal(number.numerator) / number.denominator:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_PLAIN = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)


def example(unit: Unit) -> str:
    """A quantity as one would write it, in quotes."""
    return f'"{_EXAMPLES[unit]}"'


def _error(what: str, unit: Unit) -> QuantityError:
    return QuantityError(f"{what}; write e.g. {example(unit)}")


def _complaint(text: str) -> str:
    """What is wrong with a text that does not begin with a number."""
    if not text:
        return "an empty string is not a quantity"
    if re.match(r"-\s*[\d.]", text):
        return f"{text!r} is negative"
    if re.match(r"[+-]?(nan|inf)", text, re.IGNORECASE):
        return f"{text!r} is not finite"
    return f"{text!r} is not a quantity"


def _unknown_suffix(text: str, suffix: str, unit: Unit) -> str:
    for known, (written, _) in _SPELLINGS.items():
        if known.lower() == suffix.lower() and written in (None, unit):
            return f"{text!r}: {suffix!r} is no unit, case matters: {known!r} is"
    return f"{text!r}: {suffix!r} is no unit of {_PLURALS[unit]}"


_PLURALS = {
    Unit.COUNT: "counts",
    Unit.MAC: "MACs",
    Unit.FLOP: "FLOPs",
    Unit.BYTE: "bytes",
    Unit.SECOND: "seconds",
}

_DIGITS, _MOST_DIGITS = 4, 7


def format(  # noqa: A001 - the counterpart of `parse`, used as quantity.format
    value: int | Fraction | float, unit: Unit, *, against: int | Fraction | float | None = None, like: str = ""
) -> str:
    """`8.178 GFLOPs`, `25.56 M`, `97.49 MiB`, `5.1 ms`: four digits, or as many as the comparison takes.

    Args:
        value: in `unit`.
        unit: what it is counted in.
        against: a value that is shown beside this one: two different numbers never read the same.
        like: as the limit was written: bytes are shown with decimal prefixes where it has one, as in "100 MB".
    """
    scales = _DECIMAL_BYTES if unit is Unit.BYTE and _DECIMAL_PREFIX.search(like) else _SHOWN[unit]
    exactly = _fraction(value)
    other = exactly if against is None else _fraction(against)
    for digits in range(_DIGITS, _MOST_DIGITS + 1):
        text = _scaled(exactly, unit, digits, scales)
        if other == exactly or text != _scaled(other, unit, digits, scales):
            return text
    return f"{_grouped(exactly)}{_suffix(unit, '')}"


def ceiling(value: int | Fraction, unit: Unit, digits: int = 3) -> str:
    """`8.18 GFLOPs`: the value, rounded up to that many digits: a limit that it keeps."""
    exactly = Fraction(value)
    prefix, scale = max((one for one in _SHOWN[unit] if exactly >= one[1]), key=itemgetter(1), default=_SHOWN[unit][0])
    places = max(0, digits - len(str(int(exactly / scale))))
    # Without separators: `parse` takes none before a prefix.
    shown = _grouped(Fraction(math.ceil(exactly / scale * 10**places), 10**places)).replace(",", "")
    return f"{shown}{_suffix(unit, prefix)}"


def exact(value: int | Fraction | float, metric: Metric) -> str:
    """`8,178,368,512 FLOPs`: every digit."""
    return f"{_grouped(_fraction(value))} {metric.noun}"


def to_json(value: int | Fraction, unit: Unit) -> int | float | str:
    """The value for a machine: an integer, `"100/3"` where it is none, and seconds as a float."""
    if unit is Unit.SECOND:
        return float(value)
    return value.numerator if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def counted(number: int, noun: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


HUGE = 100
"""From so many times as much on nobody reads percents."""


def times(ratio: Fraction | float) -> str:
    """`1,235 times`: a ratio that is too large for percents."""
    return f"{float(ratio):,.0f} times"


def format_quantity(value: int | Fraction | float, unit: str) -> str:
    """A figure for people: `format_quantity(profile.macs, "macs")` is `"4.089 GMACs"`.

    Args:
        value: in the unit.
        unit: the name of a metric, or of a unit: `count`, `MAC`, `FLOP`, `byte`, `second`.

    Raises:
        QuantityError: there is no such metric or unit.
    """
    return format(value, _unit(unit))


def parse_quantity(text: str, unit: str, *, flops_per_mac: int = 2) -> Fraction:
    """The exact number that a text means: `parse_quantity("4 GMACs", "flops")` is 8,000,000,000.

    Args:
        text: as in a limit.
        unit: as in `format_quantity`.
        flops_per_mac: what a MAC is worth where FLOPs are wanted.

    Raises:
        QuantityError: it is no quantity of that unit, or there is no such unit.
    """
    return parse(text, _unit(unit), flops_per_mac)


def _unit(name: str) -> Unit:
    if name in METRICS:
        return METRICS[name].unit
    try:
        return Unit(name)
    except ValueError:
        units = ", ".join(f'"{unit.value}"' for unit in Unit)
        raise QuantityError(f"{name!r} is neither a metric nor a unit; write one of {units}") from None


def _fraction(value: int | Fraction | float) -> Fraction:
    return Fraction(float.__repr__(value)) if isinstance(value, float) else Fraction(value)


def _scales(prefixes: tuple[str, ...], step: Fraction, first: Fraction) -> tuple[tuple[str, Fraction], ...]:
    return tuple((prefix, first * step**index) for index, prefix in enumerate(prefixes))


_COUNTS = _scales(("", "K", "M", "G", "T", "P"), Fraction(1000), Fraction(1))
_SHOWN = {
    Unit.COUNT: _COUNTS,
    Unit.MAC: _COUNTS,
    Unit.FLOP: _COUNTS,
    Unit.BYTE: _scales(("", "Ki", "Mi", "Gi", "Ti", "Pi"), Fraction(1024), Fraction(1)),
    Unit.SECOND: _scales(("n", "µ", "m", ""), Fraction(1000), Fraction(1, 10**9)),
}


_DECIMAL_BYTES = _scales(("", "k", "M", "G", "T", "P"), Fraction(1000), Fraction(1))
_DECIMAL_PREFIX = re.compile(r"[kKMGTP](B|bytes?)?$")


def _scaled(value: Fraction, unit: Unit, digits: int, scales: tuple[tuple[str, Fraction], ...]) -> str:
    index = max((i for i, (_, scale) in enumerate(scales) if abs(value) >= scale), default=0)
    if value == 0:
        index = len(scales) - 1 if unit is Unit.SECOND else 0
    shown = _rounded(value / scales[index][1], digits)
    if index + 1 < len(scales) and abs(shown) * scales[index][1] >= scales[index + 1][1]:
        # 999.99 K rounds to 1,000 K, which is 1 M.
        index += 1
        shown = _rounded(value / scales[index][1], digits)
    return f"{_grouped(shown)}{_suffix(unit, scales[index][0])}"


def _rounded(value: Fraction, digits: int) -> Fraction:
    """To that many significant digits, but never away from the integer part."""
    return round(value, max(0, digits - len(str(abs(int(value))))))


def _suffix(unit: Unit, prefix: str) -> str:
    name = {Unit.MAC: "MACs", Unit.FLOP: "FLOPs", Unit.BYTE: "B", Unit.SECOND: "s"}.get(unit, "")
    suffix = "bytes" if unit is Unit.BYTE and not prefix else f"{prefix}{name}"
    return f" {suffix}" if suffix else ""


def _grouped(value: Fraction) -> str:
    """Every digit, thousands separated; a fraction that no decimal holds as `1/3`."""
    if value.denominator == 1:
        return f"{value.numerator:,}"
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"{value.numerator:,}/{value.denominator:,}"
    # A context's precision rounds; building the decimal from its digits does not.
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    whole = str(int(abs(value) * 10**places)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{int(whole[:-places]):,}.{whole[-places:]}"
