"""PixelCNN++: what sees what at any size, the likelihood in two ways, averaged weights, the sampler."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from triptych.core import Batch, Clock, Images, ItemNoise, Label, Labels, Sampling, StepNoise, UsageError
from triptych.models.autoregressive.pixelcnn_pp import PixelCNNPP, PixelCNNPPConfig
from triptych.nn.fixed_point import draw_by_iteration, draw_naively
from triptych.training import turn


def make(x: Images, **fields) -> PixelCNNPP:
    """A small random model whose factors differ from place to place; its average is its network."""
    model = PixelCNNPP(PixelCNNPPConfig(**{"x": x, "width": 8, "blocks": 1, "components": 3, "ema": 0.0, **fields}))
    with torch.no_grad():
        for weights in model.network.parameters():
            weights.mul_(2.0)
        mixture = model.network.out.weight
        mixture.mul_(6.0)
    model.average.update(model.network)
    return model.eval()


def label(model: PixelCNNPP, n: int) -> Label | None:
    return None if model.config.given is None else Label(torch.arange(n) % model.config.given.classes)


def random_images(x: Images, n: int) -> Tensor:
    return x.from_index(torch.randint(x.levels, (n, *x.shape)))


# What is seen


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "x,fields",
    [
        (Images(1, 7, 5), {"blocks": 2}),
        (Images(1, 4, 11), {"blocks": 2}),
        (Images(1, 9, 4, levels=2), {"blocks": 2, "halvings": 1}),
        (Images(1, 3, 6), {"blocks": 3, "halvings": 0, "given": Labels(2)}),
        (Images(3, 3, 3, levels=8), {"blocks": 2}),
    ],
    ids=str,
)
def test_a_pixel_sees_all_earlier_ones_and_nothing_else(x: Images, fields: dict, training: bool) -> None:
    """Parameters of the mixture against pixels: colors are the mixture's own affair."""
    model = make(x, **fields).double().train(training)

    def parameters(image: Tensor) -> Tensor:
        torch.manual_seed(0)  # dropout
        return model.active(image, label(model, 1)).square().sum((0, 1))

    around = torch.randn(1, *x.shape, dtype=torch.float64)
    moved = torch.autograd.functional.jacobian(parameters, around).abs().sum((2, 3)).flatten(2).flatten(0, 1) > 0
    pixels = x.height * x.width
    raster = torch.ones(pixels, pixels, dtype=torch.bool).tril(-1)
    assert not (moved & ~raster).any()
    assert training or torch.equal(moved, raster)  # dropout hides some


@pytest.mark.parametrize("x", [Images(3, 2, 3, levels=8), Images(2, 3, 2, levels=5)], ids=str)
def test_colors_come_one_after_the_other(x: Images) -> None:
    model = make(x).double()
    around = torch.randn(1, *x.shape, dtype=torch.float64)
    moved = torch.autograd.functional.jacobian(lambda x: model.logits(x).square().sum((0, -1)), around)
    moved = moved.reshape(*x.shape, *x.shape).permute(1, 2, 0, 4, 5, 3).reshape(x.dims, x.dims) != 0
    assert torch.equal(moved, torch.ones(x.dims, x.dims, dtype=torch.bool).tril(-1))


def test_padding_is_neither_counted_nor_mistaken_for_an_image() -> None:
    x = Images(1, 7, 5)
    model, image = make(x), random_images(x, 2)
    found = model.log_prob(image)
    assert found.dims == 35 and model.active(image, None).shape[2:] == (7, 5)
    # black is 0 on this scale's middle grey, not the zeros of the padding: the channel of ones tells them apart
    grey = torch.zeros(1, 1, 7, 5)
    wide = model.active.padded(grey)
    assert wide.shape == (1, 2, 8, 8)
    assert wide[0, 1, :7, :5].eq(1).all() and wide[0, 1].sum() == 35 and wide[0, 0].eq(0).all()


# The likelihood


@pytest.mark.parametrize("x", [Images(1, 5, 6), Images(3, 4, 4), Images(1, 4, 4, levels=2), Images(2, 3, 3, levels=5)])
def test_log_prob_is_the_chain_of_the_logits(x: Images) -> None:
    model, image = make(x).double(), random_images(x, 3).double()
    level = x.index(image)
    chain = model.logits(image).log_softmax(-1).gather(-1, level[..., None]).flatten(1).sum(1)
    assert torch.allclose(chain, model.log_prob(image).nats, rtol=1e-6)
    assert torch.allclose(model.logits(image).logsumexp(-1), torch.zeros((), dtype=torch.float64), atol=1e-6)


