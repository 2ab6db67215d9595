"""Which model a test puts to the test, and what it is called with.

Net: 58 parameters, 48 MACs a sample (encoder 40 and 32, head 18 and 16). Tiny: 20 parameters, 16 MACs a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.suite import Suite

UNREPEATABLE = "the call of Reading cannot be repeated, because an argument cannot be copied"

FIXTURES = """
@pytest.fixture
def net(): return Net()

@pytest.fixture
def tiny(): return Tiny()
"""

MACS = "@pytest.mark.max_macs('1k')\n"


def test_work_belongs_to_the_outermost_module_that_the_test_knows(suite: Suite):
    run = suite(
        FIXTURES
        + """
pytestmark = pytest.mark.max_macs("1k")

def test_call(net): net(batch())
def test_forward(net): net.forward(batch())
def test_method(net): net.forward_features(batch())
def test_part(net): net.encoder(batch())
def test_parts_are_one_further_call(net):
    net.encoder(batch())
    net.head(net.encoder(batch()))
def test_calls_and_parts(net):
    net(batch(1))
    net.head(net.encoder(batch(2)))
def test_local(): Net()(batch())
def test_part_of_a_local():
    net = Net()
    net.forward_features(batch())
def test_part_alone(): Net().encoder(batch())
@pytest.mark.parametrize("model", [Net()])
def test_parameter(model): model.encoder(batch())
def test_no_module_call_at_all(net): torch.zeros(2, 4) @ net.encoder.weight.T + net(batch(1)).sum()
"""
    )
    assert run.result.ret == 0
    assert {name: run.measured(name)[0] for name in run.outcomes} == {
        "test_call": ("Net", "96 MACs"),
        "test_forward": ("Net", "96 MACs"),
        "test_method": ("Net", "64 MACs"),
        "test_part": ("Net", "64 MACs"),
        "test_parts_are_one_further_call": ("Net", "160 MACs"),  # 64 + 64 + 32
        "test_calls_and_parts": ("Net", "96 MACs"),  # the parts on two samples; the call was on one
        "test_local": ("Net", "96 MACs"),
        "test_part_of_a_local": ("Net", "64 MACs"),
        "test_part_alone": ("Linear", "64 MACs"),
        "test_parameter[model0]": ("Net", "64 MACs"),
        "test_no_module_call_at_all": ("Net", "48 MACs"),
    }


def test_models_are_found_in_what_fixtures_return_and_in_instances(suite: Suite):
    run = suite(
        """
import unittest

@pytest.fixture
def pair(): return Net(), batch()

@pytest.fixture
def zoo(): return {"small": Tiny(), "large": Net()}

@pytest.fixture
def several(): return [Tiny(), Net()]

@pytest.mark.max_macs("1k")
class TestFixtures:
    def test_tuple(self, pair): pair[0].encoder(pair[1])
    def test_dict(self, zoo): zoo["large"].encoder(batch())
    def test_list(self, several): several[1].encoder(batch())

@pytest.mark.max_macs("1k")
class TestInstance:
    shared = Net()
    def setup_method(self): self.net = Net()
    def test_attribute(self): self.net.encoder(batch())
    def test_class_attribute(self): self.shared.encoder(batch())

