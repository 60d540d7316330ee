"""Triangles as pictures: a z-buffer for all triangles at once, with smooth shading."""

from collections.abc import Iterator

import numpy as np

FACING = 1e-7
"""Twice the least area of a triangle that is drawn, in pixels."""


def normals(corners: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The direction that the surface faces at each vertex, float32 [v, 3]: the mean of its triangles', by area."""
    a, b, c = (corners[triangles[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    found = np.stack([np.bincount(triangles.ravel(), np.repeat(flat[:, k], 3), len(corners)) for k in range(3)], 1)
    return (found / (np.linalg.norm(found, axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def drawn(places: np.ndarray, triangles: np.ndarray, colors: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """What is in front at each pixel, float32 [side, side, channels].

    places     float32 [v, 3]: x to the right and y down in pixels, z towards the viewer.
    triangles  int [t, 3]: those that face us run against the clock on the page; others are left out.
    colors     float32 [v, channels], between vertices in proportion.
    ground     float32 [side, side, channels]: what is behind everything.
    """
    side, out = len(ground), ground.copy()
    x, y = places[triangles, 0], places[triangles, 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    corners = np.stack([x, y], 2)
    low = np.floor(corners.min(1) - 0.5).astype(int) + 1  # the first and the last pixel whose centre may lie within
    high = np.floor(corners.max(1) - 0.5).astype(int)
    seen = (area < -FACING) & (high >= low).all(1)
    seen &= (high >= 0).all(1) & (low < side).all(1)
    found = [*hits(x[seen], y[seen], area[seen], low[seen], high[seen], side)]
    if not found:
        return out
    which, pixel, share = (np.concatenate(part) for part in zip(*found, strict=True))
    corner = triangles[seen][which]
    depth = (share * places[corner, 2]).sum(1)
    order = np.argsort(depth, kind="stable")  # of pixels that are written again, the last one stays: the nearest
    shade = np.einsum("pk,pkc->pc", share[order], colors[corner[order]])
    out.reshape(side * side, -1)[pixel[order]] = shade
    return out


def hits(
    x: np.ndarray, y: np.ndarray, area: np.ndarray, low: np.ndarray, high: np.ndarray, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Which triangle covers which pixel, and the shares of its three corners there; those of a size at a time."""
    extent = (high - low + 1).max(1)
    before = 0
    for most in (1, 2, 4, 8, 16, 32, side):
        these = np.nonzero((extent > before) & (extent <= most))[0]
        before = most
        if not len(these):
            continue
        step = np.arange(most)
        px = (low[these, 0, None] + step)[:, None, :]
        py = (low[these, 1, None] + step)[:, :, None]
        ax, ay = (t[these][:, None, None, :] for t in (x, y))
        cx, cy = px[..., None] + 0.5, py[..., None] + 0.5
        following = np.roll(np.arange(3), -1)
        bx, by = ax[..., following], ay[..., following]
        edge = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)  # twice the area across from the next corner but one
        share = edge[..., [1, 2, 0]] / area[these][:, None, None, None]
        within = (share >= -1e-5).all(-1) & (px >= 0) & (px < side) & (py >= 0) & (py < side)
        which, i, j = np.nonzero(within)
        yield these[which], py[which, i, 0] * side + px[which, 0, j], share[which, i, j].astype(np.float32)
