"""What a source is: a built-in name, a set of the library, a folder, an archive, or a file."""

import difflib
import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from triptych.core import Audio, DataError, Tokens, UsageError
from triptych.data import library
from triptych.data.arrays import Arrays, load_npy, load_npz, read_arrays
from triptych.data.builtin import BUILTIN, Source, builtin
from triptych.data.checking import is_pack, open_pack
from triptych.data.corpus import is_corpus, is_text, read_corpus, tokenize
from triptych.data.decoding import read_images
from triptych.data.files import TARS, Archive, Files, Folder, Tar, Tree, Zip, reason_of, sha256_file, sha256_of, shown
from triptych.data.folders import IMAGES
from triptych.data.held import TABLES, from_files, shards
from triptych.data.idx import NAME, find_idx, load_idx, with_labels
from triptych.data.items import MOVING, SOLIDS, SOUNDS, SURFACES, Framed, kind_within, read_items
from triptych.data.joined import copied
from triptych.data.layouts import called, class_names
from triptych.data.packs import Pack
from triptych.data.sink import CHUNK, UNSAID, Content, Kept, Sink
from triptych.media.audio import Clip, fit, levels

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Packed(Source):
    """A folder that is packed already."""

    pack: Pack


def read_pack(pack: Pack, sink: Sink) -> Content:
    """Copies a pack, for other options."""
    meta = pack.meta
    if isinstance(meta.x, Tokens):  # a text is copied as text, and tokens made of it anew
        tokens = torch.from_numpy(pack.x[:, 0])
        whole = {split: meta.x.decode(tokens[start:stop]) for split, (start, stop) in meta.splits.items()}
        texts = {split: partial(iter, [text]) for split, text in whole.items()}
        return tokenize(texts, set().union(*whole.values()), meta.name, sink, list(meta.problems), list(meta.notes))
    x: Kept | None = meta.x if meta.x.kind in UNSAID else None
    if isinstance(meta.x, Audio):  # amplitudes between the two spaces, which may differ in rate, levels and companding
        x = sink.options.sound or meta.x
        for i in range(len(pack)):
            level = torch.from_numpy(pack.clip(i).astype(np.int32))
            clip = Clip(meta.x.expand(meta.x.from_index(level)).numpy(), meta.x.rate)
            sink.append_item(levels(fit(clip, x), x), x)
    elif x is not None:
        for item in pack.x:
            sink.append_item(item, x)
    else:
        for start in range(0, len(pack.x), CHUNK):
            sink.append(pack.x[start : start + CHUNK], getattr(meta.x, "levels", 256))
    columns = {name: copied(name, stored, sink) for name, stored in pack.columns.items()}
    return Content(
        splits={split: stop - start for split, (start, stop) in meta.splits.items()},
        labels=pack.y,
        classes=meta.classes,
        captions=pack.captions,
        tokenizer=meta.tokenizer,
        problems=list(meta.problems),
        notes=list(meta.notes),
        truth=meta.truth,
        columns=columns,
        values={name: (meta.values[name], np.asarray(array)) for name, array in pack.values.items()},
        x=x,
    )


def find(
    source: str | Path, size: tuple[int, int] | None, cache: str | Path | None = None, frames: int | None = None
) -> Source:
    """What a source is: a built-in name, a path if it exists, or else a name of the library. With `frames`, its files
    are videos.

    Raises UsageError, DataError.
    """
    if source == "":
        raise UsageError("the data source is an empty name; for the folder here, say ./")
    path = Path(source)
    if isinstance(source, str) and source in BUILTIN:
        if exists(path):
            log.info('"%s" is the built-in set; for the folder here, say "./%s"', source, source)
        return builtin(source, size)
    if not exists(path):
        if isinstance(source, str) and library.names(source):
            return replace(find(library.folder_of(source, cache), size, cache, frames), name=source.replace("/", "-"))
        raise UsageError(not_found(source, path))
    if isinstance(source, str) and library.names(source):
        log.info('"%s" is the one here; the set of that name in the library is not used', source)
    try:
        if path.is_dir():
            return find_in_folder(path, frames)
        if not path.is_file():  # opening a FIFO would wait for ever
            raise DataError(f"{shown(path)} is neither a file nor a folder")
        return find_in_file(path, frames)
    except OSError as e:
        raise DataError(f"{shown(path)} cannot be read: {reason_of(e)}") from e


def named(source: str | Path) -> bool:
    """Whether a source is a name of ours and no path: built in, or of the library and not here."""
    return source in BUILTIN or (library.names(source) and not exists(Path(source)))


