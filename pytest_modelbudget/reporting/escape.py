"""Text of others, safe in Markdown tables: it shows as it is and does nothing."""

from __future__ import annotations

import html
import re
import unicodedata

_WIDTH = 160

# In a code span nothing is interpreted; these would end it, or the cell.
_PLAIN = re.compile(r"[\w ./:\[\](),=+*#@!?<>{}&%$^~\"';-]+", re.ASCII)


def code(text: str, width: int = _WIDTH) -> str:
    """A text as inline code in a cell of a table, shortened in its middle."""
    shown = visible(shortened(text, width))
    if _PLAIN.fullmatch(shown) and shown.strip() == shown:
        return f"`{shown}`"
    return f"<code>{_entities(shown)}</code>"


def plain(text: str, width: int = _WIDTH) -> str:
    """A text in a cell of a table, without markup of its own."""
    return _entities(visible(shortened(text, width)))


def shortened(text: str, width: int) -> str:
    """The beginning and the end of a text that is too long."""
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def visible(text: str) -> str:
    """Control characters, and those that turn the direction of text around, as escapes."""
    # Cc, Cf, Cs: controls, formats (bidirectional ones among them), halves of characters; Zl, Zp: ends of lines.
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in hidden else character
        for character in text
    )


def _entities(text: str) -> str:
    return re.sub(r"[\\`*_{}\[\]()#!|~@$:]", lambda match: f"&#{ord(match[0])};", html.escape(text, quote=False))
