"""Meshes: read, filled, and made again of what fills them; known answers for a ball and for boxes."""

import io
import re
import struct

import numpy as np
import pytest
import torch

import triptych as tt
from triptych.core import ItemNoise
from triptych.errors import DataError, UsageError
from triptych.media import meshes, voxels
from triptych.media.meshes import Mesh, filled, read_mesh, surface, written
from triptych.media.work import BadFile

CORNERS = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
"""Of the cube, anticlockwise seen from outside: at x = 0 and 1, y = 0 and 1, z = 0 and 1."""


def obj(corners: np.ndarray = CORNERS, sides: list[list[int]] = SIDES) -> bytes:
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + [
        "f " + " ".join(f"{k + 1}/1/1" for k in side) for side in sides
    ]
    return ("# a cube\nmtllib a.mtl\n" + "\n".join(lines) + "\n").encode()


def ball(side: int = 20, radius: float = 8.0) -> np.ndarray:
    place = np.indices((side, side, side)) - (side - 1) / 2
    return radius - np.sqrt((place**2).sum(0))


def edges(mesh: Mesh) -> np.ndarray:
    """How often each edge is there, whichever way it runs."""
    pairs = np.concatenate([mesh.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    return np.unique(np.sort(pairs, 1), axis=0, return_counts=True)[1]


def test_a_cube_is_read_in_every_format() -> None:
    cube = read_mesh(obj())
    assert len(cube.faces) == 12 and cube.volume == pytest.approx(1)
    backward = obj().replace(b"f 1/1/1 2/1/1 4/1/1 3/1/1", b"f -8 -7 -5 -6")
    assert read_mesh(backward).volume == pytest.approx(1)
    rows = "\n".join(" ".join(map(str, row)) for row in CORNERS.tolist())
    sides = "\n".join("4 " + " ".join(map(str, side)) for side in SIDES)
    for head in ("OFF\n8 6 0\n", "OFF 8 6 0\n", "OFF8 6 0\n"):  # the last as some files of ModelNet have it
        off = read_mesh(f"{head}{rows}\n{sides}\n".encode())
        assert off.volume == pytest.approx(1)
    assert np.allclose(off.vertices[:, 1], CORNERS[:, 2])  # its z is up
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in corner)
        + "endloop\nendfacet\n"
        for corner in cube.corners
    )
    assert read_mesh(f"solid cube\n{facets}endsolid\n".encode()).volume == pytest.approx(1)
    assert len(read_mesh(written(cube, ".stl")).vertices) == 8  # corners that come again are one


@pytest.mark.parametrize("level", [ball(), np.where(ball() > 0, 1.0, -1.0)], ids=["distances", "voxels"])
def test_the_surface_of_a_ball_is_closed_and_holds_it(level) -> None:
    mesh = surface(level)
    assert (edges(mesh) == 2).all()
    assert len(mesh.vertices) - len(edges(mesh)) + len(mesh.faces) == 2  # Euler's number of a sphere
    assert mesh.volume * 20**3 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.03)  # and not inside out
    assert np.allclose(mesh.vertices.mean(0), [0, 0.5, 0], atol=0.01)
    for ending in (".obj", ".stl"):
        again = read_mesh(written(mesh, ending, "a ball"))
        assert again.volume == pytest.approx(mesh.volume, rel=1e-4)
        assert np.allclose(again.vertices.min(0), mesh.vertices.min(0), atol=1e-5)


def test_y_is_up_and_height_is_down() -> None:
    grid = np.full((4, 4, 4), -1.0)
    grid[0, 0, 3] = 1  # at the low end of x, on top, at the high end of z
    middle = surface(grid).vertices.mean(0)
    assert middle == pytest.approx([-0.375, 0.875, 0.375])
    high = Mesh(CORNERS * [1, 3, 1], read_mesh(obj()).faces)
    tall = filled(high, 12)
    assert tall.any((1, 2)).sum() == tall.any((0, 1)).sum() < tall.any((0, 2)).sum() == 12
    roof = filled(
        read_mesh(obj(CORNERS * [1, 0.1, 1] + [0, 2, 0], SIDES) + b"v 0 0 0\nv 1 0 0\nv 0 0 1\nf 9 10 11\n"), 12
    )
    assert roof[:, 0].any() and not roof[:, 3].any() and roof[:, 11].any()


