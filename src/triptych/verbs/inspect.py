"""What a data source holds."""

from pathlib import Path
from typing import Any

from triptych.core import Audio
from triptych.data import Served, pack


def inspect(data: Served, pack_to: Path | None = None) -> dict[str, Any]:
    """Items, space, conditions and problems of a source; with `pack_to`, its packed form is written there too."""
    about: dict[str, Any] = {
        "name": data.name,
        "items": len(data),
        "x": str(data.x),
        "given": str(data.given) if data.given else None,
        "classes": data.classes,
        "fingerprint": data.fingerprint,
        "problems": [{"file": p.file, "reason": p.reason} for p in data.problems],
    }
    if pack_to is not None and data.opened is not None:
        opened, sound = data.opened, data.x if isinstance(data.x, Audio) else None
        size, channels, tokens = opened["size"], opened["channels"], opened.get("tokens")
        noisy = opened.get("noisy")
        pack(opened["source"], pack_to, size=size, channels=channels, tokens=tokens, sound=sound, noisy=noisy)
        about["packed"] = str(pack_to)
    return about
