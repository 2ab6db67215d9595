"""Command line > ini > default, into one frozen `Settings`: the only reader of pytest's configuration.

Every pytest start imports this file, so it imports nothing that pytest has not imported already, and makes few
dataclasses and named tuples. For the same reason annotations are no strings here: `typing` compiles each of those that
a named tuple has, which takes longer than all the rest.
"""

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_modelbudget.tables import Table


class Settings(NamedTuple):
    """What the user asked for, for the whole run.

    Attributes:
        active: False with `--no-modelbudget`: nothing is measured or judged.
        observe_all: observe every test, also unmarked ones.
        device: where to measure: `auto`, `meta`, `cpu`, `cuda:1`, …
        uncounted: what an operator of unknown cost does where compute is limited.
        flops_per_mac: how many FLOPs one multiply-accumulate counts for, 1 or 2.
        attention: which kernel memory and traffic of an abstract run are those of: `fused` or `math`.
        inputs: the fixture with what models are called with where neither test nor mark says.
        baseline: the file; a relative path starts at the rootdir.
        max_growth: how much every observed test may grow over the baseline, as it is written: `1%, memory=5%`.
        update: what this run may change in the baseline.
        update_refused: why the update that was asked for does not happen.
        dry_run: only say what an update would change.
        reports: what to write at the end, and where.
    """

    active: bool = True
    observe_all: bool = False
    device: str = "auto"
    uncounted: str = "fail"
    flops_per_mac: int = 2
    attention: str = "fused"
    inputs: str | None = None
    baseline: Path = Path("modelbudget-baseline.json")
    max_growth: str | None = None
    update: frozenset[str] = frozenset()
    update_refused: str = ""
    dry_run: bool = False
    reports: tuple[tuple[str, Path | None], ...] = ()

    @property
    def wants_every_test(self) -> bool:
        """Whether there is something to say at the end, even where no test has a budget of its own."""
        return bool(self.observe_all or self.update or self.update_refused or self.reports)

    @classmethod
    def from_config(cls, config: pytest.Config) -> "Settings":
        """The settings of this run.

        Raises:
            pytest.UsageError: a key of ours in the configuration file is unknown, or its value is not allowed; one line
                that names the key.
        """
        _check_keys(config)
        chosen = {}
        for option in OPTIONS:
            key = f"modelbudget_{option.name}"
            value = config.getoption(key)  # parsed by argparse already
            if value is None and (text := config.getini(key)) is not None:
                try:
                    value = option.parse(text.strip())
                except ValueError as error:
                    raise pytest.UsageError(f"{config.inipath or 'ini'}: {key}: {error}") from None
            elif isinstance(value, Path):
                value = config.invocation_params.dir / value
            if value is not None:
                chosen[option.name] = value
        update, refused = _update(config)
        if update and config.getoption("no_modelbudget") and _is_typed(config, "--modelbudget-update"):
            raise pytest.UsageError(
                "--no-modelbudget measures nothing that --modelbudget-update could record: leave one of them out"
            )
        if config.getoption("modelbudget_dry_run") and not config.getoption("modelbudget_update"):
            raise pytest.UsageError(
                "--modelbudget-dry-run says what an update would change: write --modelbudget-update=all, too"
            )
        if any(kind == "html" for kind, _ in config.getoption("modelbudget_report")):
            from pytest_modelbudget.extras import ExtraMissingError, check_html

            try:
                check_html()
            except ExtraMissingError as error:  # now, and not after an hour of tests
                raise pytest.UsageError(f"--modelbudget-report=html: {error}") from None
        reports = tuple(
            (kind, path and config.invocation_params.dir / path)
            for kind, path in config.getoption("modelbudget_report")
        )
        if chosen.get("max_growth") == NO_GROWTH_LIMIT:
            del chosen["max_growth"]
        _check_places(reports, config.rootpath / chosen.get("baseline", cls().baseline))
        return cls(
            active=not config.getoption("no_modelbudget"),
            observe_all=config.getoption("modelbudget"),
            update=update,
            update_refused=refused,
            dry_run=config.getoption("modelbudget_dry_run"),
            reports=reports,
            **chosen,
        )


def _check_keys(config: pytest.Config) -> None:
    """Refuse keys that look like ours and are none: pytest only warns of them, and a gate would stand open.

    Raises:
        pytest.UsageError: one line for each, with what may have been meant.
    """
    # With pytest 8 its name is public, and it lacks what -o sets; pytest offers no other list of what is written.
    written = dict.fromkeys(vars(config).get("_inicfg") or vars(config).get("inicfg") or ())
    written.update((setting.partition("=")[0], None) for setting in config.getoption("override_ini") or ())
    known = ["verbosity_modelbudget", *(f"modelbudget_{option.name}" for option in OPTIONS)]
    errors = []
    for key in written:
        if key in known or "modelbudget" not in key.replace("_", "").replace("-", ""):
            continue
        try:
            config.getini(key)  # another plugin may have added it
        except ValueError:
            from pytest_modelbudget.limits import near

            hint = near(key, known, cutoff=0.8)  # they have much in common as it is
            if hasattr(config.option, key):
                hint = f"; it is an option: write addopts = --{key.replace('_', '-')}"
            errors.append(f"{config.inipath or 'ini'}: {key}: unknown key{hint}")
    if errors:
        raise pytest.UsageError(*errors)


