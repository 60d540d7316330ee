"""From the name of a source to a data set."""

import difflib
import errno
import logging
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from triptych.core import DataError, ResourceError, Symbols, UsageError
from triptych.data import library
from triptych.data.arrays import Arrays, read_arrays
from triptych.data.builtin import BUILTIN, Source
from triptych.data.cache import cached, install
from triptych.data.corpus import check_tokens
from triptych.data.crops import Crops
from triptych.data.dataset import Dataset
from triptych.data.files import shown
from triptych.data.finding import Packed, did_you_mean, exists, find, from_tree, named
from triptych.data.held import from_others
from triptych.data.joined import Arrangement, joined, with_columns
from triptych.data.noisy import Corruption
from triptych.data.packing import build
from triptych.data.packs import Pack
from triptych.data.sink import CannotWrite, Options
from triptych.data.splits import REQUESTS
from triptych.data.windows import Windows
from triptych.options import Binarization, Opening, Packing, Size, settled, with_signature

log = logging.getLogger(__name__)

Served = Dataset | Crops
"""What `data` opens."""
LARGEST_SIDE = 4096


@with_signature(Opening, "source")
def data(source: Any, **options: Unpack[Opening]) -> Served:
    """Opens a source; the first time, it is packed into a memory-mapped file in the cache.

    source    an array or a tensor of images or points, or a pair of it and classes (see `arrays`; kept in memory);
              a list of PIL pictures, or a pair of it and classes; a torch Dataset; a dataset (or all its splits) of
              Hugging Face datasets, an Arrow table, a .parquet or .arrow file or a folder of them (see `held`);
              the name of a built-in set (`BUILTIN`), or of one of the library that is on this machine; a folder of
              images or of sound files (class sub-folders, or metadata.jsonl or .csv with text or label); .npy or .npz;
              an idx file or a folder of them; a .txt file or a folder of them (UTF-8); a zip or tar of any of these,
              read in place; a packed folder. A split may follow: "mnist:test".
    split     "train" (if nothing is said), "test", "validation" (or "val"), or "all". A source with no splits of its
              own holds out a tenth as "test": the files, or rows, whose name's, or number's, sha256 is smallest
              (below 0.1 when read as a number from 0 to 1); of text, the last tenth of its characters.
    binary    grey images as -1 and 1 only: "dynamic" (or True) draws each pixel anew whenever it is served, 1 with
              the intensity / 255 as probability; "fixed" draws once, with a fixed seed; "threshold" is 1 from 128.
    size      height and width (or one number for both): scaled with a Lanczos filter and cropped to the middle.
    channels  1 (grey, by luma) or 3; else 1 if every image is grey, and 3 if not.
    tokens    how text becomes tokens: "characters" (if nothing is said), "bytes", a number for a vocabulary of so many
              byte pairs, learned from the training part, or what another model's tokens stand for (its x.symbols).
    length    tokens a window of text; 256 if nothing is said.
    stride    tokens from the start of one window of text to the next. If nothing is said, training windows start at
              every token, and others do not overlap. With a stride, a score counts the last `stride` tokens of each
              window, once, and takes those before as known.
    sound     for recordings, the space that they are brought to: each clip is one item, padded with silence or cut off
              at its end; a clip of another rate is a bad file. Else the space is what the files are: the commonest
              rate, the longest clip, 65,536 levels.
    noisy     images with noise added once, before anything is served of them: "gaussian-25" for a standard deviation
              of 25 levels of 255, "uniform-50", "multiplicative-25" or "poisson-30" (see `noisy.Corruption`). Held-out
              images are noisy too; clean ones are those of the same source without this option.
    mutate    the share of values of images and sound that are replaced by levels drawn at random, anew whenever they
              are served: what a background model is trained on (see `inference.anomaly`). Held-out data stay whole.
    labels    in the training part only so many examples keep their class, as many of each, and that of the others
              becomes unknown; so many that about half of all examples have one, by repeating those that do.
    labels_seed  which ones.
    condition  the column that is served as the condition: "label", "caption", or one of values (an age, an attribute),
              of which numbers are served as they were read, in their own unit; "none" serves x alone. If nothing is
              said, a model is given the class or the caption that it takes, and captions where nobody takes classes;
              crops have none.
    crop      pictures keep their own sizes, and squares of so many pixels of them are served (see `Crops`): anywhere in
              them for training, else side by side.
    x         which column is x, of a source of several pictures a row (see `pairs`): of folders side by side (x/ map/,
              A/ B/, HR/ LR/, images/ labels/, input/ target/), of metadata with columns *_file, or of halves. If
              nothing is said, the one called x (or file_name), images, B, target or HR. "" takes folders for
              classes, whatever they are called.
    halves    each file is two columns, left and right: "A|B".
    index     the columns that are label maps (palette or grey pictures of class numbers, 255 for none), with commas
              between. If nothing is said, those of palette pictures that are called map, labels, masks or the like.
    pair      further columns from other sources, {"map": "maps/"}, matched by the names of files, or for arrays row by
              row (see `pair`).
    frames    videos: so many frames of each clip, evenly spaced. A clip is a GIF, WebP or APNG picture that moves, a
              folder of frames (or a zip of them, .frames), or an .mp4, .mov, .webm and the like, which need PyAV.
    strict    refuse the source if any file in it is bad, rather than skip that file.
    cache     the folder for packs; else TRIPTYCH_CACHE, else the user's cache folder.

    Raises UsageError for an unknown source or an option that does not apply, DataError for a source that cannot be
    used, IntegrityError for one that is damaged or not safe to open.
    """
    how: Opening = settled(options)
    in_memory = not isinstance(source, str | Path)
    place, wanted = with_split("array" if in_memory else source, how["split"])
    sides = as_sides(how["size"])
    found = array_source(source) if in_memory else find(place, sides, how["cache"], checked_frames(how["frames"]))
    if found.lone:  # one file of one item is what it is, whatever the split
        wanted = "all"
    binary = as_binary(how["binary"])
    arranged = Arrangement(x=how["x"], halves=how["halves"], index=how["index"], pair=how["pair"])
    if isinstance(found, Packed) and arranged != Arrangement():
        raise UsageError(f"x=, halves=, index= and pair= are for files; {found.name} is packed already")
    found = in_columns(found, arranged, how["cache"])
    opened: dict[str, Any] = {"source": str(place) if in_memory or named(place) else str(Path(place).absolute())}
    opened |= {"size": how["size"], "channels": how["channels"], "binary": binary, **arranged.opened(named)}
    opened |= {"frames": how["frames"]} if how["frames"] is not None else {}
    on_disk = not in_memory and arranged.on_disk
    binary = binary or found.binary
    stored = as_stored(how, sides, binary)
    if isinstance(found, Packed) and stored in (
        Options(whole=found.pack.meta.whole),
        Options(tokens=getattr(found.pack.meta.x, "symbols", None)),
        Options(sound=how["sound"] if how["sound"] == found.pack.meta.x else None),
    ):
        pack = found.pack
    elif on_disk:
        pack = cached(name_of(found, stored), found.stamp, found.read, stored, how["cache"])
    else:
        pack = build(name_of(found, stored), found.read, stored, None)
    report(pack, how["strict"], ours=not in_memory and named(place))
    return served(pack, wanted, how, binary, stored.noisy, opened if on_disk else None)


