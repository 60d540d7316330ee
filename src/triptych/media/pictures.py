"""Pictures of samples: grids, strips and scatter plots as PIL images; PNG and GIF files; data URIs for HTML."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from triptych.core import UsageError
from triptych.io.commit import write_atomic
from triptych.io.outputs import MADE_BY
from triptych.media import animation

Array = Tensor | NDArray[np.generic]
Bytes = NDArray[np.uint8]

BACKGROUND = 0
"""The grey level between cells."""


def grid(images: Array, columns: int | None = None, pad: int = 2, scale: int = 1) -> Image.Image:
    """Images laid out row by row, `pad` pixels between them.

    Args:
        images: uint8, or float in [-1, 1] (values outside are cut off), of shape [n, channels, height, width].
            One channel is grey, three are RGB; of any other number each channel is shown, in grey, side by side.
        columns: images a row; by default as square as can be.
        pad: pixels between images, before scaling.
        scale: each pixel becomes a square of this side.

    Raises UsageError for an empty batch, another shape or type, or values that are not finite.
    """
    cells = to_bytes(images)
    if columns is None:
        columns = math.ceil(math.sqrt(len(cells)))
    if columns < 1 or pad < 0 or scale < 1:
        raise UsageError(f"grid: columns={columns} and scale={scale} must be 1 or more, pad={pad} 0 or more")
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    height, width = cells.shape[1:3]
    sheet = np.full(
        (rows * (height + pad) - pad, columns * (width + pad) - pad, *cells.shape[3:]), BACKGROUND, np.uint8
    )
    for i, cell in enumerate(cells):
        top, left = (i // columns) * (height + pad), (i % columns) * (width + pad)
        sheet[top : top + height, left : left + width] = cell
    return Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1))


def strip(rows: Array | Sequence[Array], pad: int = 2, scale: int = 1) -> Image.Image:
    """Rows of equally many images: the same latents step by step, interpolations, originals over reconstructions.

    Args:
        rows: [rows, columns, channels, height, width], or a sequence of [columns, channels, height, width].

    Raises UsageError as `grid` does, and for rows of different lengths.
    """
    stacked = [to_bytes(row) for row in rows]
    if not stacked or len({row.shape for row in stacked}) > 1:
        raise UsageError(f"strip: needs rows of one shape, got {[list(row.shape) for row in stacked]}")
    cells = np.concatenate(stacked)
    cells = cells[:, None] if cells.ndim == 3 else cells.transpose(0, 3, 1, 2)
    return grid(cells, len(stacked[0]), pad, scale)


def rows(pictures: Sequence[Sequence[Image.Image]], pad: int = 4) -> Image.Image:
    """Pictures of any size laid out in rows, on white; those of a column begin at the same place."""
    columns = max(len(row) for row in pictures)
    widths = [max(row[k].width for row in pictures if k < len(row)) for k in range(columns)]
    heights = [max(one.height for one in row) for row in pictures]
    sheet = Image.new("RGB", (sum(widths) + pad * (columns - 1), sum(heights) + pad * (len(heights) - 1)), PAPER)
    y = 0
    for row, height in zip(pictures, heights, strict=True):
        x = 0
        for one, width in zip(row, widths, strict=False):
            sheet.paste(one, (x, y))
            x += width + pad
        y += height + pad
    return sheet


def cells(images: Array) -> tuple[Image.Image, ...]:
    """Each image of a batch by itself; takes and refuses what `grid` does."""
    return tuple(Image.fromarray(cell) for cell in to_bytes(images))


def to_bytes(images: Array) -> Bytes:
    """[n, c, h, w], uint8 or float in [-1, 1] -> uint8 [n, h, w] (grey) or [n, h, w, 3] (RGB)."""
    a = images.detach().cpu() if isinstance(images, Tensor) else np.asarray(images)
    if isinstance(a, Tensor):
        a = (a.float() if a.dtype in (torch.bfloat16, torch.float16) else a).numpy()
    if a.ndim != 4 or 0 in a.shape:
        raise UsageError(f"pictures need images of shape [n, channels, height, width], none zero; got {list(a.shape)}")
    if np.issubdtype(a.dtype, np.floating):
        if not np.isfinite(a).all():
            raise UsageError(f"pictures need finite values; {np.count_nonzero(~np.isfinite(a)):,} are NaN or infinite")
        a = np.rint((a.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    elif a.dtype != np.uint8:
        raise UsageError(f"pictures take uint8 images, or float images in [-1, 1]; got {a.dtype}")
    n, channels, height, width = a.shape
    if channels == 3:
        return np.ascontiguousarray(a.transpose(0, 2, 3, 1))
    return np.ascontiguousarray(a.transpose(0, 2, 1, 3).reshape(n, height, channels * width))


LINE = 18
"""Pixels of a line of text below a picture."""
INK = (40, 38, 34)
PAPER, FRAME, TRUTH, POINT = (255, 255, 255), (226, 222, 213), (176, 171, 160), (20, 82, 140)


def scatter(points: Array, truth: Array | None = None, side: int = 480) -> Image.Image:
    """Points in the plane, blue, over what they should look like, grey; darker where there are more.

    Args:
        points: [n, 2]; x to the right, y up.
        truth: [m, 2], drawn beneath. Where given it sets the frame, so that pictures of several models compare;
            points outside the frame are drawn on its edge.
        side: pixels of the (square) picture.

    Raises UsageError for another shape, no points, or values that are not finite.
    """
    drawn = plane(points, "points")
    below = plane(truth, "truth") if truth is not None else None
    frame = drawn if below is None else below
    low, high = frame.min(axis=0), frame.max(axis=0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) * 0.58, 1e-9)
    fine = 2 * side  # drawn at twice the size and averaged, so that dots are round
    sheet = np.broadcast_to(np.array(PAPER, np.float64), (fine, fine, 3))
    for layer, color, ink, radius in ((below, TRUTH, 0.35, 3.5), (drawn, POINT, 0.55, 3.0)):
        if layer is None:
            continue
        unit = ((layer - middle) / reach).clip(-1, 1) * [1, -1]
        span = int(radius)
        at = np.rint((unit + 1) / 2 * (fine - 1 - 2 * span)).astype(int) + span
        count = np.zeros((fine, fine))
        for dy in range(-span, span + 1):
            for dx in range(-span, span + 1):
                if dx * dx + dy * dy <= radius * radius:
                    np.add.at(count, (at[:, 1] + dy, at[:, 0] + dx), 1)
        cover = (1 - (1 - ink) ** count)[..., None]
        sheet = sheet * (1 - cover) + np.array(color) * cover
    picture = np.rint(sheet.reshape(side, 2, side, 2, 3).mean(axis=(1, 3))).astype(np.uint8)
    picture[[0, -1]] = picture[:, [0, -1]] = FRAME
    return Image.fromarray(picture)


def nice(step: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `step`: for the ticks of an axis."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


def captioned(image: Image.Image, text: str) -> Image.Image:
    """A grey picture with a line of text below it; the line is cut where the picture ends."""
    font = ImageFont.load_default(11)
    sheet = Image.new("L", (image.width, image.height + LINE), 255)
    sheet.paste(image, (0, 0))
    ImageDraw.Draw(sheet).text((4, image.height + 2), text, 40, font)
    return sheet


def noted(image: Image.Image, lines: Sequence[str], width: int = 22) -> Image.Image:
    """A picture on white with lines of text below it, folded to so many characters."""
    font, deep = ImageFont.load_default(11), 14
    parts = [part for line in lines for part in wrap(folded(line, len(line) or 1)[0], width)]
    sheet = Image.new("RGB", (max(image.width, 6 * width), image.height + deep * len(parts) + 4), PAPER)
    sheet.paste(image, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for k, part in enumerate(parts):
        pen.text((2, image.height + 2 + deep * k), part, INK, font)
    return sheet


def matrix(counts: Array, names: Sequence[str]) -> Image.Image:
    """How often each class (a row) was taken for each (a column): the count, on blue as deep as its share of the row.

    Args:
        counts: whole numbers [classes, classes].
        names: of the classes.

    Raises UsageError for another shape.
    """
    a = np.asarray(counts)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) != len(names) or len(a) == 0:
        raise UsageError(f"matrix: {len(names)} names for counts of shape {list(a.shape)}")
    font = ImageFont.load_default(13)
    short = [name if len(name) <= 14 else f"{name[:13]}\u2026" for name in names]
    pens = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widest = max(pens.textlength(text, font) for text in [*short, *map(str, a.max(0).tolist())])
    cell, left, top = max(36, round(widest) + 12), round(widest) + 20, 52
    sheet = Image.new("RGB", (left + cell * len(a) + 12, top + 28 * len(a) + 12), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((12, 8), "rows: what it is; columns: what it was taken for", INK, font)
    shares = a / np.maximum(a.sum(1, keepdims=True), 1)
    for i, name in enumerate(short):
        pen.text((left - 8, top + 28 * i + 14), name, INK, font, anchor="rm")
        pen.text((left + cell * i + cell / 2, top - 10), name, INK, font, anchor="mm")
        for k in range(len(a)):
            color = tuple(round(p + (q - p) * float(shares[i, k])) for p, q in zip(PAPER, POINT, strict=True))
            box = (left + cell * k, top + 28 * i, left + cell * k + cell - 2, top + 28 * i + 26)
            pen.rectangle(box, fill=color)
            ink = PAPER if shares[i, k] > 0.5 else INK
            pen.text((left + cell * k + cell / 2 - 1, top + 28 * i + 13), str(a[i, k]), ink, font, anchor="mm")
    return sheet


def page(texts: Sequence[str], width: int = 96, height: int = 36) -> Image.Image:
    """Texts one below the other, on a page of `height` lines of at most `width` characters; the rest is cut off.

    Set in the font that Pillow carries: what it has no letters for (most scripts but Latin) shows as boxes.
    """
    font, deep, margin = ImageFont.load_default(13), 18, 12
    sheet = Image.new("RGB", (7 * width + 2 * margin, deep * height + 2 * margin), PAPER)
    pen, end = ImageDraw.Draw(sheet), sheet.height - margin - deep
    y = margin
    for text in texts:
        lines = [part for line in text.split("\n") for part in folded(line, width)]
        for line in lines[: max(0, (end - y) // deep + 1)]:
            pen.text((margin, y), line, fill=INK, font=font)
            y += deep
        pen.line([(margin, y + margin // 2), (sheet.width - margin, y + margin // 2)], fill=FRAME)
        y += margin
    return sheet


def folded(line: str, width: int) -> list[str]:
    """A line cut to pieces, what cannot be shown replaced."""
    plain = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return [plain[i : i + width] for i in range(0, max(1, len(plain)), width)]


def plane(points: Array, what: str) -> NDArray[np.float64]:
    a = np.asarray(points.detach().cpu().double() if isinstance(points, Tensor) else points, np.float64)
    if a.ndim != 2 or a.shape[1] != 2 or len(a) == 0:
        raise UsageError(f"scatter: {what} need the shape [n, 2], n at least 1; got {list(a.shape)}")
    if not np.isfinite(a).all():
        raise UsageError(f"scatter: {what} need finite values; {np.count_nonzero(~np.isfinite(a)):,} are not")
    return a


def png(image: Image.Image, text: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG file, `text` in its tEXt chunks (iTXt for a value outside Latin-1).

    Raises UsageError for a keyword that PNG does not allow (1 to 79 Latin-1 characters) or a value with a NUL.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        if not (1 <= len(key) <= 79 and key.isprintable() and all(ord(c) < 256 for c in key) and key == key.strip()):
            raise UsageError(f"PNG text: the keyword {key!r} is not 1 to 79 printable Latin-1 characters")
        if "\0" in value:
            raise UsageError(f"PNG text: the value of {key!r} holds a NUL character")
        info.add_text(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, pnginfo=info)
    return buffer.getvalue()


def save_png(image: Image.Image, path: str | Path, text: Mapping[str, str] | None = None) -> Path:
    """Writes a PNG atomically, `text` (seed, model, step, ...) and who made it within. Raises as `png` and
    `write_atomic`."""
    return write_atomic(path, png(image, {"Software": MADE_BY, **(text or {})}))


def to_data_uri(image: Image.Image) -> str:
    """The image as a `data:image/png;base64,...` address."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def gif(frames: Sequence[Image.Image], path: str | Path, milliseconds: int = 150) -> Path:
    """Writes an endless animation atomically; the last frame stays eight times as long.

    Raises UsageError for no frames or frames of different sizes; and as `write_atomic`.
    """
    if not frames or len({frame.size for frame in frames}) > 1:
        raise UsageError(f"gif: needs frames of one size, got {sorted({frame.size for frame in frames})}")
    times = [milliseconds] * (len(frames) - 1) + [8 * milliseconds]
    return write_atomic(path, animation.gif(frames, times))
