"""ImageGPT: normalization over images, units, order, classes, the cache, refusals."""

import math

import pytest
import torch

from triptych.core import Images, ItemNoise, Label, Labels, Sampling, UsageError, prefix
from triptych.models.autoregressive.image_gpt import ImageGPT, ImageGPTConfig
from triptych.nn.fixed_point import draw_naively
from triptych.testing.toys import every_element


def make(x: Images, given: Labels | None = None, sharp: float = 4.0) -> ImageGPT:
    """A small random ImageGPT; `sharp` scales its logits."""
    torch.manual_seed(0)
    model = ImageGPT(ImageGPTConfig(x=x, given=given, width=16, layers=2, heads=2)).eval()
    with torch.no_grad():
        model.out.weight.mul_(sharp)
    return model


def some(x: Images, n: int) -> torch.Tensor:
    return x.from_index(torch.randint(x.levels, (n, *x.shape)))


@pytest.mark.parametrize(
    "x",
    [Images(1, 3, 3, levels=2), Images(1, 2, 3, levels=3), Images(3, 1, 2, levels=3), Images(2, 2, 1, levels=5)],
    ids=str,
)
def test_probabilities_sum_to_one(x: Images) -> None:
    model, every = make(x), every_element(x)
    assert every is not None
    with torch.no_grad():
        single, double = model.log_prob(every).nats, model.double().log_prob(every.double()).nats
    assert single.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert single.std() > 0.1


@pytest.mark.parametrize("x", [Images(1, 4, 5, levels=2), Images(3, 3, 2)], ids=str)
def test_bits_are_those_of_a_sub_pixel(x: Images) -> None:
    """Knowing nothing costs log2 levels each: 8 for 8 bits, where a palette of 512 would say 9 a pixel, 3 a color."""
    model = make(x)
    torch.nn.init.zeros_(model.out.weight)
    torch.nn.init.zeros_(model.out.bias)
    p = model.log_prob(some(x, 3))
    assert (p.dims, p.measure) == (x.dims, "mass")
    torch.testing.assert_close(p.bits_per_dim(), torch.full((3,), math.log2(x.levels)), rtol=1e-6, atol=0)


def test_colors_come_one_after_another() -> None:
    """Red sees neither color of its own pixel, green red, blue both; and all see the pixels before."""
    x = Images(3, 2, 2, levels=4)
    model, base = make(x).double(), some(x, 1).double()
    at = {color: (0, color, 1, 0) for color in range(3)}
    for moved in range(3):
        other = base.clone()
        other[at[moved]] = -other[at[moved]]
        change = (model.logits(other) - model.logits(base)).abs().sum(-1)[0]
        assert [change[c, 1, 0].item() > 0 for c in range(3)] == [c > moved for c in range(3)]
        assert change[:, 0].sum() == 0 and change[:, 1, 1].min() > 0


@pytest.mark.parametrize(
    "x", [Images(1, 7, 10, levels=2), Images(1, 6, 6), Images(3, 4, 3, levels=4), Images(1, 1, 1, levels=2)], ids=str
)
def test_sampler_equals_the_naive_loop(x: Images) -> None:
    model = make(x)
    drawn = model.sample(8, seed=7)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(7, range(8))))
    assert x.dims == 1 or model.logits(drawn).std() >= 1
    assert torch.equal(model.sample(3, seed=7, first=4), drawn[4:7])
    assert torch.equal(x.from_index(x.index(drawn)), drawn) and model.sample(0).shape == (0, *x.shape)


def test_the_upper_half_may_be_given() -> None:
    x = Images(3, 4, 3, levels=4)
    model, level = make(x), torch.randint(4, (5, 18))
    how = Sampling(known=prefix(x, level))
    drawn = model.sample(5, seed=2, how=how)
    assert torch.equal(x.index(drawn)[:, :, :2].movedim(1, -1).flatten(1), level)
    assert torch.equal(drawn, draw_naively(model, ItemNoise(2, range(5)), None, how))


def test_a_class_changes_everything_from_the_first_sub_pixel_on() -> None:
    x = Images(1, 3, 3, levels=2)
    model, picture = make(x, Labels(3)), some(x, 1).expand(3, -1, -1, -1)
    logits = model.logits(picture, Label(torch.arange(3)))
    assert logits.flatten(1).unique(dim=0).shape[0] == 3 and len(logits[:, 0, 0, 0].unique()) == 3
    given = Label(torch.tensor([2, 0, 1, 2]))
    assert torch.equal(model.sample(4, given, seed=1), draw_naively(model, ItemNoise(1, range(4)), given))
    with pytest.raises(UsageError, match="needs a condition"):
        model.sample(1)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(1, 1, 3, 3), "between levels|not on"),
        (torch.ones(1, 1, 3, 4), "shape"),
        (torch.full((1, 1, 3, 3), 3.0), "scaled"),
    ],
)
def test_what_is_not_in_the_space_has_no_likelihood(x: torch.Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(Images(1, 3, 3, levels=2)).log_prob(x)


def test_a_width_that_heads_cannot_share() -> None:
    with pytest.raises(
        ValueError,
        match=r"width=20 .* among 4 heads in pairs for rows and columns: .* for example 16",
    ):
        ImageGPTConfig(width=20, heads=4)
