"""WaveGAN: its sizes, phase shuffle, and that the critic looks at the class."""

import pytest
import torch

from triptych.core import Audio, Label, Labels, UsageError
from triptych.models.gan.wavegan import Critic, WaveGAN, WaveGANConfig, generator
from triptych.nn.phase_shuffle import PhaseShuffle


@pytest.mark.parametrize(("length", "layers", "shortest"), [(64, 1, 16), (252, 1, 63), (256, 2, 16), (16384, 5, 16)])
def test_the_networks_arrive_at_the_length(length: int, layers: int, shortest: int) -> None:
    c = WaveGANConfig(x=Audio(1, length), width=2, latent=3)
    assert (c.layers, c.shortest) == (layers, shortest)
    sound = generator(c)(torch.randn(2, 3))
    assert sound.shape == (2, 1, length) and sound.abs().max() <= 1
    assert Critic(c)(sound, None).shape == (2,)


def test_the_papers_sizes() -> None:
    """Tables 3 and 4, of d = 64 and a second of 16 kHz."""
    net = generator(WaveGANConfig())
    assert [tuple(w.shape) for n, w in net.named_parameters() if n.endswith("weight")] == [
        (16 * 1024, 100),
        (1024, 512, 25),
        (512, 256, 25),
        (256, 128, 25),
        (128, 64, 25),
        (64, 1, 25),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Audio(1, 4100)}, r"4,?100: .* near it, these work: 4096, 41\d\d|x.length=4100"),
        ({"x": Audio(1, 20)}, "x.length=20"),
        ({"kernel": 24}, "kernel=24"),
        ({"shuffle": -1}, "shuffle=-1"),
        ({"shuffle": 64}, "has 64 places, of which some stay; 63 at most"),
        ({"x": Audio(1, 4096, companding="mu-law")}, "leave it out"),
    ],
)
def test_what_cannot_be_built_is_said(fields, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        WaveGANConfig(**fields)


def test_phase_shuffle_moves_each_item_and_mirrors_the_ends() -> None:
    torch.manual_seed(0)
    layer, x = PhaseShuffle(2), torch.arange(10.0).expand(64, 3, 10)
    moved = layer(x)
    ramps = {tuple(row) for row in moved[:, 0].tolist()}
    assert len(ramps) == 5 and torch.equal(moved[:, 0], moved[:, 2])
    assert (2.0, 1.0, *map(float, range(8))) in ramps and (*map(float, range(2, 10)), 8.0, 7.0) in ramps
    assert layer.eval()(x) is x and PhaseShuffle(0)(x) is x


def test_the_critic_scores_sound_with_its_class() -> None:
    torch.manual_seed(0)
    model = WaveGAN(WaveGANConfig(x=Audio(1, 64), given=Labels(3), width=4, kernel=9)).eval()
    x = model.sample(2, Label(torch.tensor([1, 1])), seed=0)
    scores = [model.critic(x, Label(torch.tensor([k, k]))) for k in range(3)]
    assert (scores[0] - scores[1]).abs().min() > 0
    other = model.sample(2, Label(torch.tensor([2, 2])), seed=0)
    assert (x - other).abs().max() > 0