def as_binary(binary: Binarization | bool | None) -> Binarization | None:
    """How grey becomes black and white. Raises UsageError."""
    if isinstance(binary, bool):
        return "dynamic" if binary else None
    if binary not in (None, "dynamic", "fixed", "threshold"):
        raise UsageError(f'binary={binary!r}: it is "dynamic" (or True), "fixed" or "threshold"')
    return binary


def as_stored(how: Opening, sides: tuple[int, int] | None, binary: Binarization | None) -> Options:
    """How x is converted before it is stored. Raises UsageError for what cannot be."""
    noisy = Corruption.parse(how["noisy"]) if how["noisy"] is not None else None
    if noisy and binary:
        both = f"noisy={how['noisy']} is for images of 256 levels, and binary={binary} leaves them two"
        raise UsageError(f"{both}; choose one")
    if how["channels"] not in (None, 1, 3):
        raise UsageError(f"channels={how['channels']!r}: it is 1 or 3")
    check_tokens(how["tokens"])
    fixed = None if binary == "dynamic" else binary
    return Options(sides, how["channels"], fixed, how["tokens"], how["sound"], noisy, how["crop"] is not None)


def served(
    pack: Pack,
    split: str,
    how: Opening,
    binary: Binarization | None,
    noisy: Corruption | None,
    opened: dict[str, Any] | None,
) -> Served:
    """A split of what is stored, as it was asked for. `opened`: how to open it again, if it is on the disk.

    Raises UsageError for options that do not go with what is stored.
    """
    mutate, labels, condition = how["mutate"], how["labels"], how["condition"]
    length, stride = how["length"], how["stride"]
    again = dict(opened or {})
    if how["crop"] is not None:
        if binary:
            raise UsageError(
                "crop= is for pictures in grey or in color, and these are black and white: leave out binary=, or take "
                "a source of others"
            )
        if mutate or labels is not None or length is not None or stride is not None:
            raise UsageError("crop= goes with size=, channels= and condition= only")
        again |= {"crop": how["crop"], **({"condition": condition} if condition else {})}
        crops = Crops.of(pack, split, how["crop"], again if opened else None)
        return crops.serving(condition) if condition else crops
    if pack.meta.x.symbols is not None:
        if mutate:
            raise UsageError(f"mutate= is for images and sound; {pack.meta.name} holds {pack.meta.x}")
        if labels is not None or condition:
            raise UsageError(f"labels= and condition= are for examples with classes; {pack.meta.name} holds text")
        windows = Windows.of(length, stride, split)
        tokens = None if isinstance(how["tokens"], Symbols) else how["tokens"]
        again |= {"tokens": tokens, "length": windows.length}
        return Dataset.of(pack, split, binary == "dynamic", again if opened else None, windows)
    if length is not None or stride is not None:
        raise UsageError(f"length= and stride= are for text; {pack.meta.name} holds {pack.meta.x}")
    again |= {"sound": asdict(how["sound"])} if how["sound"] else {}
    again |= {"noisy": str(noisy)} if noisy else {}
    again |= {"labels": labels, "labels_seed": how["labels_seed"]} if labels is not None else {}
    again |= {"condition": condition} if condition else {}
    dynamic = binary == "dynamic" and getattr(pack.meta.x, "levels", 0) != 2
    found = Dataset.of(pack, split, dynamic, again if opened else None)
    if condition:
        found = found.serving(condition)
    if labels is not None and split == "train":
        found = found.partly_labeled(labels, how["labels_seed"])
    return replace(found, mutate=mutate)


