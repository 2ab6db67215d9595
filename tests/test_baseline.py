"""The file of the baseline: what is written is read again, what is something else is refused and left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelbudget import baseline, files
from pytest_modelbudget.baseline import BaselineError, Entry, Key, lines, load, parse, save

KEY = Key("tests/test_it.py::test_it[a|b]", "Net", "flops")
ENTRY = Entry(128, {"": 128, "0": 128}, 2, "2x4", "2.13.0", "0.1.0", "3.11.7")
LINE = (
    '{"test": "tests/test_it.py::test_it[a|b]", "model": "Net", "metric": "flops", "per": "call", "device": "any", '
    '"value": 128, "inputs": "2x4", "flops_per_mac": 2, "torch": "2.13.0", "plugin": "0.1.0", "python": "3.11.7", '
    '"modules": {"": 128, "0": 128}},'
)


def text_of(*rows: str) -> str:
    return "\n".join(['{"kind": "modelbudget baseline", "version": 1, "entries": [', *rows, "null]}", ""])


def test_the_format():
    assert "".join(lines({KEY: ENTRY})) == text_of(LINE)
    assert parse(text_of(LINE), "b.json") == {KEY: ENTRY}


def test_entries_are_sorted_and_keep_to_their_lines():
    keys = [KEY._replace(test=test) for test in ("b", "a\nb\u2028c", "a", "\u202egnp.exe", "x" * 10_000)]
    text = "".join(lines(dict.fromkeys(keys, ENTRY)))
    assert text.splitlines() == text.split("\n")[:-1]
    assert len(text.splitlines()) == 2 + len(keys)
    assert text.isascii()
    assert list(parse(text, "b.json")) == sorted(keys)


figures = st.integers(0, 10**40) | st.fractions(min_value=0)
texts = st.text(max_size=9)
entries = st.dictionaries(
    st.builds(Key, texts, texts, texts, texts, texts),
    st.builds(Entry, figures, st.dictionaries(texts, figures, max_size=3), st.sampled_from([1, 2]), texts, texts),
    max_size=4,
)


@given(entries)
def test_what_is_written_is_read_again(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "b.json"
    path.write_text("".join(lines(written)), encoding="utf-8")
    assert load(path) == parse(path.read_text("utf-8"), "b.json") == written


def test_figures_stay_exact():
    huge = 10**30 + 1
    written = {KEY: ENTRY._replace(value=huge), KEY._replace(per="sample"): ENTRY._replace(value=Fraction(100, 3))}
    text = "".join(lines(written))
    assert f'"value": {huge},' in text
    assert '"value": "100/3",' in text
    assert parse(text, "b.json") == written


def test_without_a_file_there_are_no_entries(tmp_path):
    assert load(tmp_path / "b.json") == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "b.json:1: no JSON (Expecting value)"),
        (text_of(LINE)[:190], "b.json:2: no JSON ("),
        ("[]", "not a baseline of pytest-modelbudget"),
        ('{"kind": "modelbudget report", "version": 1}', "not a baseline of pytest-modelbudget"),
        (text_of().replace('"version": 1', '"version": 2'), "version 2 of the format, and this plugin knows 1"),
        (text_of().replace('"version": 1', '"version": true'), "version True of the format"),
        (text_of(LINE, LINE), "two entries for tests/test_it.py::test_it[a|b] (Net flops)"),
        (text_of(LINE.replace('"value": 128', '"value": 128, "value": 129')), "the key 'value' comes twice"),
        (text_of(LINE.replace('"value": 128', '"value": NaN')), "NaN is no figure"),
        (text_of(LINE.replace('"value": 128', '"value": -Infinity')), "-Infinity is no figure"),
        (text_of(LINE.replace('"value": 128', '"value": 1e30')), "entries[0]: 1e+30 is no figure"),
        (text_of(LINE.replace('"value": 128', '"value": -1')), "entries[0]: -1 is no figure"),
        (text_of(LINE.replace('"value": 128', '"value": true')), "entries[0]: True is no figure"),
        (text_of(LINE.replace('"value": 128', '"value": "1/0"')), "entries[0]: '1/0' is no figure"),
        (text_of(LINE.replace('"value": 128, ', "")), "entries[0]: 'value' is missing"),
        (text_of(LINE.replace('"Net"', "7")), "entries[0]: model: 7 is no text"),
        (text_of(LINE.replace('"0": 128', '"0": null')), "entries[0]: None is no figure"),
        (text_of(LINE.replace('"flops_per_mac": 2', '"flops_per_mac": 3')), "flops_per_mac: 3 is neither 1 nor 2"),
        (text_of("7,"), "entries[0]: 7 is no object"),
        ("[" * 100_000, "nested too deeply"),
        (text_of(LINE.replace("128", "9" * 5000)), "b.json: "),
    ],
)
def test_what_is_no_baseline_is_refused_and_left_alone(tmp_path, text, complaint):
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BaselineError) as refused:
        load(path)
    assert complaint in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert path.read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "b.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BaselineError, match="no UTF-8 text"):
        load(path)


def test_a_merge_conflict_is_recognised(tmp_path):
    path = tmp_path / "b.json"
    path.write_text(text_of("<<<<<<< HEAD", LINE, "=======", LINE, ">>>>>>> branch"), encoding="utf-8")
    with pytest.raises(BaselineError, match=r"b\.json:2: a merge conflict: keep one side"):
        load(path)


def test_another_formatter_and_windows_change_nothing(tmp_path):
    import json

    path = tmp_path / "b.json"
    path.write_text("\ufeff" + json.dumps(json.loads(text_of(LINE)), indent=2).replace("\n", "\r\n"), encoding="utf-8")
    assert load(path) == {KEY: ENTRY}


def test_two_branches_that_add_entries_merge(tmp_path):
    def saved(name: str, *tests: str) -> str:
        save(tmp_path / name, {KEY._replace(test=test): ENTRY for test in tests})
        return name

    base = saved("base", "b", "d", "f")
    ours, theirs = saved("ours", "b", "c", "d", "f"), saved("theirs", "b", "d", "e", "f")
    merged = subprocess.run(["git", "merge-file", "-p", ours, base, theirs], cwd=tmp_path, capture_output=True)
    assert merged.returncode == 0
    assert [key.test for key in parse(merged.stdout.decode(), "merged")] == ["b", "c", "d", "e", "f"]


# -- files --------------------------------------------------------------------------------------------------------


def python(code: str, *args: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True)


def test_killed_between_write_and_rename_the_old_file_stays(tmp_path):
    path = tmp_path / "b.json"
    save(path, {KEY: ENTRY})
    old = path.read_bytes()
    code = """
