"""Opening a packed folder: every file is what its meta.json says, or is named."""

import re
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from triptych.core import IntegrityError, Space
from triptych.core.reading import MOST_JSON, expect, parse_json, read_file
from triptych.data.arrays import HEADER, UNREADABLE, check_header
from triptych.data.columns import Column, Stored, in_proportion
from triptych.data.files import reason_of, shown
from triptych.data.packs import FORMAT, Meta, Pack, seal

COLUMN = re.compile(r"(column-[0-9]{1,3}(-sizes)?|value-[0-9]{1,4})\.npy")


def is_pack(folder: Path) -> bool:
    return (folder / "meta.json").is_file() and (folder / "x.npy").is_file()


def open_pack(folder: Path) -> Pack:
    """Opens a packed folder, checking meta.json whole, the others by size and shape (`Pack.verify` reads them).

    Raises IntegrityError naming the file that is not as it was written.
    """
    where = shown(folder)
    try:
        sealed = parse_json(read_file(folder / "meta.json", MOST_JSON), f"{where}/meta.json")
    except OSError as e:
        raise IntegrityError(f"{where}/meta.json is damaged: {reason_of(e)}") from e
    expect(sealed, {"meta": {"format?": int}, "sha256": str}, f"{where}/meta.json")
    about = sealed["meta"]
    if about.get("format") != FORMAT:
        raise IntegrityError(f"{where} has format {about.get('format')}; this version reads {FORMAT}: pack it again")
    if sealed["sha256"] != seal(about):
        raise IntegrityError(f"{where}/meta.json is damaged: its sha256 is not what it says itself")
    try:
        meta: Meta = TypeAdapter(Meta).validate_python(about)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{where}/meta.json is not what this version writes: {field}: {first['msg']}") from e
    for name, file in meta.files.items():
        path = folder / name
        if name not in ("x.npy", "sizes.npy", "y.npy", "tokens.npy", "captions.json") and not COLUMN.fullmatch(name):
            raise IntegrityError(f"{where}/meta.json lists {shown(name)!r}, which is no part of a pack")
        size = path.stat().st_size if path.is_file() else None
        if size != file.bytes:
            raise IntegrityError(f"{shown(path)} has {size or 'no'} bytes where meta.json says {file.bytes}")
    x, sizes = mapped(folder, "x.npy", meta), mapped(folder, "sizes.npy", meta)
    ragged = meta.whole or (meta.x.ragged and sizes is not None)
    if x is None or x.shape[1:] != (() if ragged else meta.x.shape) or (sizes is not None) != ragged:
        raise IntegrityError(f"{where}/x.npy does not hold {meta.x}")
    y, tokens = mapped(folder, "y.npy", meta), mapped(folder, "tokens.npy", meta)
    columns = {name: open_column(folder, k, meta, column) for k, (name, column) in enumerate(meta.columns.items())}
    values = {name: open_values(folder, k, meta, space) for k, (name, space) in enumerate(meta.values.items())}
    pack = Pack(meta, x, y, tokens, folder, None, sizes, columns, values)
    check(pack, where)
    return pack


def open_column(folder: Path, k: int, meta: Meta, column: Column) -> Stored:
    """Raises IntegrityError unless its file is as meta.json says."""
    pixels, sizes = mapped(folder, f"column-{k}.npy", meta), mapped(folder, f"column-{k}-sizes.npy", meta)
    shape = () if meta.whole else (column.channels, *column.space.shape[1:])
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[1:] != shape or (sizes is None) == meta.whole:
        raise IntegrityError(f"{shown(folder)}/column-{k}.npy does not hold {column.space}")
    if sizes is not None and not (
        well_sized(sizes, column.space, len(pixels)) and (sizes[:, 0] == column.channels).all()
    ):
        raise IntegrityError(f"{shown(folder)}/column-{k}-sizes.npy does not say where the items of a column end")
    return Stored(column, pixels, sizes)


