"""The table of modules: what it shows, and that it fits."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from pytest_modelbudget.profiling.profile import ModuleProfile, Profile
from pytest_modelbudget.profiling.run import profile
from pytest_modelbudget.reporting.columns import COLUMNS, NAMES, ColumnError
from pytest_modelbudget.reporting.paper import Paper, cells, pad
from pytest_modelbudget.reporting.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable


def conv_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10)).eval()


def row(text: str, name: str) -> list[str]:
    """The words of the row of the module of that name."""
    (line,) = (line for line in text.splitlines()[3:] if line.lstrip("│├└ ").startswith(f"{name} "))
    return line.lstrip("│├└ ").split()


class Transformer(nn.Module):
    def __init__(self, layers: int = 6) -> None:
        super().__init__()
        self.token_embeddings_with_a_long_name = nn.Embedding(100, 32)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True) for _ in range(layers))
        self.head = nn.Linear(32, 100)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token_embeddings_with_a_long_name(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.lstm = nn.LSTM(16, 32, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(64, 17)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.lstm(self.embedding(ids))[0])


class Experts(nn.Module):
    """Shares an expert, leaves one out, calls one twice, ties weights; and has names that nobody should choose."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.alias = self.first
        self.left_out = nn.Linear(4, 3)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.add_module("two\nlines \x1b[31mred\x1b[0m " + "漢字" * 30, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tied(self.first(self.first(x)))


IDS = torch.zeros(2, 12, dtype=torch.int64)
MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "convolutions": (conv_net, torch.randn(1, 3, 4, 4)),
    "transformer": (Transformer, IDS),
    "tagger": (Tagger, IDS),
    "experts": (Experts, torch.randn(2, 4)),
}


@pytest.fixture(scope="module", params=MODELS)
def figures(request: pytest.FixtureRequest) -> Profile:
    make, inputs = MODELS[request.param]
    return profile(make(), inputs)


@pytest.mark.parametrize("unicode", [True, False], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [80, 100, 120, 160, 250])
def test_no_line_is_wider_than_the_terminal(figures: Profile, width: int, unicode: bool) -> None:
    text = summary(figures, paper=Paper(width, unicode=unicode))
    assert max(map(cells, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())


def test_it_is_ascii_where_the_stream_is(figures: Profile) -> None:
    assert summary(replace(figures, latency=2e-6), paper=Paper(unicode=False)).isascii()


def test_names_cannot_leave_their_line(figures: Profile) -> None:
    assert "\x1b" not in summary(figures)
    assert "\x1b" not in figures.summary()


def test_a_module_s_figures_include_everything_below_it() -> None:
    text = profile(conv_net(), torch.randn(1, 3, 4, 4)).summary(
        width=80, columns=["type", "input", "output", "params", "macs", "flops", "share"]
    )
    # 16 positions x 8 x 27 and 128 x 10 multiply-accumulates.
    assert row(text, "Sequential")[1:] == ["1x3x4x4", "1x10", "1.514", "K", "4.736", "K", "9.472", "K", "100.0"]
    assert row(text, "0") == ["0", "Conv2d", "1x3x4x4", "1x8x4x4", "224", "3.456", "K", "6.912", "K", "73.0"]
    assert row(text, "3") == ["3", "Linear", "1x128", "1x10", "1.290", "K", "1.280", "K", "2.560", "K", "27.0"]
    assert row(text, "1")[2:] == ["1x8x4x4", "1x8x4x4", "0", "0", "0", "0"]


def test_more_columns_where_there_is_room() -> None:
    narrow, wide = (profile(Transformer(), IDS).summary(width=width).splitlines()[1].split() for width in (80, 160))
    assert narrow == ["module", "type", "output", "params", "MACs", "FLOPs", "%"]
    assert {"input", "read", "total"} <= set(wide)


def test_equal_blocks_in_a_row_share_theirs() -> None:
    figures = profile(Transformer(), IDS)
    text = figures.summary(width=100, columns=["type", "output", "params", "macs"])
    # Attention 4 x 32 x 32 + 4 x 32, feed-forward 2 x 32 x 64 + 96, norms 4 x 32: 8,544 each.
    assert row(text, "0-5")[:5] == ["0-5", "6", "×", "TransformerEncoderLayer", "2x12x32"]
    assert row(text, "0-5")[5:7] == ["51.26", "K"]
    assert "n ×: equal modules in a row; figures there and below are those of all n together" in text
    assert "0-5" not in figures.summary(width=80, expand=True)
    assert len(figures.summary(width=80, expand=True).splitlines()) > len(text.splitlines()) + 5 * 10


def test_numbered_names_share_a_row_too() -> None:
    model = nn.Sequential()
    for number in (9, 10, 11):
        model.add_module(f"layer_{number}", nn.Linear(4, 4))
    assert row(profile(model, torch.randn(1, 4)).summary(), "layer_9-11")[1:4] == ["3", "×", "Linear"]


def test_blocks_that_differ_in_a_figure_do_not() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4))
    assert "×" not in profile(model, torch.randn(1, 4)).summary()


def test_shared_unused_repeated_and_tied_modules_are_seen() -> None:
    text = profile(Experts(), torch.randn(2, 4)).summary(width=80)
    assert row(text, "first")[1:4] == ["Linear,", "2", "calls"]
    assert row(text, "alias")[1:4] == ["Linear", "=", "first"]
    assert row(text, "left_out")[1:4] == ["Linear", "not", "called"]
    # first 20, left_out 15, of tied only the 4 biases are its own.
    assert "Total params      39  16 of them tied, counted once" in text


