"""Archives as the common tools make them, read as the folders that they were made of; files of arrays."""

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.core import Audio, Characters, DataError, Images, IntegrityError, ItemNoise, Points, Tokens
from triptych.data import data
from triptych.data.splits import held_out
from triptych.verbs.sample import write

NAMES = [f"{split}/{kind}/{i}.png" for split in ("train", "test") for kind in ("chats à poil", "狗") for i in range(3)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (4, 4), shade).save(out, "PNG")
    return out.getvalue()


def raw_zip(path: Path, names: list[tuple[bytes, bytes]], flags: int = 0, **fields: int) -> Path:
    """A zip written by hand: names as bytes, whatever they are, sizes in a data descriptor if the flags say so."""
    out, entries = io.BytesIO(), []
    for name, content in names:
        sums = struct.pack("<III", zipfile.crc32(content), len(content), len(content))
        said = bytes(12) if flags & 8 else sums
        head = struct.pack("<HHHHH", 20, flags, 0, 0, 33)
        entries.append((name, sums, out.tell()))
        out.write(b"PK\x03\x04" + head + said + struct.pack("<HH", len(name), 0) + name + content)
        if flags & 8:
            out.write(b"PK\x07\x08" + sums)
    start = out.tell()
    for name, sums, at in entries:
        head = struct.pack("<HHHHHH", fields.get("system", 0) << 8 | 20, 20, flags, 0, 0, 33)
        tail = struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, fields.get("attributes", 0), at)
        out.write(b"PK\x01\x02" + head + sums + tail + name)
    size = out.tell() - start
    out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), size, start, 0))
    path.write_bytes(out.getvalue())
    return path


def files(prefix: str = "", separator: str = "/", encoding: str = "utf-8") -> list[tuple[bytes, bytes]]:
    return [((prefix + name).replace("/", separator).encode(encoding), png(i)) for i, name in enumerate(NAMES)]


def with_folders(prefix: str, separator: str) -> list[tuple[bytes, bytes]]:
    folders = sorted({name.rsplit("/", depth)[0] + "/" for name in NAMES for depth in (1, 2)})
    return [((prefix + f).replace("/", separator).encode(), b"") for f in folders] + files(prefix, separator)


MAC = [(b"__MACOSX/pets/._train", b"x"), (b"__MACOSX/pets/train/._0.png", b"x"), (b"pets/.DS_Store", b"x")]
MADE_BY = {
    "Info-ZIP": lambda p: raw_zip(p, with_folders("pets/", "/"), system=3, attributes=0o100644 << 16),
    "no folders": lambda p: raw_zip(p, files("pets/"), 0x800),
    "backslashes": lambda p: raw_zip(p, files("pets/", "\\")),
    "backslashes and folders": lambda p: raw_zip(p, with_folders("pets/", "\\"), 0x800),
    "dots": lambda p: raw_zip(p, files("./")),
    "dots and backslashes": lambda p: raw_zip(p, [(b".\\", b""), *files("./pets/", "\\")]),
    "macOS": lambda p: raw_zip(p, [*with_folders("pets/", "/"), *MAC], 8, system=3, attributes=0o100644 << 16),
    "data descriptors": lambda p: raw_zip(p, files(), 8 | 0x800),
    "double slashes": lambda p: raw_zip(p, files("pets//")),
    "a stray picture": lambda p: raw_zip(p, [(b"cover.png", png(99)), *files("pets/", "\\")]),
}


def check(path: Path, classes: tuple[str, str] = ("chats à poil", "狗")) -> None:
    train, test = data(path), data(f"{path}:test")
    assert train.classes == list(classes) and len(train) == len(test) == 6
    assert train.labels.tolist() == test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted({*train.stored.unique().tolist(), *test.stored.unique().tolist()}) == list(range(12))


@pytest.mark.parametrize("maker", MADE_BY)
def test_zips_of_every_maker(tmp_path: Path, maker: str) -> None:
    path = MADE_BY[maker](tmp_path / "a.zip")
    check(path)
    assert [p.file for p in data(path).problems] == (["cover.png"] if "stray" in maker else [])


