"""GAN and DCGAN: what their papers say of them, and that each player learns."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, Points, StepNoise
from triptych.models.gan import dcgan, gan
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.models.gan.gan import GAN, GANConfig, Maxout
from triptych.nn.strided import halvings

TINY = [
    gan.PRESETS["gan-tiny"].config,
    dcgan.PRESETS["dcgan-tiny"].config,
    GANConfig(x=Points(2), latent=3, generator_width=8, discriminator_width=4),
    DCGANConfig(x=Images(3, 8, 12), latent=4, width=4),
]


def build(config):
    return DCGAN(config) if isinstance(config, DCGANConfig) else GAN(config)


def batch(config, n=32, seed=0):
    x = torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 0.8
    return Batch(x, None, StepNoise(seed, n, slice(None)))


@pytest.mark.parametrize("config", TINY)
def test_samples_fill_their_space_and_depend_on_the_seed_and_the_item_alone(config):
    model = build(config)
    x = model.sample(5, seed=1)
    assert x.shape == (5, *config.x.shape) and x.dtype == torch.float32 and not x.requires_grad
    config.x.check(x)
    assert torch.equal(x, model.sample(5, seed=1)) and not torch.equal(x, model.sample(5, seed=2))
    assert torch.allclose(x[3:4], model.sample(1, seed=1, first=3), atol=1e-5)
    assert model.training


@pytest.mark.parametrize("config", TINY)
def test_each_player_lowers_its_loss_against_a_resting_opponent(config):
    model = build(config).train()
    for player in model.stages()[0].players:
        optimizer = torch.optim.Adam(player.owns.parameters(), lr=1e-2)
        values = []
        for _ in range(40):
            loss = player.loss(batch(config), Clock(0, 0.0))  # the same examples and the same noise
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            values.append(loss.value.item())
        assert min(values[-5:]) < 0.9 * values[0], player.name


def test_every_weight_that_learns_has_one_player():
    for config in TINY:
        model = build(config)
        owned = [id(w) for player in model.stages()[0].players for w in player.owns.parameters()]
        assert sorted(owned) == sorted(id(w) for w in model.parameters() if w.requires_grad)


def test_a_discriminator_that_cannot_tell_loses_two_log_two():
    model = GAN(gan.PRESETS["gan-tiny"].config)
    nn.init.zeros_(model.discriminator[-2].weight)
    nn.init.zeros_(model.discriminator[-2].bias)
    loss = model.discriminator_loss(batch(model.config), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(1.3862944)
    assert loss.logs["D(real)"].item() == loss.logs["D(fake)"].item() == 0.5


def test_maxout_is_the_largest_of_its_pieces():
    layer = Maxout(2, units=3, pieces=4)
    x = torch.randn(5, 2)
    pieces = layer.linear(x).view(5, 4, 3)
    assert torch.equal(layer(x), torch.stack([pieces[:, j] for j in range(4)]).max(0).values)


def test_the_generator_loss_is_chosen_by_its_name():
    for name, sign in (("non-saturating", 1), ("saturating", -1)):
        model = GAN(GANConfig(x=Points(2), latent=2, generator_loss=name)).eval()
        value = model.generator_loss(batch(model.config), Clock(0, 0.0)).value
        assert value.sign() == sign
    with pytest.raises(ValueError, match="generator_loss"):
        GANConfig(generator_loss="wasserstein")


def test_dropout_is_the_discriminators_and_for_training_only():
    model = GAN(GANConfig(x=Points(4), latent=2))
    x = torch.randn(3, 4)
    assert not torch.equal(model.discriminator(x), model.discriminator(x))
    model.eval()
    assert torch.equal(model.discriminator(x), model.discriminator(x))
    assert not any(isinstance(m, nn.Dropout) for m in model.generator)


SIZES = [(28, 28), (32, 32), (64, 64), (8, 8), (32, 64), (24, 56), (20, 16)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_dcgan_builds_any_size_that_halves_to_4_to_7_pixels(size, channels):
    model = DCGAN(DCGANConfig(x=Images(channels, *size), width=2, latent=3))
    x = model.sample(2, seed=0)
    assert x.shape == (2, channels, *size) and model.discriminator(x).shape == (2,)


def test_dcgan_starts_from_4_to_7_pixels():
    assert [halvings(s, s) for s in (8, 28, 32, 64, 56, 128)] == [1, 2, 3, 4, 3, 5]
    assert [halvings(s, s) for s in (4, 7, 9, 30, 36, 3)] == [0] * 6
    assert halvings(32, 60) == 0 and halvings(32, 40) == 3


@pytest.mark.parametrize(
    ("size", "remedy"), [((30, 30), "28 x 28, 32 x 32"), ((3, 3), "8 x 8"), ((30, 50), "28 x 48"), ((100, 33), "x 32")]
)
def test_dcgan_refuses_other_sizes_and_names_some_that_work(size, remedy):
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]}.*work: .*{remedy}"):
        DCGANConfig(x=Images(1, *size))


def test_dcgan_starts_from_the_papers_distribution():
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(x=Images(1, 28, 28), width=32))
    for layer in (*model.generator, *model.discriminator):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            n = layer.weight.numel()
            assert abs(layer.weight.mean()) < 5 * 0.02 / n**0.5
            assert abs(layer.weight.std() / 0.02 - 1) < 5 / (2 * n) ** 0.5
            assert layer.bias is None or not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert abs(layer.weight.mean() - 1) < 0.02 and 0.01 < layer.weight.std() < 0.03 and not layer.bias.any()


def test_dcgan_normalizes_all_layers_but_the_generators_last_and_the_discriminators_first():
    model = DCGAN(DCGANConfig(x=Images(1, 32, 32), width=4))
    kinds = [type(m).__name__ for m in model.generator]
    assert kinds == ["Linear", "Unflatten", *["BatchNorm2d", "ReLU", "ConvTranspose2d"] * 3, "Tanh"]
    kinds = [type(m).__name__ for m in model.discriminator]
    middle = ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2
    assert kinds == ["Conv2d", "LeakyReLU", *middle, "Flatten", "Linear", "Flatten"]


def test_dcgan_samples_come_from_the_average():
    model = DCGAN(dcgan.PRESETS["dcgan-tiny"].config)
    before = model.sample(4, seed=0)
    with torch.no_grad():
        for w in model.generator.parameters():
            w.add_(0.1)
    assert torch.equal(model.sample(4, seed=0), before)
    follow = model.stages()[0].players[1].project
    follow()
    assert not torch.equal(model.sample(4, seed=0), before)
    for _ in range(200):
        follow()
    model.average.decay = 0
    follow()
    model.eval()
    z = 2 * StepNoise(0, 4, slice(None)).uniform(4) - 1
    assert torch.allclose(model.draw(StepNoise(0, 4, slice(None))), model.generator(z))


def test_dcgan_draws_z_from_the_cube():
    class Ends:
        n = 2

        def uniform(self, *shape):
            return torch.stack([torch.zeros(shape), torch.full(shape, 0.75)])

    model = DCGAN(dcgan.PRESETS["dcgan-tiny"].config).eval()
    z = torch.stack([torch.full((4,), -1.0), torch.full((4,), 0.5)])
    assert torch.equal(model.draw(Ends()), model.average.module(z))


def test_the_penalties_are_the_squared_gradients_at_real_and_at_generated_points():
    config = GANConfig(x=Points(2), latent=2, generator_width=8, discriminator_width=4, penalty=0.5)
    model = GAN(config)
    model.discriminator = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    with torch.no_grad():
        model.discriminator[0].weight.copy_(torch.tensor([[3.0, -4.0]]))
    loss = model.discriminator_loss(batch(config), Clock(0, 0.0))
    assert loss.logs["R1"].item() == loss.logs["R2"].item() == pytest.approx(25)
    plain = GAN(GANConfig(x=Points(2), latent=2, generator_width=8, discriminator_width=4))
    plain.generator, plain.discriminator = model.generator, model.discriminator
    free = plain.discriminator_loss(batch(config), Clock(0, 0.0))
    assert loss.value.item() == pytest.approx(free.value.item() + 0.25 * (25 + 25), rel=1e-5)
    assert set(free.logs) == {"D(real)", "D(fake)"}


def test_gan_samples_are_the_generators_own_unless_an_average_is_asked_for():
    for ema in (0.0, 0.9):
        config = GANConfig(x=Points(2), latent=2, generator_width=8, discriminator_width=4, ema=ema)
        model = GAN(config)
        follow = model.stages()[0].players[1].project
        for _ in range(100):
            follow()
        with torch.no_grad():
            for w in model.generator.parameters():
                w.add_(1.0)
        follow()
        z = StepNoise(0, 4, slice(None)).normal(2)
        same = torch.equal(model.eval().draw(StepNoise(0, 4, slice(None))), model.generator(z))
        assert same == (ema == 0)
