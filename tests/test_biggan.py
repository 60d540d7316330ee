"""BigGAN: shared embedding, skip-z, orthogonality, and truncation with standing statistics."""

import copy
import math

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Label, Labels, Sampling, StepNoise, UsageError
from triptych.losses import adversarial, penalties
from triptych.models.gan import biggan
from triptych.models.gan.biggan import PRESETS, BigGAN, BigGANConfig
from triptych.models.gan.dcgan import DCGAN
from triptych.models.gan.dcgan import PRESETS as DCGAN_PRESETS
from triptych.nn.truncation import standing_statistics, truncated
from triptych.testing import Examples
from triptych.testing.toys import copied, difference
from triptych.training import Run, train
from triptych.verbs.sample import sample, steering

TINY = PRESETS["biggan-tiny"].config
NOW = Clock(0, 0.0)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Statistics over fewer images, for speed."""
    monkeypatch.setattr(biggan, "STANDING", (2, 16))


def batch(n=8, seed=0):
    x = 2 * torch.rand(n, *TINY.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, Label(torch.arange(n) % 3), StepNoise(seed, n, slice(None)))


def labels(n):
    return Label(torch.arange(n) % 3)


def test_truncated_numbers_are_those_that_would_be_drawn_again_until_they_fit():
    z = torch.randn(200_000)
    again = z[z.abs() <= 0.7]
    found = truncated(z, 0.7)
    assert found.abs().max() <= 0.7
    quantiles = torch.linspace(0.01, 0.99, 25)
    assert torch.allclose(found.quantile(quantiles), again.quantile(quantiles), atol=0.01)
    assert found[z.argsort()].diff().min() >= 0 and torch.equal(found.sign(), z.sign())


def test_truncation_is_nothing_at_infinity_and_gentle_before_it():
    z = torch.randn(1000)
    assert torch.equal(truncated(z, math.inf), z)
    assert torch.allclose(truncated(z, 8.0), z, atol=1e-5)
    assert truncated(torch.tensor([-9.0, 0, 9]), 0.02).tolist() == pytest.approx([-0.02, 0, 0.02])


def test_a_truncation_that_makes_no_sense_is_refused():
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="truncation="):
            Sampling(truncation=bad)
    dcgan = DCGAN(DCGAN_PRESETS["dcgan-tiny"].config)
    with pytest.raises(UsageError, match="dcgan has no latent that could be truncated"):
        dcgan.sample(1, how=Sampling(truncation=1.0))
    with pytest.raises(UsageError, match="biggan is not autoregressive"):
        BigGAN(TINY).sample(1, labels(1), how=Sampling(temperature=0.5, truncation=1.0))


def test_standing_statistics_are_means_over_calls_and_leave_no_trace():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    net(torch.randn(9, 2))
    before, mode = copied(net), net[0].training
    calls = [torch.randn(50, 2) * 3 + 1 for _ in range(4)]
    net.eval()
    with standing_statistics(net, ((x,) for x in calls)):
        mean = torch.stack([x.mean(0) for x in calls]).mean(0)
        var = torch.stack([x.var(0) for x in calls]).mean(0)
        x = torch.randn(3, 2)
        assert torch.allclose(net(x), (x - mean) / (var + 1e-5).sqrt(), atol=1e-5)
    net[0].training = mode
    assert difference(before, copied(net)) is None and net[0].momentum == 0.1
    with pytest.raises(ZeroDivisionError), standing_statistics(net, (1 / 0 for _ in range(1))):
        pass
    assert difference(before, copied(net)) is None


def trained(steps=3):
    """A model whose moving averages of statistics and weights have moved."""
    model = BigGAN(TINY)
    for _ in train(model, Examples(TINY.x, TINY.given), Run(steps=steps, batch=8)):
        pass
    return model


def test_truncated_samples_do_not_depend_on_each_other_nor_change_the_model():
    model = trained().train()
    before, how = copied(model), Sampling(truncation=0.5)
    x = model.sample(3, labels(3), seed=1, how=how)
    parts = [model.sample(1, labels(3)[i : i + 1], seed=1, first=i, how=how) for i in range(3)]
    assert torch.allclose(x, torch.cat(parts), atol=1e-5)
    assert torch.allclose(sample(model, 3, labels(3), seed=1, batch=2, how=how), x, atol=1e-5)
    assert difference(before, copied(model)) is None and all(m.training for m in model.modules())
    assert not torch.allclose(x, model.sample(3, labels(3), seed=1), atol=1e-3)


def test_less_truncation_is_more_variety():
    model = trained(1)
    y = Label(torch.zeros(64, dtype=torch.long))
    spread = [model.sample(64, y, seed=0, how=Sampling(truncation=t)).std(0).mean() for t in (0.02, 0.5, math.inf)]
    assert spread[0] < spread[1] < spread[2]


def test_infinite_truncation_is_the_model_with_standing_statistics():
    model = trained()
    net = copy.deepcopy(model.average.module).eval()
    noise = torch.randn(2, net.latent)
    with standing_statistics(net, model.ordinary(math.inf)):
        settled = net(noise, labels(2).y)

    class Drawn:
        n, device = 2, noise.device

        def normal(self, *shape):
            return noise

    with torch.no_grad():
        assert torch.equal(model.eval().draw(Drawn(), labels(2), Sampling(truncation=math.inf)), settled)


def test_gradients_reach_a_latent_through_truncation():
    model, z = trained(1).eval(), torch.randn(2, 6, requires_grad=True)

    class Chosen:
        n, device = 2, z.device

        def normal(self, *shape):
            return z

    model.draw(Chosen(), labels(2), Sampling(truncation=0.5)).square().sum().backward()
    assert z.grad.abs().sum() > 0


def test_the_command_line_names_it():
    assert steering(BigGAN(TINY), truncation=0.4).truncation == 0.4


def test_the_penalty_on_filters_that_are_alike():
    w = torch.tensor([[1.0, 2], [3, 4], [0, 5]])
    assert penalties.alike(w).item() == pytest.approx(2 * (11.0**2 + 10**2 + 20**2))
    assert penalties.alike(3 * torch.eye(4)[:2].reshape(2, 1, 2, 2)) == 0
    conv = nn.init.orthogonal_(torch.empty(5, 3, 3, 3))
    assert penalties.alike(conv).item() == pytest.approx(0, abs=1e-9)


def test_a_generator_begins_at_right_angles_and_is_kept_there():
    model = BigGAN(TINY)
    square = [w for w in model.generator.image.parameters() if w.dim() > 1 and w.flatten(1).shape[0] > w[0].numel()]
    tall = sum(penalties.alike(w) for w in square)  # more filters than dimensions cannot all be at right angles
    assert model.generator.alike().item() == pytest.approx(tall.item(), abs=1e-4)
    heavy = BigGAN(BigGANConfig(**{**vars(TINY), "orthogonal": 7.0})).train()
    loss = heavy.generator_loss(batch(), NOW)
    assert loss.logs["alike"].item() == pytest.approx(heavy.generator.alike().item(), abs=1e-6)
    nn.init.normal_(heavy.generator.shared.weight)
    assert heavy.generator.alike().item() == pytest.approx(loss.logs["alike"].item())  # the embedding is left alone


def test_the_generators_loss_is_the_hinge_and_the_penalty():
    model = BigGAN(BigGANConfig(**{**vars(TINY), "orthogonal": 0.5})).train()
    nn.init.normal_(model.generator.image.blocks[0].conv2.parametrizations.weight.original)
    twin = copy.deepcopy(model)
    loss = model.generator_loss(batch(), NOW)
    fake = twin.discriminator(twin.draw(batch().noise, batch().given), batch().given.y)
    expected = adversarial.hinge_generator(fake) + 0.5 * twin.generator.alike()
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-5) and twin.generator.alike() > 1


def test_each_chunk_of_z_has_its_place():
    """The first begins the image; the others change it only through the gains and biases of their own block."""
    net = BigGAN(TINY).eval().generator
    z, y, seen = torch.randn(2, net.latent), torch.tensor([0, 1]), []
    assert net.latent == TINY.chunk * (1 + len(net.image.blocks)) == 6
    for block in net.image.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], inputs[1])))
    net(z, y)
    (start, first), (_, second) = seen
    assert torch.equal(start, net.image.first(z[:, :2]))
    assert torch.equal(first, torch.cat([net.shared(y), z[:, 2:4]], 1))
    assert torch.equal(second, torch.cat([net.shared(y), z[:, 4:]], 1))


def test_one_embedding_serves_every_layer_and_is_not_normalized():
    net = BigGAN(TINY).generator
    assert [name for name, m in net.named_modules() if isinstance(m, nn.Embedding)] == ["shared"]
    assert not hasattr(net.shared, "parametrizations")
    gain = net.image.blocks[0].norm1.gain
    assert hasattr(gain, "parametrizations") and gain.bias is None


def test_the_defaults_are_the_papers():
    c = BigGANConfig()
    assert (c.generator_adam.lr, c.discriminator_adam.lr, c.discriminator_turns) == (5e-5, 2e-4, 2)
    assert (c.width, c.orthogonal, c.ema, c.embedding) == (96, 1e-4, 0.9999, 128)
    model = BigGAN(BigGANConfig(given=Labels(10), width=2))
    assert model.generator.latent == 120
    assert [b.conv2.out_channels for b in model.generator.image.blocks] == [16 * 2, 8 * 2, 4 * 2, 2 * 2, 2]
    assert model.generator.image.attention.query.in_channels == 2 * 2  # at 64 x 64
    assert model.discriminator.attention.query.in_channels == 2
    assert [p.turns for p in BigGAN(TINY).stages()[0].players] == [2, 1]
