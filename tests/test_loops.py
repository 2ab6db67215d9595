"""Models that a test calls again and again: generation with a cache, diffusion.

The decoder has 64 weights; a call takes 64 MACs a token, and 8 for each pair of a token and one that it looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.suite import Suite

DECODER = """
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.kv, self.out = (nn.Linear(4, width, bias=False) for width in (4, 8, 4))

    def forward(self, x, cache=None):
        k, v = self.kv(x).chunk(2, -1)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 1), torch.cat([cache[1], v], 1)
        y = nn.functional.scaled_dot_product_attention(self.q(x)[:, None], k[:, None], v[:, None])[:, 0]
        return self.out(y), (k, v)

@pytest.fixture
def net(): return Decoder().eval()

@torch.no_grad()
def generate(net):
    y, cache = net(torch.ones(1, 5, 4))
    for _ in range(3):
        y, cache = net(y[:, -1:], cache)
"""
PREFILL = 5 * 64 + 5 * 5 * 8
STEPS = [64 + 6 * 8, 64 + 7 * 8, 64 + 8 * 8]
TOTAL = PREFILL + sum(STEPS)


@pytest.mark.parametrize("device", ["auto", "cpu", "meta"])
def test_generation_is_limited_by_call_and_in_all(suite: Suite, device: str):
    run = suite(
        f"""
{DECODER}
@pytest.mark.max_macs({PREFILL})
@pytest.mark.max_macs({TOTAL}, per="test")
def test_within(net): generate(net)

@pytest.mark.max_macs({PREFILL - 1})
def test_prefill(net): generate(net)

@pytest.mark.max_macs({TOTAL - 1}, per="test")
def test_all(net): generate(net)
""",
        f"--modelbudget-device={device}",
    )
    assert run.outcomes == {"test_within": "passed", "test_prefill": "failed", "test_all": "failed"}
    assert run.headline("test_prefill").startswith(f"max_macs: Decoder {PREFILL} MACs > {PREFILL - 1} MACs")
    assert f"{TOTAL} MACs > {TOTAL - 1} MACs" in run.headline("test_all")


def test_prefill_and_each_step_are_told_apart_in_the_table(suite: Suite):
    run = suite(f"{DECODER}\ndef test_it(net): generate(net)", "--modelbudget", "-v")
    rows = [line for line in run.lines if line.startswith("Decoder  ")]
    assert rows == [
        "Decoder  1x5x4  on cpu",
        "Decoder  1x1x4, 1x5x4, 1x5x4  on cpu",
        "Decoder  1x1x4, 1x6x4, 1x6x4  on cpu",
        "Decoder  1x1x4, 1x7x4, 1x7x4  on cpu",
    ]
    output = run.result.stdout.str()
    assert all(f"macs {figure} MACs" in output for figure in (PREFILL, *STEPS))


@pytest.mark.parametrize("report", ["terminal", "markdown"])
def test_the_steps_after_a_prefill_are_one_row(suite: Suite, report: str):
    run = suite(f"{DECODER}\ndef test_it(net): generate(net)", "--modelbudget", "--modelbudget-report=markdown:r.md")
    figures = f"{STEPS[0]} MACs to {STEPS[-1]} MACs"
    grown = "3 different calls in a row, up to 1x1x4, 1x7x4, 1x7x4"
    if report == "terminal":
        headings = [index for index, line in enumerate(run.lines) if line.startswith("Decoder  ")]
        assert [run.lines[index] for index in headings] == [
            "Decoder  1x5x4  on cpu",
            "Decoder  1x1x4, 1x5x4, 1x5x4  on cpu",
        ]
        assert run.lines[headings[1] + 1] == f"  {grown}"
        assert f"macs {figures}" in run.lines[headings[1] + 2]
    else:
        rows = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
        (step,) = [row for row in rows if "1x1x4, 1x5x4, 1x5x4 on cpu" in row]
        assert f"| {figures} |" in step
        assert grown in step
        assert sum(row.startswith("| `Decoder`") for row in rows) == 2


def test_two_calls_alone_are_no_loop(suite: Suite):
    run = suite(
        f"{DECODER}\ndef test_it(net): _, cache = net(torch.ones(1, 5, 4)); "
        "_, cache = net(torch.ones(1, 1, 4), cache); net(torch.ones(1, 1, 4), cache)",
        "--modelbudget",
    )
    assert sum(line.startswith("Decoder  ") for line in run.lines) == 3


def test_a_diffusion_loop_is_one_row_and_counts_each_step(suite: Suite):
    run = suite(
        """
class Denoiser(nn.Module):
    # 20 parameters, 16 MACs a sample; the step is a number
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, step):
        return x - self.layer(x) * step.sin()

@pytest.fixture
def net(): return Denoiser()

@torch.no_grad()
def sample(net):
    x = torch.ones(2, 4)
    for step in torch.arange(50, 0, -1): x = net(x, step)

@pytest.mark.max_macs(32)
@pytest.mark.max_macs(50 * 32, per="test")
def test_within(net): sample(net)

