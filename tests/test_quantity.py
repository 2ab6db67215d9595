from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_modelbudget
from pytest_modelbudget import quantity
from pytest_modelbudget.metrics import METRICS, Unit
from pytest_modelbudget.quantity import QuantityError, parse
from pytest_modelbudget.reporting.growth import percent

COUNTED = [Unit.COUNT, Unit.MAC, Unit.FLOP]
DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
BINARY = {"ki": 2**10, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
SECONDS = {"": 1, "m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "n": Fraction(1, 10**9)}
SECONDS["\N{MICRO SIGN}"] = SECONDS["\N{GREEK SMALL LETTER MU}"] = SECONDS["u"]
NAMES = {
    Unit.COUNT: ["params"],
    Unit.MAC: ["MAC", "MACs", "Mac", "MAdd"],
    Unit.FLOP: ["FLOP", "FLOPs", "FLOPS"],
    Unit.BYTE: ["B"],
    Unit.SECOND: ["s"],
}
PREFIXES = {**dict.fromkeys(COUNTED, DECIMAL), Unit.BYTE: {**DECIMAL, **BINARY}, Unit.SECOND: SECONDS}

SPELLINGS = [
    (unit, f"{prefix}{name}", factor)
    for unit, names in NAMES.items()
    for name in names
    for prefix, factor in PREFIXES[unit].items()
]
numbers = st.fractions(min_value=0).map(lambda x: Decimal(x.numerator % 10**12) / 10 ** (x.denominator % 9))


@pytest.mark.parametrize(("unit", "suffix", "factor"), SPELLINGS, ids=lambda value: str(getattr(value, "value", value)))
def test_every_prefix_goes_with_every_unit(unit, suffix, factor):
    assert parse(f"4.2{suffix}", unit) == parse(f"4.2 {suffix}", unit) == Fraction(42, 10) * factor


@given(st.sampled_from(SPELLINGS), numbers)
def test_no_digit_is_lost(spelling, number):
    unit, suffix, factor = spelling
    assert parse(f"{number:f} {suffix}", unit) == Fraction(number) * factor


@pytest.mark.parametrize(
    ("written", "unit", "value"),
    [
        (4_000_000_000, Unit.FLOP, 4 * 10**9),
        ("4_000_000_000", Unit.FLOP, 4 * 10**9),
        ("4G", Unit.FLOP, 4 * 10**9),
        ("4 G FLOPs", Unit.FLOP, 4 * 10**9),
        (" 4 GFLOPs ", Unit.FLOP, 4 * 10**9),
        ("25.6M", Unit.COUNT, 25_600_000),
        ("7B", Unit.COUNT, 7 * 10**9),
        ("7B", Unit.FLOP, 7 * 10**9),
        ("7B", Unit.BYTE, 7),
        ("25.6M params", Unit.COUNT, 25_600_000),
        ("25,557,032 parameters", Unit.COUNT, 25_557_032),
        ("8,178,368,512 FLOPs", Unit.FLOP, 8_178_368_512),
        ("512 MiB", Unit.BYTE, 512 * 2**20),
        ("512M", Unit.BYTE, 512 * 10**6),
        ("512Mi", Unit.BYTE, 512 * 2**20),
        ("5ms", Unit.SECOND, Fraction(5, 1000)),
        ("30 µs", Unit.SECOND, Fraction(30, 10**6)),
        ("0", Unit.SECOND, 0),
        (0, Unit.COUNT, 0),
        (1.5e9, Unit.FLOP, 1_500_000_000),
        (0.1, Unit.COUNT, Fraction(1, 10)),
        ("1e9", Unit.FLOP, 10**9),
        ("1.5e3 K", Unit.COUNT, 1_500_000),
        (".5G", Unit.FLOP, 5 * 10**8),
        (Decimal("0.1"), Unit.COUNT, Fraction(1, 10)),
        (Fraction(1, 3), Unit.COUNT, Fraction(1, 3)),
        # One more than a float can hold.
        (2**53 + 1, Unit.FLOP, 2**53 + 1),
        ("9007199254740993", Unit.FLOP, 2**53 + 1),
        ("9.007199254740993P", Unit.FLOP, 2**53 + 1),
    ],
)
def test_what_people_write_is_understood(written, unit, value):
    assert parse(written, unit) == value


def test_a_numpy_number_is_its_value():
    numpy = pytest.importorskip("numpy")
    assert parse(numpy.float64(0.1), Unit.COUNT) == Fraction(1, 10)
    assert parse(numpy.int64(7), Unit.COUNT) == 7


@pytest.mark.parametrize("flops_per_mac", [1, 2])
def test_a_limit_on_flops_may_be_written_in_macs(flops_per_mac):
    assert parse("4 GMACs", Unit.FLOP, flops_per_mac) == flops_per_mac * 4 * 10**9
    assert parse("4 GFLOPs", Unit.FLOP, flops_per_mac) == 4 * 10**9


@pytest.mark.parametrize(
    ("written", "unit", "complaint"),
    [
        ("ten", Unit.FLOP, "'ten' is not a quantity"),
        ("", Unit.FLOP, "an empty string"),
        ("   ", Unit.FLOP, "an empty string"),
        (".", Unit.FLOP, "not a quantity"),
        ("G", Unit.FLOP, "not a quantity"),
        ("1e", Unit.FLOP, "'e' is no unit"),
        ("1e9999999", Unit.FLOP, "no unit"),
        ("4 GB", Unit.FLOP, "'4 GB' is in bytes, not in FLOPs"),
        ("4 GB", Unit.COUNT, "in bytes, not in counts"),
        ("4 Gi", Unit.COUNT, "in bytes"),
        ("4 GFLOPs", Unit.BYTE, "in FLOPs, not in bytes"),
        ("4 GMACs", Unit.COUNT, "in MACs, not in counts"),
        ("4M params", Unit.FLOP, "in counts, not in FLOPs"),
        ("4 ms", Unit.FLOP, "in seconds"),
        ("4 GFLOPs", Unit.MAC, 'write max_flops("4 GFLOPs")'),
        ("4 GFLOPs/s", Unit.FLOP, "is a rate"),
        ("4 GB/s", Unit.BYTE, "is a rate"),
        ("4m", Unit.COUNT, "case matters: 'M'"),
        ("4 gflops", Unit.FLOP, "case matters: 'GFLOPs'"),
        ("4 mib", Unit.BYTE, "case matters: 'MiB'"),
        ("4 X", Unit.FLOP, "'X' is no unit"),
        ("4 5", Unit.FLOP, "'5' is no unit"),
        ("4,1G", Unit.FLOP, "no unit"),
        ("4,089 GMACs", Unit.MAC, "a comma"),
        ("5", Unit.SECOND, "has no unit"),
        (5, Unit.SECOND, "has no unit"),
        (0.005, Unit.SECOND, "has no unit"),
        (-1, Unit.FLOP, "-1 is negative"),
        (-0.5, Unit.FLOP, "negative"),
        ("-4G", Unit.FLOP, "'-4G' is negative"),
        ("nan", Unit.FLOP, "not finite"),
        ("inf", Unit.FLOP, "not finite"),
        ("-Infinity", Unit.FLOP, "not finite"),
        (float("nan"), Unit.FLOP, "not finite"),
        (float("inf"), Unit.FLOP, "not finite"),
        (Decimal("NaN"), Unit.FLOP, "not finite"),
        (True, Unit.FLOP, "True is not a quantity"),
        (False, Unit.FLOP, "False is not a quantity"),
        (None, Unit.FLOP, "None is not a quantity"),
        (1j, Unit.FLOP, "not a quantity"),
        ([4], Unit.FLOP, "not a quantity"),
        (b"4G", Unit.FLOP, "not a quantity"),
    ],
)
def test_nonsense_is_refused_by_name_and_with_an_example(written, unit, complaint):
    with pytest.raises(QuantityError, match=re.escape(complaint)) as error:
        parse(written, unit)
    assert "; write " in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unit", Unit)
def test_the_example_that_an_error_shows_is_right(unit):
    with pytest.raises(QuantityError) as error:
        parse("ten", unit)
    assert parse(str(error.value).split('"')[1], unit) > 0


@given(st.text(max_size=12), st.sampled_from(Unit))
def test_any_text_is_a_number_or_a_quantity_error(text, unit):
    with contextlib.suppress(QuantityError):
        assert parse(text, unit) >= 0


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (8_178_368_512, Unit.FLOP, "8.178 GFLOPs"),
        (4_100_000_000, Unit.FLOP, "4.1 GFLOPs"),
        (4_089_184_256, Unit.MAC, "4.089 GMACs"),
        (25_557_032, Unit.COUNT, "25.56 M"),
        (512, Unit.COUNT, "512"),
        (512, Unit.FLOP, "512 FLOPs"),
        (0, Unit.COUNT, "0"),
        (0, Unit.SECOND, "0 s"),
        (999_999, Unit.COUNT, "1 M"),
        (999_949, Unit.COUNT, "999.9 K"),
        (3 * 10**18, Unit.FLOP, "3,000 PFLOPs"),
        (12_345 * 10**15, Unit.FLOP, "12,345 PFLOPs"),
        (102_228_128, Unit.BYTE, "97.49 MiB"),
        (1023, Unit.BYTE, "1,023 bytes"),
        (1024, Unit.BYTE, "1 KiB"),
        (0.005123, Unit.SECOND, "5.123 ms"),
        (Fraction(30, 10**6), Unit.SECOND, "30 µs"),
        (2, Unit.SECOND, "2 s"),
        (Fraction(1, 10**12), Unit.SECOND, "0.001 ns"),
        (Fraction(3, 2), Unit.FLOP, "1.5 FLOPs"),
    ],
)
def test_four_digits_are_shown(value, unit, shown):
    assert quantity.format(value, unit) == shown


