"""Work is booked to the module it belongs to, in every way in which PyTorch can run a module.

`Small` on a batch of 3 takes 3 x 4 x 8 + 3 x 8 x 2 = 144 MACs; its backward pass takes the gradient of both weights
and of the input of the second layer: 96 + 48 + 48 = 192 MACs.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pytest_modelbudget.profiling.observation import Observation
from pytest_modelbudget.profiling.run import profile

MACS, BACKWARD_MACS = 144, 192


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.fixture
def small() -> Small:
    return Small()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4)


def run_plain(model: nn.Module, x: Tensor) -> Any:
    return model(x)


def run_without_grad(model: nn.Module, x: Tensor) -> Any:
    with torch.no_grad():
        return model(x)


def run_in_inference_mode(model: nn.Module, x: Tensor) -> Any:
    with torch.inference_mode():
        return model(x)


def run_in_eval(model: nn.Module, x: Tensor) -> Any:
    return model.eval()(x)


def run_scripted(model: nn.Module, x: Tensor) -> Any:
    return torch.jit.script(model)(x)


def run_exported(model: nn.Module, x: Tensor) -> Any:
    return torch.export.export(model, (x,)).module()(x)


def run_compiled(model: nn.Module, x: Tensor) -> Any:
    return torch.compile(model, backend="eager", fullgraph=True)(x)


def run_compiled_in_place(model: nn.Module, x: Tensor) -> Any:
    model.compile(backend="eager")
    return model(x)


def run_symbolically_traced(model: nn.Module, x: Tensor) -> Any:
    return torch.fx.symbolic_trace(model)(x)


def run_under_autocast(model: nn.Module, x: Tensor) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(x)


def run_in_data_parallel(model: nn.Module, x: Tensor) -> Any:
    return nn.DataParallel(model)(x)


def run_functionally(model: nn.Module, x: Tensor) -> Any:
    return torch.func.functional_call(model, dict(model.named_parameters()), (x,))


def run_vmapped(model: nn.Module, x: Tensor) -> Any:
    return torch.vmap(model)(x)


def run_checkpointed(model: nn.Module, x: Tensor) -> Any:
    return checkpoint(model, x, use_reentrant=False)


RUNS = [
    run_plain,
    run_without_grad,
    run_in_inference_mode,
    run_in_eval,
    run_compiled,
    run_compiled_in_place,
    run_under_autocast,
    run_in_data_parallel,
    run_functionally,
    run_vmapped,
    run_checkpointed,
]


@pytest.mark.parametrize("run", RUNS)
def test_however_a_model_runs_its_macs_are_the_same(run: Any, watch: Any, small: Small, x: Tensor) -> None:
    watch(run, small, x)
    profile = watch.profile(small)
    assert (profile.macs, profile.flops) == (MACS, 2 * MACS)
    assert (profile.modules["first"].macs, profile.modules["second"].macs) == (96, 48)
    assert profile.uncounted == {}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(torch.jit.script, id="scripted"),
        pytest.param(lambda model: torch.jit.trace(model, torch.randn(3, 4)), id="traced"),
        pytest.param(lambda model: torch.export.export(model, (torch.randn(3, 4),)).module(), id="exported"),
        pytest.param(torch.fx.symbolic_trace, id="symbolically traced"),
    ],
)
def test_a_converted_model_has_the_macs_of_the_model(convert: Any, watch: Any, small: Small, x: Tensor) -> None:
    converted = convert(small)
    watch(converted, x)
    assert watch.profile(converted).macs == MACS


@pytest.mark.usefixtures("strict_export")
def test_making_a_graph_of_a_model_is_no_work_of_it(watch: Any, small: Small, x: Tensor) -> None:
    def convert_and_run() -> None:
        torch.export.export(small, (x,))
        small(x)

    watch(convert_and_run)
    assert watch.profile(small).macs == MACS


def test_the_root_is_the_sum_of_its_parts(watch: Any, small: Small, x: Tensor) -> None:
    watch(small, x)
    modules = watch.profile(small).modules
    assert modules[""].macs == modules["first"].macs + modules["second"].macs
    assert modules[""].elementwise_flops == 3 * 8  # the relu, which stands in no module of its own


def test_backward_work_belongs_to_the_module_whose_forward_made_it(watch: Any, small: Small, x: Tensor) -> None:
    watch(lambda: small(x).sum().backward())
    profile = watch.profile(small)
    assert profile.macs == MACS
    assert profile.backward_flops == 2 * BACKWARD_MACS
    assert profile.modules["first"].backward_flops == 2 * 96  # of the weight; the input needs no gradient
    assert profile.modules["second"].backward_flops == 2 * (48 + 48)
    assert profile.training_flops == 2 * (MACS + BACKWARD_MACS)


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_of_a_checkpoint_is_backward_work_of_its_modules(
    reentrant: bool, watch: Any, small: Small, x: Tensor
) -> None:
    x.requires_grad_()
    watch(lambda: checkpoint(small, x, use_reentrant=reentrant).sum().backward())
    profiles = watch.profiles(small)
    assert [(profile.macs, count) for profile, count in profiles] == [(MACS, 1)]
    # The input needs a gradient here: 2 x 144 for the gradients, and the recomputation of what they need. Only the
    # reentrant kind runs the whole of the forward again; the other stops at the last tensor that was saved.
    recomputed = {True: 144, False: 96}[reentrant]
    assert profiles[0][0].backward_flops == 2 * (2 * 144 + recomputed)


def test_gradients_of_gradients_are_backward_work(watch: Any) -> None:
    linear = nn.Linear(4, 8)
    x = torch.randn(3, 4, requires_grad=True)

    def penalty() -> None:
        (gradient,) = torch.autograd.grad(linear(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()

    watch(penalty)
    profile = watch.profile(linear)
    assert profile.macs == 96
    # First pass: the input's gradient (96). Second pass: through the product that made it, both operands (2 x 96),
    # then from there through the forward product to weight and input (2 x 96).
    assert profile.backward_flops == 2 * (96 + 2 * 96 + 2 * 96)


def test_equal_calls_are_kept_once_and_counted(watch: Any, small: Small, x: Tensor) -> None:
    watch(lambda: [small(x) for _ in range(5)])
    ((profile, count),) = watch.profiles(small)
    assert (profile.macs, count) == (MACS, 5)


def test_calls_of_different_size_are_kept_apart(watch: Any, small: Small, x: Tensor) -> None:
    watch(lambda: (small(x), small(x[:1]), small(x)))
    assert [(profile.macs, profile.batch, count) for profile, count in watch.profiles(small)] == [
        (MACS, 3, 2),
        (MACS // 3, 1, 1),
    ]


def test_parts_called_one_by_one_are_one_further_call(watch: Any, small: Small, x: Tensor) -> None:
    watch(lambda: (small(x), small.second(torch.relu(small.first(x)))))
    assert [profile.macs for profile, _ in watch.profiles(small)] == [MACS, MACS]


def test_a_shared_module_is_booked_to_the_path_by_which_it_is_called(watch: Any) -> None:
    class Block(nn.Module):
        def __init__(self, shared: nn.Module) -> None:
            super().__init__()
            self.shared = shared

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(x)

    linear = nn.Linear(4, 4)
    model = nn.Sequential(Block(linear), Block(linear), Block(linear))
    watch(model, torch.randn(2, 4))
    profile = watch.profile(model)
    assert profile.params == 4 * 4 + 4
    assert [profile.modules[f"{index}.shared"].macs for index in range(3)] == [32, 32, 32]
    assert profile.macs == 3 * 32


def test_a_layer_that_is_used_again_counts_each_time(watch: Any) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(4):
                x = self.layers[0](x)
            return x

    model = Loop()
    watch(model, torch.randn(2, 4))
    assert watch.profile(model).macs == 4 * 32
    assert watch.profile(model).modules["layers.0"].calls == 4


def test_work_in_methods_is_work_of_their_module(watch: Any, small: Small, x: Tensor) -> None:
    def score(self: Small, x: Tensor) -> Tensor:
        return self.first(x) @ self.second.weight.T

    Scoring = type("Scoring", (Small,), {"score": score})
    model = Scoring()
    watch(model.score, x)
    assert watch.profile(model).macs == 3 * 4 * 8 + 3 * 8 * 2


def test_the_first_argument_of_a_method_need_not_be_called_self(watch: Any, small: Small, x: Tensor) -> None:
    def score(s: Small, x: Tensor) -> Tensor:
        return s.first(x) @ s.second.weight.T

    model = type("Scoring", (Small,), {"score": score})()
    watch(model.score, x)
    assert watch.profile(model).macs == MACS


def test_a_function_of_a_model_is_no_method_of_it(watch: Any, small: Small, x: Tensor) -> None:
    def reference(model: Small, x: Tensor) -> Tensor:
        return x @ model.first.weight.T

    watch(lambda: (small(x), reference(small, x)))
    assert watch.profile(small).macs == MACS


def test_calling_forward_itself_is_work_of_the_module(watch: Any, small: Small, x: Tensor) -> None:
    watch(small.forward, x)
    assert watch.profile(small).macs == MACS


def test_what_a_generator_does_later_is_work_of_its_module(watch: Any) -> None:
    class Chunks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Any:
            for row in x:
                yield self.linear(row) @ torch.ones(8, 2)

    model = Chunks()
    watch(lambda: list(model(torch.randn(3, 4))))
    assert sum(profile.macs * count for profile, count in watch.profiles(model)) == 3 * (32 + 16)


class Stop(BaseException):
    """Exit hooks do not run for it."""


def test_a_call_that_is_cut_short_takes_no_later_work(watch: Any, small: Small, x: Tensor) -> None:
    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.linear(x)
            raise Stop

    cut = Interrupted()

    def both() -> None:
        with pytest.raises(Stop):
            cut(x)
        small(x)
        x @ x.T

    watch(both)
    assert watch.profile(cut).macs == 3 * 4 * 4
    assert watch.profile(small).macs == MACS
    assert watch.observation.has_stray_contractions()


def test_a_call_that_raises_takes_no_later_work(watch: Any, small: Small, x: Tensor) -> None:
    def both() -> None:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            small(torch.randn(3, 5))
        small(x)

    watch(both)
    assert [profile.macs for profile, _ in watch.profiles(small)] == [0, MACS]


def test_initialising_weights_is_no_work_of_the_model(watch: Any) -> None:
    model = watch(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    assert watch.profiles(model)[0][0].macs is None  # not called


def test_a_call_in_another_thread_is_known_to_be_unseen(watch: Any, small: Small, x: Tensor) -> None:
    def elsewhere() -> None:
        thread = threading.Thread(target=small, args=(x,))
        thread.start()
        thread.join()

    watch(elsewhere)
    number = watch.observation.look_at(small)
    assert watch.observation.ran_unseen(number)


def test_a_model_that_contains_itself_comes_to_an_end(watch: Any, small: Small, x: Tensor) -> None:
    small.first.parent = small
    watch(small, x)
    assert watch.profile(small).macs == MACS


def test_an_observation_leaves_no_hook_behind(watch: Any, small: Small, x: Tensor) -> None:
    module = torch.nn.modules.module
    with pytest.raises(RuntimeError):
        watch(small, torch.randn(3, 5))
    kinds = ("forward_pre_hooks", "forward_hooks", "forward_hooks_with_kwargs", "forward_hooks_always_called")
    assert not any(getattr(module, f"_global_{kind}") for kind in kinds)


def test_locals_of_the_observed_code_are_not_kept_alive(watch: Any) -> None:
    class Keeper(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            doubled = x * 2
            self.alive = torch._C._storage_Use_Count(doubled.untyped_storage()._cdata)
            x @ x.T  # an operator outside module calls: the stack is searched for methods
            del doubled
            return x

    import weakref

    def free(model: Keeper) -> bool:
        x = torch.randn(2, 2)
        reference = weakref.ref(x)
        model.forward(x)
        del x
        return reference() is None

    assert watch(free, Keeper())


# -- forward hooks --------------------------------------------------------------------------------------------------

HOOK_MACS = 3 * 2 * 5  # batch x outputs of the model x outputs of the hook's layer


def add_head(module: nn.Module) -> nn.Linear:
    """A forward hook that puts a head of its own behind `module`, whose width is 2."""
    head = nn.Linear(2, 5)
    module.register_forward_hook(lambda *call: head(call[2]))
    return head


def test_a_forward_hook_of_the_model_is_work_of_the_call_that_it_follows(watch: Any, small: Small, x: Tensor) -> None:
    add_head(small)
    output = watch(small, x)
    figures = watch.profile(small)
    assert output.shape == (3, 5)
    assert (figures.macs, figures.calls) == (MACS + HOOK_MACS, 1)
    assert figures.modules["second"].macs == 3 * 8 * 2


def test_a_forward_hook_of_a_part_is_work_of_that_part(watch: Any, small: Small, x: Tensor) -> None:
    add_head(small.second)
    watch(small, x)
    figures = watch.profile(small)
    assert (figures.macs, figures.modules["second"].macs) == (MACS + HOOK_MACS, 3 * 8 * 2 + HOOK_MACS)
    for device in ("meta", "cpu"):
        run = profile(small, x, device=device)
        assert (run.macs, run.modules["second"].macs) == (figures.macs, figures.modules["second"].macs)


@pytest.mark.parametrize("compute", [True, False])
def test_what_a_model_held_when_it_was_called_counts(compute: bool) -> None:
    observation = Observation(compute=compute)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[0].requires_grad_(False)

    def held() -> list[tuple[int, int]]:
        states = observation.states(observation.look_at(model), 2)
        return sorted({(each.params, each.trainable_params) for each, _ in states})

    with observation.under(sys._getframe()):
        model(torch.ones(1, 4))
        model[1] = nn.Linear(4, 8, bias=False)
        model(torch.ones(1, 4))
        model.requires_grad_(True)
        model(torch.ones(1, 4))
        model[1] = nn.Linear(4, 1, bias=False)
    assert held() == [(20, 20), (32, 16), (48, 32), (48, 48)]


def test_what_follows_a_model_with_hooks_is_no_work_of_it(watch: Any, small: Small, x: Tensor) -> None:
    add_head(small)
    other = nn.Linear(5, 7)

    def body() -> None:
        output = small(x)
        output @ torch.randn(5, 9)
        other(small(x))

    watch(body)
    assert [(figures.macs, count) for figures, count in watch.profiles(small)] == [(MACS + HOOK_MACS, 2)]
    assert watch.profile(other).macs == 3 * 5 * 7
    assert watch.observation.has_stray_contractions()


def test_the_backward_pass_of_a_hook_is_work_of_its_module(watch: Any, small: Small, x: Tensor) -> None:
    add_head(small)
    target = torch.randn(5, 1, requires_grad=True)
    watch(lambda: (small(x) @ target).sum().backward())
    # The hook's layer takes the gradient of its weight and of its input; that of the loss belongs to no module.
    assert watch.profile(small).backward_flops == 2 * (BACKWARD_MACS + 2 * HOOK_MACS)


def test_a_hook_may_raise(watch: Any, small: Small, x: Tensor) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("not like this")

    handle = small.register_forward_hook(refuse)

    def body() -> None:
        with pytest.raises(ValueError, match="not like this"):
            small(x)
        handle.remove()
        small(x)

    watch(body)
    assert [(figures.macs, count) for figures, count in watch.profiles(small)] == [(MACS, 2)]


def test_what_a_model_with_hooks_returned_is_not_kept_alive(watch: Any, small: Small, x: Tensor) -> None:
    add_head(small)

    def body() -> weakref.ref[Any]:
        with torch.no_grad():
            return weakref.ref(small(x))

    assert watch(lambda: body()() is None)


def test_a_hook_for_all_modules_that_comes_late_is_work_of_the_call(watch: Any, small: Small, x: Tensor) -> None:
    weight = torch.randn(2, 5)

    def body() -> None:
        handle = nn.modules.module.register_module_forward_hook(
            lambda module, args, output: output @ weight if module is small else None
        )
        try:
            small(x)
        finally:
            handle.remove()

    watch(body)
    assert watch.profile(small).macs == MACS + HOOK_MACS


def test_a_hook_that_is_always_called_works_for_the_call_that_raised(watch: Any, small: Small) -> None:
    weight = torch.randn(2, 5)
    small.register_forward_hook(lambda *_: torch.ones(3, 2) @ weight, always_call=True)

    def body() -> None:
        with pytest.raises(RuntimeError):
            small(torch.ones(3, 7))

    watch(body)
    assert watch.profile(small).macs == HOOK_MACS


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks_of_the_model_are_work_of_it(kind: str, watch: Any, small: Small, x: Tensor) -> None:
    weight = torch.eye(2)

    def hook(module: nn.Module, *gradients: Any) -> None:
        gradients[-1][0] @ weight

    getattr(small, kind)(hook)
    x.requires_grad = True  # the first layer takes the gradient of its input, too
    watch(lambda: small(x).sum().backward())
    expected = 2 * (BACKWARD_MACS + 3 * 8 * 4 + 3 * 2 * 2)
    assert watch.profile(small).backward_flops == expected
    assert profile(small, x, backward=True).backward_flops == expected


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_of_a_parameter_are_work_of_the_module_that_holds_it(
    kind: str, watch: Any, small: Small, x: Tensor
) -> None:
    def hook(tensor: Tensor) -> None:
        torch.eye(8) @ tensor.detach()

    getattr(small.first.weight, kind)(hook)
    watch(lambda: small(x).sum().backward())
    figures = watch.profile(small)
    assert figures.backward_flops == 2 * (BACKWARD_MACS + 8 * 8 * 4)
    assert figures.modules["first"].backward_flops == 2 * (3 * 4 * 8 + 8 * 8 * 4)


def test_what_a_shared_part_does_for_one_model_is_no_work_of_the_other(watch: Any) -> None:
    """On a batch of 5 the trunk takes 5 x 6 x 16 MACs, and the head of the actor 5 x 16 x 4, of the critic 5 x 16."""

    class Trunk(nn.Linear):
        def features(self, x: Tensor) -> Tensor:
            return x @ self.weight.t()

    class Agent(nn.Module):
        def __init__(self, trunk: Trunk, outputs: int) -> None:
            super().__init__()
            self.trunk = trunk
            self.head = nn.Linear(16, outputs, bias=False)

        def act(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x))

        def act_on_features(self, x: Tensor) -> Tensor:
            return self.head(self.trunk.features(x))

    class Both(nn.Module):
        def __init__(self, actor: Agent, critic: Agent) -> None:
            super().__init__()
            self.actor, self.critic = actor, critic

        def step(self, x: Tensor) -> Tensor:
            return self.actor.act(x).sum() + self.critic.act_on_features(x).sum()

    trunk, x = Trunk(6, 16, bias=False), torch.randn(5, 6)
    actor, critic = Agent(trunk, 4), Agent(trunk, 1)
    both = Both(actor, critic)
    for run in (
        lambda: actor.act(x).sum() + critic.act(x).sum(),
        lambda: actor.act_on_features(x).sum() + critic.act_on_features(x).sum(),
        lambda: both.step(x),
    ):
        seen = type(watch)()
        seen(lambda run=run: run().backward())
        # Each weight has a gradient, and so has what the trunk returns.
        figures = {model: seen.profile(model) for model in (actor, critic)}
        assert {model: (profile.macs, profile.backward_flops) for model, profile in figures.items()} == {
            actor: (480 + 320, 2 * (480 + 2 * 320)),
            critic: (480 + 80, 2 * (480 + 2 * 80)),
        }
    assert seen.profile(both).macs == 2 * 480 + 320 + 80
    assert sum(profile.macs for profile, _ in seen.profiles(trunk)) == 2 * 480
