"""Furniture of boxes and discs, as solids on a grid: tables, chairs and their like, of which everything is known."""

from collections.abc import Callable, Iterator

import numpy as np

from triptych.core import mix

KINDS = ("bed", "chair", "lamp", "shelf", "sofa", "table")
Part = tuple[str, float, float, float, float, float, float]
"""A box from x to x, from y to y (up) and from z to z, or a disc within them, as shares of the grid."""
Rule = Callable[[np.ndarray], list[Part]]
"""Six numbers in [0, 1) -> the parts of a thing, somewhere in [0, 1]."""


def between(u: float, low: float, high: float) -> float:
    return low + u * (high - low)


def legs(x: float, z: float, high: float, thick: float) -> list[Part]:
    """Four, below what is x wide and z deep around the middle."""
    found = list[Part]()
    for left in (0.5 - x / 2, 0.5 + x / 2 - thick):
        found += [("box", left, left + thick, 0, high, z0, z0 + thick) for z0 in (0.5 - z / 2, 0.5 + z / 2 - thick)]
    return found


def slab(x: float, z: float, low: float, high: float) -> Part:
    return ("box", 0.5 - x / 2, 0.5 + x / 2, low, high, 0.5 - z / 2, 0.5 + z / 2)


def table(u: np.ndarray) -> list[Part]:
    x, z, high = between(u[0], 0.6, 0.98), between(u[1], 0.5, 0.98), between(u[2], 0.4, 0.75)
    if u[3] < 0.3:  # round, on a column
        return [
            ("disc", 0.5 - x / 2, 0.5 + x / 2, high, high + 0.08, 0.5 - x / 2, 0.5 + x / 2),
            slab(0.1, 0.1, 0, high),
            slab(x / 2, x / 2, 0, 0.06),
        ]
    return [slab(x, z, high, high + 0.08), *legs(x, z, high, between(u[4], 0.06, 0.1))]


def chair(u: np.ndarray) -> list[Part]:
    x, z, seat = between(u[0], 0.4, 0.55), between(u[1], 0.4, 0.55), between(u[2], 0.35, 0.5)
    back = ("box", 0.5 - x / 2, 0.5 + x / 2, seat, between(u[3], 0.85, 1), 0.5 - z / 2, 0.5 - z / 2 + 0.08)
    parts = [slab(x, z, seat, seat + 0.08), back, *legs(x, z, seat, between(u[4], 0.06, 0.1))]
    if u[5] < 0.3:  # arms
        for left in (0.5 - x / 2, 0.5 + x / 2 - 0.07):
            parts.append(("box", left, left + 0.07, seat + 0.18, seat + 0.25, 0.5 - z / 2, 0.5 + z / 2))
    return parts


def sofa(u: np.ndarray) -> list[Part]:
    x, z, seat = between(u[0], 0.75, 1), between(u[1], 0.4, 0.55), between(u[2], 0.18, 0.28)
    arm, high = between(u[3], 0.08, 0.14), between(u[4], 0.4, 0.6)
    back = ("box", 0.5 - x / 2, 0.5 + x / 2, 0, high, 0.5 - z / 2, 0.5 - z / 2 + 0.14)
    arms = [
        ("box", left, left + arm, 0, seat + 0.14, 0.5 - z / 2, 0.5 + z / 2) for left in (0.5 - x / 2, 0.5 + x / 2 - arm)
    ]
    return [slab(x, z, 0.04, seat), back, *arms]


def bed(u: np.ndarray) -> list[Part]:
    x, high = between(u[0], 0.45, 0.85), between(u[1], 0.18, 0.3)
    head = ("box", 0.5 - x / 2, 0.5 + x / 2, 0, between(u[2], 0.35, 0.6), 0.02, 0.1)
    return [slab(x, 0.96, high - 0.14, high), head, *legs(x, 0.96, high, 0.08)]


def shelf(u: np.ndarray) -> list[Part]:
    x, z, high = between(u[0], 0.4, 0.9), between(u[1], 0.2, 0.35), between(u[2], 0.75, 1)
    boards = 3 + int(u[3] * 3)
    parts = [
        slab(x, z, k * (high - 0.06) / (boards - 1), k * (high - 0.06) / (boards - 1) + 0.06) for k in range(boards)
    ]
    parts += [
        ("box", left, left + 0.06, 0, high, 0.5 - z / 2, 0.5 + z / 2) for left in (0.5 - x / 2, 0.5 + x / 2 - 0.06)
    ]
    return parts + ([("box", 0.5 - x / 2, 0.5 + x / 2, 0, high, 0.5 - z / 2, 0.5 - z / 2 + 0.05)] if u[4] < 0.5 else [])


def lamp(u: np.ndarray) -> list[Part]:
    foot, shade, high = between(u[0], 0.25, 0.4), between(u[1], 0.35, 0.6), between(u[2], 0.5, 0.75)
    top = min(1.0, high + between(u[3], 0.2, 0.3))
    return [
        ("disc", 0.5 - foot / 2, 0.5 + foot / 2, 0, 0.06, 0.5 - foot / 2, 0.5 + foot / 2),
        slab(0.07, 0.07, 0, top),
        ("disc", 0.5 - shade / 2, 0.5 + shade / 2, high, top, 0.5 - shade / 2, 0.5 + shade / 2),
    ]


RULES: dict[str, Rule] = {"bed": bed, "chair": chair, "lamp": lamp, "shelf": shelf, "sofa": sofa, "table": table}


def drawn(parts: list[Part], side: int) -> np.ndarray:
    """bool [side, side, side], its height downward: what lies in any of the parts."""
    middle = (np.arange(side) + 0.5) / side
    x, y, z = np.meshgrid(middle, middle, middle, indexing="ij")
    full = np.zeros((side, side, side), bool)
    for shape, x0, x1, y0, y1, z0, z1 in parts:
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1) & (z >= z0) & (z < z1)
        if shape == "disc":
            inside &= ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((z - (z0 + z1) / 2) / (z1 - z0)) ** 2 <= 0.25
        full |= inside
    return full[:, ::-1]


def furniture(n: int, seed: int, side: int) -> Iterator[tuple[int, np.ndarray]]:
    """So many things: the number of the kind, and the solid."""
    random = np.random.Generator(np.random.Philox(key=mix(seed)))
    for _ in range(n):
        kind = int(random.integers(len(KINDS)))
        yield kind, drawn(RULES[KINDS[kind]](random.random(6)), side)
