"""Abstract execution: runs a model on `meta`, without weights, data or arithmetic.

The model itself runs. What does not depend on weights or floating inputs is computed for real; everything else has a
shape only, remembered from the first operator with such operands. Meta twins stand in the model's tables for the time
of the run, so that it may live on any device, is neither moved nor copied, and cannot be touched.
"""

from .errors import DataDependentError
from .execution import AbstractExecution
from .tracking import LoggingTracker, RunTracker

__all__ = ["AbstractExecution", "DataDependentError", "LoggingTracker", "RunTracker"]
