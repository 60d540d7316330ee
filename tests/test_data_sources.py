"""Sources of every kind, with every fault we could think of: nothing silent, one clear sentence."""

import gzip
import io
import json
import lzma
import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.core import DataError, Images, IntegrityError, ItemNoise, Label, Labels, Points, Text, UsageError
from triptych.data import Dataset, data
from triptych.data.splits import held_out

random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(path))
    return path


def image(path: Path, color: Any = (200, 10, 10), size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)
    return path


def batch(d: Dataset) -> Any:
    return d.fetch(torch.arange(len(d)), ItemNoise(0, range(len(d))))


def reasons(d: Dataset) -> dict[str, str]:
    return {p.file: p.reason for p in d.problems}


# --- folders of images


def test_class_folders(tmp_path: Path) -> None:
    for i in range(30):
        image(tmp_path / "cats" / f"{i}.png", i)
        image(tmp_path / "dogs" / f"{i}.png", 100 + i)
    train, test, everything = (data(tmp_path, split=s) for s in ("train", "test", "all"))
    assert train.classes == ["cats", "dogs"] and train.given == Labels(2) and train.x == Images(1, 8, 8)
    assert len(train) + len(test) == len(everything) == 60 and len(test) >= 1
    got = batch(everything)
    assert isinstance(got.given, Label)
    level = everything.x.index(got.x)[:, 0, 0, 0]
    assert torch.equal(got.given.y, (level >= 100).long())
    assert sorted(level.tolist()) == [*range(30), *range(100, 130)]
    assert torch.equal(everything.labels, got.given.y) and everything.stored.shape == (60, 1, 8, 8)
    assert not set(train.stored[:, 0, 0, 0].tolist()) & set(test.stored[:, 0, 0, 0].tolist())
    assert train.problems == []


def test_the_held_out_part_does_not_move_when_files_are_added(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(500)]
    held = held_out(names)
    assert 30 <= held.sum() <= 70
    assert np.array_equal(held_out(names[:300]), held[:300])
    assert held_out(["a", "b"]).sum() == 1 and held_out(["a"]).sum() == 0


@pytest.mark.parametrize("word", ["test", "val", "validation"])
def test_split_folders(tmp_path: Path, word: str) -> None:
    for part, n in (("train", 5), (word, 3)):
        for i in range(n):
            image(tmp_path / part / "ab"[i % 2] / f"{i}.png", i)
    image(tmp_path / "stray.png", 9)
    assert len(data(tmp_path)) == 5
    held = data(tmp_path, split="test")
    assert len(held) == 3 and held.split == ("test" if word == "test" else "validation")
    assert held.classes == ["a", "b"] and held.labels.tolist() == [0, 0, 1]
    assert "in none of the folders" in reasons(held)["stray.png"]


def test_color_decides_the_channels(tmp_path: Path) -> None:
    for i in range(40):
        image(tmp_path / f"{i:02}.png", i)
    image(tmp_path / "zz.png", (1, 2, 3))
    assert data(tmp_path).x == Images(3, 8, 8)
    assert data(tmp_path, channels=1).x == Images(1, 8, 8)
    both = data(tmp_path, split="all")
    assert len(both) == 41 and (1, 2, 3) in {tuple(p[:, 0, 0].tolist()) for p in both.stored}


