"""Puts the page together: template, style, scripts and data, in one file that asks nobody for anything.

Its content security policy forbids every request and every script but the two that are in it, which it names by their
hashes. The page is plain ASCII, so that the bytes which are hashed survive any encoding of a pipe.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest_modelbudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from pytest_modelbudget.reporting.html.data import Content

# In this order: each uses only those before it.
SCRIPTS = ("text", "dom", "model", "treemap", "charts", "table", "overview", "details", "differences", "main")


def assemble(content: Content) -> str:
    """The page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__.rpartition(".")[0]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _script()
    return environment.get_template("page.html.jinja").render(
        title=_ascii(content.title),
        plugin=pytest_modelbudget.__version__,
        policy=_policy(script, _charts()),
        style=_markup(_static("page.css")),
        script=_markup(script),
        charts=_markup(_packed(_charts())),
        overview=embedded(content.overview),
        models=map(embedded, content.models),
        differences=map(embedded, content.differences),
    )


def embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that neither ends the element that it stands in nor breaks a line of a script."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))  # U+2028 and the like are escaped: it is ASCII
    return _markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


def _ascii(text: str) -> str:
    from pytest_modelbudget.reporting.escape import visible

    return visible(text).encode("ascii", "backslashreplace").decode("ascii")


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    # Plotly writes styles into the page; images are those that it makes itself.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _script() -> str:
    parts = (_static(f"{name}.js") for name in SCRIPTS)
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _static(name: str) -> str:
    return (files("pytest_modelbudget.reporting.html") / "static" / name).read_text("ascii")


@cache
def _charts() -> str:
    """Plotly's script, which its package brings along."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _packed(script: str) -> str:
    """Two fifths of the size; the page unpacks it when the first chart is drawn."""
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
