"""What an operator's schema, tags and namespace tell of its cost, where no table names it."""

from __future__ import annotations

import torch
from torch._ops import OpOverload

from .formula import FREE, Operator, Rule, bind, overloads
from .rates import per_input, per_output

# Markers of the tracer, the profiler and the debugger.
_MARKERS = frozenset({"prim", "profiler", "debugprims", "debug_mode_ops", "export", "streams"})
# They move data between processes; what they add up on the way is no work of the model.
_COMMUNICATION = frozenset(
    {"c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd", "symm_mem", "fsdp", "_dtensor"}
)
_FREE_NAMESPACES = _MARKERS | _COMMUNICATION
# Torch before 2.9 has no such tag; the table of reductions serves it.
_REDUCTION = getattr(torch.Tag, "reduction", None)


def rule(op: Operator) -> Rule | None:
    """The rule that follows from the declaration of an operator; None where it does not tell."""
    if not isinstance(op, OpOverload):
        return None
    tags = _tags(op)
    if op.namespace in _FREE_NAMESPACES or torch.Tag.view_copy in tags or torch.Tag.inplace_view in op.tags:
        return bind(FREE, op)
    if _returns_views(op):
        return bind(FREE, op)
    if op.namespace == "aten" and op._schema.name.startswith("aten::_foreach_"):
        # One list of tensors for each operand, all with the same sizes; a scalar may come first.
        lists = (argument.name for argument in op._schema.arguments if str(argument.type) == "List[Tensor]")
        return bind(per_input(values=next(lists)), op)
    if torch.Tag.pointwise in tags:
        return bind(per_output(), op)
    if _REDUCTION in tags and op._schema.arguments:
        return bind(per_input(values=op._schema.arguments[0].name), op)
    return None


def _returns_views(op: OpOverload) -> bool:
    """Whether the schema declares everything that is returned to alias an argument, and nothing to be written."""
    returned = [value.alias_info for value in op._schema.returns]
    return (
        bool(returned)
        and all(alias is not None and not alias.is_write for alias in returned)
        and not op._schema.is_mutable
    )


def _tags(op: OpOverload) -> set[torch.Tag]:
    """The tags of all overloads, and of the functional namesake of an in-place operator, where many have theirs."""
    packet = op._overloadpacket
    namesake = getattr(getattr(torch.ops, op.namespace), packet.__name__.removesuffix("_"), packet)
    return {tag for overload in (*overloads(packet), *overloads(namesake)) for tag in overload.tags}
