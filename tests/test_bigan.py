"""BiGAN: two answers exchanged, one player of encoder and generator, and an encoder that inverts the generator."""

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from triptych.core import Batch, Clock, Points, StepNoise
from triptych.models.gan.bigan import PRESETS, BiGAN, BiGANConfig

NOW = Clock(0, 0.0)
TINY = PRESETS["bigan-tiny"].config


def batch(config, n=16):
    x = torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 0.8
    return Batch(x, None, StepNoise(0, n, slice(None)))


@pytest.mark.parametrize(("slope", "inverse"), [(0.5, True), (-0.5, False)])
def test_at_the_optimum_the_encoder_inverts_a_linear_generator(slope, inverse):
    """Theorem 2, where x = 2 z - 1 and z is uniform on [-1, 1].

    Of the two linear encoders whose codes are distributed as z is, a trained discriminator cannot tell the inverse of
    the generator from it, and sees through the other.
    """
    torch.manual_seed(0)
    model = BiGAN(BiGANConfig(x=Points(1), latent=1, width=16))
    model.coder = nn.ModuleDict({"encoder": line(slope, slope), "generator": line(2.0, -1.0)})
    optimizer = torch.optim.Adam(model.discriminator.parameters(), lr=2e-2)
    losses = []
    for k in range(100):
        x = 2 * (2 * StepNoise(1000 + k, 128, slice(None)).uniform(1) - 1) - 1
        loss = model.discriminator_loss(Batch(x, None, StepNoise(k, 128, slice(None))), NOW).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    end = sum(losses[-20:]) / 20
    assert end > 1.37 if inverse else end < 1.2  # 2 log 2 is 1.386
    assert torch.allclose(model.reconstruct(x), x, atol=1e-5) == inverse


def line(weight, bias):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, weight)
    nn.init.constant_(layer.bias, bias)
    return layer


def test_encoder_and_generator_are_one_player_against_the_exchanged_answers():
    model = BiGAN(TINY)
    discriminator, coder = model.stages()[0].players
    owned = {id(w) for w in coder.owns.parameters()}
    assert owned == {id(w) for k, w in model.named_parameters() if k.startswith("coder.")}
    real, fake = model.pairs(batch(TINY))
    assert discriminator.loss(batch(TINY), NOW).value.item() == pytest.approx(
        (softplus(-real).mean() + softplus(fake).mean()).item()
    )
    assert coder.loss(batch(TINY), NOW).value.item() == pytest.approx(
        (softplus(real).mean() + softplus(-fake).mean()).item()
    )


def test_a_discriminator_that_cannot_tell_leaves_both_players_at_two_log_two():
    model = BiGAN(TINY)
    nn.init.zeros_(model.discriminator[-1].weight)
    nn.init.zeros_(model.discriminator[-1].bias)
    for player in model.stages()[0].players:
        assert player.loss(batch(TINY), NOW).value.item() == pytest.approx(1.3862944)


def test_both_the_encoder_and_the_generator_feel_the_coder_loss():
    model = BiGAN(TINY)
    model.coder_loss(batch(TINY), NOW).value.backward()
    for part in ("encoder", "generator"):
        assert all(w.grad.abs().sum() > 0 for w in model.coder[part].parameters()), part


def test_the_discriminator_judges_x_and_z_together():
    model = BiGAN(TINY).eval()
    x, z = batch(TINY).x, torch.rand(16, 3)
    assert model.judge(x, z).shape == (16,)
    assert not torch.allclose(model.judge(x, z), model.judge(x, -z))
    assert not torch.allclose(model.judge(x, z), model.judge(-x, z))


def test_anomaly_is_the_error_of_reconstruction_and_the_discriminators_doubt():
    model = BiGAN(TINY).eval()
    x = batch(TINY).x
    off = (x - model.reconstruct(x)).abs().sum((1, 2, 3))
    doubt = -model.judge(x, model.encode(x)).sigmoid().log()
    assert torch.allclose(model.anomaly(x, 1.0), off) and torch.allclose(model.anomaly(x, 0.0), doubt, atol=1e-6)
    assert torch.allclose(model.anomaly(x), 0.9 * off + 0.1 * doubt, atol=1e-5)


def test_features_are_what_the_encoders_last_layer_sees():
    model = BiGAN(TINY).eval()
    x = batch(TINY).x
    assert model.features(x).shape == (16, 8)
    assert torch.equal(model.coder["encoder"][-1](model.features(x)), model.encode(x))