def in_columns(found: Source, arranged: Arrangement, cache: str | Path | None) -> Source:
    """The same source with the columns that it declares, or that are asked for. Raises UsageError."""
    if arranged.pair:
        others = {
            name: find(other, None, cache) if isinstance(other, str | Path) else array_source(other)
            for name, other in arranged.pair.items()
        }
        return joined(found, others, arranged)
    tree = found.tree
    if tree is None:
        if arranged != Arrangement():
            raise UsageError(f"x=, halves= and index= are for files of pictures; {found.name} is none of these")
        return found
    return with_columns(found, tree, arranged)


def array_source(source: Any) -> Source:
    """What is in memory already: arrays, and pictures and tables that others hold."""
    found = from_others(source)
    if not isinstance(found, Arrays):
        return from_tree("array", found)
    return Source("array", "", lambda sink: read_arrays("array", found, sink))


def name_of(found: Source, options: Options) -> str:
    """The pack's name, with what was chosen of its content: "mnist-fixed", "mnist-gaussian-25", "kjv-bytes"."""
    chosen = (found.name, options.binary, options.noisy, options.tokens)
    return "-".join(str(part) for part in chosen if isinstance(part, str | int | Corruption))


@with_signature(Packing, "source", "out")
def pack(source: str | Path, out: str | Path, **options: Unpack[Packing]) -> Dataset:
    """Packs a source, with all its splits, into the folder `out`, which is a source from then on.

    Raises what `data` does, UsageError if `out` exists and is not empty or cannot be written, and ResourceError if
    the disk is full.
    """
    how: Packing = settled(options, Packing)
    sides = as_sides(how["size"])
    arranged = Arrangement(x=how["x"], halves=how["halves"], index=how["index"], pair=how["pair"])
    frames = checked_frames(how["frames"])
    found = in_columns(find(with_split(source, None)[0], sides, frames=frames), arranged, None)
    if found.binary == "dynamic":
        raise UsageError(f'{source} is drawn when it is served; pack {found.name} and open that with binary="dynamic"')
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{shown(out)} exists already; name a folder that does not, or an empty one")
    check_tokens(how["tokens"])
    noisy = Corruption.parse(how["noisy"]) if how["noisy"] is not None else None
    stored = Options(sides, how["channels"], found.binary, how["tokens"], how["sound"], noisy)
    try:
        packed = install(out, name_of(found, stored), found.read, stored)
    except CannotWrite as e:
        cause = e.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"the disk is full: {shown(out)} was not written") from e
        raise UsageError(f"{shown(out)} cannot be written: {cause}") from e
    report(packed, how["strict"])
    windows = Windows.of(1, None, "all") if packed.meta.x.symbols else None
    return Dataset.of(packed, "all", windows=windows)


