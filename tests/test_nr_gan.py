"""NR-GAN: that each variant's noise is held to what the paper says and is told nothing it should not know, and that
samples are clean; AmbientGAN: its measurement, and the plain GAN that it is without one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, ItemNoise, StepNoise
from triptych.models.gan import ambient_gan, nr_gan
from triptych.models.gan.ambient_gan import AmbientGAN
from triptych.models.gan.nr_gan import CONSTRAINTS, NRGAN, NRGANConfig, inverted, rotated, shuffled, spread
from triptych.nn.brightness import brightness

TINY = NRGANConfig(x=Images(3, 8, 8), latent=4, width=4)


def model(variant, **values):
    torch.manual_seed(0)
    return NRGAN(replace(TINY, variant=variant, **values)).eval()


def noise(n, seed=0):
    return StepNoise(seed, n, slice(None))


def batch(config, n=6):
    return Batch(torch.rand(n, *config.x.shape) * 2 - 1, None, noise(n))


def test_the_variants_are_the_papers():
    """What each is held to, as in the authors' table (and in no other combination)."""
    held = {
        name.partition(" (")[0]: (r.prior is not None, r.implicit, r.turned, r.inverted)
        for name, r in CONSTRAINTS.items()
    }
    assert held == {
        "SI-NR-GAN-I": (True, False, False, False),
        "SI-NR-GAN-II": (False, False, True, True),
        "SD-NR-GAN-I": (True, False, False, False),
        "SD-NR-GAN-II": (True, True, False, False),
        "SD-NR-GAN-III": (False, True, False, True),
    }


@pytest.mark.parametrize("variant", CONSTRAINTS)
def test_samples_are_clean_and_noisy_ones_are_the_same_images(variant):
    m = model(variant)
    parts = m.parts(ItemNoise(3, range(5)))
    assert torch.equal(parts.clean, m.sample(5, seed=3)), "the image that the noise is added to"
    assert parts.noise.abs().max() > 0 and torch.equal(parts.noisy, (parts.clean + parts.noise).clamp(-1, 1))
    assert parts.level.shape == (5,) and (parts.level >= 0).all()


@pytest.mark.parametrize("variant", CONSTRAINTS)
def test_the_noise_knows_the_image_only_where_it_may(variant):
    """By the gradient of the noise with respect to z_x, everything else held."""
    m, rule = model(variant).train(), CONSTRAINTS[variant]  # the averages take no gradients
    normal = ItemNoise(0, range(4)).normal

    class Held:
        n, device = 4, torch.device("cpu")
        drawn = None

        def normal(self, *shape):
            if self.drawn is None:
                self.drawn = normal(*shape).requires_grad_()
                return self.drawn
            return normal(*shape)

        uniform = ItemNoise(1, range(4)).uniform

    held = Held()
    made = m.parts(held).made
    (reach,) = torch.autograd.grad(made.square().sum(), held.drawn, allow_unused=True)
    assert (reach is not None and bool(reach.any())) == rule.implicit


def test_the_known_relations():
    """The same draws, scaled by the brightness of the image and by its root: black has no noise."""
    plain = model("SI-NR-GAN-I")
    a = plain.parts(noise(5))
    for variant, strength in (("SD-NR-GAN-I (multiplicative)", lambda b: b), ("SD-NR-GAN-I (Poisson)", torch.sqrt)):
        other = model(variant)
        other.load_state_dict(plain.state_dict())
        b = other.parts(noise(5))
        assert torch.equal(a.clean, b.clean)
        assert torch.allclose(b.noise, a.noise * strength((a.clean + 1) / 2), atol=1e-6)
    assert brightness(torch.tensor([[[[-1.0, 0.0, 1.0]]]])).flatten().tolist() == [0, 0.5, 1]


def test_a_gaussian_prior_is_one():
    """eps times what the generator says: unit variance where it says 1, whatever the sign."""
    m = model("SI-NR-GAN-I")
    for says in (1.0, -1.0):
        last = m.average.module["noise"]
        nn.init.zeros_(last[-2].weight)
        nn.init.constant_(last[-2].bias, says * 0.25)
        made = m.parts(noise(500)).made
        sigma = torch.tanh(torch.tensor(0.25)).item()
        assert made.std().item() == pytest.approx(sigma, rel=0.01) and abs(made.mean().item()) < 0.002
    assert m.parts(noise(500)).level.mean().item() == pytest.approx(127.5 * sigma, rel=0.01), "in levels of 255"


def test_transformations():
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    turned = rotated(x.repeat(2, 1, 1, 1), torch.tensor([0.0, 0.25, 0.5, 0.99]))
    for i, k in enumerate((0, 1, 2, 3)):
        assert torch.equal(turned[i], x[i % 2].rot90(k, (1, 2)))
    wide = torch.arange(2 * 12.0).view(2, 1, 3, 4)
    assert torch.equal(rotated(wide, torch.tensor([0.4, 0.5])), torch.stack([wide[0], wide[1].flip(1, 2)]))
    order = shuffled(x, torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]]))
    assert torch.equal(order[0], x[0]) and torch.equal(order[1], x[1][[1, 2, 0]])
    signs = inverted(x, torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.9, 0.9]]))
    assert torch.equal(signs[0], x[0] * torch.tensor([-1, 1, 1]).view(3, 1, 1)) and torch.equal(signs[1], x[1])