def test_what_cannot_be_reached_is_full_and_the_floor_closes_what_is_open_below() -> None:
    assert filled(read_mesh(obj()), 8).all()
    small = Mesh(CORNERS * 0.2 + 0.4, read_mesh(obj()).faces)
    nested = Mesh(np.concatenate([CORNERS, small.vertices]), np.concatenate([small.faces, small.faces + 8]))
    assert filled(nested, 8).all()  # of parts within parts, whichever way they are turned
    bottomless = filled(read_mesh(obj(sides=SIDES[:2] + SIDES[3:])), 8)
    assert bottomless.all()
    bowl = filled(read_mesh(obj(sides=SIDES[:3] + SIDES[4:])), 8)  # without its top
    assert bowl[:, 7].all() and not bowl[2:6, :6, 2:6].any()
    found, inside = filled(surface(ball()), 20), ball(radius=10)
    assert found[inside > 0.2].all() and not found[inside < -0.9].any()  # half a voxel's diagonal is 0.87


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "there is no vertex"),
        (b"<html>no mesh</html>", "neither OBJ, OFF, STL, PLY nor GLB"),
        (b"v 0 0 0\nv 1 0 0\n", "no faces"),
        (b"OFF\n0 0 0\n", "it is empty"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "names vertex 4; there are 3"),
        (b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not a finite number"),
        (b"v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no three coordinates"),
        (b"v 0 0 x\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "damaged"),
        (b"OFF\n8 6 0\n0 0 0\n", "cut short"),
        (b"solid a\nvertex 0 0 0\n", "no three corners"),
    ],
)
def test_what_is_no_mesh_is_named(data, why) -> None:
    with pytest.raises(BadFile, match=re.escape(why)):
        read_mesh(data)
    with pytest.raises(BadFile, match="one point"):
        filled(read_mesh(b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n"), 8)


def test_glb_is_what_others_open() -> None:
    mesh = surface(ball(12, 4))
    data = written(mesh, ".glb")
    kind, version, length = struct.unpack("<4sII", data[:12])
    assert (kind, version, length) == (b"glTF", 2, len(data))
    trimesh = pytest.importorskip("trimesh", reason="GLB and PLY are read by trimesh (three-d)")
    found = trimesh.load(io.BytesIO(data), file_type="glb", force="mesh")
    assert found.is_watertight and found.volume == pytest.approx(mesh.volume, rel=1e-4)
    assert read_mesh(data).volume == pytest.approx(mesh.volume, rel=1e-4)
    ply = trimesh.Trimesh(mesh.vertices, mesh.faces).export(file_type="ply")
    assert np.allclose(read_mesh(ply).vertices.min(0)[1], mesh.vertices.min(0)[2], atol=1e-5)  # its z is up
    with pytest.raises(BadFile, match="damaged, or no GLB"):
        read_mesh(data[:40])


def test_a_format_that_needs_trimesh_says_so(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(BadFile, match=re.escape("pip install 'triptych[three-d]'")):
        read_mesh(b"ply\nformat ascii 1.0\n")


def test_a_folder_of_meshes_is_data(tmp_path, cli) -> None:
    for i in range(6):
        (folder := tmp_path / "in" / ("box" if i % 2 else "plate")).mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.obj").write_bytes(obj(CORNERS * [1, 1 if i % 2 else 0.1, 1 + i / 10]))
        (folder / f"{i}-wood.png").write_bytes(b"a texture")
    (tmp_path / "in" / "box" / "bad.obj").write_bytes(b"v 0 0 0\n")
    data = tt.data(tmp_path / "in", split="all", size=8)
    assert data.x == tt.Voxels(1, 8, 8, 8) and data.classes == ["box", "plate"] and len(data) == 6
    assert [str(p) for p in data.problems] == ["box/bad.obj: it has no faces, only points or lines"]
    assert any("y up in OBJ" in note for note in data.pack.meta.notes)
    x = data.fetch(torch.arange(6), ItemNoise(0, range(6))).x
    full = (x > 0).float().flatten(1).mean(1)
    assert (full > 0.5).sum() == 3 and (full < 0.3).sum() == 3
    assert tt.data(tmp_path / "in").x == tt.Voxels(1, 32, 32, 32)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "a.fbx").write_bytes(b"Kaydara")
    with pytest.raises(DataError, match="save them as OBJ, GLB, STL, PLY or OFF"):
        tt.data(tmp_path / "strange")


def test_samples_are_written_as_surfaces_and_turn(tmp_path) -> None:
    space, medium = tt.Voxels(1, 12, 12, 12), voxels.VoxelMedium()
    x = torch.from_numpy(ball(12, 4)).float()[None, None].clamp(-1, 1).expand(2, -1, -1, -1, -1)
    one = read_mesh(medium.write(space, x[:1], {"model": "m"}))
    for ending in (".obj", ".stl"):
        both = read_mesh(medium.together(space, x, ending))
        assert both.volume == pytest.approx(2 * one.volume, rel=1e-3)
        assert len(both.faces) == 2 * len(one.faces)
    assert medium.together(space, x[:1], ".binvox").startswith(b"#binvox 1\ndim 12 12 12")
    with pytest.raises(UsageError, match="one solid"):
        medium.together(space, x, ".binvox")
    assert len(read_mesh(medium.write(space, torch.full((1, 1, 4, 4, 4), -1.0))).faces) > 0  # of nothing, a speck
    from PIL import Image

    with Image.open(io.BytesIO(medium.together(space, x, ".gif"))) as moving:
        assert moving.n_frames == voxels.VIEWS
    nothing = medium.together(space, torch.full_like(x, -1), ".gif")  # from all sides the same
    with Image.open(io.BytesIO(nothing)) as moving:
        assert moving.n_frames == voxels.VIEWS
    seen = voxels.seen(x[0, 0])
    assert seen.shape == (1, voxels.SIDE, voxels.SIDE) and (seen == -1).any() and (seen > 0.2).any()
    assert meshes.in_a_row([one, one]).vertices[:, 0].max() > 2 * one.vertices[:, 0].max()
