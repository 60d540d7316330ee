"""What kills, signals, damage, hostile files and a second writer must not cost."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image

import triptych as tt
from triptych import cli
from triptych.core import UsageError
from triptych.errors import Interrupted, TriptychError, printable
from triptych.io import lock
from triptych.models.vae.vae import PRESETS, VAE
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs.decoration import metrics, shots
from triptych.verbs.train import train


def small() -> VAE:
    torch.manual_seed(0)
    return VAE(PRESETS["vae-tiny"].config)


def play(path: Path, steps: int = 4, **options: Any) -> None:
    model = small()
    for _ in train(model, Examples(model.config.x), Run(steps=steps, batch=8), out=path, **options):
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    play(tmp_path / "run", pictures=3)
    return tmp_path / "run"


# Decoration


def flip(file: Path, at: int | None = None) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    file.write_bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "postscript": lambda file: file.write_bytes(EPS),
    "another size": lambda file: Image.new("RGB", (3, 3)).save(file),
    "folder": lambda file: (file.unlink(), file.mkdir()),
    "fifo": lambda file: (file.unlink(), os.mkfifo(file)),
    "device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
}


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called gs, first on the PATH, that leaves a file if it is started."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "started"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_picture_is_named_and_costs_nothing(run: Path, ghostscript: Path, damage: str, caplog) -> None:
    file = run / "samples" / "step-00000002.png"
    DAMAGES[damage](file)
    play(run, 8, resume=True, pictures=3)
    assert json.loads((run / "state.json").read_text())["position"]["step"] == 8
    assert (run / "samples" / "progress.gif").exists() and not ghostscript.exists()
    assert f"{file} is left out" in caplog.text and caplog.text.count("is left out") == 1
    steps = [step for step, _ in shots(run)]
    assert 2 not in steps and {0, 4, 8} <= set(steps)


BAD_LINES = {
    "flipped": lambda line: line.replace('"step"', '"stdp"'),
    "no json": lambda line: line[:-1],
    "a list": lambda line: "[]",
    "a number": lambda line: "3}",
    "text": lambda line: line.replace('"seconds": ', '"seconds": "x", "y": '),
    "truth": lambda line: '{"step": true, "seconds": 0}',
    "nested": lambda line: '{"step": 1, "seconds": 0, "loss": {"a": 1}}',
    "deep": lambda line: "[" * 100_000 + "]" * 100_000,
    "null": lambda line: "null",
    "huge": lambda line: '{"step": ' + "9" * 5000 + ', "seconds": 0}',
    "no utf-8": lambda line: "\udcff\udcfe",
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_damaged_line_of_the_log_is_named_and_costs_nothing(run: Path, kind: str, caplog) -> None:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    lines[1] = BAD_LINES[kind](lines[1])
    file.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    assert [line["step"] for line in metrics(run)] == [1, 3, 4]
    assert f"{file}: line 2" in caplog.text
    play(run, 6, resume=True)
    assert [line["step"] for line in metrics(run)] == [1, 3, 4, 5, 6]


def test_a_line_that_is_still_being_written_is_no_damage(run: Path, caplog) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "sec')
    assert [line["step"] for line in metrics(run)] == [1, 2, 3, 4]
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["metrics.jsonl", "README.md", "samples"])
def test_decoration_that_cannot_be_written_costs_nothing(run: Path, name: str, caplog) -> None:
    blocked = run / name
    if name == "samples":
        shutil.rmtree(blocked)
        blocked.write_text("")
    else:
        blocked.unlink()
        blocked.mkdir()
    play(run, 8, resume=True, pictures=3)
    assert json.loads((run / "state.json").read_text())["position"]["step"] == 8
    assert f"{blocked}" in caplog.text and "is left out" in caplog.text


# One writer


def write(path: Path, started: Any, release: Any) -> None:
    with lock.writing(path):
        started.set()
        release.wait(60)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Any]:
    """Another process that writes into tmp_path/run."""
    context = multiprocessing.get_context("fork")
    started, release = context.Event(), context.Event()
    process = context.Process(target=write, args=(tmp_path / "run", started, release))
    process.start()
    assert started.wait(60)
    yield process
    if process.is_alive():
        release.set()
    process.join(60)


def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path: Path, writer: Any) -> None:
    for second in (lambda: play(tmp_path / "run"), lambda: tt.save_pretrained(small(), tmp_path / "run")):
        with pytest.raises(UsageError, match=rf"is being written by process {writer.pid} on .* since "):
            second()
    assert {p.name for p in (tmp_path / "run").iterdir()} == {lock.NAME}


def test_a_lock_does_not_outlive_a_killed_process(tmp_path: Path, writer: Any) -> None:
    writer.kill()
    writer.join(60)
    assert (tmp_path / "run" / lock.NAME).exists()
    play(tmp_path / "run")
    assert not (tmp_path / "run" / lock.NAME).exists()


def test_two_runs_of_one_process_are_two_writers(tmp_path: Path) -> None:
    model = small()
    first = train(model, Examples(model.config.x), Run(steps=4, batch=8), out=tmp_path)
    next(first)
    with pytest.raises(UsageError, match=f"is being written by process {os.getpid()} "):
        play(tmp_path, resume=True)
    first.close()
    play(tmp_path, resume=True)


def test_readers_are_not_kept_out(run: Path) -> None:
    with lock.writing(run):
        tt.load(run)


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "folder"])
def test_a_lock_file_that_is_none(tmp_path: Path, kind: str) -> None:
    file = tmp_path / lock.NAME
    victim = tmp_path / "victim"
    victim.write_text("precious")
    {
        "fifo": lambda: os.mkfifo(file),
        "device": lambda: file.symlink_to("/dev/zero"),
        "link": lambda: file.symlink_to(victim),
        "folder": lambda: file.mkdir(),
    }[kind]()
    with pytest.raises(UsageError, match=r"\.lock|cannot write"), lock.writing(tmp_path):
        pass
    assert victim.read_text() == "precious"


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch, caplog) -> None:
    import errno
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    play(tmp_path)
    assert "cannot be locked" in caplog.text


def test_a_refused_writer_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        play(tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


# Signals


def test_a_signal_is_no_mere_exception() -> None:
    assert not issubclass(Interrupted, Exception) and not issubclass(Interrupted, TriptychError)


def main_with(monkeypatch, work: Callable[[], None]) -> int:
    monkeypatch.setattr(typer.Typer, "__call__", lambda app, standalone_mode: work())
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_swallowed_signal_is_raised_again(monkeypatch, capsys, number: int, code: int) -> None:
    monkeypatch.setattr(cli, "AGAIN", 0.02)

    def deaf() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException:
            pass
        for _ in range(500):
            time.sleep(0.01)

    before = signal.getsignal(number)
    assert main_with(monkeypatch, deaf) == code
    assert signal.getsignal(number) == before and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cleaning_up_is_not_disturbed(monkeypatch) -> None:
    monkeypatch.setattr(cli, "AGAIN", 0.02)
    cleaned = []

    def tidy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            time.sleep(0.1)
            cleaned.append(True)

    assert main_with(monkeypatch, tidy) == 143 and cleaned


def test_ignored_signals_stay_ignored(monkeypatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("module", ["typer", "torch", "numpy", "triptych.verbs.train"])
def test_a_signal_during_an_import_is_one_line(tmp_path: Path, number: int, code: int, module: str) -> None:
    """In a process of its own, which signals itself as soon as it begins to import a module."""
    import subprocess

    program = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
from triptych.cli import main
main()
"""
    arguments = ["train", "vae", "--data", "mnist", "--out", str(tmp_path / "run")]
    source = str(Path(tt.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("x"),
        OSError(12, "Cannot allocate memory"),
        OSError(28, "No space left on device", "page.html"),
    ],
    ids=repr,
)
def test_what_runs_out_anywhere_is_explained(monkeypatch, capsys, error: Exception) -> None:
    def work() -> None:
        raise error

    assert main_with(monkeypatch, work) == 5
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "bug" not in said