def test_mixed_sizes_name_two_files_and_the_option(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    image(tmp_path / "b.png", 1, (9, 7))
    with pytest.raises(DataError, match=r"a\.png has 8 x 8 .*b\.png has 7 x 9.*size="):
        data(tmp_path)
    assert data(tmp_path, size=6, split="all").x == Images(1, 6, 6)
    assert data(tmp_path, size=(4, 6), split="all").x == Images(1, 4, 6)


def test_bad_files_are_named_counted_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5):
        image(tmp_path / f"good{i}.png", i)
    whole = image(tmp_path / "cut.png", (1, 2, 3), (64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>not found</html>")
    (tmp_path / "movie.heic").write_bytes(b"1234")
    (tmp_path / "notes.txt").write_text("a document beside the images is fine")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo.png")
    d = data(tmp_path, split="all")
    assert len(d) == 5
    found = reasons(d)
    assert set(found) == {"cut.png", "empty.jpg", "page.png", "movie.heic", "dangling.png", "loop", "fifo.png"}
    assert "damaged" in found["cut.png"] and "<html" in found["page.png"] and "FIFO" in found["fifo.png"]
    assert "link to nothing" in found["dangling.png"] and "link back" in found["loop"]
    assert "7 problems" in caplog.text
    again = data(tmp_path, split="all")  # from the cache: still said
    assert reasons(again) == found
    with pytest.raises(DataError, match=r"7 problems and strict.*and 2 more"):
        data(tmp_path, strict=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    for i in range(3):
        image(tmp_path / f"{i}.png", i)
    (tmp_path / "1.png").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    d = data(tmp_path, split="all")
    assert len(d) == 2 and reasons(d) == {"1.png": "permission denied", "closed": "permission denied"}


def test_odd_names(tmp_path: Path) -> None:
    for name in ("new\nline.png", "emoji 🐈.png", "quote'\".png", os.fsdecode(b"caf\xe9.png"), "-dash.png"):
        image(tmp_path / name, 3)
    (tmp_path / os.fsdecode(b"\xff\n.png")).write_bytes(b"")
    d = data(tmp_path, split="all")
    assert len(d) == 5 and reasons(d) == {"\\xff\\n.png": "an empty file"}
    assert len(data(tmp_path, split="all")) == 5


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty folder"):
        data(tmp_path)
    (tmp_path / "a.md").write_text("")
    with pytest.raises(DataError, match=r"no images .*1 \.md"):
        data(tmp_path)
    (tmp_path / "a.png").write_text("junk")
    with pytest.raises(DataError, match=r"none of 1 image files can be read; the first: a\.png: not a PNG"):
        data(tmp_path)


def test_one_image_has_no_held_out_part(tmp_path: Path) -> None:
    image(tmp_path / "only.png", 3)
    assert len(data(tmp_path)) == 1
    with pytest.raises(DataError, match=r'nothing in split "test"; it has train \(1\), test|it has train \(1\)'):
        data(tmp_path, split="test")


def test_one_class_folder_is_no_class(tmp_path: Path) -> None:
    for i in range(3):
        image(tmp_path / "photos" / f"{i}.png", i)
    d = data(tmp_path)
    assert d.given is None and d.classes is None and d.labels is None


def test_loose_images(tmp_path: Path) -> None:
    for i in range(6):
        image(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    image(tmp_path / "loose.png", 9)
    d = data(tmp_path, split="all")
    assert len(d) == 6 and "no class folder" in reasons(d)["loose.png"]
    for i in range(10):
        image(tmp_path / f"more{i}.png", i)
    d = data(tmp_path, split="all")
    assert len(d) == 17 and d.given is None


def test_animations_are_taken_by_their_first_frame_and_said(tmp_path: Path) -> None:
    image(tmp_path / "a.gif", (0, 0, 255))
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    d = data(tmp_path, split="all")
    assert len(d) == 2 and "first frame" in reasons(d)["b.gif"]


def test_changes_are_noticed(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    first = data(tmp_path, split="all")
    image(tmp_path / "b.png", 2)
    second = data(tmp_path, split="all")
    assert len(second) == 2 and first.fingerprint != second.fingerprint
    image(tmp_path / "b.png", 3)
    os.utime(tmp_path / "b.png", ns=(1, 1))
    assert data(tmp_path, split="all").fingerprint != second.fingerprint


# --- captions and labels beside images


def rows(path: Path, *lines: Any) -> None:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def test_captions(tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / f"{i}.png", i)
    words = ["a red cat", "A blue dog.", "a cat", "naïve café"]
    rows(tmp_path / "metadata.jsonl", *({"file_name": f"{i}.png", "text": w} for i, w in enumerate(words)))
    d = data(tmp_path, split="all")
    assert d.tokenizer and d.captions and d.given == d.tokenizer.space
    got = batch(d)
    assert isinstance(got.given, Text) and got.given.tokens.dtype == torch.int64
    d.given.check(got.given.tokens, "tokens")
    order = d.stored[:, 0, 0, 0].tolist()
    assert d.captions == [words[i] for i in order]
    train = data(tmp_path)
    assert train.tokenizer == d.tokenizer
    for tokens, caption in zip(batch(train).given.tokens.tolist(), train.captions, strict=True):
        assert d.tokenizer.decode(tokens) == caption.lower().replace(".", " .")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_labels_in_a_table(tmp_path: Path, kind: str) -> None:
    for i in range(12):
        image(tmp_path / "images" / f"{i}.png", i)
    if kind == "csv":
        lines = ["file_name,label,age", *(f"images/{i}.png,{i},3" for i in range(12))]
    else:
        lines = [{"file_name": f"images/{i}.png", "label": i} for i in range(12)]
    rows(tmp_path / f"metadata.{kind}", *lines)
    d = data(tmp_path, split="all")
    assert d.classes == [str(i) for i in range(12)]  # in the order of numbers, not of letters
    assert torch.equal(d.labels, d.stored[:, 0, 0, 0].long())


def test_faulty_rows(tmp_path: Path) -> None:
    for i in range(9):
        image(tmp_path / f"{i}.png", i)
    good = [{"file_name": f"{i}.png", "text": f"number {i}"} for i in range(4)]
    rows(
        tmp_path / "metadata.jsonl",
        *good,
        {"file_name": "4.png", "text": "  "},
        {"file_name": "5.png", "text": 5},
        {"file_name": "gone.png", "text": "x"},
        {"file_name": "../../etc/passwd", "text": "x"},
        {"file_name": "1.png", "text": "another"},
        {"text": "x"},
        '{"file_name": "6.png", ',
        "[1, 2]",
        {"file_name": "7.png", "text": None},
        {"file_name": "8.png", "text": "\ud800"},
        {"file_name": "\udc80", "text": "x"},
    )
    d = data(tmp_path, split="all")
    assert sorted(d.captions) == [f"number {i}" for i in range(4)]
    found = reasons(d)
    assert "empty" in found["metadata.jsonl:5"] and "not a string" in found["metadata.jsonl:6"]
    assert "second row for 1.png" in found["metadata.jsonl:9"] and "file_name is not" in found["metadata.jsonl:10"]
    assert "not JSON" in found["metadata.jsonl:11"] and "object" in found["metadata.jsonl:12"]
    assert "surrogate" in found["metadata.jsonl:14"] and "surrogate" in found["metadata.jsonl:15"]
    assert "not there" in found["gone.png"] and "not there" in found["../../etc/passwd"]
    assert {f"{i}.png" for i in (4, 5, 6, 7, 8)} <= set(found)
    with pytest.raises(DataError, match="strict"):
        data(tmp_path, strict=True)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    (tmp_path / "metadata.csv").write_bytes("file_name,text\na.png,café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"metadata\.csv is not UTF-8 text: byte 0xe9 at 24"):
        data(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    with pytest.raises(DataError, match="columns file_name; we look for text or label"):
        data(tmp_path)
    (tmp_path / "metadata.csv").write_text('﻿file_name,text\na.png,red,too many\na.png,"it\'s, red"\n')
    d = data(tmp_path)
    assert d.captions == ["it's, red"] and "3 fields" in reasons(d)["metadata.csv:2"]


def test_tables_in_split_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        image(tmp_path / part / "a.png", 1)
        rows(tmp_path / part / "metadata.jsonl", {"file_name": "a.png", "text": f"of {part}"})
    assert data(tmp_path).captions == ["of train"] and data(tmp_path, split="test").captions == ["of test"]


# --- arrays


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_npz(tmp_path: Path) -> None:
    x, y = random.integers(0, 256, (50, 6, 5), np.uint8), np.arange(50) % 3
    for keys in (("x", "y"), ("images", "labels")):
        d = data(save(tmp_path / f"{keys[0]}.npz", **dict(zip(keys, (x, y), strict=True))), split="all")
        assert d.x == Images(1, 6, 5) and d.given == Labels(3) and d.classes == ["0", "1", "2"]
        held = held_out([str(i) for i in range(50)])
        order = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])
        assert np.array_equal(d.stored[:, 0].numpy(), x[order]) and d.labels.tolist() == y[order].tolist()


def test_npz_with_splits_in_its_names(tmp_path: Path) -> None:
    x = random.integers(0, 256, (9, 4, 4, 3), np.uint8)
    path = save(tmp_path / "a.npz", x_test=x[:2], y_test=np.zeros((2, 1), int), x_train=x[2:], y_train=np.ones(7, int))
    train, test = data(path), data(f"{path}:test")
    assert len(train) == 7 and len(test) == 2 and train.classes == ["0", "1"]
    assert np.array_equal(test.stored.numpy(), x[:2].transpose(0, 3, 1, 2)) and test.labels.tolist() == [0, 0]
    assert test.name == "a:test"


def test_npy_layouts_and_ranges(tmp_path: Path) -> None:
    grid = np.linspace(0, 255, 20 * 20).round().astype(np.uint8).reshape(20, 5, 4)
    variants = {
        "uint8": grid,
        "zero_one": grid / 255,
        "float32": (grid / 255).astype(np.float32),
        "minus": grid / 127.5 - 1,
        "half": (grid / 255).astype(np.float16),
        "channel": grid[:, None],
        "last": grid[..., None],
        "fortran": np.asfortranarray(grid),
    }
    for name, x in variants.items():
        np.save(tmp_path / f"{name}.npy", x)
        d = data(tmp_path / f"{name}.npy", split="all")
        held = held_out([str(i) for i in range(20)])
        expected = np.concatenate([grid[~held], grid[held]])
        off = np.abs(d.stored[:, 0].numpy().astype(int) - expected).max()
        assert d.x == Images(1, 5, 4) and off <= (1 if name == "half" else 0), name


def test_two_levels_and_points(tmp_path: Path) -> None:
    bits = random.random((20, 4, 4)) < 0.5
    np.save(tmp_path / "bits.npy", bits)
    d = data(tmp_path / "bits.npy", split="all", binary=True)
    assert d.x == Images(1, 4, 4, levels=2) and set(batch(d).x.unique().tolist()) == {-1.0, 1.0}
    with pytest.raises(UsageError, match="blur"):
        data(tmp_path / "bits.npy", size=3)
    points = random.normal(size=(30, 2))
    np.save(tmp_path / "points.npy", points)
    p = data(tmp_path / "points.npy", split="all")
    assert p.x == Points(2) and batch(p).x.dtype == torch.float32
    assert np.allclose(np.sort(batch(p).x[:, 0]), np.sort(points[:, 0].astype(np.float32)))
    for options in ({"size": 4}, {"binary": True}, {"binary": "fixed"}, {"channels": 1}):
        with pytest.raises(UsageError, match=r"images"):
            data(tmp_path / "points.npy", **options)


IMAGE = random.random((10, 4, 4))
BAD_X: dict[str, tuple[Any, str]] = {
    "0-255 floats": (IMAGE * 255, "looks like 0-255: save them as uint8"),
    "standardised": (IMAGE * 4 - 2, r"scale them to \[0, 1\] or \[-1, 1\]"),
    "ambiguous": (IMAGE - 0.3, "ambiguous"),
    "nan": (np.where(np.arange(10)[:, None, None] == 7, np.nan, IMAGE), "NaN or infinity, first in row 7"),
    "inf": (np.where(np.arange(10)[:, None, None] == 3, np.inf, IMAGE), "NaN or infinity, first in row 3"),
    "int64": ((IMAGE * 255).astype(int), "x is int64; save uint8"),
    "uint16": ((IMAGE * 255).astype(np.uint16), "x is uint16; save uint8"),
    "complex": (IMAGE.astype(complex), "x is complex128"),
    "text": (np.array(["a", "b"]), "x is <U1"),
    "0/1 bytes": ((IMAGE > 0.5).astype(np.uint8), "only 0 and 1 as uint8"),
    "no rows": (IMAGE[:0], "empty"),
    "one axis": (np.zeros(5, np.uint8), r"shape \[5\]"),
    "scalar": (np.uint8(3), r"shape \[\]"),
    "five channels": (np.zeros((2, 5, 4, 4), np.uint8), "none of its axes is 1 or 3 channels"),
    "two ways": (np.zeros((2, 3, 4, 3), np.uint8), "either axis 1 or axis 3"),
    "five axes": (np.zeros((2, 3, 4, 4, 1), np.uint8), r"shape \[2, 3, 4, 4, 1\]"),
    "flat bytes": (np.zeros((2, 784), np.uint8), r"shape \[2, 784\]"),
}


@pytest.mark.parametrize("name", BAD_X)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_that_are_not_usable(tmp_path: Path, name: str, kind: str) -> None:
    x, message = BAD_X[name]
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, x)
    else:
        np.savez(path, x=x)
    with pytest.raises(DataError, match=message):
        data(path)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(9, int), r"y has shape \[9\] where x has 10 rows"),
        (np.eye(10, dtype=int), "not one-hot"),
        (np.zeros(10), "y is float64; save whole numbers"),
        (np.arange(10) - 2, "values from -2 to 7"),
        (np.arange(10) * 10**9, "classes are numbered 0 to"),
    ],
)
def test_labels_that_are_not_usable(tmp_path: Path, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data(save(tmp_path / "a.npz", x=IMAGE, y=y))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    bad = np.array([Bomb()], object)
    np.save(tmp_path / "a.npy", bad, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=bad)
    (tmp_path / "c.npy").write_bytes(b"\x80\x04cos\nsystem\n.")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match="Python objects"):
            data(tmp_path / name)
    with pytest.raises(DataError, match=r"c\.npy cannot be read"):
        data(tmp_path / "c.npy")
    assert not (tmp_path / "exploded").exists()


def test_damaged_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    whole = (tmp_path / "a.npy").read_bytes()
    for cut in (0, 5, 60, len(whole) - 1):
        (tmp_path / "a.npy").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"a\.npy cannot be read"):
            data(tmp_path / "a.npy")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    (tmp_path / "a.npy").write_bytes(huge.getvalue() + b"123")
    with pytest.raises(DataError, match=r"a\.npy cannot be read"):
        data(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "h.npz", "w") as z:
        z.writestr("x.npy", huge.getvalue())
    with pytest.raises(DataError, match="cannot be read as an array"):
        data(tmp_path / "h.npz")
    good = save(tmp_path / "b.npz", x=IMAGE).read_bytes()
    (tmp_path / "b.npz").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"b\.npz cannot be read as a zip"):
        data(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"holds a, b; name the images x"):
        data(save(tmp_path / "c.npz", a=IMAGE, b=IMAGE))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{'descr': " + b"-" * 9000 + b"1}", "its header"),
        (b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"[" * 9000 + b"}", ""),
        (b" " * (1 << 17), "its header claims 131,072 bytes"),
        (None, "its header claims 4,294,967,295 bytes"),
        (b"{'descr': [1, 2], 'fortran_order': False, 'shape': (3,)}\n", ""),
        (b"{'descr': '|u1', 'fortran_order': False, 'shape': (True, 'a')}\n", ""),
    ],
    ids=["signs", "brackets", "long", "claimed", "type", "shape"],
)
def test_a_forged_header_is_the_files_fault(tmp_path: Path, header: bytes | None, said: str) -> None:
    """None of it reads for long, or is taken for memory that ran out."""
    length = 2**32 - 1 if header is None else len(header)
    forged = b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + (header or b"{")
    (tmp_path / "a.npy").write_bytes(forged)
    with pytest.raises(DataError, match=rf"a\.npy cannot be read as a \.npy array: .*{said}"):
        data(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("x.npy", forged)
    with pytest.raises(DataError, match=rf"b\.npz: 'x\.npy' cannot be read as an array: .*{said}"):
        data(tmp_path / "b.npz")


# --- idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("pack", [lambda b: b, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_a_folder_of_idx(tmp_path: Path, pack: Any) -> None:
    x, y = random.integers(0, 256, (12, 5, 4), np.uint8), np.arange(12, dtype=np.uint8) % 4
    end = {b"\x00": "", b"\x1f": ".gz", b"\xfd": ".xz"}[pack(b"\0")[:1]]
    for part, a, b in (("train", 0, 8), ("t10k", 8, 12)):
        (tmp_path / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx(x[a:b])))
        (tmp_path / f"{part}-labels.idx1-ubyte{end}").write_bytes(pack(idx(y[a:b])))
    train, test = data(tmp_path), data(tmp_path, split="test")
    assert np.array_equal(train.stored[:, 0].numpy(), x[:8]) and train.labels.tolist() == y[:8].tolist()
    assert np.array_equal(test.stored[:, 0].numpy(), x[8:]) and test.labels.tolist() == y[8:].tolist()
    one = data(tmp_path / f"train-images-idx3-ubyte{end}", split="all")
    assert len(one) == 8
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as z:
        for file in sorted(tmp_path.glob("*ubyte*")):
            z.write(file, f"MNIST/raw/{file.name}")
    assert len(data(tmp_path / "all.zip:test")) == 4


