"""MSG-GAN: every scale reaches the critic and comes back from it, and the penalty is the mean over the scales."""

import pytest
import torch
from torch import nn

from triptych.core import Batch, Clock, Images, StepNoise, UsageError
from triptych.models.gan.msg_gan import MSGGAN, PRESETS, MSGGANConfig, pyramid, sizes, widths
from triptych.training.augmenting import judges_of

NOW = Clock(0, 0.0)
CONFIG = MSGGANConfig(x=Images(3, 16, 24), latent=4, width=8, wide=1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MSGGAN(CONFIG).train()


def batch(config, n=8):
    x = 2 * torch.rand(n, *config.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, None, StepNoise(0, n, slice(None)))


def test_scales_double_and_the_finest_is_the_image(model):
    made = model.generator(torch.randn(3, 4))
    assert [tuple(x.shape[1:]) for x in made] == sizes(model.config) == [(3, 4, 6), (3, 8, 12), (3, 16, 24)]
    x = batch(model.config).x
    small, middle, large = pyramid(x, 3)
    assert torch.equal(large, x)
    assert torch.allclose(middle[:, :, 1, 2], x[:, :, 2:4, 4:6].mean((2, 3)), atol=1e-6)
    assert torch.allclose(small, x.unflatten(3, (6, 4)).unflatten(2, (4, 4)).mean((3, 5)), atol=1e-6)
    seen = model.eval().average.module(StepNoise(0, 3, slice(None)).normal(4))[-1].clamp(-1, 1)
    assert torch.equal(model.draw(StepNoise(0, 3, slice(None))), seen)


def test_the_critic_looks_at_every_scale(model):
    x = pyramid(batch(model.config).x, 3)
    before = model.judge(x)
    for k in range(3):
        other = [y.flip(3) if i == k else y for i, y in enumerate(x)]
        assert (model.judge(other) - before).abs().max() > 1e-5


def test_every_layer_of_the_generator_has_a_way_to_the_loss_of_its_own(model):
    """With the finer scales cut off, the coarse ones still learn: by the color of their own scale."""
    made = model.generator(torch.randn(8, 4))
    for k in range(3):
        model.zero_grad()
        only = [x if i == k else x.detach() for i, x in enumerate(made)]
        model.judge(only).sum().backward(retain_graph=True)
        felt = [any(w.grad is not None and w.grad.any() for w in part.parameters()) for part in model.generator.levels]
        assert felt == [i <= k for i in range(3)]
        colors = [any(w.grad is not None and w.grad.any() for w in part.parameters()) for part in model.generator.rgb]
        assert colors == [i == k for i in range(3)]


def test_the_image_and_the_block_before_fill_half_of_the_channels_each():
    critic = MSGGAN(MSGGANConfig(x=Images(1, 32, 32), latent=4, width=16, wide=2)).judge
    assert [rgb.out_channels for rgb in critic.rgb] == [8, 8, 4, 4]
    convolutions = [[m for m in part if isinstance(m, nn.Conv2d)] for part in critic.levels]
    assert [c[0].in_channels for c in convolutions] == [17, 17, 9, 5]  # and a plane for the minibatch's deviation
    assert [c[-1].out_channels for c in convolutions[1:]] == [8, 8, 4]


def test_the_penalty_is_the_mean_over_scales(model):
    b = batch(model.config)
    x, w = pyramid(b.x, 3), [torch.randn(shape) for shape in sizes(model.config)]

    class Linear(nn.Module):
        def forward(self, scales):
            return sum((v * y).sum((1, 2, 3)) for v, y in zip(w, scales, strict=True))

    model.judge = Linear()
    expected = sum((v.norm().item() - 1) ** 2 for v in w) / 3
    loss = model.critic_loss(b, NOW)
    assert loss.logs["penalty"].item() == pytest.approx(expected, rel=1e-4)
    rest = loss.value + loss.logs["distance"] - 10 * loss.logs["penalty"]
    assert rest.item() == pytest.approx(0.001 * model.judge(x).square().mean().item(), abs=1e-2)


def test_the_penalty_is_taken_on_the_way_from_fake_to_real(model):
    zeros, ones = ([torch.full((2, *s), value) for s in sizes(model.config)] for value in (0.0, 1.0))
    seen = []
    model.judge.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    noise = StepNoise(0, 2, slice(None))
    model.penalty(ones, zeros, noise)
    u = StepNoise(0, 2, slice(None)).uniform()
    for x in seen:
        assert torch.allclose(x, u[:, None, None, None].expand_as(x))


def test_augmentation_is_refused_in_plain_words(model):
    with pytest.raises(UsageError, match="several sizes at once"):
        judges_of(model)


def test_sizes_are_the_papers():
    config = PRESETS["msg-gan-ffhq"].config
    assert widths(config) == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    critic, generator = MSGGAN(CONFIG).stages()[0].players
    assert critic.optimizer.lr == generator.optimizer.lr == 0.003
