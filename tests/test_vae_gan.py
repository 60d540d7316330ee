"""VAE-GAN: who learns from which part of the losses, and what they are."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import logsigmoid

from triptych.core import Batch, Clock, HasLikelihood, Images, StepNoise, learning
from triptych.inference.importance import LatentVariable
from triptych.models.vae.vae_gan import PRESETS, VAEGAN, VAEGANConfig
from triptych.training import turn

TINY: VAEGANConfig = PRESETS["vae-gan-tiny"].config


def make() -> VAEGAN:
    return VAEGAN(TINY).train()


def batch(n: int = 12) -> Batch:
    return Batch(2 * StepNoise(1, n, slice(None)).uniform(1, 8, 8) - 1, None, StepNoise(2, n, slice(None)))


def parts(model: VAEGAN, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """L_prior, L_like and L_GAN as the paper writes them, of the same draws."""
    with learning(model):
        q = model.encode(b.x)
    back = model.decoder(q.mean + q.stddev * b.noise.normal(3))
    drawn = model.decoder(b.noise.normal(3))
    prior = kl_divergence(q, Independent(Normal(torch.zeros(3), torch.ones(3)), 1)).mean()
    f, g = model.discriminator.features(b.x).flatten(1), model.discriminator.features(back).flatten(1)
    like = -Independent(Normal(g, 1.0), 1).log_prob(f).mean() - f.shape[1] / 2 * math.log(2 * math.pi)
    real, rebuilt, new = (model.discriminator(x) for x in (b.x, back, drawn))
    gan = logsigmoid(real) + (1 - rebuilt.sigmoid()).log() + (1 - new.sigmoid()).log()
    return prior, like, gan.mean()


def test_the_losses_are_those_of_algorithm_1() -> None:
    model, now = make(), Clock(0, 0.0)
    prior, like, gan = parts(copy.deepcopy(model), batch())
    encoder, decoder = (
        copy.deepcopy(model).encoder_loss(batch(), now),
        copy.deepcopy(model).decoder_loss(batch(), now),
    )
    discriminator = copy.deepcopy(model).discriminator_loss(batch(), now)
    torch.testing.assert_close(encoder.value, prior + like)
    torch.testing.assert_close(encoder.logs["rate"], prior)
    torch.testing.assert_close(discriminator.value, -gan)
    torch.testing.assert_close(decoder.logs["distortion"], like)
    torch.testing.assert_close(decoder.value, TINY.gamma * like + decoder.logs["fooling"])


def test_the_decoder_is_pulled_toward_what_the_discriminator_takes_for_real() -> None:
    """Both for reconstructions and for samples; gamma weighs the features only."""
    torch.manual_seed(0)
    model = VAEGAN(VAEGANConfig(x=TINY.x, latent=3, widths=(4, 6), hidden=8, gamma=0.0)).train()
    b, optimizer = batch(32), torch.optim.Adam(model.decoder.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.decoder_loss(Batch(b.x, None, StepNoise(2, 32, slice(None))), Clock(0, 0.0))
        loss.value.backward()
        optimizer.step()
        seen.append(loss.logs["fooling"].item())
    assert seen[-1] < seen[0] - 0.05


@pytest.mark.parametrize("who", ["encoder", "decoder", "discriminator"])
def test_each_moves_itself_alone(who: str) -> None:
    model = make()
    before = {k: w.clone() for k, w in model.named_parameters()}
    player = next(p for p in model.stages()[0].players if p.name == who)
    turn(model, player, player.optimizer(player.owns.parameters()), batch(), Clock(1, 0.5))
    moved = {k.partition(".")[0] for k, w in model.named_parameters() if not torch.equal(w, before[k])}
    assert moved == ({who, "average"} if who == "decoder" else {who})


def test_real_or_not_does_not_teach_the_encoder() -> None:
    model = make()
    model.encoder_loss(batch(), Clock(0, 0.0)).value.backward()
    assert all(w.grad is None for w in model.discriminator.head.parameters())
    assert all(w.grad is not None for w in model.discriminator.features.parameters())


def test_there_is_no_likelihood_of_images() -> None:
    model = make()
    assert not isinstance(model, HasLikelihood) and not isinstance(model, LatentVariable)


def test_features_of_a_random_discriminator_are_enough_to_learn_two_images_by() -> None:
    torch.manual_seed(0)
    model, seen = make(), []
    x = torch.tensor([1.0, -1.0]).repeat(8)[:, None, None, None] * torch.ones(1, 8, 8).tril().mul(2).sub(1)
    optimizer = torch.optim.Adam([*model.encoder.parameters(), *model.decoder.parameters()], lr=1e-2)
    for step in range(40):
        optimizer.zero_grad()
        loss = model.encoder_loss(Batch(x, None, StepNoise(step, 16, slice(None))), Clock(step, 0.0))
        loss.value.backward()
        optimizer.step()
        seen.append(loss.logs["distortion"].item())
    assert seen[-1] < seen[0] / 2


def test_samples_come_from_the_average() -> None:
    model = VAEGAN(TINY)
    before = model.sample(2, seed=0)
    torch.nn.init.zeros_(model.decoder[-2].weight)
    assert torch.equal(model.sample(2, seed=0), before)
    model.average.update(model.decoder)
    assert not torch.equal(model.sample(2, seed=0), before)
    assert model.eval().reconstruct(before).shape == before.shape


def test_images_that_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, not 28 x 28; give fewer widths"):
        VAEGANConfig(x=Images(1, 28, 28))