def _check_places(reports: "Sequence[tuple[str, Path | None]]", baseline: Path) -> None:
    """Refuse to write two things to one file: the later one would be all that is left.

    Raises:
        pytest.UsageError: one line that names both and the file.
    """
    paths = [(kind, path) for kind, path in reports if path is not None]
    if not paths:
        return
    # However a path is written, and through links.
    taken = {os.path.normcase(os.path.realpath(baseline)): "the baseline"}
    for kind, path in paths:
        option = f"--modelbudget-report={kind}"
        place = os.path.normcase(os.path.realpath(path))
        if place in taken:
            raise pytest.UsageError(f"{option}: {path} is where {taken[place]} goes: give each a path of its own")
        taken[place] = option


def _update(config: pytest.Config) -> tuple[frozenset[str], str]:
    """What may be updated, and why it is not what was asked for."""
    asked: frozenset[str] = config.getoption("modelbudget_update") or frozenset()
    # In CI nobody looks at what is written: it takes somebody who typed it. Workers of xdist get the same arguments.
    if asked and in_ci() and not _is_typed(config, "--modelbudget-update"):
        return frozenset(), "with CI set, --modelbudget-update counts only on the command line itself"
    return asked, ""


def _is_typed(config: pytest.Config, option: str) -> bool:
    return any(str(argument).startswith(option) for argument in config.invocation_params.args)


