"""Qt resource files (.rcc): a tree of names and the bytes of each file, as `rcc -binary` writes them.

https://github.com/qt/qtbase/blob/dev/src/corelib/io/qresource.cpp (the reader there describes the format)
"""

import struct
import zlib
from collections.abc import Iterator

from triptych.core import DataError

MAGIC = b"qres"
DIRECTORY, COMPRESSED, ZSTD = 2, 1, 4
"""Flags of an entry."""
MOST = 1 << 26
"""Bytes of the largest file that is believed."""
DEEPEST = 32


def resources(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file in a resource file. Those packed with Zstandard are left out.

    Raises DataError if it is no resource file, or damaged.
    """
    if data[:4] != MAGIC:
        raise DataError(f"{name} is no Qt resource file")
    try:
        version, tree, content, names = struct.unpack_from(">4I", data, 4)
        yield from Tree(data, tree, content, names, 22 if version >= 2 else 14).walk(0, (), 0)
    except (struct.error, zlib.error, UnicodeDecodeError, IndexError, ValueError) as e:
        raise DataError(f"{name} is damaged ({e})") from e


class Tree:
    """Where the three tables of a resource file begin, and how long an entry of its tree is."""

    def __init__(self, data: bytes, tree: int, content: int, names: int, entry: int):
        self.data, self.tree, self.content, self.names, self.entry = data, tree, content, names, entry

    def walk(self, number: int, above: tuple[str, ...], depth: int) -> Iterator[tuple[str, bytes]]:
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} folders deep")
        at = self.tree + number * self.entry
        name, flags = struct.unpack_from(">IH", self.data, at)
        path = (*above, self.named(name)) if number else above
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">2I", self.data, at + 6)
            if first <= number:
                raise ValueError("a folder that holds itself")
            for child in range(first, first + count):
                yield from self.walk(child, path, depth + 1)
        elif not flags & ZSTD:
            yield "/".join(path), self.read(struct.unpack_from(">I", self.data, at + 10)[0], bool(flags & COMPRESSED))

    def named(self, offset: int) -> str:
        at = self.names + offset
        (length,) = struct.unpack_from(">H", self.data, at)
        return self.data[at + 6 : at + 6 + 2 * length].decode("utf-16-be")  # between them: a hash

    def read(self, offset: int, compressed: bool) -> bytes:
        at = self.content + offset
        (length,) = struct.unpack_from(">I", self.data, at)
        found = self.data[at + 4 : at + 4 + length]
        if len(found) != length:
            raise ValueError("cut short")
        if not compressed:
            return found
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(found[4:], MOST)  # first the length it will have, which we need not believe
        if not unpacker.eof:
            raise ValueError(f"a file of more than {MOST:,} bytes, or cut short")
        return whole
