"""A baseline from its first entry to its last, as a team lives with it.

Net: 58 parameters (encoder 40, head 18), 48 MACs a sample, 96 FLOPs. Widened to 16: encoder 80, head 34, 96 MACs.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.baseline import load

if TYPE_CHECKING:
    from tests.suite import Run, Suite

SOURCE = """
import models

class Sized(Net):
    def __init__(self, width):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, width), nn.Linear(width, 2)

@pytest.mark.max_growth("1%")
def test_it(): Sized(WIDTH)(batch(1))
"""
NAME = "modelbudget-baseline.json"


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


def run(suite: Suite, width: int, *args: str) -> Run:
    return suite(SOURCE.replace("WIDTH", str(width)), *args)


def recorded(suite: Suite) -> dict[str, int]:
    return {key.metric: entry.value for key, entry in load(suite.pytester.path / NAME).items()}


def said(run: Run) -> list[str]:
    """What stands below the tests about the baseline."""
    below = "\n".join(run.lines).partition("model baseline and reports")[2].splitlines()[1:]
    return list(takewhile(lambda line: not line.startswith("="), below))


def test_the_story(suite: Suite):
    # Without an entry the test fails, and says how to record one.
    first = run(suite, 8)
    assert first.outcomes == {"test_it": "failed"}
    assert first.failure("test_it").splitlines() == [
        "max_growth: Sized params 58: not in the baseline",
        '  limit     1% of growth from @max_growth("1%") at test_it.py:13',
        "  measured  58 parameters",
        "  next      record it, and commit the baseline: python -m pytest test_it.py::test_it --modelbudget-update=new",
        "",
        "max_growth: Sized flops 96 FLOPs for 1x4: not in the baseline",
        '  limit     1% of growth from @max_growth("1%") at test_it.py:13',
        "  measured  96 FLOPs",
        "  next      record it, and commit the baseline: python -m pytest test_it.py::test_it --modelbudget-update=new",
    ]
    assert not (suite.pytester.path / NAME).exists()

    # A preview writes nothing.
    preview = run(suite, 8, "--modelbudget-update=new", "--modelbudget-dry-run")
    assert said(preview) == [
        f"{NAME}: would change 2 entries",
        "  new test_it.py::test_it Sized: flops 96 FLOPs, params 58",
    ]
    assert not (suite.pytester.path / NAME).exists()

    # Recording passes, and from then on the test is held against it.
    assert run(suite, 8, "--modelbudget-update=new").outcomes == {"test_it": "passed"}
    assert recorded(suite) == {"params": 58, "flops": 96}
    quiet = run(suite, 8)
    assert quiet.outcomes == {"test_it": "passed"}
    assert said(quiet) == []

    # The pull request that widens a layer fails, with the layers named, also where its reviewers look.
    grown = run(suite, 16, "--modelbudget-report=markdown:r.md")
    assert grown.outcomes == {"test_it": "failed"}
    assert (
        "| 🔺 |  |  | params | 58 | 114 | +56 (+96.6 %) | encoder +40, head +16 |"
        in suite.pytester.path.joinpath("r.md").read_text("utf-8").splitlines()
    )
    lines = grown.failure("test_it").splitlines()
    assert lines[0] == "max_growth: Sized params 114, was 58 (+96.6 % > 1%)"
    assert lines[1] == '  limit     1% of growth from @max_growth("1%") at test_it.py:13'
    assert lines[2].startswith("  baseline  58 parameters, measured with torch 2.")
    assert lines[3].startswith("  measured  114 parameters, with torch 2.")
    assert lines[4] == "  where     encoder +40 of +56   head +16"
    assert lines[5] == (
        "  next      make the model lighter, or accept the growth: "
        "python -m pytest test_it.py::test_it --modelbudget-update=raise"
    )
    assert recorded(suite) == {"params": 58, "flops": 96}

    # The wrong word does not help.
    assert run(suite, 16, "--modelbudget-update=new,lower").outcomes == {"test_it": "failed"}
    assert recorded(suite) == {"params": 58, "flops": 96}

    # Accepted, it passes, and says what was accepted.
    accepted = run(suite, 16, "--modelbudget-update=raise")
    assert accepted.outcomes == {"test_it": "passed"}
    assert said(accepted) == [
        f"{NAME}: changed 2 entries",
        "  raised Sized flops 96 FLOPs -> 192 FLOPs (+100.0 %) in test_it.py::test_it: "
        "encoder +64 FLOPs of +96 FLOPs   head +32 FLOPs",
        "  raised Sized params 58 -> 114 (+96.6 %) in test_it.py::test_it: encoder +40 of +56   head +16",
    ]
    assert recorded(suite) == {"params": 114, "flops": 192}

    # Made lighter, the run says that the baseline could follow; it does so on request alone, on full runs alone.
    lighter = run(suite, 8)
    assert said(lighter)[0] == "below the baseline (--modelbudget-update=lower keeps it so): 2 entries"
    assert said(run(suite, 8, "test_it.py")) == []
    assert run(suite, 8, "test_it.py", "--modelbudget-update=lower").outcomes == {"test_it": "passed"}
    assert recorded(suite) == {"params": 114, "flops": 192}
    ratcheted = run(suite, 8, "--modelbudget-update=lower")
    assert said(ratcheted)[1] == (
        "  lowered Sized flops 192 FLOPs -> 96 FLOPs (-50.0 %) in test_it.py::test_it: "
        "encoder -64 FLOPs of -96 FLOPs   head -32 FLOPs"
    )
    assert recorded(suite) == {"params": 58, "flops": 96}

    # The test is renamed: its entries are stale, listed, and dropped on request.
    stale = suite(SOURCE.replace("WIDTH", "8").replace("test_it", "test_other"), "--modelbudget-update=new")
    assert "stale" not in "".join(said(stale)[:3])
    assert recorded(suite) == {"params": 58, "flops": 96}
    assert len(load(suite.pytester.path / NAME)) == 4
    listed = suite(SOURCE.replace("WIDTH", "8").replace("test_it", "test_other"))
    assert (
        said(listed)[0]
        == "stale, their tests or models are gone, or not measured any more (--modelbudget-update=lower drops them): "
        "2 entries"
    )
    suite(SOURCE.replace("WIDTH", "8").replace("test_it", "test_other"), "--modelbudget-update=lower")
    assert {key.test for key in load(suite.pytester.path / NAME)} == {"test_it.py::test_other"}


CALLS = """
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.large, self.small = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    def forward(self, x, y): return self.large(x).sum() + self.small(y).sum()

