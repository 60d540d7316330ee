"""Tasks: how they pose, ask, answer and compare."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import triptych as tt
from triptych import tasks
from triptych.core import AnySize, ItemNoise, Picture, Points, UsageError
from triptych.tasks.degradation import as_jpeg, blurred, eight_bits, smaller, worn
from triptych.tasks.filling import masked, smoothed
from triptych.tasks.holes import border_mean, boxes, diffused, holes, strokes, thickness
from triptych.tasks.inpainting import Inpainting
from triptych.tasks.super_resolution import SuperResolution
from triptych.tasks.task import Task, columns_of, posed, to_json
from triptych.testing import Examples

X = tt.Images(3, 16, 24)


def noise(n: int = 6, seed: int = 0) -> ItemNoise:
    return ItemNoise(seed, range(n))


def test_every_page_is_in_the_table() -> None:
    folder = Path(tasks.__file__).parent
    helpers = {
        "__init__",
        "task",
        "holes",
        "filling",
        "degradation",
        "measuring",
        "captions",
        "fitting",
        "faces",
        "phonemes",
        "listening",
        "speaking",
    }
    pages = {p.stem for p in folder.glob("*.py")} - helpers
    assert pages == {where.partition(".")[0] for where, _ in tasks.TASKS.values()}
    for name in tasks.TASKS:
        kind = tasks.find(name)
        assert kind.name == name and isinstance(kind(), Task)
    with pytest.raises(UsageError, match="did you mean inpainting"):
        tasks.find("inpaint")


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_refuses_all_else_in_one_sentence(name) -> None:
    task = tasks.find(name)()
    other = "wearer" if name == "clothing" else "A"
    columns = dict.fromkeys(("x", other), Points(2))
    with pytest.raises(
        UsageError, match=rf"^{name} is for (pictures|videos|recordings|solids); (x|{other}) holds Points\(dims=2\)"
    ):
        task.spaces(columns)


def test_spaces_are_asked_and_not_told_apart() -> None:
    """What is asked with isinstance of a space says why, on its line or the one before."""
    telling = re.compile(r"isinstance\(.*\b(Images|Tokens|Labels|PartialLabels|Voxels|Points|Audio|Video|Leveled)\b")
    lines = list[tuple[str, str]]()
    for path in Path(tt.__file__).parent.rglob("*.py"):
        text = path.read_text().splitlines()
        lines += [(before, line) for before, line in zip(["", *text], text, strict=False) if telling.search(line)]
    assert len(lines) <= 5 and all("  # " in before + line for before, line in lines), lines


@pytest.mark.parametrize("task", [SuperResolution(times=3, degradation="real"), Inpainting(hole="box")])
def test_a_task_is_saved_and_read(task) -> None:
    assert tasks.from_json(to_json(task)) == task


@pytest.mark.parametrize("value", [None, {}, {"name": 3}, {"name": "x"}, {"name": "inpainting", "hole": "star"}])
def test_what_is_no_task_is_refused(value) -> None:
    with pytest.raises(UsageError):
        tasks.from_json(value)


@pytest.mark.parametrize("task", [SuperResolution(times=2), SuperResolution(times=4, shrink=2), Inpainting()])
def test_posed_data_are_data(task) -> None:
    data = posed(Examples(X, n=8), task)
    rows = torch.tensor([5, 2])
    batch = data.fetch(rows, ItemNoise(1, rows.tolist()))
    data.x.check(batch.x)
    data.given.check_condition(batch.given)
    again = data.fetch(rows[1:], ItemNoise(1, [2]))
    torch.testing.assert_close(again.given.grid[0], batch.given.grid[1])
    assert data.fingerprint != posed(Examples(X, n=8), Inpainting(hole="center")).fingerprint


def test_tasks_say_what_data_they_take() -> None:
    with pytest.raises(UsageError, match="crop=128 would do"):
        SuperResolution(times=4).spaces({"x": tt.Images(3, 18, 24)})
    for task in (SuperResolution(), Inpainting()):
        with pytest.raises(UsageError, match=r"pictures|photographs"):
            task.spaces({"x": Points(2)})


def test_a_small_picture_is_an_antialiased_bicubic_one_of_8_bits() -> None:
    x = Examples(X, n=6).values
    same, given = SuperResolution(times=2).pose({"x": x}, noise())
    wanted = F.interpolate(x, size=(8, 12), mode="bicubic", antialias=True)
    assert same is x and (given.grid - wanted.clamp(-1, 1)).abs().max() <= 1 / 255 + 1e-6
    levels = (given.grid + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_of_a_constant_picture_every_baseline_gets_everything_right() -> None:
    x = torch.full((2, 3, 16, 24), 0.5)
    for task in (SuperResolution(times=4), Inpainting()):
        _, given = task.pose({"x": eight_bits(x)}, noise(2))
        for name, fill in task.baselines().items():
            torch.testing.assert_close(fill(given, X), eight_bits(x), atol=1e-5, rtol=0, msg=name)


# Degradation


def test_real_pictures_are_worn_each_in_its_own_way() -> None:
    x = Examples(X, n=6).values
    a, b = worn(x, noise()), worn(x, noise(seed=1))
    assert a.shape == x.shape and not torch.allclose(a, b)
    torch.testing.assert_close(worn(x[:2], noise(2)), a[:2])
    assert worn(x[:0], noise(0)).shape == (0, 3, 16, 24)


def test_a_blur_keeps_what_is_constant_and_spreads_a_point() -> None:
    flat = torch.full((1, 2, 20, 20), 0.3)
    torch.testing.assert_close(blurred(flat, torch.tensor([2.0])), flat)
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    spread = blurred(point, torch.tensor([1.5]))[0, 0]
    at = torch.arange(31.0) - 15
    assert spread.sum().item() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(0) * at**2).sum().item() == pytest.approx(1.5**2, rel=0.01)
    torch.testing.assert_close(blurred(point, torch.tensor([0.0])), point)


def test_jpeg_at_high_quality_changes_little_and_at_low_more() -> None:
    x = smaller(torch.rand(1, 3, 64, 64) * 2 - 1, 2)[0]
    x = F.interpolate(x[None], size=(64, 64), mode="bilinear")[0]
    assert (as_jpeg(x, 95) - x).abs().mean() < (as_jpeg(x, 30) - x).abs().mean()


# Holes


@pytest.mark.parametrize("kind", ["mixed", "box", "strokes", "center"])
def test_holes_leave_something_and_take_something(kind) -> None:
    found = holes(noise(200), 32, 48, kind)
    share = found.float().mean((1, 2, 3))
    assert found.shape == (200, 1, 32, 48) and share.min() > 0.01 and share.max() < 0.75
    assert torch.equal(found[3:5], holes(ItemNoise(0, [3, 4]), 32, 48, kind))


def test_boxes_are_boxes_of_a_quarter_to_a_half() -> None:
    for hole in boxes(torch.rand(50, 4), 32, 32)[:, 0]:
        rows, columns = hole.any(1).sum().item(), hole.any(0).sum().item()
        assert hole.sum() == rows * columns and 8 <= rows <= 16 and 8 <= columns <= 16


def test_strokes_are_as_wide_as_they_say() -> None:
    u = torch.rand(20, 25)
    u[:, 0] = 1  # the widest: a fifth of the side
    assert max(thickness(hole) for hole in strokes(u, 60, 60)[:, 0]) >= 6


@pytest.mark.parametrize("side", [1, 2, 7, 10])
def test_thickness_is_the_side_of_the_largest_square(side) -> None:
    hole = torch.zeros(12, 20, dtype=torch.bool)
    hole[1 : 1 + side, 2 : 2 + side] = True
    hole[0, :] = True
    assert thickness(hole) == side
    assert thickness(torch.zeros(4, 4, dtype=torch.bool)) == 0


def test_thickness_of_any_hole_is_what_trying_every_square_says() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        hole = F.interpolate(torch.rand(1, 1, 3, 4, generator=generator), size=(13, 17), mode="bilinear")[0, 0] > 0.4
        tried = [s for s in range(1, 14) if hole.unfold(0, s, 1).unfold(1, s, 1).flatten(2).all(-1).any()]
        assert thickness(hole) == max(tried, default=0)


def test_a_picture_is_smoothed_in_parts_as_it_is_as_a_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    x = F.interpolate(torch.rand(1, 3, 12, 9, generator=generator) * 2 - 1, size=(200, 150), mode="bicubic").clamp(
        -1, 1
    )
    hole = torch.zeros(200, 150, dtype=torch.bool)
    hole[20:180, 70:78], hole[100:104], hole[130:142, 20:32] = True, True, True
    wanted, sizes = masked(x, hole[None, None]).grid, []

    def read(part):
        sizes.append((part[2] - part[0]) * (part[3] - part[1]))
        return x[..., part[0] : part[2], part[1] : part[3]]

    parts = smoothed(read, hole, 16)
    for part in [(0, 0, 40, 40), (40, 40, 80, 80), (96, 64, 160, 150), (17, 3, 61, 50), (160, 100, 200, 150)]:
        found = parts.part(part)
        torch.testing.assert_close(found, wanted[..., part[0] : part[2], part[1] : part[3]], atol=0.01, rtol=0)
    assert max(sizes) <= (64 + 4 * 16) * (86 + 4 * 16)  # no more of the picture than that is ever read
    assert parts.wanted((0, 60, 30, 75)) and not parts.wanted((0, 0, 90, 60))


def test_simple_fills_know_their_answers() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16).clone()
    hole = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hole[..., 4:12, 4:12] = True
    torch.testing.assert_close(diffused(ramp * ~hole, hole, 2000), ramp, atol=2e-2, rtol=0)  # a ramp is harmonic
    filled = border_mean(ramp * ~hole, hole)
    beside = torch.cat([ramp[0, 0, 3, 3:13], ramp[0, 0, 12, 3:13], ramp[0, 0, 4:12, 3], ramp[0, 0, 4:12, 12]])
    assert filled[0, 0, 7, 7].item() == pytest.approx(beside.mean().item(), abs=1e-6)
    assert torch.equal(filled[~hole], ramp[~hole])


def test_a_masked_picture_has_a_smooth_hole_and_says_where() -> None:
    x, hole = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hole[..., 1:3, 1] = True
    given = masked(x, hole)
    torch.testing.assert_close(given.grid[:, :3], x)
    assert given.grid[0, 3].tolist() == (hole[0, 0].float() * 2 - 1).tolist()
    torch.testing.assert_close(masked(torch.where(hole, 9.0, x), hole).grid, given.grid)
    assert Inpainting().shown(given, x)[hole.expand_as(x)].tolist() == [0] * 6


# From a file to a file


class Grey(AnySize[Picture]):
    """Fills every hole with white."""

    name, reach = "white", 0

    def __init__(self) -> None:
        super().__init__()
        from types import SimpleNamespace

        self.config = SimpleNamespace(x=tt.Images(3, 8, 8), given=tt.Images(4, 8, 8))
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def draw(self, noise, given):
        return torch.ones_like(given.grid[:, :-1])

    def stages(self):
        return []


@pytest.fixture
def holed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (20, 30, 3), dtype=np.uint8)
    hole = np.zeros((20, 30), bool)
    hole[5:9, 20:25] = True
    Image.fromarray(pixels).save(tmp_path / "p.png")
    Image.fromarray(hole).save(tmp_path / "m.png")
    return tmp_path, pixels, hole


@pytest.mark.parametrize("invert", [False, True])
def test_white_is_filled_and_all_else_stays(holed, invert) -> None:
    folder, pixels, hole = holed
    task, model = Inpainting(), Grey()
    question = task.ask(model, picture=folder / "p.png", mask=folder / "m.png", invert_mask=invert)
    out = task.answer(model, question, seed=0, tile=None)
    filled = ~hole if invert else hole
    assert np.array_equal(out.pixels[~filled], pixels[~filled]) and (out.pixels[filled] == 255).all()


def test_what_is_transparent_is_filled_and_then_opaque(holed) -> None:
    folder, pixels, hole = holed
    Image.fromarray(np.dstack([pixels, np.where(hole, 0, 255).astype(np.uint8)])).save(folder / "a.png")
    task, model = Inpainting(), Grey()
    out = task.answer(model, task.ask(model, picture=folder / "a.png"), seed=0, tile=None)
    assert out.alpha is None and (out.pixels[hole] == 255).all() and np.array_equal(out.pixels[~hole], pixels[~hole])


def test_a_hole_larger_than_those_trained_on_is_filled_at_a_smaller_size(holed, caplog) -> None:
    folder, pixels, _ = holed
    hole = np.zeros((20, 30), bool)
    hole[2:18, 4:20] = True
    Image.fromarray(hole).save(folder / "m.png")
    task, model = Inpainting(), Grey()
    with caplog.at_level(logging.INFO):
        out = task.answer(model, task.ask(model, picture=folder / "p.png", mask=folder / "m.png"), seed=0, tile=None)
    assert "4 times smaller" in caplog.text and (out.pixels[hole] == 255).all()
    assert np.array_equal(out.pixels[~hole], pixels[~hole])


def test_masks_that_do_not_do_are_refused_by_name(holed) -> None:
    folder, _, _ = holed
    task, model = Inpainting(), Grey()
    Image.new("L", (5, 5), 255).save(folder / "small.png")
    Image.new("L", (30, 20), 0).save(folder / "black.png")
    Image.new("L", (30, 20), 255).save(folder / "white.png")
    for mask, words in {"small": "5 x 5", "black": "nothing to fill", "white": "whole picture"}.items():
        with pytest.raises(UsageError, match=words):
            task.ask(model, picture=folder / "p.png", mask=folder / f"{mask}.png")
    with pytest.raises(UsageError, match="nothing transparent"):
        task.ask(model, picture=folder / "p.png")


def test_an_autoregressive_model_fills_holes_exactly() -> None:
    model = tt.create("pixelcnn", x=tt.Images(1, 4, 4, levels=2), width=8, blocks=1, head=8)
    picture = np.zeros((4, 4), np.uint8)
    picture[:2] = 255
    mask = np.zeros((4, 4), np.uint8)
    mask[2:] = 255
    task = Inpainting()
    question = task.ask(model, picture=picture, mask=mask)
    drawn = {task.answer(model, question, seed=s, tile=None).pixels.tobytes() for s in range(8)}
    assert len(drawn) > 1
    assert all(np.frombuffer(d, np.uint8)[:8].tolist() == [255] * 8 for d in drawn)
    with pytest.raises(UsageError, match="4 x 4"):
        task.ask(model, picture=np.zeros((5, 4), np.uint8), mask=mask)


def test_whole_pictures_are_answered_in_tiles_and_measured_beside_baselines(tmp_path) -> None:
    from triptych.models.translation.sr_compact import SRCompact, SRCompactConfig
    from triptych.tasks.measuring import whole_pictures

    random = np.random.default_rng(0)
    for name, size in {"train/a": (60, 50), "test/a": (50, 45), "test/b": (41, 64)}.items():
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    test = posed(tt.data(tmp_path, crop=24, split="test"), SuperResolution(times=2))
    model = SRCompact(SRCompactConfig(x=tt.Images(3, 24, 24), given=tt.Images(3, 12, 12), width=4, depth=1))
    psnr, ssim = whole_pictures(model.eval(), test)
    assert psnr.name == "PSNR, whole pictures" and psnr.n == "2 whole pictures"
    # a new network is the nearest-neighbor enlargement (`tests/test_sr_compact.py`)
    assert psnr.value == pytest.approx(psnr.baselines["nearest"], abs=1e-3)
    assert ssim.value == pytest.approx(ssim.baselines["nearest"], abs=1e-4)
    assert psnr.baselines["bicubic"] > psnr.baselines["nearest"]
    assert whole_pictures(model, posed(Examples(X), SuperResolution(times=2))) == ()


def test_columns_are_what_a_data_set_serves() -> None:
    assert columns_of(Examples(X)) == {"x": X}
