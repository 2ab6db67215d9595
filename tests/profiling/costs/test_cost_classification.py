"""All of ATen is classified; a new torch release shows here what is new."""

from __future__ import annotations

from collections import Counter, defaultdict
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch

from pytest_modelbudget.profiling.costs import Kind, lookup, registry
from pytest_modelbudget.profiling.costs.formula import bind, key, packet_key

if TYPE_CHECKING:
    from torch._ops import OpOverload

COMPOSITE = "composite"


def operators() -> list[OpOverload]:
    """Every operator overload that is registered in the installed torch."""
    found = []
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        qualified, _, overload = name.partition(".")
        namespace, _, packet = qualified.partition("::")
        found.append(getattr(getattr(getattr(torch.ops, namespace), packet), overload or "default"))
    return found


def classification(op: OpOverload) -> str:
    kind = lookup(op).kind
    if kind is Kind.UNKNOWN and op.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
        return COMPOSITE  # consists of others, which the recorder sees
    return kind.value


@pytest.fixture(scope="module")
def classified() -> dict[str, dict[str, list[OpOverload]]]:
    """Namespace -> classification -> operators."""
    table: dict[str, dict[str, list[OpOverload]]] = defaultdict(lambda: defaultdict(list))
    for op in operators():
        table[op.namespace][classification(op)].append(op)
    return table


def test_every_core_operator_is_classified():
    core = [op for op in operators() if torch.Tag.core in op.tags]
    assert len(core) > 150
    assert [str(op) for op in core if classification(op) == Kind.UNKNOWN.value] == []


def test_nearly_all_of_aten_is_classified(classified, capsys):
    by_packet: dict[str, set[str]] = defaultdict(set)
    for kind, ops in classified["aten"].items():
        for op in ops:
            if not op._schema.name.startswith(("aten::_test_", "aten::_foobar")):  # torch tests itself with these
                by_packet[op._schema.name].add(kind)
    unknown = sorted(name for name, kinds in by_packet.items() if Kind.UNKNOWN.value in kinds)
    composite = [name for name, kinds in by_packet.items() if kinds == {COMPOSITE}]
    computing = [name for name, kinds in by_packet.items() if not kinds <= {COMPOSITE, Kind.FREE.value}]
    share = 1 - len(unknown) / len(computing)
    with capsys.disabled():
        print(f"\ntorch {torch.__version__}: {len(by_packet)} aten operators, {len(composite)} of them composite;")
        print(
            f"{share:.2%} of the {len(computing)} that compute are classified, unknown: {', '.join(unknown) or 'none'}"
        )
        for namespace, kinds in sorted(classified.items()):
            print(f"  {namespace:28}", dict(sorted(Counter({kind: len(ops) for kind, ops in kinds.items()}).items())))
    assert share >= 0.95


def test_every_formula_fits_the_operators_that_it_is_for():
    for op in operators():
        name = packet_key(op)
        for candidate in (key(op), name, name.removesuffix("_")):
            if candidate in registry._OWN:
                bind(registry._OWN[candidate], op)
                break


def test_no_operator_stands_in_two_families():
    families = [
        module for module in vars(registry).values() if isinstance(module, ModuleType) and hasattr(module, "TABLE")
    ]
    entries = Counter(name for family in families for name in family.TABLE)
    assert [name for name, count in entries.items() if count > 1] == []
    assert set(entries) == set(registry._OWN)