# 64 MACs a row.
@pytest.mark.max_growth(flops="0%"MODULE)
def test_it():
    net = Two()
    for rows in ROWS:
        net(*(torch.zeros(count, 8) for count in rows))
"""


def calls(suite: Suite, rows: object, *args: str, module: str = "") -> Run:
    written = f', module="{module}"' if module else ""
    return suite(CALLS.replace("ROWS", str(rows)).replace("MODULE", written), *args)


def test_what_grew_is_told_of_the_call_that_decides(suite: Suite):
    calls(suite, [(10, 1), (1, 5)], "--modelbudget-update=new")
    (entry,) = load(suite.pytester.path / NAME).values()
    assert entry.modules == {"": 2 * 11 * 64, "large": 2 * 10 * 64, "small": 2 * 64}
    assert entry.largest == {"small": 2 * 5 * 64}
    # One row more in the largest call; `small` grew by four, in another one.
    lines = calls(suite, [(11, 1), (1, 9)]).failure("test_it").splitlines()
    assert "  where     large +128 FLOPs" in lines


def test_a_module_is_held_against_its_own_largest_call(suite: Suite):
    calls(suite, [(10, 1), (1, 5)], "--modelbudget-update=new", module="small")
    assert calls(suite, [(10, 2), (1, 5)], module="small").outcomes == {"test_it": "passed"}
    failure = calls(suite, [(10, 1), (1, 6)], module="small").failure("test_it")
    assert "max_growth: Two small flops 768 FLOPs, was 640 FLOPs (+20.0 % > 0%)" in failure


def test_a_module_with_two_names_grows_once(suite: Suite):
    source = """
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.reader = nn.Sequential(nn.Embedding(WIDTH, 4))
            self.writer = self.reader
            self.head = nn.Linear(4, HEAD)
        def forward(self, ids): return self.head(self.writer(ids))

    @pytest.mark.max_growth(params="0%")
    def test_it(): Tied()(torch.zeros(1, dtype=torch.long))
    """
    suite(source.replace("WIDTH", "10").replace("HEAD", "2"), "--modelbudget-update=new")
    lines = suite(source.replace("WIDTH", "12").replace("HEAD", "3")).failure("test_it").splitlines()
    # Two rows of 4 in the table; one of 4 and a bias in the head.
    assert "  where     reader.0 +8 of +13   head +5" in lines


def test_growth_of_the_model_itself_is_told_beside_that_of_its_modules(suite: Suite):
    source = """
    class Scaled(Net):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(SIZE))
            self.tail = nn.Linear(1, SIZE)

    @pytest.mark.max_growth(params="0%")
    def test_it(): Scaled()(batch())
    """
    suite(source.replace("SIZE", "3"), "--modelbudget-update=new")
    lines = suite(source.replace("SIZE", "5")).failure("test_it").splitlines()
    # Two weights and two biases; two scales.
    assert "  where     tail +4 of +6   the model itself +2" in lines


def test_growth_of_what_methods_do_says_that_it_is_of_all_of_them(suite: Suite):
    source = """
    @pytest.mark.max_growth(flops="0%")
    def test_it():
        net = Net()
        for _ in range(TIMES): net.forward_features(batch(1))
    """
    suite(source.replace("TIMES", "2"), "--modelbudget-update=new")
    failure = suite(source.replace("TIMES", "3")).failure("test_it")
    # 32 MACs each.
    assert "  measured  192 FLOPs, with torch " in failure
    assert failure.count(", all work of its parts outside a call of the model together\n") == 1


def test_weights_that_are_not_tied_any_more_are_said_to_be(suite: Suite):
    source = """
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.reader, self.writer, self.body = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False), nn.Linear(4, WIDTH)
            if TIED: self.writer.weight = self.reader.weight
        def forward(self, ids): return self.writer(self.reader(ids))

    @pytest.mark.max_growth(params="0%")
    def test_it(): Tied()(torch.zeros(1, dtype=torch.long))
    """
    suite(source.replace("TIED", "True").replace("WIDTH", "2"), "--modelbudget-update=new")
    lines = suite(source.replace("TIED", "False").replace("WIDTH", "2")).failure("test_it").splitlines()
    assert "  where     the modules of the model share less, +36" in lines
    lines = suite(source.replace("TIED", "False").replace("WIDTH", "3")).failure("test_it").splitlines()
    assert "  where     the modules of the model share less, +36 of +41   body +5" in lines


@pytest.mark.parametrize(
    ("first", "second", "figures", "where"),
    [
        # 11 rows of 64 MACs in the largest call, then 12; `small` grew by four rows in another one.
        ([(10, 1), (1, 5)], [(11, 1), (1, 9)], "1.536 KFLOPs, was 1.408 KFLOPs", ["outer.large +128 FLOPs"]),
        # 16 rows are not in the call that decides for the model, which calls `head` with 100: of 20 rows nobody knows
        # what was whose.
        ([(10, 1), (1, 15)], [(10, 1), (1, 19)], "2.56 KFLOPs, was 2.048 KFLOPs", []),
    ],
)
def test_what_grew_in_a_limited_module_is_told_of_one_call(
    suite: Suite, first: object, second: object, figures: str, where: list[str]
):
    source = (
        CALLS.partition("# 64 MACs")[0]
        + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.outer, self.head = Two(), nn.Linear(8, 8, bias=False)
    def forward(self, x, y):
        self.head(torch.zeros(100 if len(x) > 9 else 1, 8))
        return self.outer(x, y)

@pytest.mark.max_growth(flops="0%", module="outer")
def test_it():
    net = Net()
    for rows in ROWS:
        net(*(torch.zeros(count, 8) for count in rows))
"""
    )
    suite(source.replace("ROWS", str(first)), "--modelbudget-update=new")
    failure = suite(source.replace("ROWS", str(second))).failure("test_it")
    assert f"max_growth: Net outer flops {figures}" in failure
    assert [line.strip() for line in failure.splitlines() if "where" in line] == [f"where     {text}" for text in where]