@pytest.mark.max_macs("1k")
class TestUnittest(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.shared = Net()
    def setUp(self): self.net = Net()
    def test_attribute(self): self.net.encoder(batch())
    def test_class_attribute(self): self.shared.encoder(batch())
"""
    )
    assert run.result.ret == 0
    assert len(run.outcomes) == 7
    for name in run.outcomes:
        assert run.measured(name) == [("Net", "64 MACs")], name


def test_methods_and_custom_calls_are_work_of_the_whole_model(suite: Suite):
    run = suite(
        """
class Clip(Net):
    def get_text_features(self, ids):
        return torch.ones(ids.shape[0], 4) @ self.encoder.weight.T

class CustomCall(Net):
    def __call__(self, x):
        return x @ self.encoder.weight.T

class Generating(Net):
    def forward(self, x):
        for _ in range(3):
            yield self.encoder(x)

@pytest.fixture
def clip(): return Clip()

@pytest.mark.max_macs("1k")
class TestIt:
    def test_text(self, clip): clip.get_text_features(torch.zeros(2, 7, dtype=torch.int64))
    def test_text_of_a_local(self):
        model = Clip()
        model.get_text_features(torch.zeros(2, 7, dtype=torch.int64))
    def test_custom_call(self):
        model = CustomCall()
        model(batch())
    def test_generator(self):
        model = Generating()
        for _ in model(batch()): pass
"""
    )
    assert run.result.ret == 0
    assert run.measured("TestIt::test_text") == [("Clip", "64 MACs")]
    assert run.measured("TestIt::test_text_of_a_local") == [("Clip", "64 MACs")]
    assert run.measured("TestIt::test_custom_call") == [("CustomCall", "64 MACs")]
    assert run.measured("TestIt::test_generator") == [("Generating", "192 MACs")]


def test_wrappers_are_seen_through(dynamo, suite: Suite):
    run = suite(
        FIXTURES
        + """
@pytest.fixture
def parallel(net): return nn.DataParallel(net)

@pytest.fixture
def compiled(net): return torch.compile(net, backend="eager")

@pytest.mark.modelbudget(macs="1k", params=58)
class TestIt:
    def test_parallel(self, parallel): parallel(batch())
    def test_compiled(self, compiled): compiled(batch())
    def test_local(self):
        model = nn.DataParallel(Net())
        model(batch())
    @pytest.mark.max_params(40, model="parallel.encoder")
    def test_path_through_a_wrapper(self, parallel): parallel(batch())
"""
    )
    assert run.result.ret == 0
    for name in ("test_parallel", "test_compiled", "test_local"):
        assert sorted(run.measured(f"TestIt::{name}")) == [("Net", "58"), ("Net", "96 MACs")]
    assert ("parallel.encoder (Linear)", "40") in run.measured("TestIt::test_path_through_a_wrapper")


def test_a_module_named_module_is_no_wrapper_if_its_owner_adds_to_it(suite: Suite):
    run = suite(
        """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(4, 8)
        self.scale = nn.Parameter(torch.ones(8))
    def forward(self, x): return self.module(x) * self.scale

class Gram(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(4, 8)
    def forward(self, x):
        y = self.module(x)
        return y @ y.T

@pytest.mark.max_params("1k")
def test_parameters(): Scaled()(batch())

@pytest.mark.max_macs("1k")
def test_work(): Gram()(batch())
"""
    )
    assert run.measured("test_parameters") == [("Scaled", "48")]  # 4 * 8 + 8 and 8
    assert run.measured("test_work") == [("Gram", "96 MACs")]  # 2 * 4 * 8 and 2 * 8 * 2


def test_losses_and_metrics_are_no_models(suite: Suite):
    run = suite(
        FIXTURES
        + """
class Accuracy(nn.Module):
    def forward(self, x, y): return (x == y).float().mean()

@pytest.fixture
def loss(): return nn.MSELoss()

@pytest.mark.modelbudget(params="1k", macs="1k")
class TestIt:
    def test_used(self, net, loss):
        out = net(batch())
        loss(out, torch.zeros(2, 2)).backward()
        Accuracy()(out, out)

@pytest.mark.max_params("1k")
def test_not_used(net, loss): pass
"""
    )
    assert run.result.ret == 0
    assert sorted(run.measured("TestIt::test_used")) == [("Net", "58"), ("Net", "96 MACs")]
    assert run.measured("test_not_used") == [("Net", "58")]


def test_each_of_several_models_is_judged_and_named(suite: Suite):
    run = suite(
        FIXTURES
        + """
@pytest.mark.max_params(57)
def test_fixtures(net, tiny):
    net(batch())
    tiny(batch())

@pytest.mark.max_params(19)
def test_both_fail():
    student, teacher = Tiny(), Net()
    student(batch())
    teacher(batch())
"""
    )
    assert run.headline("test_fixtures") == "max_params: net (Net) 58 > 57 (+1.8 %)"
    assert run.measured("test_fixtures") == [("net (Net)", "58"), ("tiny (Tiny)", "20")]
    text = run.failure("test_both_fail")
    assert "max_params: Tiny 20 > 19" in text
    assert "max_params: Net 58 > 19" in text


def test_a_helper_without_contractions_beside_a_model_is_within(suite: Suite):
    run = suite(
        FIXTURES
        + """
@pytest.mark.max_macs("1k")
def test_it(net):
    net(batch())
    nn.LayerNorm(4)(batch())
"""
    )
    assert run.result.ret == 0
    assert run.measured("test_it") == [("net (Net)", "96 MACs")]


def test_a_shared_part_is_work_of_the_model_that_is_at_work(suite: Suite):
    run = suite(
        """
class Sharing(Net):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

encoder = nn.Linear(4, 8)

@pytest.fixture
def first(): return Sharing(encoder)

@pytest.fixture
def second(): return Sharing(encoder)

@pytest.mark.max_macs("1k")
def test_it(first, second): second.forward_features(batch())
"""
    )
    assert run.measured("test_it") == [("Sharing", "64 MACs")]
    run = suite("", "--modelbudget-device=auto", "-v")
    assert run.result.ret == 0


NAMED = {
    "fixture": ("net", "net (Net)", "58"),
    "parameter": ("kind", "kind (Tiny)", "20"),
    "attribute of the instance": ("self.net", "self.net (Net)", "58"),
    "property of the instance": ("self.made", "self.made (Tiny)", "20"),
    "submodule": ("net.encoder", "net.encoder (Linear)", "40"),
    "submodule by number": ("chain.1", "chain.1 (Linear)", "18"),
    "submodule of an attribute": ("self.net.head", "self.net.head (Linear)", "18"),
    "only module of a tuple": ("pair", "pair (Net)", "58"),
    "element of a list": ("several.1", "several.1 (Net)", "58"),
    "value of a dict": ("zoo.small", "zoo.small (Tiny)", "20"),
}


@pytest.fixture
def naming(suite: Suite) -> Suite:
    suite.write(
        FIXTURES
        + """
@pytest.fixture
def chain(): return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
@pytest.fixture
def pair(): return Net(), batch()
@pytest.fixture
def several(): return [Tiny(), Net()]
@pytest.fixture
def zoo(): return {"small": Tiny(), "large": Net()}

class TestIt:
    def setup_method(self): self.net = Net()
    @property
    def made(self): return self.tiny_one
    tiny_one = Tiny()
    @pytest.mark.parametrize("kind", [Tiny()])
    def test_it(self, net, chain, pair, several, zoo, kind): pass
"""
    )
    return suite


def test_a_mark_names_the_model(naming: Suite):
    marks = "".join(f"    request.applymarker(pytest.mark.max_params('1k', model={n[0]!r}))\n" for n in NAMED.values())
    run = naming(conftest=f"@pytest.fixture(autouse=True)\ndef marks(request):\n{marks}")
    assert run.result.ret == 0
    assert sorted(run.measured("TestIt::test_it[kind0]")) == sorted(
        (name, figure) for _, name, figure in NAMED.values()
    )


NAMED_WRONG = {
    "student": 'max_params: nothing was measured: model="student" is no fixture, parameter or attribute of this test; '
    "its models are net, chain, pair.0, several.0, several.1, zoo.small, zoo.large, kind, self.tiny_one, self.net",
    "net.body": 'max_params: model="net.body": net (Net) has no body, it has encoder, head',
    "zoo.huge": 'max_params: model="zoo.huge": zoo (dict) has no huge, it has small, large',
    "several": 'max_params: model="several" holds several: write one of model="several.0", model="several.1"',
    "net.training": 'max_params: model="net.training" is no nn.Module but a bool',
    "pair.1": 'max_params: model="pair.1" is no nn.Module but a Tensor',
}


def test_a_name_that_is_no_model_lists_what_there_is(naming: Suite):
    marks = "".join(f"    request.applymarker(pytest.mark.max_params('1k', model={name!r}))\n" for name in NAMED_WRONG)
    run = naming(conftest=f"@pytest.fixture(autouse=True)\ndef marks(request):\n{marks}")
    headlines = [
        line for line in run.failure("TestIt::test_it[kind0]").splitlines() if not line.startswith((" ", "\t"))
    ]
    assert sorted(filter(None, headlines)) == sorted(NAMED_WRONG.values())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("studnet", '; its models are student, teachers.0; did you mean model="student"?'),
        ("studnet.head", '; its models are student, teachers.0; did you mean model="student.head"?'),
        ("teachers0", '; its models are student, teachers.0; did you mean model="teachers.0"?'),
        ("zebra", "; its models are student, teachers.0"),
        (
            "othre",
            "; its models are student, teachers.0; did you mean the fixture other? the test does not ask for it, add "
            "it to its arguments",
        ),
        ("other", ": other is a fixture that it does not ask for, add it to its arguments"),
    ],
)
def test_a_misspelt_name_names_what_is_near(suite: Suite, written: str, meant: str):
    run = suite(
        f"""
@pytest.fixture
def student(): return Net()
@pytest.fixture
def teachers(): return [Tiny()]
@pytest.fixture
def other(): return Tiny()
@pytest.mark.max_params("1k", model="{written}")
def test_it(student, teachers): pass
"""
    )
    assert run.headline("test_it") == (
        f'max_params: nothing was measured: model="{written}" is no fixture, parameter or attribute of this test{meant}'
    )


def test_the_calls_of_a_named_part_are_found_inside_the_whole(suite: Suite):
    run = suite(
        FIXTURES
        + """
@pytest.mark.max_macs("1k", model="net.head")
def test_it(net): net(batch())
"""
    )
    assert run.measured("test_it") == [("net.head (Linear)", "32 MACs")]


def test_the_hook_names_the_model_and_its_inputs(suite: Suite):
    run = suite(
        """
@pytest.fixture
def trainer():
    class Trainer: pass
    made = Trainer()
    made.model, made.teacher = Net(), Tiny()
    return made

@pytest.mark.modelbudget(params="1k", macs="1k")
class TestIt:
    def test_not_called(self, trainer): pass
    def test_called(self, trainer):
        trainer.teacher(batch())
        trainer.model(batch(1))

@pytest.mark.max_params(20, model="small")
@pytest.mark.max_params(100)
def test_a_name_goes_first(trainer, small=Tiny()): pass

@pytest.mark.max_params(20)
def test_not_answered(): Tiny()(batch())
""",
        conftest="""
        def pytest_modelbudget_model(item):
            if "trainer" in item.fixturenames:
                return item.funcargs["trainer"].model, batch(3)
        """,
    )
    assert sorted(run.measured("TestIt::test_not_called")) == [("Net", "144 MACs"), ("Net", "58")]
    assert sorted(run.measured("TestIt::test_called")) == [("Net", "48 MACs"), ("Net", "58")]
    assert 'model="small" is no fixture' in run.failure("test_a_name_goes_first")
    assert run.measured("test_not_answered") == [("Tiny", "20")]


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ('"net"', "returned a str: return an nn.Module, or a tuple of one and what to call it with"),
        ("(Net(), 1, 2)", "returned a tuple: return an nn.Module"),
    ],
)
def test_a_wrong_answer_of_the_hook_is_one_clear_failure(suite: Suite, returned: str, complaint: str):
    run = suite(
        MACS + "def test_it(): pass",
        conftest=f"def pytest_modelbudget_model(item): return {returned}",
    )
    assert run.headline("test_it").startswith(f"max_macs: the hook pytest_modelbudget_model {complaint}")


def test_the_only_model_of_a_test_is_judged_without_a_call(suite: Suite):
    run = suite(
        FIXTURES
        + """
@pytest.fixture
def student(net): return Tiny()

@pytest.fixture
def encoder(net): return net.encoder

@pytest.mark.max_params("1k")
class TestIt:
    def test_fixture(self, net): pass
    def test_asked_for_by_the_test_not_by_its_fixtures(self, student): pass
    def test_the_whole_and_its_part(self, net, encoder): pass

@pytest.mark.max_macs("1k", inputs=(3, 4))
def test_methods_that_copy_are_no_call(net):
    net.load_state_dict({name: tensor.clone() for name, tensor in net.state_dict().items()})

@pytest.mark.max_params("1k")
def test_two(net, tiny): pass

@pytest.mark.max_params("1k")
def test_none(): pass
"""
    )
    assert run.measured("TestIt::test_fixture") == [("Net", "58")]
    assert run.measured("test_methods_that_copy_are_no_call") == [("Net", "144 MACs")]
    assert run.measured("TestIt::test_asked_for_by_the_test_not_by_its_fixtures") == [("Tiny", "20")]
    assert run.measured("TestIt::test_the_whole_and_its_part") == [("Net", "58")]
    assert run.headline("test_two") == (
        "max_params: nothing was measured: the test calls none of its 2 models: call one, or say which: "
        'model="net" or model="tiny"'
    )
    assert run.headline("test_none") == (
        "max_params: nothing was measured: the test neither calls a model nor has a fixture that is one: call it, or "
        'say model="..." (a fixture, a parameter or an attribute)'
    )


INPUTS = {
    "shape": ("inputs=(3, 4)", "144 MACs"),
    "list": ("inputs=[(3, 4)]", "144 MACs"),
    "list_of_texts": ('inputs=["3,4"]', "144 MACs"),
    "dict": ('inputs={"x": (3, 4)}', "144 MACs"),
    "fixture": ('inputs="given"', "240 MACs"),
    "fixture_of_args_and_kwargs": ('inputs="both"', "336 MACs"),
    "fixture_like_a_tokenizer": ('inputs="mapping"', "384 MACs"),
    "callable": ("inputs=lambda model: batch(model.head.out_features)", "96 MACs"),
    "callable_dict": ('inputs=lambda model: {"x": batch(4)}', "192 MACs"),
    "callable_both": ('inputs=lambda model: ((), {"x": batch(6)})', "288 MACs"),
}


def test_inputs_say_what_to_call_the_model_with(suite: Suite):
    tests = "".join(
        f"@pytest.mark.max_macs('1k', {written})\ndef test_{name}(net): pass\n" for name, (written, _) in INPUTS.items()
    )
    run = suite(
        FIXTURES
        + """
from collections import UserDict

@pytest.fixture
def given(): return batch(5)
@pytest.fixture
def both(): return [batch(7)], {}
@pytest.fixture
def mapping(): return UserDict(x=batch(8))

"""
        + tests
    )
    assert {name: run.measured(f"test_{name}") for name in INPUTS} == {
        name: [("Net", figure)] for name, (_, figure) in INPUTS.items()
    }
    assert run.result.ret == 0


def test_inputs_have_the_dtype_and_the_values_that_are_promised(suite: Suite):
    run = suite(
        """
class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 3)
    def forward(self, ids, mask, scale):
        assert ids.dtype is torch.int64 and not ids.any()
        assert mask.dtype is torch.bool and mask.all()
        assert scale.dtype is torch.float16
        return self.head(self.table(ids))

@pytest.fixture
def model(): return Embedding()

@pytest.mark.max_macs("1k", inputs={"ids": "2,5:int64", "mask": "2,5:bool", "scale": "1:float16"}, device="cpu")
def test_it(model): pass
"""
    )
    assert run.measured("test_it") == [("Embedding", "120 MACs")]  # 10 tokens of 4 * 3


def test_a_dtype_that_the_installed_torch_does_not_have_yet_fails_the_test(suite: Suite, monkeypatch):
    monkeypatch.setattr("pytest_modelbudget.dtypes.DTYPES", frozenset({"int65"}))
    run = suite(FIXTURES + '@pytest.mark.max_macs("1k", inputs=["2,5:int65"])\ndef test_it(net): pass\n')
    assert run.headline("test_it") == "max_macs: inputs=: torch has no dtype int65"


def test_the_ini_key_and_the_models_own_dummy_inputs_come_last(suite: Suite):
    suite.pytester.makeini("[pytest]\nmodelbudget_inputs = given\n")
    source = (
        FIXTURES
        + """
class Dummy(Net):
    @property
    def dummy_inputs(self): return {"x": batch(7)}

@pytest.fixture
def dummy(): return Dummy()
@pytest.fixture
def given(): return batch(5)

@pytest.mark.max_macs("1k")
def test_it(net): pass
@pytest.mark.max_macs("1k")
def test_dummy(dummy): pass
@pytest.mark.max_macs("1k", inputs=(1, 4))
def test_mark(dummy): pass
"""
    )
    run = suite(source)
    assert run.measured("test_it") == [("Net", "240 MACs")]
    assert run.measured("test_dummy") == [("Dummy", "240 MACs")]
    assert run.measured("test_mark") == [("Dummy", "48 MACs")]
    suite.pytester.makeini("[pytest]\n")
    run = suite(source)
    assert run.measured("test_dummy") == [("Dummy", "336 MACs")]
    # A limit that holds for small inputs of the model's own choosing says that it does.
    assert "called with its own dummy_inputs, 7x4: say with inputs= what it is really called with" in " ".join(
        " ".join(run.lines).split()
    )
    run = suite(source.replace('max_macs("1k")\ndef test_dummy', "max_macs(335)\ndef test_dummy"))
    assert "so it was called with its own dummy_inputs, 7x4: say with inputs=" in run.failure("test_dummy")
    assert run.headline("test_it") == (
        "max_macs: nothing was measured: the test does not call Net: call it, or say with inputs= what to call it "
        "with, for example inputs=(1, 3, 224, 224)"
    )


def test_a_fixture_for_inputs_that_a_test_cannot_use_is_named(suite: Suite):
    suite.pytester.makeini("[pytest]\nmodelbudget_inputs = elsewhere\n")
    # Of a part of the suite; for the whole of it the option itself would be refused.
    run = suite(FIXTURES + MACS + "def test_it(net): pass", "test_it.py")
    assert run.headline("test_it") == (
        "max_macs: modelbudget_inputs names 'elsewhere', which is no fixture that this test can use"
    )


def test_a_fixture_for_inputs_that_is_misspelt_is_named(suite: Suite):
    source = FIXTURES + MACS + "def test_it(net): pass\n@pytest.fixture\ndef somewhere(): pass"
    assert (
        suite(source, "test_it.py", "--modelbudget-inputs=somewere")
        .headline("test_it")
        .endswith("names 'somewere', which is no fixture that this test can use; did you mean 'somewhere'?")
    )


class TestNothingMeasured:
    def test_a_direct_limit_fails_and_an_inherited_one_lists_the_test(self, suite: Suite):
        run = suite(
            """
@pytest.mark.max_macs("1k")
def test_direct(): pass

@pytest.mark.max_macs("1k")
class TestClass:
    def test_without(self): pass
    def test_with(self): Net()(batch())
""",
            "-v",
            "test_it.py",
        )
        assert run.outcomes == {
            "test_direct": "failed",
            "TestClass::test_without": "passed",
            "TestClass::test_with": "passed",
        }
        assert run.outcome_of_limit("TestClass::test_without") == "not measured"
        run.result.stdout.fnmatch_lines(["  macs*not measured", "    the test neither calls a model*"])

    def test_no_contraction_under_a_positive_compute_limit(self, suite: Suite):
        run = suite(
            """
class Norm(nn.LayerNorm):
    def __init__(self): super().__init__(4)

@pytest.mark.max_macs("1k")
def test_positive(): Norm()(batch())
@pytest.mark.max_macs(0)
def test_zero(): Norm()(batch())
@pytest.mark.max_params("1k")
def test_state(): Norm()(batch())
@pytest.mark.max_macs("1k", module="head")
def test_part(): Net().forward_features(batch())
"""
        )
        assert run.headline("test_positive") == (
            "max_macs: nothing was measured: no matrix product, convolution or attention ran in the model"
        )
        assert run.outcomes["test_zero"] == run.outcomes["test_state"] == "passed"
        assert 'nothing was measured: no matrix product, convolution or attention ran in module="head"' in (
            run.headline("test_part")
        )

    def test_what_is_no_model_is_judged_where_it_is_all_that_there_is_and_has_such_a_figure(self, suite: Suite):
        """100 floats of four bytes; a product and a sum for each of them; the input, two results, and the buffer."""
        run = suite(
            """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bias", torch.ones(100))
    def forward(self, x): return x * 2 + self.bias
@pytest.fixture
def net(): return Net()

@pytest.mark.max_size(399)
def test_size(): Scaled()(torch.ones(100))
@pytest.mark.max_elementwise_flops(199)
def test_elementwise(): Scaled()(torch.ones(100))
@pytest.mark.max_memory(1599)
def test_memory(): Scaled()(torch.ones(100))
@pytest.mark.max_params(1)
def test_params(): Scaled()(torch.ones(100))
@pytest.mark.max_size(399)
def test_of_two(): nn.ReLU()(Scaled()(torch.ones(100)))
@pytest.mark.max_size(399)
def test_beside_a_model(): Net()(Scaled()(torch.ones(4, 100))[:, :4])
@pytest.mark.max_elementwise_flops(0, inputs=(1, 4))
def test_before_a_model(net): Scaled()(torch.ones(100))
"""
        )
        assert run.headline("test_size") == "max_size: Scaled 400 bytes > 399 bytes (+0.3 %)"
        assert (
            run.headline("test_elementwise") == "max_elementwise_flops: Scaled 200 FLOPs > 199 FLOPs (+0.5 %) for 100"
        )
        assert run.headline("test_memory").startswith("max_memory: Scaled 1.5625 KiB > 1.5615 KiB")
        assert "neither parameters nor contractions" in run.headline("test_params")
        assert "neither parameters nor contractions" in run.headline("test_of_two")
        assert run.outcomes["test_beside_a_model"] == "passed"
        # The fixture is the model, and its ReLU is eight FLOPs.
        assert run.headline("test_before_a_model") == "max_elementwise_flops: Net 8 FLOPs > 0 FLOPs for 1x4"

    def test_what_one_mark_says_to_call_a_model_with_goes_for_all_of_them(self, suite: Suite):
        run = suite(
            """
@pytest.fixture
def net(): return Tiny()
@pytest.fixture
def other(): return Net()
@pytest.fixture
def ones(): return torch.ones(9, 4)

@pytest.mark.max_macs(47)
@pytest.mark.max_activations(12, inputs=(3, 4))
def test_another(net): pass
@pytest.mark.max_macs(47)
@pytest.mark.max_activations(99, inputs=(1, 4))
@pytest.mark.max_traffic("1k", inputs=(3, 4))
def test_the_largest_of_several(net): pass
@pytest.mark.max_macs(16, inputs=(1, 4))
@pytest.mark.max_activations(12, inputs=(3, 4))
def test_its_own(net): pass
@pytest.mark.max_macs(47, model="net")
@pytest.mark.max_macs(144, model="other", inputs=(3, 4))
def test_of_another_model(net, other): pass
"""
        )
        over = "max_macs: Tiny 48 MACs > 47 MACs (+2.1 %) for 3x4"
        assert run.headline("test_another") == run.headline("test_the_largest_of_several") == over
        assert run.outcomes["test_its_own"] == "passed"
        assert "say with inputs= what to call it with" in run.headline("test_of_another_model")

    @pytest.mark.parametrize("kind", ["Generator", "Wrapper", "Outer"])
    def test_methods_of_a_mere_wrapper_make_calls_of_it(self, suite: Suite, kind: str):
        """Calls with 1, 2 and 4 rows of 48 MACs; to train on 4 rows takes no gradient of the input."""
        run = suite(
            f"""
class Generator(Net):
    def generate(self, x):
        for _ in range(3):
            out = self(x)
            x = torch.cat([x, x])
        return out
class Wrapper(nn.Module):
    def __init__(self, model=None):
        super().__init__()
        self.model = Generator() if model is None else model
    def forward(self, x): return self.model(x)
    def generate(self, x): return self.model.generate(x)
class Outer(Wrapper):
    def __init__(self): super().__init__(Wrapper())

@pytest.mark.modelbudget(macs=192, training_flops=2 * (192 + 192 + 64), activations=40)
@pytest.mark.max_macs(7 * 48, per="test")
@pytest.mark.max_macs(48, per="sample")
@pytest.mark.max_traffic("1k", device="meta")
@pytest.mark.max_latency("10 s")
def test_within(): {kind}().generate(torch.ones(1, 4))
@pytest.mark.max_macs(191)
def test_over(): {kind}().generate(torch.ones(1, 4))
@pytest.mark.max_macs(7 * 48 - 1, per="test")
def test_over_in_all(): {kind}().generate(torch.ones(1, 4))
@pytest.mark.max_training_flops(895)
def test_trains(): {kind}().generate(torch.ones(1, 4))
"""
        )
        assert run.outcomes["test_within"] == "passed", run.failure("test_within")
        assert run.headline("test_over") == f"max_macs: {kind} 192 MACs > 191 MACs (+0.5 %) for 4x4"
        assert run.headline("test_over_in_all").startswith(f"max_macs: {kind} 336 MACs > 335 MACs (+0.3 %) per test")
        assert run.headline("test_trains") == f"max_training_flops: {kind} 896 FLOPs > 895 FLOPs (+0.1 %) for 4x4"

    def test_what_holds_all_but_has_others_beside_it_is_a_part(self, suite: Suite):
        run = suite(
            """
class Headed(nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.act = Tiny(), nn.ReLU()
    def forward(self, x): return self.act(self.model(x))
@pytest.fixture
def headed(): return Headed()
@pytest.mark.max_macs(32)
def test_it(headed):
    for rows in (1, 2):
        headed.model(batch(rows))
"""
        )
        assert run.headline("test_it").startswith("max_macs: Headed 48 MACs > 32 MACs")

    def test_contractions_outside_every_module(self, suite: Suite):
        run = suite(
            """
@pytest.mark.max_macs("1k")
def test_stray(): torch.ones(2, 3) @ torch.ones(3, 2)
@pytest.mark.max_macs("1k")
def test_beside_a_model():
    net = Net()
    assert net.encoder(batch()).allclose(batch() @ net.encoder.weight.T + net.encoder.bias)
"""
        )
        assert run.headline("test_stray") == (
            "max_macs: nothing was measured: matrix products, convolutions or attention ran outside every nn.Module: "
            "put them in the forward of one"
        )
        assert run.measured("test_beside_a_model") == [("Linear", "64 MACs")]

    def test_calls_in_other_threads(self, suite: Suite):
        run = suite(
            FIXTURES
            + """
from threading import Thread

def elsewhere(model):
    thread = Thread(target=model, args=(batch(),))
    thread.start()
    thread.join()

@pytest.mark.max_macs("1k")
def test_fixture(net): elsewhere(net)
@pytest.mark.max_macs("1k")
def test_local(): elsewhere(Net())
@pytest.mark.max_macs("1k")
def test_both(net):
    net(batch())
    elsewhere(net)
"""
        )
        unseen = "called in another thread, where operators cannot be seen: call it in the thread of the test"
        assert run.headline("test_fixture") == f"max_macs: Net was {unseen}"
        assert run.headline("test_local") == f"max_macs: nothing was measured: models were {unseen}"
        assert run.headline("test_both") == f"max_macs: Net was {unseen}"


class TestUnprofilable:
    """Models that cannot be measured are one clear failure without a traceback of ours."""

    @pytest.mark.parametrize("limit", ["max_params('1k')", "max_macs('1k', inputs=(1, 4))"])
    def test_lazy_without_shapes(self, suite: Suite, limit: str):
        run = suite(
            f"""
class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.head = nn.LazyLinear(2)
    def forward(self, x): return self.head(self.encoder(x))

@pytest.fixture
def lazy(): return Lazy()

@pytest.mark.{limit}
def test_not_called(lazy): pass

@pytest.mark.{limit}
def test_part(lazy): lazy.encoder(batch())

@pytest.mark.{limit}
def test_local_part():
    model = nn.ModuleDict({{"encoder": nn.Linear(4, 8), "head": nn.LazyLinear(2)}})
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model
        def forward(self, x): return self.parts["encoder"](x)
    half = Half()
    half(batch())

@pytest.mark.{limit}
def test_called(lazy): lazy(batch(1))
"""
        )
        assert run.outcomes["test_called"] == "passed"
        assert run.measured("test_called")[0][1] in ("58", "48 MACs")
        for name in ("test_not_called", "test_part", "test_local_part"):
            assert " cannot be measured: " in run.headline(name), name
            assert "has no shape yet: call the model once before it is measured" in run.headline(name)
            assert "Traceback" not in run.failure(name)
            assert "pytest_modelbudget/" not in run.failure(name)

    def test_a_lazy_part_does_not_break_a_test_that_is_only_looked_at(self, suite: Suite):
        run = suite(
            """
def test_it():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = nn.Linear(4, 8), nn.LazyLinear(2)
        def forward(self, x): return self.encoder(x)
    half = Half()
    half(batch())
""",
            "--modelbudget",
        )
        assert run.outcomes == {"test_it": "passed"}

    def test_a_forward_that_raises_when_the_plugin_runs_it(self, suite: Suite):
        run = suite(
            """
@pytest.fixture
def broken(): return Broken()

@pytest.mark.max_macs("1k", inputs=(1, 4))
def test_meta(broken): pass
@pytest.mark.max_macs("1k", inputs=(1, 4), device="cpu")
def test_cpu(broken): pass
@pytest.mark.max_macs("1k", inputs=(1, 5))
def test_inputs(net): pass
@pytest.fixture
def net(): return Net()
@pytest.mark.max_macs("1k", inputs=lambda model: 1 / 0)
def test_callable(net): pass
@pytest.fixture
def handle(): return open(__file__)
@pytest.mark.max_macs("1k", inputs="handle")
def test_not_copied(net, handle): pass
"""
        )
        line = 1 + suite.pytester.path.joinpath("models.py").read_text().splitlines().index(
            '        raise RuntimeError("no such thing")'
        )
        elsewhere = "call it in the test, or give it other inputs="
        what_to_do = 'call it in the test, give it other inputs=, or another device=, for example "cpu"'
        assert run.headline("test_meta") == (
            f"max_macs: Broken cannot be run on meta (RuntimeError: no such thing at models.py:{line}): {what_to_do}"
        )
        assert run.headline("test_cpu") == (
            f"max_macs: Broken cannot be run on cpu (RuntimeError: no such thing at models.py:{line}): {elsewhere}"
        )
        assert run.headline("test_inputs").startswith("max_macs: Net cannot be run on meta (")
        assert run.headline("test_callable") == (
            "max_macs: inputs= could not make the inputs of Net: ZeroDivisionError: division by zero"
        )
        assert run.headline("test_not_copied").startswith("max_macs: the inputs of Net cannot be copied (")
        for name in run.outcomes:
            assert "Traceback" not in run.failure(name)

    def test_inputs_that_are_texts_reach_the_model(self, suite: Suite):
        run = suite(
            """
class Reader(Net):
    def forward(self, text): return super().forward(torch.ones(len(text), 4))

@pytest.fixture
def reader(): return Reader()

@pytest.mark.max_macs("1k", inputs=lambda model: "four")
def test_callable(reader): pass
@pytest.mark.max_macs("1k", device="cpu")
def test_repeated(reader): reader("three")
"""
        )
        assert run.measured("test_callable") == [("Reader", "192 MACs")]
        assert run.measured("test_repeated") == [("Reader", "240 MACs")]


class TestDevices:
    def test_calls_elsewhere_are_repeated_on_the_device(self, suite: Suite):
        run = suite(
            FIXTURES
            + """
@pytest.mark.max_macs("1k", device="meta")
def test_meta(net):
    net(batch(1))
    net(batch(2))
    net(batch(2))
@pytest.mark.max_macs("1k", device="meta", per="test")
def test_sum(net):
    net(batch(1))
    net(batch(2))
    net(batch(2))
@pytest.mark.max_macs("1k", device="meta")
def test_parts(net): net.head(net.encoder(batch()))
@pytest.mark.max_macs(95, device="meta")
def test_over(net): net(batch())
@pytest.mark.max_macs("1k", device="meta")
def test_built_there(): Net()(batch())
@pytest.mark.max_macs("1k", device="meta")
def test_method(net): batch() @ net.encoder.weight.T; net.product(batch())
@pytest.mark.max_macs("1k", device="meta")
@pytest.mark.max_elementwise_flops("1k", device="meta")
def test_generated(net): net.generate(batch())
Net.generate = lambda self, x: self(self(x).relu().repeat(1, 2)).argmax()
Net.product = lambda self, x: x @ self.encoder.weight.T
"""
        )
        assert run.measured("test_meta") == [("Net", "96 MACs")]
        assert run.measured("test_sum") == [("Net", "240 MACs")]
        assert run.measured("test_parts") == [("Net", "96 MACs")]
        assert "run abstractly on meta" in run.failure("test_over")
        assert run.measured("test_built_there") == [("Net", "96 MACs")]
        assert run.headline("test_method") == (
            "max_macs: part of the work of Net ran in its methods, outside module calls, and cannot be repeated on "
            'meta: use device="auto" for this test'
        )
        # What the method does between the calls holds no contraction: the MACs are all there.
        assert ("Net", "96 MACs") in run.measured("test_generated")
        assert "max_elementwise_flops: part of the work of Net ran in its methods" in run.failure("test_generated")

    def test_methods_that_multiply_nothing_do_so_everywhere(self, suite: Suite):
        run = suite(
            """
class Averaged(Net):
    def update(self):
        with torch.no_grad(): self.encoder.weight.mul_(0.5)
@pytest.mark.max_growth("1%", device="meta")
@pytest.mark.max_params(58)
def test_it(): Averaged().update()
"""
        )
        assert run.headline("test_it").startswith("max_growth: Averaged params 58: not in the baseline")
        assert "nothing was measured: no matrix product, convolution or attention ran" in run.failure("test_it")

    def test_an_argument_that_grows_is_repeated_as_it_was(self, suite: Suite):
        run = suite(
            """
class Cached(nn.Module):
    \"\"\"Keys of 4 numbers: step n multiplies 1x4 with 4xn, 4n MACs, after a projection of 16.\"\"\"
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(4, 4)
    def forward(self, x, cache):
        cache.append(self.project(x))
        return x @ torch.cat(cache).T

@pytest.fixture
def cached(): return Cached()

class Cache(list):
    pass

def on(device): return pytest.param(marks=pytest.mark.max_macs("1k", device=device, per="test"), id=device)

@pytest.mark.parametrize("kind", [list, Cache])
@pytest.mark.parametrize((), [on("auto"), on("meta"), on("cpu")])
def test_it(cached, kind):
    cache = kind()
    with torch.no_grad():
        for _ in range(3):
            cached(torch.ones(1, 4), cache)
"""
        )
        assert run.result.ret == 0
        assert len(run.outcomes) == 6
        for name in run.outcomes:
            assert run.measured(name) == [("Cached", "72 MACs")], name  # 3 * 16 and 4 + 8 + 12

    def test_a_call_that_cannot_be_repeated_fails_only_where_it_must(self, suite: Suite):
        source = """
class Reading(Net):
    def forward(self, x, file): return super().forward(x)

@pytest.fixture
def reading(): return Reading()

@pytest.mark.max_macs("1k")
def test_it(reading):
    with open(__file__) as file:
        reading(batch(), file)
"""
        assert suite(source).measured("test_it") == [("Reading", "96 MACs")]
        headline = suite(source, "--modelbudget-device=meta").headline("test_it")
        assert headline.startswith(f"max_macs: {UNREPEATABLE} (")
        assert headline.endswith('): use device="auto" for this test')

    @pytest.mark.parametrize(
        ("mark", "advice"),
        [
            ("max_training_flops(1)", "run the backward pass in the test"),
            (
                "max_training_flops(1, device='meta')",
                'use device="auto" for this test and run the backward pass in the test',
            ),
            (
                "max_latency('1 s')",
                "what is timed is called again, so call the model itself, with arguments that can be copied",
            ),
        ],
    )
    def test_what_is_advised_then_was_not_done_already(self, suite: Suite, mark: str, advice: str):
        run = suite(
            f"""
class Reading(Net):
    def forward(self, x, file): return super().forward(x)

@pytest.mark.{mark}
def test_it():
    with open(__file__) as file:
        Reading()(batch(), file)
"""
        )
        assert UNREPEATABLE in run.headline("test_it")
        assert run.headline("test_it").endswith(f"): {advice}")

    def test_inside_a_test_the_block_is_advised(self, suite: Suite):
        run = suite(
            """
def test_it(modelbudget):
    with open(__file__) as file:
        modelbudget.check(Net(), (batch(), file), macs=1)
"""
        )
        assert run.headline("test_it").startswith("max_macs: the inputs of Net cannot be copied (")
        assert run.headline("test_it").endswith("): call the model yourself, in a block of modelbudget.limit(...)")

    @pytest.mark.parametrize("device", ["xpu", "cuda:7"])
    def test_a_device_that_is_not_there_fails_the_test_with_its_name(self, suite: Suite, device: str):
        run = suite(
            FIXTURES
            + f"""
@pytest.mark.max_macs("1k", device={device!r})
def test_called(net): net(batch())
@pytest.mark.max_macs("1k", inputs=(1, 4), device={device!r})
def test_not_called(net): pass
@pytest.mark.max_params("1k", device={device!r})
def test_needs_none(net): pass
"""
        )
        for name in ("test_called", "test_not_called"):
            assert run.headline(name).startswith(f'max_macs: device "{device}" is not available here')
        assert run.outcomes["test_needs_none"] == "passed"
