"""From an operator to its rule: who may say what it costs, and in which order they are asked."""

from __future__ import annotations

import inspect
import warnings
from contextvars import ContextVar
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from threading import Lock
from typing import TYPE_CHECKING, TypeVar, final

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils.flop_counter import flop_registry

from . import (
    attention,
    conv,
    elementwise,
    free,
    linalg,
    losses,
    matmul,
    normalization,
    pooling,
    quantized,
    recurrent,
    schema,
    spectral,
)
from .cost import NOTHING, Cost, Kind
from .formula import (
    CostFunction,
    Formula,
    Operator,
    Rule,
    Table,
    UnknownArgumentError,
    bind,
    key,
    overloads,
    packet_key,
)

ENTRY_POINTS = "pytest_modelbudget.costs"
UNKNOWN = Rule(Kind.UNKNOWN, lambda *_: NOTHING)

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound=CostFunction)
_TORCHS_OWN = ("aten::", "prims::", "quantized::")

_OWN: Table = {
    **elementwise.TABLE,
    **free.TABLE,
    **normalization.TABLE,
    **pooling.TABLE,
    **losses.TABLE,
    **matmul.TABLE,
    **conv.TABLE,
    **attention.TABLE,
    **recurrent.TABLE,
    **spectral.TABLE,
    **linalg.TABLE,
    **quantized.TABLE,
}


@final
class Catalogue:
    """Rules by operator: the registered ones, and the answers already given.

    Looking up takes no lock. A registration swaps the dictionary of answers for an empty one, so that an answer that
    another thread is just working out from the old state ends up in a dictionary that nobody reads any more.
    """

    def __init__(self) -> None:
        self.registered: dict[str, Formula] = {}
        self.from_packages: dict[str, Formula] = {}
        self._answers: dict[Operator, Rule] = {}
        self._formulas_in_torch = len(flop_registry)
        self._lock = Lock()

    def lookup(self, op: Operator) -> Rule:
        # PyTorch refuses to register a formula twice, so a changed registry is a longer one.
        if len(flop_registry) != self._formulas_in_torch:
            self._forget()
        answers = self._answers
        rule = answers.get(op)
        if rule is None:
            rule = answers[op] = self._resolve(op)
        return rule

    def edition(self) -> object:
        if len(flop_registry) != self._formulas_in_torch:
            self._forget()
        return self._answers

    def register(self, table: dict[str, Formula], name: str, formula: Formula) -> None:
        with self._lock:
            table[name] = formula
            self._answers = {}

    def _forget(self) -> None:
        with self._lock:
            self._formulas_in_torch = len(flop_registry)
            self._answers = {}

    def _resolve(self, op: Operator) -> Rule:
        return (
            _from_table(self.registered, op)
            or _own(op)
            or _from_torch(op)
            # Scanning the installed distributions takes tens of milliseconds: not for operators that torch itself tags.
            or (schema.rule(op) if op.namespace == "aten" else None)
            or self._from_packages(op)
            or schema.rule(op)
            or UNKNOWN
        )

    def _from_packages(self, op: Operator) -> Rule | None:
        _load_packages()
        return _from_table(self.from_packages, op)


def _from_table(table: Table, op: Operator) -> Rule | None:
    formula = table.get(key(op)) or table.get(packet_key(op))
    return bind(formula, op) if formula else None


def _own(op: Operator) -> Rule | None:
    name = packet_key(op)
    # An in-place operator does the work of its functional namesake, with the same names for the same arguments.
    formula = _OWN.get(key(op)) or _OWN.get(name) or _OWN.get(name.removesuffix("_"))
    if formula is None:
        return None
    try:
        return bind(formula, op)
    except UnknownArgumentError:
        # Another torch version has renamed an argument. Unknown, its cost will be listed: better than a crash.
        return None


