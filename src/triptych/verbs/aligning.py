"""Faces of a source, each turned and scaled so that eyes lie in one place, as an ordinary folder of pictures."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from triptych.core import Images, Space, UsageError
from triptych.data import Crops
from triptych.data import data as open_data
from triptych.io import outputs
from triptych.media.photo import Photo
from triptych.media.pictures import png
from triptych.tasks.faces import EYES, aligned, face, usual

SIZE = 64
"""Sides of the pictures that are written, if nothing is said."""
TABLE = "metadata.csv"


@dataclass(frozen=True)
class Aligned:
    """What was written."""

    out: Path
    pictures: int
    by_eyes: int
    """So many were turned and scaled by their eyes; the others were cut to their middle."""

    def as_dict(self) -> dict[str, Any]:
        return {"out": str(self.out), "pictures": self.pictures, "by_eyes": self.by_eyes}


def align(source: Any, out: str | Path, *, size: int | tuple[int, int] | None = None, **opening: Any) -> Aligned:
    """Writes the faces of a source into a new folder, train/ and test/ apart, with metadata.csv beside them.

    source   what `data` takes. Where its table has the columns lefteye_x, lefteye_y, righteye_x and righteye_y (pixels
             of the file, the eye further left in the picture first; CelebA's landmarks are read so), the eyes of each
             face come to lie at .36 and .64 of the width and .44 of the height; else its middle is taken: no detector
             of faces is part of this.
    size     height and width, or one number for both; 64 if nothing is said.

    Other columns go along. Raises UsageError for a folder that holds something already, and for sources that are no
    pictures.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already: aligned faces go into a new folder")
    outputs.check_files(folder, [TABLE])
    found = open_data(source, **{**opening, "split": "all", "crop": 1})
    assert isinstance(found, Crops)
    pack, sides = found.pack, (size, size) if isinstance(size, int) else size or (SIZE, SIZE)
    x = Images(found.x.channels, *sides)
    known = all(name in pack.values for name in EYES)
    kept = [name for name in pack.values if name not in EYES]
    named = ["file_name", *(["label"] if pack.y is not None else []), *(["text"] if pack.captions else []), *kept]
    classes, rows, by_eyes = list(pack.meta.classes or ()), list[list[str]](), 0
    for split, (start, stop) in pack.meta.splits.items():
        for i in range(start, stop):
            photo = Photo(pack.picture(i).transpose(1, 2, 0), name=f"picture {i}")
            if known:
                eyes = tuple(float(pack.values[name][i, 0]) for name in EYES)
                made = aligned(photo.tensor(x.channels), x, eyes, usual(x))
                by_eyes += 1
            else:
                made = face(photo, x)
            file = f"{split}/{i:06d}.png"
            (folder / split).mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(png(Photo.of(made[0]).image()))
            said = [] if pack.y is None else [classes[int(pack.y[i])] if pack.y[i] >= 0 else ""]
            said += [pack.captions[i]] if pack.captions else []
            rows.append([file, *said, *(word(pack.meta.values[name], pack.values[name][i]) for name in kept)])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([named, *rows])
    (folder / TABLE).write_text(text.getvalue(), encoding="utf-8")
    return Aligned(folder, len(rows), by_eyes)


def word(space: Space, value: Any) -> str:
    """A value of a column as a field of a table."""
    if space.classed or space.choices is not None:
        number = int(value)
        return "" if number < 0 else space.told[number] if space.told else str(number)
    return f"{torch.as_tensor(value).flatten()[0].item():g}"