told = set[tuple[str, str]]()
"""Notes that this process has logged: a source is opened more than once, for its splits."""


CHANGED = re.compile(r"\b[a-z_]+=")
"""In a note: an option, which somebody may want to choose."""


def report(pack: Pack, strict: bool, ours: bool = False) -> None:
    """Logs what was decided about a source (once) and its problems; with `strict`, raises DataError if it has any.

    A set of `ours` is arranged as it was meant to be: only what an option would change is said of it.
    """
    problems, notes = pack.meta.problems, list(pack.meta.notes)
    if pack.meta.classes and pack.meta.tokenizer:
        notes.append(
            'it has classes and captions: a model is given what it takes, unless condition="label" or '
            'condition="caption" decides'
        )
    for note in notes if not ours else filter(CHANGED.search, notes):
        if (pack.fingerprint, note) not in told:
            told.add((pack.fingerprint, note))
            log.warning("%s: %s", pack.meta.name, note)
    if not problems:
        return
    few = "; ".join(map(str, problems[:5])) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    if strict:
        raise DataError(f"{pack.meta.name} has {count} and strict was asked: {few}")
    log.warning("%s: %s: %s", pack.meta.name, count, few)


def split_of(source: str | Path) -> tuple[str | Path, str | None]:
    """The source, and the split that its name ends in, as in "photos:all"; None if it ends in none."""
    if not exists(Path(source)):
        head, colon, tail = str(source).rpartition(":")
        if colon and (tail in REQUESTS or head in BUILTIN or library.names(head) or exists(Path(head))):
            return head, tail
    return source, None


def with_split(source: str | Path, split: str | None) -> tuple[str | Path, str]:
    """The source and the split, which may be part of its name. Raises UsageError."""
    source, said = split_of(source)
    if said and split and said != split:
        raise UsageError(f'the source says split "{said}" and split= says "{split}"')
    wanted = split or said or "train"
    if wanted not in REQUESTS:
        close = difflib.get_close_matches(wanted, REQUESTS, 1)
        raise UsageError(f"there is no split {wanted!r}{did_you_mean(close)}: there are {', '.join(REQUESTS)}")
    return source, wanted


def as_sides(size: Size | None) -> tuple[int, int] | None:
    sides = (size, size) if isinstance(size, int) else size
    if sides is None:
        return None
    whole = isinstance(sides, tuple) and len(sides) == 2 and all(type(s) is int for s in sides)
    if not whole or not all(1 <= s <= LARGEST_SIDE for s in sides):
        raise UsageError(f"size={size!r}: it is a height and a width (or one number for both), 1 to {LARGEST_SIDE}")
    return sides


def checked_frames(frames: int | None) -> int | None:
    """Raises UsageError for what is no number of frames."""
    if frames is not None and (type(frames) is not int or frames < 1):
        raise UsageError(f"frames={frames!r}: it is how many frames of a video are taken, 1 or more")
    return frames