def test_names_in_the_encoding_of_dos(tmp_path: Path) -> None:
    names = [(name.replace("狗", "ñu").encode("cp437"), png(i)) for i, name in enumerate(NAMES)]
    check(raw_zip(tmp_path / "a.zip", names), ("chats à poil", "ñu"))


def test_zips_of_more_than_four_gigabytes_say_so_in_another_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i, name in enumerate(NAMES):
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(png(i))
    check(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["", ":gz", ":bz2", ":xz"])
@pytest.mark.parametrize("prefix", ["", "./", "./pets/"])
def test_tars(tmp_path: Path, kind: str, prefix: str) -> None:
    path = tmp_path / {"": "a.tar", ":gz": "a.tgz", ":bz2": "a.tar.bz2", ":xz": "a.tar.xz"}[kind]
    before = set(tmp_path.rglob("*"))
    with tarfile.open(path, f"w{kind}") as archive:
        for name, content in [(".", None), *((prefix + n, png(i)) for i, n in enumerate(NAMES)), ("._x.png", b"")]:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    check(path)
    assert data(path).name == "a:train" and not data(path).problems
    assert {p for p in tmp_path.rglob("*") if "cache" not in p.parts} - before == {path}


def odd_tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE, **options: Any) -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        archive.addfile(member)
    return path


