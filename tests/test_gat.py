"""GAT: the noise of its levels, gradients by differences, what each level depends on, and its latents."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, ItemNoise, Label, StepNoise
from triptych.losses import adversarial, penalties
from triptych.models.gan.gat import GAT, PRESETS, SLOW, GATConfig, Slow, amounts, linear, waves

NOW = Clock(0, 0.0)
CONFIGS = [preset.config for name, preset in PRESETS.items() if "tiny" in name]


def batch(config, n=8):
    levels = torch.randint(0, 256, (n, *config.x.shape), generator=torch.Generator().manual_seed(1))
    given = Label(torch.arange(n) % config.given.classes) if config.given else None
    return Batch(levels / 127.5 - 1, given, StepNoise(0, n, slice(None)))


def test_the_noise_of_each_level_is_what_it_says_and_grows_from_the_last_to_the_first():
    config = GATConfig(x=Images(1, 32, 32), halvings=1, channels=2, width=8, heads=2, depth=4)
    t = torch.tensor(amounts(config))
    assert t.tolist() == pytest.approx([0.885, 0.76, 1 - 0.125 ** (1 / 3) + 0.01, 0.01])
    noises = GAT(config).noises(StepNoise(0, 400, slice(None)))
    assert torch.allclose(noises.flatten(1).std(1), t, rtol=0.01)
    found = (noises[:-1] * noises[1:]).flatten(1).mean(1)
    assert torch.allclose(found, (1 - t[:-1]) / (1 - t[1:]) * t[1:].square(), rtol=0.1, atol=1e-5)


def test_levels_are_seen_through_their_noise():
    model = GAT(CONFIGS[0])
    h = model.copies(torch.ones(3, 2, 4, 6))
    seen = model.seen(h, torch.zeros_like(h))
    assert seen[:, 0, 0, 0, 0].tolist() == pytest.approx([1 - t for t in amounts(CONFIGS[0])])
    assert torch.equal(model.seen(h, h) - seen, h)


def test_differences_stand_for_gradients():
    """Of a plane, exactly the slope along each step; over many steps, the square of its gradient."""
    slope, x = torch.tensor([3.0, 4.0]).double(), torch.randn(200_000, 2, dtype=torch.double)
    aside = torch.randn_like(x)
    found = penalties.squared_difference(x @ slope, (x + 0.01 * aside) @ slope, 0.01)
    assert found.item() == pytest.approx((aside @ slope).square().mean().item())
    assert found.item() == pytest.approx(25, rel=0.02)
    curved = penalties.squared_difference(x.square().sum(1), (x + 1e-4 * aside).square().sum(1), 1e-4)
    assert curved.item() == pytest.approx((4 * x.square().sum(1)).mean().item(), rel=0.02)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_level_depends_on_the_blocks_below_it_alone(config):
    net = GAT(config).generator
    y = torch.arange(2) if config.given else None
    levels = net(torch.randn(2, config.latent), y)
    assert levels.shape == (config.levels, 2, config.channels, *config.grid)
    each = config.depth // config.levels
    for k in range(config.levels):
        grads = torch.autograd.grad(
            levels[k].sum(), [b.modulation.weight for b in net.blocks], retain_graph=True, allow_unused=True
        )
        assert [g is not None and bool(g.any()) for g in grads] == [i < each * (k + 1) for i in range(config.depth)]
        outputs = torch.autograd.grad(
            levels[k].sum(), [o.layer.weight for o in net.outputs], retain_graph=True, allow_unused=True
        )
        assert [bool(g.any()) for g in outputs] == [i <= k for i in range(config.levels)]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_discriminator_looks_at_every_level_and_every_place(config):
    judge = GAT(config).judge
    h = torch.randn(config.levels, 2, config.channels, *config.grid, requires_grad=True)
    (found,) = torch.autograd.grad(judge(h, torch.arange(2) if config.given else None)[0], h)
    assert found[:, 0].ne(0).all() and not found[:, 1].any()


@pytest.mark.parametrize("config", CONFIGS)
def test_the_losses_are_those_of_pairs_with_penalties(config):
    model = GAT(config).train()
    loss = model.discriminator_loss(batch(config), NOW)
    penalty = config.gamma / 2 * (loss.logs["R1"] + loss.logs["R2"])
    assert loss.logs["R1"] > 0 and loss.logs["R2"] > 0
    # the same draws in the same order
    now = batch(config)
    noise, y = now.noise, None if now.given is None else now.given.y
    real, fake = model.copies(model.encode(now.x)), model.latents(noise, now.given, model.generator)
    for _ in range(2 * config.levels):
        noise.normal(*real.shape[2:])
    scores = [model.judge(model.seen(h, model.noises(noise)), y) for h in (real, fake)]
    assert (loss.value - penalty).item() == pytest.approx(adversarial.relativistic(*scores).item(), rel=1e-4)
    assert loss.logs["right"].item() == (scores[0] > scores[1]).float().mean().item()


@pytest.mark.parametrize("config", CONFIGS)
def test_penalties_are_the_squared_gradients_of_latents_under_their_noise(config):
    torch.manual_seed(1)  # weights of which no query or key comes out near 0: there, slopes are steep and rare
    model, now = GAT(config).train(), batch(config, 2000)
    logs = model.discriminator_loss(now, NOW).logs
    y = None if now.given is None else now.given.y
    for name, h in (
        ("R1", penalties.watched(model.encode(now.x))),
        ("R2", penalties.watched(model.latents(now.noise, now.given, model.generator))),
    ):
        levels = model.copies(h) if name == "R1" else h
        scores = model.judge(model.seen(levels, model.noises(now.noise)), y)
        (slope,) = torch.autograd.grad(scores.sum(), h)
        assert logs[name].item() == pytest.approx(slope.square().sum().item() / len(scores), rel=0.2)


def test_samples_are_the_last_level_decoded_by_the_average():
    model = GAT(CONFIGS[0]).eval()
    with torch.no_grad():
        for weight in model.generator.parameters():
            weight.add_(1)
        h = model.latents(ItemNoise(0, range(3)), None, model.average.module)[-1]
        assert torch.equal(model.draw(ItemNoise(0, range(3))), model.autoencoder.decoder(h).clamp(-1, 1))


def test_the_bound_is_below_the_likelihood():
    """Of one pixel and latents on a grid, log p(x) can be integrated: the mean bound is below it."""
    config = GATConfig(
        x=Images(1, 2, 2),
        halvings=1,
        channels=1,
        vae_width=4,
        vae_blocks=1,
        patch=1,
        width=4,
        depth=1,
        heads=1,
        levels=1,
    )
    torch.manual_seed(0)
    vae, x = GAT(config).autoencoder, torch.full((1, 1, 2, 2), 51 / 127.5 - 1)
    with torch.no_grad():
        vae.decoder[-1].weight.mul_(4)  # so that it matters which latents are decoded
    h = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        p = vae.pixels(h[:, None, None, None])
        nats = (p.log_prob(x) + torch.distributions.Normal(0.0, 1.0).log_prob(h)).double()
        exact = (nats.exp() * (h[1] - h[0]).item()).sum().log().item()
        distortion, rate = vae.bound(x.expand(4000, 1, 2, 2), StepNoise(0, 4000, slice(None)))
        q = vae.encode(x)
        gap = (nats - nats.logsumexp(0)).exp()  # p(h | x) on the grid
        gap = gap / gap.sum()
        inside = q.log_prob(h.view(-1, 1, 1, 1)).flatten().double()
        divergence = (inside.exp() * (inside - (gap / (h[1] - h[0]).item()).log())).sum() * (h[1] - h[0]).item()
    assert -(distortion + rate).item() < exact
    assert exact + (distortion + rate).item() == pytest.approx(divergence.item(), abs=0.02)


def test_slow_layers_compute_the_same_and_learn_slower():
    slow, plain = Slow(5, 4), linear(5, 4)
    with torch.no_grad():
        slow.weight.copy_(plain.weight / SLOW)
    x = torch.randn(3, 5)
    assert torch.allclose(slow(x), plain(x), atol=1e-6)
    before = slow.weight.clone()
    optimizer = torch.optim.Adam(slow.parameters(), lr=0.1)
    slow(x).sum().backward()
    optimizer.step()
    assert ((slow.weight - before) * SLOW).abs().max().item() == pytest.approx(0.1 * SLOW, rel=1e-3)


def test_rates_fall_with_width():
    for config in CONFIGS:
        _, game = GAT(config).stages()
        assert {p.optimizer.lr for p in game.players} == {config.adam.lr * 768 / config.width}


def test_places_are_told_apart():
    places = torch.cartesian_prod(torch.arange(5), torch.arange(7))
    where = waves(places, 16)
    assert where.shape == (35, 16) and torch.cdist(where, where).add(torch.eye(35)).min() > 0.1
    assert waves(torch.tensor([[0, 2]]), 8)[0, 4].item() == pytest.approx(torch.tensor(2.0).sin().item())


def test_the_place_that_is_read_is_no_place_of_the_picture():
    for config in CONFIGS:
        own, *rest = GAT(config).judge.turns.movedim(1, 0)
        assert torch.equal(own, torch.stack([torch.ones_like(own[0]), torch.zeros_like(own[1])]))
        assert all(not torch.equal(own, turn) for turn in rest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": Images(1, 30, 32)}, "multiples of 16"),
        ({"width": 30, "heads": 5}, "multiple of 20"),
        ({"depth": 6, "levels": 4}, "depth=6"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GATConfig(**changes)


def test_blocks_add_a_tenth_at_first():
    model = GAT(CONFIGS[0])
    assert all(torch.equal(b.share1, torch.full_like(b.share1, 0.1)) for b in model.judge.blocks)
    weight = model.generator.blocks[0].modulation.weight
    assert weight.abs().max() <= 0.1 * (6 / sum(weight.shape)) ** 0.5 and isinstance(weight, nn.Parameter)
