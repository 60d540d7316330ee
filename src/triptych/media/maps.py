"""Label maps: pictures whose pixels say a class each, by a number or by a colour; and the table of the classes.

A table is a file `classes.csv` beside the data: a line for each class with its `index`, or `number` (else the lines are
counted from 0), its `name`, and the colour it is drawn in, `red`, `green` and `blue` (or `color`, as #4682c8).
"""

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from triptych.media.images import BadImage

Color = tuple[int, int, int]
NO_CLASS = 255
"""In a label map: of no class, or nobody cares of which."""
MOST = 255
"""Classes there may be."""
GOLDEN = 0.61803398875
"""Steps by this share of a circle never come back to where one was."""


class BadTable(ValueError):
    """A table of classes that we cannot use; the message says why."""


@dataclass(frozen=True)
class ClassTable:
    """What the classes of a label map are called, and the colour of each."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] -> the class of each pixel, uint8 [height, width]. Raises BadImage, naming it, for a
        colour that is no class's."""
        flat = rgb.reshape(-1, 3).astype(np.int64)
        codes, inverse = np.unique(flat @ [65536, 256, 1], return_inverse=True)
        known = {code_of(color): k for k, color in reversed(list(enumerate(self.colors)))}
        classes = np.array([known.get(code, -1) for code in codes.tolist()])
        if (classes < 0).any():
            share = np.bincount(inverse.ravel(), minlength=len(codes))[classes < 0].sum() / len(flat)
            first = int(codes[classes < 0][0])
            raise BadImage(
                f"{int((classes < 0).sum())} of its colours are no class's, on {share:.0%} of the pixels, the first "
                f"#{first:06x} (a drawn edge that is smoothed, or JPEG, makes others: save maps as PNG): {self}"
            )
        return classes[inverse.ravel()].astype(np.uint8).reshape(rgb.shape[:2])

    def painted(self, index: np.ndarray) -> np.ndarray:
        """The classes [..., height, width] in their colours, uint8 [..., height, width, 3]; black where none is."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = self.colors
        return palette[index]

    def __str__(self) -> str:
        some = [f"{k} {name} #{code_of(color):06x}" for k, (name, color) in enumerate(self.pairs())]
        more = f" and {len(some) - 20} more" if len(some) > 20 else ""
        return f"there are {len(self)} classes: {', '.join(some[:20])}{more}; {NO_CLASS} stands for none"

    def pairs(self) -> list[tuple[str, Color]]:
        return list(zip(self.names, self.colors, strict=True))

    def legend(self) -> Image.Image:
        """A picture of the classes, to choose colours from: a square each, its number and its name."""
        side, width = 20, 40 + 7 * max(len(name) for name in self.names) + 30
        image = Image.new("RGB", (width, side * len(self) + 4), "white")
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"  # a smoothed letter would have colours that are no class's
        for k, (name, color) in enumerate(self.pairs()):
            draw.rectangle((4, 4 + k * side, 18, k * side + 18), fill=color)
            draw.text((26, 5 + k * side), f"{k:3d} {name}", fill="black")
        return image

    def brushes(self, title: str) -> str:
        """The colours with their names as a palette that GIMP, Krita and Inkscape open (.gpl)."""
        lines = [f"{r:3d} {g:3d} {b:3d}\t{name}" for name, (r, g, b) in self.pairs()]
        return "\n".join(["GIMP Palette", f"Name: {title}", "Columns: 1", "#", *lines, ""])


def code_of(color: Color) -> int:
    red, green, blue = color
    return red * 65536 + green * 256 + blue


def some_colors(n: int) -> tuple[Color, ...]:
    """n colours that are easy to tell apart, where nobody says which."""
    import colorsys

    hues = [colorsys.hsv_to_rgb(k * GOLDEN % 1, 0.55 + 0.35 * (k % 2), 0.95 - 0.3 * (k // 2 % 2)) for k in range(n)]
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues)


def table_of(classes: int, colors: tuple[Color, ...] = (), names: tuple[str, ...] = ()) -> ClassTable:
    """A table of so many classes, of what is known of it: a missing name is the class's number."""
    usual = some_colors(classes)
    names = tuple(names[k] if k < len(names) else str(k) for k in range(classes))
    return ClassTable(names, tuple(colors[k] if k < len(colors) else usual[k] for k in range(classes)))


def read_classes(text: str) -> ClassTable:
    """What `classes.csv` says. Raises BadTable."""
    found: dict[int, tuple[str, Color | None]] = {}
    for line, raw in enumerate(csv.DictReader(io.StringIO(text)), 2):
        row = {str(key).strip().lower(): (value or "").strip() for key, value in raw.items() if isinstance(value, str)}
        try:
            index = int(next((row[key] for key in ("index", "number", "id") if key in row), str(len(found))))
            if not 0 <= index < MOST or index in found:
                raise ValueError(f"index {index}: each class has its own, from 0 to {MOST - 1}")
            found[index] = (row.get("name") or str(index), color_of(row))
        except ValueError as e:
            raise BadTable(f"line {line}: {e}") from e
    if not found:
        raise BadTable("it has no lines; its columns are index, name, red, green and blue")
    classes = max(found) + 1
    usual = some_colors(classes)
    rows = [found.get(k, (str(k), None)) for k in range(classes)]
    return ClassTable(tuple(name for name, _ in rows), tuple(c or usual[k] for k, (_, c) in enumerate(rows)))


def color_of(row: dict[str, Any]) -> Color | None:
    if row.get("color"):
        code = int(row["color"].removeprefix("#"), 16)
        return code >> 16 & 255, code >> 8 & 255, code & 255
    if not row.get("red"):
        return None
    red, green, blue = (int(row[name]) for name in ("red", "green", "blue"))
    if not all(0 <= level <= 255 for level in (red, green, blue)):
        raise ValueError("a colour has levels from 0 to 255")
    return red, green, blue


def read_map(image: Image.Image, levels: np.ndarray | None, table: ClassTable | None) -> np.ndarray:
    """The class of each pixel of an upright picture, uint8 [height, width].

    levels: those of a grey picture, as its file has them. table: of what classes; None: numbers are taken as they are.
    Raises BadImage for classes that the table does not have.
    """
    if levels is None and image.mode == "P":
        levels = np.asarray(image).astype(np.uint8)
        if table is not None and foreign(image, levels, table):
            levels = None
    if levels is None:
        if table is None:
            raise BadImage(
                f"a label map is a palette or a grey picture of up to 8 bits, and this is {image.mode}; a classes.csv "
                "beside the data says what its colours mean"
            )
        return table.indices(np.asarray(image.convert("RGB")))
    used = levels[levels != NO_CLASS]
    if table is not None and used.size and used.max() >= len(table):
        raise BadImage(f"it has the value {used.max()}, which is no class: {table}")
    return levels


def foreign(image: Image.Image, levels: np.ndarray, table: ClassTable) -> bool:
    """Whether a palette picture's numbers are not the table's: its colours are classes' that have other numbers (an
    editor sorts a palette as it likes)."""
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = [int(k) for k in np.unique(levels) if k != NO_CLASS]
    if used and max(used) >= len(palette):
        return False
    codes = [code_of(tuple(palette[k].tolist())) for k in used]
    known = [code_of(color) for color in table.colors]
    same = all(k < len(known) and known[k] == code for k, code in zip(used, codes, strict=True))
    return not same and all(code in known for code in codes)
