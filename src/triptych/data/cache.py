"""The cache of packs: each source, with each way of converting it, is packed once."""

import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from triptych.caching import cache_folder
from triptych.core import DataError, IntegrityError
from triptych.data.checking import open_pack
from triptych.data.files import sha256_of, shown
from triptych.data.packing import build
from triptych.data.packs import FORMAT, READING, Pack
from triptych.data.sink import CannotWrite, Options, Reader, writing

log = logging.getLogger(__name__)


def keeping(what: str, cache: str | Path | None = None) -> Path:
    """The cache folder, for what has to be kept. Raises DataError for a user without a home."""
    base = cache_folder(cache)
    if base is None:
        raise DataError(f"there is no home folder to keep {what} in; TRIPTYCH_CACHE names a place")
    return base


def cached(name: str, stamp: str, read: Reader, options: Options, cache: str | Path | None) -> Pack:
    """The pack of a source from the cache, made now if it is not there or is damaged.

    Once in a process every byte of a cached pack is compared with its sha256 (see `Pack.verify`): what was damaged on
    the disk, or by somebody, would be trained on without a word. If the cache cannot be written, the pack is made in
    memory and a warning is logged.
    """
    key = sha256_of(str(FORMAT), str(READING), stamp, str(options))[:32]
    base = cache_folder(cache)
    if base is None:
        log.warning("there is no home folder for a cache: %s is held in memory; TRIPTYCH_CACHE names a place", name)
        return build(name, read, options, None)
    folder = base / "data" / f"{''.join(c if c.isalnum() else '-' for c in name)[:40]}-{key}"
    if (folder / "meta.json").exists():
        try:
            return trusted(folder)
        except IntegrityError as e:
            log.warning("%s; packing it again", e)
    try:
        return install(folder, name, read, options)
    except CannotWrite as e:
        log.warning("%s cannot be written (%s): %s is held in memory", shown(folder.parent), e.__cause__, name)
        return build(name, read, options, None)


VERIFIED = set[tuple[Path, tuple[tuple[int, int, int], ...]]]()
"""Packs that this process has read whole, as they were then."""


def trusted(folder: Path) -> Pack:
    """The pack in a folder, verified if this process has not done so yet. Raises IntegrityError."""
    pack = open_pack(folder)
    stats = [(folder / name).stat() for name in pack.meta.files]
    seen = (folder, tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats))
    if seen not in VERIFIED:
        pack.verify()
        VERIFIED.add(seen)
    return pack


def install(folder: Path, name: str, read: Reader, options: Options) -> Pack:
    """Builds a pack beside `folder` and renames it there, over what may be there already. Raises CannotWrite."""
    with writing():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".packing-", dir=folder.parent))
    try:
        built = temporary / "new"
        with writing():
            built.mkdir()
        build(name, read, options, built)
        with writing():
            try:
                os.replace(built, folder)
            except OSError:
                # A folder that is not empty is not replaced. Another process may just have put the same pack there;
                # if not, what is there is damaged and goes.
                if not intact(folder):
                    os.replace(folder, temporary / "old")
                    os.replace(built, folder)
        return open_pack(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def intact(folder: Path) -> bool:
    try:
        trusted(folder)
    except IntegrityError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Removes what killed processes have left half done, a day later."""
    for path in folder.glob(".packing-*"):
        if time.time() - path.stat().st_mtime > 86400:
            shutil.rmtree(path, ignore_errors=True)