@pytest.mark.max_macs(50 * 32 - 1, per="test")
def test_over(net): sample(net)
""",
        "--modelbudget",
        "-v",
    )
    assert run.outcomes == {"test_within": "passed", "test_over": "failed"}
    assert "1.6 KMACs" in run.headline("test_over") or "1,600 MACs" in run.headline("test_over")
    assert sum(line.startswith("Denoiser  2x4") for line in run.lines) == 1


# A token takes 4 x 4 and 4 x 10 MACs: 56. The vocabulary has 10 x 4 parameters, the layers 4 x 4 + 4 and 4 x 10 + 10.
GROWING = """
def lm(): return nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10))
def decode(m, steps):
    for t in range(1, steps + 1): m(torch.zeros(1, t, dtype=torch.long))
"""


def of_models(run) -> list[str]:
    lines = run.lines
    start = next(index for index, line in enumerate(lines) if "= model budgets =" in line)
    end = next(
        index for index in range(start + 1, len(lines)) if lines[index].startswith("=") or " passed" in lines[index]
    )
    return lines[start + 1 : end]


@pytest.mark.parametrize("args", [(), ("-q",), ("-n1",)], ids=" ".join)
def test_calls_that_grow_without_a_cache_are_one_row_and_hide_no_other_model(suite: Suite, args: tuple[str, ...]):
    run = suite(
        f"{GROWING}\ndef test_decode(): decode(lm(), 29)\ndef test_other(): Tiny()(batch(1))", "--modelbudget", *args
    )
    lines = of_models(run)
    assert [line for line in lines if not line.startswith("  ")] == [
        "Sequential  1x29 and 28 smaller calls  on cpu",
        "Tiny  1x4  on cpu",
    ]
    # 29 x 56 MACs; and 1 + 2 + ... + 29 = 435 tokens in all.
    assert "macs 1.624 KMACs" in lines[1]
    assert lines.index("  29 calls in all: macs 24.36 KMACs  flops 48.72 KFLOPs") < lines.index(
        "  test_it.py::test_decode"
    )


def test_verbose_shows_each_of_them(suite: Suite):
    run = suite(f"{GROWING}\ndef test_decode(): decode(lm(), 29)", "--modelbudget", "-v")
    assert [line for line in run.lines if line.startswith("Sequential")] == [
        f"Sequential  1x{t}  on cpu" for t in range(1, 30)
    ]


def test_in_markdown_they_are_one_row_too(suite: Suite):
    suite(f"{GROWING}\ndef test_decode(): decode(lm(), 29)", "--modelbudget", "--modelbudget-report=markdown:r.md")
    rows = suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    (row,) = [row for row in rows if row.startswith("| `Sequential`")]
    assert row.startswith("| `Sequential` | 1x29 and 28 smaller calls on cpu | 110 | 1.624 KMACs |")


def test_each_test_has_the_row_of_its_heaviest_call(suite: Suite):
    run = suite(
        f"""
{GROWING}
@pytest.mark.parametrize("steps", [4, 6])
def test_decode(steps): decode(lm(), steps)
def test_again():
    m = lm()
    decode(m, 6), decode(m, 6)
def test_once(): lm()(torch.zeros(1, 4, dtype=torch.long))
""",
        "--modelbudget",
    )
    lines = [line for line in of_models(run) if not line.startswith("  ") or "::" in line or "in all" in line]
    # 21 tokens in all, twice in one of the tests; and 10.
    assert lines == [
        "Sequential  1x6 and 5 smaller calls  on cpu",
        "  6 to 12 calls in all: macs 1.176 KMACs to 2.352 KMACs",
        "  test_it.py::test_again and 1 more",
        "Sequential  1x4 and 3 smaller calls  on cpu",
        "  4 calls in all: macs 560 MACs  flops 1.12 KFLOPs  total_flops 1.12 KFLOPs",
        "  test_it.py::test_decode[4]",
        "Sequential  1x4  on cpu",
        "  test_it.py::test_once",
    ]


def test_calls_of_equal_weight_are_not_called_smaller(suite: Suite):
    source = (
        "def test_it():\n    for shape in ((2, 8), (4, 4), (8, 2), (1, 16)): nn.Linear(4, 4)(torch.ones(*shape, 4))"
    )
    run = suite(source.replace("nn.Linear(4, 4)(", "m(").replace("():\n", "():\n    m = Tiny()\n"), "--modelbudget")
    assert [line for line in of_models(run) if line.startswith("Tiny")] == ["Tiny  2x8x4 and 3 other calls  on cpu"]


def test_no_model_has_its_second_row_before_each_has_its_first(suite: Suite):
    # 12 models, heavier and heavier, each called with two sizes by a test: 24 rows, of which 20 are shown.
    source = """
@pytest.mark.parametrize("width", range(1, 13))
def test_it(width):
    m = nn.Linear(4, width)
    m(batch(1)), m(batch(2))
"""
    lines = of_models(suite(source, "--modelbudget"))
    headings = [line.split("  ")[1] for line in lines if line.startswith("Linear")]
    assert headings == ["2x4", "1x4"] * 8 + ["2x4"] * 4
    assert lines[-1] == "4 more (-v shows them)"


def test_the_steps_of_a_loop_say_what_they_take_in_all(suite: Suite):
    run = suite(f"{DECODER}\ndef test_it(net): generate(net)", "--modelbudget")
    assert f"  3 calls in all: macs {sum(STEPS)} MACs  flops {2 * sum(STEPS)} FLOPs" in "\n".join(run.lines)
