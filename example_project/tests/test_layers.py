"""Widths stay numbers that hardware likes."""

from __future__ import annotations

import pytest
from zoo.layers import scaled


@pytest.mark.parametrize(
    ("channels", "width", "multiple_of", "expected"),
    [(64, 1.0, 8, 64), (64, 1.25, 8, 80), (24, 1.25, 8, 32), (16, 0.1, 8, 8), (4096, 1.25, 1024, 5120)],
)
def test_channels_are_rounded_to_a_multiple(channels: int, width: float, multiple_of: int, expected: int) -> None:
    assert scaled(channels, width, multiple_of) == expected