import os, signal, sys
from pathlib import Path
from pytest_modelbudget import files
Path.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
files.write(Path(sys.argv[1]), ["new"])
"""
    assert python(code, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == old
    assert len(os.listdir(tmp_path)) == 2  # what it wrote
    with files.locked(path):
        save(path, {})
    assert os.listdir(tmp_path) == ["b.json"]
    assert load(path) == {}


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "b.json"
    save(path, {KEY: ENTRY})
    code = """
import resource, signal, sys
from pathlib import Path
from pytest_modelbudget import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.write(Path(sys.argv[1]), ["x" * 10_000])
except OSError as error:
    print(type(error).__name__)
"""
    assert python(code, path).stdout == b"OSError\n"
    assert os.listdir(tmp_path) == ["b.json"]
    assert load(path) == {KEY: ENTRY}


def test_runs_that_end_at_once_lose_nothing(tmp_path):
    path = tmp_path / "b.json"
    code = """
import sys
from pathlib import Path
from pytest_modelbudget.baseline import *
from pytest_modelbudget.recording import record
from pytest_modelbudget.settings import Settings
path, name = Path(sys.argv[1]), sys.argv[2]
for index in range(20):
    key = Key(f"{name}{index}", "Net", "params")
    record(
        path=path,
        results={key.test: {"entries": [to_row(key, Entry(1, {}))], "verdicts": []}},
        outcomes={key.test: "passed"},
        settings=Settings(update=frozenset({"new"})),
        incomplete="only part of the suite was selected",
    )
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in "abc"]
    while any(writer.poll() is None for writer in writers):
        load(path)  # whenever one looks, the file is whole
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(load(path)) == 60
    assert os.listdir(tmp_path) == ["b.json"]


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path):
    path, link = tmp_path / "b.json", tmp_path / "link.json"
    save(path, {})
    path.chmod(0o640)
    link.symlink_to(path)
    save(link, {KEY: ENTRY})
    assert link.is_symlink()
    assert load(path) == {KEY: ENTRY}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        save(tmp_path / "sub" / "b.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "sub" / "b.json").stat().st_mode & 0o777 == 0o644


def test_a_pipe_is_written_to():
    code = "from pathlib import Path; from pytest_modelbudget import files; files.write(Path('/dev/stdout'), ['text'])"
    assert python(code).stdout == b"text"


def test_many_entries_take_seconds_and_no_gigabytes(tmp_path):
    many = {KEY._replace(test=f"test_{index}"): ENTRY for index in range(20_000)}
    path = tmp_path / "b.json"
    started = time.process_time()
    save(path, many)
    assert load(path) == many
    assert time.process_time() - started < 10  # one second on an idle machine
    tracemalloc.start()
    try:
        baseline.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000 * 1200  # bytes; the file itself has 280 an entry
