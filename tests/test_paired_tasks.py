"""Translation, map to photograph and edges: from pairs to a picture, and what is refused before step 0."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, Images, ItemNoise, Picture, UsageError
from triptych.media.maps import BadTable, ClassTable, read_classes, table_of
from triptych.metrics.segmenter import Segmented, segmented
from triptych.tasks import map_to_photo
from triptych.tasks.edges import Edges, edges
from triptych.tasks.map_to_photo import MapToPhoto
from triptych.tasks.task import posed
from triptych.tasks.translation import Translation

SIDE = 16
COLORS = ((70, 130, 200), (5, 69, 10), (250, 250, 160))
NAMES = ("water", "forest", "sand")
TABLE = "index,name,red,green,blue\n" + "".join(
    f"{k},{name},{r},{g},{b}\n" for k, (name, (r, g, b)) in enumerate(zip(NAMES, COLORS, strict=True))
)


def save(path: Path, pixels: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels.astype(np.uint8))
    if palette:
        picture.putpalette([level for color in COLORS for level in color] + [0] * (768 - 9))  # 255 is in it
    picture.save(path)


def pair_of(i: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(i)
    a = random.integers(0, 256, (side, side, 3))
    return a, 255 - a


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """B is the negative of A."""
    root = tmp_path_factory.mktemp("pairs")
    for i in range(120):
        a, b = pair_of(i)
        save(root / f"train_A/{i}.png", a)
        save(root / f"train_B/{i}.png", b)
    return root


def index_of(i: int) -> np.ndarray:
    index = np.zeros((SIDE, SIDE), np.uint8)
    index[:, i % 8 + 4 :] = 1
    index[i % 8 :, :4] = 2
    return index


def photo_of(index: np.ndarray) -> np.ndarray:
    return np.array([[0, 0, 255], [0, 200, 0], [250, 250, 0]])[index]


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    """Photographs that have one colour for each class; of one pixel nobody says the class."""
    root = tmp_path_factory.mktemp("city")
    for i in range(120):
        index = index_of(i)
        save(root / f"image/{i}.png", photo_of(index))
        index[0, 0] = 255
        save(root / f"label/{i}.png", index, palette=True)
    (root / "classes.csv").write_text(TABLE)
    return root


# Translation


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_direction_says_which_is_made_of_which(pairs, direction) -> None:
    data = posed(tt.data(pairs, split="all"), Translation(direction=direction))
    batch = data.fetch(torch.arange(6), ItemNoise(0, range(6)))
    torch.testing.assert_close(batch.x, -batch.given.grid)
    firsts = {round(float(v), 4) for v in (batch.given.grid if direction == "AtoB" else batch.x)[:, 0, 0, 0]}
    assert firsts <= {round(2 * pair_of(i)[0][0, 0, 0] / 255 - 1, 4) for i in range(120)}


def test_columns_can_be_named() -> None:
    x = np.random.default_rng(0).integers(0, 250, (6, 8, 8, 3), dtype=np.uint8)
    data = tt.pair(x=x, google=x + 1, twitter=x + 3)
    with pytest.raises(UsageError, match="which of google, twitter is translated into x"):
        posed(data, Translation())
    batch = posed(data, Translation(a="google", b="twitter")).fetch(torch.arange(2), ItemNoise(0, range(2)))
    assert ((batch.x - batch.given.grid) * 127.5).round().eq(2).all()
    for wrong, words in (({"a": "apple"}, "a=apple: there is no such column"), ({"a": "x"}, "a=x and b=x are one")):
        with pytest.raises(UsageError, match=words):
            posed(data, Translation(**wrong))


def test_pictures_that_are_no_pairs_are_refused(tmp_path) -> None:
    for i in range(3):
        save(tmp_path / f"trainA/{i}.png", pair_of(i)[0])
        save(tmp_path / f"trainB/b{i}.png", pair_of(i)[1])
    with pytest.raises(UsageError, match=f"^{tmp_path.name}.*learns from pairs, and there is no picture beside x"):
        posed(tt.data(tmp_path, split="all"), Translation())
    save(tmp_path / "one/A/1.png", pair_of(0)[0])
    with pytest.raises(UsageError, match="there is no picture beside x"):
        posed(tt.data(tmp_path / "one", split="all"), Translation())
    a, b = (tt.data(np.arange(768).astype(np.uint8).reshape(4, 8, 8, 3), split="all") for _ in range(2))
    with pytest.raises(UsageError, match="translation learns from pairs, and these pictures do not belong together"):
        posed(tt.unpaired(a, b), Translation())


def test_pairs_of_two_sizes_are_refused(tmp_path) -> None:
    for i in range(3):
        save(tmp_path / f"A/{i}.png", pair_of(i)[0])
        save(tmp_path / f"B/{i}.png", pair_of(i, 2 * SIDE)[1])
    with pytest.raises(UsageError, match=r"A has pictures of 16 x 16 .* and x of 32 x 32.*size=16"):
        posed(tt.data(tmp_path, split="all"), Translation())
    assert posed(tt.data(tmp_path, split="all", size=16), Translation()).x == Images(3, 16, 16)


def test_label_maps_are_for_another_task(city) -> None:
    with pytest.raises(UsageError, match="map-to-photo is for label maps"):
        posed(tt.data(city, split="all"), Translation())


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory, cli) -> Path:
    out = tmp_path_factory.mktemp("runs") / "negative"
    words = ["translation", "--direction", "BtoA", "--model", "pix2pix-tiny-rgb", "depth=2"]
    done = cli("train", *words, "--data", pairs, "--size", SIDE, "--out", out, "--steps", 2, "--batch", 4)
    assert done.code == 0, done.err
    assert json.loads((out / "config.json").read_text())["task"]["direction"] == "BtoA"
    return out


def test_a_picture_of_any_size_is_translated(run, tmp_path, cli) -> None:
    save(tmp_path / "in.png", np.random.default_rng(0).integers(0, 256, (45, 70, 3)))
    words = ["--as-is", "--sheet", tmp_path / "s.png"]
    done = cli("apply", run, "--picture", tmp_path / "in.png", "--out", tmp_path / "out.png", *words)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (70, 45) and image.mode == "RGB"
        whole = np.asarray(image)
    tiled = np.asarray(tt.apply(run, picture=tmp_path / "in.png", tile=16, as_is=True).image())
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    with Image.open(tmp_path / "in.png") as image:
        image.load()
        assert np.array_equal(np.asarray(tt.apply(run, picture=image, as_is=True).image()), whole)
        assert np.array_equal(np.asarray(tt.apply(run, picture=np.asarray(image), as_is=True).image()), whole)


def test_what_is_transparent_is_white_as_in_training(run) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8] = (255, 255, 255, 255)
    found = tt.apply(run, picture=pixels)
    white = tt.apply(run, picture=np.full((16, 16, 3), 255, np.uint8))
    assert np.array_equal(found.pixels, white.pixels) and found.alpha is None


def test_a_translation_is_measured_against_the_copy_and_the_mean(run, cli) -> None:
    done = cli("evaluate", run, "-n", 50, "--features", "pixels", "--json")
    assert done.code == 0, done.err
    found = {m["name"]: m for m in json.loads(done.out)["measurements"]}
    assert set(found["PSNR"]["baselines"]) == {"copy", "mean picture"}
    assert found["PSNR"]["baselines"]["mean picture"] > found["PSNR"]["baselines"]["copy"]


# The table of classes


def test_a_table_says_names_and_colors() -> None:
    assert read_classes(TABLE) == ClassTable(NAMES, COLORS)
    assert read_classes("name,color\na,#0a0b0c\nb,\n").colors[0] == (10, 11, 12)
    sparse = read_classes("index,name\n2,c\n0,a\n")
    assert sparse.names == ("a", "1", "c") and len(set(sparse.colors)) == 3
    for text, words in (("index,name\n0,a\n0,b\n", "line 3: index 0"), ("name\n", "it has no lines")):
        with pytest.raises(BadTable, match=words):
            read_classes(text)


def test_colors_become_classes_and_back() -> None:
    table = ClassTable(NAMES, COLORS)
    index = index_of(3)
    assert np.array_equal(table.indices(table.painted(index)), index)
    legend = np.asarray(table.legend().convert("RGB")).reshape(-1, 3)
    assert {*COLORS} <= {tuple(c) for c in np.unique(legend, axis=0).tolist()}
    assert "  5  69  10\tforest" in table.brushes("map")


# Map to photograph


@pytest.mark.parametrize("kind", ["palette", "grey", "colors", "indexed alone"])
def test_maps_are_read_in_every_form(tmp_path, kind) -> None:
    for i in range(6):
        index = index_of(i)
        save(tmp_path / f"image/{i}.png", photo_of(index))
        if kind == "colors" or kind == "indexed alone":
            save(tmp_path / f"label/{i}.png", np.array(COLORS)[index])
        else:
            save(tmp_path / f"label/{i}.png", index, palette=kind == "palette")
    if kind != "indexed alone":
        (tmp_path / "classes.csv").write_text(TABLE)
    found = tt.data(tmp_path, split="all", index="label" if kind == "indexed alone" else None)
    data = posed(found, MapToPhoto())
    assert data.given == Images(3, SIDE, SIDE, levels=2)
    if kind == "indexed alone":
        assert data.task.classes == ("#05450a", "#4682c8", "#fafaa0")
    else:
        assert data.task.classes == NAMES and data.task.colors == COLORS
    batch = data.fetch(torch.arange(6), ItemNoise(0, range(6)))
    wanted = torch.from_numpy(
        photo_of(
            data.task.index(batch.given).numpy()
            if kind != "indexed alone"
            else np.array([1, 0, 2])[data.task.index(batch.given).numpy()]
        )
    )
    assert torch.equal(((batch.x + 1) * 127.5).round().long(), wanted.permute(0, 3, 1, 2))


def test_pixels_of_no_class_are_nothing_in_every_channel(city) -> None:
    data = posed(tt.data(city, split="all"), MapToPhoto())
    batch = data.fetch(torch.arange(3), ItemNoise(0, range(3)))
    assert (batch.given.grid[:, :, 0, 0] == -1).all()
    assert (data.task.index(batch.given)[:, 0, 0] == -1).all()
    assert not data.task.counted(batch.given)[:, 0, 0].any()
    without = posed(tt.data(city, split="all"), MapToPhoto(without="water, sand")).task
    assert torch.equal(without.counted(batch.given), without.index(batch.given) == 1)
    with pytest.raises(UsageError, match="without=lava: there is no such class; there are water, forest, sand"):
        posed(tt.data(city, split="all"), MapToPhoto(without="lava"))


def test_a_value_outside_the_table_is_named(city, tmp_path) -> None:
    for i in range(6):
        index = index_of(i)
        save(tmp_path / f"image/{i}.png", photo_of(index))
        index[3, 3] = 9 if i == 4 else 0
        save(tmp_path / f"label/{i}.png", index)
    (tmp_path / "classes.csv").write_text(TABLE)
    found = tt.data(tmp_path, split="all")
    assert len(found) == 5
    assert "label/4.png: it has the value 9, which is no class: there are 3 classes" in str(found.problems[0])
    with pytest.raises(DataError, match=r"label/4.png: it has the value 9"):
        tt.data(tmp_path, split="all", strict=True)


def test_colors_outside_the_table_are_named(tmp_path) -> None:
    for i in range(6):
        colors = np.array(COLORS)[index_of(i)]
        save(tmp_path / f"image/{i}.png", photo_of(index_of(i)))
        colors[0, 0] = (1, 2, 3) if i == 2 else COLORS[0]
        save(tmp_path / f"label/{i}.png", colors)
    (tmp_path / "classes.csv").write_text(TABLE)
    found = tt.data(tmp_path, split="all")
    assert len(
        found
    ) == 5 and "label/2.png: 1 of its colours are no class's, on 0% of the pixels, the first #010203" in str(
        found.problems[0]
    )


def test_photographs_of_maps_are_no_maps(tmp_path) -> None:
    for i in range(3):
        save(tmp_path / f"image/{i}.png", pair_of(i)[0])
        save(tmp_path / f"label/{i}.png", pair_of(i + 9)[0])
    with pytest.raises(DataError, match=r"the label maps of label have more than 64 colours by label/"):
        tt.data(tmp_path, split="all", index="label")
    with pytest.raises(
        UsageError,
        match="there is no label map beside x: index= with the name of its folder makes classes of the values",
    ):
        posed(tt.data(tmp_path, split="all"), MapToPhoto())


def test_maps_of_another_size_than_the_pictures_are_refused(tmp_path) -> None:
    for i in range(3):
        save(tmp_path / f"image/{i}.png", pair_of(i, 2 * SIDE)[0])
        save(tmp_path / f"label/{i}.png", index_of(i), palette=True)
    with pytest.raises(UsageError, match=r"maps are 16 x 16 .* and pictures 32 x 32.*size=32"):
        posed(tt.data(tmp_path, split="all"), MapToPhoto())


def test_data_of_other_classes_are_refused(city, tmp_path) -> None:
    task = posed(tt.data(city, split="all"), MapToPhoto()).task
    assert posed(tt.data(city, split="all"), task).task == task
    for i in range(6):
        save(tmp_path / f"image/{i}.png", photo_of(index_of(i)))
        save(tmp_path / f"label/{i}.png", index_of(i))
    (tmp_path / "classes.csv").write_text(TABLE.replace("forest", "snow"))
    with pytest.raises(UsageError, match="its maps have other classes: water, snow, sand; the run's are water, forest"):
        posed(tt.data(tmp_path, split="all"), task)


def test_what_is_beside_the_map_is_shown_too(city) -> None:
    maps = np.stack([index_of(i) for i in range(6)])
    with pytest.raises(UsageError, match="beside=height: there is no such column; there is none"):
        posed(tt.data(city, split="all"), MapToPhoto(beside="height"))
    columns = {"x": Images(3, 8, 8), "map": Images(3, 8, 8, levels=2), "height": Images(1, 8, 8)}
    task = MapToPhoto(map="map", beside="height", classes=NAMES, colors=COLORS)
    assert task.spaces(columns)[1] == Images(4, 8, 8)
    grid = torch.from_numpy(maps).long()
    one_hot = (2 * torch.nn.functional.one_hot(grid, 3) - 1).movedim(-1, 1).float()
    height = torch.rand(6, 1, SIDE, SIDE)
    _, given = task.pose({"x": torch.zeros(6, 3, SIDE, SIDE), "map": one_hot, "height": height}, ItemNoise(0, range(6)))
    assert torch.equal(given.grid[:, 3:], height) and torch.equal(task.index(given), grid)


def test_the_mean_of_the_class_is_right_where_classes_are_colors(city) -> None:
    data = posed(tt.data(city, split="all"), MapToPhoto())
    batch = data.fetch(torch.arange(8), ItemNoise(0, range(8)))
    rivals = data.task.rivals(data)
    drawn = rivals["mean of the class"](batch.given, data.x)
    assert (drawn - batch.x)[..., 1:, :].abs().max() < 1e-4
    (psnr, ssim) = data.task.measure(drawn, batch.x, batch.given)
    assert psnr.name == "PSNR" and psnr.value > 100 and ssim.value > 0.9
    flat = data.task.measure(rivals["mean colour"](batch.given, data.x), batch.x, batch.given)[0]
    assert flat.value < 15


def test_a_segmenter_is_right_about_what_it_is_right_about() -> None:
    t = torch.tensor([[[0, 0, 1, -1]]])
    net = torch.nn.Identity()
    scores = torch.nn.functional.one_hot(torch.tensor([[[0, 1, 1, 1]]]), 2).movedim(-1, 1).float()
    assert segmented(net, scores, t) == Segmented(accuracy=2 / 3, miou=pytest.approx(0.5))


@pytest.fixture(scope="module")
def drawn(city, tmp_path_factory, cli) -> Path:
    out = tmp_path_factory.mktemp("runs") / "city"
    words = ["map-to-photo", "without=water", "--model", "oasis-tiny", "--data", city, "--crop", SIDE]
    done = cli("train", *words, "--out", out, "--steps", 2, "--batch", 4)
    assert done.code == 0, done.err
    assert "classes, of labels (255: none, on 0.4% of the pixels):" in done.err
    assert "#05450a" in done.err and "forest" in done.err
    about = json.loads((out / "config.json").read_text())
    assert about["config"]["classes"] == 3 and about["task"]["classes"] == list(NAMES)
    assert {"classes.png", "classes.gpl"} <= {p.name for p in out.iterdir()}
    return out


def test_one_map_gives_many_pictures(drawn, city, tmp_path, cli) -> None:
    index = np.tile(index_of(3), (2, 3))[:, :45]
    save(tmp_path / "map.png", index, palette=True)
    words = ["--picture", tmp_path / "map.png", "--out", tmp_path / "out.png", "--seeds", "0-2"]
    done = cli("apply", drawn, *words, "--sheet", tmp_path / "s.png")
    assert done.code == 0, done.err
    made = []
    for seed in range(3):
        with Image.open(tmp_path / f"out-{seed}.png") as image:
            assert image.size == (45, 32)
            made.append(np.asarray(image))
    assert not np.array_equal(made[0], made[1])
    for form in (index, np.array(COLORS, np.uint8)[index], Image.fromarray(np.array(COLORS, np.uint8)[index])):
        assert np.array_equal(tt.apply(drawn, picture=form, seed=1).pixels, made[1])


def test_maps_of_other_classes_are_refused_by_name(drawn, tmp_path, cli) -> None:
    save(tmp_path / "high.png", np.full((16, 16), 7))
    save(tmp_path / "red.png", np.full((16, 16, 3), 200))
    Image.new("RGBA", (16, 16)).save(tmp_path / "map.webp", lossless=True)
    for name, words in (
        ("high", "high.png: it has the value 7, which is no class: there are 3 classes: 0 water"),
        ("red", "red.png: 1 of its colours are no class's, on 100% of the pixels, the first #c8c8c8"),
    ):
        done = cli("apply", drawn, "--picture", tmp_path / f"{name}.png", "--out", tmp_path / "out.png")
        assert done.code == 2 and words in done.err, done.err
    with pytest.raises(UsageError, match="this model takes a map alone"):
        tt.apply(drawn, picture=index_of(0), beside=index_of(0))


def test_an_editor_may_sort_the_palette(drawn) -> None:
    index = index_of(2)
    swapped = Image.fromarray(np.array([2, 0, 1], np.uint8)[index])
    swapped.putpalette([level for k in (1, 2, 0) for level in COLORS[k]])
    assert np.array_equal(tt.apply(drawn, picture=swapped).pixels, tt.apply(drawn, picture=index).pixels)


def test_a_map_is_measured(drawn, cli, monkeypatch) -> None:
    monkeypatch.setattr(map_to_photo, "SEEDS", 2)
    monkeypatch.setattr("triptych.metrics.segmenter.STEPS", 30)
    done = cli("evaluate", drawn, "-n", 50, "--features", "pixels", "--json")
    assert done.code == 0, done.err
    found = {m["name"]: m for m in json.loads(done.out)["measurements"]}
    assert set(found) == {
        "PSNR without water", "SSIM", "PSNR of the mean of 2 without water", "diversity", "segmenter's accuracy",
        "segmenter's mIoU",
    }  # fmt: skip
    assert {"mean colour", "mean of the class"} <= set(found["PSNR without water"]["baselines"])
    assert found["segmenter's accuracy"]["floor"] > found["segmenter's accuracy"]["value"]
    assert found["diversity"]["value"] > 0


# Edges


def test_edges_are_where_brightness_changes() -> None:
    x = -torch.ones(1, 1, 8, 8)
    x[..., 4:] = 1
    drawn = edges(x, 0.15)
    assert (drawn[..., 3:5] == 1).all() and (drawn[..., :3] == -1).all() and (drawn[..., 5:] == -1).all()
    assert (edges(torch.full((2, 3, 8, 8), 0.4), 0.01) == -1).all()
    faint = edges(0.1 * x, 0.15)
    assert (faint == -1).all()


def test_a_drawing_is_taken_as_it_is_and_a_picture_is_drawn() -> None:
    data = posed(tt.data(np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8), split="all"), Edges())
    assert data.given == Images(1, 16, 16, levels=2)
    model = tt.create("pix2pix-tiny", x=data.x, given=data.given)
    lines = np.full((16, 16), 255, np.uint8)
    lines[4] = 0
    asked = Edges().ask(model, picture=lines, drawing=True)
    assert (
        isinstance(asked.given, Picture)
        and (asked.given.grid[0, 0, 4] == 1).all()
        and asked.given.grid.sum() == 2 * 16 - 256
    )
    assert torch.equal(Edges().ask(model, picture=255 - lines, drawing=True).given.grid, asked.given.grid)
    assert (Edges().ask(model, picture=lines).given.grid[0, 0, 4] == -1).all()  # a line has edges above and below


def test_the_class_of_a_drawing_is_kept_or_not(tmp_path, cli) -> None:
    random = np.random.default_rng(0)
    for i in range(120):
        pixels = random.integers(0, 40, (16, 16))
        pixels[:, 4:9] += 200 * (i % 2)
        pixels[4:9] += 200 * (1 - i % 2)
        save(tmp_path / f"data/{'rows' if i % 2 else 'columns'}/{i}.png", pixels)
    words = ["edges", "--model", "pix2pix-tiny", "--data", tmp_path / "data", "--size", 16]
    done = cli("train", *words, "--out", tmp_path / "run", "--steps", 2, "--batch", 8)
    assert done.code == 0, done.err
    done = cli("evaluate", tmp_path / "run", "-n", 50, "--features", "pixels", "--json")
    assert done.code == 0, done.err
    found = {m["name"]: m for m in json.loads(done.out)["measurements"]}
    assert found["class kept"]["floor"] > 0.9 and set(found["class kept"]["baselines"]) == {"copy"}


def test_table_of_fills_in_what_is_not_known() -> None:
    table = table_of(3, ((1, 2, 3),), ("a",))
    assert table.names == ("a", "1", "2") and table.colors[0] == (1, 2, 3) and len(set(table.colors)) == 3
