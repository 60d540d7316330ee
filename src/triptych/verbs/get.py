"""get_data: a set of the library, brought to this machine by name."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triptych.data import library
from triptych.data.library import Fetched, Recipe

log = logging.getLogger(__name__)


def get_data(name: str, *, cache: str | Path | None = None, tell: Callable[[str], None] = log.info) -> Fetched:
    """Brings a set here unless it is here already; then `tt.data(name)` opens it.

    name   fashion-mnist, photographs, satellite, orl-faces or emoji (`library.LIBRARY`).
    cache  where it is kept; else TRIPTYCH_CACHE, else the user's cache folder.
    tell   is called with a line before each step.

    Raises UsageError for another name, and what `library.fetch` raises if it cannot be brought.

        folder = tt.get_data("photographs").folder
    """
    return library.fetch(library.find(name), cache, tell)


def listing(cache: str | Path | None = None) -> list[dict[str, Any]]:
    """What can be had, and whether it is here."""
    return [about(recipe, library.where(recipe, cache)) for recipe in library.LIBRARY.values()]


def about(recipe: Recipe, folder: Path | None) -> dict[str, Any]:
    """What a person should know of a set; `folder` is where it is, if it is here."""
    return {
        "name": recipe.name,
        "about": recipe.about,
        "items": dict(recipe.counts),
        "download": recipe.size,
        "licence": recipe.licence,
        "credit": recipe.credit,
        "folder": None if folder is None else str(folder),
        "next": list(recipe.then),
    }
