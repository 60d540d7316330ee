"""Stacked GAN: its three losses, its three stages, and who learns from what in each."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from triptych.core import Batch, Clock, Images, Label, StepNoise
from triptych.models.gan.stacked_gan import PRESETS, StackedGAN, StackedGANConfig

NOW = Clock(0, 0.0)
TINY = PRESETS["stacked-gan-tiny"].config


def batch(n=8, seed=0):
    x = 2 * torch.rand(n, *TINY.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, Label(torch.arange(n) % 3), StepNoise(seed, n, slice(None)))


def players(model):
    return {(stage.name, p.name): p for stage in model.stages() for p in stage.players}


def test_the_stages_are_the_papers():
    found = [(s.name, [p.name for p in s.players]) for s in StackedGAN(TINY).stages()]
    alone = ["discriminator 1", "generator 1", "discriminator 0", "generator 0"]
    together = ["discriminator 1", "discriminator 0", "generators"]
    assert found == [("encoder", ["encoder"]), ("independent", alone), ("joint", together)]
    assert (StackedGANConfig().adversarial, StackedGANConfig().conditional, StackedGANConfig().entropy) == (1, 1, 10)


def felt(model, loss):
    model.zero_grad()
    loss(batch(), NOW).value.backward()
    return {name for name, w in model.named_parameters() if w.grad is not None and w.grad.abs().sum() > 0}


def test_alone_a_generator_knows_nothing_of_the_other():
    model = StackedGAN(TINY)
    for level in (0, 1):
        names = felt(model, players(model)["independent", f"generator {level}"].loss)
        assert any(name.startswith(f"generators.{level}") for name in names)
        assert not any(name.startswith(f"generators.{1 - level}") for name in names)


def test_together_the_images_gradient_reaches_the_first_generator():
    model = StackedGAN(TINY)
    whole = StackedGANConfig(**{**vars(TINY), "adversarial": 0, "entropy": 0})
    model.config = whole
    features = [w for w in model.generators[1].parameters()]

    def gradient(loss):
        return torch.autograd.grad(loss, features, retain_graph=True)[-1]

    b = batch()
    y = model.above(1, b)
    h, z1 = model.generate(1, y, b.noise)
    x, z0 = model.generate(0, h, b.noise)
    own, passed = model.terms(1, h, z1, y, b).value, model.terms(0, x, z0, h, b).value
    assert gradient(passed).abs().sum() > 0
    joint = model.joint_loss(batch(), NOW).value
    assert torch.allclose(gradient(joint), gradient(own) + gradient(passed), atol=1e-6)


def test_the_generators_terms_are_weighted_and_mean_what_they_say():
    model = StackedGAN(StackedGANConfig(**{**vars(TINY), "feature_noise": 0, "conditional": 3.0})).eval()
    b = batch()
    y = model.above(1, b)
    h, z = model.generate(1, y, b.noise)
    loss = model.terms(1, h, z, y, b)
    fake, guess = model.discriminators[1](h, b.noise)
    adv = -fake.sigmoid().log().mean()
    cond, ent = cross_entropy(model.encoder.label(h), b.given.y), (guess - z).square().mean()
    assert loss.value.item() == pytest.approx((adv + 3 * cond + 10 * ent).item(), rel=1e-5)
    seen = model.above(0, b)
    x, z = model.generate(0, seen, b.noise)
    recovered = (model.encoder.image(x) - seen).square().mean()
    assert model.terms(0, x, z, seen, b).logs["conditional 0"].item() == pytest.approx(recovered.item())


def test_the_conditional_loss_is_zero_where_the_encoder_recovers_the_features():
    model = StackedGAN(TINY)
    b = batch()
    logs = model.terms(0, b.x, torch.zeros(8, 2), model.above(0, b), b).logs
    assert logs["conditional 0"].item() == pytest.approx(0, abs=1e-10)


def test_q_learns_with_the_discriminator_and_the_encoder_with_nobody():
    model = StackedGAN(TINY)
    for level in (0, 1):
        player = players(model)["independent", f"discriminator {level}"]
        names = felt(model, player.loss)
        assert {f"discriminators.{level}.z.weight", f"discriminators.{level}.real.weight"} <= names
        assert not any(name.startswith("encoder") for name in (k for k, _ in player.owns.named_parameters()))


@pytest.mark.parametrize("name", [("encoder", "encoder"), ("independent", "generator 1"), ("joint", "generators")])
def test_a_player_lowers_its_loss_against_resting_opponents(name):
    model = StackedGAN(TINY).train()
    player = players(model)[name]
    optimizer = torch.optim.Adam(player.owns.parameters(), lr=1e-2)
    values = []
    for _ in range(40):
        loss = player.loss(batch(), NOW).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-5:]) / 5 < 0.95 * values[0]


def test_samples_depend_on_the_class_and_come_from_the_averages():
    model = StackedGAN(TINY)
    draws = [model.sample(2, Label(torch.full((2,), y)), seed=0) for y in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    with torch.no_grad():
        for w in model.generators.parameters():
            w.add_(0.1)
    assert torch.equal(model.sample(2, Label(torch.zeros(2, dtype=torch.int64)), seed=0), draws[0])
    players(model)["joint", "generators"].project()
    assert not torch.equal(model.sample(2, Label(torch.zeros(2, dtype=torch.int64)), seed=0), draws[0])


def test_sides_that_do_not_quarter_are_refused():
    with pytest.raises(ValueError, match="multiples of 4, not 30 x 28"):
        StackedGANConfig(x=Images(1, 30, 28))
