"""One writer a folder: whoever writes holds a lock, which ends with its process, however that ends."""

import errno
import logging
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from triptych.core import IntegrityError, UsageError
from triptych.io.commit import explain

log = logging.getLogger(__name__)

NAME = ".lock"
UNKNOWN = "another process"
NO_LINKS = (".next", "checkpoints", "samples", "metrics.jsonl")
"""What a run writes into, or moves files from: in a folder that somebody else made, these could lead anywhere."""
TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Keeps other writers out of a folder, which is made if it is missing.

    The lock is the operating system's (flock, on the file `.lock`): it is gone with the process that holds it, also
    after SIGKILL, and the file left behind by one means nothing. Where a file system has no locks (some network
    disks), or Python none (Windows), a warning says so and nothing keeps two writers apart.

    Raises UsageError naming the process that writes there already (it may be this one), or if the folder cannot be
    written; IntegrityError if links in it lead elsewhere.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; out= takes a folder")
    for name in NO_LINKS:
        if (path / name).is_symlink():
            raise IntegrityError(f"{path / name} is a link: what is written there would go elsewhere; remove it")
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = locked(path)
    except OSError as e:
        raise explain(e, path) from e
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                (path / NAME).unlink()  # before it is let go: whoever opened it meanwhile looks again
            os.close(handle)
        if made:
            with suppress(OSError):
                path.rmdir()  # unless something was written


def locked(path: Path) -> int | None:
    """The open lock file; None where there are no locks. Raises OSError, UsageError."""
    try:
        import fcntl
    except ImportError:
        log.warning("%s cannot be locked on this system: see to it that nothing else writes there", path)
        return None
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(path / NAME, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"{path / NAME} is no regular file: remove it")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if same(handle, path / NAME):
                os.ftruncate(handle, 0)
                os.write(handle, f"{whoami()}\n".encode(errors="replace"))
                return handle
        except UsageError:
            os.close(handle)
            raise
        except OSError as e:
            said = os.pread(handle, 500, 0).decode(errors="replace").strip() if e.errno in TAKEN else ""
            os.close(handle)
            if e.errno in TAKEN:
                writer = said or UNKNOWN
                raise UsageError(f"{path} is being written by {writer}: wait for it, or take another folder") from e
            if e.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            log.warning("%s cannot be locked on this file system: see to it that nothing else writes there", path)
            return None
        os.close(handle)  # its holder removed the file just before letting it go


def same(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def whoami() -> str:
    """This process, for those who wait for it."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else ""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})"
