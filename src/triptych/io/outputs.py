"""Where a verb may write: what Triptych did not make is never replaced.

One rule, asked before any work is done:

  a file        has a new name, or says in itself that Triptych made it (pictures, reports and compressed files do)
  files a name  each of them as above; their folder is no run's, whose card would go
  a run folder  is new or empty (hidden files do not count), or was begun by a run

`overwrite` is how a person says that the files of those names may go; a run folder has no such word.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from triptych.core import UsageError
from triptych.io import commit

MADE_BY = "Triptych"
"""Stands in our files: as "Software" in a PNG, as the generator of a page; the last mark is a model card's."""
MARKS = (f"Software\0{MADE_BY}".encode(), f'name="generator" content="{MADE_BY}"'.encode(), b"library_name: triptych")
COMPRESSED = b"TTC"
"""What a compressed file begins with (`inference.compression`)."""
BEGUN = ".triptych"
"""Lies in a folder from the moment on that a run writes into it."""
MODEL = "model.safetensors"
"""Lies in the folder of a run that saved, and in that of a model."""
HEAD = 4096
"""Bytes of a file within which it says who made it."""


def ours(path: Path) -> bool:
    """Whether a file says of itself that Triptych made it."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return head.startswith(COMPRESSED) or any(mark in head for mark in MARKS)


def check_file(path: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError unless a file may be written here; makes and changes nothing."""
    if str(path) in ("", ".") or path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if os.path.lexists(path):
        if not path.is_file():
            raise UsageError(f"cannot write {path}: it is no plain file")
        if not (overwrite or readable(path)):
            raise UsageError(
                f"{path} is there already, and does not say that Triptych made it: take another name, or overwrite=True"
            )
    check_place(path.parent)


def check_png(path: Path, *, overwrite: bool = False) -> None:
    """As `check_file`, of a picture that is written as PNG: raises UsageError for a name that says something else."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: it is a picture, whose name ends in .png")
    check_file(path, overwrite=overwrite)


def readable(path: Path) -> bool:
    """Whether a file is one of ours; one that cannot be read is not."""
    try:
        return ours(path)
    except OSError:
        return False


def check_files(folder: Path, names: Iterable[str], *, overwrite: bool = False) -> None:
    """Raises UsageError unless files of these names may be written into a folder, which need not be there yet.

    That of a run or a model is none: a README.md there is its card.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"cannot write into {folder}: it is not a folder")
    if any((folder / name).is_file() for name in (BEGUN, MODEL)):
        raise UsageError(f"{folder} is a run's or a model's own: name another folder, such as {folder}-out")
    check_place(folder)
    held = set(os.listdir(folder)) if folder.is_dir() else set[str]()
    for name in names:
        if name in held:
            check_file(folder / name, overwrite=overwrite)


def check_run(folder: Path) -> None:
    """Raises UsageError unless a run may begin in this folder."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is a file; out= takes a folder")
    check_place(folder)
    if not folder.is_dir() or (folder / BEGUN).is_file():
        return
    held = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if held:
        few = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        raise UsageError(
            f"{folder} holds {few}, which no run made: a run takes a new or an empty folder, so that nothing of yours "
            "is replaced"
        )


def begin_run(folder: Path) -> None:
    """Marks a folder as one that a run writes into, so that it may begin again if it ends before it saved anything."""
    if not (folder / BEGUN).is_file():
        commit.write_atomic(folder / BEGUN, b"A run of Triptych writes into this folder.\n")


def check_apart(folder: Path, source: str | Path) -> None:
    """Raises UsageError if what is written to `folder` would lie among the data of `source`, and be data next time."""
    data = Path(source)
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{folder} lies in the data, {data}: its pictures would be taken for data; take another out=")


def check_place(folder: Path) -> None:
    """Raises UsageError unless this folder is there and can be written to, or can be made."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"cannot write into {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write into {folder}: {there} may not be written to; choose another place")
