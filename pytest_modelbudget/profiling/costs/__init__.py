"""The catalogue of costs: operator -> kind and cost, from shapes. It knows no traversal, no modes, no modules.

One file a family, each with a `TABLE` of operator names and formulas; `registry` asks them in order.
"""

from .cost import NOTHING, Cost, Kind, repeated, total
from .formula import Operator, Rule
from .registry import edition, lookup, register_cost
from .sizes import values_read

__all__ = [
    "NOTHING",
    "Cost",
    "Kind",
    "Operator",
    "Rule",
    "edition",
    "lookup",
    "register_cost",
    "repeated",
    "total",
    "values_read",
]
