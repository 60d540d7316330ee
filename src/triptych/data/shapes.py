"""Coloured shapes with captions ("a small red circle"): pictures of which everything is known.

`shapes-apart` also says where ("a small red circle at the top left"), and keeps some pairs of a color and a shape for
the test: what a model makes of words that it has only seen apart can be read off its pictures (`metrics.attributes`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import cos, pi, sin

import numpy as np

from triptych.core import mix

COLORS = {
    "red": (214, 48, 49),
    "orange": (240, 140, 30),
    "yellow": (245, 205, 40),
    "green": (46, 160, 80),
    "blue": (45, 105, 220),
    "purple": (140, 70, 190),
}
SIZES = {"small": (0.14, 0.19), "large": (0.27, 0.33)}
"""Half the extent of a shape, least and greatest, as a share of the picture's side."""
REACH, GAP = 1.1, 0.04
"""No shape reaches farther than so many half-extents; and it keeps that share of the side from the edge."""

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""How far outside of a shape of half-extent 1 a point (x to the right, y down) lies; negative inside."""


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 1


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.88


def diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.abs(x) + np.abs(y) - 1.1) / np.sqrt(2)


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return polygon(x, y, [(0, -1.08), (1, 0.75), (-1, 0.75)])


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 1, y - 0.34), np.maximum(y - 1, x - 0.34))


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.28


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    tips = [(r * sin(pi * k / 5), -r * cos(pi * k / 5)) for k in range(10) for r in [0.5 if k % 2 else 1.1]]
    return polygon(x, y - 0.05, tips)


def polygon(x: np.ndarray, y: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    """Distance to the nearest edge; the sign from how many edges a ray to the right crosses."""
    nearest = np.full(x.shape, np.inf, x.dtype)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        along = (((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey)).clip(0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ey:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
    return np.where(inside, -1, 1).astype(x.dtype) * np.sqrt(nearest)


SHAPES: dict[str, Distance] = {
    "circle": circle,
    "cross": cross,
    "diamond": diamond,
    "ring": ring,
    "square": square,
    "star": star,
    "triangle": triangle,
}


APART: tuple[tuple[str, str], ...] = (
    ("red", "circle"),
    ("orange", "cross"),
    ("yellow", "diamond"),
    ("green", "ring"),
    ("blue", "square"),
    ("purple", "star"),
    ("red", "triangle"),
)
"""Pairs of a color and a shape that are in the test split of `shapes-apart` alone: each color and shape is in them."""
ACROSS, DOWN = ("left", "right"), ("top", "bottom")
NEAR = 0.4
"""Of the range that a center may lie in, the share at either end that is called "left" or "right"."""


def captions_of(kinds: np.ndarray) -> list[str]:
    """ "a small red circle" for each row of `plan`'s kinds."""
    words = [f"a {size} {color} {shape}" for size, color, shape in product(SIZES, COLORS, SHAPES)]
    return [words[k] for k in kinds]


def placed_captions(kinds: np.ndarray, rest: np.ndarray) -> list[str]:
    """ "a small red circle at the top left" for each row of `plan_apart`."""
    where = [(DOWN[int(down >= 0.5)], ACROSS[int(across >= 0.5)]) for _, across, down, _ in rest]
    return [f"{said} at the {d} {a}" for said, (d, a) in zip(captions_of(kinds), where, strict=True)]


def labels_of(kinds: np.ndarray) -> np.ndarray:
    """Which of SHAPES each is."""
    return kinds % len(SHAPES)


@dataclass(frozen=True, eq=False)
class Seen:
    """What pictures show, by what a caption calls it: one word each."""

    size: list[str]
    color: list[str]
    shape: list[str]
    down: list[str]
    across: list[str]


FINE = 200
"""Points to a half-extent at which shapes are measured."""


@cache
def measured(shape: str) -> tuple[float, float, float]:
    """Of a shape of half-extent 1: its area, and where its center of mass lies (x, y)."""
    line = (np.arange(-1.25 * FINE, 1.25 * FINE) + 0.5) / FINE
    y, x = np.meshgrid(line, line, indexing="ij")
    inside = SHAPES[shape](x, y) < 0
    return float(inside.sum()) / FINE**2, float(x[inside].mean()), float(y[inside].mean())


