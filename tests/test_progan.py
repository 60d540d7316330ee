"""Progressive GAN: the two ends of every fade, what grows when, and that a run can be interrupted while it grows."""

import copy

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, StepNoise
from triptych.io import folder
from triptych.models.gan.progan import PRESETS, ProGAN, ProGANConfig, down, up, widths
from triptych.testing import Examples
from triptych.training import Run, train

CONFIGS = [PRESETS["progan-tiny"].config, ProGANConfig(x=Images(3, 16, 24), latent=4, width=8, wide=1)]


def batch(config, n=8):
    x = 2 * torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, None, StepNoise(0, n, slice(None)))


@pytest.fixture(params=CONFIGS, ids=["rgb-12x8", "rgb-16x24"])
def model(request):
    torch.manual_seed(0)
    return ProGAN(request.param).train()


def at(model, growth):
    model.growth.fill_(growth)
    return model


def test_a_fade_begins_as_the_small_networks_and_ends_as_the_large_ones(model):
    z, x = torch.randn(4, model.config.latent), batch(model.config, 4).x
    for level in range(1, len(widths(model.config))):
        small = model.generator(z, level - 1, 1.0)
        assert torch.equal(model.generator(z, level, 0.0), up(small))
        h = model.generator.levels[0](z)
        for layers in model.generator.levels[1 : level + 1]:
            h = layers(up(h))
        assert torch.equal(model.generator(z, level, 1.0), model.generator.rgb[level](h))
        middle = model.generator(z, level, 0.25)
        assert torch.allclose(middle, 0.75 * up(small) + 0.25 * model.generator.rgb[level](h), atol=1e-6)

        shown = model.shown(x, level, 1.0)
        assert torch.equal(model.critic(shown, level, 0.0), model.critic(down(shown), level - 1, 1.0))
        h = model.critic.rgb[level](shown)
        for layers in reversed(model.critic.levels[: level + 1]):
            h = layers(h)
        assert torch.equal(model.critic(shown, level, 1.0), h)


def test_real_images_are_faded_alike(model):
    x, levels = batch(model.config).x, len(widths(model.config))
    assert torch.equal(model.shown(x, levels - 1, 1.0), x)
    small = x
    for level in reversed(range(1, levels)):
        large, small = small, down(small)
        assert torch.equal(model.shown(x, level, 1.0), large)
        faded = model.shown(x, level, 0.25)
        assert torch.allclose(faded, 0.75 * up(small) + 0.25 * large, atol=1e-6)
        nearly = model.shown(x, level, 1e-4)
        assert torch.allclose(nearly, up(model.shown(x, level - 1, 1.0)), atol=1e-3)  # a fade begins without a jump


def test_samples_are_of_full_size_at_any_time_and_change_steadily(model):
    levels = len(widths(model.config))
    last = at(model, 0).sample(3, seed=0)
    for growth in torch.linspace(0, levels - 1, 4 * levels - 3).tolist():
        x = at(model, growth).sample(3, seed=0)
        assert x.shape == (3, *model.config.x.shape)
        model.config.x.check(x)
    for level in range(1, levels):
        before, after = (at(model, level - 1 + e).sample(3, seed=0) for e in (0.0, 1e-4))
        assert torch.allclose(before, after, atol=1e-2) and not torch.equal(before, after)
    assert not torch.equal(last, at(model, levels - 1).sample(3, seed=0))


def test_layers_learn_from_when_they_are_faded_in(model):
    for stage in model.stages():
        for player in stage.players:
            model.zero_grad()
            player.loss(batch(model.config), Clock(1, 0.5)).value.backward()
            level, alpha = model.grown()
            felt = [any(w.grad is not None for w in part.parameters()) for part in player.owns.levels]
            assert felt == [k <= level for k in range(len(felt))]
            colors = [any(w.grad is not None for w in part.parameters()) for part in player.owns.rgb]
            assert colors == [k == level or (k == level - 1 and alpha < 1) for k in range(len(colors))]
            assert alpha == (0.5 if "fading" in stage.name else 1)


def test_stages_alternate_and_say_their_size():
    config = ProGANConfig(x=Images(1, 28, 28), latent=4, width=4)
    names = ["7 x 7", "14 x 14, fading in", "14 x 14", "28 x 28, fading in", "28 x 28"]
    assert [stage.name for stage in ProGAN(config).stages()] == names


def test_the_loss_of_a_linear_critic_is_known():
    config = PRESETS["progan-tiny"].config
    model = ProGAN(config).train()
    w = torch.randn(config.x.dims)

    class Linear(nn.Module):
        def forward(self, x, level, alpha):
            return x.flatten(1) @ w

    model.critic = Linear()
    b, last = batch(config), len(widths(config)) - 1
    for slope in (1.0, 7.0):
        model.config = ProGANConfig(**{**vars(config), "slope": slope})
        loss = model.critic_loss(last, False, b, Clock(0, 0.0))
        real = b.x.flatten(1) @ w
        assert loss.logs["penalty"].item() == pytest.approx((w.norm().item() / slope - 1) ** 2, rel=1e-3)
        rest = loss.value + loss.logs["distance"] - 10 * loss.logs["penalty"]
        assert rest.item() == pytest.approx(0.001 * real.square().mean().item(), abs=1e-3)


def test_a_run_goes_on_bit_for_bit_in_the_middle_of_growing(tmp_path):
    """Saved in a fade, at its last round and at the first after it; the copy is built anew and knows of no stage."""
    config = PRESETS["progan-tiny"].config
    torch.manual_seed(0)
    whole, data, run = ProGAN(config), Examples(config.x), Run(steps=3, batch=8, seed=1)
    fresh = copy.deepcopy(whole)
    for now in train(whole, data, run):
        folder.save(whole, tmp_path / str(now.step), state=now.state())
    assert whole.grown() == (len(widths(config)) - 1, 1.0)
    for step in (3, 4, 5, 6, 7):
        other = ProGAN(config)
        state = folder.resume(other, tmp_path / str(step))
        assert other.growth.item() == pytest.approx({3: 0, 4: 0, 5: 1 / 3, 6: 2 / 3, 7: 1}[step])
        for _ in train(other, data, run, resume=state):
            pass
        for name, value in whole.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), (step, name)
    assert not torch.equal(fresh.generator.rgb[-1].weight, whole.generator.rgb[-1].weight)


def test_sizes_are_the_papers():
    config = PRESETS["progan-celeba-hq"].config
    assert widths(config) == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    with torch.device("meta"):
        model = ProGAN(config)
    millions = [sum(w.numel() for w in net.parameters()) / 1e6 for net in (model.generator, model.critic)]
    assert millions == pytest.approx([23.1, 23.1], abs=0.05)  # Table 2 of the paper
    assert set(widths(PRESETS["progan-cifar"].config)) == {128}
