"""SAGAN: attention, spectral and conditional normalization, projection, the hinge, against known answers."""

import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate
from torch.nn.utils import parametrizations

from triptych.core import Batch, Clock, Images, Label, Labels, StepNoise
from triptych.losses import adversarial
from triptych.models.gan.sagan import PRESETS, SAGAN, SAGANConfig
from triptych.nn.attention import SelfAttention
from triptych.nn.conditional import ConditionalBatchNorm
from triptych.nn.residual import GeneratorBlock, down_block, spectral
from triptych.training import turn

TINY = PRESETS["sagan-tiny"].config
NOW = Clock(0, 0.0)


def batch(n=8, seed=0):
    x = 2 * torch.rand(n, *TINY.x.shape, generator=torch.Generator().manual_seed(1)) - 1
    return Batch(x, Label(torch.arange(n) % 3), StepNoise(seed, n, slice(None)))


def players(model):
    return {p.name: p for p in model.stages()[0].players}


def normalized(model):
    """The layers that are divided by their spectral norm."""
    return [m for m in model.modules() if hasattr(m, "parametrizations")]


def matrix(weight):
    return weight.flatten(1)


def test_the_hinge_is_flat_beyond_its_margins():
    real, fake = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 1.0])
    assert adversarial.hinge_discriminator(real, fake).item() == pytest.approx(0.5 / 2 + 2 / 2)
    assert adversarial.hinge_discriminator(torch.tensor([1.5]), torch.tensor([-1.5])) == 0
    assert adversarial.hinge_generator(fake).item() == pytest.approx(0.5)
    scores = torch.tensor([5.0, -5.0], requires_grad=True)
    adversarial.hinge_generator(scores).backward()
    assert torch.equal(scores.grad, torch.tensor([-0.5, -0.5]))  # however sure the discriminator is


def test_every_layer_of_both_networks_is_normalized_as_svd_says():
    model = SAGAN(TINY)
    layers = normalized(model.generator) + normalized(model.discriminator)
    plain = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) == len([m for m in plain if not any(m is a for a in model.average.modules())])
    for _ in range(200):  # power iteration, a step each time
        for layer in layers:
            _ = layer.weight
    for layer in layers:
        sigma = torch.linalg.svdvals(matrix(layer.parametrizations.weight.original))[0]
        assert torch.allclose(layer.weight * sigma, layer.parametrizations.weight.original, rtol=1e-3, atol=1e-6)
        assert torch.linalg.svdvals(matrix(layer.weight))[0].item() == pytest.approx(1, abs=1e-3)


