"""Packages of three registries, brought here by the registries' own clients and checked before anything is read.

Nothing of a package is installed and nothing in it is run: a client writes the archive into a folder of the cache,
and there its sha256 is compared with the one that the recipe names. Where the client looks is its own configuration.
"""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

from triptych.core import IntegrityError, ResourceError, TriptychError
from triptych.data.cache import sweep
from triptych.data.files import sha256_file, shown

log = logging.getLogger(__name__)

Client = Literal["pip", "apt", "npm"]
PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
"""Of npm, which else goes on trying for minutes where there is no network."""


@dataclass(frozen=True)
class Package:
    """One archive: who has it, which version, and what its bytes are."""

    client: Client
    name: str
    version: str
    sha256: str
    size: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.client}, {self.size / 1e6:.1f} MB)"

    @property
    def file(self) -> str:
        """What it is called in the cache, whatever its registry calls it."""
        suffix = {"pip": "whl", "apt": "deb", "npm": "tgz"}[self.client]
        return f"{self.name.strip('@').replace('/', '-')}-{self.version.replace(':', '-')}.{suffix}"


def bring(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded now if it is not there with the right content.

    An archive that lies there already is taken, so a person without the client, or without a network, may put it there.
    Raises IntegrityError if what came is not what the recipe knows, ResourceError if the disk is full, TriptychError
    if the client is missing or fails.
    """
    place = folder / package.file
    if place.is_file():
        if sha256_file(place) == package.sha256:
            return place
        log.warning("%s is not what the recipe knows, and is downloaded again", shown(place))
    by_hand = f"Or put its archive there yourself: {shown(place)}, sha256 {package.sha256}"
    command = command_for(package, by_hand)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        temporary = Path(tempfile.mkdtemp(prefix=".packing-", dir=folder))
        try:
            run(command, temporary, package, by_hand)
            arrived = sorted(p for p in temporary.iterdir() if p.is_file() and not p.is_symlink())
            if len(arrived) != 1:
                raise TriptychError(f"{package}: {package.client} brought {len(arrived)} files, not one. {by_hand}")
            if (found := sha256_file(arrived[0])) != package.sha256:
                raise IntegrityError(
                    f"{package} came with sha256 {found}, and the recipe knows {package.sha256}: it was changed since "
                    "this recipe was written, or on its way; nothing of it was read"
                )
            os.replace(arrived[0], place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as e:
        raise cannot_write(folder, e) from e
    return place


def cannot_write(folder: Path, error: OSError) -> TriptychError:
    if isinstance(error, TriptychError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"the disk is full: {shown(folder)} cannot take the archive")
    return TriptychError(f"{shown(folder)} cannot be written ({error}); TRIPTYCH_CACHE names another folder")


def has(module: str) -> bool:
    """Whether a module can be imported: not asked of all finders, as setuptools' warns where distutils was imported."""
    return PathFinder.find_spec(module) is not None


def command_for(package: Package, by_hand: str) -> list[str]:
    """What downloads `package` into the folder where it is run. Raises TriptychError if the client is missing."""
    if package.client == "pip":
        # wheels only: to ask a source distribution for its metadata runs its code
        options = ["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
        options += ["--disable-pip-version-check", "--retries", "1", "--quiet", "--dest", "."]
        if has("pip"):
            return [sys.executable, "-m", "pip", *options, f"{package.name}=={package.version}"]
        if found := shutil.which("pip3") or shutil.which("pip"):
            return [found, *options, f"{package.name}=={package.version}"]
        raise missing(package, "pip", "python -m ensurepip", by_hand)
    if package.client == "apt":
        if found := shutil.which("apt-get"):
            return [found, "download", "--quiet", "-o", "Acquire::Retries=1", f"{package.name}={package.version}"]
        raise missing(package, "apt-get", "Debian and systems made from it have it", by_hand)
    if found := shutil.which("npm"):
        return [found, "pack", "--ignore-scripts", "--loglevel=error", *PATIENCE, f"{package.name}@{package.version}"]
    raise missing(package, "npm", "it comes with Node.js", by_hand)


def missing(package: Package, program: str, how: str, by_hand: str) -> TriptychError:
    return TriptychError(f"{package} needs {program}, which is not on this machine ({how}). {by_hand}")


def run(command: list[str], folder: Path, package: Package, by_hand: str) -> None:
    """Runs a client in `folder`. Raises TriptychError with its own last words if it fails."""
    # a session of its own, so that what the client has started ends with it
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    ) as client:
        try:
            out, err = client.communicate()
        except BaseException:
            stop(client)
            raise
    if client.returncode:
        said = [line.strip() for line in (err + "\n" + out).splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith(("e:", "error", "npm err", "npm error"))]
        why = shown((errors or said or ["it said nothing"])[-1 if package.client == "pip" else 0])[:300]
        hint = "is there a network" + (", is `apt-get update` due" if package.client == "apt" else "")
        ended_with = f"{package.client} ended with {client.returncode} ({why})"
        raise TriptychError(
            f"{package} did not come: {ended_with}; {hint}, does its registry have this version? {by_hand}"
        )


def stop(client: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(client.pid, signal.SIGKILL)
    else:
        client.kill()
