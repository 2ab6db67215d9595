"""Who may say what an operator costs, and how: names, order, errors."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from pytest_modelbudget.profiling.costs import Cost, Kind, lookup, register_cost, registry, repeated, total


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    """Each test starts with a catalogue in which nobody has registered anything."""
    catalogue = registry.Catalogue()
    monkeypatch.setattr(registry, "_catalogue", catalogue)
    token = registry._registering_into.set(catalogue.registered)
    yield
    registry._registering_into.reset(token)


@pytest.fixture
def mylib():
    library = torch.library.Library("mylib", "FRAGMENT")
    library.define("scan(Tensor x, Tensor weight, int steps=3) -> Tensor")
    library.define("scan.two(Tensor x, Tensor weight) -> Tensor")
    library.define("window(Tensor(a) x, int at) -> Tensor(a)")
    library.define("shuffle(Tensor x) -> Tensor")
    library.define("write(Tensor(a!) x) -> Tensor(a!)")
    yield torch.ops.mylib
    library._destroy()


x, weight = torch.ones(2, 3), torch.ones(3, 5)


def cost(op, *args, output=None, **kwargs):
    return lookup(op).cost(args, kwargs, output)


def test_a_cost_takes_the_arguments_it_names(mylib):
    @register_cost(mylib.scan)
    def scan(weight, x):
        return Cost(macs=x.numel() * weight.shape[1])

    assert cost(mylib.scan.default, x, weight) == Cost(macs=30)
    assert cost(mylib.scan.default, x, weight=weight) == Cost(macs=30)
    assert lookup(mylib.scan.default).kind is Kind.CONTRACTION


def test_an_argument_that_the_call_leaves_out_has_the_default_of_the_operator(mylib):
    @register_cost(mylib.scan.default)
    def scan(steps):
        return Cost(elementwise=steps)

    assert cost(mylib.scan.default, x, weight) == Cost(elementwise=3)
    assert cost(mylib.scan.default, x, weight, 4) == Cost(elementwise=4)


def test_a_cost_may_ask_for_the_output(mylib):
    @register_cost(mylib.scan)
    def scan(*, output):
        return Cost(activations=output.numel())

    assert cost(mylib.scan.default, x, weight, output=torch.ones(7)) == Cost(activations=7)


def test_a_packet_stands_for_all_overloads_and_an_overload_for_itself(mylib):
    register_cost(mylib.scan)(lambda x: Cost(macs=1))
    assert cost(mylib.scan.two, x, weight) == Cost(macs=1)
    register_cost(mylib.scan.two)(lambda x: Cost(macs=2))
    assert cost(mylib.scan.two, x, weight) == Cost(macs=2)
    assert cost(mylib.scan.default, x, weight) == Cost(macs=1)


def test_a_library_may_be_named_before_it_is_imported():
    register_cost("laterlib::scan")(lambda x: Cost(macs=x.numel()))
    library = torch.library.Library("laterlib", "FRAGMENT")
    library.define("scan(Tensor x) -> Tensor")
    try:
        assert cost(torch.ops.laterlib.scan.default, x) == Cost(macs=6)
    finally:
        library._destroy()


def test_what_custom_op_returns_may_be_registered():
    @torch.library.custom_op("mylib::custom", mutates_args=())
    def custom(x: torch.Tensor, times: int) -> torch.Tensor:
        return x.clone()

    register_cost(custom)(lambda x, times: Cost(macs=x.numel() * times))
    assert cost(torch.ops.mylib.custom.default, x, 3) == Cost(macs=18)


def test_registering_again_replaces_also_what_was_looked_up_before(mylib):
    assert lookup(mylib.scan.default).kind is Kind.UNKNOWN
    register_cost(mylib.scan)(lambda x: Cost(macs=1))
    assert cost(mylib.scan.default, x, weight) == Cost(macs=1)
    register_cost(mylib.scan)(lambda x: Cost(macs=2))
    assert cost(mylib.scan.default, x, weight) == Cost(macs=2)


def test_a_user_may_overrule_our_own_figures():
    register_cost(torch.ops.aten.mm)(lambda self: Cost(macs=1))
    assert cost(torch.ops.aten.mm.default, x, weight) == Cost(macs=1)


def test_an_unknown_argument_is_an_error_that_names_the_known_ones(mylib):
    with pytest.raises(TypeError, match=r"mylib::scan.default has no argument 'y': .* x, weight, steps, or `output`"):
        register_cost(mylib.scan)(lambda y: Cost())


@pytest.mark.parametrize("operator", [torch.mm, "scan", "mylib::", 3])
def test_what_is_no_operator_is_an_error_that_says_what_is(operator):
    with pytest.raises(TypeError, match=r"is no operator: pass torch.ops"):
        register_cost(operator)


def test_a_function_that_raises_is_named_with_its_operator(mylib):
    @register_cost("mylib::scan")
    def broken(x):
        return Cost(macs=x.shape[7])

    with pytest.raises(RuntimeError, match=r"the cost registered for mylib::scan raised IndexError.*: mend .*broken"):
        cost(mylib.scan.default, x, weight)


@pytest.mark.parametrize("name", ["aten::matmull", "aten::mm.nope", "quantized::nope"])
def test_an_operator_that_torch_does_not_have_is_refused(name):
    with pytest.raises(TypeError, match=f"torch has no operator '{name}': name one as failures list it"):
        register_cost(name)


@pytest.mark.parametrize(
    ("result", "error"), [(30, TypeError), ((1, 2), TypeError), (Cost(macs=1.5), ValueError), (Cost(-1), ValueError)]
)
def test_a_cost_that_is_none_is_an_error_that_names_the_operator(mylib, result, error):
    register_cost(mylib.scan)(lambda x: result)
    with pytest.raises(error, match=r"the cost registered for mylib::scan returned .*: return"):
        cost(mylib.scan.default, x, weight)


def test_pytorchs_own_formulas_are_honoured_also_later_ones(mylib):
    assert lookup(mylib.scan.default).kind is Kind.UNKNOWN

    @register_flop_formula(mylib.scan)
    def scan(x_shape, weight_shape, *args, out_shape=None, **kwargs):
        return 2 * x_shape[0] * weight_shape[1]

    try:
        assert cost(mylib.scan.default, x, weight) == Cost(macs=10)
    finally:
        del flop_registry[mylib.scan]


def test_a_registered_cost_outranks_pytorchs(mylib):
    register_flop_formula(mylib.scan)(lambda *args, out_shape=None: 20)
    register_cost(mylib.scan)(lambda x: Cost(macs=1))
    try:
        assert cost(mylib.scan.default, x, weight) == Cost(macs=1)
    finally:
        del flop_registry[mylib.scan]


class TestEntryPoints:
    @pytest.fixture
    def ship(self, monkeypatch):
        """Pretend that an installed package ships costs."""

        def ship(load):
            monkeypatch.setattr(EntryPoint, "load", lambda self: load)
            monkeypatch.setattr(
                registry, "entry_points", lambda group: [EntryPoint("mylib", "mylib.costs:register", group)]
            )
            registry._load_packages.cache_clear()

        yield ship
        registry._load_packages.cache_clear()

    def test_packages_ship_costs(self, mylib, ship, monkeypatch):
        ship(lambda: register_cost("mylib::scan")(lambda x: Cost(macs=7)))
        assert cost(mylib.scan.default, x, weight) == Cost(macs=7)

    def test_what_they_ship_ranks_below_what_the_user_registers(self, mylib, ship):
        ship(lambda: register_cost("mylib::scan")(lambda x: Cost(macs=7)))
        register_cost(mylib.scan)(lambda x: Cost(macs=1))
        assert cost(mylib.scan.default, x, weight) == Cost(macs=1)
        lookup(mylib.shuffle.default)
        assert cost(mylib.scan.default, x, weight) == Cost(macs=1)

    def test_a_package_that_fails_is_a_warning(self, mylib, ship):
        def fail():
            raise RuntimeError("no such device")

        ship(fail)
        with pytest.warns(RuntimeWarning, match="mylib.costs:register could not be loaded .*no such device"):
            assert lookup(mylib.scan.default).kind is Kind.UNKNOWN


class TestUnknownOperators:
    def test_a_custom_operator_is_free_only_if_its_schema_proves_it_a_view(self, mylib):
        assert lookup(mylib.window.default).kind is Kind.FREE
        assert lookup(mylib.shuffle.default).kind is Kind.UNKNOWN
        assert lookup(mylib.write.default).kind is Kind.UNKNOWN

    def test_a_renamed_argument_makes_an_operator_unknown_not_the_caller_crash(self, mylib, monkeypatch):
        formula = registry._OWN["aten::mm"]
        monkeypatch.setattr(registry, "_OWN", {"mylib::shuffle": formula})
        assert lookup(mylib.shuffle.default).kind is Kind.UNKNOWN


def test_costs_add_up_figure_by_figure():
    assert total([Cost(1, 2, 3, 4), Cost(macs=10)]) == Cost(11, 2, 3, 4)
    assert total([]) == Cost()
    assert repeated(Cost(1, 2, 3, 4), 3) == Cost(3, 6, 9, 12)