def open_values(folder: Path, k: int, meta: Meta, space: Space) -> np.ndarray:
    """Raises IntegrityError unless its file is as meta.json says."""
    array, kind = mapped(folder, f"value-{k}.npy", meta), np.float32 if space.values is None else np.int64
    most = np.inf if space.values is None else space.values - 1
    if array is None or array.dtype != kind or array.shape[1:] != space.shape or not (array <= most).all():
        raise IntegrityError(f"{shown(folder)}/value-{k}.npy does not hold {space}")
    return array


DTYPES = {
    "images": ("uint8", "int32"),
    "audio": ("uint8", "uint16", "int32"),
    "points": ("float32",),
    "tokens": ("uint8", "int16", "int32"),
    "voxels": ("uint8", "int32"),
    "video": ("uint8", "int32"),
}


def check(pack: Pack, where: str) -> None:
    """Raises IntegrityError, naming the file, unless the arrays of a pack are what its meta.json speaks of."""
    meta, y, tokens, sizes = pack.meta, pack.y, pack.tokens, pack.sizes
    if pack.x.dtype.name not in DTYPES[meta.x.kind]:
        raise IntegrityError(f"{where}/x.npy holds {pack.x.dtype}, not {meta.x}")
    if sizes is not None and not well_sized(sizes, meta.x, len(pack.x)):
        raise IntegrityError(f"{where}/sizes.npy does not say where the items of x.npy end")
    n = len(pack)
    if not meta.splits or not all(0 <= start <= stop <= n for start, stop in meta.splits.values()):
        raise IntegrityError(f"{where}/meta.json: splits are not rows of the {n:,} that there are")
    classes = len(meta.classes or ())
    if y is not None and (y.dtype != np.int64 or y.shape != (n,) or (n and not -1 <= y.min() <= y.max() < classes)):
        raise IntegrityError(f"{where}/y.npy does not hold one of {classes} classes for each of {n:,} items")
    for name, stored in pack.columns.items():
        if len(stored.pixels if stored.sizes is None else stored.sizes) != n:
            raise IntegrityError(f"{where}: the column {shown(name)} does not hold one picture for each of {n:,} items")
        if stored.sizes is not None and sizes is not None and not in_proportion(sizes, stored.sizes):
            raise IntegrityError(f"{where}: the sizes of the column {shown(name)} are not in proportion to those of x")
    for name, array in pack.values.items():
        if len(array) != n:
            raise IntegrityError(f"{where}: the column {shown(name)} does not hold a value for each of {n:,} items")
    if tokens is not None:
        words, length = (len(meta.tokenizer.words), meta.tokenizer.length) if meta.tokenizer else (0, 0)
        fits = tokens.dtype == np.int32 and tokens.shape == (n, length)
        if not fits or (n and not 0 <= tokens.min() <= tokens.max() < words):
            raise IntegrityError(f"{where}/tokens.npy does not hold a caption of {length} tokens for each item")


def well_sized(sizes: np.ndarray, x: Space, total: int) -> bool:
    """Whether these are the sizes of items that x.npy holds, one after the other."""
    if sizes.ndim != 2 or sizes.shape[1] != len(x.shape) or sizes.dtype.kind not in "iu":
        return False
    if (sizes < 0).any() or (sizes >= 2**40).any() or int(sizes.prod(1).sum()) != total:
        return False
    return not x.ragged or bool((sizes[:, 0] == x.shape[0]).all() and (sizes[:, 1] <= x.shape[1]).all())


def mapped(folder: Path, name: str, meta: Meta) -> np.ndarray | None:
    if name not in meta.files:
        return None
    try:
        # "c": a private, writable view; torch warns of arrays that it may not write to
        with (folder / name).open("rb") as file:
            check_header(file.read(HEADER))
        array = np.load(folder / name, mmap_mode="c", allow_pickle=False)
    except UNREADABLE as e:
        raise IntegrityError(f"{shown(folder / name)} is damaged: {e}") from e
    if not isinstance(array, np.ndarray):  # an archive of arrays
        raise IntegrityError(f"{shown(folder / name)} is damaged: it holds no array")
    return array
