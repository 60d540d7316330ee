"""Figures of the game Flare in any pose, and what they wear alone: layers of rendered clothes, put together.

Two columns: `wearer` is a whole figure (64 x 64), x its chest garment alone, facing us, twice as large. A garment is
dyed, alike on both: its colors times one color. Outfits (what is worn together) and poses that are held out are in no
training picture; the eight garments of either sex, and their shapes, are in both parts.
"""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random

import numpy as np
from PIL import Image

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe, png
from triptych.media.images import BadImage, open_picture

PACKAGE = Package(
    client="apt",
    name="flare-game",
    version="1.14-1",
    sha256="4ab6a8298276013d35a0806257e130d992761af1b749041433b409c3dafec508",
    size=122_515_912,
)
WHERE = "usr/share/games/flare/mods/fantasycore/"
AVATAR = f"{WHERE}animations/avatar/"
SLOTS: dict[str, tuple[str, ...]] = {
    "chest": tuple(
        "default_chest cloth_shirt leather_chest chain_cuirass plate_cuirass mage_vest mage_vest_alt1 "
        "mage_vest_alt2".split()
    ),
    "legs": tuple(
        "default_legs cloth_pants leather_pants chain_greaves plate_greaves mage_skirt mage_skirt_alt1 "
        "mage_skirt_alt2".split()
    ),
    "feet": tuple("default_feet cloth_sandals leather_boots chain_boots plate_boots mage_boots".split()),
    "hands": tuple("default_hands cloth_gloves leather_gloves chain_gloves plate_gauntlets mage_sleeves".split()),
    "head": tuple("head_short head_bald head_long leather_hood chain_coif plate_helm mage_hood".split()),
}
GARMENT = "chest"
FACING = ("stance", 0, 6)
"""The pose in which a garment is shown alone: standing, towards us."""
SIDE, FEET = 64, (32, 56)
"""Of a picture, and where in it a figure stands."""
SHADOW = 160
"""Of transparency, below full: the game's shadows are about half as dark."""
COUNTS = {"train": 4000, "test": 400}

Pose = tuple[str, int, int]
"""The animation, its frame, and one of eight directions."""
Place = tuple[int, int, int, int, int, int]
"""Left, top, width and height in the sheet, and where the figure's feet are from there."""


@dataclass(frozen=True)
class Layer:
    """All pictures of one thing that is worn."""

    sheet: Image.Image
    places: Mapping[Pose, Place]

    def put(
        self, into: Image.Image, pose: Pose, feet: tuple[int, int], dye: np.ndarray | None, alone: bool = False
    ) -> None:
        """Drawn over a picture, `alone` without its shadow; nothing where it cannot be seen in that pose."""
        if pose not in self.places:
            return
        left, top, width, height, x, y = self.places[pose]
        part = self.sheet.crop((left, top, left + width, top + height))
        if alone:
            part.putalpha(part.getchannel("A").point(lambda level: level if level > SHADOW else 0))
        if dye is not None:
            levels = np.asarray(part).astype(np.float64) * [*dye, 1.0]
            part = Image.fromarray(np.rint(levels).astype(np.uint8), "RGBA")
        over = Image.new("RGBA", into.size)
        over.paste(part, (feet[0] - x, feet[1] - y))
        into.alpha_composite(over)


def places(text: str) -> tuple[str, dict[Pose, Place]]:
    """The sheet's name and the places in it, as the game writes them. Raises DataError."""
    sheet, animation, found = "", "", dict[Pose, Place]()
    try:
        for line in map(str.strip, text.splitlines()):
            key, _, value = line.partition("=")
            if key == "image":
                sheet = value
            elif line.startswith("["):
                animation = line.strip("[]")
            elif key == "frame":
                frame, direction, left, top, width, height, x, y = map(int, value.split(","))
                found[animation, frame, direction] = (left, top, width, height, x, y)
    except ValueError as e:
        raise DataError(f"an animation of flare-game is not as the recipe knows it: {e}") from e
    return sheet, found


def layers(archives: Archives) -> dict[tuple[str, str], Layer]:
    """By sex and name."""
    known = {name for names in SLOTS.values() for name in names}
    read = dict[tuple[str, str], tuple[str, dict[Pose, Place]]]()
    for file, content in archives.members(PACKAGE.name, lambda n: n.startswith(AVATAR) and n.endswith(".txt")):
        sex, _, name = file.removeprefix(AVATAR).removesuffix(".txt").partition("/")
        if name in known:
            read[sex, name] = places(content.decode())
    sheets = {f"{WHERE}{sheet}" for sheet, _ in read.values()}
    drawn = {file: rgba(content, file) for file, content in archives.members(PACKAGE.name, lambda n: n in sheets)}
    missing = sheets - drawn.keys()
    if missing:
        raise DataError(f"flare-game holds no {min(missing)}")
    return {key: Layer(drawn[f"{WHERE}{sheet}"], found) for key, (sheet, found) in read.items()}


