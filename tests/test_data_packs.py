"""Packs: written whole or not at all, checked, rebuilt; what is served is a function of rows and noise."""

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych.data.cache as cache_module
import triptych.data.packing as packing
from triptych.core import Data, DataError, Images, IntegrityError, ItemNoise, ResourceError, StepNoise, UsageError
from triptych.data import Tokenizer, data, pack

random = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(path))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    x = random.integers(0, 256, (100, 6, 5), np.uint8)
    np.savez(tmp_path / "source.npz", x=x, y=np.arange(100) % 4)
    return tmp_path / "source.npz"


def noise(n: int) -> ItemNoise:
    return ItemNoise(0, range(n))


def test_satisfies_the_protocol(source: Path) -> None:
    d: Data = data(source)
    assert isinstance(d, Data) and d.name == "source:train"


def test_fetch_gathers_rows_and_scales(source: Path) -> None:
    d = data(source)
    rows = torch.tensor([5, 0, 5, len(d) - 1])
    got = d.fetch(rows, noise(4))
    assert torch.equal(got.x, d.stored[rows].float() / 127.5 - 1) or torch.allclose(got.x, d.stored[rows] / 127.5 - 1)
    assert torch.equal(d.x.index(got.x), d.stored[rows].long()) and torch.equal(got.given.y, d.labels[rows])
    assert len(d.fetch(rows[:0], noise(0)).x) == 0
    for bad in ([-1], [len(d)]):
        with pytest.raises(IndexError, match="rows 0 to"):
            d.fetch(torch.tensor(bad), noise(1))


def test_nothing_written_to_a_batch_reaches_the_file(source: Path, cache: Path) -> None:
    d = data(source)
    before = d.stored.clone()
    d.fetch(torch.arange(3), noise(3)).x.fill_(7)
    d.stored[0] = 99
    assert torch.equal(data(source).stored, before)


def test_subsets(source: Path) -> None:
    d = data(source)
    for rows in (slice(3, 9), slice(None, None, 7), slice(None, None, -1), [4, 4, 1], torch.tensor([8, 2]), slice(5)):
        numbers = torch.arange(len(d))[rows] if not (isinstance(rows, slice) and rows.step == -1) else None
        numbers = torch.arange(len(d)).flip(0) if numbers is None else numbers
        s = d.subset(rows)
        assert len(s) == len(numbers)
        assert torch.equal(s.stored, d.stored[numbers]) and torch.equal(s.labels, d.labels[numbers])
        got = s.fetch(torch.arange(len(s)), noise(len(s)))
        assert torch.equal(d.x.index(got.x), d.stored[numbers].long())
        assert torch.equal(s.subset([1, 0]).stored, d.stored[numbers[[1, 0]]])
    assert d.subset(slice(5)).fingerprint != d.subset([0, 1, 2, 4]).fingerprint != d.fingerprint
    with pytest.raises(IndexError):
        d.subset([len(d)])


def test_fingerprints_tell_what_is_served(source: Path, tmp_path: Path) -> None:
    served = [
        data(source),
        data(source, split="test"),
        data(source, split="all"),
        data(source, binary=True),
        data(source, binary="fixed"),
        data(source, binary="threshold"),
        data(source, size=4),
        data(source, channels=3),
        data(source).subset(slice(5)),
    ]
    assert len({d.fingerprint for d in served}) == len(served)
    assert data(source).fingerprint == served[0].fingerprint
    other = tmp_path / "moved.npz"
    other.write_bytes(source.read_bytes())
    assert data(other, cache=tmp_path / "elsewhere").fingerprint == served[0].fingerprint


def test_dynamic_binarisation_is_drawn_from_the_noise(source: Path) -> None:
    d = data(source, binary=True)
    assert d.x == Images(1, 6, 5, levels=2) and d.name == "source-binary:train"
    rows = torch.zeros(4000, dtype=torch.int64)
    x = d.fetch(rows, StepNoise(3, 4000, slice(0, 4000))).x
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    p = d.stored[0].double() / 255
    error = ((x > 0).double().mean(0) - p).abs() / (p * (1 - p) / 4000).sqrt().clamp(min=1e-9)
    assert error.max() < 4.5
    assert torch.equal(x, d.fetch(rows, StepNoise(3, 4000, slice(0, 4000))).x)
    assert not torch.equal(x, d.fetch(rows, StepNoise(4, 4000, slice(0, 4000))).x)
    few = d.fetch(torch.arange(8), ItemNoise(1, range(8))).x
    assert torch.equal(few[5:6], d.fetch(torch.tensor([5]), ItemNoise(1, [5])).x)


def test_black_stays_black_and_white_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.tile(np.array([0, 255], np.uint8), (4000, 2, 1)))
    for how in ("dynamic", "fixed", "threshold"):
        d = data(tmp_path / "a.npy", binary=how)
        x = d.fetch(torch.arange(len(d)), StepNoise(0, len(d), slice(0, len(d)))).x
        assert (x[..., 0] == -1).all() and (x[..., 1] == 1).all()
    zero = SimpleNamespace(
        n=1, device=torch.device("cpu"), uniform=lambda *shape: torch.zeros(1, *shape)
    )  # 0 is a possible draw
    x = data(tmp_path / "a.npy", binary=True).fetch(torch.tensor([0]), zero).x
    assert (x[..., 0] == -1).all() and (x[..., 1] == 1).all()


