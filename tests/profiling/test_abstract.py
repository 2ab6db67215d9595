"""What runs abstractly: models that steer by constants, mix devices, and write, each with the figures of a CPU run."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytest_modelbudget.profiling.abstract import DataDependentError, recall
from pytest_modelbudget.profiling.abstract.memo import memo
from pytest_modelbudget.profiling.run import profile

_X = torch.zeros(2, 8)
_FIGURES = ("macs", "flops", "elementwise_flops", "activations", "backward_flops", "uncounted")


@pytest.fixture(autouse=True)
def verified_memo():
    """Every remembered answer is checked."""
    with memo.verified(), recall.memo.verified():
        yield


class Calls(nn.Module):
    """A model made of a function of `(linear, *inputs)`."""

    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.linear, *inputs)


def as_on_cpu(function, *inputs, backward=False):
    """Assert that abstract figures are those of a CPU run, twice: the second time from memory."""
    model = Calls(function)
    expected = profile(model, inputs, device="cpu", backward=backward)
    for _ in range(2):
        found = profile(model, inputs, backward=backward)
        assert {name: getattr(found, name) for name in _FIGURES} == {name: getattr(expected, name) for name in _FIGURES}
    assert expected.macs
    return expected


# -- in place ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "kind",
    [nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU, nn.ReLU6, nn.CELU, nn.SELU, nn.Hardtanh],
)
def test_a_layer_that_works_in_place_counts_as_on_the_cpu(kind, training):
    model = nn.Sequential(nn.Linear(8, 8), kind(inplace=True)).train(training)
    for _ in range(2):  # the second time from memory
        with torch.no_grad():
            found, expected = profile(model, _X), profile(model, _X, device="cpu")
        assert found.uncounted == expected.uncounted == {}
        for metric in ("macs", "elementwise_flops", "traffic", "memory"):
            assert getattr(found, metric) == getattr(expected, metric), metric


# -- constants ---------------------------------------------------------------------------------------------------------


def item_of_constant(linear, x):
    for _ in range(int(torch.arange(4, device=x.device).sum().item())):
        x = linear(x)
    return x


def control_flow_on_mask(linear, x):
    mask = torch.ones(4, 4, device=x.device).tril().bool()
    if bool(mask.all()):
        return x
    return linear(x) if mask.any() else x


def mask_moved_to_the_input(linear, x):
    mask = torch.arange(8).to(x.device).to(device=x.device, dtype=torch.bool)
    return linear(x) if bool(mask[1]) else x


def literal_on_the_input_device(linear, x):
    sizes = torch.tensor([[2, 3], [1, 1]], device=x.device)
    for height, width in sizes.tolist():
        for _ in range(height * width):
            x = linear(x)
    return x


def nonzero_of_constant(linear, x):
    chosen = (torch.arange(8, device=x.device) % 3 == 0).nonzero().squeeze(1)
    return linear(x[:, torch.arange(8)])[:, chosen] @ torch.ones(len(chosen), 2, device=x.device)


def unique_of_constant(linear, x):
    for _ in torch.unique(torch.tensor([1, 1, 2], device=x.device)):
        x = linear(x)
    return x


def boolean_index_by_constant(linear, x):
    return linear(x)[:, torch.arange(8, device=x.device) > 4] @ torch.ones(3, 3)


def masked_select_by_constant(linear, x):
    return linear(x).masked_select(torch.eye(2, 8, device=x.device).bool()) @ torch.ones(2, 2)


def repeat_by_constant(linear, x):
    return linear(x.repeat_interleave(torch.tensor([1, 3], device=x.device), dim=0))


def meshgrid_of_constants(linear, x):
    y, z = torch.meshgrid(torch.arange(2.0, device=x.device), torch.linspace(0, 1, 8, device=x.device), indexing="ij")
    return linear(x + y * z)


def like_the_input(linear, x):
    if torch.ones_like(x).sum() == 16 and x.new_zeros(3).sum() == 0 and torch.full_like(x, 2).max() == 2:
        return linear(x)
    return x


def drop_by_constant_mask(linear, x):
    keep = x.new_empty(2, 1).bernoulli_(0.5).div_(0.5)
    return linear(x * keep)


def positions_by_cumsum(linear, x):
    mask = torch.ones(2, 8, dtype=torch.long, device=x.device)
    positions = mask.cumsum(-1) * mask - 1
    return linear(x) * (positions.max() + 1) if positions.min() >= 0 else x


def device_context(linear, x):
    with torch.device(x.device):
        return linear(x + torch.arange(8)) if torch.arange(3).sum() == 3 else x


def one_hot_of_constant(linear, x):
    classes = nn.functional.one_hot(torch.arange(8, device=x.device), 8)
    return linear(x @ classes.to(x.dtype))


def expand_as_input(linear, x):
    mask = (torch.arange(8, device=x.device) > 3).expand_as(x)
    return linear(x) if bool(mask.any()) else x


def other_dtype_of_scalars(linear, x):
    count = torch.arange(8, device=x.device)
    assert (count * 1).dtype is torch.int64
    assert (count * 1.0).dtype is torch.float32
    assert (count * True).dtype is torch.int64
    return linear(x * count * 1.0)


@pytest.mark.parametrize(
    "function",
    [
        item_of_constant,
        control_flow_on_mask,
        mask_moved_to_the_input,
        literal_on_the_input_device,
        nonzero_of_constant,
        unique_of_constant,
        boolean_index_by_constant,
        masked_select_by_constant,
        repeat_by_constant,
        meshgrid_of_constants,
        like_the_input,
        drop_by_constant_mask,
        positions_by_cumsum,
        device_context,
        one_hot_of_constant,
        expand_as_input,
        other_dtype_of_scalars,
    ],
)
def test_what_depends_on_no_weight_and_no_float_is_computed(function):
    as_on_cpu(function, _X)


def test_empty_is_zero_and_never_garbage():
    def looks(linear, x):
        return linear(x) if float(torch.empty(3, device=x.device).abs().sum()) == 0 else x

    assert profile(Calls(looks), _X).macs == 2 * 8 * 8


def test_integer_inputs_are_real():
    def embeds(linear, ids, mask):
        hidden = torch.zeros(*ids.shape, 8, device=ids.device)
        if not mask.all():
            hidden = linear(hidden + ids.unsqueeze(-1))
        for i in range(int(mask.sum(1).max())):
            hidden = linear(hidden) * (i + 1)
        return hidden

    as_on_cpu(embeds, torch.tensor([[1, 2, 3]]), torch.tensor([[True, True, False]]))


def test_packed_sequences_follow_their_lengths():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(8, 4, batch_first=True)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, _ = self.rnn(packed)
            return nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]

    model = Packed()
    for lengths in ([2, 5], [5, 1]):
        macs = profile(model, (torch.zeros(2, 5, 8), torch.tensor(lengths))).macs
        assert macs == sum(lengths) * 3 * 4 * (8 + 4)


def test_a_large_constant_is_not_computed():
    def compares(linear, x):
        positions = torch.arange(200_000, device=x.device)
        later = positions[:, None] > positions[None, :]  # 37 GiB
        return linear(x) + later[:2, :8]

    assert profile(Calls(compares), _X).macs == 2 * 8 * 8


# -- writes ------------------------------------------------------------------------------------------------------------


def written_by_slices(linear, x):
    out = torch.zeros(2, 16)
    out[:, :8] = linear(x)
    return linear(out[:, 8:]) + linear(out[:, :8])


def written_through_a_view(linear, x):
    out = torch.zeros(4, 8)
    out.view(2, 2, 8)[0].copy_(x)
    return linear(out) + linear(out.t().t())


def written_before(linear, x):
    out = torch.zeros(2, 8)
    out += 1
    assert out.sum() == 16
    out *= linear(x)
    return linear(out)


def out_of_the_wrong_size(linear, x):
    out = torch.empty(0)
    torch.mul(x, 2, out=out)
    return linear(out)


def in_place_on_abstract(linear, x):
    y = linear(x)
    y.mul_(2).add_(torch.ones(8))
    y[:, 0] = torch.arange(2)
    y.unsqueeze_(0).transpose_(0, 1)
    return linear(y)


def masked_fill_by_constant(linear, x):
    scores = linear(x)
    scores.masked_fill_(torch.arange(8, device=x.device) > 3, float("-inf"))
    scores[:, torch.arange(8, device=x.device) > 6] = 0
    return linear(scores.softmax(-1))


def index_add_and_scatter(linear, x):
    out = x.new_zeros(4, 8)
    out.index_add_(0, torch.tensor([0, 2]), linear(x))
    return linear(out.scatter(1, torch.zeros(4, 1, dtype=torch.long), 1.0))


@pytest.mark.parametrize(
    "function",
    [
        written_by_slices,
        written_through_a_view,
        written_before,
        out_of_the_wrong_size,
        in_place_on_abstract,
        masked_fill_by_constant,
        index_add_and_scatter,
    ],
)
def test_a_tensor_that_abstract_data_was_written_into_is_abstract(function):
    as_on_cpu(function, _X)


def test_control_flow_on_a_tainted_constant_is_refused():
    def looks(linear, x):
        out = torch.zeros(2, 8)
        out[:] = linear(x)
        return linear(out) if out.sum() > 0 else x

    with pytest.raises(DataDependentError):
        profile(Calls(looks), _X)


# -- control flow on data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look",
    [
        lambda y: y.sum().item(),
        lambda y: bool((y > 0).any()),
        lambda y: y.nonzero(),
        lambda y: y[y > 0],
        lambda y: y.masked_select(y > 0),
        lambda y: y.unique(),
        lambda y: y.tolist(),
        lambda y: y.numpy(force=True),
        lambda y: torch.equal(y, y),
        lambda y: torch.allclose(y, y),
        lambda y: range(y.argmax()),
        lambda y: int(y[0, 0]),
    ],
)
def test_looking_at_abstract_values_names_the_line_of_the_model(look):
    def looks(linear, x):
        y = linear(x)
        look(y)
        return y

    with pytest.raises(DataDependentError) as caught:
        profile(Calls(looks), _X)
    line = look.__code__.co_firstlineno
    assert f"{__file__}:{line}" in str(caught.value)
    assert 'device="cpu"' in str(caught.value)


def test_a_model_that_raises_raises_its_own_error():
    def fails(linear, x):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        profile(Calls(fails), _X)


# -- the memo ----------------------------------------------------------------------------------------------------------


def test_replaced_data_changes_the_answer():
    def replaces(linear, x):
        y = linear(x)
        linear.weight.data = torch.zeros(4, 8, device=linear.weight.device)
        linear.bias = None
        return linear(x), y

    assert profile(Calls(replaces), _X).macs == 2 * 8 * 8 + 2 * 4 * 8


def test_default_dtype_is_part_of_the_question():
    seen = []

    def divides(linear, x):
        seen.append((torch.arange(4, device=x.device).to(x.dtype) / 2).dtype)
        seen.append((x.long() / x.long()).dtype)
        return linear(x)

    profile(Calls(divides), _X)
    torch.set_default_dtype(torch.float64)
    try:
        profile(Calls(divides), _X)
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen[1] is torch.float32
    assert seen[3] is torch.float64


def views(linear, x):
    y = linear(x)
    pieces = [*y.chunk(2, 1), *y.split([3, 5], 1), *y.unbind(0), y.diagonal(), y.as_strided((2, 2), (1, 2), 3)]
    pairs = torch.view_as_complex(y.view(2, 4, 2)) * torch.view_as_complex(y.view(2, 4, 2)).conj()
    wide = y.view(torch.int32).view(torch.float32)
    return linear(torch.view_as_real(pairs).flatten(1)) + wide + sum(piece.sum() for piece in pieces)


def handed_on(linear, x):
    y = nn.functional.dropout(linear(x), 0.5, training=False)
    y = y.contiguous().reshape(2, 8).to(torch.float32).view(2, 8).type_as(x).expand(2, 8)
    y.add_(1)
    return linear(y)


def without_a_key(linear, x):
    y = linear(x) * float("nan")
    return linear(y.clamp(min=float("nan")))


def conjugated(linear, x):
    z = torch.complex(linear(x), x)
    return (z @ z.mH).real, (z.conj() @ z.mT).imag


@pytest.mark.parametrize("function", [views, handed_on, without_a_key, conjugated])
def test_views_and_aliases_are_answered_as_the_kernel_answers(function):
    as_on_cpu(function, _X)


def test_the_memo_is_bounded():
    from pytest_modelbudget.profiling.abstract.memo import Answer
    from pytest_modelbudget.profiling.memo import Memo

    bounded = Memo(limit=3)
    for size in range(10):
        bounded.remember((size,), Answer(None, lambda args, kwargs: None))
    assert len(bounded) <= 3
    assert bounded.get((9,)) is not None


def test_it_holds_no_tensors():
    profile(nn.Linear(8, 8), _X)
    assert len(memo)
    for answer in dict(memo.items()).values():
        cells = getattr(answer.make, "__closure__", None) or ()
        assert not any(isinstance(cell.cell_contents, torch.Tensor) for cell in cells)


def test_a_wrong_memory_is_found():
    from pytest_modelbudget.profiling.abstract.replay import fresh
    from pytest_modelbudget.profiling.abstract.verification import WrongAnswerError

    model = Calls(lambda linear, x: torch.tanh(x) + linear(x))
    memo.clear()
    profile(model, _X)
    wrong, answer = next(item for item in memo.items() if item[1].func is torch.ops.aten.tanh.default)
    memo.remember(wrong, answer._replace(make=fresh((3, 8), (8, 1), torch.float32)))
    with pytest.raises(WrongAnswerError, match="tanh"):
        profile(model, _X)
    memo.clear()


def test_a_newly_registered_cost_is_used_at_once():
    from pytest_modelbudget.profiling.costs import Cost, register_cost

    library = torch.library.Library("budget_abstract_test", "DEF")
    library.define("scan(Tensor x) -> Tensor")
    library.impl("scan", lambda x: x + 1, "CPU")
    library.impl("scan", torch.empty_like, "Meta")
    scan = torch.ops.budget_abstract_test.scan
    model = Calls(lambda linear, x: scan(linear(x)))
    assert profile(model, _X).uncounted == {"budget_abstract_test::scan": 1}
    register_cost(scan)(lambda x: Cost(macs=7))
    assert profile(model, _X).macs == 2 * 8 * 8 + 7
    library._destroy()


# -- backward, train mode, autograd ------------------------------------------------------------------------------------


def with_checkpoint(linear, x):
    return checkpoint(lambda y: linear(torch.relu(linear(y))), linear(x), use_reentrant=False)


def with_reentrant_checkpoint(linear, x):
    return checkpoint(lambda y: linear(torch.relu(linear(y))), linear(x), use_reentrant=True)


def with_constants(linear, x):
    y = linear(x)
    y = torch.where(torch.arange(8, device=x.device) > 3, y, torch.zeros((), device=x.device))
    out = torch.zeros_like(y)
    out[:, :4] = y[:, 4:]
    return linear(out) * torch.ones(8)


def with_custom_function(linear, x):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(weight)
            return x @ weight

        @staticmethod
        def backward(ctx, grad):
            return grad @ ctx.saved_tensors[0].t(), None

    return Double.apply(linear(x), linear.weight)


@pytest.mark.parametrize(
    "function",
    [with_checkpoint, with_reentrant_checkpoint, with_constants, with_custom_function, written_by_slices, views],
)
def test_backward_is_as_on_cpu(function):
    as_on_cpu(function, _X, backward=True)


def test_a_model_that_differentiates_in_forward():
    def force(linear, x):
        x = x.detach().requires_grad_()
        energy = linear(x).square().sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]

    with torch.enable_grad():
        as_on_cpu(force, _X)


def test_the_jacobian_of_a_model():
    with torch.enable_grad():
        as_on_cpu(lambda linear, x: torch.func.vmap(torch.func.jacrev(linear))(x), _X)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(
    "model",
    [
        *(kind(8, 4, num_layers=2, bidirectional=True) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
        nn.LSTM(8, 4, num_layers=2, dropout=0.5, batch_first=True, bias=False),
        nn.LSTM(8, 4, proj_size=3),
    ],
)
@pytest.mark.parametrize("input_requires_grad", [False, True])
def test_recurrent_layers_and_their_backward(model, input_requires_grad):
    x = torch.zeros(3, 2, 8, requires_grad=input_requires_grad)
    expected = profile(model, x, device="cpu", backward=True)
    for _ in range(2):
        found = profile(model, x, backward=True)
        assert {n: getattr(found, n) for n in _FIGURES} == {n: getattr(expected, n) for n in _FIGURES}


def test_gradients_that_nobody_needs_are_not_booked():
    found = profile(nn.LSTM(8, 16), torch.zeros(3, 2, 8), backward=True)
    assert found.macs == 3 * 2 * 4 * 16 * (8 + 16)
    # Both weights in each step, and the hidden state but that of the first step.
    assert found.backward_flops == 2 * (found.macs + 2 * 2 * 4 * 16 * 16)


def test_train_mode_with_dropout_and_batch_norm():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 8)).train()
    expected = profile(model, _X, device="cpu", backward=True)
    for _ in range(2):
        found = profile(model, _X, backward=True)
        assert {n: getattr(found, n) for n in _FIGURES} == {n: getattr(expected, n) for n in _FIGURES}


# -- attention ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(5, 5)}, {"enable_gqa": True}])
def test_attention_is_one_operator(options, backward):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(8, 8), nn.Linear(8, 8 // heads)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (4, 2)).transpose(1, 2)
            k = self.kv(x).unflatten(-1, (4 // heads, 2)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(q, k, k, **options)

    heads = 2 if options.get("enable_gqa") else 1
    model, x = Attends(), torch.zeros(2, 5, 8)
    with torch.set_grad_enabled(backward):
        expected = profile(model, x, device="cpu", backward=backward)
        found = profile(model, x, backward=backward)
    assert {n: getattr(found, n) for n in _FIGURES} == {n: getattr(expected, n) for n in _FIGURES}


def test_long_attention_does_not_materialise_its_scores():
    q = torch.empty(1, 32, 1 << 20, 64, dtype=torch.bfloat16, device="meta")

    class Attends(nn.Module):
        def forward(self, q):
            return nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    assert profile(Attends(), q).macs == 32 * (1 << 40) * 128


# -- other kinds of tensors and operators ------------------------------------------------------------------------------


def test_an_operator_without_meta_kernel_learns_its_shape():
    library = torch.library.Library("budget_shape_test", "DEF")
    library.define("halve(Tensor x) -> Tensor")
    library.impl("halve", lambda x: x[..., ::2].contiguous(), "CPU")
    halve = torch.ops.budget_shape_test.halve
    found = profile(Calls(lambda linear, x: linear(x) + halve(torch.cat([x, x], 1))), _X)
    assert found.macs == 2 * 8 * 8
    assert found.uncounted == {"budget_shape_test::halve": 1}
    library._destroy()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_parameters_of_any_dtype(dtype):
    model = nn.Linear(8, 8, dtype=dtype)
    assert profile(model, _X.to(dtype)).macs == 2 * 8 * 8 * (4 if dtype.is_complex else 1)


def test_a_subclass_that_desugars():
    from torch.testing._internal.two_tensor import TwoTensor

    model = nn.Linear(8, 8, bias=False)
    model.weight = nn.Parameter(TwoTensor(torch.zeros(8, 8), torch.zeros(8, 8)))
    assert profile(model, _X).macs == 2 * 2 * 8 * 8


def test_higher_order_operators():
    def branches(linear, x):
        return torch.cond(torch.ones((), dtype=torch.bool), linear, torch.relu, (x,))

    assert profile(Calls(branches), _X).macs == 2 * 8 * 8


def test_under_any_grad_mode():
    model = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    x = torch.zeros(2, 3, 8)
    figures = set()
    for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            figures.add((profile(model, x).macs, profile(model, x).elementwise_flops))
    assert len(figures) == 1


def test_autocast_leaves_the_work_alone_and_what_depends_on_dtypes_has_no_figure():
    seen = []

    def adds(linear, x):
        seen.append((torch.ones(8, 8, device=x.device) @ torch.ones(8, 8, device=x.device)).dtype)
        return linear(x)

    model = Calls(adds)
    plain = profile(model, _X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = profile(model, _X)
        assert torch.is_autocast_enabled("cpu")
    assert (found.macs, found.elementwise_flops) == (plain.macs, plain.elementwise_flops)
    assert (found.memory, found.traffic, found.memory_course, found.modules["linear"].memory) == (None,) * 4
    assert set(seen) == {torch.float32}  # what was remembered without autocast holds
    (note,) = found.notes
    assert "bfloat16" in note
    assert 'device="cpu"' in note
    assert not plain.notes


def test_a_generation_loop():
    def generates(linear, ids, x):
        caches = []
        for _ in range(5):
            caches.append(linear(x))
            x = torch.stack(caches).mean(0)
            ids = torch.cat([ids, ids[:, -1:] + 1], 1)
        return x if ids[0, -1] == 6 else linear(x)

    as_on_cpu(generates, torch.tensor([[1]]), _X)


def test_hundred_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    models = [nn.Sequential(nn.Linear(8, 8), nn.Linear(8, size)) for size in range(1, 9)]
    memo.clear()
    with ThreadPoolExecutor(8) as pool:
        macs = list(pool.map(lambda model: profile(model, _X).macs, models))
    assert macs == [2 * 64 + 2 * 8 * size for size in range(1, 9)]


def test_a_huge_model_takes_no_memory():
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(1 << 17, 1 << 17, bias=False) for _ in range(24)))  # 1.6 TiB
    found = profile(model, torch.empty(1, 1 << 17, device="meta"))
    assert found.macs == found.params == 24 * (1 << 34)


@pytest.mark.parametrize(
    "model",
    [
        nn.TransformerEncoderLayer(8, 2, batch_first=True).eval(),
        nn.Sequential(nn.Unflatten(0, (1, 6)), nn.Conv1d(6, 4, 3), nn.BatchNorm1d(4), nn.ReLU()).eval(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_without_the_private_guard_the_figures_are_the_same(model, monkeypatch):
    from pytest_modelbudget.profiling import internals

    x = torch.zeros(2, 3, 8) if isinstance(model, nn.TransformerEncoderLayer) else torch.zeros(6, 8)
    expected = profile(model, x)
    monkeypatch.setattr(internals, "_BELOW_AUTOGRAD", None)
    found = profile(model, x)
    assert (found.macs, found.flops, found.activations) == (expected.macs, expected.flops, expected.activations)


def test_a_literal_that_is_lost_does_not_cost_a_second_run_unless_it_is_looked_at():
    calls = []

    def adds(linear, x):
        calls.append(None)
        return linear(x) + torch.tensor(0.5, device=x.device)

    profile(Calls(adds), _X)
    assert len(calls) == 1


def test_copying_to_the_cpu_is_no_look_at_values():
    as_on_cpu(lambda linear, x: linear(linear(x).to("cpu")).cpu(), _X)


def test_constants_and_abstract_tensors_meet_in_one_operator():
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            positions = torch.arange(8.0)
            y = torch.cat([self.linear(x), positions.expand(2, 8), torch.ones(2, 8, device=x.device)])
            y = torch.where(positions > 3, y, torch.zeros(()))
            y[:, : int((positions > 3).sum())] = 0
            return torch.stack([y[0], positions]) @ self.linear.weight, torch.einsum("ij,j->i", y, positions)

    # The linear layer, 2 x 8 by 8 x 8, and 6 x 8 by 8.
    for device in ("meta", "cpu"):
        assert profile(Mixes(), torch.zeros(2, 8), device=device).macs == 128 + 128 + 48


def test_a_jagged_tensor_needs_a_device_for_its_lengths():
    ragged = torch.nested.nested_tensor([torch.zeros(2, 8), torch.zeros(3, 8)], layout=torch.jagged)
    assert profile(nn.Linear(8, 8), ragged, device="cpu").macs == (2 + 3) * 8 * 8
    with pytest.raises(DataDependentError, match=r'called with a jagged tensor.*device="cpu"'):
        profile(nn.Linear(8, 8), ragged)


class Attends(nn.Module):
    def __init__(self, biased: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(4, 4)) if biased else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.scale
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.bias)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "with a bias that learns"])
@pytest.mark.parametrize("shape", [(4, 8), (3, 4, 8), (1, 3, 4, 8)], ids=str)
def test_attention_of_every_shape_has_a_backward_pass(shape, biased):
    macs = (1 if len(shape) == 2 else 3) * 4 * 4 * (8 + 8)
    for device in ("meta", "cpu"):
        figures = profile(Attends(biased), torch.ones(shape), device=device, backward=True)
        assert (figures.macs, figures.backward_flops) == (macs, 2 * 2 * macs), device


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.stft(x, 16, window=torch.hann_window(16), return_complex=True).abs(),
        lambda x: torch.inner(x, torch.ones(3, 64)),
        lambda x: torch.linalg.multi_dot([x, torch.ones(64, 3), torch.ones(3, 5)]),
    ],
    ids=["stft", "inner", "multi_dot"],
)
def test_kernels_that_compare_devices_take_constants_in_a_training_step(function):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(self.linear(x))

    x = torch.ones(2, 64)
    expected = profile(Model(), x, device="cpu", backward=True)
    found = profile(Model(), x, backward=True)
    assert (found.macs, found.flops, found.backward_flops) == (expected.macs, expected.flops, expected.backward_flops)
    assert found.macs >= 2 * 64 * 64
