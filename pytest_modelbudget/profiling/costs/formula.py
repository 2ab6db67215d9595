"""Binding a cost formula to an operator: the formula's parameters are the operator's arguments, by name.

A family's table maps operator names to formulas. `"aten::add"` stands for all overloads, `"aten::add.Tensor"` for
one, and an operator that the installed torch does not have is an entry that is never looked up.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket

from .cost import NOTHING, Cost, Kind

Operator: TypeAlias = OpOverload | HigherOrderOperator
CostFunction: TypeAlias = Callable[..., Cost]


class Formula(NamedTuple):
    """A cost function before it knows its operator.

    Attributes:
        kind: what the operator does.
        function: takes arguments of the operator by name, and, where it asks for `output`, what the operator returned.
        names: parameter of the function -> argument of the operator, where the two differ.
    """

    kind: Kind
    function: CostFunction
    names: Mapping[str, str]


Table: TypeAlias = Mapping[str, Formula]


class Rule(NamedTuple):
    """A formula bound to one operator: `cost(args, kwargs, output)` as a dispatch mode sees them."""

    kind: Kind
    cost: Callable[[tuple[Any, ...], Mapping[str, Any], Any], Cost]


class UnknownArgumentError(TypeError):
    """A formula asks for an argument that the operator does not have."""


def contraction(function: CostFunction, **names: str) -> Formula:
    """The entry of an operator that multiplies and accumulates."""
    return Formula(Kind.CONTRACTION, function, names)


def other(function: CostFunction, **names: str) -> Formula:
    """The entry of an operator that computes something else."""
    return Formula(Kind.OTHER, function, names)


def nothing() -> Cost:
    return NOTHING


FREE = Formula(Kind.FREE, nothing, {})


class _Slot(NamedTuple):
    """Where one parameter's value is found in a call."""

    parameter: str
    argument: str
    position: int
    default: object
    """What the operator takes where a call leaves the argument out."""


# The position of an argument that is passed by keyword only: behind the end of any `args`.
_NOWHERE = sys.maxsize


def bind(formula: Formula, op: Operator) -> Rule:
    """The rule for one operator.

    Raises:
        UnknownArgumentError: where the operator lacks an argument for which the formula has no default.
    """
    arguments = _arguments(op)
    slots: list[_Slot] = []
    wants_output = False
    for name, parameter in inspect.signature(formula.function).parameters.items():
        argument = formula.names.get(name, name)
        if name == "output" and (parameter.kind is parameter.KEYWORD_ONLY or argument not in arguments):
            wants_output = True
        elif argument in arguments:
            position, default = arguments[argument]
            # The formula's own default serves where the operator has none, or only an unsaid one.
            slots.append(_Slot(name, argument, position, _first(default, parameter.default)))
        elif parameter.default is parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise UnknownArgumentError(
                f"{key(op)} has no argument {name!r}: name the parameters of its cost function after some of"
                f" {', '.join(arguments)}, or `output` for what it returns"
            )
    function = formula.function

    def cost(args: tuple[Any, ...], kwargs: Mapping[str, Any], output: object) -> Cost:
        __tracebackhide__ = True
        given = len(args)
        values = {
            slot.parameter: args[slot.position] if slot.position < given else kwargs.get(slot.argument, slot.default)
            for slot in slots
        }
        if wants_output:
            values["output"] = output
        return function(**values)

    return Rule(formula.kind, cost)


def _first(default: object, fallback: object) -> object:
    return fallback if default is None and fallback is not inspect.Parameter.empty else default


def key(op: Operator) -> str:
    """The full name of an operator: `aten::add.Tensor`, `aten::mm.default`, `higher_order::cond`."""
    if isinstance(op, OpOverload):
        return f"{op._schema.name}.{op._overloadname}"
    return f"{op.namespace}::{op._name}"


def packet_key(op: Operator) -> str:
    """The name that all overloads of an operator share: `aten::add`."""
    return op._schema.name if isinstance(op, OpOverload) else key(op)


def overloads(packet: OpOverloadPacket) -> list[OpOverload]:
    """All overloads of an operator that exist by now."""
    return [getattr(packet, name or "default") for name in packet._overload_names]


def _arguments(op: Operator) -> dict[str, tuple[int, object]]:
    """The operator's arguments in order: name -> position and default (None for an argument that must be given)."""
    if isinstance(op, OpOverload):
        return {
            argument.name: (
                _NOWHERE if argument.kwarg_only else position,
                argument.default_value if argument.has_default_value() else None,
            )
            for position, argument in enumerate(op._schema.arguments)
        }
    # A higher-order operator has no schema, only the Python signature of its `__call__`.
    return {
        name: (
            _NOWHERE if parameter.kind is parameter.KEYWORD_ONLY else position,
            None if parameter.default is parameter.empty else parameter.default,
        )
        for position, (name, parameter) in enumerate(inspect.signature(op.__call__).parameters.items())
    }
