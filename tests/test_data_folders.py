"""Folders as people have them: words for splits, what lies beside, captions and labels together, classes by name."""

import itertools
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triptych.core import DataError
from triptych.data import Dataset, data, decoding
from triptych.data.folders import natural
from triptych.data.splits import said, taken
from triptych.media import reading
from triptych.media.images import Decoded, decode


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(path))
    return path


def images(folder: Path, *names: str) -> Path:
    """A grey image each, of a shade of its own."""
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), shade).save(folder / name)
    return folder


def layout(*parts: list[str], n: int = 3) -> list[str]:
    return ["/".join(place) + f"/{i}.png" for place in itertools.product(*parts) for i in range(n)]


def counts(folder: Path) -> dict[str, int]:
    found = data(folder, split="all")
    return {split: stop - start for split, (start, stop) in found.pack.meta.splits.items()}


def reasons(d: Dataset) -> dict[str, str]:
    return {p.file: p.reason for p in d.problems}


# Splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "TRAINING", "trn", "train2017", "train_images", "images-train", "TrainSet")
        ),
        *((name, "validation") for name in ("val", "valid", "dev", "Devel", "validation set")),
        *((name, "test") for name in ("test", "eval", "Evaluation", "hold-out", "held_out", "t10k")),
        *((name, None) for name in ("contest", "testament", "trains", "devil", "train_test", "猫")),
    ],
)
def test_words_for_splits(name: str, split: str | None) -> None:
    what = said(name)
    assert (what and what.split) == split and (what is None or what.kind == "")


def test_names_are_splits_only_where_they_make_sense_together() -> None:
    assert not taken(["train_station", "test_tube", "bus"]) and not taken(["train", "bus"]) and not taken(["dev"])
    assert not taken(["val", "test", "cats"]) and len(taken(["val", "test"])) == 2
    assert set(taken(["pets_train", "pets_test", "cover"])) == {"pets_train", "pets_test"}


@pytest.mark.parametrize("words", [("train", "dev"), ("train", "eval"), ("Training", "VALID"), ("trn", "hold-out")])
@pytest.mark.parametrize(
    "place", ["{}/{}/{}", "pets/{}/{}/{}", "images/{}_images/{}/{}", "{}2017/{}/{}", "{}/images/{}/{}"], ids=str
)
def test_split_folders_of_any_common_name(tmp_path: Path, words: tuple[str, str], place: str) -> None:
    parts = itertools.product(words, ("cats", "dogs"), ("0.png", "1.png", "2.png"))
    images(tmp_path, *(place.format(*part) for part in parts))
    found = data(tmp_path)
    assert found.classes == ["cats", "dogs"] and list(counts(tmp_path).values()) == [6, 6] and not found.problems
    assert len(data(tmp_path, split="test")) == 6


def test_splits_inside_of_classes_and_classes_in_the_names_of_splits(tmp_path: Path) -> None:
    images(tmp_path / "a", *layout(["cats", "dogs"], ["train", "test"]))
    images(tmp_path / "b", *layout(["trainA", "trainB", "testA", "testB"]))
    assert data(tmp_path / "a").classes == ["cats", "dogs"] and counts(tmp_path / "a") == {"train": 6, "test": 6}
    assert data(tmp_path / "b").classes == ["A", "B"] and counts(tmp_path / "b") == {"train": 6, "test": 6}


def test_a_class_that_is_called_like_a_split_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images(tmp_path, *layout(["train", "bus", "car"]))
    assert data(tmp_path).classes == ["bus", "car", "train"]
    assert '"train": taken for a class' in caplog.text
    data(tmp_path)
    assert caplog.text.count("taken for a class") == 1


def test_folders_that_are_one_split_together_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images(tmp_path, *layout(["train", "val", "dev"]))
    assert counts(tmp_path) == {"train": 3, "validation": 6}
    assert '"dev" and "val" together are the validation part' in caplog.text


@pytest.mark.parametrize("stray", ["cover.png", "pets/cover.png"])
@pytest.mark.parametrize("splits", [["train", "test"], ["."]], ids=["splits", "classes"])
def test_a_stray_picture_costs_neither_classes_nor_splits(tmp_path: Path, stray: str, splits: list[str]) -> None:
    images(tmp_path, *layout(["pets"], splits, ["cats", "dogs"], n=6))
    whole = data(tmp_path)
    images(tmp_path, stray)
    found = data(tmp_path)
    assert found.classes == ["cats", "dogs"] and len(found) == len(whole) and list(reasons(found)) == [stray]
    assert found.fingerprint == whole.fingerprint  # and what is held out stays the same