def read(pictures: np.ndarray) -> Seen:
    """What pictures [n, 3, side, side], uint8, show, read by analysis: no network has a part in it.

    The color is the one of whose mixtures with the ground all pixels are nearest to. As far as each is mixed, it is
    covered; the shape is the one that, drawn with as large an area about the same center of mass, covers most alike.
    """
    names: list[tuple[str, ...]] = []
    side = pictures.shape[-1]
    pixel = (np.arange(side) + 0.5) / side
    inks = np.array(list(COLORS.values()), float)
    middle = {size: sum(extent) / 2 for size, extent in SIZES.items()}
    for picture in pictures.astype(float):
        edge = np.concatenate([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], 1)
        ground = np.median(edge, 1)
        away, ink = picture - ground[:, None, None], inks - ground
        cover = (np.einsum("chw,kc->khw", away, ink) / (ink**2).sum(1)[:, None, None]).clip(0, 1)
        off = ((away[None] - cover[:, None] * ink[:, :, None, None]) ** 2).sum((1, 2, 3))
        k = int(off.argmin())
        found = cover[k]
        mass = max(float(found.sum()), 1e-6)
        cx, cy = float((found.sum(0) * pixel).sum() / mass), float((found.sum(1) * pixel).sum() / mass)
        apart: dict[str, tuple[float, float, float, float]] = {}
        for shape, distance in SHAPES.items():
            area, dx, dy = measured(shape)
            half = max((mass / side**2 / area) ** 0.5, 1 / side)
            x, y = (pixel - cx) / half + dx, (pixel - cy) / half + dy
            grid = np.broadcast_to(x[None], (side, side)), np.broadcast_to(y[:, None], (side, side))
            drawn = (0.5 - distance(*grid) * half * side).clip(0, 1)
            apart[shape] = float(((drawn - found) ** 2).sum()), half, cx - dx * half, cy - dy * half
        shape = min(apart, key=lambda name: apart[name][0])
        _, half, x0, y0 = apart[shape]
        size = min(middle, key=lambda name: abs(middle[name] - half))
        names.append((size, list(COLORS)[k], shape, DOWN[int(y0 >= 0.5)], ACROSS[int(x0 >= 0.5)]))
    return Seen(*(list(column) for column in zip(*names, strict=True)))


def plan(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What each picture shows: a number for its size, color and shape, and four numbers in [0, 1) for the rest."""
    random = np.random.Generator(np.random.Philox(key=mix(seed)))
    return random.integers(len(SIZES) * len(COLORS) * len(SHAPES), size=n), random.random((n, 4))


def plan_apart(n: int, seed: int, apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """As `plan`, each shape in one of four corners; of the pairs of a color and a shape those of `APART`, or all but
    those."""
    random = np.random.Generator(np.random.Philox(key=mix(seed)))
    kept = np.array([(color, shape) in APART for _, color, shape in product(SIZES, COLORS, SHAPES)])
    kinds = np.flatnonzero(kept == apart)
    chosen, rest = random.choice(kinds, size=n), random.random((n, 4))
    rest[:, 1:3] = np.where(rest[:, 1:3] < 0.5, 2 * NEAR * rest[:, 1:3], 1 - 2 * NEAR * (1 - rest[:, 1:3]))
    return chosen, rest


def draw(kinds: np.ndarray, rest: np.ndarray, side: int, chunk: int = 512) -> Iterator[np.ndarray]:
    """Pictures, uint8 [chunk, 3, side, side]: one shape each, anywhere that it fits, on a light ground.

    Edges are anti-aliased: a pixel is covered as far as the edge lies from its centre, from -1/2 to 1/2 pixel.
    """
    pixel = (np.arange(side, dtype=np.float32)[None] + 0.5) / side
    colors, extents = (np.array(list(table.values()), np.float32) for table in (COLORS, SIZES))
    for start in range(0, len(kinds), chunk):
        kind, (u, across, down, light) = kinds[start : start + chunk], rest[start : start + chunk].T.astype(np.float32)
        size, color, shape = np.unravel_index(kind, (len(SIZES), len(COLORS), len(SHAPES)))
        half = extents[size, 0] + u * (extents[size, 1] - extents[size, 0])
        edge = REACH * half + GAP
        cx, cy = edge + across * (1 - 2 * edge), edge + down * (1 - 2 * edge)
        x = np.broadcast_to(((pixel - cx[:, None]) / half[:, None])[:, None, :], (len(kind), side, side))
        y = np.broadcast_to(((pixel - cy[:, None]) / half[:, None])[:, :, None], (len(kind), side, side))
        outside = np.empty((len(kind), side, side), np.float32)
        for number, distance in enumerate(SHAPES.values()):
            these = shape == number
            outside[these] = distance(x[these], y[these])
        cover = (0.5 - outside * half[:, None, None] * side).clip(0, 1)[:, None]
        ground = (225 + 30 * light)[:, None, None, None]
        ink = colors[color][:, :, None, None]
        yield np.rint(ground + cover * (ink - ground)).astype(np.uint8)