def test_likelihoods_and_samples_come_from_the_averaged_weights() -> None:
    x = Images(1, 4, 4, levels=4)
    model = PixelCNNPP(PixelCNNPPConfig(x=x, width=8, blocks=1, components=2, ema=0.5))
    (player,) = model.stages()[0].players
    before = model.average.module.out.bias.clone()
    batch = Batch(random_images(x, 8), None, StepNoise(0, 8, slice(None)))
    turn(model, player, player.optimizer(player.owns.parameters()), batch, Clock(0, 0.5))
    moved, averaged = model.network.out.bias, model.average.module.out.bias
    assert torch.allclose(averaged, 0.1 * before + 0.9 * moved)  # the first update forgets fast
    image = random_images(x, 4)
    fine = model.eval().log_prob(image).nats
    samples = model.sample(4, seed=0)
    with torch.no_grad():
        for weights in model.network.parameters():
            weights.zero_()
    assert torch.equal(fine, model.log_prob(image).nats) and torch.equal(samples, model.sample(4, seed=0))
    assert torch.equal(fine, model.train().log_prob(image).nats), (
        "asked in training, too, it is the average that answers"
    )
    assert (model.eval()(image).loc - model.train()(image).loc).abs().max() > 1e-3


def test_dropout_is_of_single_features_and_off_in_evaluation() -> None:
    x = Images(1, 4, 4, levels=4)
    model, image = make(x, dropout=0.5), random_images(x, 2)
    assert torch.equal(model(image).loc, model(image).loc)
    model.train()
    assert not torch.equal(model(image).loc, model(image).loc)
    dropped = model.network.scale.down_u[0].dropout.train()(torch.ones(1, 16, 4, 4))
    assert 0 < dropped[0, 0].eq(0).sum() < 16  # not whole feature maps


def test_the_class_matters() -> None:
    model = make(Images(1, 4, 5), given=Labels(3))
    image = random_images(model.config.x, 1).expand(3, -1, -1, -1)
    loc = model(image, label(model, 3)).loc
    assert (loc[0] - loc[1]).abs().amin((0, 1)).min() > 0 and (loc[1] - loc[2]).abs().min() > 0
    nats = model.log_prob(image, label(model, 3)).nats
    assert (nats.sort().values.diff() > 1e-4).all()


# Sampling


@pytest.mark.parametrize(
    "x,fields",
    [
        (Images(1, 7, 5, levels=16), {}),
        (Images(1, 8, 8, levels=2), {"blocks": 2}),
        (Images(1, 6, 9, levels=5), {"halvings": 3}),
        (Images(3, 4, 5, levels=8), {"given": Labels(2)}),
        (Images(3, 3, 2), {"halvings": 0}),
        (Images(2, 5, 4, levels=3), {"halvings": 1, "blocks": 2}),
        (Images(1, 1, 7, levels=4), {}),
        (Images(1, 7, 1, levels=4), {}),
        (Images(3, 1, 1), {}),
    ],
    ids=str,
)
def test_sampler_equals_the_naive_loop(x: Images, fields: dict) -> None:
    model = make(x, **fields)
    given = label(model, 6)
    fast = model.sample(6, given, seed=7)
    assert torch.equal(fast, draw_naively(model, ItemNoise(7, range(6)), given))
    assert torch.equal(fast, draw_by_iteration(model, ItemNoise(7, range(6)), given))
    assert torch.equal(x.from_index(x.index(fast)), fast)  # on the levels, all along
    assert model.logits(fast, given).std() > 0.9 and len(fast.unique()) > min(x.levels, x.dims) // 2
    assert model.sample(0, None if given is None else given[:0], seed=0).shape == (0, *x.shape)


def test_sampler_equals_the_naive_loop_with_options() -> None:
    x = Images(3, 3, 4, levels=5)
    model, known = make(x), torch.full((1, *x.shape), -1)
    known[:, :, :2] = torch.randint(5, (1, 3, 2, 4))
    for how in (Sampling(temperature=0.5), Sampling(top_k=2, known=known), Sampling(top_p=0.7)):
        fast = model.sample(4, seed=3, how=how)
        assert torch.equal(fast, draw_naively(model, ItemNoise(3, range(4)), None, how))


# Refusals


def test_refuses_what_is_not_in_the_space_and_conditions_that_do_not_fit() -> None:
    model = make(Images(1, 4, 4))
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.rand(2, 1, 4, 4))
    with pytest.raises(UsageError, match="needs a condition"):
        PixelCNNPP(replace(model.config, given=Labels(2))).sample(2)
    with pytest.raises(ValueError, match="dropout"):
        PixelCNNPPConfig(dropout=1.0)
