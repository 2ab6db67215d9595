"""The peak of what is alive at once, by hand; float32 unless said otherwise."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_modelbudget import profile

KIND = ["parameters", "buffers", "gradients", "inputs", "activations", "temporaries"]


def by_kind(profile: Any, **expected: int) -> None:
    assert profile.memory_by_kind == {kind: expected.get(kind, 0) for kind in KIND}
    assert profile.memory == sum(expected.values())


def test_in_eval_a_layer_holds_its_weights_its_input_and_its_output(watch: Any) -> None:
    linear = nn.Linear(100, 200)
    with torch.no_grad():
        watch(linear, torch.randn(3, 100))
    by_kind(watch.profile(linear), parameters=4 * (100 * 200 + 200), inputs=4 * 3 * 100, activations=4 * 3 * 200)


def test_the_largest_pair_of_neighbours_is_the_peak_of_a_chain(watch: Any) -> None:
    chain = nn.Sequential(nn.Linear(10, 1000, bias=False), nn.ReLU(), nn.Linear(1000, 10, bias=False))
    with torch.no_grad():
        watch(chain, torch.randn(2, 10))
    # The first output (8,000 bytes) is released once the activation of the same size is there; both are temporaries.
    profile = watch.profile(chain)
    by_kind(profile, parameters=2 * 40_000, inputs=80, temporaries=2 * 8000)
    assert profile.memory_at == ("1", "aten::relu")


def test_views_and_in_place_operators_take_no_memory(watch: Any) -> None:
    class Reshape(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(4, 6).t().unsqueeze(0).relu_()

    model = Reshape()
    watch(model, torch.randn(24))
    by_kind(watch.profile(model), inputs=96)


def test_an_expanded_tensor_takes_what_it_stores(watch: Any) -> None:
    class Expand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone().expand(1000, 24)

    model = Expand()
    watch(model, torch.randn(24))
    by_kind(watch.profile(model), inputs=96, activations=96)


def test_a_training_step_holds_activations_and_gradients_at_once(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    watch(lambda: linear(torch.randn(3, 100)).sum().backward())
    # At the gradient of the weight: the weight, the input that was saved for it, the loss and its gradient (4 bytes
    # each), of which the gradient of the output is an expanded view. The output itself is gone by then.
    by_kind(watch.profile(linear), parameters=80_000, gradients=80_000, inputs=1200, activations=8)


def test_gradients_from_before_are_alive_from_the_start(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    linear.weight.grad = torch.zeros(200, 100)
    with torch.no_grad():
        watch(linear, torch.randn(3, 100))
    by_kind(watch.profile(linear), parameters=80_000, gradients=80_000, inputs=1200, activations=2400)


def test_each_call_has_a_peak_of_its_own(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)
    with torch.no_grad():
        outputs = watch(lambda: [linear(torch.randn(rows, 100)) for rows in (1, 3, 3)])
    assert len(outputs) == 3
    assert [(profile.memory - 80_000, count) for profile, count in watch.profiles(linear)] == [(1200, 1), (3600, 2)]


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_a_test_does_after_a_call_is_no_memory_of_it(watch: Any) -> None:
    linear = nn.Linear(10, 20, bias=False)

    def body() -> None:
        output = linear(torch.randn(3, 10))
        assert (torch.ones(1000, 1000) + output.sum()).isfinite().all()

    watch(body)
    profile = watch.profile(linear)
    by_kind(profile, parameters=800, inputs=120, activations=240)
    assert profile.memory_course.storages == 2


def test_a_loss_counts_where_its_backward_pass_follows(watch: Any) -> None:
    linear = nn.Linear(10, 20, bias=False)
    watch(lambda: (linear(torch.randn(3, 10)).unsqueeze(0) * torch.ones(1000, 1, 1)).sum().backward())
    profile = watch.profile(linear)
    # Beside the weights, the input and the output: the ones, their product with the output, and the sum, as it is made.
    # In the backward pass the product is gone, but a gradient of its size is there: expanded from one number, times
    # the ones. The ones, the sum and its gradient are there, too.
    assert profile.memory == 800 + 120 + 240 + 4000 + 240_000 + 4 + 4


def test_what_follows_a_backward_pass_does_not_count(watch: Any) -> None:
    linear = nn.Linear(10, 20, bias=False)

    def step() -> None:
        linear(torch.randn(3, 10)).sum().backward()

    def step_and_more() -> None:
        step()
        torch.ones(1000, 1000).sum()

    watch(step)
    alone = watch.profile(linear).memory
    linear.weight.grad = None
    watch(step_and_more)
    assert [(profile.memory, count) for profile, count in watch.profiles(linear)] == [(alone, 2)]


class Encoder(nn.Module):
    """40,000 bytes of weights and 20,000 more; a sample has 400."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(100, 100, bias=False)
        self.second = nn.Linear(100, 50, bias=False)

    def encode(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


WEIGHTS = 60_000
AT_RELU = 3 * 400
"""What goes in, what the first layer returned, and what is made of that."""


@pytest.mark.parametrize("grad", [True, False])
def test_a_method_holds_all_of_the_model_and_what_is_alive_between_its_parts(watch: Any, grad: bool) -> None:
    model = Encoder()
    with torch.set_grad_enabled(grad):
        watch(model.encode, torch.randn(1, 100))
    profile = watch.profile(model)
    by_kind(profile, parameters=WEIGHTS, inputs=400, temporaries=400 + (not grad) * 400, activations=grad * 400)
    assert profile.memory_at == ("", "aten::relu")


def test_a_part_that_is_called_alone_has_the_rest_of_the_model_beside_it(watch: Any) -> None:
    model = Encoder()
    watch(model.second, torch.randn(1, 100))
    watch.observation.look_at(model)
    profile = watch.profile(model)
    by_kind(profile, parameters=WEIGHTS, inputs=400, activations=200)
    assert max(alive for _, alive, _ in profile.memory_course.points) == profile.memory


class OwnCall(Encoder):
    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(torch.nn.functional.linear(x, self.first.weight).relu(), self.second.weight)


class PassesOn(nn.Module):
    """As libraries wrap models: with a `__call__` of their own, and weights beside those of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.online = Encoder()
        self.averaged = Encoder()

    def __call__(self, x: Tensor) -> Tensor:
        return self.averaged(x)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("model", "weights"), [(OwnCall(), WEIGHTS), (PassesOn(), 2 * WEIGHTS)])
def test_a_call_of_its_own_making_holds_all_of_the_model(
    watch: Any, model: nn.Module, weights: int, device: str
) -> None:
    with torch.no_grad():
        watch(model, torch.randn(1, 100))
    assert watch.profile(model).memory == weights + AT_RELU
    assert profile(model, torch.randn(1, 100), device=device).memory == weights + AT_RELU


def test_the_backward_pass_of_a_call_of_its_own_making_counts(watch: Any) -> None:
    model = OwnCall()
    watch(lambda: model(torch.randn(1, 100)).sum().backward())
    # The gradients are as large as the weights. Alive as that of the first weight is made: the input and the gradient
    # of what the first layer returned; how much else of a sample's size is still there is up to autograd.
    least = 2 * WEIGHTS + 2 * 400
    assert least <= watch.profile(model).memory <= least + 4 * 400


def test_two_wrappers_around_a_call_each_hold_what_is_theirs(watch: Any) -> None:
    inner = PassesOn()

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner
            self.head = nn.Linear(50, 10, bias=False)

        def predict(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x))

    outer = Outer()
    with torch.no_grad():
        watch(outer.predict, torch.randn(1, 100))
    assert watch.profile(inner).memory == 2 * WEIGHTS + AT_RELU
    assert watch.profile(outer).memory == 2 * WEIGHTS + 2000 + AT_RELU
    assert watch.profile(inner.averaged).memory == WEIGHTS + AT_RELU


def test_each_call_of_a_method_has_its_own_inputs(watch: Any) -> None:
    model = OwnCall()

    def body() -> None:
        for samples in (1, 3, 2):
            model(torch.randn(samples, 100))

    with torch.no_grad():
        watch(body)
    assert watch.profile(model).memory == WEIGHTS + 3 * AT_RELU


def test_a_data_set_that_a_method_goes_through_is_no_input(watch: Any) -> None:
    class Fitted(Encoder):
        def fit(self, data: list[Tensor]) -> None:
            for sample in data:
                self(sample)

        def score(self, data: list[Tensor]) -> Tensor:
            return torch.stack([self.encode(sample).sum() for sample in data[:1]])

    model = Fitted()
    data = [torch.randn(1, 100) for _ in range(1001)]
    with torch.no_grad():
        watch(model.fit, data)
        watch(model.score, data)
    (whole, calls), (outside, _) = watch.profiles(model)
    assert (whole.memory, calls) == (WEIGHTS + AT_RELU, 1001)
    assert outside.memory == WEIGHTS + AT_RELU


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_that_a_test_converts_holds_what_it_was_converted_to(watch: Any, device: str) -> None:
    def body(before: torch.dtype, after: torch.dtype) -> nn.Module:
        linear = nn.Linear(100, 100, bias=False, dtype=before, device=device).to(after)
        with torch.no_grad():
            linear(torch.empty(1, 100, dtype=after, device=device))
        return linear

    up = watch(body, torch.bfloat16, torch.float32)
    down = watch(body, torch.float32, torch.bfloat16)
    assert (watch.profile(up).size, watch.profile(up).memory) == (40_000, 40_000 + 2 * 400)
    assert (watch.profile(down).size, watch.profile(down).memory) == (20_000, 20_000 + 2 * 200)


def test_a_model_that_is_converted_between_calls_holds_less_from_then_on(watch: Any) -> None:
    linear = nn.Linear(100, 100, bias=False)

    def body() -> None:
        linear(torch.randn(1, 100))
        linear.to(torch.bfloat16)
        linear(torch.randn(1, 100, dtype=torch.bfloat16))

    with torch.no_grad():
        watch(body)
    assert [each.memory for each, _ in watch.profiles(linear)] == [40_000 + 2 * 400, 20_000 + 2 * 200]


def test_a_backward_pass_that_does_not_come_to_a_model_is_no_memory_of_it(watch: Any) -> None:
    linear = nn.Linear(10, 20, bias=False)

    def body() -> None:
        linear(torch.randn(3, 10))
        other = torch.randn(500, 500, requires_grad=True)
        (other * other).sum().backward()

    watch(body)
    by_kind(watch.profile(linear), parameters=800, inputs=120, activations=240)


class Layer:
    def __init__(self) -> None:
        self.keys = torch.zeros(10, 100)


class Cache:
    """As that of transformers: no container, no dataclass. 4,000 bytes in each of two layers."""

    def __init__(self) -> None:
        self.layers = [Layer(), Layer()]
        self.owner = self


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_a_cache_held_before_the_call_is_an_input(watch: Any, device: str) -> None:
    class Cached(nn.Linear):
        def forward(self, x: Tensor, cache: Cache) -> Tensor:
            return super().forward(x) + cache.layers[0].keys[:1]

    model = Cached(100, 100, bias=False)
    with torch.no_grad():
        watch(model, torch.randn(1, 100), cache=Cache())
    expected = 40_000 + 2 * 4000 + AT_RELU
    assert watch.profile(model).memory == expected
    assert profile(model, torch.randn(1, 100), {"cache": Cache()}, device=device).memory == expected


def test_a_part_that_a_method_puts_in_another_place_is_held(watch: Any) -> None:
    class Resized(Encoder):
        def resize(self) -> None:
            old, self.second = self.second, nn.Linear(100, 10, bias=False)
            with torch.no_grad():
                self.second.weight.copy_(old.weight[:10] * 1)

    def body() -> nn.Module:
        model = Resized()
        model.resize()
        with torch.no_grad():
            model(torch.randn(1, 100))
        return model

    model = watch(body)
    whole, *_ = (each for each, _ in watch.profiles(model))
    assert (whole.size, whole.memory) == (44_000, 44_000 + AT_RELU)


def test_what_a_method_returned_is_not_kept(watch: Any) -> None:
    model = OwnCall()

    def body() -> bool:
        storage = weakref.ref(model(torch.randn(1, 100)).untyped_storage())
        return storage() is None

    assert watch(body)


def test_buffers_and_lazy_parameters_count(watch: Any) -> None:
    norm = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4)).eval()
    with torch.no_grad():
        watch(norm, torch.randn(2, 3))
    profile = watch.profile(norm)
    assert profile.memory_by_kind["parameters"] == 4 * (3 * 4 + 4 + 4 + 4)
    assert profile.memory_by_kind["buffers"] == 2 * 16 + 8


def test_tied_parameters_are_there_once(watch: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    with torch.no_grad():
        watch(model, torch.randn(1, 4))
    assert watch.profile(model).memory_by_kind["parameters"] == 64


class Backend:
    """A device module with a caching allocator, as `torch.cuda` is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def synchronize(self, device: torch.device) -> None:
        self.asked.append("synchronize")

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.asked.append("reset")

    def max_memory_allocated(self, device: torch.device) -> int:
        self.asked.append("peak")
        return 3 * 2**20


def test_what_the_allocator_of_a_device_handed_out_stands_beside_the_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = nn.Linear(4, 8), torch.randn(2, 4)
    predicted = profile(model, x, device="cpu")
    assert predicted.allocated is None, "the CPU has no such allocator"
    backend = Backend()
    monkeypatch.setattr(torch, "cpu", backend)
    measured = profile(model, x, device="cpu")
    assert (measured.allocated, measured.memory) == (3 * 2**20, predicted.memory)
    assert backend.asked == ["synchronize", "reset", "synchronize", "peak"]
    line = next(line for line in measured.summary().splitlines() if line.startswith("Allocated"))
    assert " ".join(line.split()) == "Allocated 3 MiB at most, by PyTorch's allocator on cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backward", [False, True])
