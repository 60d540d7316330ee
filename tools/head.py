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
    cells = [fitting(picture).resize((side, side), Image.Resampling.NEAREST) for picture in asked(shipped()[name], 0)]
    return pictures.rows([cells])


def main() -> None:
    emoji = tt.from_pretrained("dcgan-emoji").sample(60, seed=1)
    left = pictures.grid(emoji.numpy(), columns=10, scale=2).convert("RGB")
    digits = tt.from_pretrained("dcgan-mnist").sample(16, seed=0)
    below = pictures.grid(digits.numpy(), columns=4, scale=2).convert("RGB")
    right = [pair("super-resolution-satellite", 256), pair("edges-fashion", 128), below]
    wide = Image.new("RGB", (left.width + GAP + right[0].width, left.height), "white")
    wide.paste(left, (0, 0))
    wide.paste(right[0], (left.width + GAP, 0))
    wide.paste(right[1], (left.width + GAP, right[0].height + GAP))
    small = right[2].resize((right[2].width * 128 // right[2].height, 128), Image.Resampling.LANCZOS)
    wide.paste(small, (left.width + right[1].width + 2 * GAP, right[0].height + GAP))
    wide.save(OUT, optimize=True)


if __name__ == "__main__":
    main()
