"""Sources of several pictures a row: how they are declared, read, packed and served."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, IntegrityError, ItemNoise, Picture, UsageError
from triptych.data.checking import open_pack
from triptych.data.columns import Stored, columns_of
from triptych.tasks.map_to_photo import MapToPhoto
from triptych.tasks.super_resolution import SuperResolution
from triptych.tasks.task import posed

SIDE = 8


def put(path: Path, level: int, side: tuple[int, int] = (SIDE, SIDE)) -> None:
    """A grey picture of one level; (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(side, level, np.uint8)).save(path)


def put_map(path: Path, index: np.ndarray, colors: list[int] | None = None) -> None:
    """A palette picture of class numbers; grey where there are no colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(index.astype(np.uint8))
    if colors is not None:
        picture.putpalette(colors)
    picture.save(path)


def gathered(data, rows=None) -> dict[str, torch.Tensor]:
    """Every column as stored levels."""
    rows = list(range(len(data))) if rows is None else rows
    out = data.gather(torch.tensor(rows), ItemNoise(0, rows))
    spaces = data.columns
    assert list(out) == list(spaces)
    return {name: spaces[name].nearest(v) if isinstance(spaces[name], tt.Images) else v for name, v in out.items()}


def aligned(data, *others: str, add: int = 100) -> list[int]:
    """The level of each row's x, after a look that every other column has the level that belongs to it."""
    got = gathered(data)
    x = got["x"][:, 0, 0, 0]
    for k, name in enumerate(others, 1):
        assert torch.equal(got[name][:, 0, 0, 0], x + k * add), name
    return x.tolist()


def pairs(root: Path, n: int = 12, first: str = "x", second: str = "edges") -> None:
    for i in range(n):
        put(root / first / f"{i}.png", i)
        put(root / second / f"{i}.png", i + 100)


