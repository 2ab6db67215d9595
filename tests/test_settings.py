from __future__ import annotations

from pathlib import Path

import pytest

from pytest_modelbudget.budget import Uncounted
from pytest_modelbudget.settings import Settings, is_full_run, parse_device, parse_update

OFF = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest")


def settings_of(pytester: pytest.Pytester, *args: str) -> Settings:
    config = pytester.parseconfig(*args)
    return Settings.from_config(config)


VALUES = {
    "device": ("cuda:1", "cuda:1"),
    "uncounted": ("warn", Uncounted.WARN),
    "flops_per_mac": ("1", 1),
    "inputs": ("batch", "batch"),
    "max_growth": ("0.5 %", "0.5 %"),
}


def test_defaults(pytester):
    assert settings_of(pytester) == Settings(
        active=True,
        observe_all=False,
        device="auto",
        uncounted=Uncounted.FAIL,
        flops_per_mac=2,
        inputs=None,
    )


def test_flags(pytester):
    assert settings_of(pytester, "--modelbudget").observe_all
    assert not settings_of(pytester, "--no-modelbudget").active


@pytest.mark.parametrize("name", VALUES)
def test_every_option_stands_on_the_command_line(pytester, name):
    text, value = VALUES[name]
    settings = settings_of(pytester, f"--modelbudget-{name.replace('_', '-')}={text}")
    assert settings == Settings()._replace(**{name: value})


STYLES = {
    "pytest.ini": "[pytest]\nmodelbudget_{name} = {text}\n",
    "ini_options": '[tool.pytest.ini_options]\nmodelbudget_{name} = "{text}"\n',
    "native": '[tool.pytest]\nmodelbudget_{name} = "{text}"\n',
}


def configure(pytester: pytest.Pytester, style: str, name: str, text: str) -> str:
    if style == "native" and pytest.version_tuple < (9,):
        pytest.skip("[tool.pytest] came with pytest 9")
    file = style if style == "pytest.ini" else "pyproject.toml"
    pytester.path.joinpath(file).write_text(STYLES[style].format(name=name, text=text), encoding="utf-8")
    return file


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", VALUES)
def test_every_option_stands_in_every_style_of_configuration(pytester, style, name):
    text, value = VALUES[name]
    configure(pytester, style, name, text)
    assert settings_of(pytester) == Settings()._replace(**{name: value})


def test_a_number_may_be_a_number_in_ini_options(pytester):
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nmodelbudget_flops_per_mac = 1\n")
    assert settings_of(pytester).flops_per_mac == 1


def test_the_command_line_beats_ini(pytester):
    configure(pytester, "pytest.ini", "device", "cpu")
    assert settings_of(pytester, "--modelbudget-device=meta").device == "meta"
    assert settings_of(pytester, "-o", "modelbudget_device=mps").device == "mps"


BAD = [
    ("device", "gpu", "'gpu' is no device; write auto, meta, cpu, cuda, cuda:1, mps or xpu"),
    ("uncounted", "maybe", "'maybe' is not allowed; write fail, warn or ignore"),
    ("flops_per_mac", "3", "'3' is not allowed; write 2, or 1 where MACs are called FLOPs"),
    ("inputs", "a batch", "'a batch' is no fixture name"),
    ("max_growth", "1", "'1' is no percentage; write e.g. 1%, or 1%, memory=5%, or none"),
    ("max_growth", "1%, 2%", "'1%, 2%' limits growth twice"),
    ("max_growth", "1%, memory=5", "'memory=5' is no percentage; write e.g. 1%, or 1%, memory=5%, or none"),
    ("max_growth", "memry=5%", "'memry' is no metric; did you mean 'memory'?; write e.g. 1%, memory=5%"),
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("name", "text", "complaint"), BAD)
def test_a_bad_value_in_a_file_is_one_line_with_its_key(pytester, style, name, text, complaint):
    file = configure(pytester, style, name, text)
    result = pytester.runpytest(*OFF)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        f"ERROR: {pytester.path / file}: modelbudget_{name}: {complaint}"
    ]


@pytest.mark.parametrize(("name", "text", "complaint"), BAD)
def test_a_bad_value_on_the_command_line_is_one_line_with_its_option(pytester, name, text, complaint):
    option = f"--modelbudget-{name.replace('_', '-')}"
    result = pytester.runpytest(*OFF, f"{option}={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*error: argument {option}: {complaint}"])