def test_damaged_idx(tmp_path: Path) -> None:
    path = tmp_path / "a-images-idx3-ubyte"
    good = idx(np.zeros((3, 4, 4), np.uint8))
    for bad, message in {
        good[:-1]: "fewer bytes",
        good + b"x": "more bytes",
        good[:6]: "cut short",
        b"": "cut short",
        b"hello world, this is text": "not an idx file",
        good[:2] + b"\x0d" + good[3:]: "type 0x0d",
        gzip.compress(good)[:-9]: "cut short",
        lzma.compress(good)[:-9] + b"123456789": "damaged",
    }.items():
        path.write_bytes(bad)
        with pytest.raises(DataError, match=message):
            data(path)
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**15, 2**15))
    with pytest.raises(IntegrityError, match="bomb"):
        data(path)


# --- zip archives


def zipped(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, content in files.items():
            z.writestr(name, content)
    return path


def png(color: Any) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), color).save(out, "PNG")
    return out.getvalue()


def test_zip_is_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {f"photos/{'ab'[i % 2]}/{i}.png": png(i) for i in range(10)}
    before = set(tmp_path.rglob("*"))
    path = zipped(tmp_path / "p.zip", files | {"__MACOSX/photos/._0.png": b"", "photos/bad.png": b"x"})
    d = data(path, split="all")
    assert len(d) == 10 and d.classes == ["a", "b"] and d.name == "p:all" and len(d.problems) == 1
    assert set(tmp_path.rglob("*")) - before == {path}
    x = io.BytesIO()
    np.savez(x, x=IMAGE)
    assert len(data(zipped(tmp_path / "n.zip", {"inside.npz": x.getvalue()}), split="all")) == 10


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
def test_zip_names_that_lead_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("good.png", png(1))
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        z.writestr(entry, png(1))
    with pytest.raises(IntegrityError, match="leads out"):
        data(path)


