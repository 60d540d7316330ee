"""Emoji of three makers, aligned by code point, with their Unicode names as captions.

A folder for each maker: `fluent` (Microsoft, 256 x 256), `google` (Noto, 64 x 64), `twitter` (Twemoji, 64 x 64); a
file of one name is the same emoji in all. An emoji is on the same side of the split in all its skin tones.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.data.splits import held_out

FLUENT = Package(
    client="npm",
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    size=15_792_027,
)
GOOGLE = Package(
    client="npm",
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    size=74_344_091,
)
TWITTER = Package(
    client="npm",
    name="emoji-datasource-twitter",
    version="16.0.0",
    sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    size=61_683_754,
)
TABLE = "package/emoji.json"
MAKERS = {
    "fluent": (FLUENT, "package/assets/", ".webp"),
    "google": (GOOGLE, "package/img/google/64/", ".png"),
    "twitter": (TWITTER, "package/img/twitter/64/", ".png"),
}
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
LIGHTER, MEDIUM = "1f3fc", "1f3fd"
RIGHT = (
    *("1f468-200d-1f4bb", "1f469-200d-1f4bb", "1f9d1-200d-1f4bb"),  # technologists
    *("1f46b", "1f46c", "1f46d", "1f48f", "1f491"),  # pairs of people
)
"""The fluent package has medium-light and medium the wrong way round in every emoji of one skin tone but these."""
CONFUSED = "1f6b5"
"""A bicyclist, of whom it has no skin tone in its place."""


@dataclass(frozen=True)
class Emoji:
    code: str
    """Its code points, without the mark that asks for a picture (fe0f), which makers put differently."""
    plain: str
    """The code of the same emoji without skin tones."""
    caption: str
    tone: str
    category: str


def plain(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def mended(code: str) -> str | None:
    """The code that a picture of the fluent package should have; None if that is not known."""
    parts = code.split("-")
    tones = [part for part in parts if part.upper() in TONES]
    base = "-".join(part for part in parts if part not in tones)
    if tones and base == CONFUSED:
        return None
    if len(tones) != 1 or base in RIGHT:
        return code
    other = {LIGHTER: MEDIUM, MEDIUM: LIGHTER}
    return "-".join(other.get(part, part) for part in parts)


def emoji(table: bytes) -> Iterator[Emoji]:
    """Every emoji that Unicode knows, in every skin tone. Raises DataError."""
    try:
        for entry in json.loads(table):
            name, code, category = entry["name"].lower(), plain(entry["unified"]), entry["category"]
            yield Emoji(code, code, name, "", category)
            variations: dict[str, Any] = entry.get("skin_variations", {})
            for key, variation in variations.items():
                tone = " and ".join(TONES[part] for part in key.split("-"))
                yield Emoji(plain(variation["unified"]), code, f"{name}, {tone} skin tone", tone, category)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"the table of emoji is not as the recipe knows it ({type(e).__name__}: {e})") from e


def write(archives: Archives, folder: Folder) -> None:
    pictures: dict[str, dict[str, bytes]] = {}
    for maker, (package, where, suffix) in MAKERS.items():
        found = archives.members(package.name, lambda n, a=where, b=suffix: n.startswith(a) and n.endswith(b))  # type: ignore[misc]
        pictures[maker] = {plain(name.removeprefix(where).removesuffix(suffix)): content for name, content in found}
    pictures["fluent"] = {right: content for code, content in pictures["fluent"].items() if (right := mended(code))}
    known = sorted(emoji(archives.one(GOOGLE.name, TABLE)), key=lambda e: e.code)
    common = [e for e in known if all(e.code in some for some in pictures.values())]
    bases = sorted({e.plain for e in common})
    held = dict(zip(bases, held_out(bases), strict=True))
    rows: list[tuple[str, ...]] = []
    captions: dict[str, list[tuple[str, str]]] = {}
    for e in common:
        split = "test" if held[e.plain] else "train"
        files = []
        for maker, (_, _, suffix) in MAKERS.items():
            files.append(f"{maker}/{split}/{e.code}{suffix}")
            folder.put(files[-1], pictures[maker][e.code])
            captions.setdefault(f"{maker}/{split}/metadata.csv", []).append((f"{e.code}{suffix}", e.caption))
        folder.counts[split] += 1
        rows.append((*files, e.caption, e.category, e.tone))
    for name, some in captions.items():
        folder.table(name, ("file_name", "text"), some)
    folder.table("metadata.csv", ("file_name", "google_file", "twitter_file", "text", "category", "tone"), rows)


RECIPE = Recipe(
    name="emoji",
    about="3,367 emoji of three makers (fluent, 256 x 256; google and twitter, 64 x 64), aligned, each with its name",
    licence="fluent: MIT; google (Noto): Apache-2.0; twitter (Twemoji): CC BY 4.0; names: MIT",
    credit="Microsoft Fluent Emoji (as packaged by LobeHub); Google Noto; Twitter Twemoji; Cal Henderson's emoji-data",
    packages=(FLUENT, GOOGLE, TWITTER),
    write=write,
    counts={"train": 3009, "test": 358},
    version=1,
    then=(
        "triptych data emoji --size 64 --sheet emoji.png",
        "triptych data emoji/google",
        "triptych train dcgan --data emoji --size 64 --out runs/emoji",
    ),
)