def test_a_file_of_two_names_in_a_tar(tmp_path: Path) -> None:
    """tar keeps its bytes once, and a hard link: it is an item under either name, in either split."""
    (tmp_path / "set").mkdir()
    for k in range(4):
        (tmp_path / "set" / f"{k}.png").write_bytes(png(k))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for k in range(4):
            archive.add(tmp_path / "set" / f"{k}.png", f"./pets/train/{k}.png")
        for name in ("pets/train/again.png", "./pets/test/0.png"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, "./pets/train/0.png"
            archive.addfile(link)
    found, held = data(tmp_path / "a.tar"), data(tmp_path / "a.tar", split="test")
    assert (len(found), len(held)) == (5, 1)
    x = found.fetch(torch.arange(5), ItemNoise(0, range(5))).x
    assert sum(torch.equal(one, held.fetch(torch.arange(1), ItemNoise(0, [0])).x[0]) for one in x) == 2


def test_what_systems_leave_behind_is_no_data(tmp_path: Path) -> None:
    junk = ("@eaDir/0.png/SYNO_THUMB.png", "$RECYCLE.BIN/a.png", "lost+found/b.png", "#recycle/c.png", "Thumbs.db")
    pictures = {f"{kind}/{k}.png": png(k) for kind in ("cat", "dog") for k in range(4)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
        for name in junk:
            archive.writestr(f"cat/{name}", png(9))
            archive.writestr(name, png(9))
    found = data(tmp_path / "a.zip", split="all")
    assert len(found) == 8 and found.given.names == ("cat", "dog") and not found.problems


def test_what_may_have_been_meant_to_say_something_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for k in range(4):
        (tmp_path / f"{k}.png").write_bytes(png(k))
    for name in ("captions.txt", "test.txt", "labels.json", "README.md", "LICENSE.txt"):
        (tmp_path / name).write_text("0.png\n")
    with caplog.at_level("INFO"):
        data(tmp_path, split="all")
    (line,) = [line for line in caplog.messages if "not used" in line]
    assert "captions.txt, labels.json, test.txt: not used; labels and captions are looked for in metadata.csv" in line


def test_tars_that_are_not_safe_or_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png"):
        with pytest.raises(IntegrityError, match="leads out"):
            data(odd_tar(tmp_path / "a.tar", name))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with pytest.raises(IntegrityError, match="a link or a device"):
            data(odd_tar(tmp_path / "a.tar", "a.png", kind))
    for content in (b"", b"not a tar", b"\x1f\x8b\x08broken", b"BZh91", b"\xfd7zXZ\x00"):
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read as a tar archive|holds no|is an empty"):
            data(tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = 1 << 22
        archive.addfile(member, io.BytesIO(bytes(1 << 22)))
    monkeypatch.setattr("triptych.data.files.MANY_BYTES", 1 << 20)
    with pytest.raises(IntegrityError, match="bomb"):
        data(tmp_path / "bomb.tar.gz")


def test_arrays_and_texts_in_a_tar(tmp_path: Path) -> None:
    np.save(tmp_path / "x_train.npy", np.zeros((5, 4, 4), np.uint8))
    (tmp_path / "b.txt").write_text("it was the best of times. " * 9)
    for source, name in (("x_train.npy", "arrays.tar"), ("b.txt", "texts.tar.gz")):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.add(tmp_path / source, source)
    assert len(data(tmp_path / "arrays.tar")) == 5 and len(data(tmp_path / "texts.tar.gz", length=8)) > 100


# Arrays, and what our own verbs write


SPACES = [
    Images(1, 4, 3, levels=2),
    Images(3, 4, 3),
    Images(1, 4, 3, levels=16),
    Images(1, 4, 3, levels=1000),
    Audio(2, 12, rate=8000, levels=256, companding="mu-law"),
    Audio(1, 12, rate=8000),
    Points(3),
    Tokens(4, 6, symbols=Characters(alphabet="abcd")),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_what_sample_writes_is_a_source(space: Any, tmp_path: Path) -> None:
    if isinstance(space, Points):
        x = torch.randn(7, 3)
    elif isinstance(space, Tokens):
        x = torch.randint(4, (7, 6))
    else:
        x = space.from_index(torch.randint(space.levels, (7, *space.shape)))
    model = SimpleNamespace(name="model", config=SimpleNamespace(x=space))
    write(model, x, tmp_path / "a.npz", {})
    options = {"length": 6} if isinstance(space, Tokens) else {}
    found = data(tmp_path / "a.npz", split="all", **options)
    assert found.x == space and not found.problems
    again = found.fetch(torch.arange(7), ItemNoise(0, range(7))).x
    held = held_out([str(i) for i in range(7)])
    order = [*np.flatnonzero(~held).tolist(), *np.flatnonzero(held).tolist()]
    torch.testing.assert_close(again, x[order], rtol=0, atol=1e-6 if isinstance(space, Audio) else 0)


def test_arrays_that_are_not_in_the_space_they_name(tmp_path: Path) -> None:
    space = json.dumps({"kind": "images", "channels": 1, "height": 4, "width": 3, "levels": 16})
    for x, named, words in (
        (np.full((5, 1, 4, 3), 16, np.uint8), space, "values from 16 to 16; Images.* takes 0 to 15"),
        (np.zeros((5, 1, 4, 4), np.uint8), space, r"x is uint8 \[5, 1, 4, 4\], and its space is Images"),
        (np.zeros((5, 1, 4, 3), np.float32), space, "x is float32"),
        (np.zeros((5, 6), np.int64), json.dumps({"kind": "tokens", "vocabulary": 4, "length": 6}), "what text"),
        (np.zeros((5, 1, 4, 3), np.uint8), "{", "does not say what space"),
        (np.zeros((5, 1, 4, 3), np.uint8), "[" * 100_000, "does not say what space"),
        (np.zeros((5, 1, 4, 3), np.uint8), '{"kind": "os"}', "does not say what space"),
    ):
        np.savez(tmp_path / "a.npz", x=x, space=np.array(named))
        with pytest.raises(DataError, match=words):
            data(tmp_path / "a.npz")


def test_what_is_not_used_of_an_archive_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = np.zeros((5, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", X_train=x, y_dev=np.arange(5), y_train=np.arange(5), X_dev=x, weights=x, z=x)
    assert len(data(tmp_path / "a.npz")) == len(data(tmp_path / "a.npz", split="validation")) == 5
    assert "not used: weights, z" in caplog.text
