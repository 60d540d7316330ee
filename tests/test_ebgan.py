"""EBGAN: its energy is a mean, its pulling-away term is the squared cosine, and its losses are the paper's."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Points, StepNoise
from triptych.models.gan.ebgan import EBGAN, PRESETS, EBGANConfig, pulling_away

NOW = Clock(0, 0.0)
CONFIGS = [PRESETS["ebgan-tiny"].config, EBGANConfig(x=Points(2), latent=3, hidden=(8,), encoder=(8, 6))]


def batch(config, n=16):
    x = torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 0.8
    return Batch(x, None, StepNoise(0, n, slice(None)))


def test_pulling_away_is_one_on_antipodal_collapse_and_zero_on_orthogonal_codes():
    direction = torch.randn(1, 7)
    sides = torch.tensor([1.0, -2.0, 3.0, -1.0, 5.0, -0.1])[:, None]  # two clusters: a full collapse of the codes
    assert pulling_away(sides * direction).item() == pytest.approx(1, abs=1e-6)
    assert pulling_away(torch.ones(4, 7)).item() == pytest.approx(1, abs=1e-6)
    assert pulling_away(3 * torch.eye(5)).item() == 0


def test_pulling_away_is_the_mean_squared_cosine_over_pairs_of_different_items():
    codes = torch.randn(6, 4, dtype=torch.float64)
    pairs = [torch.cosine_similarity(codes[i], codes[j], dim=0) ** 2 for i in range(6) for j in range(6) if i != j]
    assert pulling_away(codes).item() == pytest.approx((sum(pairs) / 30).item(), rel=1e-12)
    many = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    assert pulling_away(many).item() == pytest.approx(1 / 100, rel=0.1)  # cosines of random directions: mean square 1/d


def flat(config):
    """A model whose decoder answers 0 to everything."""
    model = EBGAN(config)
    last = model.discriminator.decoder[-3]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return model


@pytest.mark.parametrize("side", [4, 12])
def test_the_energy_is_a_mean_whatever_the_size(side):
    model = flat(EBGANConfig(x=Images(1, side, side), latent=4, hidden=(8,), encoder=(8,)))
    assert torch.allclose(model.energy(torch.full((3, 1, side, side), 0.5)), torch.full((3,), 0.25))


def test_the_discriminator_lets_go_of_samples_beyond_the_margin():
    model = flat(PRESETS["ebgan-tiny"].config)
    b = batch(model.config)
    fake = model.energy(model.draw(StepNoise(0, 16, slice(None))))
    real = model.energy(b.x).mean()
    for margin, expected in ((fake.min().item() / 2, 0.0), (2.0, 2.0 - fake.mean().item())):
        model.config = EBGANConfig(x=model.config.x, latent=4, hidden=(8,), encoder=(8, 6), margin=margin)
        loss = model.discriminator_loss(batch(model.config), NOW)
        assert loss.value.item() == pytest.approx(real.item() + expected, abs=1e-5)
        assert loss.logs["energy(fake)"].item() == pytest.approx(fake.mean().item(), abs=1e-6)


def test_the_generator_moves_toward_its_reconstruction_also_directly():
    """The target of the reconstruction is the sample itself: its gradient counts."""
    model = flat(EBGANConfig(x=Points(3), latent=2, hidden=(8,), encoder=(4,), pull=0))
    model.generator_loss(batch(model.config), NOW).value.backward()
    assert model.generator[-3].weight.grad.abs().max() > 0  # the decoder is constant: nothing comes through it


def test_pulling_away_is_for_the_generator_alone():
    losses = {}
    for pull in (0.0, 0.5):
        torch.manual_seed(0)
        model = EBGAN(EBGANConfig(x=Images(1, 4, 4), latent=4, hidden=(8,), encoder=(8,), pull=pull))
        d, g = (f(batch(model.config), NOW) for f in (model.discriminator_loss, model.generator_loss))
        losses[pull] = d.value.item(), g.value.item(), g.logs["pulling_away"].item()
    assert losses[0.0][0] == losses[0.5][0]
    assert losses[0.5][1] - losses[0.0][1] == pytest.approx(0.5 * losses[0.0][2])


@pytest.mark.parametrize("config", CONFIGS)
def test_each_player_lowers_its_loss_against_a_resting_opponent(config):
    for player in EBGAN(config).train().stages()[0].players:
        optimizer = torch.optim.Adam(player.owns.parameters(), lr=1e-2)
        values = []
        for _ in range(40):
            loss = player.loss(batch(config), NOW).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        assert min(values[-5:]) < 0.9 * values[0], player.name


def test_it_starts_from_the_papers_distribution():
    model = EBGAN(EBGANConfig())
    for net, deviation in ((model.generator, 0.02), (model.discriminator, 0.002)):
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
