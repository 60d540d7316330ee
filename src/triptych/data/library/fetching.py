"""Bringing a set here: its archives, checked; its folder, written beside its place and renamed there when whole."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.core import DataError, IntegrityError, TriptychError
from triptych.core.reading import MOST_JSON, parse_json, read_file
from triptych.data.cache import keeping, sweep
from triptych.data.files import sha256_file, shown
from triptych.data.library.packages import bring, cannot_write
from triptych.data.library.recipe import Archives, Folder, Recipe

log = logging.getLogger(__name__)

ABOUT = "about.json"


@dataclass(frozen=True)
class Fetched:
    """A set that is on this machine."""

    recipe: Recipe
    folder: Path
    new: bool
    """Whether it was made by this call."""


def place_of(recipe: Recipe, cache: str | Path | None) -> Path:
    return keeping(recipe.name, cache) / "library" / recipe.name


def about(recipe: Recipe, cache: str | Path | None) -> dict[str, Any] | None:
    """What was noted of a set when it was written; None if it is not here, or was made by another recipe."""
    try:
        path = place_of(recipe, cache) / ABOUT
        noted = parse_json(read_file(path, MOST_JSON), shown(path))
    except (OSError, IntegrityError):  # it is made anew
        return None
    return noted if isinstance(noted, dict) and noted.get("made_by") == made_by(recipe) else None


def whole(recipe: Recipe, cache: str | Path | None) -> bool:
    """Whether a set is here as it was written."""
    noted = about(recipe, cache)
    return noted is not None and noted.get("files") == digest(place_of(recipe, cache))


def made_by(recipe: Recipe) -> dict[str, Any]:
    return {"set": recipe.name, "version": recipe.version, "packages": [p.sha256 for p in recipe.packages]}


def fetch(recipe: Recipe, cache: str | Path | None, tell: Callable[[str], None] = log.info) -> Fetched:
    """Makes sure that a set is here and whole. What was downloaded before an interruption is not downloaded again.

    Raises TriptychError if a program is missing or nothing comes, IntegrityError for an archive that is not what the
    recipe knows or is not safe, DataError for a damaged one, ResourceError if the disk is full.
    """
    place = place_of(recipe, cache)
    if whole(recipe, cache):
        return Fetched(recipe, place, new=False)
    if place.exists():
        tell(f"{shown(place)} is of an older recipe, or was changed, and is made again")
    try:
        make(recipe, place, cache, tell)
    except (TriptychError, OSError) as e:
        if whole(recipe, cache):  # another process was faster, and has taken the archives away
            return Fetched(recipe, place, new=False)
        if isinstance(e, TriptychError):
            raise
        raise cannot_write(place, e) from e
    return Fetched(recipe, place, new=True)


def make(recipe: Recipe, place: Path, cache: str | Path | None, tell: Callable[[str], None]) -> None:
    paths = {}
    for package in recipe.packages:
        tell(f"bringing {package}")
        paths[package.name] = bring(package, place.parent / "archives")
    tell(f"writing {shown(place)}")
    sweep(place.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".packing-", dir=place.parent))
    try:
        write(recipe, Archives(paths), temporary / "new")
        put_in_place(temporary, place, recipe, cache)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in paths.values():  # all that matters of them is in the folder now
        path.unlink(missing_ok=True)


def write(recipe: Recipe, archives: Archives, path: Path) -> None:
    """Writes the folder of a set, with word of where it is from and, last, of what it holds."""
    path.mkdir()
    folder = Folder(path)
    recipe.write(archives, folder)
    if folder.counts != recipe.counts:
        raise DataError(f"{recipe.name}: {dict(folder.counts)} items came out where {dict(recipe.counts)} were to")
    folder.put("README.md", readme(recipe).encode())
    folder.put(ABOUT, json.dumps({"made_by": made_by(recipe), "files": digest(path)}, indent=2).encode())


def put_in_place(temporary: Path, place: Path, recipe: Recipe, cache: str | Path | None) -> None:
    try:
        os.replace(temporary / "new", place)
    except OSError:
        # A folder that is not empty is not replaced: what is there is of another recipe or was changed, and goes,
        # unless another process has just put the same set there.
        if not whole(recipe, cache):
            os.replace(place, temporary / "old")
            os.replace(temporary / "new", place)


def digest(folder: Path) -> str:
    """A sha256 over the names and contents of all files in a set's folder, but for what was noted of it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / ABOUT)
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def readme(recipe: Recipe) -> str:
    said = ", ".join(f"{n:,} {split}" for split, n in recipe.counts.items())
    packages = "\n".join(f"- {p}, sha256 {p.sha256}" for p in recipe.packages)
    return (
        f"# {recipe.name}\n\n{recipe.about}\n\n{said}.\n\nLicence: {recipe.licence}.\n\nCredit: {recipe.credit}.\n\n"
        f"Made by `triptych data get {recipe.name}` from:\n\n{packages}\n"
    )
