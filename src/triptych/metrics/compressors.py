"""What general compressors make of a text: the yardsticks beside a language model's bits a byte."""

import gzip
import lzma
from collections.abc import Mapping

MOST = 1 << 25
"""Bytes of the training text that xz has seen, at most: the last ones. Its window holds 64 MiB at most."""


def bits_per_byte(text: bytes, before: bytes = b"") -> Mapping[str, float]:
    """Of gzip -9 and xz -9e on `text` alone; and of xz on what `text` adds to the length of `before`, the training
    text that a model has learned from. Headers count, as they do in files."""
    before = before[-MOST:]
    found = {"gzip": len(gzip.compress(text, 9, mtime=0)), "xz": len(packed(text))}
    if before:
        found["xz after the training text"] = len(packed(before + text)) - len(packed(before))
    return {name: 8 * size / max(1, len(text)) for name, size in found.items()}


def packed(text: bytes) -> bytes:
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
