"""What is asked of a trained model, a file at a time, and into which files the answers go."""

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.core import UsageError
from triptych.media.text import Writing
from triptych.media.work import Work
from triptych.tasks.task import BROUGHT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One question to be answered into one file for each seed."""

    asked: dict[str, Any]
    outs: dict[int, Path]
    """By seed."""
    name: str
    """What to call it: the file that is asked about."""


def jobs(
    asked: dict[str, Any], out: Path, seeds: Sequence[int], gives: type[Work], brings: str, lines: bool = False
) -> list[Job]:
    """A job for what is brought, or for each file of a folder; what else is a folder is matched by the names in it.
    With `lines`, each line of a text is one that is brought, and "-" is standard input.

    Raises UsageError for an empty folder, a missing partner, or a name that cannot be written.
    """
    brought = asked[brings]
    if lines and not (isinstance(brought, Path) and brought.is_dir()):
        return spoken(asked, out, seeds, gives, brings)
    one = isinstance(brought, Path) and brought.is_dir() and brings in BROUGHT and BROUGHT[brings].whole(brought)
    if one or not (isinstance(brought, Path) and brought.is_dir()):
        gives.check_ending(out.suffix, str(out))
        return [Job(asked, {s: named(out, s, seeds) for s in seeds}, str(brought))]
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: the {brings}s of a folder go into a folder; name one without an ending")
    suffixes, ending = BROUGHT[brings].suffixes if brings in BROUGHT else frozenset[str](), gives.endings[0]
    files = files_in(brought, suffixes)
    below = [p.name for p in sorted(brought.iterdir()) if p.is_dir() and p != out and files_in(p, suffixes)]
    deeper = f"{below[0]}{f' and {len(below) - 1} more folders' if below[1:] else ''}" if below else ""
    if not files:
        lie = f"; those in {deeper} are not looked at: name the folder that they lie in" if below else ""
        raise UsageError(f"{brought} holds no {brings}s ({', '.join(sorted(suffixes))}){lie}")
    if below:
        log.info(
            "%s: the %ss in %s are left alone: a folder is taken without what lies deeper", brought, brings, deeper
        )
    partners = {name: by_stem(value) for name, value in asked.items() if isinstance(value, Path) and value.is_dir()}
    found, taken = [], dict[str, Path]()
    for file in files:
        if file.stem in taken:
            raise UsageError(f"{taken[file.stem]} and {file} would both be written as {file.stem}{ending}: rename one")
        taken[file.stem] = file
        own = dict(asked)
        for name, partner in partners.items():
            if file.stem not in partner:
                raise UsageError(f"{asked[name]} has no file that belongs to {file.name}: its name begins the same")
            own[name] = partner[file.stem]
        own[brings] = file
        found.append(Job(own, {s: named(out / f"{file.stem}{ending}", s, seeds) for s in seeds}, str(file)))
    return found


def spoken(asked: dict[str, Any], out: Path, seeds: Sequence[int], gives: type[Work], brings: str) -> list[Job]:
    """A job for each line of a text. Raises UsageError for none, and where several have the name of one file."""
    brought = asked[brings]
    text = sys.stdin.read() if brought == "-" else Writing.read(brought).text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:  # an empty one is the task's to refuse
        gives.check_ending(out.suffix, str(out))
        return [Job({**asked, brings: "".join(lines)}, {s: named(out, s, seeds) for s in seeds}, "".join(lines))]
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: the pictures of {len(lines)} lines go into a folder; name one without an ending")
    ending, digits = gives.endings[0], len(str(len(lines)))
    found = []
    for k, line in enumerate(lines, 1):
        file = out / f"{k:0{digits}d}-{slug(line)}{ending}"
        found.append(Job({**asked, brings: line}, {s: named(file, s, seeds) for s in seeds}, line))
    return found


def slug(text: str, most: int = 40) -> str:
    """A text as a part of a file's name: "red-heart"."""
    return re.sub(r"[^\w]+", "-", text.lower())[:most].strip("-") or "text"


def files_in(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """Those of a folder whose names end so, hidden ones left out."""
    return sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


def by_stem(path: Path) -> dict[str, Path]:
    """The files of a folder of any kind that is brought, by their names without the ending."""
    return {p.stem: p for p in files_in(path, frozenset().union(*(kind.suffixes for kind in BROUGHT.values())))}


def check_apart(sheet: Path, todo: Sequence[Job]) -> None:
    """Raises UsageError for a sheet that would be written over an answer or over what is brought."""
    place = sheet.resolve()
    if any(place == file.resolve() for job in todo for file in job.outs.values()):
        raise UsageError(f"{sheet} is to hold an answer: give sheet= another name")
    if any(place == value.resolve() for job in todo for value in job.asked.values() if isinstance(value, Path)):
        raise UsageError(f"{sheet} is what was brought: give sheet= another name")


def matched(truth: Path, todo: Sequence[Job]) -> dict[str, Path]:
    """The true answers by the names of what is brought. Raises UsageError if there is none of such a name."""
    if not truth.is_dir():
        if not truth.exists():
            raise UsageError(f"truth={truth}: there is no such file or folder")
        return {Path(todo[0].name).stem: truth}
    found = by_stem(truth)
    if not any(Path(job.name).stem in found for job in todo):
        raise UsageError(f"truth={truth}: no file in it is called as {todo[0].name} is, but for the ending")
    return found


def named(out: Path, seed: int, seeds: Sequence[int]) -> Path:
    return out if len(seeds) == 1 else out.with_name(f"{out.stem}-{seed}{out.suffix}")
