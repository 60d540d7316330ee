"""Clothes of Fashion-MNIST, dyed, and drawn figures that wear them: many products, and a body that is simple.

Two columns: x is the garment alone on white, `wearer` a figure in it, 32 x 32: turned, smaller, anywhere, before any
ground, now and then with an arm across it. Garments of the test part are those of the test set.
"""

import colorsys
from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from triptych.data.idx import read_idx
from triptych.data.library import fashion
from triptych.data.library.recipe import Archives, Folder, Recipe, png

SIDE, FINE = 32, 4
"""Of a picture; and how many times as large figures are drawn, so that their edges are smooth."""
TOPS = {0: "t-shirt or top", 2: "pullover", 3: "dress", 4: "coat", 6: "shirt"}
COUNTS = {"train": 6000, "test": 1000}
PARTS = {"train": "train", "test": "t10k"}


def garment(grey: np.ndarray, dye: np.ndarray) -> Image.Image:
    """A product as a picture with transparency, 28 x 28: dyed, its shades kept."""
    light = grey.astype(np.float64) / 255
    color = (0.35 + 0.65 * light)[..., None] * dye * 255
    alpha = np.clip(light * 6, 0, 1)[..., None] * 255
    return Image.fromarray(np.rint(np.concatenate([color, alpha], 2)).astype(np.uint8), "RGBA")


def alone(product: Image.Image) -> Image.Image:
    """On white, in the middle."""
    page = Image.new("RGBA", (SIDE, SIDE), (255, 255, 255, 255))
    edge = (SIDE - product.width) // 2
    over = Image.new("RGBA", page.size)
    over.paste(product, (edge, edge))
    page.alpha_composite(over)
    return page.convert("RGB")


def figure(product: Image.Image, random: Random) -> Image.Image:
    """Somebody who wears it."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * random.random()

    def color(low: float, high: float, much: float) -> tuple[int, int, int]:
        r, g, b = colorsys.hsv_to_rgb(random.random(), much * random.random(), between(low, high))
        return round(255 * r), round(255 * g), round(255 * b)

    size = SIDE * FINE
    page = Image.new("RGBA", (size, size), (*color(0.4, 1.0, 0.5), 255))
    draw = ImageDraw.Draw(page)
    ground = color(0.3, 0.8, 0.5)
    draw.rectangle((0, size * between(0.6, 0.9), size, size), fill=ground)
    skin = tuple(round(level * between(0.45, 1.0)) for level in (255, 215, 185))
    x, y, wide = size * between(0.42, 0.58), size * between(0.44, 0.54), size * between(0.17, 0.2)
    limb = round(wide * 0.5)
    for side in (-1, 1):
        hand = (x + side * wide * between(1.2, 2.0), y + wide * between(-0.3, 1.6))
        draw.line([(x + side * wide * 0.8, y - wide * 0.9), hand], fill=skin, width=limb)
        draw.line(
            [(x + side * wide * 0.5, y + wide), (x + side * wide * 0.6, size)], fill=color(0.1, 0.6, 0.5), width=limb
        )
    draw.ellipse((x - wide * 0.6, y - wide * 2.6, x + wide * 0.6, y - wide * 1.2), fill=skin)
    worn = product.resize((round(wide * between(2.8, 3.3)), round(wide * between(2.8, 3.3))), Image.Resampling.BICUBIC)
    worn = worn.rotate(between(-14, 14), Image.Resampling.BICUBIC, expand=True)
    over = Image.new("RGBA", page.size)
    over.paste(worn, (round(x - worn.width / 2), round(y - worn.height / 2)))
    page.alpha_composite(over)
    if random.random() < 0.4:
        start = (x - wide * 1.1, y - wide * 0.8)
        draw.line([start, (x + wide * between(-0.2, 0.8), y + wide * between(0, 0.9))], fill=skin, width=limb)
    return page.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)


def products(archives: Archives, split: str) -> Iterator[tuple[int, np.ndarray]]:
    """Tops of a part, with their class, in their order."""
    files = {f"{fashion.FILES}{PARTS[split]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")}
    found = {
        name: read_idx(content, name) for name, content in archives.members(fashion.PACKAGE.name, files.__contains__)
    }
    labels, images = (found[name] for name in sorted(found, key=lambda name: found[name].ndim))
    for label, grey in zip(labels.tolist(), images, strict=True):
        if label in TOPS:
            yield label, grey


def write(archives: Archives, folder: Folder) -> None:
    random, rows = Random(0), []
    for split, count in COUNTS.items():
        for number, (label, grey) in zip(range(count), products(archives, split), strict=False):
            dye = np.array(
                colorsys.hsv_to_rgb(random.random(), 0.3 + 0.7 * random.random(), 0.6 + 0.4 * random.random())
            )
            product = garment(grey, dye)
            files = [f"{column}/{split}/{number:05d}.png" for column in ("garment", "wearer")]
            for file, picture in zip(files, (alone(product), figure(product, random)), strict=True):
                folder.put(file, png(picture))
            folder.counts[split] += 1
            rows.append((*files, TOPS[label]))
    folder.table("metadata.csv", ("file_name", "wearer_file", "kind"), rows)


RECIPE = Recipe(
    name="dressed",
    about="7,000 tops of Fashion-MNIST, dyed, each with a drawn figure that wears it, 32 x 32",
    licence="MIT",
    credit=fashion.RECIPE.credit,
    packages=(fashion.PACKAGE,),
    write=write,
    counts=COUNTS,
    version=1,
    then=(
        "triptych data dressed --sheet dressed.png",
        "triptych train clothing --data dressed --model pixel-dtgan-32 --out runs/clothing",
    ),
)
