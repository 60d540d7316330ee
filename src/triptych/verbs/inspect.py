"""What a data source holds."""

from pathlib import Path
from typing import Any

from triptych.data import Served, pack
from triptych.io.outputs import check_png
from triptych.media import medium_of
from triptych.media.pictures import save_png
from triptych.options import Packing, declared
from triptych.verbs.contact import contact_sheet

READINGS = {"index": ", label maps (255 is of no class)", "picture": ""}


def inspect(data: Served, pack_to: Path | None = None, sheet: Path | None = None) -> dict[str, Any]:
    """Items, columns, conditions and problems of a source; with `pack_to`, its packed form is written there too, and
    with `sheet`, a picture of some items (see `contact_sheet`)."""
    if sheet is not None:
        check_png(sheet)
    about: dict[str, Any] = {
        "name": data.name,
        "items": len(data),
        "x": str(data.x),
        "given": str(data.given) if data.given else None,
        "columns": columns(data),
        "classes": data.classes,
        "fingerprint": data.fingerprint,
        "problems": [{"file": p.file, "reason": p.reason} for p in data.problems],
    }
    if pack_to is not None and data.opened is not None:
        opened, sound = data.opened, medium_of(data.x).opens(data.x).get("sound")
        again: Any = {name: opened[name] for name in declared(Packing) if name in opened}
        pack(opened["source"], pack_to, **{**again, "sound": sound})
        about["packed"] = str(pack_to)
    if sheet is not None:
        about["sheet"] = str(save_png(contact_sheet(data), sheet))
    return about


def columns(data: Served) -> dict[str, dict[str, Any]]:
    """Each column with its space, how many items have it, and what its files are."""
    out = dict[str, dict[str, Any]]()
    for name, space in data.columns.items():
        known = len(data) if name != "label" or data.labels is None else int((data.labels >= 0).sum())
        out[name] = {"space": str(space), "count": known, "reading": reading(data, name)}
    return out


def reading(data: Served, name: str) -> str:
    """How a column was read, as far as its space does not say it."""
    if name in data.maps:
        return READINGS[data.maps[name].reading.kind]
    if name in data.pack.values and data.columns[name].measure == "density":
        low, high = data.pack.values[name].min(), data.pack.values[name].max()
        return f", from {low:g} to {high:g}, as they were read"
    return ""