@pytest.mark.parametrize(
    ("value", "against", "shown"),
    [
        (4_100_200_000, 4_100_000_000, "4.1002 GFLOPs"),
        (4_100_000_000, 4_100_200_000, "4.1 GFLOPs"),
        (4_100_000_001, 4_100_000_000, "4,100,000,001 FLOPs"),
        (4_100_000_000, 4_100_000_001, "4,100,000,000 FLOPs"),
        (4_100_000_000, 4_100_000_000, "4.1 GFLOPs"),
        (Fraction(10**9) + Fraction(1, 3), 10**9, "3,000,000,001/3 FLOPs"),
        (10**9 + Fraction(1, 4), 10**9, "1,000,000,000.25 FLOPs"),
    ],
)
def test_as_many_digits_are_shown_as_tell_two_numbers_apart(value, against, shown):
    assert quantity.format(value, Unit.FLOP, against=against) == shown


sizes = st.one_of(st.integers(0, 10**20), st.fractions(min_value=0, max_value=10**6), st.floats(0, 10**6))


@given(sizes, sizes, st.sampled_from(Unit))
def test_two_different_numbers_never_read_the_same(value, other, unit):
    same = quantity.format(value, unit, against=other) == quantity.format(other, unit, against=value)
    assert same == (parse_exactly(value) == parse_exactly(other))


