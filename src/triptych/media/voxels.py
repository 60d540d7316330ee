"""Solids on a grid: .npy, .npz and .binvox files (Patrick Min, https://www.patrickmin.com/binvox/binvox.html).

An array is [depth, height, width], or [channels, depth, height, width], the top of the solid first in its height: true
and false, 0 and 1, 0 to 255, or floating point from 0 to 1. Meshes are not read.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from triptych.core import UsageError, Voxels
from triptych.media import pictures
from triptych.media.arrays import load
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.work import BadFile

LINES = rb"(?:[a-z]+(?: [-+.0-9e]+)*\n)*?"
HEAD = re.compile(rb"#binvox 1\n" + LINES + rb"dim (\d+) (\d+) (\d+)\n" + LINES + rb"data\n")
MOST_SIDE = 512
MESHES = frozenset((".obj", ".stl", ".ply", ".off", ".glb", ".gltf", ".3ds", ".fbx"))
"""Endings of what describes a surface, not what fills it."""
SIDE, TURN, TILT = 128, 0.6, 0.5
"""Pixels of a picture of a solid, and from where it is seen: radians about the upright, and from above."""


class VoxelMedium(Medium[Voxels]):
    name: ClassVar[str] = "voxel grid"
    formats: ClassVar[tuple[str, ...]] = ("NPY", "NPZ", "BINVOX")
    suffixes: ClassVar[frozenset[str]] = frozenset((".npy", ".npz", ".binvox"))
    ending: ClassVar[str] = ".binvox"
    endings: ClassVar[tuple[str, ...]] = (".png", ".npz")

    def survey(self, files: Iterable[bytes]) -> Voxels:
        """The largest sides that occur, smaller solids being enlarged; two levels, if all have two."""
        shapes, levels, failed = list[tuple[int, ...]](), 2, list[str]()
        for data in files:
            try:
                solid = decode(data)
            except BadFile as e:
                failed.append(str(e))
                continue
            shapes.append(solid.shape)
            levels = max(levels, 2 if two(solid) else 256)
        surveyed(failed, bool(shapes))
        channels, *sides = (max(sizes) for sizes in zip(*shapes, strict=True))
        return Voxels(channels, *sides, levels=levels)

    def read(self, space: Voxels, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """uint8 [channels, depth, height, width], brought to the space: enlarged by repetition, made smaller by taking
        the fullest of each block, so that what is thin stays."""
        solid = decode(data)
        if len(solid) != space.channels:
            raise BadFile(f"{len(solid)} channels, where {space.channels} are wanted")
        if solid.shape != space.shape:
            solid = resized(solid, space.shape[1:])
        if space.levels == 2:
            return (solid >= 128).astype(np.uint8)
        return np.rint(solid.astype(np.float64) * ((space.levels - 1) / 255)).astype(np.uint8)

    def asked(self, space: Voxels, **options: Any) -> Voxels:
        """size= is the side of a cube."""
        size = options.pop("size", None)
        if size is not None and size[0] != size[1]:
            raise UsageError(f"size={size}: solids are brought to a cube; name one side")
        super().asked(space, **options)
        return space if size is None else replace(space, depth=size[0], height=size[0], width=size[0])

    def write(self, space: Voxels, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        """Its first channel, full from one half."""
        return binvox((x[0, 0] > 0).cpu().numpy())

    def sheet(self, space: Voxels, x: Tensor) -> Image.Image:
        """Each solid as it is seen from above and aside, the nearer the lighter."""
        return pictures.grid(torch.stack([seen((one[0] > 0).cpu().numpy()) for one in x]))

    def how_to_fit(self, has: Voxels, wants: Voxels) -> str | None:
        options = " ".join(f"{name}={value}" for name, value in self.opens(wants).items())
        return f"open the data with {options}" if options and has.levels == wants.levels else None

    def opens(self, space: Voxels) -> dict[str, Any]:
        return {"size": space.depth} if space.depth == space.height == space.width else {}


def decode(data: bytes) -> np.ndarray:
    """uint8 [channels, depth, height, width], 0 to 255. Raises BadFile."""
    if data.startswith(b"#binvox"):
        return of_binvox(data)[None].astype(np.uint8) * 255
    found = load(data)
    solid = found[None] if found.ndim == 3 else found
    if solid.ndim != 4 or 0 in solid.shape or max(solid.shape) > MOST_SIDE:
        takes = f"[depth, height, width] or [channels, depth, height, width], at most {MOST_SIDE} a side"
        raise BadFile(f"an array of shape {list(found.shape)}; a solid is {takes}")
    if solid.dtype == bool:
        return solid.astype(np.uint8) * 255
    if np.issubdtype(solid.dtype, np.floating):
        if not (np.isfinite(solid).all() and solid.min() >= -1e-4 and solid.max() <= 1 + 1e-4):
            raise BadFile("floating-point numbers that are not from 0 to 1")
        return np.rint(solid.astype(np.float64).clip(0, 1) * 255).astype(np.uint8)
    if not np.issubdtype(solid.dtype, np.integer) or solid.min() < 0 or solid.max() > 255:
        raise BadFile(f"{solid.dtype} numbers that are not from 0 to 255")
    return solid.astype(np.uint8) * np.uint8(255 if solid.max() <= 1 else 1)


def two(solid: np.ndarray) -> bool:
    """Whether each place is full or empty."""
    return bool(((solid == 0) | (solid == 255)).all())


def resized(solid: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    x = torch.from_numpy(solid.astype(np.float32))
    larger = tuple(max(a, b) for a, b in zip(solid.shape[1:], sides, strict=True))
    x = F.adaptive_max_pool3d(F.interpolate(x[None], size=larger, mode="nearest"), sides)[0]
    return x.numpy().astype(np.uint8)


def of_binvox(data: bytes) -> np.ndarray:
    """bool [depth, height, width]; its height, which binvox has run upward, runs downward here. Raises BadFile."""
    head = HEAD.match(data[:4096])
    if head is None:
        raise BadFile("damaged (no header of binvox version 1)")
    sides = tuple(int(side) for side in head.groups())
    if not all(1 <= side <= MOST_SIDE for side in sides):
        raise BadFile(f"{sides[0]} x {sides[1]} x {sides[2]}; at most {MOST_SIDE} a side are read")
    runs = np.frombuffer(data, np.uint8, offset=head.end())
    if len(runs) % 2 or (runs[::2] > 1).any() or int(runs[1::2].sum(dtype=np.int64)) != sides[0] * sides[1] * sides[2]:
        raise BadFile("damaged (its runs do not fill the grid)")
    deep, wide, high = sides  # the order in which binvox writes: x, z, y
    return np.repeat(runs[::2], runs[1::2]).astype(bool).reshape(deep, wide, high).transpose(0, 2, 1)[:, ::-1]


def binvox(solid: np.ndarray) -> bytes:
    """bool [depth, height, width] as a file: the inverse of `of_binvox`."""
    flat = solid[:, ::-1].transpose(0, 2, 1).reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]))
    out = bytearray()
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        whole, rest = divmod(stop - start, 255)
        value = int(flat[start])
        out += bytes((value, 255)) * whole + (bytes((value, rest)) if rest else b"")
    deep, high, wide = solid.shape
    return f"#binvox 1\ndim {deep} {wide} {high}\ntranslate 0 0 0\nscale 1\ndata\n".encode() + bytes(out)


def seen(solid: np.ndarray) -> Tensor:
    """A picture of a solid, float32 [1, SIDE, SIDE] in [-1, 1]: each full place a small square, black where none is."""
    out = np.full((SIDE, SIDE), -1.0, np.float32)
    places = np.argwhere(solid).astype(np.float64)
    if not len(places):
        return torch.from_numpy(out)[None]
    longest = max(solid.shape)
    z, y, x = ((places + 0.5 - np.array(solid.shape) / 2) / longest).T
    x, z = x * np.cos(TURN) + z * np.sin(TURN), z * np.cos(TURN) - x * np.sin(TURN)
    y, z = y * np.cos(TILT) + z * np.sin(TILT), z * np.cos(TILT) - y * np.sin(TILT)
    scale = SIDE / 1.8
    across, down = np.rint(x * scale + SIDE / 2).astype(int), np.rint(y * scale + SIDE / 2).astype(int)
    light, half = (0.4 - 0.7 * z).clip(-0.6, 1).astype(np.float32), int(np.ceil(scale / longest / 2)) + 1
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            np.maximum.at(out, ((down + dy).clip(0, SIDE - 1), (across + dx).clip(0, SIDE - 1)), light)
    return torch.from_numpy(out)[None]