def test_the_prediction_is_near_the_allocator_of_cuda(backward: bool) -> None:
    model = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 4096))
    found = profile(model, torch.randn(1024, 4096), device="cuda", backward=backward)
    # cuBLAS keeps a workspace of its own; the rest are blocks of 512 bytes.
    assert found.memory <= found.allocated <= found.memory + 64 * 2**20


# -- where it is, and when ----------------------------------------------------------------------------------------


def chain() -> nn.Sequential:
    """8,000 + 2,000 bytes of weights: Linear(20, 100) and Linear(100, 5)."""
    return nn.Sequential(nn.Linear(20, 100, bias=False), nn.ReLU(), nn.Linear(100, 5, bias=False))


def test_the_bytes_of_the_peak_belong_to_the_modules_that_hold_and_made_them(watch: Any) -> None:
    model = chain()
    with torch.no_grad():
        watch(model, torch.randn(3, 20))
    # At the peak, the activation: input 240 bytes, the outputs of the first layer and of the activation 1,200 each.
    found = watch.profile(model)
    assert found.memory == 10_000 + 240 + 2 * 1200
    assert {path: module.memory for path, module in found.modules.items()} == {
        "": found.memory,
        "0": 8000 + 1200,
        "1": 1200,
        "2": 2000,
    }


