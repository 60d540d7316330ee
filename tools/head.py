"""Draws docs/weights.png, the picture at the head of the README, by the weights that come with the package."""

from pathlib import Path

from PIL import Image

import triptych as tt
from triptych.media import pictures
from triptych.verbs.gallery import asked, fitting
from triptych.verbs.shipped import shipped

OUT = Path(__file__).parents[1] / "docs" / "weights.png"
GAP = 8


def pair(name: str, side: int) -> Image.Image:
    """What was given, and the answer."""
    (both,) = asked(shipped()[name], 0)
    return pictures.rows([[fitting(picture, side) for picture in both]])


def main() -> None:
    emoji = tt.from_pretrained("r3gan-emoji").sample(60, seed=1)
    left = pictures.grid(emoji.numpy(), columns=10, scale=2).convert("RGB")
    above, below = (
        pair("super-resolution-satellite", 256),
        [pair(name, 126) for name in ("map-to-photo-satellite", "edges-fashion")],
    )
    wide = Image.new("RGB", (left.width + GAP + above.width, left.height), "white")
    wide.paste(left, (0, 0))
    wide.paste(above, (left.width + GAP, 0))
    wide.paste(below[0], (left.width + GAP, above.height + GAP))
    wide.paste(below[1], (wide.width - below[1].width, above.height + GAP))
    wide = wide.quantize(256, dither=Image.Dither.NONE)
    wide.save(OUT, optimize=True)


if __name__ == "__main__":
    main()