LAYOUTS = {
    "x beside anything": (["x", "edges"], "edges"),
    "letters": (["B", "A"], "A"),
    "resolutions": (["HR", "LR"], "LR"),
    "input and target": (["target", "input"], "input"),
    "images and labels": (["images", "labels"], "labels"),
    "with a name before": (["DIV2K_HR", "DIV2K_LR"], "LR"),
    "pictures for short": (["train_img", "train_inst"], "inst"),
    "below a folder": (["photos/hr", "photos/lr"], "lr"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_side_by_side_are_columns(tmp_path, layout) -> None:
    (first, second), name = LAYOUTS[layout]
    pairs(tmp_path, first=first, second=second)
    data = tt.data(tmp_path, split="all")
    assert set(data.columns) == {"x", name} and data.given is None and data.classes is None
    assert sorted(aligned(data, name)) == list(range(12))
    assert "are columns, matched by the names of their files" in "".join(data.pack.meta.notes)


@pytest.mark.parametrize("where", ["train/{}", "{}/train", "train_{}", "train-{}"])
def test_columns_may_lie_below_splits_above_them_or_beside_them(tmp_path, where) -> None:
    for k, split in enumerate(("train", "test")):
        for i in range(4):
            put(tmp_path / where.replace("train", split).format("B") / f"{i}.png", 10 * k + i)
            put(tmp_path / where.replace("train", split).format("A") / f"{i}.png", 10 * k + i + 100)
    assert aligned(tt.data(tmp_path), "A") == [0, 1, 2, 3]
    assert aligned(tt.data(tmp_path, split="test"), "A") == [10, 11, 12, 13]
    assert aligned(tt.data(tmp_path, x="A"), "B", add=-100) == [100, 101, 102, 103]
    assert aligned(tt.data(tmp_path).held_out(), "A") == [10, 11, 12, 13]


def test_which_rows_are_held_out_does_not_depend_on_what_is_x(tmp_path) -> None:
    pairs(tmp_path, 40, first="B", second="A")
    there = sorted(aligned(tt.data(tmp_path, split="test"), "A"))
    back = sorted(level - 100 for level in aligned(tt.data(tmp_path, split="test", x="A"), "B", add=-100))
    assert there == back and 1 <= len(there) < 40


@pytest.mark.parametrize(
    "names",
    [
        ("A", "B", "C"),
        ("cats", "dogs"),
        ("x", "o"),
        ("w", "x", "y"),
        ("trainA", "trainB"),
        ("map", "relief"),
        ("road_map", "tree_map"),
    ],
)
def test_classes_are_not_taken_for_columns(tmp_path, names) -> None:
    for k, name in enumerate(names):
        for i in range(4):
            put(tmp_path / name / f"{i}.png", 10 * k + i)
    data = tt.data(tmp_path, split="all")
    assert list(data.columns) == ["x", "label"] and data.classes == sorted(names) and len(data) == 4 * len(names)


def test_folders_whose_files_do_not_match_are_classes(tmp_path) -> None:
    for i in range(6):
        put(tmp_path / "A" / f"{i}.png", i)
        put(tmp_path / "B" / f"{i + 4}.png", i)
    assert tt.data(tmp_path, split="all").classes == ["A", "B"]


def test_folders_that_look_like_columns_are_classes_if_that_is_said(tmp_path) -> None:
    pairs(tmp_path)
    assert tt.data(tmp_path, split="all", x="").classes == ["edges", "x"]


def test_what_is_named_as_unpaired_is_not_matched(tmp_path) -> None:
    for k, name in enumerate(("trainA", "trainB", "testA", "testB")):
        for i in range(3):
            put(tmp_path / name / f"{i}.png", 10 * k + i)
    data = tt.data(tmp_path)
    assert data.classes == ["A", "B"] and "tt.unpaired" in "".join(data.pack.meta.notes)


@pytest.mark.parametrize("name", ["label", "caption"])
def test_pictures_that_are_called_as_other_columns_are_get_another_name(tmp_path, name) -> None:
    pairs(tmp_path, second=name)
    assert list(tt.data(tmp_path).columns) == ["x", f"{name}s"]


def test_a_pack_from_before_there_were_columns_opens(tmp_path) -> None:
    from triptych.data import pack
    from triptych.data.packs import seal

    put(tmp_path / "set" / "1.png", 1)
    before = pack(tmp_path / "set", tmp_path / "out")
    file = tmp_path / "out" / "meta.json"
    about = json.loads(file.read_text())["meta"]
    del about["columns"]
    file.write_text(json.dumps({"meta": about, "sha256": seal(about)}))
    assert tt.data(tmp_path / "out", split="all").fingerprint == before.fingerprint


def test_columns_have_classes_and_captions_too(tmp_path) -> None:
    for k, name in enumerate(("cat", "dog")):
        for i in range(4):
            put(tmp_path / "x" / name / f"{i}.png", 10 * k + i)
            put(tmp_path / "edges" / name / f"{i}.png", 10 * k + i + 100)
            (tmp_path / "x" / name / f"{i}.txt").write_text(f"a {name} of level {'abcd'[i]}")
    data = tt.data(tmp_path, split="all")
    assert list(data.columns) == ["x", "label", "caption", "edges"]
    got = gathered(data)
    assert torch.equal(got["label"], got["x"][:, 0, 0, 0] // 10)
    assert [data.tokenizer.decode(t) for t in got["caption"].tolist()] == data.captions
    assert torch.equal(got["edges"], got["x"] + 100)


def table(root: Path, rows: list[tuple[str, ...]], header: str = "file_name,edges_file,text") -> None:
    (root / "metadata.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]))


def test_a_table_names_further_files(tmp_path) -> None:
    for i in range(6):
        put(tmp_path / "here" / f"{i}.png", i)
        put(tmp_path / "there" / f"number-{5 - i}.png", i + 100)
    table(tmp_path, [(f"here/{i}.png", f"there/number-{5 - i}.png", f"level {i}") for i in range(6)])
    data = tt.data(tmp_path, split="all")
    assert sorted(aligned(data, "edges")) == list(range(6)) and data.problems == []
    assert data.captions == [f"level {level}" for level in aligned(data)]
    turned = tt.data(tmp_path, split="all", x="edges")
    assert "x is edges_file, beside file_name" in "".join(turned.pack.meta.notes)
    assert aligned(turned, "picture", add=-100) == [level + 100 for level in aligned(data)]
    assert turned.captions == data.captions


def test_json_lines_name_further_files_without_label_or_text(tmp_path) -> None:
    pairs(tmp_path, first="p", second="q")
    lines = [{"file_name": f"p/{i}.png", "edges_file": f"q/{i}.png"} for i in range(12)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert sorted(aligned(tt.data(tmp_path, split="all"), "edges")) == list(range(12))


def test_rows_that_lack_a_file_are_left_out_and_named(tmp_path) -> None:
    pairs(tmp_path, 5)
    table(tmp_path, [("x/0.png", "edges/0.png"), ("x/1.png", "gone.png"), ("x/2.png", "")], "file_name,edges_file")
    data = tt.data(tmp_path, split="all")
    assert aligned(data, "edges") == [0]
    reasons = {p.file: p.reason for p in data.problems}
    assert reasons["x/1.png"] == "its edges_file, gone.png, is not there"
    assert reasons["x/2.png"] == "no edges_file"
    assert reasons["x/3.png"] == "in no row of metadata" and len(reasons) == len(data.problems)


def test_a_file_without_a_partner_is_left_out_and_named(tmp_path) -> None:
    pairs(tmp_path)
    (tmp_path / "edges" / "3.png").unlink()
    (tmp_path / "x" / "5.png").unlink()
    put(tmp_path / "sheet.png", 0)
    data = tt.data(tmp_path, split="all")
    assert sorted(aligned(data, "edges")) == [0, 1, 2, 4, *range(6, 12)]
    assert [str(p) for p in data.problems] == [
        "edges/5.png: no file of its name in x",
        "sheet.png: in none of the folders x, edges",
        "x/3.png: no file of its name in edges",
    ]
    with pytest.raises(DataError, match="3 problems and strict"):
        tt.data(tmp_path, strict=True)


@pytest.mark.parametrize("name", ["x", "edges"])
def test_a_bad_half_drops_its_row_and_is_named(tmp_path, name) -> None:
    pairs(tmp_path)
    (tmp_path / name / "4.png").write_bytes(b"<html>")
    data = tt.data(tmp_path, split="all")
    assert sorted(aligned(data, "edges")) == [0, 1, 2, 3, *range(5, 12)]
    (problem,) = data.problems
    assert problem.file == f"{name}/4.png" and problem.reason.endswith("its row is left out")


def test_halves_of_one_picture_are_columns(tmp_path) -> None:
    for i in range(6):
        both = np.concatenate([np.full((SIDE, SIDE), i + 100), np.full((SIDE, SIDE), i)], 1).astype(np.uint8)
        Image.fromarray(both).save(tmp_path / f"{i}.png")
    put(tmp_path / "odd.png", 0, (SIDE, 2 * SIDE + 1))
    data = tt.data(tmp_path, split="all", halves="A|B")
    assert sorted(aligned(data, "A")) == list(range(6))
    assert [str(p) for p in data.problems] == ["odd.png: 17 pixels wide, which has no halves; its row is left out"]
    assert sorted(aligned(tt.data(tmp_path, split="all", halves="A|B", x="A"), "B", add=-100)) == list(range(100, 106))
    with pytest.raises(UsageError, match="which half is x"):
        tt.data(tmp_path, halves="left|right")
    with pytest.raises(UsageError, match="names the left half and the right one"):
        tt.data(tmp_path, halves="A")


def test_only_the_half_that_has_color_has_three_channels(tmp_path) -> None:
    both = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    both[:, SIDE:] = 200, 10, 20
    for i in range(3):
        Image.fromarray(both).save(tmp_path / f"{i}.png")
    data = tt.data(tmp_path, split="all", halves="A|B")
    assert data.columns == {"x": tt.Images(3, SIDE, SIDE), "A": tt.Images(1, SIDE, SIDE)}


def test_color_in_one_column_does_not_color_another(tmp_path) -> None:
    pairs(tmp_path, 5)
    Image.fromarray(np.full((SIDE, SIDE, 3), (9, 90, 200), np.uint8)).save(tmp_path / "edges" / "4.png")
    data = tt.data(tmp_path, split="all")
    assert data.columns == {"x": tt.Images(1, SIDE, SIDE), "edges": tt.Images(3, SIDE, SIDE)}
    got = gathered(data)
    assert sorted(got["edges"][:, :, 0, 0].tolist()) == sorted([*([100 + i] * 3 for i in range(4)), [9, 90, 200]])


def test_pictures_of_a_column_that_differ_in_size_are_refused_in_one_line(tmp_path) -> None:
    pairs(tmp_path, 5)
    put(tmp_path / "edges" / "4.png", 104, (6, 7))
    with pytest.raises(DataError, match=r"edges/\d.png has 8 x 8 .* and edges/4.png has 6 x 7; give size="):
        tt.data(tmp_path, split="all")
    assert sorted(aligned(tt.data(tmp_path, split="all", size=4), "edges")) == list(range(5))


COLORS = [10, 20, 30, 40, 50, 60, 70, 80, 90] + [0, 0, 0] * 253


@pytest.fixture
def mapped(tmp_path) -> Path:
    for i in range(4):
        put(tmp_path / "x" / f"{i}.png", i)
        index = np.full((SIDE, SIDE), i % 3)
        index[0, 0] = 255
        put_map(tmp_path / "map" / f"{i}.png", index, COLORS)
    return tmp_path


def test_palette_pictures_that_are_called_maps_are_classes(mapped) -> None:
    data = tt.data(mapped, split="all")
    assert data.columns["map"] == tt.Images(3, SIDE, SIDE, levels=2)
    assert "map is read as label maps" in "".join(data.pack.meta.notes)
    got = gathered(data)
    assert torch.equal(got["map"][:, :, 1, 1].argmax(1), got["x"][:, 0, 1, 1] % 3)
    assert got["map"][:, :, 1, 1].sum(1).tolist() == [1] * 4
    assert got["map"][:, :, 0, 0].sum() == 0  # 255 is of no class
    assert data.maps["map"].colors[:3] == ((10, 20, 30), (40, 50, 60), (70, 80, 90))


def test_maps_are_scaled_without_mixing_their_classes(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        put(tmp_path / "x" / f"{i}.png", i, (16, 16))
        put_map(tmp_path / "map" / f"{i}.png", rng.choice([0, 7], (16, 16)), COLORS)
    got = gathered(tt.data(tmp_path, split="all", size=5))["map"]
    assert got.shape[1] == 8 and got[:, 1:7].sum() == 0 and torch.equal(got.sum(1), torch.ones(3, 5, 5).long())


def test_classes_that_a_size_takes_away_still_count(mapped) -> None:
    index = np.zeros((SIDE, SIDE))
    index[1, 1] = 9
    put_map(mapped / "map" / "3.png", index, COLORS)
    assert tt.data(mapped, size=2, split="all").columns["map"] == tt.Images(10, 2, 2, levels=2)


def test_maps_that_are_none_drop_their_row(mapped) -> None:
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(mapped / "map" / "2.png")
    Image.fromarray(np.eye(SIDE) > 0).save(mapped / "map" / "3.png")
    data = tt.data(mapped, split="all")
    got = gathered(data)
    assert sorted(got["x"][:, 0, 0, 0].tolist()) == [0, 1, 3]
    assert got["map"][got["x"][:, 0, 0, 0] == 3][0].argmax(0).tolist() == np.eye(SIDE).astype(int).tolist()
    assert [str(p) for p in data.problems] == [
        "map/2.png: a label map is a palette or a grey picture of up to 8 bits, and this is RGB; a classes.csv beside "
        "the data says what its colours mean; its row is left out"
    ]


def test_what_is_read_as_classes_can_be_said(mapped) -> None:
    assert tt.data(mapped, index="").columns["map"] == tt.Images(3, SIDE, SIDE)  # as the palette shows them
    with pytest.raises(UsageError, match="index=relief: relief is no column beside x: there are map"):
        tt.data(mapped, index="relief")
    shutil.rmtree(mapped / "map")
    for i in range(4):
        put_map(mapped / "grey" / f"{i}.png", np.full((SIDE, SIDE), i))
    assert tt.data(mapped).columns["grey"] == tt.Images(1, SIDE, SIDE)
    grey = tt.data(mapped, index="grey", split="all")
    assert torch.equal(gathered(grey)["grey"][:, :, 0, 0].argmax(1), gathered(grey)["x"][:, 0, 0, 0])


@pytest.mark.parametrize(("values", "classes"), [((0, 1, 255), 2), ((0, 255), None), ((0, 2, 200), None)])
def test_grey_pictures_of_small_numbers_that_are_called_maps_are_classes(tmp_path, values, classes) -> None:
    for i in range(3):
        put(tmp_path / "image" / f"{i}.png", i)
        put_map(tmp_path / "label" / f"{i}.png", np.resize(values, (SIDE, SIDE)))
    data = tt.data(tmp_path)
    assert data.columns["labels"] == tt.Images(classes or 1, SIDE, SIDE, levels=2 if classes else 256)
    said = "labels is read" in "".join(data.pack.meta.notes) or "small numbers" in "".join(data.pack.meta.notes)
    assert said == bool(classes)
    assert tt.data(tmp_path, index="").columns["labels"] == tt.Images(1, SIDE, SIDE)


def test_masks_of_one_class_are_no_label_maps(tmp_path) -> None:
    for i in range(3):
        put(tmp_path / "image" / f"{i}.png", i)
        put_map(tmp_path / "mask" / f"{i}.png", np.resize((0, 255), (SIDE, SIDE)))
    with pytest.raises(
        UsageError, match="map=mask: its maps have one class, 0, and perhaps 255, which stands for none"
    ):
        posed(tt.data(tmp_path, index="mask"), MapToPhoto())


def test_pictures_that_are_enlarged_and_pairs_of_different_shape_are_said(tmp_path) -> None:
    for i in range(3):
        put(tmp_path / "A" / f"{i}.png", i, (8, 8))
        put(tmp_path / "B" / f"{i}.png", i, (16, 24))
    said = " ".join(tt.data(tmp_path, size=16).pack.meta.notes)
    assert "3 pictures are much smaller than 16 x 16 (height x width), such as A/1.png with 8 x 8" in said
    assert "in 3 of 3 rows the pictures differ in shape, such as B/1.png with 16 x 24 and A/1.png with 8 x 8" in said
    said = " ".join(tt.data(tmp_path, size=8).pack.meta.notes)
    assert "smaller" not in said and "in 3 of 3 rows" in said
    alone = " ".join(tt.data(tmp_path / "A", size=12).pack.meta.notes)
    assert "3 pictures are much smaller than 12 x 12" in alone and "shape" not in alone


def test_palette_pictures_of_another_name_are_pictures(tmp_path) -> None:
    for i in range(3):
        put(tmp_path / "x" / f"{i}.png", i)
        put_map(tmp_path / "drawn" / f"{i}.png", np.full((SIDE, SIDE), i), COLORS)
    assert tt.data(tmp_path).columns["drawn"] == tt.Images(3, SIDE, SIDE)


def coordinates(height: int, width: int, step: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] * step
    return np.stack([rows, columns, np.full_like(rows, 7)], -1).astype(np.uint8)


@pytest.fixture
def resolutions(tmp_path) -> Path:
    """HR, a half of it, twice of it; of pixels that say where they are in HR."""
    for split, sides in {"train": [(40, 50), (34, 70)], "test": [(36, 46)]}.items():
        for height, width in sides:
            for name, (h, w, step) in {
                "x": (height, width, 1),
                "half": (height // 2, width // 2, 2),
                "same": (height, width, 1),
            }.items():
                place = tmp_path / name / split / f"{height}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(coordinates(h, w, step)).save(place)
            double = coordinates(height, width).repeat(2, 0).repeat(2, 1)
            (tmp_path / "twice" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(double).save(tmp_path / "twice" / split / f"{height}.png")
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_crops_cut_the_same_place_of_every_column(resolutions, split) -> None:
    data = tt.data(resolutions, crop=16, split=split)
    assert {name: space.shape[1:] for name, space in data.columns.items()} == {
        "x": (16, 16),
        "half": (8, 8),
        "same": (16, 16),
        "twice": (32, 32),
    }
    starts = set()
    for seed in range(20):
        rows = torch.arange(len(data))
        got = data.gather(rows, ItemNoise(seed, rows.tolist()))
        x = data.x.nearest(got["x"])[:, :2]
        level = {name: data.columns[name].nearest(v)[:, :2] for name, v in got.items()}
        assert torch.equal(level["same"], x)
        assert torch.equal(level["half"], x[:, :, ::2, ::2])
        assert torch.equal(level["twice"], x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        alone = data.fetch(rows, ItemNoise(seed, rows.tolist())).x
        assert torch.equal(alone, got["x"])
        starts |= set(map(tuple, x[:, :, 0, 0].tolist()))
    assert all(top % 2 == 0 and left % 2 == 0 for top, left in starts)
    assert (len(starts) > 30) == (split == "train")


def test_crops_that_would_cut_pixels_are_refused(resolutions) -> None:
    with pytest.raises(UsageError, match="crop=15: half is 2 times smaller than x; a multiple of 2"):
        tt.data(resolutions, crop=15)


def test_rows_out_of_proportion_are_left_out_and_name_both_files(resolutions) -> None:
    put(resolutions / "half" / "train" / "34.png", 3, (17, 30))
    data = tt.data(resolutions, crop=16)
    (problem,) = data.problems
    assert problem.file == "half/train/34.png"
    assert problem.reason.startswith("17 x 30 pixels (height x width) where x/train/34.png has 34 x 70, not a whole")
    assert len(data) == 2 * 3


def test_maps_are_cropped(mapped) -> None:
    data = tt.data(mapped, crop=4)
    assert data.columns["map"] == tt.Images(3, 4, 4, levels=2)
    got = gathered(data)
    assert torch.equal(got["map"][:, :, 3, 3].argmax(1), got["x"][:, 0, 3, 3] % 3)


def test_pair_matches_folders_by_the_names_of_files(tmp_path) -> None:
    for i in range(8):
        put(tmp_path / "one" / "train" / f"{i}.png", i)
        put(tmp_path / "two" / "train" / f"{i}.bmp", i + 100)
        put(tmp_path / "one" / "test" / f"{i}.png", 50 + i)
        put(tmp_path / "two" / "test" / f"{i}.bmp", i + 150)
    (tmp_path / "two" / "train" / "3.bmp").unlink()
    data = tt.pair(x=tmp_path / "one", sketch=tmp_path / "two")
    assert aligned(data, "sketch") == [0, 1, 2, 4, 5, 6, 7]
    assert aligned(data.held_out(), "sketch") == [50 + i for i in range(8)]
    assert [str(p) for p in data.problems] == ["x/train/3.png: no file of its name in sketch"]
    again = tt.data(**{**data.opened, "split": "train"})
    assert again.fingerprint == data.fingerprint


def test_pair_matches_arrays_row_by_row() -> None:
    x = np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 1, SIDE, SIDE), np.uint8)
    data = tt.pair(x=x, other=x + 100)
    assert len(aligned(data, "other")) == 19 and data.opened is None
    with pytest.raises(DataError, match="row by row they differ"):
        tt.pair(x=x, other=x[:10])


def test_pairs_that_cannot_be_are_refused(tmp_path) -> None:
    pairs(tmp_path, 3, first="p", second="q")
    with pytest.raises(UsageError, match="pair it with folders"):
        tt.pair(x=tmp_path / "p", other=np.zeros((3, 1, 4, 4), np.uint8))
    with pytest.raises(UsageError, match="cannot be called 'label'"):
        tt.pair(x=tmp_path / "p", label=tmp_path / "q")
    for i in range(3):
        (tmp_path / "q" / f"{i}.png").rename(tmp_path / "q" / f"other-{i}.png")
    with pytest.raises(DataError, match="no row has a file in each of its columns"):
        tt.pair(x=tmp_path / "p", other=tmp_path / "q")


def test_unpaired_sources_are_both_served(tmp_path) -> None:
    for split in ("train", "test"):
        for i in range(10):
            put(tmp_path / "a" / split / f"{i}.png", 100 + i)
        for i in range(6):
            put(tmp_path / "b" / split / f"{i}.png", i)
    data = tt.unpaired(tmp_path / "a", tmp_path / "b")
    assert isinstance(data, tt.Data) and len(data) == 6 and list(data.columns) == ["x", "A"]
    rows = list(range(6))
    drawn = [data.gather(torch.tensor(rows), ItemNoise(seed, rows)) for seed in range(30)]
    assert all(torch.equal(one["x"], drawn[0]["x"]) for one in drawn)
    levels = torch.cat([data.columns["A"].nearest(one["A"])[:, 0, 0, 0] for one in drawn])
    assert set(levels.tolist()) == set(range(100, 110))
    assert torch.equal(data.gather(torch.tensor([4]), ItemNoise(3, [4]))["A"][0], drawn[3]["A"][4])
    held = data.held_out()
    assert held is not None and held.held_out() is None and held.training_part().fingerprint == data.fingerprint


def test_a_folder_is_not_mistaken_for_its_own_sheet(tmp_path, cli) -> None:
    pairs(tmp_path)
    assert cli("data", tmp_path, "--sheet", tmp_path / "x" / "1.png").code == 2
    assert len(tt.data(tmp_path, split="all")) == 12


def test_x_must_name_a_column(tmp_path) -> None:
    pairs(tmp_path)
    with pytest.raises(UsageError, match=r"x=relief: .* has no column"):
        tt.data(tmp_path, x="relief")
    with pytest.raises(UsageError, match="files of pictures; mnist"):
        tt.data("mnist", x="A")


def test_a_zip_has_columns_too(tmp_path) -> None:
    pairs(tmp_path / "set")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "set")
    assert sorted(aligned(tt.data(tmp_path / "packed.zip", split="all"), "edges")) == list(range(12))


class Translation:
    """A task that draws x from a column beside it."""

    name = "translation"

    def spaces(self, columns):
        return columns["x"], columns["edges"]

    def pose(self, columns, noise):
        return columns["x"], Picture(columns["edges"])


def test_a_task_sees_every_column(tmp_path, monkeypatch) -> None:
    pairs(tmp_path)
    data = tt.data(tmp_path)
    task = posed(data, Translation())
    assert task.given == tt.Images(1, SIDE, SIDE) and set(columns_of(data)) == {"x", "edges"}
    batch = task.fetch(torch.tensor([1, 2]), ItemNoise(0, [1, 2]))
    whole = data.gather(torch.tensor([1, 2]), ItemNoise(0, [1, 2]))
    assert torch.equal(batch.x, whole["x"]) and torch.equal(batch.given.grid, whole["edges"])


def test_a_task_that_looks_at_x_alone_reads_nothing_else(tmp_path, monkeypatch) -> None:
    pairs(tmp_path)
    data = tt.data(tmp_path, crop=4)
    monkeypatch.setattr(Stored, "picture", None)
    task = posed(data, SuperResolution(times=2))
    assert task.fetch(torch.tensor([1, 2]), ItemNoise(0, [1, 2])).x.shape == (2, 1, 4, 4)


def test_a_pack_keeps_its_columns_and_finds_damage(mapped, tmp_path) -> None:
    out = tmp_path / "out"
    from triptych.data import pack

    packed = pack(mapped, out)
    direct = tt.data(mapped, split="all")
    assert packed.fingerprint == direct.fingerprint
    for options in ({}, {"size": 4}, {"crop": 4}, {"channels": 3}):
        one, other = tt.data(out, split="all", **options), tt.data(mapped, split="all", **options)
        assert one.columns == other.columns
        got, wanted = gathered(one), gathered(other)
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    file = out / "column-0.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"column-0.npy is damaged"):
        tt.data(out)
    file.write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match=r"column-0.npy has"):
        open_pack(out)


def test_fingerprints_of_sources_without_columns_are_what_they_were(tmp_path) -> None:
    """Runs resume by them: these come from before there were columns."""
    for k in range(2):
        for i in range(5):
            put(tmp_path / "set" / f"class{k}" / f"{i}.png", 10 * k + i)
    assert tt.data(tmp_path / "set").fingerprint == OLD["folder"]
    x = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)
    assert tt.data((x, np.arange(10) % 2)).fingerprint == OLD["arrays"]


OLD = {
    "folder": "83a0151ca3835dc22f136e3f8ef428fc5826b01d854c5508c761b857f4081d5f",
    "arrays": "53879f230365c64222b101fec80582f35d2b674ee1312307c6368003a6f244d4",
}


def test_the_fingerprint_does_not_depend_on_the_process(tmp_path) -> None:
    pairs(tmp_path / "set", 6)
    pairs(tmp_path / "set", 6, second="another")
    code = f"import triptych as tt; print(tt.data({str(tmp_path / 'set')!r}, cache={{!r}}).fingerprint)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code.format(str(tmp_path / f"cache{seed}"))],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert found == {tt.data(tmp_path / "set").fingerprint + "\n"}


def test_the_command_line_shows_columns_and_draws_a_sheet(mapped, cli, tmp_path) -> None:
    for i in range(4):
        (mapped / "x" / f"{i}.txt").write_text(f"number {'abcd'[i]}")
    done = cli("data", mapped, "--sheet", tmp_path / "sheet.png", "--split", "all")
    assert done.code == 0, done.err
    assert "column x: 4 in Images" in done.out and "column caption: 4 in" in done.out
    assert "column map: 4 in Images(channels=3, height=8, width=8, levels=2), label maps" in done.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    cell = 128
    level = int(gathered(tt.data(mapped, split="all"))["x"][0, 0, 0, 0])
    assert pixels[64, 64].tolist() == [level] * 3  # x of the first row
    left = 6 * 22 + 4
    color = COLORS[level % 3 * 3 :][:3]
    assert pixels[64, left + 64].tolist() == color  # its class, in the palette's color
    assert pixels[2, left + 2].tolist() == [128, 128, 128]  # of no class
    assert pixels.shape[1] >= 2 * cell
    as_json = json.loads(cli("data", mapped, "--json").out)
    assert as_json["columns"]["map"]["reading"] and list(as_json["columns"]) == ["x", "caption", "map"]


def test_a_run_remembers_which_column_was_x(tmp_path, cli) -> None:
    pairs(tmp_path / "set", 12, first="B", second="A")
    out = tmp_path / "run"
    done = cli(
        "train", "vae", "latent=2", "--data", tmp_path / "set", "--x", "A", "--out", out, "--steps", 1, "--batch", 2
    )
    assert done.code == 0, done.err
    assert json.loads((out / "config.json").read_text())["data"]["opened"]["x"] == "A"
    again = cli("train", "--resume", "--out", out, "--steps", 2)
    assert again.code == 0, again.err
