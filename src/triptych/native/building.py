"""Building the module in C++ once for a machine, and finding it again."""

import hashlib
import importlib.machinery
import importlib.util
import logging
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from triptych.caching import cache_folder

log = logging.getLogger(__name__)

NAME = "triptych_native"
SOURCES = (
    "module.cpp",
    "kernels.cpp",
    "gated.cpp",
    "transformer.cpp",
    "wavenet.cpp",
    "pixelsnail.cpp",
    "pixelcnn.cpp",
    "pixelcnn_pp.cpp",
    "lstm.cpp",
    "dense.cpp",
)
HEADERS = ("kernels.h", "call.h", "mixture.h", "streams.h")
FLAGS = ("-O3", "-march=native", "-g0")
AGAIN = 24 * 3600
"""Seconds after which what could not be built is tried again."""


class CannotBuild(Exception):
    """Why there is no module."""


def state() -> str:
    """Whether there is a module on this machine, or would be; nothing is built for this."""
    if os.environ.get("TRIPTYCH_NATIVE") == "0":
        return "turned off by TRIPTYCH_NATIVE=0"
    try:
        if there():
            return "built"
        check_tools()
        if (place(make=False) / "failed").exists():
            return "none: they could not be built"
    except (CannotBuild, OSError) as e:
        return f"none: {e}"
    return "built as soon as much is drawn"


def there() -> bool:
    """Whether the module needs no building: it lies in the cache folder."""
    try:
        return (place(make=False) / f"{NAME}.so").exists()
    except (CannotBuild, OSError):
        return False


def built() -> Any:
    """The module: from the cache folder, or built now. Raises CannotBuild."""
    try:
        folder = place()
        with alone(folder):
            path = folder / f"{NAME}.so"
            if not path.exists():
                return build(folder, path)
            if sha256(path) != (folder / "sha256").read_text():  # damaged, or cut off
                path.unlink()
                return build(folder, path)
            return opened(path)
    except (OSError, ImportError) as e:
        raise CannotBuild(str(e)) from e


def place(make: bool = True) -> Path:
    """The folder of this module for this machine, made if need be. Raises CannotBuild, OSError.

    What lies there is run: so the folder must be the user's own, with nobody else to write into it.
    """
    if sys.platform == "win32":
        raise CannotBuild("not on Windows")
    base = cache_folder(None)
    if base is None:
        raise CannotBuild("there is no home folder to keep them in")
    folder = base / "native" / key()
    if not make and not folder.exists():
        return folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise CannotBuild(f"{folder} can be written by others")
    return folder


def key() -> str:
    """All that a built module depends on, as one name."""
    here = Path(__file__).parent
    parts = [(here / name).read_bytes() for name in (*SOURCES, *HEADERS)]
    system = (torch.__version__, sys.version, sysconfig.get_config_var("SOABI"), platform.platform(), processor())
    parts += [str(part).encode() for part in (FLAGS, os.environ.get("CXX"), *system)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]


def processor() -> str:
    """What the compiler may make use of."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(next((line for line in lines if line.startswith(word)), "") for word in ("flags", "Features"))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps out other processes that would build the same. The lock ends with its process, however that ends."""
    import fcntl

    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: several may build, each in a folder of its own
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def build(folder: Path, path: Path) -> Any:
    """Builds in a folder beside the place, and moves what was built there. Raises CannotBuild, OSError."""
    failed = folder / "failed"
    if failed.exists() and time.time() - failed.stat().st_mtime < AGAIN:
        raise CannotBuild(failed.read_text())
    check_tools()
    for left in folder.glob("building-*"):  # by a process that was killed: nobody else is here
        shutil.rmtree(left, ignore_errors=True)
    log.info("building samplers in C++, once for this machine")
    temporary = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        module = compiled(temporary)
        made = temporary / f"{NAME}.so"
        (folder / "sha256").write_text(sha256(made))
        os.replace(made, path)
        return module
    except OSError:
        raise
    except Exception as e:  # whatever ails a compiler
        failed.write_text(f"{type(e).__name__}: {str(e)[-2000:]}")
        raise CannotBuild(failed.read_text()) from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_tools() -> None:
    """Raises CannotBuild for what is missing."""
    for name in ("ninja", os.environ.get("CXX", "c++")):
        if shutil.which(name) is None:
            raise CannotBuild(f"{name} is missing")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CannotBuild("Python's headers are missing")


def compiled(folder: Path) -> Any:
    """The module, built in a folder by torch's tools."""
    with warnings.catch_warnings(), quiet("torch.utils.cpp_extension"):  # which warn of a GPU that is not needed
        warnings.simplefilter("ignore")
        from torch.utils import cpp_extension  # takes half a second

        return cpp_extension.load(
            NAME,
            [str(Path(__file__).parent / name) for name in SOURCES],
            extra_cflags=list(FLAGS),
            build_directory=str(folder),
        )


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Errors only of this logger."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def opened(path: Path) -> Any:
    """The module in a file. Raises ImportError."""
    loader = importlib.machinery.ExtensionFileLoader(NAME, str(path))
    spec = importlib.util.spec_from_file_location(NAME, path, loader=loader)
    if spec is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