def test_zip_links_and_devices(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        entry = zipfile.ZipInfo("link.png")
        entry.external_attr = (kind | 0o777) << 16
        path = tmp_path / "p.zip"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr(entry, "/etc/passwd")
        with pytest.raises(IntegrityError, match="a link or a device"):
            data(path)


def test_zip_bombs(tmp_path: Path) -> None:
    path = zipped(tmp_path / "p.zip", {"a.png": bytes(1000), "b.png": bytes(1000)}, compression=zipfile.ZIP_DEFLATED)
    lying = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # claim 3 GB each, unpacked
        start = lying.index(signature)
        lying[start + at : start + at + 4] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(lying)
    with pytest.raises(IntegrityError, match="bomb"):
        data(path)


def test_damaged_and_encrypted_zips(tmp_path: Path) -> None:
    path = zipped(tmp_path / "p.zip", {f"{i}.png": png(i) for i in range(3)})
    whole = path.read_bytes()
    start = whole.index(b"IDAT")
    path.write_bytes(whole[:start] + b"IDAX" + whole[start + 4 :])
    d = data(path, split="all")
    assert len(d) == 2 and "CRC" in d.problems[0].reason.upper()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match="cannot be read as a zip"):
        data(path)
    path.write_bytes(whole.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"))
    with pytest.raises(DataError, match="encrypted"):
        data(path)


# --- what is asked for


def test_unknown_sources_and_splits(tmp_path: Path) -> None:
    image(tmp_path / "photos" / "a.png")
    for source, message in {
        "mnst": r"did you mean 'mnist'",
        str(tmp_path / "phots"): r"did you mean '.*photos'",
        "mnist:tset": r"no split 'tset' \(did you mean 'test'\?\)",
        "nothing like it": "built in",
        "": "empty name",
        "x" * 5000: "too long",
        "nul\0": "no data source",
    }.items():
        with pytest.raises(UsageError, match=message) as caught:
            data(source)
        assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="split="):
        data("mnist:test", split="train")
    (tmp_path / "a.docx").write_text("")
    with pytest.raises(DataError, match="is no source: we take"):
        data(tmp_path / "a.docx")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        data(tmp_path / "pipe.npy")


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": (1, 2, 3)}, {"size": 1.5}, {"size": True}, {"channels": 2}, {"binary": "maybe"}],
    ids=str,
)
def test_options_out_of_range(tmp_path: Path, options: Any) -> None:
    image(tmp_path / "a.png")
    with pytest.raises(UsageError, match=next(iter(options))):
        data(tmp_path, **options)


def test_binary_needs_grey(tmp_path: Path) -> None:
    image(tmp_path / "a.png", (1, 2, 3))
    for how in ("dynamic", "fixed", "threshold"):
        with pytest.raises(UsageError, match="channels=1"):
            data(tmp_path, binary=how)
    assert data(tmp_path, binary="threshold", channels=1).x == Images(1, 8, 8, levels=2)


def test_pillow_warnings_do_not_leak(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8))
    picture.save(tmp_path / "a.png", transparency=bytes(range(10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data(tmp_path)) == 1


def test_an_array_of_colors_last_is_served_without_any_options() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    found = data(x, split="all")
    assert found.x == Images(3, 4, 6) and found.pack.fingerprint
    assert torch.equal(found.stored, torch.from_numpy(x).permute(0, 3, 1, 2))
