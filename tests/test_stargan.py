"""StarGAN: domains from planes and back, its losses by hand, and who learns when."""

from dataclasses import replace

import pytest
import torch

from triptych.core import Batch, Clock, Images, Picture, StepNoise, UsageError
from triptych.models.translation.stargan import PRESETS, StarGAN, StarGANConfig
from triptych.training.turn import only

TINY, ATTRIBUTES = (PRESETS[name].config for name in ("stargan-tiny", "stargan-tiny-attributes"))
NOW = Clock(0, 0.0)


def condition(config, domains):
    """Grey pictures that are to go there."""
    planes = (2 * torch.tensor(domains, dtype=torch.float32) - 1)[:, :, None, None]
    x = config.x
    return Picture(
        torch.cat([torch.zeros(len(domains), *x.shape), planes.expand(-1, -1, x.height, x.width)], 1),
    )


def batch(config, domains):
    x = 2 * torch.rand(len(domains), *config.x.shape) - 1
    return Batch(x, condition(config, domains), StepNoise(0, len(x), slice(None)))


def test_planes_say_where_to_go():
    model = StarGAN(TINY)
    assert torch.allclose(model.sought(condition(TINY, [[0, 1], [1, 0]])), torch.tensor([[0.0, 1], [1, 0]]), atol=1e-5)
    between = model.sought(condition(TINY, [[0.25, 0.75]]))
    assert torch.allclose(between, torch.tensor([[0.25, 0.75]]), atol=1e-5)
    several = StarGAN(ATTRIBUTES)
    assert several.sought(condition(ATTRIBUTES, [[1, 0, 1], [0, 0, 0]])).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_what_it_draws_is_what_it_was_trained_to_turn():
    model = StarGAN(TINY).train()
    for weight in model.generator.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    given = condition(TINY, [[0, 1], [1, 0]])
    drawn = model.draw(StepNoise(0, 2, slice(None)), given)
    assert torch.allclose(drawn, model.turned(given.grid[:, :1], model.sought(given)), atol=1e-4)
    other = Picture(torch.cat([given.grid[:, :1], given.grid[:, 1:].flip(1)], 1))
    assert not torch.allclose(drawn, model.draw(StepNoise(0, 2, slice(None)), other))


@pytest.mark.parametrize("config", [TINY, ATTRIBUTES])
def test_classification_by_hand(config):
    model = StarGAN(config)
    k = model.domains
    logits = torch.randn(4, k)
    target = model.sought(condition(config, torch.eye(k)[torch.arange(4) % k].tolist()))
    if config.exclusive:
        by_hand = -(logits.log_softmax(1) * target).sum(1).mean()
    else:
        p = logits.sigmoid()
        by_hand = -(target * p.log() + (1 - target) * (1 - p).log()).sum(1).mean()
    assert model.classified(logits, target).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_generator_that_changes_nothing_restores_at_no_cost():
    model = StarGAN(TINY).train()
    loss = model.generator_loss(batch(TINY, [[1, 0], [0, 1], [1, 0]]), NOW)
    assert loss.logs["restore"].item() == 0
    scores = model.discriminator.score(batch(TINY, [[1, 0]]).x)
    assert scores.shape == (1,)


def test_the_losses_are_the_weighted_sums():
    config = replace(TINY, classify=3.0, restore=5.0, penalty=7.0)
    model, some = StarGAN(config).train(), batch(config, [[1, 0], [0, 1], [1, 0], [0, 1]])
    for weight in model.generator.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    told = model.discriminator_loss(some, NOW)
    parts = {name: value.item() for name, value in told.logs.items()}
    assert told.value.item() == pytest.approx(
        7 * parts["penalty"] - parts["distance"] + 3 * parts["classify"], rel=1e-4
    )
    made = model.generator_loss(some, NOW)
    fake = model.turned(some.x, model.sought(some.given).roll(1, 0))
    score = model.discriminator.score(fake).mean().item()
    rest = 3 * made.logs["classify"].item() + 5 * made.logs["restore"].item()
    assert made.value.item() == pytest.approx(rest - score, rel=1e-4, abs=1e-5)


def test_each_player_learns_alone():
    model, some = StarGAN(TINY).train(), batch(TINY, [[1, 0], [0, 1]])
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(some, NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) == (id(w) in mine) for w in model.parameters() if w.requires_grad)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(UsageError, match="a plane for each domain, of which there are two or more"):
        StarGANConfig(given=Images(4, 64, 64))
    with pytest.raises(UsageError, match="cannot be halved so often"):
        StarGANConfig(x=Images(1, 8, 8), given=Images(3, 8, 8), judge_halvings=4)