UNKNOWN = [
    ("max_grwth", "1%", "; did you mean 'modelbudget_max_growth'?"),
    ("colours", "red", ""),
    ("update", "new", "; it is an option: write addopts = --modelbudget-update"),
    ("report", "json:r.json", "; it is an option: write addopts = --modelbudget-report"),
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("name", "text", "hint"), UNKNOWN)
def test_an_unknown_key_is_one_line_with_the_one_that_was_meant(pytester, style, name, text, hint):
    file = configure(pytester, style, name, text)
    result = pytester.runpytest(*OFF)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line.startswith("ERROR")] == [
        f"ERROR: {pytester.path / file}: modelbudget_{name}: unknown key{hint}"
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [("model_budget_device", "modelbudget_device"), ("verbosity_modelbudgets", "verbosity_modelbudget")],
)
def test_a_key_that_is_nearly_ours_is_unknown_too(pytester, key, meant):
    result = pytester.runpytest(*OFF, "-o", f"{key}=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{key}: unknown key; did you mean '{meant}'?"])


def test_keys_of_others_are_theirs(pytester):
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('modelbudget_colours', 'of a plugin')\n")
    pytester.makeini("[pytest]\nmodelbudget_colours = red\nmodel_path = there\n")
    assert settings_of(pytester) == Settings()


def test_the_baseline_lies_in_the_rootdir_or_where_the_command_line_says(pytester):
    configure(pytester, "pytest.ini", "baseline", "sub/b.json")
    assert settings_of(pytester).baseline == Path("sub/b.json")
    assert settings_of(pytester, "--modelbudget-baseline=b.json").baseline == pytester.path / "b.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("new", {"new"}),
        ("new, raise", {"new", "raise"}),
        ("all", {"new", "raise", "lower"}),
        ("lower,new", {"lower", "new"}),
    ],
)
def test_the_words_of_an_update(text, words):
    assert parse_update(text) == words


def test_a_preview_of_no_update_is_refused(pytester):
    result = pytester.runpytest(*OFF, "--modelbudget-dry-run")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: --modelbudget-dry-run says what an update would change: write --modelbudget-update=all, too"
    ]


def test_an_update_of_what_is_not_measured_is_refused(pytester):
    result = pytester.runpytest(*OFF, "--no-modelbudget", "--modelbudget-update=new")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: --no-modelbudget measures nothing that --modelbudget-update could record: leave one of them out"
    ]
    pytester.makeini("[pytest]\naddopts = --modelbudget-update=new\n")
    assert pytester.runpytest(*OFF, "--no-modelbudget").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("text", ["", "old", "new,all", "NEW"])
def test_no_words_of_an_update(text):
    with pytest.raises(ValueError, match="write new, raise, lower"):
        parse_update(text)


@pytest.mark.parametrize("text", ["auto", "meta", "cpu", "cuda", "cuda:0", "cuda:12", "mps", "xpu", "xpu:1"])
def test_devices(text):
    assert parse_device(text) == text


@pytest.mark.parametrize("text", ["", "CUDA", "cuda:", "cuda:x", "cuda:١", "meta:0", "cuda:1 "])
def test_no_devices(text):
    with pytest.raises(ValueError, match="is no device"):
        parse_device(text)


@pytest.mark.parametrize("args", [(), ("-v",), ("--modelbudget",), ("-x",), ("--ff",)])
def test_a_run_is_full_when_nothing_is_selected(pytester, args):
    assert is_full_run(pytester.parseconfig(*args))


def test_a_run_of_testpaths_is_full(pytester):
    pytester.mkdir("tests")
    pytester.makeini("[pytest]\ntestpaths = tests\n")
    assert is_full_run(pytester.parseconfig())


@pytest.mark.parametrize(
    "args",
    [
        (".",),
        ("-k", "a"),
        ("-m", "a"),
        ("--lf",),
        ("--sw",),
        ("--deselect", "a"),
        ("--ignore", "a"),
        ("--ignore-glob", "a*"),
    ],
)
def test_a_run_is_not_full_when_something_is_selected(pytester, args):
    assert not is_full_run(pytester.parseconfig(*args))


def test_without_a_cache_a_run_can_be_full(pytester):
    assert is_full_run(pytester.parseconfig("-p", "no:cacheprovider"))
