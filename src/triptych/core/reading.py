"""What stands in files that somebody else may have written: read within limits, and of the shape that we expect."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from triptych.errors import IntegrityError

MOST_JSON = 1 << 26
"""Bytes of the largest JSON file, or picture of a run, that is read."""
DEEPEST = 64
"""Lists and objects within each other."""


def read_file(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file (or of one that a link leads to), of at most `most` bytes.

    Raises OSError as opening does, and for what is no regular file: reading a FIFO or a device might never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if most is not None and found.st_size > most:
            raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes; at most {most:,} are read")
        return file.read()


def parse_json(data: bytes | str, where: str) -> Any:
    """JSON values. Raises IntegrityError, naming the file, for what is none or lies more than `DEEPEST` deep."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:  # RecursionError: a list in a list in a list ...
        raise IntegrityError(f"{where} is not JSON: {e}") from None
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise IntegrityError(f"{where} holds lists and objects more than {DEEPEST} deep")
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level, depth = [node for nodes in inner for node in nodes if isinstance(node, dict | list)], depth + 1
    return value


def expect(value: Any, shape: Any, where: str) -> None:
    """Raises IntegrityError, naming the field, unless `value` is of this shape.

    A shape is a type or several (exactly these: True is no int), or {field: shape} for an object that has these
    fields; those whose name ends in "?" may be missing, and others may be there.
    """
    if not isinstance(shape, dict):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        if type(value) not in kinds:
            wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
            raise IntegrityError(f"{where} is damaged: it has {type(value).__name__} where {wanted} belongs")
        return
    if not isinstance(value, dict):
        raise IntegrityError(f"{where} is damaged: it has {type(value).__name__} where an object belongs")
    for field, inner in shape.items():
        name = field.removesuffix("?")
        if name in value:
            expect(value[name], inner, f"{where}: {name}")
        elif name == field:
            raise IntegrityError(f"{where} is damaged: there is no {name}")
