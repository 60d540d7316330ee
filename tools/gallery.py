"""Runs beside each other in one picture: a row of samples for each, oldest model first, with its year and name.

    python tools/gallery.py runs/*-mnist --out results/gallery.png

Samples are the first ones of a seed, not chosen; a model of classes shows them in turn. Writes NAME.json beside it:
which preset or configuration, steps and seed stand behind each row.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from triptych import models
from triptych.core import Generative, Images, UsageError
from triptych.io import folder
from triptych.media import pictures
from triptych.verbs.create import load
from triptych.verbs.sample import examples, sample

PAPER, INK, GREY = (255, 255, 255), (20, 20, 20), (110, 110, 110)
MARGIN, LABEL = 12, 240
"""Pixels: around all, and of the column of names."""


def row(run: Path, n: int, seed: int, scale: int) -> tuple[models.Entry, str, Image.Image]:
    """A run's model, its year (and whether it draws by class), and n of its samples side by side."""
    model: Generative[Any] = load(run)
    if not isinstance(model.config.x, Images):
        raise UsageError(f"{run} models {model.config.x}; a gallery shows images")
    entry, given = models.find(model.name), examples(model, n)
    x = sample(model, n, given, seed=seed)
    below = f"{entry.paper.year}, by class" if given is not None else str(entry.paper.year)
    return entry, below, pictures.grid(x, columns=n, pad=2, scale=scale)


def sheet(rows: list[tuple[str, str, Image.Image]]) -> Image.Image:
    """Rows of a title, a line below it, and a strip of samples."""
    width = MARGIN * 2 + LABEL + max(strip.width for _, _, strip in rows)
    out = Image.new("RGB", (width, MARGIN * 2 + sum(strip.height for *_, strip in rows)), PAPER)
    pen, y = ImageDraw.Draw(out), MARGIN
    for title, below, strip in rows:
        middle = y + strip.height // 2
        pen.text((MARGIN, middle - 18), title, fill=INK, font=ImageFont.load_default(17))
        pen.text((MARGIN, middle + 3), below, fill=GREY, font=ImageFont.load_default(12))
        out.paste(strip.convert("RGB"), (MARGIN + LABEL, y))
        y += strip.height
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--n", type=int, default=16, help="samples a row")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help=".png")
    args = parser.parse_args()
    found = [(*row(run, args.n, args.seed, args.scale), run) for run in args.runs]
    found.sort(key=lambda each: (each[0].paper.year, each[0].paper.called, each[3].name))
    rows = [(entry.paper.called, below, strip) for entry, below, strip, _ in found]
    notes = [{"run": run.name, **folder.about(run)} for *_, run in found]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows).quantize(32, dither=Image.Dither.NONE).save(args.out, optimize=True)
    args.out.with_suffix(".json").write_text(json.dumps({"seed": args.seed, "rows": notes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