def test_what_lies_beside_a_mere_wrapping_folder_is_kept(tmp_path: Path) -> None:
    found = data(images(tmp_path, "cover.png", *layout(["photos"], n=9)), split="all")
    assert len(found) == 10 and not found.problems and found.classes is None


@pytest.mark.parametrize("names", [("moby", "emma", "a-test-of-wills"), ("emma", "train"), ("test", "emma")])
def test_titles_of_texts_are_no_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / f"{name}.txt").write_text("it was the best of times. " * 20)
    found = data(tmp_path, split="all", length=8)
    assert list(found.pack.meta.splits) == ["train", "test"] and found.pack.meta.splits["train"][1] > 400 * len(names)
    assert len(data(tmp_path / f"{names[-1]}.txt", length=8)) > 400


# Memory


def test_large_pictures_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path, *(f"{i:02}.png" for i in range(12)))
    whole = data(tmp_path, split="all")
    now, most, lock = 0, 0, threading.Lock()

    def watched(content: bytes, *options: object) -> Decoded:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return decode(content, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "decode", watched)
    monkeypatch.setattr(decoding, "MEMORY", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    found = data(tmp_path, split="all", cache=tmp_path / "again")
    assert most == 1 and found.fingerprint == whole.fingerprint


# Classes


def test_class_numbers_are_a_function_of_the_names(tmp_path: Path) -> None:
    names = ["001", "01", "1", "2", "10", "a", "b", "ⅱ", "①"]
    for order in itertools.islice(itertools.permutations(names), 0, 5000, 97):
        assert sorted(order, key=natural) == names
    assert data(images(tmp_path, *layout(["1", "01"]))).classes == ["01", "1"]


# Captions and labels


def rows(path: Path, *lines: dict[str, object]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_captions_beside_images(tmp_path: Path) -> None:
    images(tmp_path, *layout(["a"], n=6))
    for i in range(6):
        (tmp_path / "a" / f"{i}.txt").write_text(f"number {i},\nof six\n")
    found = data(tmp_path, split="all")
    shade = found.stored[:, 0, 0, 0].tolist()
    assert found.captions == [f"number {i}, of six" for i in shade] and not found.problems
    (tmp_path / "a" / "2.txt").write_text(" ")
    found = data(tmp_path, split="all")
    assert (
        len(found) == 5 and "empty" in reasons(found)["a/2.txt"] and "no caption beside it" in reasons(found)["a/2.png"]
    )


def test_text_files_of_numbers_are_no_captions_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images(tmp_path, *layout(["a"], n=3))
    for i in range(3):
        (tmp_path / "a" / f"{i}.txt").write_text("0 0.5 0.5 0.1 0.25\n")
    found = data(tmp_path, split="all")
    assert len(found) == 3 and found.captions is None and "nothing but numbers" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Metadata.csv", "file_name,label\n"),
        ("METADATA.CSV", "File_Name,Label\n"),
        ("metadata.csv", "file_name;label\n"),
        ("metadata.tsv", "file_name\tlabel\n"),
        ("metadata.csv", "\ufefffilename, class\n"),
    ],
)
def test_tables_of_any_spelling(tmp_path: Path, name: str, text: str) -> None:
    images(tmp_path, *layout(["."], n=6))
    between = next(c for c in ";\t," if c in text)
    lines = text + "".join(f"{i}.png{between}{'ab'[i % 2]}\n" for i in range(6))
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / name).write_bytes(lines.encode(encoding))
        found = data(tmp_path, split="all")
        assert found.classes == ["a", "b"] and len(found) == 6 and not found.problems
        assert np.array_equal(found.labels, found.stored[:, 0, 0, 0] % 2)


def test_a_table_that_is_not_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images(tmp_path, *layout(["."]))
    (tmp_path / "labels.csv").write_text("id,label\n0,1\n")
    assert data(tmp_path).classes is None
    assert "labels.csv: not used" in caplog.text and "metadata.csv" in caplog.text


def test_tables_in_other_encodings_say_what_to_do(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_bytes("file_name,text\na.png,x\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"UTF-16LE without a byte order mark.*iconv -f UTF-16LE -t UTF-8"):
        data(tmp_path)
