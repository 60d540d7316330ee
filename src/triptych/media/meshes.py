"""Meshes: triangles from OBJ, OFF, STL, PLY and GLB files, the solids that they bound, and the way back.

OBJ, OFF and STL are read here; PLY and GLB by trimesh. OBJ, GLB and STL are written.

A mesh has y up, as OBJ and GLB files have it; in OFF, STL and PLY files z is up, as in CAD programs and ModelNet, and
is turned. A solid on a grid [depth, height, width] has the mesh's x along its depth, z along its width, and y upward,
which is against its height: as binvox lays them.
"""

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triptych.media.work import BadFile

INSTALL = "pip install 'triptych[three-d]'"
MOST_FACES = 20_000_000
STEP = 0.5
"""Voxels from sample to sample of a surface: less than one, so that none between them is missed."""
FLOAT, UINT, ARRAY, ELEMENTS, TRIANGLES = 5126, 5125, 34962, 34963, 4
"""What glTF calls them (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html)."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles whose corners run anticlockwise seen from outside."""

    vertices: np.ndarray
    """float64 [n, 3]: x, y (up) and z."""
    faces: np.ndarray
    """int64 [m, 3]: numbers of vertices."""

    def __post_init__(self) -> None:
        if not len(self.faces):
            raise BadFile("it has no faces, only points or lines" if len(self.vertices) else "it is empty")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise BadFile(f"a face names vertex {int(self.faces.max()) + 1:,}; there are {len(self.vertices):,}")
        if not np.isfinite(self.vertices).all():
            raise BadFile("a vertex is not a finite number")

    @property
    def corners(self) -> np.ndarray:
        """float64 [m, 3 corners, 3]."""
        found: np.ndarray = self.vertices[self.faces]
        return found

    @property
    def volume(self) -> float:
        """What a closed mesh holds; negative if it is inside out."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return float((a * np.cross(b, c)).sum() / 6)


def read_mesh(data: bytes) -> Mesh:
    """What a file holds, told by its first bytes. Raises BadFile, also where trimesh is needed and missing."""
    head = data[:512].lstrip()
    try:
        if data[:4] == b"glTF":
            return by_trimesh(data, "glb")
        if head[:3] == b"ply":
            return lying(by_trimesh(data, "ply"))
        if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
            return lying(binary_stl(data))
        if head[:5] == b"solid":
            return lying(text_stl(data))
        if head.split(b"\n", 1)[0].strip()[:5].endswith((b"OFF", b"OFF ", b"OFF\r")) or head[:3] == b"OFF":
            return lying(off(data))
        return obj(data)
    except BadFile:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError) as e:
        raise BadFile(f"damaged ({str(e)[:80]})") from e


def lying(mesh: Mesh) -> Mesh:
    """A mesh whose z is up, turned so that its y is."""
    x, y, z = mesh.vertices.T
    return Mesh(np.stack((x, z, -y), 1), mesh.faces)


def standing(mesh: Mesh) -> Mesh:
    """The inverse of `lying`."""
    x, y, z = mesh.vertices.T
    return Mesh(np.stack((x, -z, y), 1), mesh.faces)


def numbers(lines: Sequence[bytes], columns: int) -> np.ndarray:
    """float64 [lines, columns]: the first of each line. Raises BadFile."""
    rows = [line.split()[:columns] for line in lines]
    if any(len(row) < columns for row in rows):
        raise BadFile("a vertex has no three coordinates")
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def fans(polygons: list[list[int]]) -> np.ndarray:
    """int64 [m, 3]: polygons of any number of corners as triangles around their first."""
    found = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    if len(found) > MOST_FACES:
        raise BadFile(f"{len(found):,} triangles; at most {MOST_FACES:,} are read")
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def obj(data: bytes) -> Mesh:
    """Wavefront OBJ: its v and f lines; materials, normals and the rest are left aside."""
    points, polygons = list[bytes](), list[list[int]]()
    for line in data.replace(b"\\\n", b" ").splitlines():
        line = line.strip()
        if line.startswith((b"v ", b"v\t")):
            points.append(line[2:])
        elif line.startswith((b"f ", b"f\t")):
            named = [int(word.split(b"/", 1)[0]) for word in line[2:].split()]
            polygons.append([k - 1 if k > 0 else len(points) + k for k in named])
    if not points:
        raise BadFile("neither OBJ, OFF, STL, PLY nor GLB: there is no vertex in it")
    return Mesh(numbers(points, 3), fans(polygons))


def off(data: bytes) -> Mesh:
    """OFF; also as in ModelNet, whose counts may follow the first word on its line."""
    lines = [line.split(b"#", 1)[0].strip() for line in data.splitlines()]
    lines = [line for line in lines if line]
    head = lines[0][lines[0].index(b"OFF") + 3 :].split()
    rest = lines[1:]
    if not head:
        head, rest = rest[0].split(), rest[1:]
    n, m = int(head[0]), int(head[1])
    if len(rest) < n + m or min(n, m) < 0:
        raise BadFile(f"cut short: {n:,} vertices and {m:,} faces are announced, and {len(rest):,} lines follow")
    polygons = [[int(word) for word in line.split()[1 : 1 + int(line.split()[0])]] for line in rest[n : n + m]]
    return Mesh(numbers(rest[:n], 3), fans(polygons))


def binary_stl(data: bytes) -> Mesh:
    facets = np.frombuffer(data, np.dtype([("xyz", "<f4", (4, 3)), ("more", "<u2")]), offset=84)
    return soup(facets["xyz"][:, 1:].astype(np.float64))


def text_stl(data: bytes) -> Mesh:
    points = [line.strip()[6:] for line in data.splitlines() if line.strip()[:6].lower() == b"vertex"]
    if len(points) % 3:
        raise BadFile("damaged (a facet has no three corners)")
    return soup(numbers(points, 3).reshape(-1, 3, 3))


def soup(corners: np.ndarray) -> Mesh:
    """A mesh of triangles [m, 3, 3] that each bring their own corners."""
    vertices, faces = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return Mesh(vertices, faces.reshape(-1, 3).astype(np.int64))


def by_trimesh(data: bytes, kind: str) -> Mesh:
    """What trimesh reads, of the bytes alone: what else such a file may name is not looked for."""
    try:
        import trimesh
    except ImportError as e:
        raise BadFile(f"{kind.upper()} is read by trimesh: {INSTALL}; or bring it as OBJ, OFF or STL") from e
    try:
        found = trimesh.load(io.BytesIO(data), file_type=kind, force="mesh", process=False, skip_materials=True)
        vertices, faces = np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int64)
    except Exception as e:  # of many types
        raise BadFile(f"damaged, or no {kind.upper()} ({str(e)[:80] or type(e).__name__})") from e
    return Mesh(vertices.reshape(-1, 3), faces.reshape(-1, 3))


def filled(mesh: Mesh, side: int) -> np.ndarray:
    """The solid that a mesh bounds, bool [side, side, side], its longest side as long as the grid, in the middle.

    A voxel is full where the surface passes through it, and where nothing reaches it from outside: so a mesh need not
    be closed, of several parts or turned the right way. It stands on the floor, which closes what is open below.
    """
    corners = mesh.corners
    low, high = corners.min((0, 1)), corners.max((0, 1))
    if not (extent := float((high - low).max())) > 0:
        raise BadFile("all of it is one point")
    placed = (corners - (low + high) / 2) * ((side - 1e-3) / extent) + side / 2
    surface = np.zeros((side, side, side), bool)
    longest = np.linalg.norm(placed - np.roll(placed, 1, 1), axis=2).max(1)
    parts = np.ceil(longest / STEP).clip(1).astype(int)
    for n in np.unique(parts):
        i, j = np.divmod(np.arange((n + 1) ** 2), n + 1)
        some = i + j <= n
        weights = np.stack((i[some], j[some], (n - i - j)[some]), 1) / n
        for few in np.array_split(placed[parts == n], -(-int((parts == n).sum()) * len(weights) // 2_000_000)):
            x, y, z = np.floor(np.einsum("pc,mcd->dmp", weights, few)).astype(int).clip(0, side - 1).reshape(3, -1)
            surface[x, side - 1 - y, z] = True
    return surface | ~reached(surface)


def reached(surface: np.ndarray) -> np.ndarray:
    """Which empty voxels can be reached from above and from the sides, from face to face; not through the floor."""
    free = np.pad(np.pad(~surface, ((1, 1), (1, 0), (1, 1)), constant_values=True), 1)  # and a wall around all
    _, rows, columns = free.shape
    steps = np.array([1, -1, columns, -columns, rows * columns, -rows * columns])
    open_, front = free.reshape(-1), np.array([(rows + 1) * columns + 1])
    found = np.zeros_like(open_)
    found[front] = True
    while len(front):
        front = np.unique((front[:, None] + steps).reshape(-1))
        front = front[open_[front] & ~found[front]]
        found[front] = True
    inner: np.ndarray = found.reshape(free.shape)[2:-2, 2:-1, 2:-2]
    return inner


def surface(level: np.ndarray, at: float = 0.0) -> Mesh:
    """The closed surface around what is above `at` of numbers on a grid [depth, height, width]: naive surface nets.

    Gibson, 1998. Constrained Elastic Surface Nets. https://doi.org/10.1007/BFb0056277

    One vertex in each cube of eight neighbours that the surface passes, in the mean of where it crosses the cube's
    edges, and a face of two triangles across each edge that it crosses. The longest side of the grid is 1 long; y is 0
    at its lowest. Raises BadFile where nothing is above.
    """
    grid = np.pad(level.astype(np.float64), 1, constant_values=min(at - 1, float(level.min())))
    inside, cells = grid > at, tuple(np.array(grid.shape) - 1)
    if not inside.any():
        raise BadFile("it is empty: no voxel is full")
    total, count, quads = np.zeros((*cells, 3)), np.zeros(cells, int), list[np.ndarray]()
    axes = np.eye(3, dtype=int)
    for axis in range(3):
        before, after = np.delete(grid, -1, axis), np.delete(grid, 0, axis)
        start = np.argwhere(np.delete(inside, -1, axis) != np.delete(inside, 0, axis))
        a, b = before[tuple(start.T)], after[tuple(start.T)]
        crossing = start + ((at - a) / (b - a))[:, None] * axes[axis]
        p, q = axes[(axis + 1) % 3], axes[(axis + 2) % 3]
        around = np.stack([start - p - q, start - q, start, start - p], 1)  # edge 4 3
        for cell in around.transpose(1, 2, 0):
            np.add.at(total, tuple(cell), crossing)
            np.add.at(count, tuple(cell), 1)
        numbered = np.ravel_multi_index(tuple(around.transpose(2, 0, 1)), cells)
        quads.append(np.where((a > at)[:, None], numbered[:, ::-1], numbered))  # mirrored once, below
    there = np.flatnonzero(count)
    number = np.zeros(count.size, np.int64)
    number[there] = np.arange(len(there))
    deep, high, wide = (total.reshape(-1, 3)[there] / count.reshape(-1)[there, None] - 0.5).T
    size = np.array(level.shape) / max(level.shape)
    unit = 1 / max(level.shape)
    vertices = np.stack((deep * unit - size[0] / 2, size[1] - high * unit, wide * unit - size[2] / 2), 1)
    a, b, c, d = number[np.concatenate(quads)].T
    return Mesh(vertices, np.concatenate((np.stack((a, b, c), 1), np.stack((a, c, d), 1))))


def in_a_row(meshes: Sequence[Mesh]) -> Mesh:
    """Several as one, side by side."""
    vertices, faces, before, right = list[np.ndarray](), list[np.ndarray](), 0, 0.0
    for mesh in meshes:
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        vertices.append(mesh.vertices + np.array([right - low[0], 0, 0]))
        faces.append(mesh.faces + before)
        before, right = before + len(mesh.vertices), right + (high - low)[0] + 0.25
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def written(mesh: Mesh, ending: str, about: str = "") -> bytes:
    """The bytes of an .obj, .glb or .stl file."""
    if ending == ".obj":
        head = "".join(f"# {line}\n" for line in about.splitlines())
        points = "".join(f"v {x:.6g} {y:.6g} {z:.6g}\n" for x, y, z in mesh.vertices.tolist())
        return (head + points + "".join(f"f {a} {b} {c}\n" for a, b, c in (mesh.faces + 1).tolist())).encode()
    if ending == ".stl":
        corners = standing(mesh).corners.astype("<f4")
        facets = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("xyz", "<f4", (3, 3)), ("more", "<u2")]))
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facets["normal"] = across / np.linalg.norm(across, axis=1, keepdims=True).clip(1e-12)
        facets["xyz"] = corners
        return b"\0" * 80 + struct.pack("<I", len(corners)) + facets.tobytes()
    return glb(mesh, about)


def glb(mesh: Mesh, about: str = "") -> bytes:
    """Binary glTF 2.0: a header, a chunk of JSON, and a chunk of numbers."""
    points, corners = mesh.vertices.astype("<f4"), mesh.faces.astype("<u4")
    content = points.tobytes() + corners.tobytes()
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": points.nbytes, "target": ARRAY},
        {"buffer": 0, "byteOffset": points.nbytes, "byteLength": corners.nbytes, "target": ELEMENTS},
    ]
    bounds = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    accessors = [
        {"bufferView": 0, "componentType": FLOAT, "count": len(points), "type": "VEC3", **bounds},
        {"bufferView": 1, "componentType": UINT, "count": corners.size, "type": "SCALAR"},
    ]
    said = {
        "asset": {"version": "2.0", "generator": about or "triptych"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": TRIANGLES}]}],
        "buffers": [{"byteLength": len(content)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(said).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(content)
    head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(content), b"BIN\0") + content