def test_what_is_gone_before_the_peak_belongs_to_nobody(watch: Any) -> None:
    model = nn.Sequential(nn.Linear(1, 10, bias=False), nn.ReLU(), nn.Linear(10, 1000, bias=False))
    with torch.no_grad():
        watch(model, torch.randn(1, 1))
    # At the last layer: the output of the first is gone, that of the activation (40 bytes) and 4,000 bytes are there.
    held = {path: module.memory for path, module in watch.profile(model).modules.items()}
    assert held == {"": 40 + 40_000 + 4 + 40 + 4000, "0": 40, "1": 40, "2": 40_000 + 4000}


def test_gradients_belong_to_the_module_whose_backward_made_them(watch: Any) -> None:
    model = chain()
    watch(lambda: model(torch.randn(3, 20)).sum().backward())
    found = watch.profile(model)
    # At the gradient of the first weight, 8,000 bytes. The gradient of the second, 2,000, is there, too; the activation
    # (1,200) was saved by it and is gone, its gradient is what the gradient of the weight is made from.
    assert found.modules["2"].memory == 2000 + 2000
    assert found.modules["0"].memory == 8000 + 8000
    assert sum(module.memory for path, module in found.modules.items() if path) <= found.memory


def test_the_course_of_memory_is_sampled_at_each_storage(watch: Any) -> None:
    model = chain()
    with torch.no_grad():
        watch(model, torch.randn(3, 20))
    course = watch.profile(model).memory_course
    held = 10_000 + 240
    # The input, then three outputs; the first is gone as the last (60 bytes) is made.
    assert course.points == ((1, held, ""), (2, held + 1200, "0"), (3, held + 2400, "1"), (4, held + 1260, "2"))
    assert (course.storages, course.forward) == (4, 4)