def test_power_iteration_runs_in_training_only_and_its_state_is_saved():
    model = SAGAN(TINY)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert any(k.endswith("weight.0._u") for k in state)
    model.sample(4, Label(torch.arange(4) % 3), seed=0)
    model.eval().discriminator(batch().x, batch().given.y)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    model.train().discriminator(batch().x, batch().given.y)
    assert any(not torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_a_turn_moves_the_others_power_iteration_but_no_weight_of_theirs():
    model = SAGAN(TINY).train()
    before = copy.deepcopy(model.discriminator.state_dict())
    player = players(model)["generator"]
    turn(model, player, player.optimizer(player.owns.parameters()), batch(), NOW)
    after = model.discriminator.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and all(k.endswith(("_u", "_v")) for k in moved)


def test_spectral_normalization_has_the_gradient_of_w_over_sigma():
    layer = nn.Linear(3, 4)
    spectral(layer)
    for _ in range(300):
        _ = layer.weight
    x = torch.randn(5, 3)
    layer(x).square().sum().backward()
    w = layer.parametrizations.weight.original
    free = w.detach().clone().requires_grad_()
    (x @ (free / torch.linalg.matrix_norm(free, 2)).T + layer.bias).square().sum().backward()
    assert torch.allclose(w.grad, free.grad, rtol=1e-3, atol=1e-4)


def test_attention_begins_as_the_identity_and_learns_to_attend():
    layer, x = SelfAttention(16), torch.randn(2, 16, 8, 8)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.gamma.grad != 0


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_attention_is_what_the_paper_writes(size):
    """Place by place: softmax over the pooled keys, the pooled values by it, then the projection (Equations 1 to 3)."""
    layer, x = SelfAttention(16).double(), torch.randn(2, 16, *size, dtype=torch.float64)
    nn.init.constant_(layer.gamma, 0.7)
    assert layer.query.out_channels == layer.key.out_channels == 2 and layer.value.out_channels == 8
    query, key, value = layer.query(x), layer.key(x), layer.value(x)

    def squares(t):
        h, w = t.shape[1:]
        return [t[:, i : i + 2, j : j + 2].flatten(1).amax(1) for i in range(0, h, 2) for j in range(0, w, 2)]

    expected = x.clone()
    for n in range(2):
        keys, values = torch.stack(squares(key[n])), torch.stack(squares(value[n]))
        for i in range(size[0]):
            for j in range(size[1]):
                share = (keys @ query[n, :, i, j]).softmax(0)
                out = layer.out.weight[:, :, 0, 0] @ (share @ values) + layer.out.bias
                expected[n, :, i, j] += 0.7 * out
    assert torch.allclose(layer(x), expected)
    assert torch.allclose(layer.weights(x).sum(-1), torch.ones(2, size[0] * size[1], dtype=torch.float64))


def test_conditional_normalization_is_each_classs_own():
    layer = ConditionalBatchNorm(2, nn.Embedding(3, 2), nn.Embedding(3, 2))
    with torch.no_grad():
        layer.gain.weight.copy_(torch.tensor([[0.0, 0], [1, 2], [-1, -1]]))
        layer.bias.weight.copy_(torch.tensor([[0.0, 0], [5, 6], [7, 8]]))
    x, y = torch.randn(6, 2, 3, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    plain = nn.BatchNorm2d(2, affine=False)(x)
    out = layer(x, y)
    assert torch.allclose(out[0], plain[0])
    assert torch.allclose(
        out[1], plain[1] * torch.tensor([2.0, 3])[:, None, None] + torch.tensor([5.0, 6])[:, None, None]
    )
    assert torch.allclose(out[2], torch.tensor([7.0, 8])[:, None, None].expand(2, 3, 3))


class Plain(nn.Identity):
    """Normalization that does nothing."""

    def forward(self, x, code):
        return x


def test_what_is_computed_for_less_is_what_the_papers_compute():
    up, down, x = GeneratorBlock(3, 5, Plain), down_block(3, 5), torch.randn(2, 3, 6, 4)
    twice = interpolate(x, scale_factor=2)
    main = up.conv2(conv2d(twice.relu(), up.conv1.weight, up.conv1.bias, padding=1).relu())
    assert torch.allclose(up(x, None), main + up.skip(twice), atol=1e-5)
    first, last, skip = down.main[1], down.main[3], down.skip[1]
    main = conv2d(first(x.relu()).relu(), last.weight, last.bias, padding=1)
    assert torch.allclose(down(x), avg_pool2d(main + skip(x), 2), atol=1e-5)


def test_the_discriminator_projects_on_the_class():
    """The scores of two classes differ by (e_a - e_b) . h, h the sum of the features."""
    d = SAGAN(TINY).discriminator.eval()
    x = batch(4).x
    scores = torch.stack([d(x, torch.full((4,), y)) for y in range(3)], 1)
    h = x
    for block in d.blocks:
        h = block(h)
        h = d.attention(h) if h.shape[2] == TINY.attention else h
    h = d.end(h).sum((2, 3))
    assert torch.allclose(scores, d.linear(h) + h @ d.labels.weight.T, atol=1e-5)
    assert scores.std(1).min() > 0


def test_the_class_reaches_the_generator_once_its_gains_are_trained():
    model = SAGAN(TINY)
    x = [model.sample(1, Label(torch.tensor([y])), seed=0) for y in (0, 1)]
    assert torch.equal(*x)  # at first, all classes are one
    nn.init.normal_(model.average.module.blocks[0].norm1.gain.weight)
    x = [model.sample(1, Label(torch.tensor([y])), seed=0) for y in (0, 1)]
    assert not torch.allclose(*x)


def test_the_defaults_are_the_papers():
    c = SAGANConfig()
    assert (c.generator_adam.lr, c.discriminator_adam.lr) == (1e-4, 4e-4)
    assert c.generator_adam.betas == c.discriminator_adam.betas == (0, 0.9)
    assert [p.turns for p in players(SAGAN(TINY)).values()] == [1, 1]
    with torch.device("meta"), patch.object(parametrizations._SpectralNorm, "_power_method"):
        model = SAGAN(SAGANConfig(given=Labels(7)))
    wide = [b.conv2.out_channels for b in model.generator.blocks]
    assert wide == [1024, 512, 256, 128, 64]
    assert model.generator.attention.query.in_channels == 256  # at 32 x 32
    assert model.discriminator.attention.query.in_channels == 128
    assert model.discriminator.linear.in_features == 1024


def test_a_size_without_feature_maps_of_that_height_is_refused():
    with pytest.raises(ValueError, match=r"attention=32: .*28 x 28; both networks have some of height 14; null"):
        SAGANConfig(x=Images(1, 28, 28))
    with pytest.raises(ValueError, match=r"attention=4: .*8 x 8; there are none; null"):
        SAGANConfig(x=Images(1, 8, 8), attention=4)
