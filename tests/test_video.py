"""Video prediction: the published clips, what models and baselines get by the field's measures, films in and out."""

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import ItemNoise, Picture, UsageError, Video, evaluating
from triptych.data import builtin, moving
from triptych.media.video import Film
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
