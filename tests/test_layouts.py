"""Layouts of well-known sets, and columns of values: what the names and lists of a source say of each row."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import ItemNoise, Labels, PartialLabels, Points
from triptych.data import pack
from triptych.data.values import valued
from triptych.verbs.contact import contact_sheet
from triptych.verbs.inspect import inspect


def picture(path: Path, grey: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), (grey, 20, 30), np.uint8)).save(path)


def gathered(data, *names: str):
    rows = torch.arange(len(data))
    found = data.gather(rows, ItemNoise(0, range(len(data))))
    return [found[name] for name in names]


def greys(data) -> list[int]:
    (x,) = gathered(data, "x")
    return data.x.nearest(x)[:, 0, 0, 0].tolist()


def test_utkface(tmp_path) -> None:
    for i, (age, gender, race) in enumerate([(3, 0, 4), (40, 1, 0), (97, 1, 2), (20, 0, 1)]):
        picture(tmp_path / f"{age}_{gender}_{race}_2017010917430{i}.jpg.chip.jpg", 60 * i)
    data = tt.data(tmp_path, split="all")
    assert data.columns["age"] == Points(1)
    assert data.columns["gender"] == Labels(2) and data.columns["gender"].names == ("male", "female")
    assert data.columns["race"].names == ("White", "Black", "Asian", "Indian", "other")
    age, gender, race = gathered(data, "age", "gender", "race")
    assert sorted(zip(age[:, 0].tolist(), gender.tolist(), race.tolist(), strict=True)) == [
        (3, 0, 4),
        (20, 0, 1),
        (40, 1, 0),
        (97, 1, 2),
    ]
    assert age.dtype == torch.float32 and gender.dtype == torch.int64
    data.columns["age"].check(age)
    again = tt.data(tmp_path, split="all")  # from the cache
    assert torch.equal(gathered(again, "age")[0], age) and again.fingerprint == data.fingerprint
    sheet = contact_sheet(data, 2)
    assert sheet.width > 8
    assert inspect(data)["columns"]["age"]["count"] == 4


def test_values_stay_with_crops_and_packed_folders(tmp_path) -> None:
    for i, age in enumerate((3, 40, 97)):
        picture(tmp_path / "in" / f"{age}_1_0_2017010917430{i}.jpg", age, (16, 24))
    (tmp_path / "in" / "3_1_0_20170109174300.txt").write_text("a child\n")
    for age in (40, 97):
        (tmp_path / "in" / f"{age}_1_0_2017010917430{(40, 97).index(age) + 1}.txt").write_text("a person\n")
    crops = tt.data(tmp_path / "in", split="all", crop=8)
    assert {"x", "caption", "age", "gender"} <= crops.columns.keys() and crops.given is None
    age, x = gathered(crops, "age", "x")
    seen = crops.x.nearest(x)[:, 0, 0, 0].float()
    assert len(crops) == 18 and (seen - age[:, 0]).abs().max() <= 2  # JPEG
    assert contact_sheet(crops, 2).width > 8
    packed = pack(tmp_path / "in", tmp_path / "packed")
    assert gathered(tt.data(tmp_path / "packed", split="all"), "age")[0].sum() == 140
    assert packed.columns["age"] == Points(1)


def test_celeba(tmp_path) -> None:
    for i in range(1, 5):
        picture(tmp_path / "img_align_celeba" / f"00000{i}.jpg", 50 * i)
    lines = ["4", "5_o_Clock_Shadow Smiling", *(f"00000{i}.jpg {'-1' if i % 2 else ' 1'}  1" for i in range(1, 5))]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "list_eval_partition.txt").write_text("".join(f"00000{i}.jpg {(i - 1) // 2}\n" for i in range(1, 5)))
    data = tt.data(tmp_path)
    assert len(data) == 2 and len(tt.data(tmp_path, split="validation")) == 2
    shadow, smiling = gathered(data, "5_o_Clock_Shadow", "Smiling")
    assert shadow.tolist() == [0, 1] and smiling.tolist() == [1, 1]
    assert data.columns["Smiling"].names == ("no", "yes")


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_celeba_as_it_is_passed_on(tmp_path, ending) -> None:
    picture(tmp_path / "a" / "1.jpg")
    picture(tmp_path / "a" / "2.jpg")
    comma = "," if ending == "csv" else " "
    head = f"image_id{comma}Smiling" if ending == "csv" else "Smiling"
    (tmp_path / f"list_attr_celeba.{ending}").write_text(f"{head}\n1.jpg{comma}-1\n2.jpg{comma}1\n")
    assert sorted(gathered(tt.data(tmp_path, split="all"), "Smiling")[0].tolist()) == [0, 1]


def speech(path: Path, seconds: float = 0.01) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x10\x00\xf0" * int(4000 * seconds))  # audible: silence would be remarked on
    path.write_bytes(out.getvalue())


def test_ljspeech_and_piper(tmp_path) -> None:
    said = {"LJ001-0001": "Printing, in 1 sense|Printing, in one sense", "LJ001-0002": "in being 2|in being two"}
    (tmp_path / "lj").mkdir()
    for name in (*said, "LJ001-0003"):
        speech(tmp_path / "lj" / "wavs" / f"{name}.wav")
    (tmp_path / "lj" / "metadata.csv").write_text("".join(f"{k}|{v}\n" for k, v in said.items()))
    data = tt.data(tmp_path / "lj", split="all")
    assert sorted(data.captions) == ["Printing, in one sense", "in being two"] and data.classes is None
    assert [p.file for p in data.problems] == ["wavs/LJ001-0003.wav"]
    rows = [("a", "ann", "hello there"), ("b", "ann", "good day"), ("c", "bob", "no"), ("d", "bob", 'yes: "so"')]
    for name, _, _ in rows:
        speech(tmp_path / "piper" / "wav" / f"{name}.wav")
    (tmp_path / "piper" / "metadata.csv").write_text("".join("|".join(row) + "\n" for row in rows))
    data = tt.data(tmp_path / "piper", split="all")
    assert data.classes == ["ann", "bob"] and sorted(data.captions) == sorted(text for _, _, text in rows)
    assert {"label", "caption"} <= data.columns.keys()


def test_div2k(tmp_path) -> None:
    for split, names in (("train", ("0001", "0002")), ("valid", ("0801",))):
        for name in names:
            picture(tmp_path / f"DIV2K_{split}_HR" / f"{name}.png", int(name) % 200, (16, 16))
            picture(tmp_path / f"DIV2K_{split}_LR_bicubic" / "X2" / f"{name}x2.png", int(name) % 200, (8, 8))
    data = tt.data(tmp_path, crop=8)
    assert data.columns["LR"] == tt.Images(3, 4, 4) and len(data.pictures) == 2
    x, low = gathered(data, "x", "LR")
    assert torch.equal(x[:, 0, 0, 0], low[:, 0, 0, 0])
    assert len(tt.data(tmp_path, crop=8, split="test").pictures) == 1


def test_two_kinds_that_are_not_paired(tmp_path) -> None:
    for split, kind, name, grey in (
        ("train", "A", "1", 10),
        ("train", "A", "2", 20),
        ("train", "B", "9", 200),
        ("test", "A", "3", 30),
        ("test", "B", "8", 210),
    ):
        picture(tmp_path / f"{split}{kind}" / f"{name}.png", grey)
    assert greys(tt.data(tmp_path, x="A")) == [10, 20] and greys(tt.data(tmp_path, x="B", split="test")) == [210]
    both = tt.unpaired(tmp_path)
    assert greys(both.a) == [10, 20] and greys(both.b) == [200]
    assert greys(both.held_out().a) == [30] and greys(both.held_out().b) == [210]


def test_spade_folders_with_palettes(tmp_path) -> None:
    for split, name in (("training", "1"), ("training", "2"), ("validation", "3")):
        picture(tmp_path / "images" / split / f"{name}.jpg", 50)
        (tmp_path / "annotations" / split).mkdir(parents=True, exist_ok=True)
        index = np.zeros((8, 8), np.uint8)
        index[:4], index[0] = 2, 255
        mode = Image.fromarray(index).convert("P")
        mode.putdata(index.flatten().tolist())
        mode.save(tmp_path / "annotations" / split / f"{name}.png")
    (tmp_path / "classes.csv").write_text("number,name\n0,sky\n1,tree\n2,road\n")
    data = tt.data(tmp_path)
    column = data.maps["annotations"]
    assert column.space == tt.Images(3, 8, 8, levels=2) and column.table.names == ("sky", "tree", "road")
    assert not any("not used" in note for note in data.pack.meta.notes)


def test_classes_csv_names_folders_and_idx(tmp_path) -> None:
    for k in range(12):
        picture(tmp_path / "in" / str(k) / "a.png", 10 * k)
    names = [f"kind {chr(97 + k)}" for k in range(12)]
    (tmp_path / "in" / "classes.csv").write_text("number,name\n" + "".join(f"{k},{n}\n" for k, n in enumerate(names)))
    data = tt.data(tmp_path / "in", split="all")
    assert data.classes == names
    (y,) = gathered(data, "label")
    assert [10 * k for k in y.tolist()] == greys(data)
    (tmp_path / "in" / "classes.csv").write_text("number,name\n0,one\n")
    assert tt.data(tmp_path / "in", split="all").classes == [str(k) for k in range(12)]


def test_tables_bring_columns_of_values(tmp_path) -> None:
    for i in range(6):
        picture(tmp_path / f"{i}.png", 10 * i)
    kinds = ["oil", "oil", "ink", "ink", "oil", ""]
    rows = [f"{i}.png,{1900 + i},{kinds[i]},{'' if i else 3},note {i}" for i in range(6)]
    (tmp_path / "metadata.csv").write_text("file_name,year,kind,sparse,remark\n" + "\n".join(rows) + "\n")
    data = tt.data(tmp_path, split="all")
    assert data.columns["year"] == Points(1)
    assert data.columns["kind"] == PartialLabels(2) and data.columns["kind"].names == ("ink", "oil")
    year, kind = gathered(data, "year", "kind")
    assert sorted(year[:, 0].tolist()) == [1900, 1901, 1902, 1903, 1904, 1905]
    called = [("ink", "oil", "")[k] for k in kind.tolist()]
    assert called == [kinds[int(v) - 1900] for v in year[:, 0]]
    said = " ".join(data.pack.meta.notes)
    assert "sparse (most rows have none)" in said and "remark (6 different words in 6 rows)" in said


def test_values_are_numbers_or_classes() -> None:
    rows = [{"n": "1.5", "k": "a"}, {"n": "-2", "k": "b"}, {"n": "1e3", "k": "a"}, {"n": "nan", "k": "b"}]
    found, notes = valued(rows[:3], {})
    assert found["n"][0] == Points(1) and found["n"][1][:, 0].tolist() == [1.5, -2, 1000] and not notes
    found, notes = valued(rows, {})
    assert found["n"][0].kind == "labels" or "n (" in notes[0]  # not a number: never one that is not finite
    assert valued([{"label": "3"}], {})[0] == {}


def test_other_files_are_laid_out_as_those_of_the_run(tmp_path, cli) -> None:
    """What a run knows of --halves and --x is not asked again of another folder; a person's own word comes first."""
    random = np.random.default_rng(0)
    for folder in ("mine", "other"):
        (tmp_path / folder).mkdir()
        for i in range(12):
            Image.fromarray(random.integers(0, 256, (8, 16), dtype=np.uint8)).save(tmp_path / folder / f"{i}.png")
    run = tmp_path / "run"
    words = ["pixelcnn", "--data", tmp_path / "mine", "--halves", "A|B", "--x", "B", "--out", run]
    done = cli("train", *words, "--steps", 2, "--batch", 2, "width=8", "blocks=1", "head=8")
    assert done.code == 0, done.err
    assert tt.load(run).config.x == tt.Images(1, 8, 8)
    done = cli("score", run, "--data", tmp_path / "other", "--json")
    assert done.code == 0, done.err
    assert "the left half of each picture is A" in done.err
    own = cli("score", run, "--data", tmp_path / "other", "--halves", "left|right", "--x", "left")
    assert own.code == 0 and "is left, the right one" in own.err, own.err


def test_pictures_come_before_values_of_their_name(tmp_path) -> None:
    for i in range(3):
        picture(tmp_path / "x" / f"{i}.png", 10 * i)
        picture(tmp_path / "height" / f"{i}.png", 100)
    rows = "".join(f"x/{i}.png,height/{i}.png,{i},{i}\n" for i in range(3))
    (tmp_path / "metadata.csv").write_text(f"file_name,height_file,height,width\n{rows}")
    data = tt.data(tmp_path, split="all")
    assert data.columns["height"].planar and data.columns["width"] == Points(1)
    assert "height" not in data.pack.meta.values and "values of that name" in " ".join(data.pack.meta.notes)


def test_a_sheet_of_pictures_alone_has_many_side_by_side(tmp_path) -> None:
    for k in range(30):
        picture(tmp_path / f"{k}.png", 8 * k)
    sheet = contact_sheet(tt.data(tmp_path, split="all"))
    assert sheet.width > 6 * 128 and sheet.height < 4 * 128 + 40
