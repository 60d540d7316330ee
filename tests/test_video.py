"""Video prediction: the published clips, what models and baselines get by the field's measures, films in and out."""

import io
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, ItemNoise, Picture, UsageError, Video, evaluating
from triptych.data import builtin, library, moving
from triptych.data.library import animated, pedestrians
from triptych.data.library.recipe import Archives, Folder
from triptych.media.video import MILLISECONDS, MOVING, Film, VideoMedium, decode
from triptych.tasks.measuring import against_truth
from triptych.tasks.task import posed
from triptych.tasks.video_prediction import VideoPrediction, foreseen
from triptych.verbs.create import create
from triptych.verbs.opening import own


def clip(n: int = 6, side: int = 16) -> np.ndarray:
    """A light square that moves a pixel to the right at each frame, uint8 [n, 1, side, side]."""
    found = np.zeros((n, 1, side, side), np.uint8)
    for t in range(n):
        found[t, 0, 4:8, 2 + t : 6 + t] = 255
    return found


def test_moving_pictures_bounce_by_the_protocol() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        path = moving.path(random, 200)
        assert path.min() >= 0 and path.max() <= 1
        steps = np.diff(path, axis=0)
        free = ((path[1:] > 0) & (path[1:] < 1) & (path[:-1] > 0) & (path[:-1] < 1)).all(1)
        assert np.allclose(np.linalg.norm(steps[free], axis=1), 0.1)
        for axis in range(2):  # what is not all but still on an axis goes from edge to edge, and back
            if np.abs(steps[free][:, axis]).min() > 0.02:
                assert path[:, axis].min() == 0 and path[:, axis].max() == 1
    digits = np.full((3, 28, 28), 200, np.uint8)
    made = list(moving.clips(digits, 3, seed=1))
    assert [one.shape for one in made] == [(20, 1, 64, 64)] * 3
    assert all(784 <= (frame == 200).sum() <= 2 * 784 for one in made for frame in one)  # whole, never cut off
    assert np.array_equal(made[0], next(moving.clips(digits, 1, seed=1)))