def test_what_grew_in_a_limited_module_is_told_by_one_name(suite: Suite):
    source = """
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, WIDTH)
            self.second = self.first
            self.rest = nn.Linear(4, 2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.outer = Outer()
            self.again = self.outer

    @pytest.fixture
    def net(): return Net()

    @pytest.mark.max_growth(params="0%", module="LIMITED")
    def test_it(net): pass
    """
    for limited in ("outer", "again"):
        suite.pytester.path.joinpath(NAME).unlink(missing_ok=True)
        suite(source.replace("LIMITED", limited).replace("WIDTH", "8"), "--modelbudget-update=new")
        failure = suite(source.replace("LIMITED", limited).replace("WIDTH", "9")).failure("test_it")
        # 4 x 8 + 8 = 40 and 4 x 2 + 2 = 10 parameters; then 4 x 9 + 9 = 45 and 10.
        assert f"max_growth: Net {limited} params 55, was 50 (+10.0 % > 0%)" in failure
        assert f"  where     {limited}.first +5" in failure.splitlines()


@pytest.mark.parametrize(
    ("rest", "accepts"),
    [("", True), ("@pytest.mark.max_params(1)", False), ('@pytest.mark.max_params(1, level="warn")', True)],
)
def test_growth_can_be_accepted_where_the_test_passes_otherwise(suite: Suite, rest: str, accepts: bool):
    source = SOURCE.replace("@pytest", f"{rest}\n@pytest", 1)
    suite(SOURCE.replace("WIDTH", "8"), "--modelbudget-update=new")
    growth = suite(source.replace("WIDTH", "16")).failure("test_it").partition("max_growth:")[2]
    (following,) = [line for line in growth.splitlines() if "next" in line][:1]
    assert following == (
        "  next      make the model lighter, or accept the growth: python -m pytest test_it.py::test_it "
        "--modelbudget-update=raise"
        if accepts
        else "  next      make the model lighter, or accept the growth with --modelbudget-update=raise when the other "
        "limits of this test hold"
    )
