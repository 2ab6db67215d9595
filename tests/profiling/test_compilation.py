"""`torch.compile` behaves the same before, during and after an observed test as it does without the plugin."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.utils._python_dispatch

SUITE = """
    import pytest
    import torch
    from torch._dynamo.testing import CompileCounter

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    def compiled():
        counter = CompileCounter()
        return torch.compile(Small(), backend=counter, fullgraph=True), counter

    def fresh_frames():
        torch._dynamo.reset()
        model, counter = compiled()
        model(torch.randn(3, 4)), model(torch.randn(3, 4))
        return counter.frame_count, counter.op_count

    EVERYWHERE, COUNTER = compiled()

    def test_before():
        assert fresh_frames() == (1, 3)  # two linear layers and the relu

    def test_compiled_for_all():
        EVERYWHERE(torch.randn(3, 4))
        assert COUNTER.frame_count == 1

    @pytest.mark.max_macs(144)
    def test_gated():
        EVERYWHERE(torch.randn(3, 4))
        compiled()[0](torch.randn(3, 4))
        assert COUNTER.frame_count == 1  # ran eagerly, where it is seen

    @pytest.mark.max_macs(143)
    @pytest.mark.xfail(strict=True)
    def test_too_small_a_limit_is_noticed():
        EVERYWHERE(torch.randn(3, 4))

    @pytest.mark.max_params(58)
    def test_gated_without_compute():
        assert fresh_frames() == (1, 3)

    def test_after():
        assert fresh_frames() == (1, 3)
"""
EXPORTING = """
    import pytest
    import torch

    def check(strict):
        net, x = torch.nn.Linear(4, 8), torch.ones(2, 4)
        net(x)
        program = torch.export.export(net, (x,), strict=strict)
        assert [node.op for node in program.graph.nodes] == ["placeholder"] * 3 + ["call_function", "output"]
        net(x)

    @pytest.mark.parametrize("strict", [True, False])
    def test_unmarked(strict): check(strict)

    @pytest.mark.max_macs(128, per="test")
    @pytest.mark.parametrize("strict", [True, False])
    def test_within(strict): check(strict)

    @pytest.mark.max_macs(127, per="test")
    @pytest.mark.xfail(strict=True)
    @pytest.mark.parametrize("strict", [True, False])
    def test_over(strict): check(strict)
"""


def _run(pytester: pytest.Pytester, *arguments: str, suite: str = SUITE) -> pytest.RunResult:
    pytester.makepyfile(suite)
    return pytester.runpytest_subprocess(
        # Python 3.13.0 has a warning of its own.
        *("-W", "error", "-W", "ignore:Guards may run slower:RuntimeWarning", "-p", "no:asyncio", *arguments)
    )


def test_marked_tests_see_through_compiled_models_and_leave_them_alone(pytester: pytest.Pytester) -> None:
    _run(pytester).assert_outcomes(passed=5, xfailed=1)


@pytest.mark.skipif(
    not hasattr(torch.utils._python_dispatch.TorchDispatchMode, "ignore_compile_internals"),
    reason="this torch compiles nothing under a dispatch mode",
)
def test_observing_every_test_compiles_nothing_differently(pytester: pytest.Pytester) -> None:
    _run(pytester, "--modelbudget").assert_outcomes(passed=5, xfailed=1)


@pytest.mark.usefixtures("strict_export")
@pytest.mark.parametrize("arguments", [(), ("--modelbudget",)], ids=["marked", "all observed"])
def test_exporting_is_no_work_and_calls_around_it_are(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    _run(pytester, *arguments, suite=EXPORTING).assert_outcomes(passed=4, xfailed=2)


def test_a_test_that_does_not_compile_does_not_import_dynamo() -> None:
    code = (
        "import sys, torch\n"
        "from pytest_modelbudget.profiling.observation import Observation\n"
        "with Observation().under(sys._getframe()):\n"
        "    torch.nn.Linear(4, 4)(torch.randn(2, 4))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert not any('StanceSetter' in type(finder).__name__ for finder in sys.meta_path)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_stance_is_set_when_the_observed_code_is_the_first_to_compile() -> None:
    code = (
        "import sys, torch\n"
        "from pytest_modelbudget.profiling.observation import Observation\n"
        "model, observation = torch.nn.Linear(4, 4), Observation()\n"
        "def run():\n"
        "    torch.compile(model, backend='eager')(torch.randn(2, 4))\n"
        "with observation.under(sys._getframe()):\n"
        "    run()\n"
        "((profile, _),) = observation.profiles(observation.look_at(model), 2)\n"
        "assert profile.macs == 32, profile.macs\n"
        "import torch._dynamo\n"
        "assert torch._dynamo.eval_frame._stance.stance == 'default'\n"
        "assert not any('StanceSetter' in type(finder).__name__ for finder in sys.meta_path)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