def test_the_course_of_a_training_step_says_where_the_forward_ended(watch: Any) -> None:
    model = chain()
    watch(lambda: model(torch.randn(3, 20)).sum().backward())
    course = watch.profile(model).memory_course
    assert course.forward == 4
    assert course.storages > 4


def test_a_long_course_keeps_its_peak_and_is_short(watch: Any) -> None:
    class Long(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for step in range(1000):
                x = x + 1 if step != 701 else (torch.cat([x, x]) + 1)[:10]
            return x

    model = Long()
    with torch.no_grad():
        watch(model, torch.randn(10))
    found = watch.profile(model)
    births, alive, _ = zip(*found.memory_course.points, strict=True)
    assert len(births) <= 257
    assert list(births) == sorted(set(births))
    assert max(alive) == found.memory
    # The input, then an output a step; the peak is in step 701, where two tensors are made: 40 + 40 + 80 + 80 bytes.
    assert found.memory == 40 + 40 + 80 + 80
    assert births[alive.index(found.memory)] == 704
    assert found.memory_course.storages == 1002


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_course_is_the_same_abstractly(device: str) -> None:
    with torch.no_grad():
        found = profile(chain(), torch.randn(3, 20), device=device)
    assert [point[0] for point in found.memory_course.points] == [1, 2, 3, 4]
    assert {path: module.memory for path, module in found.modules.items()} == {
        "": 12_640,
        "0": 9200,
        "1": 1200,
        "2": 2000,
    }


class Hidden:
    """Reads what no table of a module holds: an attribute, a list of modules, a closure."""

    def __init__(self) -> None:
        self.table = torch.zeros(100, 10)  # 4,000 bytes
        self.layers = [nn.Linear(10, 10, bias=False)]  # 400


class ReadsHidden(nn.Module):
    def __init__(self, elsewhere: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 10, bias=False)  # 400 bytes
        self.rotary = torch.zeros(50, 10)  # 2,000 bytes
        self.hidden = Hidden()
        self.read = lambda x: x + elsewhere

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        x = x + self.rotary[: len(x)]  # of a view the whole storage is alive
        x = x + self.hidden.table[: len(x)]
        x = self.hidden.layers[0](x)
        return self.read(x)


@pytest.mark.parametrize("home", ["cpu", "meta"])
@pytest.mark.parametrize("backward", [False, True])
def test_what_a_model_reads_that_is_not_its_own_is_an_input(home: str, backward: bool) -> None:
    with torch.device(home):
        model = ReadsHidden(torch.zeros(200, 1))  # 800 bytes
        x = torch.zeros(200, 10)  # 8,000 bytes
        model.rotary, model.hidden.table = torch.zeros(200, 10), torch.zeros(200, 10)
    inputs = 4 * 8000 + 400 - 8000 + 800
    profiles = [profile(model, x, backward=backward) for _ in range(2)]
    if home == "cpu":
        profiles.append(profile(model, x, device="cpu", backward=backward))
    assert [found.memory_by_kind["inputs"] for found in profiles] == [inputs] * len(profiles)
    assert [found.memory_by_kind["parameters"] for found in profiles] == [400] * len(profiles)
    if not backward:
        # Two neighbours of a chain of tensors of 8,000 bytes.
        assert profiles[0].memory == profiles[1].memory == 400 + inputs + 2 * 8000


def test_what_was_there_before_counts_from_the_beginning(watch: Any) -> None:
    table = torch.zeros(1000)

    class ReadsLate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            large = torch.cat([x] * 50)  # 2,000 bytes, and the peak
            small = large[:10].clone()
            del large
            return small + table[:10]

    model = ReadsLate()
    watch(model, torch.zeros(10))
    # With the clone; the table is read when the large tensor is gone, but was there all the time.
    assert watch.profile(model).memory == 40 + 4000 + 2000 + 40


def test_tensors_of_earlier_calls_are_inputs_of_later_ones(watch: Any) -> None:
    history: list[Tensor] = []

    class Remembers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            history.append(x * 2)
            return torch.stack(history).sum(0)

    def steps() -> None:
        for _ in range(3):
            model(torch.zeros(100))

    model = Remembers()
    with torch.no_grad():
        watch(steps)
    # The input, what was remembered, and three tensors of 400 bytes or more: the new one, the stack, the sum.
    assert [found.memory for found, _ in watch.profiles(model)] == [400 * (1 + n + 1 + (n + 1) + 1) for n in range(3)]


def test_a_literal_is_made_where_it_stands(watch: Any) -> None:
    class Literal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.repeat(10)  # 400 bytes
            y = y.sum(0, keepdim=True)  # 4, and the peak
            return y * torch.tensor([1.0] * 10)  # 40, each; the 400 are gone

    model = Literal()
    with torch.no_grad():
        watch(model, torch.zeros(10))
    expected = 40 + 400 + 4
    assert watch.profile(model).memory == profile(model, torch.zeros(10)).memory == expected


def test_parameters_whose_data_was_set_count_once(watch: Any) -> None:
    linear = nn.Linear(100, 200, bias=False)

    def average() -> None:
        linear(torch.zeros(3, 100))
        linear.weight.data = linear.weight.data * 0.5
        linear(torch.zeros(3, 100))

    with torch.no_grad():
        watch(average)
    assert [found.memory_by_kind["inputs"] for found, _ in watch.profiles(linear)] == [1200]
    assert [found.memory for found, _ in watch.profiles(linear)] == [80_000 + 1200 + 2400]


def test_a_part_that_reads_parameters_of_its_model_has_them_beside_it_once(watch: Any) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)  # 160 bytes
            head = self.embedding.weight
            self.head = Reads(lambda x: x @ head.T)

        def logits(self, x: Tensor) -> Tensor:
            return self.head(x)

    model = Tied()
    with torch.no_grad():
        watch(model.logits, torch.zeros(2, 4))
    assert watch.profile(model).memory == 160 + 2 * 4 * 4 + 2 * 10 * 4