def parse_exactly(value):
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


@given(st.integers(0, 10**16), st.sampled_from(Unit))
def test_what_is_shown_can_be_written_as_a_limit(value, unit):
    shown = quantity.format(value, unit)
    assert abs(parse(shown, unit) - value) * 2000 <= max(value, 1)


@given(st.integers(0))
def test_exact_shows_every_digit(value):
    for name in ("params", "macs", "flops", "size"):
        metric = METRICS[name]
        shown = quantity.exact(value, metric)
        assert shown.endswith(f" {metric.noun}")
        assert int(shown.split()[0].replace(",", "")) == value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4_089_184_256, "macs", "4.089 GMACs"),
        (4_089_184_256, "MAC", "4.089 GMACs"),
        (25_557_032, "params", "25.56 M"),
        (102_228_128, "byte", "97.49 MiB"),
        (0.0051, "second", "5.1 ms"),
    ],
)
def test_a_figure_is_formatted_by_the_name_of_its_metric_or_unit(value: float, unit: str, text: str) -> None:
    assert pytest_modelbudget.format_quantity(value, unit) == text


def test_a_text_is_parsed_by_the_name_of_its_metric_or_unit() -> None:
    assert pytest_modelbudget.parse_quantity("4 GMACs", "flops") == 8_000_000_000
    assert pytest_modelbudget.parse_quantity("4 GMACs", "FLOP", flops_per_mac=1) == 4_000_000_000
    with pytest.raises(QuantityError, match=r"'flips' is neither .* write one of"):
        pytest_modelbudget.parse_quantity("4G", "flips")


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (8_178_368_512, Unit.FLOP, "8.18 GFLOPs"),
        (164_300, Unit.COUNT, "165 K"),
        (58, Unit.COUNT, "58"),
        (1023 * 1024 + 1, Unit.BYTE, "1024 KiB"),
        (Fraction(100, 3), Unit.MAC, "33.4 MACs"),
        (Fraction(1, 3), Unit.COUNT, "0.34"),
        (0, Unit.COUNT, "0"),
    ],
)
def test_a_limit_that_a_figure_just_keeps(value, unit, written):
    assert quantity.ceiling(value, unit) == written


@given(st.integers(0, 10**16) | st.fractions(min_value=0, max_value=10**9), st.sampled_from(Unit))
def test_a_figure_keeps_its_ceiling(value, unit):
    limit = parse(quantity.ceiling(value, unit), unit)
    assert value <= limit
    if value >= 1:
        assert limit < value * Fraction(101, 100)


@pytest.mark.parametrize(("number", "text"), [(0, "0 samples"), (1, "1 sample"), (2, "2 samples")])
def test_one_is_no_plural(number, text):
    assert quantity.counted(number, "sample") == text


@pytest.mark.parametrize(
    ("before", "after", "text"), [(1, 100, "+9900.0 %"), (1, 1235, "1,235 times as much"), (2, 1, "-50.0 %")]
)
def test_nobody_reads_huge_percents(before, after, text):
    assert percent(before, after) == text
