"""What cannot be run abstractly, said at the line of the model that asked for it."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from types import FrameType

_NOT_THE_MODEL = tuple(
    os.path.dirname(path) + os.sep for path in (torch.__file__, os.path.dirname(os.path.dirname(__file__)))
)


MEASURE_FOR_REAL = 'measure this model on a real device, with device="cpu"'
_MAKE_FOR_REAL = 'its weights are on meta, too, so build it on a real device, and measure it there, with device="cpu"'


class DataDependentError(RuntimeError):
    """The model looked at a value that an abstract run does not have."""


def needs_data(operator: str, frame: FrameType | None = None) -> DataDependentError:
    """The error for an operator that needs values, asked for somewhere below `frame`."""
    stack = traceback.walk_stack(frame or sys._getframe(1))
    return _error(operator, next(((f.f_code.co_filename, n, f.f_code.co_name) for f, n in stack if _is_model(f)), None))


def explained(error: BaseException) -> DataDependentError | None:
    """The same for what PyTorch itself refused before it became an operator: `numpy()`, `tolist()` and the like."""
    if not any(part in str(error) for part in _SAID_OF_META):
        return None
    frames = [(f, n) for f, n in traceback.walk_tb(error.__traceback__) if _is_model(f)]
    where = (frames[-1][0].f_code.co_filename, frames[-1][1], frames[-1][0].f_code.co_name) if frames else None
    what = str(error).partition("\n")[0]
    return _error(what, where, why=_UNSUPPORTED if "only supported on" in what else _WITHOUT_VALUES)


def without_weights(error: DataDependentError) -> DataDependentError:
    """The same of a model that no real device can run."""
    return DataDependentError(str(error).replace(MEASURE_FOR_REAL, _MAKE_FOR_REAL))


_SAID_OF_META = ("meta tensor", "meta device type tensor", "on meta tensors", "on meta device", "tensors on meta")


_WITHOUT_VALUES = "looks at values of a tensor ({}), and an abstract run has none"
_UNSUPPORTED = "calls what PyTorch does not run without data ({})"


def _error(what: str, where: tuple[str, int, str] | None, why: str = _WITHOUT_VALUES) -> DataDependentError:
    place = "the model" if where is None else f"{where[0]}:{where[1]} in {where[2]}"
    return DataDependentError(f"{place} {why.format(what.rstrip('.'))}: {MEASURE_FOR_REAL}")


def _is_model(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith(_NOT_THE_MODEL) and not frame.f_code.co_filename.startswith("<")
