"""What a model is told and what data have: where they differ, a line says both, and what would bring them together."""

import csv

import numpy as np
import pytest
from PIL import Image

import triptych as tt
from triptych.core import ItemNoise, UsageError
from triptych.data import check_fits
from triptych.data.telling import unlike
from triptych.tasks.inpainting import Inpainting
from triptych.tasks.task import posed
from triptych.verbs.create import create_for

COLUMNS = {
    "none": {},
    "classes": {"label": ("cat", "dog")},
    "materials": {"material": ("wood", "tin"), "tone": ("dark", "light"), "split": ("train", "test")},
    "captions": {"text": ("a red thing", "a blue thing")},
    "named": {"text": ("a red thing", "a blue thing"), "material": ("wood", "tin")},
    "ages": {"age": (20, 30, 40)},
    "pairs": {"map_file": ()},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Pictures with each of these columns beside them."""
    base, cells = tmp_path_factory.mktemp("told"), ItemNoise(0, range(24)).uniform(3, 32, 32).mul(255).byte().numpy()
    for name, columns in COLUMNS.items():
        (base / name).mkdir()
        rows = []
        for i in range(24):
            Image.fromarray(np.moveaxis(cells[i], 0, 2)).save(base / name / f"{i}.png")
            row = {column: values[i % len(values)] if values else f"{23 - i}.png" for column, values in columns.items()}
            rows.append({"file_name": f"{i}.png", **row})
        if columns:
            with (base / name / "metadata.csv").open("w", newline="") as file:
                table = csv.DictWriter(file, list(rows[0]))
                table.writeheader()
                table.writerows(rows)
    return base


CLASSES = "classes come from sub-folders, from a label column of metadata.csv, or from y in a .npz"
CAPTIONS = "captions come from a text column of metadata.csv or metadata.jsonl, or from a text file beside each"
TASK = "which a task makes of data: triptych train TASK --model pix2pix --data ..., where TASK is translation"
UNLIKE = [
    (
        "none",
        None,
        "acgan",
        f"told classes; DATA has nothing beside x: {CLASSES}; or gan, dcgan or lapgan can do without",
    ),
    ("none", None, "df-gan", f"told captions or classes; DATA has nothing beside x: {CAPTIONS}; or gan, "),
    ("none", "none", "acgan", f"told classes; DATA has nothing beside x: {CLASSES}"),
    ("classes", "none", "acgan", 'told classes; DATA has classes: open the data with condition="label"'),
    (
        "classes",
        None,
        "df-gan-32",
        f"told captions; DATA has classes: {CAPTIONS}; or cgan, lapgan or acgan can be told cla",
    ),
    (
        "materials",
        None,
        "acgan",
        'has classes (material, tone): open the data with condition="material" or condition="tone"',
    ),
    ("materials", None, "df-gan-32", f"told captions; DATA has classes (material, tone): {CAPTIONS}; or cgan, "),
    (
        "captions",
        None,
        "acgan",
        f"told classes; DATA has captions: {CLASSES}; or df-gan, r3gan or maskgit can be told capt",
    ),
    ("captions", None, "cvae", f"told classes or numbers; DATA has captions: {CLASSES}; or df-gan, "),
    (
        "captions",
        None,
        "df-gan-32",
        "df-gan is made as the data are; or a task fits one to the other: triptych train text-to-",
    ),
    ("captions", None, "pix2pix", f"pix2pix is told pictures, {TASK}"),
    (
        "named",
        None,
        "acgan",
        'has captions and classes (material): open the data with condition="material"; or df-gan, ',
    ),
    (
        "named",
        "material",
        "df-gan-32",
        'told captions; DATA has captions and classes (material): open the data with condition="cap',
    ),
    ("ages", None, "acgan", f"told classes; DATA has numbers (age): {CLASSES}; or cvae can be told numbers"),
    ("ages", None, "cvae", 'told classes or numbers; DATA has numbers (age): open the data with condition="age"'),
    ("pairs", None, "acgan", f"told classes; DATA has pictures (map): {CLASSES}; or pix2pix, "),
    ("pairs", None, "pix2pix", f"pix2pix is told pictures, {TASK}"),
]


@pytest.mark.parametrize(("kind", "condition", "model", "words"), UNLIKE)
def test_a_model_that_is_told_something_else(folders, kind, condition, model, words) -> None:
    data = tt.data(folders / kind, condition=condition, split="all")
    with pytest.raises(UsageError) as caught:
        create_for(model, data, [])
    said = str(caught.value)
    assert words.replace("DATA", data.name) in said and said.startswith(f"{model} is ")
    assert "\n" not in said and "'words'" not in said and "split" not in said


@pytest.mark.parametrize(
    ("kind", "condition", "model"),
    [
        ("classes", None, "acgan"),
        ("classes", None, "df-gan"),
        ("materials", "tone", "acgan"),
        ("named", "material", "acgan"),
        ("captions", None, "df-gan"),
        ("ages", "age", "cvae"),
        ("pairs", None, "dcgan"),
        ("captions", None, "gan"),
    ],
)
def test_what_a_line_says_to_do_helps(folders, kind, condition, model) -> None:
    data = tt.data(folders / kind, condition=condition, split="all")
    small = {"acgan": ["latent=4", "width=2"], "df-gan": ["width=4"], "dcgan": ["width=4"]}.get(model, [])
    check_fits(data, create_for(model, data, small).config, training=True)


def test_a_trained_model_on_other_data(folders) -> None:
    one = create_for("acgan", tt.data(folders / "classes"), ["latent=4", "width=2"])
    with pytest.raises(UsageError, match=r"the model is told classes; .* has captions: classes come from"):
        check_fits(tt.data(folders / "captions"), one.config)
    with pytest.raises(UsageError, match=r'has captions and classes .*: open the data with condition="material"$'):
        check_fits(tt.data(folders / "named"), one.config)


def test_a_task_that_tells_something_else(folders) -> None:
    data = posed(tt.data(folders / "none"), Inpainting())
    with pytest.raises(
        UsageError, match=r"acgan is told classes, and inpainting tells pictures: .* can be told pictures"
    ):
        create_for("acgan", data, [])


def test_data_that_only_serve_a_condition(folders) -> None:
    class Bare:
        name, x, given = "bare", tt.Images(3, 32, 32), tt.Tokens(5, 3)

    assert unlike("it", ["classes"], Bare()) == f"it is told classes; bare has captions: {CLASSES}"


def test_on_the_command_line_in_its_words(folders, tmp_path, cli) -> None:
    for kind, model, words in (
        ("materials", "acgan", "open the data with --condition material or --condition tone"),
        ("captions", "biggan-small", "biggan-small is told classes; captions:train has captions: classes come from"),
    ):
        done = cli("train", model, "--data", folders / kind, "--out", tmp_path / "run", "--steps", 1)
        assert done.code == 2 and words in done.err and "Traceback" not in done.err