def rgba(content: bytes, name: str) -> Image.Image:
    try:
        with open_picture(content) as picture:
            return picture.convert("RGBA")
    except BadImage as e:
        raise DataError(f"{name} cannot be decoded: {e}; get the set again") from e


def order(text: str) -> dict[int, list[str]]:
    """Which slots are drawn after which, for each direction."""
    found = dict[int, list[str]]()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "layer":
            direction, *slots = value.strip().split(",")
            found[int(direction)] = slots
    return found


@dataclass(frozen=True)
class Figure:
    """One row."""

    sex: str
    outfit: Mapping[str, str]
    pose: Pose
    dye: np.ndarray
    ground: tuple[int, int, int]


def held(name: str) -> bool:
    """Whether an outfit or a pose is held out: a fifth of them is."""
    return int.from_bytes(sha256(name.encode()).digest()[:7]) < 2**56 // 5


def figures(worn: Mapping[tuple[str, str], Layer]) -> Iterator[tuple[str, Figure]]:
    """The rows of either part, with the part's name."""
    random = Random(0)

    def one(of: Sequence[str]) -> str:
        return of[int(random.random() * len(of))]

    for split, count in COUNTS.items():
        made = 0
        while made < count:
            sex = one(sorted({sex for sex, _ in worn}))
            options = {slot: [n for n in names if (sex, n) in worn] for slot, names in SLOTS.items()}
            outfit = {slot: one(names) for slot, names in options.items()}
            poses = sorted(worn[sex, outfit[GARMENT]].places)
            pose = poses[int(random.random() * len(poses))]
            dye = np.array(colorsys.hsv_to_rgb(random.random(), 0.35 + 0.55 * random.random(), 1.0))
            ground = tuple(int(150 + 90 * random.random()) for _ in range(3))
            together = f"{sex} {outfit['chest']} {outfit['legs']}"
            if held(together) == held(str(pose)) == (split == "test"):
                made += 1
                yield split, Figure(sex, outfit, pose, dye, ground)  # type: ignore[arg-type]


def middle(garment: Layer) -> tuple[int, int]:
    """Where its figure would stand for a garment to lie in the middle of its picture."""
    left, top, width, height, x, y = garment.places[FACING]
    solid = (
        garment.sheet.crop((left, top, left + width, top + height))
        .getchannel("A")
        .point(lambda level: 255 if level > SHADOW else 0)
    )
    first, above, last, below = solid.getbbox() or (0, 0, width, height)
    return SIDE // 4 - (first + last) // 2 + x, SIDE // 4 - (above + below) // 2 + y


def write(archives: Archives, folder: Folder) -> None:
    worn = layers(archives)
    slots = order(archives.one(PACKAGE.name, f"{WHERE}engine/hero_layers.txt").decode())
    rows = []
    for split, one in figures(worn):
        number = folder.counts[split]
        wearer = Image.new("RGBA", (SIDE, SIDE), (*one.ground, 255))
        for slot in slots[one.pose[2]]:
            if slot in one.outfit:
                dye = one.dye if slot == GARMENT else None
                worn[one.sex, one.outfit[slot]].put(wearer, one.pose, FEET, dye)
        alone = Image.new("RGBA", (SIDE // 2, SIDE // 2), (255, 255, 255, 255))
        garment = worn[one.sex, one.outfit[GARMENT]]
        feet = middle(garment)
        garment.put(alone, FACING, feet, one.dye, alone=True)
        files = [f"{column}/{split}/{number:05d}.png" for column in ("garment", "wearer")]
        large = alone.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        for file, picture in zip(files, (large, wearer), strict=True):
            folder.put(file, png(picture.convert("RGB")))
        folder.counts[split] += 1
        rows.append((*files, one.sex, *(one.outfit[slot] for slot in SLOTS), "-".join(map(str, one.pose))))
    folder.table("metadata.csv", ("file_name", "wearer_file", "sex", *SLOTS, "pose"), rows)


RECIPE = Recipe(
    name="flare-clothing",
    about="4,400 game figures in 272 poses, dyed at random, each with its chest garment alone, 64 x 64",
    licence="CC BY-SA 3.0",
    credit="the artists of Flare: Empyrean Campaign (Clint Bellanger and others; see the package's copyright file)",
    packages=(PACKAGE,),
    write=write,
    counts=COUNTS,
    version=1,
    then=(
        "triptych data flare-clothing --sheet figures.png",
        "triptych train clothing --data flare-clothing --out runs/clothing",
    ),
)
