"""Arrays in files (.npy, .npz). Nothing is unpickled."""

import io
import zipfile
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from triptych.media.work import BadFile

MOST_VALUES = 1 << 28
"""Of an array that one element is read from."""


def load(data: bytes) -> np.ndarray:
    """The array of a .npy file, or the only one (or the one called x or voxels) of a .npz file. Raises BadFile."""
    try:
        if data[:4] == b"PK\x03\x04":
            return from_archive(data)
        return array(io.BytesIO(data))
    except BadFile:
        raise
    except (ValueError, EOFError, OverflowError, MemoryError, OSError, zipfile.BadZipFile, zlib.error) as e:
        text = str(e)
        plain = "it holds Python objects, which would have to be unpickled; save numbers"
        raise BadFile(plain if "pickle" in text or "Object arrays" in text else f"damaged ({text})") from e


def from_archive(data: bytes) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        wanted = [info for info in names if info.filename in ("x.npy", "voxels.npy")] or names
        if len(wanted) != 1:
            raise BadFile(f"{len(names)} arrays in it, where one is wanted (or one called x)")
        if wanted[0].file_size > 8 * MOST_VALUES:
            raise BadFile(f"{wanted[0].file_size:,} bytes in it; at most {8 * MOST_VALUES:,} are read")
        with archive.open(wanted[0]) as file:
            return array(file)


def array(file: Any) -> np.ndarray:
    stream: Any = SimpleNamespace(read=file.read)  # no file on disk, which numpy would take some for
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    count = int(np.prod(shape, dtype=object))
    if dtype.hasobject:
        raise BadFile("it holds Python objects, which would have to be unpickled; save numbers")
    if count > MOST_VALUES:
        raise BadFile(f"{count:,} numbers; at most {MOST_VALUES:,} are read")
    content = file.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise BadFile("cut short")
    found: np.ndarray = np.frombuffer(content, dtype, count)
    return found.reshape(shape[::-1]).T if fortran else found.reshape(shape)
