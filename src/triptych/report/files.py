"""Writing a file so that a kill, a full disk or a power cut leaves the old one, never half of the new one."""

import errno
import os
import tempfile
from pathlib import Path

from triptych.core import ResourceError, UsageError


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Writes `content` beside `path`, flushes it to the disk, and renames it into place; makes missing folders.

    Raises ResourceError where the disk is full, UsageError where the path cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o666 & ~umask())  # mkstemp makes private files; a report is as public as any other file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"cannot write {path}: the disk is full ({len(content):,} bytes needed)") from error
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path


def umask() -> int:
    """The process's file mode mask; the only way to read it is to set it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
