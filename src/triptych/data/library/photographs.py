"""Photographs of animals, monuments and things, whole and in colour: those that the GCompris exercises show.

The pictures are kept as they come (WebP, stored with some loss: for what must be sharp in every pixel, halve them
first), each with its name as a caption. Where the same photograph is there in two sizes, the larger one is taken.
"""

import re
from pathlib import PurePosixPath

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.qt import resources
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.data.splits import held_out
from triptych.media.images import BadImage, open_picture

PACKAGE = Package(
    client="apt",
    name="gcompris-qt-data",
    version="3.1-2",
    sha256="e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    size=44_196_292,
)
FILES, NOTICE = "usr/share/gcompris-qt/rcc/", "usr/share/doc/gcompris-qt-data/copyright"
FOLDERS = {
    "categorization/resource/images/alphabets": "things",
    "categorization/resource/images/fishes": "fishes",
    "categorization/resource/images/monuments": "monuments",
    "categorization/resource/images/numbers": "things",
    "categorization/resource/images/others": "things",
    "categorization/resource/images/renewable": "energy",
    "categorization/resource/images/tools": "tools",
    "details/resource/image": "places",
    "erase/resource": "animals",
    "explore_farm_animals/resource/animals": "farm",
    "explore_monuments/resource/egypt": "egypt",
    "explore_monuments/resource/france": "france",
    "explore_monuments/resource/germany": "germany",
    "explore_monuments/resource/india": "india",
    "explore_monuments/resource/usa": "usa",
    "explore_monuments/resource/wonders": "wonders",
    "explore_world_animals/resource/animals": "world",
    "explore_world_music/resource/music": "music",
}
"""Where photographs are, below gcompris/src/activities, and what we put before their names."""
ACTIVITIES = {folder.split("/")[0] for folder in FOLDERS}
TAKEN = re.compile(r"gcompris/src/activities/(.+)/([^/]+)\.webp")
"""A resource file's name for a picture."""
SMALLEST = 180
"""Pixels of the shorter side; what is smaller is an icon."""
NOT = re.compile(
    # paintings
    r"details/resource/image/(Gogh|Van_?Gogh|Vincent|Eglise_dAuvers|PortraitOfPereTanguy).*"
    # smaller copies of photographs of explore_monuments
    r"|categorization/resource/images/monuments/(greatPyramid|brandenburgGate|colosseum)"
)


def caption(prefix: str, stem: str) -> str:
    """The words of a name: "great pyramid of giza" of greatPyramidOfGiza, "fish" of fish16."""
    plain = re.sub(r"_background$|[\d]+(_[\d]+)*(_c)?", "", stem).replace("NDP", "notreDame")
    parted = re.sub(r"(?<=[a-z]{3})(of|des|de|du|St)(?=[A-Z])", r" \1 ", plain)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", parted)
    return ("music of " if prefix == "music" else "") + " ".join(words.split()).lower()


def write(archives: Archives, folder: Folder) -> None:
    pictures: dict[str, tuple[str, bytes]] = {}
    for file, content in archives.members(PACKAGE.name, lambda n: n == NOTICE or n.startswith(FILES)):
        if file == NOTICE:
            folder.put("LICENSE", content)
            continue
        if PurePosixPath(file).stem not in ACTIVITIES:
            continue
        for name, data in resources(content, file):
            found = TAKEN.fullmatch(name)
            if found and found[1] in FOLDERS and not NOT.fullmatch(f"{found[1]}/{found[2]}") and large(data):
                prefix = FOLDERS[found[1]]
                pictures[f"{prefix}-{found[2]}"] = (caption(prefix, found[2]), data)
    names = sorted(pictures)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for name, held in zip(names, held_out(names), strict=True):
        split = "test" if held else "train"
        folder.put(f"{split}/{name}.webp", pictures[name][1])
        folder.counts[split] += 1
        rows[split].append((f"{name}.webp", pictures[name][0]))
    for split, some in rows.items():
        folder.table(f"{split}/metadata.csv", ("file_name", "text"), some)


def large(data: bytes) -> bool:
    """Whether it is an opaque picture whose shorter side is large enough. Raises DataError."""
    try:
        with open_picture(data) as picture:
            return picture.mode == "RGB" and min(picture.size) >= SMALLEST
    except BadImage as e:
        raise DataError(f"a photograph cannot be decoded: {e}; get the set again") from e


RECIPE = Recipe(
    name="photographs",
    about="256 photographs of animals, buildings and things, up to 1920 x 1080, each with a caption",
    licence="GPL-3+ and, for many of the pictures, Creative Commons licences or public domain (see LICENSE there)",
    credit="the GCompris project (KDE) and the photographers named in LICENSE",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 229, "test": 27},
    version=1,
    then=(
        "triptych data photographs --size 64",
        "triptych train super-resolution --data photographs --out runs/photographs",
    ),
)
