"""Media: files become elements of a space and come back, by the same function whoever brings them."""

import io
import re
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import Characters, DataError, ItemNoise, UsageError
from triptych.core.spaces import AnySpace
from triptych.media import MEDIA, medium_of, of_kind
from triptych.media.video import decode as decode_video
from triptych.media.video import moving
from triptych.media.voxels import binvox, of_binvox
from triptych.media.work import BadFile
from triptych.testing import Examples
from triptych.verbs.sample import check_out, write

SPACES = [
    tt.Images(3, 6, 5),
    tt.Images(1, 4, 4, levels=2),
    tt.Audio(1, 300, rate=8000),
    tt.Tokens(26, 12, symbols=Characters(alphabet="abcdefghijklmnopqrstuvwxyz")),
    tt.Points(3),
    tt.Labels(3, names=("cat", "dog", "emu")),
    tt.Voxels(1, 4, 5, 6),
    tt.Video(3, 3, 16, 12),
]

GRIDS = [space for space in SPACES if space.kind not in ("labels", "tokens", "points")]


def batch(space, n: int = 2):
    generator = torch.Generator().manual_seed(0)
    if space.values is None:
        return torch.randn(n, *space.shape, generator=generator)
    return space.from_index(torch.randint(space.values, (n, *space.shape), generator=generator))


def test_every_kind_of_space_has_a_medium() -> None:
    assert {space.kind for space in AnySpace.__args__} == MEDIA.keys()
    for kind in MEDIA:
        assert of_kind(kind).ending and of_kind(kind).suffixes


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_what_is_written_is_read_again(space) -> None:
    medium, x = medium_of(space), batch(space)
    for one in x:
        file = medium.write(space, one[None])
        if isinstance(space, tt.Voxels):  # a surface is as large as fits; a grid is what it was
            assert medium.read(space, file).shape == space.shape
            file = medium.together(space, one[None], ".binvox")
        read = medium.read(space, file).astype(np.int64 if space.values else np.float32)
        back = space.from_index(torch.from_numpy(read))
        if isinstance(space, tt.Video):  # a GIF has 256 colors
            assert back.shape == one.shape and (back - one).abs().mean() < 0.2
        else:
            torch.testing.assert_close(back, one, atol=1e-6, rtol=1e-6)
    assert isinstance(medium.sheet(space, x), Image.Image) and len(medium.cells(space, x)) == 2
    with pytest.raises(BadFile):
        medium.read(space, b"\xff\xfe nothing of the kind \xff")
    with pytest.raises(BadFile):
        medium.survey([])


@pytest.mark.parametrize("space", GRIDS, ids=lambda s: s.kind)
def test_a_survey_finds_the_space_of_files(space) -> None:
    medium = medium_of(space)
    exact = partial(medium.together, ending=".binvox") if space.kind == "voxels" else medium.write
    found = medium.survey([b"not a file", *(exact(space, one[None]) for one in batch(space, 3))])
    assert found.shape == space.shape