def test_the_demo_passes_a_signal_on_and_waits(tmp_path: Path, monkeypatch, capsys) -> None:
    """In place of the trainings: scripts that take a moment to save when they are asked to end."""
    from contextlib import contextmanager

    from triptych.verbs.demo import CAST, demo

    said = tmp_path / "said"
    script = tmp_path / "python"
    script.write_text(
        f"#!/bin/sh\ntrap 'sleep 0.3; echo saved >> {said}; exit 143' TERM\necho up >> {said}\n"
        "while :; do sleep 0.02; done\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(len(CAST)), raising=False)

    def asking() -> None:
        while not said.exists() or said.read_text().count("up") < len(CAST):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def silent() -> Iterator[Any]:
        yield lambda title, total: lambda step, text: None

    def work() -> None:
        threading.Thread(target=asking).start()
        demo(tmp_path / "demo", progress=silent, quick=True)

    assert main_with(monkeypatch, work) == 143
    assert said.read_text().count("saved") == len(CAST)
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "demo" / lock.NAME).exists()


# Terminals

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\x00\ud800"


def test_what_steers_a_terminal_is_shown_as_text() -> None:
    shown = printable(NASTY + "é 漢 🎉 👩‍👩‍👧 a\tb\nc")
    assert not any(c in shown for c in "\x1b\x07\x9b\u202e\u2066\x00\ud800")
    assert shown.endswith("é 漢 🎉 👩‍👩‍👧 a\tb\nc") and "\\x1b[2J" in shown


@pytest.mark.parametrize("way", ["error", "log", "note", "say", "table", "dump", "progress"])
def test_nothing_reaches_a_terminal_raw(monkeypatch, capsys, way: str) -> None:
    from triptych.cli import output

    def work() -> None:
        if way == "error":
            raise UsageError(NASTY)
        if way == "log":
            logging.getLogger("triptych.data").warning("%s", NASTY)
        if way == "note":
            output.note(NASTY)
        if way == "say":
            output.say(NASTY)
        if way == "table":
            output.table(NASTY, ["a"], [[NASTY]])
        if way == "dump":
            output.dump({NASTY: NASTY})
        if way == "progress":
            with output.progress() as bar:
                bar(NASTY, 1)(1, NASTY)

    main_with(monkeypatch, work)
    out, err = capsys.readouterr()
    text = out + err
    assert "owned" in text
    assert not any(c in text for c in "\x1b\x07\x9b\u202e\u2066\x00\ud800")
