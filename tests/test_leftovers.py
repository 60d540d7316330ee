"""What killed processes leave, users without a home, names that are empty or odd."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from triptych.data import data
from triptych.io import commit
from triptych.verbs.doctor import doctor


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path, dead: int) -> None:
    """Whatever is written next: a single file or a commit. Other files, and those of living processes, stay."""
    for folder in (tmp_path / "single", tmp_path / "commit"):
        folder.mkdir()
        (folder / f".README.md.{dead}.triptych").write_bytes(b"half")
        (folder / f".draft-{dead}").mkdir()
        (folder / f".draft-{dead}" / "model.safetensors").write_bytes(b"half")
        kept = [f".README.md.{os.getppid()}.triptych", f".profile.{dead}", ".hidden", f".draft-{os.getppid()}", "draft"]
        for name in kept:
            (folder / name).write_bytes(b"not ours to take")
        if folder.name == "single":
            commit.write_atomic(folder / "a.txt", b"new")
        else:
            commit.commit(folder, {"a.txt": b"new"})
        assert {p.name for p in folder.iterdir()} - {"a.txt", commit.MANIFEST} == set(kept)


def test_a_file_that_is_being_written_is_swept_if_its_process_is_killed(tmp_path: Path) -> None:
    """The names are those that a killed process leaves indeed."""
    code = (
        "import os, sys; from pathlib import Path; from triptych.io import commit\n"
        "commit.write_synced = lambda path, data: (path.write_bytes(data), os.kill(os.getpid(), 9))\n"
        "commit.write_atomic(Path(sys.argv[1]) / 'a.txt', b'old')"
    )
    places = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": places})
    assert len(list(tmp_path.iterdir())) == 1
    commit.write_atomic(tmp_path / "b.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_a_user_without_a_home_can_work(tmp_path: Path, monkeypatch, caplog) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "TRIPTYCH_CACHE", "LOGNAME", "USER"):
        monkeypatch.delenv(name, raising=False)
    np.save(tmp_path / "a.npy", np.zeros((40, 8, 8), np.uint8))
    assert len(data(tmp_path / "a.npy")) > 0
    assert "held in memory" in caplog.text
    assert "no home" in doctor()["machine"]["cache"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "vae", "--data", "mnist", "--out", ""], "--out is empty"),
        (["train", "vae", "--data", "mnist", "--out="], "--out is empty"),
        (["train", "vae", "--data", "", "--out", "x"], "--data is empty"),
        (["sample", "", "--out", "x.png"], "a name is empty"),
        (["compare", "run", "--out", ""], "--out is empty"),
        (["compress", "run", "a.png", "--out="], "--out is empty"),
    ],
)
def test_an_empty_name_is_refused(words: list[str], said: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """Path("") is the current folder."""
    from triptych.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["triptych", *words])
    with pytest.raises(SystemExit) as end:
        main()
    err = capsys.readouterr().err
    assert end.value.code == 2 and said in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
