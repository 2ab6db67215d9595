"""Models that do what no textbook does, each the reduced form of something that exists, in every way of measuring.

A Linear(4, 8) has 40 parameters and 32 MACs a sample; the inputs have two.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget.profiling.run import profile
from tests.profiling.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator


class Base(nn.Module):
    """40 parameters, 64 MACs for two samples."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


# -- what comes out ------------------------------------------------------------------------------------------------


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class ReturnsDataclass(Base):
    def forward(self, x: Tensor) -> Output:
        return Output(self.linear(x))


class ReturnsNothing(Base):
    def forward(self, x: Tensor) -> None:
        self.linear(x)


class ReturnsText(Base):
    def forward(self, x: Tensor) -> str:
        return str(tuple(self.linear(x).shape))


class ReturnsScalar(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).sum()


class ReturnsItself(Base):
    def forward(self, x: Tensor) -> ReturnsItself:
        self.linear(x)
        return self


class ReturnsStructureThatContainsItself(Base):
    def forward(self, x: Tensor) -> list[Any]:
        found: list[Any] = [self.linear(x)]
        found.append(found)
        return found


class ReturnsItsInput(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.linear(x)
        return x


# -- what it does to itself ------------------------------------------------------------------------------------------


class AddsModule(Base):
    """Its parameters are those that it has when it is looked at: after the call if observed, before if run for us."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.late = nn.Linear(4, 8)
        return self.late(x)


class ReplacesModule(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.linear = nn.Linear(4, 8)
        return self.linear(x)


class SwapsModules(Base):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.linear, self.other = self.other, self.linear
        return self.linear(self.other(x)) if isinstance(self.linear, nn.Identity) else self.other(self.linear(x))


class DeletesModule(Base):
    def __init__(self) -> None:
        super().__init__()
        self.once = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "once"):
            x = self.once(x)
            del self.once
        return self.linear(x)


class BuildsModule(Base):
    """As hypernetworks do: what is built on the way belongs to nobody, its work is that of the model."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear(4, 8)(x)


class RegistersHooks(Base):
    """One more with every call."""

    def forward(self, x: Tensor) -> Tensor:
        self.linear.register_forward_hook(lambda module, args, output: output * 2)
        return self.linear(x)


class RegistersBuffers(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.register_buffer(f"seen_{len(self._buffers)}", x.detach().clone())
        return self.linear(x)


class RemakesItsWeights(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.linear.weight = nn.Parameter(self.linear.weight / self.linear.weight.norm())
        return self.linear(x)


# -- how it is put together --------------------------------------------------------------------------------------------


class ContainsItself(Base):
    """Torch itself can neither move it nor call its `eval`."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self


class IsKnownToItsParts(Base):
    def __init__(self) -> None:
        super().__init__()
        self.linear.parent = self


class IsNestedDeeply(Base):
    def __init__(self) -> None:
        super().__init__()
        inner: nn.Module = self.linear
        for _ in range(100):
            inner = nn.Sequential(inner)
        self.linear = inner  # type: ignore[assignment]


class HasOddNames(Base):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Identity() for name in ("a|b", "<i>", "[0-9]*", "two\nlines", "été 🙂")})

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts.values():
            x = part(x)
        return self.linear(x)


class IsScriptedInPart(Base):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.jit.script(self.linear)


# -- what Python lets it do --------------------------------------------------------------------------------------------


class HasSlots(Base):
    __slots__ = ("width",)

    def __init__(self) -> None:
        super().__init__()
        self.width = 8


class CallsForwardItself(Base):
    """No hook fires for it."""

    def __call__(self, x: Tensor) -> Any:
        return self.forward(x)


class CallsSuper(Base):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class HasForwardAsAttribute(Base):
    """As accelerate and many a monkey patch leave it."""

    def __init__(self) -> None:
        super().__init__()
        original = self.forward
        self.forward = lambda *args: original(*args)  # type: ignore[method-assign]


class DelegatesAttributes(Base):
    """As wrappers do that want to look like what they wrap."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.linear, name)


class HasEveryAttribute(Base):
    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return lambda *args, **kwargs: name


class RaisesForAttributes(Base):
    @property
    def dummy_inputs(self) -> Any:
        raise ValueError("no")

    @property
    def device(self) -> Any:
        raise ValueError("no")


class IsFalse(Base):
    def __len__(self) -> int:
        return 0


class HasNoTruth(Base):
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


class IsEqualToAll(Base):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = nn.Module.__hash__


class ComparesAsTensor(Base):
    def __eq__(self, other: object) -> Any:
        return torch.tensor([True, False])

    __hash__ = nn.Module.__hash__


class Registered(type):
    """A metaclass that keeps one instance of each class."""

    kept: dict[type, Any] = {}  # noqa: RUF012

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls not in cls.kept:
            cls.kept[cls] = super().__call__(*args, **kwargs)
        return cls.kept[cls]

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class HasMetaclass(Base, metaclass=Registered):
    pass


class LiesAboutItsClass(Base):
    @property
    def __class__(self) -> Any:
        return dict


class HidesItsParts(Base):
    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[Any]:  # type: ignore[override]
        return iter(())

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        return iter(())

    def modules(self) -> Iterator[Any]:
        return iter(())


class Prints(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        for _ in range(200):
            print(self, tuple(x.shape), x.dtype)
        return x


class CannotBePrinted(Base):
    def __repr__(self) -> str:
        raise RuntimeError("not yet")


class RunsAnEventLoop(Base):
    def forward(self, x: Tensor) -> Tensor:
        async def step() -> Tensor:
            await asyncio.sleep(0)
            return self.linear(x)

        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(step())
        finally:
            loop.close()


class CatchesItsErrors(Base):
    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.linear(x.T)  # 4 x 2: does not fit
        except RuntimeError:
            return self.linear(x)


# -- what goes in, and what it is made of ----------------------------------------------------------------------


class ReadsText(Base):
    def forward(self, text: list[str]) -> Tensor:
        return self.linear(torch.tensor([[float(ord(letter)) for letter in word] for word in text]))


class TakesNothing(Base):
    def forward(self) -> Tensor:
        return self.linear(torch.ones(2, 4))


class HasNoParameters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.ones(4, 8)


class MakesNaN(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x / 0 * 0).log()


class HasIntegersOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.ones(4, 8, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table


class ThinksInBooleans(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.float() @ torch.ones(4, 8)).bool() & torch.tensor(True)


class StoresFloat8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 4).to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype))


class ComputesInFloat8(nn.Module):
    """`_scaled_mm` wants multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32, 16).to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        one = torch.ones((), device=x.device)
        return torch._scaled_mm(x.to(torch.float8_e4m3fn), self.weight.t(), one, one, out_dtype=torch.float32)


class TakesKeywordsOnly(Base):
    def forward(self, *, x: Tensor) -> Tensor:
        return self.linear(x)


class WeighsInComplex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 8, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.weight.dtype) @ self.weight


try:
    ComputesInFloat8()(torch.ones(2, 16))
except NotImplementedError:  # before torch 2.7
    del ComputesInFloat8

X = (torch.ones(2, 4),)
# name: its inputs, its parameters, its MACs
MODELS: dict[type[nn.Module], tuple[Any, int, int]] = {
    kind: (X, 40, 64)
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Base) and kind is not Base
}
MODELS.update(
    {
        AddsModule: (X, 80, 64),
        ReadsText: ((["four", "word"],), 40, 64),
        TakesNothing: ((), 40, 64),
        TakesKeywordsOnly: ({"x": X[0]}, 40, 64),
        HasNoParameters: (X, 0, 64),
        HasIntegersOnly: ((torch.ones(2, 4, dtype=torch.long),), 0, 64),
        ThinksInBooleans: ((torch.ones(2, 4, dtype=torch.bool),), 0, 64),
        StoresFloat8: (X, 32, 64),
        WeighsInComplex: (X, 32, 4 * 64),
    }
)
if "ComputesInFloat8" in globals():
    MODELS[ComputesInFloat8] = (torch.ones(2, 16),), 512, 2 * 16 * 32


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((), inputs) if isinstance(inputs, dict) else (inputs, {})


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_observed(kind: type[nn.Module], grad: bool, watch: Any) -> None:
    inputs, params, macs = MODELS[kind]
    args, kwargs = arguments(inputs)
    model = kind()
    with torch.set_grad_enabled(grad):
        watch(lambda: model(*args, **kwargs))
    figures = watch.profile(model)
    assert (figures.macs, figures.uncounted) == (macs, {})
    assert figures.params == params


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_run_by_the_profiler(kind: type[nn.Module], device: str) -> None:
    inputs, params, macs = MODELS[kind]
    args, kwargs = arguments(inputs)
    model = kind()
    before = None if kind is HidesItsParts else snapshot(model)
    figures = profile(model, args, kwargs, device=device)
    assert (figures.macs, figures.uncounted) == (macs, {})
    if kind is not AddsModule:
        assert figures.params == params
    assert before is None or snapshot(model) == before


class ChangesTheProcess(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        return x


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_a_model_sets_for_the_process_is_as_before(device: str) -> None:
    model = ChangesTheProcess()
    before, threads = snapshot(model), torch.get_num_threads()
    assert profile(model, X, device=device).macs == 64
    assert (snapshot(model), torch.get_num_threads()) == (before, threads)
    assert torch.get_default_device() == torch.device("cpu")


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("make", [torch.jit.script, lambda layer: torch.jit.trace(layer, X)], ids=["script", "trace"])
def test_gradients_of_a_scripted_part_do_not_arrive_at_it(make: Any, device: str) -> None:
    model = Base()
    model.linear = make(model.linear)
    figures = profile(model, X, device=device, backward=True)
    assert (figures.macs, figures.backward_flops, figures.trainable_params) == (64, 2 * 64, 40)
    assert [parameter.grad for parameter in model.parameters()] == [None, None]


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_backward_pass_of_a_complex_output_starts_from_its_real_part(device: str) -> None:
    figures = profile(WeighsInComplex(), X, device=device, backward=True)
    # The gradient of the weights alone, as many complex products as the forward; two FLOPs a MAC.
    assert (figures.macs, figures.backward_flops) == (4 * 64, 2 * 4 * 64)


def test_a_hook_that_calls_the_model_again(watch: Any) -> None:
    model = Base()
    rows = []

    def call_again(module: nn.Module, *_: Any) -> None:
        if rows:
            module(rows.pop())

    # What the forward hooks of a module do belongs to the call that they follow.
    handle = model.register_forward_hook(call_again)
    rows.append(torch.ones(1, 4))
    watch(model, *X)
    assert [(figures.macs, count) for figures, count in watch.profiles(model)] == [(96, 1)]
    for device in ("meta", "cpu"):
        rows.append(torch.ones(1, 4))
        assert profile(model, X, device=device).macs == 64 + 32
    handle.remove()
    # Those of its parts run within it.
    model.linear.register_forward_hook(call_again)
    for device in ("meta", "cpu"):
        rows.append(torch.ones(1, 4))
        figures = profile(model, X, device=device)
        assert (figures.macs, figures.modules["linear"].macs, figures.modules["linear"].calls) == (96, 96, 2)


def test_a_model_that_calls_itself(watch: Any) -> None:
    class Recursive(Base):
        def forward(self, x: Tensor) -> Tensor:
            return self(x[1:]) if len(x) > 1 else self.linear(x)

    model = Recursive()
    watch(model, torch.ones(5, 4))
    for figures in (
        watch.profile(model),
        profile(model, torch.ones(5, 4)),
        profile(model, torch.ones(5, 4), device="cpu"),
    ):
        assert (figures.macs, figures.modules[""].calls, figures.batch) == (32, 5, 5)


def test_what_a_model_does_before_it_raises_was_done(watch: Any) -> None:
    class Raises(Base):
        def forward(self, x: Tensor) -> Tensor:
            self.linear(x)
            raise ArithmeticError("late")

    model = Raises()
    with pytest.raises(ArithmeticError, match="late"):
        watch(model, *X)
    assert watch.profile(model).macs == 64
    for device in ("meta", "cpu"):
        with pytest.raises(ArithmeticError, match="late"):
            profile(model, X, device=device)


class Yields(Base):
    def forward(self, x: Tensor) -> Iterator[Tensor]:
        yield self.linear(x)
        yield self.linear(x[:1])


def test_what_a_generator_does_when_it_is_asked_is_counted(watch: Any) -> None:
    model = Yields()
    watch(lambda: list(model(*X)))
    profiles = watch.profiles(model)
    assert sum(found.macs * count for found, count in profiles) == 64 + 32


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_generator_that_the_profiler_gets_is_run_to_its_end(device: str) -> None:
    assert profile(Yields(), X, device=device).macs == 64 + 32


class Threads(Base):
    """As DataParallel on several devices, and as models that overlap loading and computing."""

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        thread = threading.Thread(target=lambda: found.append(self.linear(x)))
        thread.start()
        thread.join()
        return found[0]


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_work_in_threads_of_a_model_is_never_a_silent_zero(device: str) -> None:
    with pytest.raises(RuntimeError, match="in another thread, where operators cannot be seen"):
        profile(Threads(), X, device=device)


def test_work_in_threads_is_known_to_be_unseen(watch: Any) -> None:
    model = Threads()
    watch(model, *X)
    assert watch.observation.ran_unseen(watch.observation.look_at(model))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_an_empty_batch_is_no_work(device: str, watch: Any) -> None:
    model = Base()
    watch(model, torch.ones(0, 4))
    for figures in (watch.profile(model), profile(model, torch.ones(0, 4), device=device)):
        assert (figures.macs, figures.batch, figures.params) == (0, 0, 40)


@pytest.mark.parametrize("thing", [lambda x: x, nn.functional.relu, Base, "model", None, Base().forward, object()])
def test_what_is_no_module_is_refused_by_name(thing: Any) -> None:
    with pytest.raises(
        TypeError, match=r"profile\(\) takes an nn.Module, not (function|builtin|type|str|None|method|obj)"
    ):
        profile(thing, X)


def test_a_model_that_looks_at_its_own_figures_while_it_is_profiled() -> None:
    class Curious(Base):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = profile(self.linear, x).macs
            return self.linear(x)

    model = Curious()
    assert profile(model, X, device="cpu").macs == 64
    assert profile(model, X).macs == 64
