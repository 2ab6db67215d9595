"""What users catch and filter: the failure and the warning. Light: no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.outcomes import Failed
else:
    Failed = pytest.fail.Exception


class BudgetExceeded(Failed):
    """A model is over a limit, or could not be measured against it.

    A failure and no error: pytest prints its message without a traceback, and `xfail` treats it like a failed assert.
    """

    # pytest prints the qualified name of an exception unless it is a builtin; the verdict reads better without.
    __module__ = "builtins"

    def __init__(self, msg: str) -> None:
        super().__init__(msg, pytrace=False)


class ModelBudgetWarning(pytest.PytestWarning):
    """A limit with `level="warn"` is exceeded, or something could not be measured."""

    __module__ = "pytest_modelbudget"  # the name that users write in `filterwarnings`
