"""How loud the recordings of a data set are: each one's peak and loudness, and which are silent or clipped, by name."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from triptych.core import ItemNoise
from triptych.media.audio import Clip, faults

MOST, BATCH = 2000, 100
"""Recordings that are measured, evenly spaced, and how many at a time."""
LOWEST = -60.0
"""dB of full scale, where the picture ends below."""
WIDTH, HEIGHT, LEFT, LINE, NAMED = 900, 180, 52, 14, 8
"""Pixels of the chart, of what stands beside it and of a line of text; and files that are named of each kind."""
INK, PALE, FAULTY, AXIS = (40, 40, 40), (170, 170, 170), (200, 30, 30), (110, 110, 110)


def levels(data: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], list[bool]]:
    """Of recordings: the peak and the root mean square, in dB of full scale, silence behind the end not counted; and
    whether something is wrong with it."""
    n, space = min(MOST, len(data)), data.x
    peaks, means, wrong = list[float](), list[float](), list[bool]()
    for rows in torch.split(torch.arange(n) * len(data) // n, BATCH):
        batch = data.fetch(rows, ItemNoise(0, rows.tolist()))
        for k, clip in enumerate(space.expand(batch.x).numpy()):
            own = clip if batch.lengths is None else clip[:, : max(1, int(batch.lengths[k]))]
            peaks.append(decibels(float(np.abs(own).max())))
            means.append(decibels(float(np.sqrt(np.square(own.astype(np.float64)).mean()))))
            wrong.append(bool(faults(Clip(own, space.rate))))
    return np.array(peaks), np.array(means), wrong


def decibels(size: float) -> float:
    return float(20 * np.log10(max(size, 1e-6)))


def words(data: Any, means: Float[np.ndarray, " n"]) -> list[str]:
    """What the picture says below: how even the recordings are, and what is wrong with which, with the fix."""
    low, middle, high = np.percentile(means, (10, 50, 90))
    said = [f"{len(means):,} recordings, loudness {middle:.0f} dB of full scale (nine of ten above {low:.0f})"]
    if high - low > 20:
        said.append(f"they differ by {high - low:.0f} dB: bring them to one loudness, or models learn how loud it was")
    for kind in ("silent", "clipped"):
        some = [p for p in data.problems if p.reason.startswith(f"{kind}:")]
        if some:
            names = ", ".join(p.file for p in some[:NAMED])
            more = f" and {len(some) - NAMED:,} more" if len(some) > NAMED else ""
            said += [f"{len(some):,} {some[0].reason}", f"    {names}{more}"]
    cut = [str(p) for p in data.problems if "sound files" in p.file]
    return [*said, *cut] if len(said) + len(cut) > 1 else [*said, "none is silent, clipped or cut off"]


def chart(data: Any) -> Image.Image:
    """A line for each recording from its loudness up to its peak, the loudest last; red where it is silent or clipped,
    and beneath it in words."""
    peaks, means, wrong = levels(data)
    below, font = words(data, means), ImageFont.load_default(11)
    wide = max(WIDTH, *(int(font.getlength(line)) for line in below))
    sheet = Image.new("RGB", (LEFT + wide + 8, HEIGHT + 12 + LINE * (len(below) + 1)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)

    def at(level: float) -> int:
        return 8 + round((HEIGHT - 1) * min(1.0, max(0.0, level / LOWEST)))

    for level in range(0, int(LOWEST) - 1, -20):
        pen.line([(LEFT, at(level)), (LEFT + WIDTH, at(level))], (225, 225, 225))
        pen.text((LEFT - 6, at(level)), f"{level} dB", AXIS, font, anchor="rm")
    order, n = np.lexsort((means, peaks)), len(peaks)
    for place, k in enumerate(order):
        left = LEFT + place * WIDTH // n
        right = max(left, LEFT + (place + 1) * WIDTH // n - (2 if n * 4 < WIDTH else 1))
        pen.rectangle([(left, at(peaks[k])), (right, at(means[k]))], FAULTY if wrong[k] else PALE)
        pen.rectangle([(left, at(peaks[k]) - 1), (right, at(peaks[k]) + 1)], FAULTY if wrong[k] else INK)
    pen.text((LEFT, HEIGHT + 10), "each recording from its loudness up to its peak; red: silent or clipped", AXIS, font)
    for k, line in enumerate(below):
        pen.text((LEFT, HEIGHT + 10 + LINE * (k + 1)), line, INK, font)
    return sheet
