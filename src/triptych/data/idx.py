"""idx, the format of MNIST: a header of whole numbers, then the bytes. Also compressed, as .gz or .xz.

http://yann.lecun.com/exdb/mnist/ (the page describes the format)
"""

import gzip
import io
import lzma
import re
import struct
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np

from triptych.core import DataError, IntegrityError
from triptych.data.arrays import Named
from triptych.data.files import MANY_BYTES, RATIO, Tree, reason_of, shown
from triptych.data.splits import SPLITS

NAME = re.compile(
    r"(?:.*[-_.])??(?:(train|t10k|test|valid|validation|val)[-_])?(images|labels)[-.]idx[13]-ubyte(\.gz|\.xz)?"
)
UINT8 = 0x08
PIECE = 1 << 20
"""Bytes that are unpacked at a time."""


def read_idx(data: bytes, name: str) -> np.ndarray:
    """A uint8 array from the bytes of an idx file, compressed or not.

    Raises DataError if it is no such file or is cut short, IntegrityError if it claims to hold absurdly much.
    """
    try:
        with unpacked(data) as file:
            zero, kind, axes = struct.unpack(">HBB", file.read(4))
            if zero != 0 or axes not in (1, 2, 3, 4):
                raise DataError(f"{name} is not an idx file")
            if kind != UINT8:
                raise DataError(f"{name} holds idx data of type 0x{kind:02x}; we take bytes (0x08)")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            if prod(shape) > max(MANY_BYTES, RATIO * len(data)):
                raise IntegrityError(f"{name} claims {prod(shape):,} bytes in {len(data):,}: a decompression bomb")
            array = np.empty(shape, np.uint8)  # filled in place: nothing is held twice
            held, more = fill(file, array), file.read(1)
    except (struct.error, EOFError) as e:
        raise DataError(f"{name} is cut short") from e
    except (OSError, lzma.LZMAError, zlib.error) as e:
        raise DataError(f"{name} is damaged: {e}") from e
    if held < array.size or more:
        raise DataError(f"{name} says {list(shape)} and holds {'more' if more else 'fewer'} bytes")
    return array


def fill(file: gzip.GzipFile | lzma.LZMAFile | io.BytesIO, array: np.ndarray) -> int:
    """Reads into an array, until it is full or the file ends; how many bytes came."""
    rest, held = array.reshape(-1).data, 0
    while held < len(rest) and (more := file.readinto(rest[held : held + PIECE])):
        held += more
    return held


def unpacked(data: bytes) -> gzip.GzipFile | lzma.LZMAFile | io.BytesIO:
    if data.startswith(b"\x1f\x8b"):
        return gzip.open(io.BytesIO(data))
    if data.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(io.BytesIO(data))
    return io.BytesIO(data)


def find_idx(files: Iterable[str], name: str) -> dict[str, dict[str, str]]:
    """Names of idx files by split ("" for none) and by "x" or "y". Of a file and its compressed copy, the plain one.

    Raises DataError if there are several sets side by side.
    """
    found: dict[str, dict[str, str]] = {}
    for file in sorted(files, key=lambda n: (len(n), n)):
        if match := NAME.fullmatch(PurePosixPath(file).name.lower()):
            split, kind = match[1], match[2]
            known = found.setdefault(SPLITS[split] if split else "", {})
            before = known.setdefault("x" if kind == "images" else "y", file)
            if plain_name(before) != plain_name(file):
                raise DataError(
                    f"{name} holds several sets of idx files, as {shown(before)} and {shown(file)}: name one"
                )
    return {split: names for split, names in found.items() if "x" in names}


def plain_name(file: str) -> str:
    return re.sub(r"\.(gz|xz)$", "", PurePosixPath(file).name)


def with_labels(path: Path) -> list[str]:
    """The names of an idx file of images and, where it lies beside it, of its labels."""
    plain = plain_name(path.name).replace("images", "labels").replace("idx3", "idx1")
    beside = (name for name in (plain, plain + ".gz", plain + ".xz") if (path.parent / name).is_file())
    return [path.name, *list(beside)[:1]] if "images" in path.name else [path.name]


def load_idx(tree: Tree, names: dict[str, dict[str, str]]) -> Named:
    """Reads what `find_idx` found. Raises as `read_idx`."""
    named: Named = {}
    for split, files in names.items():
        for role, file in files.items():
            where = f"{tree.name}/{shown(file)}"
            try:
                data = tree.read(file)
            except OSError as e:
                raise DataError(f"{where} cannot be read: {reason_of(e)}") from e
            named.setdefault(split, {})[role] = read_idx(data, where)
    return named