def exists(path: Path) -> bool:
    """Whether there is something at `path`. Raises DataError if that cannot be known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as e:
        raise DataError(f"{shown(path)} cannot be opened: {reason_of(e)}") from e
    return True


def not_found(source: str | Path, path: Path) -> str:
    beside = []
    if path.parent.is_dir():
        beside = [str(path.parent / n) for n in difflib.get_close_matches(path.name, names_in(path.parent), 2)]
    close = difflib.get_close_matches(str(source), [*BUILTIN, *library.LIBRARY], 2) + beside
    suggested = did_you_mean([shown(c) for c in close])
    known = ", ".join(BUILTIN)
    return (
        f"there is no data source {shown(source)!r}{suggested}: it is neither a path nor built in ({known}) nor in the "
        f"library (`triptych data get` lists it)"
    )


def names_in(folder: Path) -> list[str]:
    try:
        return [p.name for p in folder.iterdir()]
    except OSError:
        return []


def find_in_folder(path: Path, frames: int | None) -> Source:
    name = shown(path.resolve().name) or "data"
    if is_pack(path):
        packed = open_pack(path)
        packed.verify()
        return Packed(
            name=packed.meta.name, stamp=packed.fingerprint, read=lambda sink: read_pack(packed, sink), pack=packed
        )
    folder = Folder(path)
    if any(file.endswith(".parquet") for file in folder.files) and not IMAGES.among(folder):
        return from_tree(name, from_files(shards(path), name), frames)
    return from_tree(name, folder, frames)


def find_in_file(path: Path, frames: int | None) -> Source:
    where, name = shown(path), shown(path.stem)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        named = load_npy(path)
        return Source(name, sha256_file(path), lambda sink: read_arrays(where, named, sink))
    if suffix == ".npz":
        return from_npz(name, Zip(path, where))
    if is_text(path.name):
        tree = Files(path.parent, [path.name])
        tree.name = where
        return from_corpus(name, tree)
    if suffix in TABLES:
        return from_tree(name, from_files({path: ""}, where), frames)
    if suffix == ".zip":
        return from_tree(name, Zip(path, where), frames)
    if path.name.lower().endswith(TARS):
        return from_tree(shown(re.sub(r"(?i)\.(tar(\.\w+)?|t\w+)$", "", path.name)), Tar(path, where), frames)
    if NAME.fullmatch(path.name.lower()):
        names = with_labels(path)
        if len(find_idx(names[:1], where)) == 0:
            raise DataError(f"{where} holds labels; name the file of images beside it")
        return from_idx(name, Files(path.parent, names), {"": dict(zip(("x", "y"), names, strict=False))})
    if suffix in IMAGES.suffixes | SOUNDS.suffixes | MOVING.suffixes | SOLIDS.suffixes | SURFACES.suffixes:
        lone = Files(path.parent, [path.name])
        lone.name = where
        return replace(from_tree(name, lone, frames), lone=True)
    raise DataError(
        f"{where} is no source: we take a picture, a sound, a folder of them, .npy, .npz, .txt, .jsonl, .parquet, "
        f".zip, .tar (.gz, .bz2, .xz), idx files (called ...images-idx3-ubyte, also .gz and .xz), and the built-in "
        f"{', '.join(BUILTIN)}"
    )


def from_tree(name: str, tree: Tree, frames: int | None = None) -> Source:
    if idx := find_idx(tree.files, tree.name):
        return from_idx(name, tree, idx)
    if isinstance(tree, Archive) and tree.files and all(f.endswith(".npy") for f in tree.files):
        return from_npz(name, tree)
    if isinstance(tree, Archive) and len(tree.files) == 1 and (file := next(iter(tree.files))).endswith(".npz"):
        return from_npz(name, Zip(tree.read(file), f"{tree.name}/{shown(file)}"))
    if is_corpus(tree):
        return from_corpus(name, tree)
    if kind := kind_within(tree, frames):
        items: Tree = Framed(tree) if frames is not None else tree
        stamp = sha256_of(items.stamp, str(frames)) if frames is not None else tree.stamp
        return Source(name, stamp, partial(read_items, items, kind, frames=frames))
    return Source(name, tree.stamp, lambda sink: read_images(tree, sink), tree=tree)


def from_corpus(name: str, tree: Tree) -> Source:
    return Source(name, tree.stamp, lambda sink: read_corpus(tree, sink))


def from_npz(name: str, archive: Archive) -> Source:
    return Source(name, archive.stamp, lambda sink: read_arrays(archive.name, load_npz(archive), sink))


def from_idx(name: str, tree: Tree, names: dict[str, dict[str, str]]) -> Source:
    def read(sink: Sink) -> Content:
        content = read_arrays(tree.name, Arrays(load_idx(tree, names)), sink)
        return replace(content, classes=called(content.classes or (), class_names(tree)) or None)

    return Source(name, tree.stamp, read)


def did_you_mean(close: list[str]) -> str:
    return f" (did you mean {' or '.join(repr(c) for c in close)}?)" if close else ""
