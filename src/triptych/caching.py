"""Where what can be made again is kept."""

import os
import sys
from pathlib import Path


def cache_folder(cache: str | Path | None) -> Path | None:
    """`cache`, or TRIPTYCH_CACHE, or the user's cache folder of this platform; None for a user without a home."""
    if cache is not None:
        return Path(cache)
    if chosen := os.environ.get("TRIPTYCH_CACHE"):
        return Path(chosen)
    if said := os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"):
        return Path(said) / "triptych"
    places = {"win32": ("AppData", "Local"), "darwin": ("Library", "Caches")}
    try:
        return Path.home().joinpath(*places.get(sys.platform, (".cache",)), "triptych")
    except RuntimeError:  # no HOME, and an account that this machine does not know (a container's, say)
        return None
