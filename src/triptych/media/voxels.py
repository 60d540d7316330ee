"""Solids on a grid: .npy, .npz and .binvox files (Patrick Min, https://www.patrickmin.com/binvox/binvox.html), and what
meshes bound.

An array is [depth, height, width], or [channels, depth, height, width], the top of the solid first in its height: true
and false, 0 and 1, 0 to 255, or floating point from 0 to 1. Meshes are those of `media.meshes`: brought to 32 voxels a
side if nothing else is asked, each as large as fits.
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
from triptych.media import animation, meshes, pictures
from triptych.media.arrays import load
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.work import BadFile

LINES = rb"(?:[a-z]+(?: [-+.0-9e]+)*\n)*?"
HEAD = re.compile(rb"#binvox 1\n" + LINES + rb"dim (\d+) (\d+) (\d+)\n" + LINES + rb"data\n")
MOST_SIDE = 512
MESHES = frozenset((".obj", ".off", ".stl", ".ply", ".glb"))
"""Endings of what describes a surface, and is filled."""
UNREAD = frozenset((".gltf", ".3ds", ".fbx", ".dae", ".blend", ".mtl"))
"""Endings of meshes that are not read, and of what lies beside one."""
MESHED = 32
"""Voxels to a side of what is made of meshes."""
SIDE, TURN, TILT = 128, 0.6, 0.5
"""Pixels of a picture of a solid, and from where it is seen: radians about the upright, and from above."""
VIEWS, MILLISECONDS = 24, 90
"""Pictures of one turn, and how long each is shown."""


class VoxelMedium(Medium[Voxels]):
    name: ClassVar[str] = "voxel grid"
    formats: ClassVar[tuple[str, ...]] = ("OBJ", "OFF", "STL", "PLY", "GLB", "NPY", "NPZ", "BINVOX")
    suffixes: ClassVar[frozenset[str]] = MESHES | {".npy", ".npz", ".binvox"}
    beside: ClassVar[frozenset[str]] = frozenset((".mtl", ".png", ".jpg", ".jpeg", ".tga", ".bmp", ".tif", ".webp"))
    ending: ClassVar[str] = ".obj"
    endings: ClassVar[tuple[str, ...]] = (".png", ".gif", ".obj", ".glb", ".stl", ".binvox", ".npz")

    def survey(self, files: Iterable[bytes]) -> Voxels:
        """The largest sides that occur, smaller solids being enlarged; two levels, if all have two. Meshes are filled
        to whatever there is, or to a cube."""
        shapes, levels, failed, meshed = list[tuple[int, ...]](), 2, list[str](), False
        for data in files:
            try:
                if gridded(data):
                    solid = decode(data)
                    shapes.append(solid.shape)
                    levels = max(levels, 2 if two(solid) else 256)
                elif not meshed:  # one that can be read is enough
                    meshes.read_mesh(data)
                    meshed = True
            except BadFile as e:
                failed.append(str(e))
        surveyed(failed, bool(shapes) or meshed)
        shapes = shapes or [(1, MESHED, MESHED, MESHED)]
        channels, *sides = (max(sizes) for sizes in zip(*shapes, strict=True))
        return Voxels(channels, *sides, levels=levels)

    def read(self, space: Voxels, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """uint8 [channels, depth, height, width], brought to the space: enlarged by repetition, made smaller by taking
        the fullest of each block, so that what is thin stays."""
        solid = decode(data, max(space.shape[1:]))
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
        """The surface of its first channel: of means, where the probability is one half."""
        return meshes.written(surface(x[0, 0]), ".obj", said(about))

    def sheet(self, space: Voxels, x: Tensor) -> Image.Image:
        """Each solid as it is seen from above and aside."""
        return pictures.grid(torch.stack([seen(one[0]) for one in x.cpu()]))

    def together(self, space: Voxels, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """A sheet; a turntable (.gif); surfaces side by side (.obj, .glb, .stl); one grid (.binvox)."""
        if ending == ".gif":
            return turntable(x)
        if ending == ".binvox":
            if len(x) != 1:
                raise UsageError(f".binvox holds one solid, and there are {len(x)}: take .npz, or -n 1")
            return binvox((x[0, 0] > 0).cpu().numpy())
        if ending in MESHES:
            return meshes.written(meshes.in_a_row([surface(one[0]) for one in x]), ending, said(about))
        return super().together(space, x, ending, about)

    def how_to_fit(self, has: Voxels, wants: Voxels) -> str | None:
        options = " ".join(f"{name}={value}" for name, value in self.opens(wants).items())
        return f"open the data with {options}" if options and has.levels == wants.levels else None

    def opens(self, space: Voxels) -> dict[str, Any]:
        return {"size": space.depth} if space.depth == space.height == space.width else {}


def surface(level: Tensor) -> meshes.Mesh:
    """Of numbers [depth, height, width] from -1 to 1; of nothing, the smallest there is in the middle."""
    grid = level.double().cpu().numpy()
    if not (grid > 0).any():  # a file without a face is none that others open
        grid = np.full_like(grid, -1.0)
        grid[tuple(side // 2 for side in grid.shape)] = 1e-3
    return meshes.surface(grid)


def said(about: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name}: {value}" for name, value in (about or {}).items())


def gridded(data: bytes) -> bool:
    """Whether a file holds a grid; else it is taken for a mesh."""
    return data.startswith((b"#binvox", b"PK\x03\x04", b"\x93NUMPY"))


def decode(data: bytes, side: int = MESHED) -> np.ndarray:
    """uint8 [channels, depth, height, width], 0 to 255; of a mesh, a cube with this side. Raises BadFile."""
    if not gridded(data):
        return meshes.filled(meshes.read_mesh(data), side)[None].astype(np.uint8) * 255
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


def seen(level: Tensor, turn: float = TURN, side: int = SIDE) -> Tensor:
    """A picture of a solid, numbers [depth, height, width] that are full above 0: float32 [1, side, side] in [-1, 1],
    black where nothing is."""
    return views(level[None], turn, side)[0]


def views(level: Tensor, turn: float = TURN, side: int = SIDE) -> Tensor:
    """Pictures of solids [n, depth, height, width], each as `seen` has it: [n, 1, side, side].

    A ray for each pixel looks for the first full voxel; how light that is says how its surface is turned.
    """
    n, longest = len(level), max(level.shape[1:])
    if not n:
        return torch.empty(0, 1, side, side)
    grid = F.pad(level.float()[:, None].clamp(-1, 1), [2] * 6, value=-1.0)
    smooth = F.avg_pool3d(F.pad(grid, [1] * 6, value=-1.0), 3, 1)[:, 0]
    across = torch.linspace(-0.82, 0.82, side) * longest
    along = torch.linspace(-0.9, 0.9, 2 * longest) * longest
    along, down, across = torch.meshgrid(along, across, across, indexing="ij")  # step row column
    cos, sin, up, over = np.cos(turn), np.sin(turn), np.cos(TILT), np.sin(TILT)
    y, far = down * up + along * over, along * up - down * over
    x, z = across * cos - far * sin, across * sin + far * cos
    sides = grid.shape[2:]
    # grid_sample wants width, height, depth in [-1, 1]
    where = torch.stack([2 * at / side for at, side in zip((x, y, z), reversed(sides), strict=True)], -1)[None]
    options: dict[str, Any] = {"padding_mode": "border", "align_corners": False}
    met = F.grid_sample(grid, where.expand(n, -1, -1, -1, -1), mode="nearest", **options)[:, 0] > 0
    first = met.float().argmax(1)  # n row column
    slopes = torch.stack(torch.gradient(smooth, dim=(1, 2, 3)), 1)  # n zyx depth height width
    at = where[0].gather(0, first[..., None].expand(*first.shape, 3))[:, None]  # n 1 row column xyz
    normal = -F.grid_sample(slopes, at, **options)[:, :, 0]  # n zyx row column
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-6)
    nz, ny, nx = normal.unbind(1)
    towards = -(up * (nz * cos - nx * sin) + over * ny)  # the eye is before, and above
    light = (0.55 * towards - 0.35 * ny + 0.25 * (nx * cos + nz * sin)).clamp(-0.45, 1)
    return torch.where(met.any(1), light, -1.0)[:, None]


def turntable(x: Tensor) -> bytes:
    """Solids side by side on a turning table, a GIF without end."""
    frames = []
    for k in range(VIEWS):
        views = [seen(one[0], TURN + 2 * np.pi * k / VIEWS) for one in x.cpu()]
        frames.append(pictures.grid(torch.stack(views)))
    return animation.gif(frames, [MILLISECONDS] * VIEWS)
