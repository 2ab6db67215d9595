"""What text is written on: how wide a character is, which there are, and whether there is colour."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_STYLES = {"bold": "1", "dim": "2", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class Paper:
    """Where a table goes.

    Attributes:
        width: columns of characters.
        unicode: whether there is more than ASCII.
        colour: whether ANSI escapes are understood.
    """

    width: int = 80
    unicode: bool = True
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Paper:
        """That of a stream: NO_COLOR and FORCE_COLOR, COLUMNS, its encoding and whether it is a terminal count."""
        is_terminal = stream.isatty()
        forced = bool(os.environ.get("FORCE_COLOR"))
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(
            # What is piped is as wide as COLUMNS says, else as the terminal that it is started from.
            width=shutil.get_terminal_size((80, 24)).columns,
            unicode=_speaks_unicode(stream),
            colour=(is_terminal or forced) and not plain,
        )

    def clean(self, text: str) -> str:
        """The text as one line that can be shown here: a module may be called whatever a dict's key can be."""
        shown = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
            for character in text
        )
        if self.unicode:
            return shown
        return shown.replace("µ", "u").encode("ascii", "backslashreplace").decode("ascii")

    def cut(self, text: str, width: int) -> str:
        """The text, no wider than that: its middle gives way, because beginning and end tell more."""
        if cells(text) <= width:
            return text
        gap = "…" if self.unicode else ".."
        room = width - len(gap)
        if room <= 0:
            return gap[:width]
        tail = room // 3
        return _first(text, room - tail) + gap + _first(text[::-1], tail)[::-1]

    def paint(self, text: str, *styles: str) -> str:
        """The text in colour, where there is any."""
        if not self.colour or not styles or not text.strip():
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text and as many spaces as make it that wide; to its left where it is flushed `right`."""
    spaces = " " * (width - cells(text))
    return spaces + text if right else text + spaces


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _first(text: str, width: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _cells(character)
        if taken > width:
            return text[:index]
    return text


def _speaks_unicode(stream: TextIO) -> bool:
    try:
        "│├└─…×µ".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
