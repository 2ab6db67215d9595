"""`python -m pytest_modelbudget summary`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_modelbudget.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8, *, bad=False):
        super().__init__()
        if bad:
            raise ValueError("no such width\\nand more")
        self.fc = nn.Linear(4, width)

    def forward(self, x, ids=None):
        return self.fc(x)

    @classmethod
    def wide(cls):
        return cls(100)


class WithInputs(Net):
    dummy_inputs = {"x": torch.zeros(3, 4)}


class LooksAtItself(Net):
    def __init__(self):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]


class LooksAtABuffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("switch", torch.ones(()))

    def forward(self, x):
        return self.fc(x) if self.switch else x


class Gate(Net):
    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


class Mode(Net):
    def forward(self, x):
        return self.fc(x) if self.training else x


class Wrong(Net):
    def forward(self, x):
        return self.fc(x.view(-1, 5))


net = Net()
number = 3


def needs(size):
    return Net(size)


def nothing():
    return None
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    tmp_path.joinpath("models_of_user.py").write_text(MODELS)
    tmp_path.joinpath("broken_of_user.py").write_text("import torch\n1 / 0\n")
    tmp_path.joinpath("script_of_user.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["summary", *arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, *capsys.readouterr()

    yield run
    for name in ("models_of_user", "broken_of_user", "script_of_user"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("factory", "params"),
    [
        ("Net", 40),
        ("Net(16)", 80),
        ("Net(width=16)", 80),
        ("Net.wide", 500),
        ("Net.wide()", 500),
        ("net", 40),
        ("needs(2)", 10),
        ("LooksAtItself", 40),
        ("LooksAtABuffer", 40),
    ],
)
def test_a_model_is_a_class_a_function_or_an_instance(run: Run, factory: str, params: int) -> None:
    code, out, err = run(f"models_of_user:{factory}", "--inputs", "2,4", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["params"] == params


@pytest.mark.parametrize(
    ("inputs", "read"),
    [
        (["--inputs", "2,4"], "2x4"),
        (["--inputs", "x=2,4"], "2x4"),
        (["--inputs", "2,4", "--inputs", "2,7:int64"], "2x4, 2x7"),
        (["--inputs", "2,4", "--inputs", "ids=2,7:int64"], "2x4, 2x7"),
        (["--inputs=2,4:float16"], "2x4"),
    ],
)
def test_inputs(run: Run, inputs: list[str], read: str) -> None:
    code, out, err = run("models_of_user:net", *inputs, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["inputs"] == read


def test_the_model_s_own_inputs(run: Run) -> None:
    code, out, _ = run("models_of_user:WithInputs", "--json")
    assert (code, json.loads(out)["macs"]) == (0, 3 * 4 * 8)


def test_the_table(run: Run) -> None:
    code, out, _ = run("models_of_user:net", "--inputs", "2,4", "--columns", "type, params,macs", "--sort", "params")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["Net", "2x4", "run", "abstractly"]
    assert lines[1] == ["module", "type", "params", "MACs"]
    assert lines[3:5] == [["Net", "40", "64"], ["└", "fc", "Linear", "40", "64"]]


def test_eval_is_the_mode_and_training_an_option(run: Run) -> None:
    assert json.loads(run("models_of_user:Mode", "--inputs", "2,4", "--json")[1])["macs"] == 0
    assert json.loads(run("models_of_user:Mode", "--inputs", "2,4", "--json", "--train")[1])["macs"] == 64
    trained = json.loads(run("models_of_user:Mode", "--inputs", "2,4", "--json", "--backward")[1])
    assert (trained["macs"], trained["backward_flops"]) == (64, 128)


def test_time_is_measured_on_real_devices(run: Run) -> None:
    code, out, err = run("models_of_user:net", "--inputs", "2,4", "--device", "cpu", "--latency", "--durations")
    assert (code, err) == (0, "")
    assert "Latency" in out
    assert "runs on cpu" in out
    assert "time %" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["models_of_user"], "'models_of_user' names no model; write PKG.MODULE:FACTORY"),
        (["models_of_user.py:Net"], "'models_of_user.py' is a file; write the module that it is, models_of_user:Net"),
        (["models_of_user:Net(size)"], "'Net(size)' is no name of a factory; write FACTORY, or FACTORY(10"),
        (["models_of_user:Nett"], "models_of_user has no Nett; did you mean 'Net'?"),
        (["no_such_module:Net"], "there is no module no_such_module; write one that can be imported from"),
        (["models_of_user:net(3)"], "models_of_user:net(3) is a model already; write it without parentheses"),
        (["models_of_user:number"], "is a int; write a class, a function or a model"),
        (["models_of_user:nothing"], "nothing returned a NoneType; write a factory that returns an nn.Module"),
        (["models_of_user:needs"], "needs raised TypeError: needs() missing 1 required positional argument"),
        (["models_of_user:needs"], "write its arguments, models_of_user:needs(...), or a function that needs none"),
        (["models_of_user:Net(bad=True)"], "Net raised ValueError: no such width at models_of_user.py:10"),
        (["broken_of_user:Net"], "importing broken_of_user raised ZeroDivisionError: division by zero at broken_of"),
        (["script_of_user:Net"], "importing script_of_user raised SystemExit: 3 at script_of_user.py:1"),
        (["models_of_user:Net"], "Net has no dummy_inputs; write what to call it with, --inputs 1,3,224,224"),
        (["models_of_user:Net", "--inputs", "2;4"], "--inputs: '2;4' is no shape; write e.g. --inputs 1,3,224,224"),
        (
            ["models_of_user:Net", "--inputs", "2,4:imt64"],
            "torch has no dtype imt64 (did you mean int64?); write e.g. --inputs",
        ),
        (["models_of_user:Wrong", "--inputs", "2,4"], "at models_of_user.py:52; write other --inputs"),
        (["models_of_user:Gate", "--inputs", "2,4"], "looks at values of a tensor"),
        (["models_of_user:Gate", "--inputs", "2,4"], "; write --device cpu"),
        (["models_of_user:Net", "--columns", "macz"], "there is no column 'macz'; did you mean 'macs'?"),
        (["models_of_user:Net", "--sort", "type"], "cannot sort by 'type'; write one of calls"),
        (["models_of_user:Net", "--latency"], "--latency: nothing is computed on meta, so there is no time"),
        (["models_of_user:Net", "--device", "tpu"], "'tpu' is no device; write"),
        (["models_of_user:Net", "--depth", "all"], "'all' is no number of levels; write e.g. --depth 2"),
        (["models_of_user:Net", "--flops-per-mac", "3"], "invalid choice: 3 (choose from"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_to_write(
    run: Run, arguments: list[str], complaint: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert complaint in line
    assert "Traceback" not in err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from pytest_modelbudget.__main__ import main\n"
        "try: main(['summary', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("False\n")
    assert "--inputs input_ids=1,128:int64" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path) -> None:
    tmp_path.joinpath("models_of_user.py").write_text(MODELS)
    command = [sys.executable, "-m", "pytest_modelbudget", "summary", "models_of_user:net", "--inputs", "2,4"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1