def test_fixed_and_threshold_do_not_change(source: Path, tmp_path: Path) -> None:
    grey = data(source, split="all").stored
    assert torch.equal(data(source, split="all", binary="threshold").stored, (grey >= 128).to(torch.uint8))
    fixed = data(source, split="all", binary="fixed")
    assert fixed.name == "source-fixed:all" and fixed.x == Images(1, 6, 5, levels=2)
    assert torch.equal(fixed.stored, data(source, split="all", binary="fixed", cache=tmp_path / "c2").stored)
    assert abs(fixed.stored.float().mean() - grey.float().mean() / 255) < 0.03


# --- the cache


def folders(cache: Path) -> list[Path]:
    return sorted((cache / "data").iterdir())


def test_packed_once(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data(source)
    monkeypatch.setattr(cache_module, "build", None)
    assert data(source).fingerprint == first.fingerprint
    assert len(folders(cache)) == 1 and isinstance(data(source).pack.x, np.memmap)


@pytest.mark.parametrize("file", ["x.npy", "y.npy", "meta.json"])
def test_a_damaged_pack_is_made_anew(source: Path, cache: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    good = data(source)
    path = folders(cache)[0] / file
    path.write_bytes(path.read_bytes()[:-5])
    again = data(source)
    assert again.fingerprint == good.fingerprint and torch.equal(again.stored, good.stored)
    assert file in caplog.text and "packing it again" in caplog.text
    again.pack.verify()
    assert len(folders(cache)) == 1


def test_without_a_cache_it_works_in_memory(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = data(source)
    (tmp_path / "file").write_text("")
    d = data(source, cache=tmp_path / "file")
    assert d.fingerprint == good.fingerprint and torch.equal(d.stored, good.stored)
    assert "is held in memory" in caplog.text


def test_a_full_disk(source: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packing, "sync", full)
    assert len(data(source)) > 0
    assert folders(cache) == []
    with pytest.raises(ResourceError, match="disk is full"):
        pack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".packing*"))


def test_an_interrupted_pack_leaves_nothing(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(packing, "write_meta", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data(source)
    assert folders(cache) == []
    stale = cache / "data" / ".packing-old"
    stale.mkdir()
    os.utime(stale, (0, 0))
    assert len(data(source)) > 0
    assert len(folders(cache)) == 1 and not stale.exists()


def test_packing_from_several_threads_at_once(source: Path, cache: Path) -> None:
    prints: list[str] = []
    threads = [threading.Thread(target=lambda: prints.append(data(source).fingerprint)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(prints) == 6 and len(set(prints)) == 1 and len(folders(cache)) == 1


# --- packed folders as sources


def test_pack_and_open(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "packed"
    made = pack(source, out)
    assert {p.name for p in out.iterdir()} == {"meta.json", "x.npy", "y.npy"}
    for split in ("train", "test", "all"):
        a, b = data(source, split=split), data(out, split=split)
        assert a.fingerprint == b.fingerprint and a.name == b.name
    assert len(made) == 100 and made.split == "all"
    assert data(out, binary="fixed", split="all").x.levels == 2
    assert data(out, size=3, channels=3).x == Images(3, 3, 3)
    assert pack(out, tmp_path / "again").fingerprint == made.fingerprint
    with pytest.raises(UsageError, match="exists already"):
        pack(source, out)
    with pytest.raises(UsageError, match="pack mnist and open that"):
        pack("mnist-binary", tmp_path / "b")
    (tmp_path / "f").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        pack(source, tmp_path / "f" / "out")


def test_pack_keeps_captions_problems_and_truth(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_text("")
    lines = ["file_name,text", *(f"{i}.png,number {i}" for i in range(4)), "bad.png,x"]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    d = pack(tmp_path, tmp_path.parent / f"{tmp_path.name}-packed")
    assert d.captions and d.tokenizer and [p.file for p in d.problems] == ["bad.png"]
    with pytest.raises(DataError, match="strict"):
        pack(tmp_path, tmp_path.parent / f"{tmp_path.name}-strict", strict=True)
    ring = pack("ring-8", tmp_path / "ring")
    assert ring.truth and ring.fingerprint == data("ring-8:all").fingerprint


def test_every_flipped_byte_is_found(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "packed"
    pack(source, out)
    for file in sorted(out.iterdir()):
        good = file.read_bytes()
        for at in np.linspace(0, len(good) - 2, 25).astype(int):
            file.write_bytes(good[:at] + bytes([good[at] ^ 0x01]) + good[at + 1 :])
            if file.name == "meta.json" and good[at : at + 1] in b" \n":
                continue
            with pytest.raises(IntegrityError, match=file.name):
                data(out)
        file.write_bytes(good)
    (out / "y.npy").unlink()
    with pytest.raises(IntegrityError, match=r"y\.npy has no bytes"):
        data(out)


def test_the_tokenizer() -> None:
    t = Tokenizer.fit(["a cat", "A dog, a cat!"])
    assert t.words == ("<pad>", "<unknown>", "a", "cat", "!", ",", "dog") and t.length == 6
    tokens = t.encode(["a zebra", "", "a a a a a a a a"])
    assert tokens.tolist() == [[2, 1, 0, 0, 0, 0], [0] * 6, [2] * 6]
    assert t.decode(tokens[0]) == "a <unknown>" and t.space.vocabulary == 7