def test_transformed_noise_is_the_same_up_to_them():
    """SI-II: no value is lost, and over many draws the mean is zero whatever the generator says."""
    m = model("SI-NR-GAN-II")
    parts = m.parts(noise(4000))
    assert torch.allclose(parts.noise.abs().flatten(1).sort().values, parts.made.abs().flatten(1).sort().values)
    assert not torch.equal(parts.noise, parts.made)
    sizes = parts.made.abs().mean()
    assert parts.made.mean((0, 2, 3)).abs().max() > 0.03 * sizes, "the generator's own mean is not zero"
    assert parts.noise.mean((0, 2, 3)).abs().max() < 0.03 * sizes


def test_diversity():
    """|n - n'| / |z - z'|, each a mean over values, of neighbors; and it is what the generators' loss is lowered by."""
    n = torch.tensor([0.0, 1.0, 5.0, 2.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    z = torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 0.0], [1.0, 3.0]])
    assert spread(n, z).item() == pytest.approx((1 / 2 + 3 / 1.5) / 2)
    with_it, without = (model("SI-NR-GAN-II", diversity=d).train() for d in (0.02, 0.0))
    b = batch(TINY)
    gap = (
        without.generator_loss(b, Clock(0, 0.0)).value
        - with_it.generator_loss(replace(b, noise=noise(6)), Clock(0, 0.0)).value
    )
    logs = with_it.generator_loss(replace(b, noise=noise(6)), Clock(0, 0.0)).logs
    assert gap.item() == pytest.approx(0.02 * logs["diversity"].item(), rel=1e-3)


@pytest.mark.parametrize("make", [lambda **v: model("SI-NR-GAN-I", **v), lambda **v: ambient(25.0, **v)])
def test_the_penalty_is_ten_times_the_squared_gradient_not_five(make):
    """Of a linear discriminator it is |w|^2."""
    losses, b = [], batch(TINY)
    w = torch.linspace(-0.1, 0.2, 3 * 8 * 8)
    for penalty in (10.0, 0.0):
        m = make(penalty=penalty).train()
        m.discriminator = nn.Sequential(nn.Flatten(1), nn.Linear(len(w), 1), nn.Flatten(0))
        with torch.no_grad():
            m.discriminator[1].weight.copy_(w[None])
            m.discriminator[1].bias.zero_()
        losses.append(m.discriminator_loss(replace(b, noise=noise(6)), Clock(0, 0.0)))
    assert losses[0].logs["R1"].item() == pytest.approx(w.square().sum().item(), rel=1e-5)
    gap = losses[0].value - losses[1].value
    assert gap.item() == pytest.approx(10 * w.square().sum().item(), rel=1e-4)


def ambient(sigma, **values):
    torch.manual_seed(0)
    return AmbientGAN(ambient_gan.AmbientGANConfig(x=Images(3, 8, 8), sigma=sigma, latent=4, width=4, **values))


def test_the_measurement():
    m = ambient(25.0).eval()
    clean = m.sample(400, seed=0)
    measured = m.measured(ItemNoise(0, range(400)))
    inside = measured.abs() < 1
    assert (measured - clean)[inside].std().item() == pytest.approx(25 / 127.5, rel=0.02)
    assert measured.abs().max() <= 1


def test_without_noise_it_is_a_plain_gan():
    m = ambient(0.0).eval()
    assert torch.equal(m.measured(ItemNoise(0, range(3))), m.sample(3, seed=0))


def test_the_three_have_the_same_networks():
    """Or a comparison would be one of networks."""
    kinds = [NRGAN(nr_gan.PRESETS["nr-gan-mnist"].config), AmbientGAN(ambient_gan.PRESETS["ambient-gan-mnist"].config)]
    images, discriminators = zip(
        *[(getattr(m, "generator", None) or m.generators["image"], m.discriminator) for m in kinds], strict=True
    )
    for a, b in (images, discriminators):
        assert [w.shape for w in a.parameters()] == [w.shape for w in b.parameters()]
    presets = [nr_gan.PRESETS["nr-gan-mnist"], ambient_gan.PRESETS["ambient-gan-mnist"]]
    for field in ("latent", "width", "widening", "penalty", "ema", "adam"):
        assert getattr(presets[0].config, field) == getattr(presets[1].config, field)
    assert (presets[0].steps, presets[0].batch) == (presets[1].steps, presets[1].batch)


def test_the_discriminator_looks_at_images_one_by_one():
    d = model("SI-NR-GAN-I").discriminator
    x = torch.randn(5, 3, 8, 8)
    assert torch.allclose(d(x)[2:3], d(x[2:3]), atol=1e-6)


def test_the_papers_networks():
    """128 channels everywhere: three doublings from 4 x 4, two halvings and two blocks more."""
    m = NRGAN(NRGANConfig())
    g, d = m.generators["image"], m.discriminator
    assert g[0].out_features == 128 * 4 * 4 and sum(type(b).__name__ == "Block" for b in g) == 3
    assert sum(type(b).__name__ == "Block" for b in d) == 4
    assert {c.out_channels for net in (g, d) for c in net.modules() if isinstance(c, nn.Conv2d)} == {128, 3}
    assert m.config.adam.betas == (0.0, 0.99) and m.config.penalty == 10 and m.config.diversity == 0.02