def test_how_a_module_was_called_stands_in_whatever_column_there_is() -> None:
    figures = profile(Experts(), torch.randn(2, 4))
    assert row(figures.summary(columns=["params"]), "left_out,") == ["left_out,", "not", "called", "15"]
    assert row(figures.summary(columns=["type"]), "alias") == ["alias", "Linear,", "=", "first"]


def test_depth_ends_the_tree() -> None:
    figures = profile(Transformer(), IDS)
    text = figures.summary(width=80, depth=1)
    assert [line.split()[1] for line in text.splitlines() if line[0:1] in "├└" and line][-1] == "head"
    assert "0-5" not in text
    assert figures.summary(width=80, depth=0).splitlines()[3].split()[0] == "Transformer"
    assert figures.summary(width=80, depth=0).splitlines()[4] == ""


def test_siblings_are_sorted_and_the_share_is_of_what_they_are_sorted_by() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 8), nn.Linear(8, 1))
    text = profile(model, torch.randn(1, 4)).summary(sort="params", columns=["params", "share"], width=80)
    assert [line.split() for line in text.splitlines()[3:7]] == [
        ["Sequential", "43", "100.0"],
        ["├", "1", "24", "55.8"],
        ["├", "0", "10", "23.3"],
        ["└", "2", "9", "20.9"],
    ]
    assert "params %" in text


def test_unknown_columns_are_refused_with_those_that_there_are() -> None:
    figures = profile(nn.Linear(2, 2), torch.randn(1, 2))
    with pytest.raises(ColumnError, match=r"no column 'mac'; did you mean 'macs'.*write any of type, input"):
        figures.summary(columns=["mac"])
    with pytest.raises(ColumnError, match="cannot sort by 'output'; write one of calls, params"):
        figures.summary(sort="output")


@pytest.mark.parametrize("name", NAMES)
def test_every_column_can_be_shown_measured_or_not(name: str) -> None:
    figures = profile(conv_net(), torch.randn(1, 3, 4, 4))
    assert len(figures.summary(columns=[name]).splitlines()) > 7
    state = Profile("M", 1, 1, 4, modules={"": ModuleProfile("M", 0, 1, 1, 4)}, calls=0)
    assert state.summary(columns=[name])


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column.figure])
def test_every_figure_can_be_sorted_by(name: str) -> None:
    assert profile(conv_net(), torch.randn(1, 3, 4, 4)).summary(sort=name)


def test_durations_have_columns_only_where_they_were_measured() -> None:
    model, inputs = conv_net(), torch.randn(1, 3, 4, 4)
    assert "time" not in profile(model, inputs, device="cpu").summary(width=160)
    assert "time %" in profile(model, inputs, device="cpu", durations=True).summary(width=80)


def test_the_convention_of_flops_is_said() -> None:
    model, inputs = nn.Linear(4, 8), torch.randn(1, 4)
    assert "a MAC is 2 FLOPs" in profile(model, inputs).summary()
    assert "a MAC is a FLOP" in profile(model, inputs, flops_per_mac=1).summary()


def test_what_is_not_counted_is_said() -> None:
    figures = replace(profile(nn.Linear(4, 8), torch.randn(1, 4)), uncounted={"mylib::scan": 3})
    assert "operators of unknown cost, not counted: mylib::scan (3 x)" in figures.summary()


def test_frozen_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1)).requires_grad_(False)
    model[1].requires_grad_(True)
    text = profile(model, torch.randn(1, 4)).summary(width=100)
    assert "Trainable params   9" in text
    assert "Frozen params     40" in text
    assert "trainable" in text.splitlines()[1]


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._encoding = encoding

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


@pytest.mark.parametrize(
    ("environment", "is_terminal", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),  # as no-color.org has it
        ({"FORCE_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    environment: dict[str, str], is_terminal: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    paper = Paper.of(Stream(is_terminal=is_terminal))
    assert paper.colour is coloured
    text = summary(profile(nn.Linear(2, 2), torch.randn(1, 2)), paper=paper)
    assert ("\x1b[" in text) is coloured


@pytest.mark.parametrize(("encoding", "unicode"), [("utf-8", True), ("ascii", False), ("latin-1", False), ("?", False)])
def test_lines_are_drawn_where_the_encoding_has_them(encoding: str, unicode: bool) -> None:
    assert Paper.of(Stream(is_terminal=False, encoding=encoding)).unicode is unicode


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("abc", 3, "abc"), ("abcdefgh", 7, "abcd…gh"), ("漢字漢字漢", 7, "漢字…漢"), ("abc", 1, "…"), ("abc", 0, "")],
)
def test_what_is_too_wide_loses_its_middle(text: str, width: int, cut: str) -> None:
    assert Paper().cut(text, width) == cut
    assert cells(cut) <= width


def test_wide_characters_take_two_cells() -> None:
    assert (cells("漢字"), cells("e\u0301"), pad("漢", 4), pad("漢", 4, right=True)) == (4, 1, "漢  ", "  漢")


def test_a_single_layer_is_its_own_forward_pass() -> None:
    text = profile(nn.Linear(256, 1024), torch.randn(128, 256)).summary()
    assert "Forward/backward pass size  1.00 MB" in text  # 128 x 1024 elements, 4 bytes, twice
