"""Files that change together or not at all, each with its sha256 in a manifest.

A commit is written to a folder of its own, which one rename turns into `.next`. From then on it will happen: the
files move up one by one, and whoever finds `.next` after a crash reads through it or finishes the move. Before the
rename nothing has changed. So a kill, a full disk or a power cut leaves the old files or the new ones, never a mixture.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from triptych.core import IntegrityError, ResourceError, UsageError
from triptych.core.reading import MOST_JSON, expect, parse_json, read_file

MANIFEST = "manifest.json"
NEXT = ".next"
FORMAT = 1


def commit(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replaces the files of `folder` by `files`, atomically, and records their checksums in manifest.json.

    Raises ResourceError if the disk is full, UsageError if a file of such a name is there that was not committed; what
    was there before is then untouched.
    """
    check_own(folder, files)
    manifest = {"format": FORMAT, "files": {name: checksum(data) for name, data in files.items()}}
    written = {**files, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    draft = folder / f".draft-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        finish(folder)
        sweep(folder)
        shutil.rmtree(draft, ignore_errors=True)  # of a process that had our number
        draft.mkdir()
        for name, data in written.items():
            write_synced(draft / name, data)
        sync_folder(draft)
        draft.rename(folder / NEXT)
        finish(folder)
    except OSError as e:
        shutil.rmtree(draft, ignore_errors=True)
        raise explain(e, folder / MANIFEST) from e


def check_own(folder: Path, names: Iterable[str]) -> None:
    """Raises UsageError if a commit would replace a file that no commit wrote."""
    own = {*committed(folder), MANIFEST} if raw(folder, MANIFEST) is not None else set[str]()
    for name in names:
        if name not in own and os.path.lexists(folder / name):
            raise UsageError(
                f"{folder / name} is not a file that Triptych saved: it is left alone; take another folder"
            )


def finish(folder: Path) -> None:
    """Completes a commit that was interrupted after it was decided. The manifest moves last."""
    following = folder / NEXT
    if not following.is_dir():
        return
    if following.is_symlink():  # what it leads to would be moved here
        raise IntegrityError(f"{following} is a link, which no commit leaves behind: remove it")
    for path in sorted(following.iterdir(), key=lambda p: p.name == MANIFEST):
        path.replace(folder / path.name)
    sync_folder(folder)
    following.rmdir()


def read(folder: Path, names: Iterable[str] = ()) -> dict[str, bytes]:
    """The committed files of `folder` (all, or those named), each checked against the manifest.

    Raises IntegrityError naming the file that is missing or differs; UsageError if nothing was ever committed here.
    """
    for _ in range(20):  # a writer may be at work: read again if the manifest changed meanwhile
        manifest = raw(folder, MANIFEST)
        try:
            return checked(folder, manifest, list(names))
        except IntegrityError:
            if raw(folder, MANIFEST) == manifest:
                raise
    raise IntegrityError(f"{folder} changes faster than it can be read; wait for the run that writes it")


def checked(folder: Path, manifest: bytes | None, names: list[str]) -> dict[str, bytes]:
    if manifest is None:
        raise UsageError(f"{folder} holds no saved model or run: there is no {MANIFEST}")
    where = str(folder / MANIFEST)
    try:
        about = parse_json(manifest, where)
        expect(about, {"format": int}, where)
        check_format(about["format"], where)
        expect(about, {"files": dict}, where)
    except IntegrityError as e:
        raise IntegrityError(f"{where} is damaged, restore it from a copy ({e})") from e
    wanted = {name: str(sha256) for name, sha256 in about["files"].items()}
    out = {}
    for name in names or wanted:
        if name not in wanted:
            raise UsageError(f"{folder} holds no {name}")
        data = raw(folder, name)
        if data is None:
            raise IntegrityError(f"{folder / name} is missing; restore it or use an earlier checkpoint")
        if checksum(data) != wanted[name]:
            raise IntegrityError(f"{folder / name} is not what was saved (sha256 differs); use an earlier checkpoint")
        out[name] = data
    return out


def check_format(version: object, where: str) -> None:
    """Raises UsageError for another format than this version's."""
    if version != FORMAT:
        raise UsageError(f"{where} has format {version}; this version of triptych reads format {FORMAT}: upgrade it")


def committed(folder: Path) -> list[str]:
    """The names of the committed files; empty if there are none."""
    manifest = raw(folder, MANIFEST)
    return [] if manifest is None else list(checked(folder, manifest, []))


def raw(folder: Path, name: str) -> bytes | None:
    if Path(name).name != name or name in ("", ".."):
        raise IntegrityError(f"{folder / MANIFEST} names {name!r}, which is not a file of this folder")
    for path in (folder / NEXT / name, folder / name):
        try:
            return read_file(path, MOST_JSON if name.endswith(".json") else None)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as e:
            raise UsageError(f"{path} cannot be read: {e.strerror or e}") from e
    return None


def write_atomic(path: str | Path, data: bytes) -> Path:
    """One file, replaced as a whole or not at all; makes missing folders.

    Raises ResourceError where the disk is full, UsageError where the path cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name[:100]}.{os.getpid()}.triptych")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.resolve() not in SWEPT:
            SWEPT.add(path.parent.resolve())
            sweep(path.parent)
        try:
            write_synced(draft, data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as e:
        raise explain(e, path) from e
    return path


DRAFT = re.compile(r"\.draft-(\d{1,10})|\..+\.(\d{1,10})\.triptych")
"""What is written before it gets its own name: a commit's folder, and a single file; with the writer's number."""
SWEPT = set[Path]()
"""Folders that this process has looked through before it wrote single files to them: once is enough."""


def sweep(folder: Path) -> None:
    """Takes away what processes that were killed have left half written; not what a living one is writing."""
    for left in folder.iterdir():
        found = DRAFT.fullmatch(left.name)
        if found is None or alive(int(found[1] or found[2])):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Whether there is a process of this number, as far as this system tells."""
    if process == os.getpid() or os.name != "posix":
        return True  # this one, in another thread; elsewhere asking would be a signal
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explain(e: OSError, path: Path) -> Exception:
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"the disk is full: {path} could not be written; what was saved before is intact")
    if path.is_dir():
        return UsageError(f"cannot write {path}: it is a folder; name a file in it")
    return UsageError(f"cannot write {path}: {e.strerror or e}")