def _from_torch(op: Operator) -> Rule | None:
    """A formula from PyTorch's own registry, called as FlopCounterMode calls it. It counts two FLOPs for a MAC."""
    formula = flop_registry.get(op._overloadpacket if isinstance(op, OpOverload) else op)
    if formula is None:
        return None
    return Rule(Kind.CONTRACTION, lambda args, kwargs, output: Cost(macs=formula(*args, **kwargs, out_val=output) // 2))


_catalogue = Catalogue()
# Costs that an entry point registers rank below our own and PyTorch's, those of the user's own code above.
_registering_into: ContextVar[dict[str, Formula]] = ContextVar("_registering_into", default=_catalogue.registered)


@cache
def _load_packages() -> None:
    token = _registering_into.set(_catalogue.from_packages)
    try:
        for entry_point in entry_points(group=ENTRY_POINTS):
            _load(entry_point)
    finally:
        _registering_into.reset(token)


def _load(entry_point: EntryPoint) -> None:
    try:
        loaded = entry_point.load()
        if callable(loaded):
            loaded()
    except Exception as error:  # noqa: BLE001 - a package may fail in any way; its operators are listed as unknown then
        warnings.warn(
            f"the operator costs of {entry_point.value} could not be loaded ({error!r}):"
            " repair or uninstall the package that ships them",
            RuntimeWarning,
            stacklevel=2,
        )


def lookup(op: Operator) -> Rule:
    """The rule of an operator: its kind, and `cost(args, kwargs, output)`. A dictionary hit after the first time."""
    return _catalogue.lookup(op)


def edition() -> object:
    """An object that is another one after every registration: what was looked up under the former is out of date."""
    return _catalogue.edition()


def register_cost(operator: object) -> Callable[[_F], _F]:
    """Say what a custom operator costs, from the shapes of its arguments.

    The decorated function takes those of the operator's arguments that it needs, by their names in the schema, and,
    if it has a keyword-only parameter `output`, what the operator returned. It returns a `Cost`, and neither creates
    tensors nor reads their data: it also runs on tensors that have none.

        @register_cost(torch.ops.mylib.scan)
        def scan(x, weight, *, output):
            return Cost(macs=x.numel() * weight.shape[1], activations=output.numel())

    Registering again replaces the former function. Costs may be registered and looked up from any thread.

    Args:
        operator: an operator overload; an overload packet, for all its overloads, also those added later; what
            `torch.library.custom_op` returns; or `"mylib::scan"`, for a library that is not imported yet.

    Raises:
        TypeError: if that is not an operator, or has no argument of the name of one of the function's parameters.

    A function that raises, or returns anything else, is an error of the call that was to be counted.
    """
    name, known = _name_and_overloads(operator)

    def register(function: _F) -> _F:
        formula = Formula(Kind.CONTRACTION, _checked(function, name), {})
        for op in known:
            bind(formula, op)
        _catalogue.register(_registering_into.get(), name, formula)
        return function

    return register


def _name_and_overloads(operator: object) -> tuple[str, list[OpOverload]]:
    """The name under which a cost is filed, and the overloads known so far that it must fit."""
    # What `torch.library.custom_op` returns is not the operator but holds it.
    operator = getattr(operator, "_opoverload", operator)
    if isinstance(operator, OpOverload):
        return key(operator), [operator]
    if isinstance(operator, OpOverloadPacket):
        return operator._qualified_op_name, overloads(operator)
    if isinstance(operator, str) and operator.count("::") == 1 and all(operator.split("::")):
        known = _overloads(operator)
        if not known and operator.startswith(_TORCHS_OWN):
            raise TypeError(f"torch has no operator {operator!r}: name one as failures list it, for example 'aten::mm'")
        return operator, known
    raise TypeError(f"{operator!r} is no operator: pass torch.ops.<library>.<name>, or the string '<library>::<name>'")


def _overloads(name: str) -> list[OpOverload]:
    """The overloads that exist of `library::name` or `library::name.overload`; none before its import."""
    namespace, _, rest = name.partition("::")
    packet_name, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), packet_name, None)
    if not isinstance(packet, OpOverloadPacket):
        return []
    return [each for each in overloads(packet) if overload in ("", each._overloadname)]


def _checked(function: CostFunction, name: str) -> CostFunction:
    """The user's function, with its result looked at: a wrong one is an error that names the operator."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = repr(function) if code is None else f"{function.__name__}() at {code.co_filename}:{code.co_firstlineno}"

    def checked(**values: object) -> Cost:
        __tracebackhide__ = True
        try:
            cost: object = function(**values)
        except Exception as error:
            raise RuntimeError(f"the cost registered for {name} raised {error!r}: mend {place}") from error
        if not isinstance(cost, Cost):
            raise TypeError(f"the cost registered for {name} returned {cost!r}: return Cost(macs=…) from {place}")
        if not all(isinstance(figure, int) and figure >= 0 for figure in cost):
            raise ValueError(
                f"the cost registered for {name} returned {cost!r}: return whole numbers from 0 up from {place}"
            )
        return cost

    # `bind` reads the parameters from here.
    checked.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return checked
