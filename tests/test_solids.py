"""Solids: how alike they are, by known answers; halves completed; furniture by name."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import ItemNoise, Voxels
from triptych.data.library import furniture
from triptych.data.library.recipe import Archives, Folder, png
from triptych.data.solids import KINDS, RULES, drawn
from triptych.errors import DataError, UsageError
from triptych.inference import imputation
from triptych.metrics import solids
from triptych.testing import Examples
from triptych.verbs import impute
from triptych.verbs.create import create


def box(at: int, side: int = 4, grid: int = 16) -> torch.Tensor:
    """A cube, from place `at` on along each axis, float32 [1, 1, grid, grid, grid]."""
    x = torch.full((1, 1, grid, grid, grid), -1.0)
    x[..., at : at + side, at : at + side, at : at + side] = 1
    return x


def test_overlap_and_distance_of_boxes() -> None:
    a, b = box(2), box(4)
    assert solids.iou(a, a).item() == 1
    assert solids.iou(a, b).item() == pytest.approx(8 / (64 + 64 - 8))
    nothing = torch.full_like(a, -1.0)
    assert solids.iou(nothing, nothing).item() == 1 and solids.iou(a, nothing).item() == 0
    value, which = solids.likest(a, torch.cat([b, a, nothing]))
    assert value.item() == 1 and which.item() == 1
    points = solids.surfaces(torch.cat([a, b]))
    assert points.min() >= 2 / 16 and points[0].max() <= 6 / 16
    inner = ((points[0] * 16 > 3) & (points[0] * 16 < 5)).all(1)
    assert not inner.any()  # only of the surface's voxels
    p = torch.zeros(1, 1, 3)
    assert solids.chamfer(p, p + torch.tensor([0.3, 0, 0])).item() == pytest.approx(2 * 0.09)
    assert solids.chamfer(points, points).diagonal().abs().max() < 1e-6


def test_sets_that_are_alike_cannot_be_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 8, 3, generator=generator)
    same, other = solids.coverage(x[:30], x[30:]), solids.coverage(x[:30], x[30:] + 3)
    assert other.one_nna == 1 and 0.3 < same.one_nna < 0.7
    assert other.mmd > 10 * same.mmd and same.cov > 0.3
    one = solids.coverage(x[:1].expand(30, -1, -1) + 0.001 * torch.rand(30, 8, 3, generator=generator), x[30:])
    assert one.cov <= 3 / 30  # a model of one shape stands for few
    copies = solids.coverage(x[:30] + 1e-4, x[:30])
    assert copies.cov == 1 and copies.one_nna < 0.1


def test_shapes_are_measured_with_what_training_shapes_get(tmp_path) -> None:
    data = tt.data("solids", size=8, cache=tmp_path)
    model = create("vae-3d-tiny-classes")
    given = tt.Labels(3)
    train, test = (Examples(Voxels(1, 8, 8, 8), given, 24, seed) for seed in (0, 1))
    found = {m.name: m for m in tt.evaluate(model, train, test, n=24).found["shapes"]}
    assert set(found) >= {"MMD-CD x 1000", "COV", "1-NNA", "IoU of reconstructions"}
    assert found["1-NNA"].floor == pytest.approx(0.5, abs=0.25) and 0 <= found["IoU of reconstructions"].value <= 1
    assert data.classes == list(KINDS) and len(data) == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_things_of_boxes_stand_upright(kind) -> None:
    for numbers in np.random.default_rng(0).random((5, 6)):
        solid = drawn(RULES[kind](numbers), 24)
        places = np.argwhere(solid)
        assert places[:, 1].max() == 23 and solid.mean() > 0.005  # on the floor
        assert abs(places[:, 0].mean() - 11.5) < 4


def test_halves_of_solids_are_completed(tmp_path) -> None:
    space = Voxels(1, 2, 4, 6)
    for hide, axis, first in (("front", 1, True), ("back", 1, False), ("top", 2, True), ("right", 3, False)):
        known = impute.mask(space, hide, 2, 0)[0]
        parts = known.narrow(axis, 0, known.shape[axis] // 2), known.narrow(axis, known.shape[axis] // 2, 1)
        assert parts[0].any() != first and parts[1].all() == first
    with pytest.raises(UsageError, match="front"):
        impute.mask(space, "inside", 1, 0)
    for name in ("vae-3d-tiny", "llamagen-tiny-solids"):
        model = create(name)
        data = Examples(model.config.x, getattr(model.config, "given", None), 6)
        found = impute.impute(model, data, hide="back", n=2, completions=2, draws=8)
        assert found.drawn.shape == (2, 2, *model.config.x.shape) and not found.exact
        assert torch.equal(found.drawn[0][found.known], found.x[found.known])
        impute.check_picture(model.config.x, tmp_path / f"{name}.png")
        impute.write_picture(found, tmp_path / f"{name}.png")


def test_completions_by_codes_follow_the_model() -> None:
    """Of a model that never saw the half that is hidden: all codes can be summed over, so p(hidden | known) is known,
    among codes that keep those of the known half."""
    model = create("llamagen-tiny-solids").eval()
    data = Examples(model.config.x, model.config.given, 1)
    batch = data.fetch(torch.tensor([0]), ItemNoise(0, [0]))
    known = impute.mask(model.config.x, "top", 1, 0)  # the second of two codes is known, and not foreseen
    there, given3 = known.all(1), batch.given.map(lambda t: t.expand(3))
    code = model.known_codes(imputation.spread(torch.where(known, batch.x, 0.0), there), there)
    assert code[0, 0] == -1 and code[0, 1] >= 0
    every = torch.stack([torch.arange(3), code[0, 1].expand(3)], 1)
    for seed in range(100):  # weights of which the test can tell: the first code is open, and says much of the second
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in model.out.parameters():
                weight.normal_(0, 1.5)
            p = model.decode(every).base_dist
            fits = (p.log_prob(batch.x) * known).flatten(1).sum(1)
            joint, foresaw = model.log_prob_codes(every, given3).nats, model.foresaw(every, code.expand(3, -1), given3)
        share, unweighed, drawn = ((w).softmax(0) for w in (joint + fits, joint - foresaw + fits, joint - foresaw))
        if (share - unweighed).abs().max() > 0.25 and drawn.min() > 0.1:
            break
    else:
        raise AssertionError("no weights that would tell")
    n = 600
    x, given = batch.x.expand(n, *batch.x.shape[1:]), batch.given.map(lambda t: t.expand(n))
    found = imputation.impute(model, x, known.expand_as(x), given, draws=32, seed=3)
    hidden = ~known.flatten()
    off = (found.mean.flatten(1)[:, None, hidden] - p.mean.flatten(1)[None, :, hidden]).abs().sum(2)
    assert off.amin(1).max() < 1e-4  # each is the mean of one of the codes
    got = torch.bincount(off.argmin(1), minlength=3) / n
    assert (got - share).abs().max() < 4 * 0.5 / np.sqrt(n)


def library(entries: list[tuple[str, str, str, bytes]]) -> bytes:
    """A file of Sweet Home 3D."""
    lines, out = ["# made"], io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for k, (name, category, file, content) in enumerate(entries, 1):
            lines += [f"name#{k}={name}", f"category#{k}={category}", f"model#{k}=/{file}", f"icon#{k}=/{file}"]
            archive.writestr(file, content)
        archive.writestr(furniture.CATALOGUE, "\n".join(lines).encode("latin-1"))
    return out.getvalue()


def test_furniture_is_made_of_the_library(tmp_path, monkeypatch) -> None:
    def obj(height: float) -> bytes:
        return f"v 0 0 0\nv 1 0 0\nv 0 0 1\nv 0 {height} 0\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n".encode()

    entries = [
        (f"Old chair {i}", "Kitchen", f"a/chair{'abcdefghijklmnop'[i]}.obj", obj(0.5 + i / 10)) for i in range(16)
    ]
    entries += [("Copy", "Office", "a/copy.obj", obj(0.5)), ("Table lamp", "Lights", "a/lamp.obj", obj(3.0))]
    content = library(entries)
    monkeypatch.setattr(Archives, "members", lambda self, package, wanted: iter([("x/Some-Lib.sh3f", content)]))
    folder = Folder(tmp_path)
    furniture.write(Archives({}), folder)
    assert sum(folder.counts.values()) == 17  # the copy is left out
    assert folder.counts["test"] == sum(furniture.held(f"chair{c}") for c in "abcdefghijklmnop") + furniture.held(
        "lamp"
    )
    data = tt.data(tmp_path, size=16, split="all", cache=tmp_path / "cache")
    assert data.x == Voxels(1, 16, 16, 16) and set(data.classes) == {"chair", "lamp"}
    assert furniture.held("chair01") == furniture.held("Chair2")  # numbers do not count
    kinds = {"Armchair": "chair", "Table lamp": "lamp", "Bedside table": "cabinet", "Ficus": "plant", "Rug": "other"}
    assert {name: furniture.kind_of(name, "Office") for name in kinds} == kinds
    assert furniture.kind_of("Sitting female", "Characters") == "person"
    monkeypatch.setattr(Archives, "members", lambda self, package, wanted: iter([("x/B.sh3f", library([]))]))
    bad = library([("Bad", "Office", "a/bad.obj", b"v 0 0 0\n")])
    monkeypatch.setattr(Archives, "members", lambda self, package, wanted: iter([("x/B.sh3f", bad)]))
    with pytest.raises(DataError, match=r"bad\.obj in x/B\.sh3f cannot be read: it has no faces"):
        furniture.write(Archives({}), Folder(tmp_path / "b"))
    assert hashlib.sha256(b"").hexdigest() != furniture.PACKAGE.sha256 and Path(tmp_path).exists()


def test_furniture_renders_stand_on_white(tmp_path, monkeypatch) -> None:
    def icon(alpha: int) -> bytes:
        return png(Image.new("RGBA", (12, 10), (200, 0, 0, alpha)))

    content = library([(f"Chair {i}", "Kitchen", f"a/chair{i}.obj", icon(85 * min(i, 3))) for i in range(5)])
    monkeypatch.setattr(Archives, "members", lambda self, package, wanted: iter([("x/Some-Lib.sh3f", content)]))
    folder = Folder(tmp_path)
    furniture.write_renders(Archives({}), folder)
    assert sum(folder.counts.values()) == 4  # one is another's copy
    made = {p.stem: Image.open(p) for p in tmp_path.rglob("chair/*.png")}
    assert {name: im.getpixel((0, 0)) for name, im in made.items()} == {
        "some-lib-chair0": (255, 255, 255),
        "some-lib-chair1": (237, 170, 170),
        "some-lib-chair2": (218, 85, 85),
        "some-lib-chair3": (200, 0, 0),
    }
    content = library([("Bad", "Office", "a/bad.obj", b"no picture")])
    with pytest.raises(DataError, match=r"a/bad\.obj in x/Some-Lib\.sh3f cannot be read"):
        furniture.write_renders(Archives({}), Folder(tmp_path / "b"))
