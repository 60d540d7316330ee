"""Files of one element each: recordings, solids, videos. How they are read is their medium's to say."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from posixpath import splitext
from typing import Any

from triptych.core import DataError, Space
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, sha256_of, shown
from triptych.data.folders import IMAGES, Item, Kind, arrange, described
from triptych.data.sink import NAMED, Content, Sink
from triptych.media import of_kind
from triptych.media.medium import Medium
from triptych.media.video import FILMS, FOLDER, gathered, natural
from triptych.media.voxels import MESHES, UNREAD
from triptych.media.work import BadFile

COMMON = "resampled"
"""How notes begin that are true of many files alike: they are told once."""
CUT = re.compile(r"its last ([\d,]+) samples are cut off")
"""What is said of a recording that is longer than its space: of several, it is said together."""
UNEVEN = 8
"""So many times the median is a length that is worth a word."""


def kind_of(name: str) -> Kind:
    """What the files of a medium are called and how they end."""
    medium = of_kind(name)
    return Kind(name=medium.name, formats=medium.formats, suffixes=medium.suffixes, beside=medium.beside)


SOUNDS, SOLIDS = kind_of("audio"), kind_of("voxels")
MOVING = kind_of("video")
FILMED = Kind(name="video", formats=("MP4",), suffixes=FILMS)
"""What is a video whether it is asked for or not; a picture that moves is one only where it is."""
SURFACES = Kind(name="mesh", formats=("OBJ",), suffixes=MESHES)
STRANGE = Kind(name="mesh", formats=(), suffixes=UNREAD - {".mtl"})
TEXTURES = 20
"""So many pictures may lie beside a mesh before it counts as one of the things beside pictures."""
FILLED = (
    "meshes are filled: each as large as fits, y up in OBJ and GLB, z up in OFF, STL and PLY; full is where a surface "
    "passes and what cannot be reached from outside, the floor closing what is open below"
)


def kind_within(tree: Tree, frames: int | None) -> str | None:
    """The kind of space that the files of a tree are elements of; None for pictures. Raises DataError for meshes."""
    pictures = IMAGES.among(tree)
    if frames is not None or FILMED.among(tree) > pictures:
        return "video"
    if (sounds := SOUNDS.among(tree)) and sounds >= pictures:
        return "audio"
    solids, meshes = SOLIDS.among(tree), SURFACES.among(tree)
    if (strange := STRANGE.among(tree)) > max(pictures, solids):
        raise DataError(
            f"{tree.name} holds {strange} meshes of a kind that is not read; save them as OBJ, GLB, STL, PLY or OFF"
        )
    return "voxels" if solids > pictures or TEXTURES * meshes > pictures else None


def read_items(tree: Tree, kind: str, sink: Sink, frames: int | None = None) -> Content:
    """Puts every element of `tree` into `sink`, split by split; splits, classes and captions are those of images.

    The space is the one that was asked for (`sound=`), or the one that the files fill without being changed but for
    what was asked (size=, channels=, frames=). Raises DataError if there is none to be had.
    """
    medium, what = of_kind(kind), kind_of(kind)
    sink.check_options(NAMED[kind])
    found = arrange(tree, what)
    x = space_of(tree, found.items, medium, sink, frames)
    kept, problems, said = list[Item](), list[Problem](), Counter[str]()
    for item, data in contents(tree, found.items):
        notes = list[str]()
        try:
            if isinstance(data, BadFile):
                raise data
            sink.append_item(medium.read(x, data, notes.append), x)
        except BadFile as e:
            notes = [str(e)]
        else:
            kept.append(item)
        said.update(note for note in notes if note.startswith(COMMON))
        notes = [note for note in notes if not note.startswith(COMMON)]
        problems += [Problem(file=shown(item.file), reason=note) for note in notes]
    found.notes.extend(f"{count:,} of {len(kept):,} {what.name} files: {note}" for note, count in sorted(said.items()))
    lengths = sorted(size[-1] for size in sink.sizes)
    if lengths and lengths[-1] > UNEVEN * lengths[len(lengths) // 2] and sink.options.sound is None:
        found.notes.append(
            f"the longest of {len(lengths)} clips has {lengths[-1]:,} samples, half of them at most "
            f"{lengths[len(lengths) // 2]:,}; all are served as long as the longest, unless a model takes less (sound=)"
        )
    if any(splitext(item.file)[1].lower() in MESHES for item in kept):
        found.notes.append(FILLED)
    return described(tree, what, found, kept, together(problems, x, len(kept)), x)


def together(problems: list[Problem], x: Any, many: int) -> list[Problem]:
    """Problems, with one line for all recordings that were cut off, and what to do about it."""
    cut = {k: int(m[1].replace(",", "")) for k, p in enumerate(problems) if (m := CUT.fullmatch(p.reason))}
    if len(cut) < 2:
        return problems
    longest = max(cut, key=lambda k: cut[k])
    reason = (
        f"longer than {x.length:,} samples ({x.length / x.rate:.3g} s), and cut off there: the longest, "
        f"{problems[longest].file}, by {cut[longest]:,}; x.length={x.length + cut[longest]} takes all of them whole"
    )
    others = [p for k, p in enumerate(problems) if k not in cut]
    return [*others, Problem(file=f"{len(cut):,} of {many:,} sound files", reason=reason)]


def space_of(tree: Tree, items: list[Item], medium: Medium[Any], sink: Sink, frames: int | None) -> Any:
    """The space that these items are brought to. Raises DataError if none can be read."""
    options = sink.options
    if options.sound is not None and medium is of_kind("audio"):
        return options.sound
    try:
        x: Space = medium.survey(data for _, data in contents(tree, items) if isinstance(data, bytes))
    except BadFile as e:
        first = next(data for _, data in contents(tree, items[:1]))
        said = f"{shown(items[0].file)}: {first if isinstance(first, BadFile) else e}"
        raise DataError(f"{tree.name}: none of {len(items)} {medium.name} files can be read; the first: {said}") from e
    return medium.asked(x, size=options.size, channels=options.channels, frames=frames)


def contents(tree: Tree, items: list[Item]) -> Iterator[tuple[Item, bytes | BadFile]]:
    """Each item with its bytes, or with what is wrong with it."""
    for item in items:
        if tree.files[item.file] > LARGEST_FILE:
            yield item, BadFile(f"{tree.files[item.file]:,} bytes; at most {LARGEST_FILE:,} are read")
            continue
        try:
            data = tree.read(item.file)
        except OSError as e:
            yield item, BadFile(reason_of(e))
        else:
            yield item, data


class Framed:
    """A tree in which a folder of pictures is one file: a video, frame by frame."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.name, self.problems = tree, tree.name, tree.problems
        self.stamp = sha256_of("frames", tree.stamp)
        self.frames: dict[str, list[str]] = {}
        for name in tree.files:
            parent = str(PurePosixPath(name).parent)
            if parent != "." and splitext(name)[1].lower() in IMAGES.suffixes - of_kind("video").suffixes:
                self.frames.setdefault(parent + FOLDER, []).append(name)
        inside = {name for names in self.frames.values() for name in names}
        self.files = {name: size for name, size in tree.files.items() if name not in inside}
        self.files |= {name: sum(tree.files[one] for one in names) for name, names in self.frames.items()}

    def read(self, name: str) -> bytes:
        if name not in self.frames:
            return self.tree.read(name)
        return gathered((one, self.tree.read(one)) for one in sorted(self.frames[name], key=natural))

    def pieces(self, name: str) -> Iterator[bytes]:
        return iter([self.read(name)]) if name in self.frames else self.tree.pieces(name)
