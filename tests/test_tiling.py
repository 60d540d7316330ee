"""Pictures of any size, a tile at a time."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from triptych.core import AnySize, Generative, Images, Picture
from triptych.inference import tiling
from triptych.inference.tiling import Parts, hat, pieces, reflect, starts


class Blur(AnySize[Picture]):
    """Twice as large, after a mean over 5 x 5; zeros around the picture, as convolutions have it."""

    name, reach = "blur", 2

    def __init__(self, multiple: int = 1) -> None:
        super().__init__()
        self.config = SimpleNamespace(x=Images(1, 16, 16), given=Images(1, 8, 8))
        self.weight, self.multiple = nn.Parameter(torch.zeros(())), multiple

    def draw(self, noise, given):
        mean = F.avg_pool2d(given.grid, 5, 1, 2)
        return mean.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def stages(self):
        return []


class Fixed(Generative[Picture]):
    """The same picture, 8 x 8 only."""

    name = "fixed"

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(x=Images(1, 8, 8), given=Images(1, 8, 8))
        self.weight = nn.Parameter(torch.zeros(()))

    def draw(self, noise, given):
        return given.grid

    def stages(self):
        return []


def whole(model, grid, **options) -> torch.Tensor:
    ratio = model.config.x.height // model.config.given.height
    out = torch.full((1, grid.shape[2] * ratio, grid.shape[3] * ratio), torch.nan)
    for top, left, x in pieces(model, grid, seed=0, **options):
        part = out[:, top : top + x.shape[1], left : left + x.shape[2]]
        assert part.isnan().all(), "pieces overlap"
        part.copy_(x)
    return out


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (23, 41)])
@pytest.mark.parametrize("tile", [4, 7, None])
def test_tiles_of_a_fully_convolutional_model_are_the_whole_picture(size, tile) -> None:
    grid = torch.rand(1, 1, *size) * 2 - 1
    model = Blur()
    wanted = model.sample(1, Picture(grid), seed=0)[0]
    torch.testing.assert_close(whole(model, grid, tile=tile), wanted, atol=1e-6, rtol=0)


def test_sides_that_are_no_multiple_are_filled_up_and_cut_off_again() -> None:
    grid = torch.rand(1, 1, 9, 14) * 2 - 1
    inner = whole(Blur(multiple=4), grid, tile=8)
    torch.testing.assert_close(inner[:, :14, :24], whole(Blur(), grid)[:, :14, :24], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(3, 5), (8, 8), (8, 30), (21, 13)])
def test_tiles_of_a_model_of_one_size_fade_into_each_other(size) -> None:
    grid = torch.rand(1, 1, *size) * 2 - 1
    torch.testing.assert_close(whole(Fixed(), grid), grid[0], atol=1e-6, rtol=0)


def test_a_receptive_field_beyond_the_margin_is_faded() -> None:
    model = Blur()
    model.reach = 10_000
    grid = torch.rand(1, 1, 60, 200) * 2 - 1
    found = whole(model, grid, tile=40)
    torch.testing.assert_close(found, model.sample(1, Picture(grid), seed=0)[0], atol=0.5, rtol=0)
    assert not found.isnan().any()


def test_a_large_picture_says_how_far_it_is(monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(tiling, "TELL", -1.0)
    one_more = tiling.patience(3)
    for _ in range(3):
        one_more()
    assert [line.partition(",")[0] for line in caplog.messages] == ["1 of 3 tiles are done", "2 of 3 tiles are done"]


def test_tiles_are_spread_evenly_and_cover_all() -> None:
    for length in range(8, 60):
        at = starts(length, 8, 2)
        assert at[0] == 0 and at[-1] == max(0, length - 8)
        assert all(b - a <= 6 for a, b in pairwise(at))
    assert hat(6, 2).tolist() == [0.5, 1.5, 2, 2, 1.5, 0.5]


def test_reflection_reaches_any_size() -> None:
    grid = torch.arange(3.0).view(1, 1, 1, 3)
    assert reflect(grid, 0, 5).flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert reflect(torch.ones(1, 1, 1, 1), 3, 2).shape == (1, 1, 4, 3)


@pytest.mark.parametrize("size", [(3, 5), (9, 14), (1, 4)])
def test_a_part_beyond_the_ends_is_mirrored_as_the_whole_is(size) -> None:
    grid = torch.rand(1, 1, *size)
    wanted = reflect(grid, 20 - size[0], 20 - size[1])
    for part in [(0, 0, 20, 20), (size[0] - 1, size[1] - 2, size[0] + 2, size[1] + 3), (0, 1, size[0], size[1] + 1)]:
        assert torch.equal(Parts.of(grid).seen(part), wanted[..., part[0] : part[2], part[1] : part[3]]), part


@pytest.mark.parametrize("reach", [2, 10_000])
def test_what_nobody_wants_is_not_made_and_no_more_is_read_than_a_tile(reach) -> None:
    model, read = Blur(), list[tuple[int, int, int, int]]()
    model.reach = reach
    grid, place = torch.rand(1, 1, 400, 500) * 2 - 1, (150, 210, 160, 230)

    def part(p):
        read.append(p)
        return grid[..., p[0] : p[2], p[1] : p[3]]

    def wanted(p):
        return p[0] < place[2] and place[0] < p[2] and p[1] < place[3] and place[1] < p[3]

    out = torch.zeros(1, 800, 1000)
    for top, left, x in pieces(model, Parts(400, 500, part, wanted), seed=0, tile=40):
        out[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    a, b, c, d = (2 * at for at in place)
    torch.testing.assert_close(
        out[:, a:c, b:d], model.sample(1, Picture(grid), seed=0)[0][:, a:c, b:d], atol=1e-5, rtol=0
    ) if reach == 2 else None
    assert 0 < len(read) <= 16 and all(wanted(p) or reach == 2 for p in read)
    assert max((p[2] - p[0]) * (p[3] - p[1]) for p in read) <= (40 + 2 * 96) ** 2
