"""Pedestrians: people who cross squares of a film that a standing camera took, as clips of 20 frames of 64 x 64.

The film (795 frames at 10 a second, 768 x 576) is halved, and cut into squares that overlap by half, two seconds each;
those are kept in which something moves after the first second. The last fifth of the film is held out: the places are
the same, what happens there is not.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from triptych.core import DataError, UsageError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.media.video import moving, rolled
from triptych.media.work import BadFile

PACKAGE = Package(
    client="apt",
    name="opencv-doc",
    version="4.6.0+dfsg-12",
    sha256="4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
    size=95_715_012,
)
FILE = "usr/share/doc/opencv-doc/examples/data/vtest.avi"
FRAMES, SIDE, STEP = 20, 64, 32
HELD = 0.2
MOVED = 10.0
"""Squared distance of a frame of the second half from the last of the first, summed over its pixels in grey, black 0
and white 1; a square in which nothing moves has .2."""


def squares(film: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The split and name of each clip, and its frames; of a film uint8 [frames, height, width, 3]."""
    last = int(len(film) * (1 - HELD))
    for split, start, stop in (("train", 0, last), ("test", last, len(film))):
        for t in range(start, stop - FRAMES + 1, FRAMES):
            for top in range(0, film.shape[1] - SIDE + 1, STEP):
                for left in range(0, film.shape[2] - SIDE + 1, STEP):
                    clip = film[t : t + FRAMES, top : top + SIDE, left : left + SIDE]
                    grey = clip.mean(-1, dtype=np.float32) / 255
                    half = FRAMES // 2
                    if np.square(grey[half:] - grey[half - 1]).sum((1, 2)).mean() > MOVED:
                        yield f"{split}/{t:03d}-{top:03d}-{left:03d}.webp", clip


def write(archives: Archives, folder: Folder) -> None:
    try:
        film = np.stack([np.asarray(f.to_image().reduce(2)) for f in rolled(archives.one(PACKAGE.name, FILE))])
    except BadFile as e:
        if isinstance(e.__cause__, ImportError):
            raise UsageError(f"{FILE}: {e}") from e
        raise DataError(f"{FILE} cannot be decoded: {e}; get the set again") from e
    for name, clip in squares(film):
        folder.put(name, moving([Image.fromarray(frame) for frame in clip], ".webp"))
        folder.counts[name.partition("/")[0]] += 1


RECIPE = Recipe(
    name="pedestrians",
    about="1,041 clips of people who cross squares of 64 x 64, 20 frames each; the last fifth of a film is held out",
    licence="Apache-2.0 and BSD-3-Clause (OpenCV)",
    credit="the OpenCV project (vtest.avi of its samples)",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 799, "test": 242},
    version=1,
    then=(
        "triptych data pedestrians --frames 20 --sheet pedestrians.png",
        "triptych train video-prediction --data pedestrians --out runs/pedestrians",
    ),
)