class Reads(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_what_a_method_reads_that_is_not_its_own_is_an_input(watch: Any) -> None:
    table = torch.zeros(1000)

    class HasMethod(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def score(self, x: Tensor) -> Tensor:
            return (x * self.weight).add_(table[:10])

    model = HasMethod()
    with torch.no_grad():
        watch(model.score, torch.zeros(10))
    assert watch.profile(model).memory == 40 + 4000 + 40 + 40


def test_single_numbers_from_before_take_no_memory(watch: Any) -> None:
    scale = torch.tensor(2.0)
    model = Reads(lambda x: x * scale)
    with torch.no_grad():
        watch(model, torch.zeros(10))
    assert watch.profile(model).memory == profile(model, torch.zeros(10)).memory == 40 + 40


@pytest.mark.parametrize("how", ["resize_", "resize_as_", "storage"])
def test_what_is_resized_in_place_takes_what_it_has_become(watch: Any, how: str) -> None:
    class Resizes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = torch.empty(10)
            if how == "resize_":
                made.resize_(1000)
            elif how == "resize_as_":
                made.resize_as_(x.expand(100, 10).contiguous())
            else:
                made.untyped_storage().resize_(4000)
            return x + made[:1]

    model = Resizes()
    x = torch.zeros(10) if how != "resize_as_" else torch.zeros(1, 10)
    with torch.no_grad():
        watch(model, x)
    expected = 40 + 4000 + (4000 if how == "resize_as_" else 40)  # its like is alive beside it, or else the sum
    found = [watch.profile(model).memory]
    if how != "storage":  # no operator does that, and nothing abstract is looked at without reason
        found += [profile(model, x).memory, profile(model, x).memory]
    assert found == [expected] * len(found)


def test_a_shape_that_is_left_of_weights_takes_no_memory(watch: Any) -> None:
    """As accelerate leaves one behind when it takes a layer's weights away again."""

    class Offloaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [torch.randn(4, 8)]
            self.shapes: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            output = x @ self.weights[0]
            self.shapes += [self.weights[0].to("meta"), torch.empty_like(self.weights[0], device="meta")]
            return output

    model, x = Offloaded(), torch.randn(3, 4)
    watch(lambda: model(x))
    profile = watch.profile(model)
    # Given, read and made: 3 x 4, 4 x 8 and 3 x 8 numbers of 4 bytes.
    assert profile.memory == 4 * (12 + 32 + 24)
    assert profile.traffic == 4 * (12 + 32 + 24)
