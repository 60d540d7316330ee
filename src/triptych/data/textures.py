"""Photograph-like pictures out of nothing: textured things that lie over one another, at any size.

Dead leaves (Lee, Mumford and Huang, 2001; https://doi.org/10.1023/A:1011109015675): opaque shapes whose radii follow a
power law of exponent -3 have the edges and about the spectrum of photographs. Ours are shaded, and carry fields of
noise, stripes and checks. Picture i of a seed is the same scene at every size, in finer detail with more pixels.
"""

from math import ceil, log2, pi

import numpy as np

from triptych.core import mix

VERSION = 1
"""Counts up whenever a picture changes."""
LEAVES, SMALLEST, LARGEST = 70, 0.025, 0.35
"""How many shapes lie over the ground, and the least and greatest of their radii, as shares of the longer side."""
FIRST = 10
"""So many of them, those farthest down, are large."""
SURFACES = ("plain", "noise", "stripes", "checks")
COARSEST, FADE = 3, 0.6
"""Noise: 2 to the power of so many cells along the longer side at first; each octave has so much of the one before."""
GAMMA = 1.3
"""Light is not even: most of a photograph is darker than its middle grey."""


def picture(seed: int, number: int, height: int, width: int) -> np.ndarray:
    """uint8 [3, height, width]: a pure function of what is given."""
    random = np.random.Generator(np.random.Philox(key=mix(seed, number)))
    side = max(height, width)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / side for n in (height, width))
    grain = noise(mix(seed, number, 1), side)[:height, :width]
    palette = colors(random)
    slope = random.uniform(-1, 1, 2)
    light = 0.75 + 0.25 * (slope[0] * (y[:, None] - 0.5) + slope[1] * (x[None] - 0.5)) + 0.35 * grain
    canvas = palette[0][:, None, None] * light
    radii = radii_of(random)
    for radius in radii:
        leaf = Leaf(random, radius, palette)
        rows, columns = leaf.reach(y), leaf.reach(x, across=True)
        if rows.stop > rows.start and columns.stop > columns.start:
            leaf.paint(canvas[:, rows, columns], x[columns], y[rows], grain[rows, columns], side)
    return np.rint(255 * canvas.clip(0, 1) ** GAMMA).astype(np.uint8)


def radii_of(random: np.random.Generator) -> np.ndarray:
    """From the lowest leaf to the uppermost: those of a power law of exponent -3, the first ones large."""
    least, most = np.full(LEAVES, SMALLEST), np.full(LEAVES, LARGEST)
    least[:FIRST] = LARGEST / 2
    return np.asarray((least**-2 + random.random(LEAVES) * (most**-2 - least**-2)) ** -0.5)


def colors(random: np.random.Generator) -> np.ndarray:
    """Six that go together, float32 [6, 3]: neighbours of two hues, some of them pale or dark."""
    hues = random.random() + random.choice([0.0, 0.5, 1 / 3]) * (np.arange(6) % 2) + random.normal(0, 0.05, 6)
    saturation, value = random.uniform(0.1, 0.75, 6), random.uniform(0.25, 1, 6)
    wheel = 0.5 + 0.5 * np.cos(2 * pi * (hues[:, None] + np.array([0, 1 / 3, 2 / 3])))
    return np.asarray(value[:, None] * (1 - saturation[:, None] * (1 - wheel)), np.float32)


def noise(seed: int, side: int) -> np.ndarray:
    """Octaves of smoothed random values, as in clouds, stone and bark: float32 [side, side], mostly from -1 to 1."""
    field = np.zeros((side, side), np.float32)
    places = (np.arange(side, dtype=np.float32) + 0.5) / side
    for octave in range(max(1, ceil(log2(side)) - COARSEST)):
        cells = 2 ** (COARSEST + octave)
        random = np.random.Generator(np.random.Philox(key=mix(seed, octave)))
        lattice = random.standard_normal((cells + 1, cells + 1), np.float32)
        low = np.minimum((places * cells).astype(np.int64), cells - 1)
        part = places * cells - low
        part = part * part * (3 - 2 * part)
        rows = lattice[low] + part[:, None] * (lattice[low + 1] - lattice[low])
        field += FADE**octave * (rows[:, low] + part * (rows[:, low + 1] - rows[:, low]))
    return field * np.float32(0.5)


class Leaf:
    """One opaque shape: where it lies, what it is made of."""

    def __init__(self, random: np.random.Generator, radius: float, palette: np.ndarray):
        self.radius = radius
        self.center = random.uniform(-0.1, 1.1, 2)
        self.angle, self.stretch = random.uniform(0, pi), random.uniform(0.45, 1)
        self.round = random.random() < 0.6
        self.color = palette[random.integers(len(palette))] * random.uniform(0.7, 1.2)
        self.other = palette[random.integers(len(palette))]
        self.surface = SURFACES[random.integers(len(SURFACES))]
        self.period, self.phase = radius * random.uniform(0.15, 0.6), random.random()
        self.shade, self.rough = random.uniform(0, 0.45), random.uniform(0.1, 0.5)

    def reach(self, places: np.ndarray, across: bool = False) -> slice:
        """Which of the places (down, or across) it can cover."""
        middle, far = self.center[int(across)], 1.5 * self.radius
        return slice(*(int(n) for n in np.searchsorted(places, [middle - far, middle + far])))

    def paint(self, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, grain: np.ndarray, side: int) -> None:
        """Draws over a part of the canvas, float32 [3, rows, columns], with edges a pixel wide."""
        down, right = y[:, None] - self.center[0], x[None] - self.center[1]
        along = (np.cos(self.angle) * right + np.sin(self.angle) * down) / self.radius
        over = (np.cos(self.angle) * down - np.sin(self.angle) * right) / (self.radius * self.stretch)
        far = np.sqrt(along**2 + over**2) if self.round else np.maximum(np.abs(along), np.abs(over))
        cover = (0.5 - (far - 1) * self.radius * self.stretch * side).clip(0, 1)
        if self.surface == "noise":
            pattern = (0.5 + self.rough * 2 * grain).clip(0, 1)
        elif self.surface == "plain":
            pattern = np.zeros_like(far)
        else:
            wave = np.sin(2 * pi * (along * self.radius / self.period + self.phase))
            if self.surface == "checks":
                wave = wave * np.sin(2 * pi * over * self.radius * self.stretch / self.period)
            # as steep as a pixel allows: finer would alias
            pattern = (0.5 + wave * self.period * side / 6).clip(0, 1) if self.period * side > 3 else 0.5 + 0 * far
        light = 1 - self.shade * far + self.rough * 0.5 * grain
        own = (self.color[:, None, None] + pattern * (self.other - self.color)[:, None, None]) * light
        canvas += cover * (own - canvas)