def solid(seed: int, side: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random((side, side, side)) < 0.3


@pytest.fixture
def solids(tmp_path) -> Path:
    for i in range(6):
        (folder := tmp_path / ("chair" if i % 2 else "table")).mkdir(exist_ok=True)
        if i < 3:
            np.save(folder / f"{i}.npy", solid(i))
        elif i == 3:
            np.savez(folder / f"{i}.npz", voxels=solid(i).astype(np.uint8))
        else:
            (folder / f"{i}.binvox").write_bytes(binvox(solid(i)))
    (tmp_path / "chair" / "bad.npy").write_bytes(b"bad")
    return tmp_path


def test_a_folder_of_solids_is_data(solids) -> None:
    data = tt.data(solids, split="all")
    assert data.x == tt.Voxels(1, 6, 6, 6) and data.classes == ["chair", "table"] and len(data) == 6
    assert [p.file for p in data.problems] == ["chair/bad.npy"]
    rows = torch.arange(6)
    served = data.fetch(rows, ItemNoise(0, range(6))).x
    data.x.check(served)
    wanted = {solid(i).tobytes() for i in range(6)}
    assert {(one[0].numpy() > 0).tobytes() for one in served} == wanted
    again = tt.data(solids, split="all")  # from the cache
    assert again.fingerprint == data.fingerprint
    small = tt.data(solids, split="all", size=3)
    assert small.x == tt.Voxels(1, 3, 3, 3)
    assert small.fetch(rows, ItemNoise(0, range(6))).x.mean() > served.mean()  # what is thin stays
    with pytest.raises(UsageError, match="cube"):
        tt.data(solids, size=(3, 4))
    with pytest.raises(UsageError, match=r"channels=, binary= and noisy= are for images; this source holds solids"):
        tt.data(solids, channels=1)


def test_binvox_as_its_author_writes_it() -> None:
    """The file of a 2 x 2 x 2 grid with one voxel full at x = 1, y = 0 (the lowest), z = 1; y runs fastest."""
    flat = [0] * 8
    flat[1 * 4 + 1 * 2 + 0] = 1
    runs = bytes(v for value in flat for v in (value, 1))
    head = b"#binvox 1\ndim 2 2 2\ntranslate -0.5 -0.5 -0.5\nscale 1.0\ndata\n"
    found = of_binvox(head + runs)
    assert np.argwhere(found).tolist() == [[1, 1, 1]]  # height runs downward here
    for damaged in (head + runs[:-2], head + runs[:-1], b"#binvox 2\n", head.replace(b"2 2 2", b"9999 2 2") + runs):
        with pytest.raises(BadFile):
            of_binvox(damaged)


def frames(seed: int, n: int = 5, size: tuple[int, int] = (12, 16)) -> list[Image.Image]:
    """A light square that moves to the right, on dark: of two greys, so that a GIF keeps it."""
    out = []
    for t in range(n):
        picture = np.full(size, 20, np.uint8)
        picture[2:6, 2 * t : 2 * t + 4] = 200 + seed
        out.append(Image.fromarray(picture))
    return out


@pytest.mark.parametrize("ending", [".gif", ".webp", ".apng"])
def test_moving_pictures_are_read_frame_by_frame(ending) -> None:
    found = decode_video(moving(frames(3), ending))
    assert found.shape == (5, 1, 12, 16)
    assert np.abs(found[:, 0].astype(int) - np.stack([np.asarray(f) for f in frames(3)]).astype(int)).max() <= 2
    some = decode_video(moving(frames(3), ending), 2)
    assert np.array_equal(some, found[[0, 2]])
    with pytest.raises(BadFile, match="5 frames, where 6 are wanted"):
        decode_video(moving(frames(3), ending), 6)


def test_videos_are_data_where_frames_are_asked_for(tmp_path) -> None:
    for i in range(4):
        frames(i)[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames(i)[1:])
        (tmp_path / f"clip{i}").mkdir()
        for t, frame in enumerate(frames(i + 10)):
            frame.save(tmp_path / f"clip{i}" / f"frame{t + 8}.png")  # frame8, frame9, frame10, ...
    data = tt.data(tmp_path, split="all", frames=4)
    assert data.x == tt.Video(4, 1, 12, 16) and len(data) == 8
    x = data.fetch(torch.arange(8), ItemNoise(0, range(8))).x
    data.x.check(x)
    brightest = data.x.nearest(x).amax((2, 4)).amax(-1)
    assert sorted(brightest[:, 0].tolist()) == [200, 201, 202, 203, 210, 211, 212, 213]
    place = data.x.nearest(x)[:, :, 0, 3].float().argmax(-1)
    assert all(row == [0, 2, 4, 6] for row in place.tolist())  # in the order of the numbers in their names
    assert data.opened["frames"] == 4
    brought = tt.data(tmp_path / "0.gif", frames=4, size=(6, 8), channels=3)
    assert brought.x == tt.Video(4, 3, 6, 8) and len(brought) == 1
    with pytest.raises(UsageError, match="frames=0"):
        tt.data(tmp_path, frames=0)


def test_a_film_needs_pyav_and_says_so(tmp_path) -> None:
    try:
        import av  # noqa: F401
    except ImportError:
        (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
        with pytest.raises(DataError, match=re.escape("pip install 'triptych[video]'")):
            tt.data(tmp_path)


def test_a_zip_of_frames_is_a_video() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for t, frame in enumerate(frames(0)):
            png = io.BytesIO()
            frame.save(png, "PNG")
            archive.writestr(f"{t}.png", png.getvalue())
    assert decode_video(out.getvalue()).shape == (5, 1, 12, 16)


def test_one_file_is_read_as_the_packer_reads_a_million(tmp_path) -> None:
    """A lone file is data of one item, of whatever split; and what is served of it is what its medium reads."""
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    lone = tt.data(tmp_path / "in" / "a.png", size=(8, 10))
    many = tt.data(tmp_path / "in", size=(8, 10), split="all")
    one, other = (d.fetch(torch.tensor([0]), ItemNoise(0, [0])).x for d in (lone, many))
    assert len(lone) == 1 and torch.equal(one, other)
    space = tt.Images(3, 8, 10)
    read = medium_of(space).read(space, (tmp_path / "in" / "a.png").read_bytes())
    assert torch.equal(space.from_index(torch.from_numpy(read)), one[0])


def test_a_lone_file_is_scored_whatever_the_split(tmp_path, cli) -> None:
    run = tmp_path / "run"
    words = ["pixelcnn", "--data", "mnist-binary", "--out", run, "--steps", "2", "--batch", "4"]
    assert cli("train", *words, "width=8", "blocks=1", "head=8").code == 0
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)).save(tmp_path / "a.png")
    done = cli("score", run, "--data", tmp_path / "a.png")
    assert done.code == 0, done.err
    assert cli("impute", run, "--data", tmp_path / "a.png", "-n", 1).code == 0


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_samples_of_every_space_are_written_and_checked(space, tmp_path) -> None:
    model, x = type("Model", (), {"config": type("C", (), {"x": space})})(), batch(space, 3)
    medium = medium_of(space)
    check_out(space, tmp_path / "each", 3)
    files = write(model, x, tmp_path / "each", {})
    assert [f.suffix for f in files] == [medium.ending] * 3
    with pytest.raises(UsageError, match="written as"):
        check_out(space, tmp_path / "x.pdf")
    (whole,) = write(model, x, tmp_path / "all.npz", {})
    if space.kind not in ("labels", "tokens", "points"):
        again = tt.data(whole, split="all")
        assert again.x == space
        first = again.fetch(torch.arange(3), ItemNoise(0, range(3))).x
        assert {one.numpy().tobytes() for one in first} == {one.numpy().tobytes() for one in x}


def test_toys_of_every_space_are_in_it() -> None:
    for space in SPACES:
        space.check(Examples(space, n=4).fetch(torch.arange(4), ItemNoise(0, range(4))).x)