def test_moving_mnist_is_data_for_the_task(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(builtin, "CLIPS", {"train": 5, "test": 4})
    data = tt.data("moving-mnist", cache=tmp_path)
    assert data.x == Video(20, 1, 64, 64) and len(data) == 5
    task = posed(data, VideoPrediction())
    batch = task.fetch(torch.arange(2), ItemNoise(0, range(2)))
    assert batch.x.shape == batch.given.grid.shape == (2, 10, 1, 64, 64)
    assert torch.equal(torch.cat([batch.given.grid, batch.x], 1), data.fetch(torch.arange(2), ItemNoise(0, range(2))).x)
    with pytest.raises(UsageError, match="clips of 20 frames, where past=10 and ahead=5 make 15"):
        posed(data, VideoPrediction(ahead=5))
    with pytest.raises(UsageError, match="64 x 64"):
        tt.data("moving-mnist", size=32, cache=tmp_path)


def test_measures_are_those_of_the_field() -> None:
    """Of a square of 4 x 4 that moves a pixel at each frame, copying the last is 2 * 4 k pixels off at frame k."""
    x = torch.from_numpy(clip()).float()[None] / 127.5 - 1
    given, truth = Picture(x[:, :3]), x[:, 3:]
    task = VideoPrediction(past=3, ahead=3)
    copied = {m.name: m for m in task.measure(task.baselines()["copy last"](given, Video(3, 1, 16, 16)), truth, given)}
    assert copied["MSE"].value == pytest.approx(np.mean([8, 16, 24]))
    assert copied["MAE"].value == pytest.approx(np.mean([8, 16, 24]))
    assert copied["PSNR"].value == pytest.approx(np.mean([10 * np.log10(256 / k) for k in (8, 16, 24)]))
    black = {m.name: m for m in task.measure(task.baselines()["black"](given, Video(3, 1, 16, 16)), truth, given)}
    assert black["MSE"].value == pytest.approx(16)
    exact = {m.name: m for m in task.measure(truth, truth, given)}
    assert exact["MSE"].value == 0 and exact["SSIM"].value == pytest.approx(1)


def test_any_number_of_frames_is_foreseen_from_any_number() -> None:
    lstm, simvp = create("conv-lstm-tiny"), create("simvp-tiny")
    frames = torch.rand(1, 5, 1, 8, 8) * 2 - 1
    with evaluating(lstm), torch.no_grad():
        long = lstm.foresee(frames, 7)
        assert long.shape == (1, 7, 1, 8, 8)
        assert torch.allclose(long[:, :2], lstm.foresee(frames, 2), atol=1e-5)
        assert not torch.allclose(long[:, :2], lstm.foresee(frames[:, -3:], 2), atol=1e-5)  # all of them are looked at
    with evaluating(simvp), torch.no_grad():
        found = foreseen(simvp, frames, 5, seed=0)
        assert found.shape == (1, 5, 1, 8, 8)
        first = simvp.sample(1, Picture(frames[:, -3:]))
        assert torch.allclose(found[:, :2], first, atol=1e-5)
        second = simvp.sample(1, Picture(torch.cat([frames[:, -1:], first], 1)))
        assert torch.allclose(found[:, 2:4], second, atol=1e-5)


def test_films_are_read_and_written(tmp_path) -> None:
    film = Film(clip())
    for name in ("a.gif", "a.webp", "a.apng", "frames"):
        again = Film.read(film.save(tmp_path / name))
        assert again.frames.shape == film.frames.shape
        assert np.abs(again.frames.astype(int) - film.frames).max() <= 2
    assert sorted(p.name for p in (tmp_path / "frames").iterdir())[0] == "0000.png"
    assert Film.whole(tmp_path / "frames") and not Film.whole(tmp_path)
    with Image.open(film.save(tmp_path / "strip.png")) as strip:
        assert strip.width > 6 * 16
    with pytest.raises(UsageError, match=r"name a file that ends in \.gif, \.mp4, \.webp, \.apng, \.png"):
        film.save(tmp_path / "a.avi")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no frames in it"):
        Film.read(tmp_path / "empty")
    Image.new("L", (20, 20)).save(tmp_path / "frames" / "9999.png")
    with pytest.raises(UsageError, match="its frames are of different sizes: 16 x 16 and 20 x 20"):
        Film.read(tmp_path / "frames")
    with pytest.raises(UsageError, match="float64"):
        Film.read(np.zeros((2, 1, 4, 4)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stands", [(0, 0, 1, 1, 1, 0), (0, 0, 0, 0, 0, 0), (0, 1, 2, 3, 3, 3), (0,)])
@pytest.mark.parametrize("ending", [".gif", ".webp", ".apng", ".mp4", ""])
def test_a_film_that_stands_still_keeps_its_frames(tmp_path, ending, stands, channels) -> None:
    """Writers of animations join frames that are equal: the film lasts as long, and has fewer frames."""
    if ending == ".mp4":
        pytest.importorskip("av", reason="MP4 is written by PyAV")
    frames = clip()[list(stands)] * np.array([1, 1, 0.5][:channels])[:, None, None]
    path = Film(frames.astype(np.uint8)).save(tmp_path / f"a{ending}")
    again = Film.read(path).frames
    assert len(again) == len(stands)
    error = np.abs(again.astype(int) - frames)
    assert error.mean() < 12 and (ending == ".mp4" or error.max() <= 2)  # which alone is not without loss
    if ending in MOVING and len(stands) > 1:
        with Image.open(path) as image:
            for k in range(len(stands)):
                image.seek(k)
                image.load()
                assert image.info["duration"] == MILLISECONDS


@pytest.mark.parametrize("ending", [".gif", ".webp", ".mp4"])
def test_samples_that_stand_still_keep_their_frames(ending) -> None:
    if ending == ".mp4":
        pytest.importorskip("av", reason="MP4 is written by PyAV")
    space, medium = Video(5, 3, 8, 8), VideoMedium()
    x = torch.full((2, *space.shape), -1.0)
    assert len(decode(medium.together(space, x, ending))) == 5
    assert len(decode(medium.write(space, x[:1]))) == 5


def test_mp4_is_written_by_pyav_or_said(tmp_path) -> None:
    film = Film(clip(side=17))
    try:
        import av  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"\.mp4 is written by PyAV"):
            film.save(tmp_path / "a.mp4")
        return
    again = Film.read(film.save(tmp_path / "a.mp4"))
    assert again.frames.shape[0] == 6 and again.frames.shape[2:] == (18, 18)  # sides are even in it
    assert np.abs(again.frames[..., :17, :17].astype(int) - film.frames).mean() < 12


def test_of_a_folder_of_frames_the_one_that_cannot_be_read_is_named(tmp_path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"its frame 1\.png: not a PNG"):
        Film.read(tmp_path)


def test_a_clip_that_is_too_short_is_not_called_damaged(tmp_path) -> None:
    frames = [Image.new("L", (8, 8), k) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.gif: 3 frames, where 20 are wanted"):
        tt.data(tmp_path, frames=20)


def test_a_video_is_gone_on_with_at_the_command_line(tmp_path, cli) -> None:
    (tmp_path / "clips").mkdir()
    for i in range(12):
        Film(np.roll(clip(), i % 5, 3)).save(tmp_path / "clips" / f"{i}.gif")
    run = tmp_path / "run"
    words = ["--data", tmp_path / "clips", "--out", run, "--steps", "2", "--batch", "4", "past=4", "ahead=2"]
    done = cli("train", "video-prediction", "--size", "16", *words, "width=4", "mixed=8", "depth=1", "kernel=3")
    assert done.code == 0, done.err
    done = cli("apply", run, "--video", tmp_path / "clips" / "0.gif", "--ahead", "5", "--out", tmp_path / "later.gif")
    assert done.code == 0, done.err
    assert Film.read(tmp_path / "later.gif").frames.shape == (5, 1, 16, 16)
    Film(clip(2, 20)).save(tmp_path / "frames")  # of another size, and too short
    done = cli("apply", run, "--video", tmp_path / "frames", "--out", tmp_path / "out", "--sheet", tmp_path / "s.png")
    assert done.code == 0 and len(list((tmp_path / "out").iterdir())) == 2 and (tmp_path / "s.png").exists(), done.err
    (tmp_path / "bad.gif").write_bytes(b"GIF89a")
    done = cli("apply", run, "--video", tmp_path / "bad.gif", "--out", tmp_path / "b.gif")
    assert done.code == 2 and "bad.gif" in done.err and "Traceback" not in done.err
    found = against_truth(tt.load(run), own(run, tt.load(run), "test"))
    assert {m.name for m in found} == {"MSE", "MAE", "PSNR", "SSIM"}
    assert set(found[0].baselines) == {"copy last", "mean frame", "black"}


def test_videos_in_colour_stay_so(tmp_path, cli) -> None:
    """A grey model of that run then says how data in colour are opened for it."""
    (tmp_path / "clips").mkdir()
    for i in range(12):
        one = np.repeat(np.roll(clip(), i % 5, 3), 3, 1)
        one[:, 0] //= 2
        Film(one).save(tmp_path / "clips" / f"{i}.webp")
    words = ["--data", tmp_path / "clips", "--steps", "1", "--batch", "4", "--no-pictures", "past=4", "ahead=2"]
    small = ["--size", "16", "width=4", "mixed=8", "depth=1", "kernel=3", "start=mean"]
    done = cli("train", "video-prediction", "--out", tmp_path / "run", *words, *small)
    assert done.code == 0, done.err
    assert tt.load(tmp_path / "run").config.x == Video(2, 3, 16, 16)
    done = cli("train", "video-prediction", "--out", tmp_path / "grey", "--channels", "1", *words, *small)
    assert done.code == 0 and tt.load(tmp_path / "grey").config.x.channels == 1, done.err
    shutil.copytree(tmp_path / "clips", tmp_path / "others")
    done = cli("evaluate", tmp_path / "grey", "--data", tmp_path / "others", "-n", "50")
    assert done.code == 2 and "channels" in done.err, done.err


def test_a_network_may_add_to_the_mean_of_the_frames_before() -> None:
    model = create("simvp-tiny-mean").eval()
    frames = torch.rand(3, 2, 3, 4, 4) * 2 - 1
    found = model.sample(3, Picture(frames), seed=0)
    torch.testing.assert_close(found, frames.mean(1, keepdim=True).expand(3, 4, 3, 4, 4))  # before training, it adds 0
    torch.nn.init.normal_(model.net.last[-1].weight)
    assert not torch.allclose(model.sample(3, Picture(frames), seed=0), found)


def test_several_futures_are_drawn_of_one_video(tmp_path, cli) -> None:
    """By a model of codes: another for each seed, and measured by several."""
    (tmp_path / "clips").mkdir()
    for i in range(12):
        Film(np.roll(clip(), i % 5, 3)).save(tmp_path / "clips" / f"{i}.gif")
    run, small = (
        tmp_path / "run",
        ["levels=[4,3]", "tokenizer_width=8", "past_width=4", "mixed=8", "width=24", "layers=1"],
    )
    words = ["--data", tmp_path / "clips", "--out", run, "--steps", "2", "--batch", "4", "past=4", "ahead=2"]
    done = cli("train", "video-prediction", "--model", "videogpt-64", "--no-pictures", "--size", "16", *words, *small)
    assert done.code == 0, done.err
    asked = ["apply", run, "--video", tmp_path / "clips" / "0.gif", "--ahead", "5"]
    done = cli(*asked, "--out", tmp_path / "later.gif", "--seeds", "0-2", "--guidance", "2", "--temperature", "0.9")
    assert done.code == 0, done.err
    made = [Film.read(tmp_path / f"later-{seed}.gif").frames for seed in range(3)]
    assert made[0].shape == (5, 1, 16, 16) and (made[0] != made[1]).any() and (made[1] != made[2]).any()
    model = tt.load(run)
    found = {
        m.name: m.value
        for m in VideoPrediction(past=4, ahead=2).further(model, own(run, model, "test"), limit=3, seed=0)
    }
    assert found["MSE, best of 8"] <= found["MSE, one answer"]
    assert found["MSE, mean of 8"] > 0
    with pytest.raises(UsageError, match=r"simvp foresees one thing only, and draws nothing: leave out guidance=2"):
        VideoPrediction(past=3, ahead=2).ask(create("simvp-tiny"), video=tmp_path / "clips" / "0.gif", guidance=2.0)


def test_what_is_drawn_of_what_was_drawn_is_drawn_anew() -> None:
    """The second part of a roll-out has noise of its own."""
    model = create("videogpt-tiny-blocks").eval()
    torch.nn.init.normal_(model.out.weight, std=3.0)
    found = foreseen(model, frames := torch.zeros(1, 1, 3, 4, 4), 7, seed=0)
    first = model.sample(1, Picture(frames), seed=0, first=0)
    second = model.sample(1, Picture(first[:, -1:]), seed=0, first=1)
    assert found.shape == (1, 7, 3, 4, 4)
    assert torch.equal(found[:, :4], first) and torch.equal(found[:, 4:], second[:, :3])


def test_emoji_that_move_are_held_out_by_code_point(tmp_path, monkeypatch) -> None:
    one, two = (io.BytesIO() for _ in range(2))
    Image.new("RGB", (8, 8)).save(one, "WEBP")
    Film(clip(2)).pictures()[0].save(two, "WEBP", save_all=True, append_images=Film(clip(2)).pictures()[1:])
    codes = [f"{c:x}" for c in range(0x1F600, 0x1F630)]
    files = {f"{animated.WHERE}{c}{tone}.webp": two.getvalue() for c in codes for tone in ("", "-1f3fb", "-fe0f-1f3ff")}
    files |= {f"{animated.WHERE}2764.webp": one.getvalue(), "package/README.md": b""}
    monkeypatch.setattr(Archives, "members", lambda self, name, wanted: ((n, c) for n, c in files.items() if wanted(n)))
    folder = Folder(tmp_path / "set")
    folder.path.mkdir()
    animated.write(Archives({}), folder)
    assert folder.counts.total() == 3 * 48 and 0 < folder.counts["test"] < 48  # what stands still is left out
    held = {p.name for p in (tmp_path / "set" / "test").iterdir()}
    assert all((f"{c}.webp" in held) == (f"{c}-1f3ff.webp" in held) == (f"{c}-1f3fb.webp" in held) for c in codes)
    files[f"{animated.WHERE}2764.webp"] = b"RIFF"
    with pytest.raises(DataError, match=r"2764\.webp cannot be decoded"):
        animated.write(Archives({}), folder)


def test_squares_of_a_film_are_those_in_which_something_moves(tmp_path, monkeypatch) -> None:
    """A thing walks through the left of a film, in both parts of it; the right is still."""
    film = np.full((200, 128, 256, 3), (90, 120, 60), np.uint8)
    for t in range(200):
        film[t] += t % 20  # it dawns: files do not keep frames that are the same
        film[t, 40:80, 4 * (t % 20) : 4 * (t % 20) + 16] = 255
    monkeypatch.setattr(pedestrians, "rolled", lambda data: (av_like(frame) for frame in film))
    monkeypatch.setattr(Archives, "one", lambda self, package, name: b"")
    folder = Folder(tmp_path / "set")
    folder.path.mkdir()
    pedestrians.write(Archives({}), folder)
    assert folder.counts == {"train": 16, "test": 4}
    assert {p.stem[-7:] for p in (tmp_path / "set").glob("*/*.webp")} == {"000-000", "000-032"}
    clips = tt.data(tmp_path / "set", frames=20, cache=tmp_path / "cache")
    assert clips.x == Video(20, 3, 64, 64) and len(clips) == 16
    seen = clips.x.index(clips.fetch(torch.arange(1), ItemNoise(0, [0])).x)[0, :, 0]
    assert torch.equal(seen, torch.from_numpy(film[:20, ::2, :128:2, 0]).long())


def test_a_set_that_is_a_film_says_what_reads_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(Archives, "one", lambda self, package, name: b"RIFF0000AVI LIST")
    with pytest.raises(UsageError, match=r"vtest.avi: avi is read by PyAV: pip install"):
        pedestrians.write(Archives({}), Folder(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr(Archives, "one", lambda self, package, name: b"not a film")
    with pytest.raises(DataError, match=r"vtest.avi cannot be decoded: neither GIF"):
        pedestrians.write(Archives({}), Folder(tmp_path))


def av_like(frame: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(to_image=lambda: Image.fromarray(frame))


@pytest.mark.parametrize("recipe", [animated.RECIPE, pedestrians.RECIPE], ids=lambda r: r.name)
def test_the_set_is_as_it_says(recipe) -> None:
    if (place := library.where(recipe, None)) is None:
        pytest.skip(f"`triptych data get {recipe.name}` brings it")
    assert {split: len(list((place / split).iterdir())) for split in ("train", "test")} == recipe.counts


def test_a_set_of_the_library_is_opened_as_videos(tmp_path, monkeypatch) -> None:
    (tmp_path / "clips").mkdir()
    Film(clip()).save(tmp_path / "clips" / "a.webp")
    monkeypatch.setattr(library, "folder_of", lambda source, cache: tmp_path / "clips")
    assert tt.data("animated-emoji", frames=3, split="all", cache=tmp_path / "cache").x == Video(3, 1, 16, 16)
