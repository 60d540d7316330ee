"""InfoGAN: the bound on the information, who learns from it, and what the codes are."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from triptych.core import Batch, Clock, StepNoise
from triptych.models.gan.infogan import PRESETS, Codes, InfoGAN, InfoGANConfig
from triptych.nn.deform import deformed

TINY = PRESETS["infogan-tiny"].config


def noise(n, seed=0):
    return StepNoise(seed, n, slice(None))


def test_the_bound_is_the_entropy_when_the_category_is_read_back_and_nothing_when_it_is_guessed():
    model = InfoGAN(InfoGANConfig(width=2, hidden=4))
    codes = model.codes(noise(1000))
    right = Categorical(logits=60.0 * torch.nn.functional.one_hot(codes.category, 10).float())
    numbers = Normal(torch.zeros(1000, 2), 1.0)
    assert model.information(codes, right, numbers)[0].item() == pytest.approx(math.log(10), abs=1e-5)
    guess = Categorical(logits=torch.zeros(1000, 10))
    assert model.information(codes, guess, numbers)[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 5.0, 100.0])
def test_the_bound_never_exceeds_log_ten(sharpness):
    model = InfoGAN(InfoGANConfig(width=2, hidden=4))
    codes = model.codes(noise(64))
    category = Categorical(logits=sharpness * torch.randn(64, 10))
    assert model.information(codes, category, Normal(torch.zeros(64, 2), 1.0))[0] <= math.log(10)


def test_the_bound_on_the_numbers_is_in_nats():
    """Read back with an error of deviation s: I >= log 2 - log(s sqrt(2 pi e)) for each number."""
    model = InfoGAN(InfoGANConfig(width=2, hidden=4))
    n, s = 200_000, 0.1
    c = 2 * noise(n).uniform(2) - 1
    found = Normal(c + s * noise(n, seed=1).normal(2), s)
    value = model.information(Codes(torch.zeros(n).long(), c, c), Categorical(logits=torch.zeros(n, 10)), found)[1]
    assert value.item() == pytest.approx(2 * (math.log(2) - math.log(s * math.sqrt(2 * math.pi * math.e))), abs=0.02)


def test_codes_follow_their_prior():
    model = InfoGAN(InfoGANConfig(width=2, hidden=4))
    codes = model.codes(noise(20_000))
    assert codes.category.bincount(minlength=10).min() > 1800 and codes.category.max() == 9
    for values in (codes.numbers, codes.z):
        assert abs(values.mean()) < 0.01 and values.min() < -0.99 and values.max() > 0.99
    assert codes.numbers.shape == (20_000, 2) and codes.z.shape == (20_000, 62)


def test_z_has_the_spread_asked_for_and_the_codes_their_own():
    wide, narrow = (InfoGAN(InfoGANConfig(width=2, hidden=4, spread=s)).codes(noise(1000)) for s in (1.0, 0.2))
    assert torch.equal(narrow.z, 0.2 * wide.z)
    assert torch.equal(narrow.numbers, wide.numbers) and torch.equal(narrow.category, wide.category)


def test_the_largest_uniform_is_the_last_category():
    class Ends:
        n = 2

        def uniform(self, *shape):
            return torch.stack([torch.zeros(shape), torch.full(shape, 1 - 2**-24)])

    assert InfoGAN(InfoGANConfig(width=2, hidden=4)).codes(Ends()).category.tolist() == [0, 9]


def test_the_information_has_a_gradient_for_the_generator_and_for_q():
    """A penalty that was built anew from numbers would have none."""
    model = InfoGAN(TINY).train()
    codes = model.codes(noise(8))
    _, category, numbers = model.discriminator(model.decode(codes))
    sum(model.information(codes, category, numbers)).backward()
    for part in (model.generator, model.discriminator.trunk, model.discriminator.codes):
        assert all(w.grad is not None for w in part.parameters())
        assert any(w.grad.any() for w in part.parameters())
    assert all(w.grad is None for w in model.discriminator.source.parameters())


def test_each_players_loss_falls_with_the_information():
    heavy = {"category_weight": 3.0, "number_weight": 2.0}
    values = []
    for options in ({"category_weight": 0.0, "number_weight": 0.0}, heavy):
        torch.manual_seed(0)
        model = InfoGAN(InfoGANConfig(x=TINY.x, categories=3, latent=4, width=4, hidden=16, **options)).train()
        batch = Batch(torch.zeros(8, 1, 8, 8), None, noise(8))
        loss = model.discriminator_loss(batch, Clock(0, 0.0))
        values.append(loss.value.item())
    gain = 3 * loss.logs["I(category)"].item() + 2 * loss.logs["I(numbers)"].item()
    assert values[0] - values[1] == pytest.approx(gain, abs=1e-4)


def small(**changes):
    torch.manual_seed(0)
    return InfoGAN(InfoGANConfig(x=TINY.x, categories=3, latent=4, width=4, hidden=16, **changes)).train()


def test_lambda_is_nothing_before_the_ramp_half_in_its_middle_and_whole_after_it_and_in_the_paper():
    model, paper = small(ramp=(0.2, 0.6)), small()
    assert [model.share(Clock(0, p)) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [paper.share(Clock(0, p)) for p in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert small(ramp=(0.5, 0.5)).share(Clock(0, 0.49)) == 0 and small(ramp=(0.5, 0.5)).share(Clock(0, 0.5)) == 1
    with pytest.raises(ValueError, match="ends before it begins"):
        InfoGANConfig(ramp=(0.6, 0.2))


@pytest.mark.parametrize("player", ["discriminator_loss", "generator_loss"])
def test_before_the_ramp_a_player_plays_the_plain_game(player):
    batch = Batch(torch.zeros(8, 1, 8, 8), None, None)
    losses = [
        getattr(model, player)(Batch(batch.x, None, noise(8)), Clock(0, 0.1)).value
        for model in (small(ramp=(0.2, 0.6)), small(category_weight=0.0, number_weight=0.0), small())
    ]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


def test_only_the_category_is_read_from_deformed_images_and_both_players_learn_from_it():
    model, x = small(deform=1.0), torch.rand(8, 1, 8, 8)
    logits, category, numbers = model.discriminator(x)
    d_logits, d_category, d_numbers = model.read(x, noise(8))
    assert torch.equal(logits, d_logits) and torch.equal(numbers.mean, d_numbers.mean)
    assert not torch.allclose(category.logits, d_category.logits)
    assert torch.equal(d_category.logits, model.discriminator(deformed(x, noise(8), 1.0))[1].logits)
    model.read(model.decode(model.codes(noise(8))), noise(8))[1].logits.square().sum().backward()
    assert any(w.grad.any() for w in model.generator.parameters())


def test_one_player_owns_the_trunk_and_both_heads():
    model = InfoGAN(TINY)
    discriminator, generator = model.stages()[0].players
    assert discriminator.owns is model.discriminator and generator.owns is model.generator
    assert discriminator.optimizer.lr == 2e-4 and generator.optimizer.lr == 1e-3
    category, numbers = model.eval().encode(torch.zeros(2, 1, 8, 8))
    assert category.logits.shape == (2, 3) and numbers.mean.shape == (2, 2) and (numbers.stddev > 0).all()


def test_the_category_is_the_likeliest_code_in_evaluation_mode():
    model = InfoGAN(TINY).eval()
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(model.category(x), model.encode(x)[0].probs.argmax(1))
