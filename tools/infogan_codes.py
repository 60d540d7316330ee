"""What InfoGAN's codes do, in one picture, after Figure 2 of its paper (https://arxiv.org/abs/1606.03657).

    python tools/infogan_codes.py RUN --out results/infogan_codes.png

A row for each category. The first samples of a seed, not chosen; then one of them while its first number goes from -1
to 1, and one while its second does.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from triptych.core import ItemNoise, UsageError
from triptych.media import pictures
from triptych.models.gan.infogan import Codes, InfoGAN
from triptych.verbs.create import load

COLUMNS, GAP = 10, 16
"""Pictures of each part of a row, and pixels between parts."""


def chosen(codes: Codes, categories: int, number: int | None) -> Codes:
    """A row for each category: of other draws each, or of one whose `number` alone is changed."""
    draws = torch.arange(COLUMNS) if number is None else torch.zeros(COLUMNS, dtype=torch.long)
    rows = draws.repeat(categories)
    numbers = codes.numbers[rows].clone()
    if number is not None:
        numbers[:, number] = torch.linspace(-1, 1, COLUMNS).repeat(categories)
    return replace(
        codes, category=torch.arange(categories).repeat_interleave(COLUMNS), numbers=numbers, z=codes.z[rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help=".png")
    args = parser.parse_args()
    model = load(args.run)
    if not isinstance(model, InfoGAN):
        raise UsageError(f"{args.run} holds {model.name}, not infogan")
    with torch.no_grad():
        codes = model.codes(ItemNoise(args.seed, range(COLUMNS)))
        parts = [
            pictures.grid(model.decode(chosen(codes, model.config.categories, number)), columns=COLUMNS, scale=2)
            for number in (None, *range(model.config.numbers))
        ]
    sheet = Image.new("RGB", (sum(p.width + GAP for p in parts) - GAP, parts[0].height), "white")
    for i, part in enumerate(parts):
        sheet.paste(part.convert("RGB"), (sum(p.width + GAP for p in parts[:i]), 0))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(32, dither=Image.Dither.NONE).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
