"""Tests about `torch.compile`, under limits for which it must not compile."""

from __future__ import annotations

import inspect
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.metrics import Source
from pytest_modelbudget.profiling.compilation import dynamo_is_loaded

if TYPE_CHECKING:
    from pytest_modelbudget.budget import Budget

_NOTE = (
    "torch.compile ran eagerly in this test, because {} limits compute, and what is fused cannot be counted. If that "
    'is why it failed, lift the limit for this test: with None in a mark, or "none" in a table of budgets.\n'
)


def note_on_compiling(item: pytest.Item, error: BaseException, budget: Budget) -> str:
    """What to say of a test that failed of itself, was made to run eagerly and speaks of compiling; else nothing."""
    if isinstance(error, pytest.skip.Exception) or not dynamo_is_loaded():
        return ""
    code = getattr(inspect.unwrap(getattr(item, "obj", note_on_compiling)), "__code__", None)
    sources = [limit.source.text for limit in budget.limits if limit.metric.source in (Source.COMPUTE, Source.STORAGE)]
    return _NOTE.format(sources[0]) if sources and code is not None and _names_compiler(code) else ""


def _names_compiler(code: CodeType) -> bool:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return not {"compile", "_dynamo"}.isdisjoint(code.co_names) or any(map(_names_compiler, inner))