def in_ci() -> bool:
    """Whether nobody watches this run."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


settings_key = pytest.StashKey[Settings]()
"""Where `config.stash` keeps the settings of the run."""

tables_key: "pytest.StashKey[Sequence[Table]]" = pytest.StashKey()
"""Where `config.stash` keeps its budgets in TOML."""


def settings_for(item: pytest.Item) -> Settings:
    """The settings of the run, with the device that the hook `pytest_modelbudget_device` gives this test.

    Raises:
        ValueError: what the hook gives is no device.
    """
    settings = item.config.stash[settings_key]
    device = item.ihook.pytest_modelbudget_device(item=item)
    if device is None:
        return settings
    try:
        return settings._replace(device=parse_device(str(device)))  # a torch.device reads as it is written
    except ValueError as error:
        raise ValueError(f"the hook pytest_modelbudget_device: {error}") from None


def parse_device(text: str) -> str:
    """A torch device's name, or `auto`; whether it is there shows when it is used."""
    if re.fullmatch(r"auto|meta|cpu|mps|(cuda|xpu)(:\d+)?", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is no device; write auto, meta, cpu, cuda, cuda:1, mps or xpu")
    return text


def parse_uncounted(text: str) -> str:
    """What to do about operators of unknown cost: as `budget.Uncounted`, which costs every start of pytest too much."""
    if text not in ("fail", "warn", "ignore"):
        raise ValueError(f"{text!r} is not allowed; write fail, warn or ignore")
    return text


def _parse_flops_per_mac(text: str) -> int:
    if text not in ("1", "2"):
        raise ValueError(f"{text!r} is not allowed; write 2, or 1 where MACs are called FLOPs")
    return int(text)


def _parse_attention(text: str) -> str:
    if text not in ("fused", "math"):
        raise ValueError(f"{text!r} is not allowed; write fused, or math where the device has no fused kernel")
    return text


def _parse_fixture(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(f"{text!r} is no fixture name")
    return text


def _parse_path(text: str) -> Path:
    if not text:
        raise ValueError("an empty path; write e.g. modelbudget-baseline.json")
    return Path(text)


NO_GROWTH_LIMIT = "none"
"""What lifts `modelbudget_max_growth`, as it does limits in tables."""


def _parse_max_growth(text: str) -> str:
    # The exact value is computed where something is measured: fractions cost every start of pytest half a millisecond.
    if text.strip() != NO_GROWTH_LIMIT and re.fullmatch(r"\d{1,9}(\.\d{1,9})?\s*%", text.strip(), re.ASCII) is None:
        from pytest_modelbudget.relative import growth_of

        growth_of(text)
    return text.strip()


def parse_update(text: str) -> frozenset[str]:
    """The words of `--modelbudget-update`."""
    known = {"new", "raise", "lower"}  # as `update.Update`, which costs every start of pytest too much
    words = known if text == "all" else {word.strip() for word in text.split(",")}
    if not words <= known:
        raise ValueError(f"{text!r} is not allowed; write new, raise, lower, several of them with commas, or all")
    return frozenset(words)


def parse_report(text: str) -> tuple[str, Path | None]:
    """`KIND:PATH`, or the kind alone where a report has its place."""
    kind, _, path = text.partition(":")
    if kind in REPORTS_WITH_PATH and path:
        return kind, Path(path)
    if kind in REPORTS_WITHOUT_PATH and not path:
        return kind, None
    known = [*(f"{name}:PATH" for name in REPORTS_WITH_PATH), *REPORTS_WITHOUT_PATH]
    raise ValueError(f"{text!r} is no report; write {', '.join(known[:-1])} or {known[-1]}")


REPORTS_WITH_PATH = ("json", "markdown", "html")
REPORTS_WITHOUT_PATH = ("github", "junit")


class Option:
    """A setting that may stand on the command line, `--modelbudget-<name>`, and in ini, `modelbudget_<name>`."""

    __slots__ = ("help", "metavar", "name", "parse")

    def __init__(self, name: str, parse: "Callable[[str], object]", metavar: str, help: str) -> None:  # noqa: A002
        self.name = name
        self.parse = parse
        self.metavar = metavar
        self.help = help


OPTIONS = (
    Option(
        "device",
        parse_device,
        "DEVICE",
        "where models are measured: auto (default: observe what the test runs; meta where the plugin runs the model "
        "itself), meta, cpu, cuda, cuda:1, mps or xpu",
    ),
    Option(
        "uncounted",
        parse_uncounted,
        "{fail,warn,ignore}",
        "what an operator of unknown cost does to a test whose compute is limited (default: fail)",
    ),
    Option(
        "flops_per_mac",
        _parse_flops_per_mac,
        "{1,2}",
        "FLOPs of one multiply-accumulate (default: 2); 1 for teams that call MACs FLOPs",
    ),
    Option(
        "attention",
        _parse_attention,
        "{fused,math}",
        "the kernel of attention in abstract runs, for memory and traffic: fused (default), which keeps no scores, or "
        "math, which keeps them",
    ),
    Option(
        "inputs",
        _parse_fixture,
        "FIXTURE",
        "the fixture with what to call models with, where neither the test nor a mark says",
    ),
    Option(
        "baseline", _parse_path, "PATH", "the figures that growth is held against (default: modelbudget-baseline.json)"
    ),
    Option(
        "max_growth",
        _parse_max_growth,
        "PERCENT",
        "how much the parameters and FLOPs of every observed test may grow over the baseline, in percent; and other "
        "metrics by name: 1%, memory=5%; none: nothing is held to growth but by marks and tables",
    ),
)


def command_for(config: pytest.Config, test: str = "", replaced: str = "") -> str:
    """The command that measures alike, but for `--modelbudget-update`, in the directory of this run.

    It repeats what was typed and is set nowhere: without it, another run would hold other tests to growth, by other
    figures, in another file.

    Args:
        config: of the run.
        test: the node id of the only test that it is for.
        replaced: that of one in whose place it is, which is known to be gone where whole files run.
    """
    typed = {str(argument).partition("=")[0] for argument in config.invocation_params.args}
    root, here = config.rootpath, config.invocation_params.dir
    words = [test] if test else []
    if replaced and replaced != test:
        files = [one.partition("::")[0] for one in (test, replaced)]
        words = [file for file in dict.fromkeys(files) if (root / file).exists()]
    if root != here:  # ids start at the rootdir, and without a path pytest would look no further than here
        paths = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else ()
        parts = [word.partition("::") for word in words]
        words = [f"{os.path.relpath(root / file, here)}{colons}{rest}" for file, colons, rest in parts] or list(paths)
    for plugin in config.getoption("plugins") or ():
        words += ["-p", plugin] if "modelbudget" in plugin else []
    words += [f"--config-file={file}" for file in [config.getoption("inifilename")] if file]
    words += [f"--rootdir={folder}" for folder in [config.getoption("rootdir")] if folder]
    words += ["--modelbudget"] if "--modelbudget" in typed else []
    for option in OPTIONS:
        flag = f"--modelbudget-{option.name.replace('_', '-')}"
        if flag in typed:
            words.append(f"{flag}={config.getoption(f'modelbudget_{option.name}')}")
    overridden = config.getoption("override_ini") or ()
    words += [f"--override-ini={setting}" for setting in overridden if setting.startswith("modelbudget_")]
    return " ".join(["python -m pytest", *map(shlex.quote, words)])


def without_bodies(config: pytest.Config) -> str:
    """The option with which no test comes to its body; empty where there is none."""
    options = {"collectonly": "--collect-only", "setupplan": "--setup-plan", "setuponly": "--setup-only"}
    # Some of pytest's own plugins can be switched off, and their options with them.
    return next((option for name, option in options.items() if config.getoption(name, False)), "")


def is_full_run(config: pytest.Config) -> bool:
    """Whether the command line selects nothing, so that what is missing from the run is missing from the suite.

    On pytest-xdist's workers the answer is always no: the controller hands them its arguments.
    """
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return False
    selecting = ("keyword", "markexpr", "lf", "stepwise", "deselect", "ignore", "ignore_glob")
    # Without the cacheprovider plugin there is no --lf and no --stepwise.
    return not any(config.getoption(name, None) for name in selecting)
