"""WaveGAN: a GAN of raw sound, DCGAN's networks in one dimension with longer kernels and strides of four.

Adversarial Audio Synthesis.
Donahue, McAuley and Puckette, 2019. https://arxiv.org/abs/1802.04208

    L = E D(G(z)) - E D(x) + lambda E (|grad D(x^)|_2 - 1)^2        (WGAN-GP, as Gulrajani and others, 2017)

Kernels of 25 samples and strides of 4 stand for DCGAN's of 5 x 5 and 2 x 2 (Section 3.1). Transposed convolutions leave
a tone of their own at fixed phases; so that the discriminator does not learn to listen for it, each of its layers moves
its activations by a few samples at random (phase shuffle, Section 3.3).

Given classes, the generator has the class beside z, and the critic scores how well x goes with it by a projection
(Miyato and Koyama, 2018. https://arxiv.org/abs/1802.05637, Equation 3); the paper has no classes.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot

from triptych.core import (
    Adam,
    Audio,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Stage,
    UsageError,
    config,
    full,
    precisely,
)
from triptych.losses import penalties
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.phase_shuffle import PhaseShuffle

PAPER = Paper(
    called="WaveGAN",
    title="Adversarial Audio Synthesis",
    authors="Chris Donahue, Julian McAuley, Miller Puckette",
    year=2019,
    url="https://arxiv.org/abs/1802.04208",
    conditions="none or label",
    takes=("sound",),
)
STRIDE, SHORTEST = 4, 16
"""Of each layer; and the fewest samples that the generator begins with."""


@config
class WaveGANConfig:
    x: Audio = Audio(1, 16384, rate=16000)
    """What is modeled: 16 to 63 samples, four times as many at each layer: 16384 = 16 * 4^5."""
    given: Labels | None = None
    """Classes, if x is given one."""
    latent: Count = 100
    """Dimensions of z, uniform on [-1, 1]."""
    width: Count = 64
    """Channels at a quarter of the length; they double at each layer (the paper's d)."""
    kernel: Count = 25
    """Samples of a kernel. An odd number."""
    shuffle: int = 2
    """Places that phase shuffle moves by, at most, either way; 0: none."""
    penalty: NonNegative = 10.0
    """lambda."""
    critic_turns: Count = 5
    """Updates of the critic for each of the generator."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.9))
    """For either player."""

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or self.kernel < STRIDE:
            raise UsageError(
                f"kernel={self.kernel}: an odd number above {STRIDE} reaches both sides alike; 25 would do"
            )
        if self.shuffle < 0:
            raise UsageError(f"shuffle={self.shuffle}: a number of places, 0 for none")
        if self.x.companding:
            raise UsageError(f"x.companding={self.x.companding}: WaveGAN makes amplitudes; leave it out")
        layers = self.layers
        if not layers or self.x.length % STRIDE**layers:
            near = [base * STRIDE**k for k in range(1, 10) for base in range(SHORTEST, 4 * SHORTEST)]
            close = sorted(sorted(set(near), key=lambda length: abs(length - self.x.length))[:2])
            raise UsageError(
                f"x.length={self.x.length}: 16 to 63 samples are made four times as many again and again, and never "
                f"come to so many; near it, these work: {', '.join(map(str, close))}"
            )

        if self.shuffle >= STRIDE * self.shortest and layers > 1:
            raise UsageError(
                f"shuffle={self.shuffle}: the layer before the last has {STRIDE * self.shortest} places, of which some "
                f"stay; {STRIDE * self.shortest - 1} at most"
            )

    @property
    def layers(self) -> int:
        """How often the length is made four times as large."""
        return max((k for k in range(1, 12) if SHORTEST * STRIDE**k <= self.x.length), default=0)

    @property
    def wide(self) -> list[int]:
        """Channels, from the shortest length to the longest but one."""
        return [self.width << k for k in reversed(range(self.layers))]

    @property
    def shortest(self) -> int:
        return self.x.length // STRIDE**self.layers


def generator(c: WaveGANConfig) -> nn.Sequential:
    """[n, inputs] -> sound (Table 3)."""
    inputs, wide = c.latent + (c.given.classes if c.given else 0), c.wide
    up = partial(
        nn.ConvTranspose1d, kernel_size=c.kernel, stride=STRIDE, padding=(c.kernel - STRIDE + 1) // 2, output_padding=1
    )
    layers: list[nn.Module] = [nn.Linear(inputs, wide[0] * c.shortest), nn.Unflatten(1, (wide[0], c.shortest))]
    for cin, cout in pairwise([*wide, c.x.channels]):
        layers += [nn.ReLU(), up(cin, cout)]
    return nn.Sequential(*layers, nn.Tanh())


class Critic(nn.Module):
    """Sound, and its class if there is one -> a score (Table 4)."""

    def __init__(self, c: WaveGANConfig) -> None:
        super().__init__()
        wide, layers = c.wide[::-1], list[nn.Module]()
        for k, (cin, cout) in enumerate(pairwise([c.x.channels, *wide])):
            layers += [nn.Conv1d(cin, cout, c.kernel, STRIDE, c.kernel // 2 - 1), nn.LeakyReLU(0.2)]
            if k < len(wide) - 1:
                layers.append(PhaseShuffle(c.shuffle))
        self.trunk = nn.Sequential(*layers, nn.Flatten(1))
        features = wide[-1] * c.shortest
        self.score = nn.Linear(features, 1)
        self.kind = nn.Embedding(c.given.classes, features) if c.given else None
        if self.kind is not None:
            nn.init.normal_(self.kind.weight, std=features**-0.5)

    def forward(self, x: Float[Tensor, "n c t"], given: Label | None) -> Float[Tensor, " n"]:
        h = self.trunk(x)
        score: Tensor = self.score(h).flatten()
        if self.kind is not None and given is not None:
            score = score + (self.kind(given.y) * h).sum(1)
        return score


class WaveGAN(Generative[Label | None]):
    name = "wavegan"

    def __init__(self, config: WaveGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = generator(config)
        self.critic = Critic(config)
        self.average = EMA(self.generator, config.ema)

    def draw(self, noise: Noise, given: Label | None = None) -> Float[Tensor, "n c t"]:
        """By the generator in training, by its average otherwise."""
        net, z = self.average.unless_training(self.generator), 2 * noise.uniform(self.config.latent) - 1
        if self.config.given is None or given is None:
            return net(z)
        return net(torch.cat((z, one_hot(given.y, self.config.given.classes).to(z.dtype)), 1))

    def critic_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        fake, judge = self.draw(batch.noise, batch.given), partial(self.critic, given=batch.given)
        distance = full(judge(batch.x)).mean() - full(judge(fake)).mean()
        middle = penalties.between(batch.x, fake, batch.noise.uniform())
        penalty = penalties.unit_gradient(precisely(judge, middle), middle)
        return Loss(self.config.penalty * penalty - distance, {"distance": distance, "penalty": penalty})

    def generator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        return Loss(-full(self.critic(self.draw(batch.noise, batch.given), batch.given)).mean())

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        sound = "it judges sound, which is not augmented as pictures are; phase shuffle is what it has"
        players = [
            Player(
                name="critic",
                owns=self.critic,
                loss=self.critic_loss,
                optimizer=c.adam,
                turns=c.critic_turns,
                judges=sound,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=c.adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "wavegan-16k": Preset(
        config=WaveGANConfig(),
        steps=200_000,
        batch=64,
        expect="The paper's size, a second of 16 kHz (of spoken digits, drums, birds, piano); not trained by us.",
    ),
    "wavegan-drums": Preset(
        config=WaveGANConfig(
            x=Audio(1, 4096, rate=8000),
            given=Labels(5),
            width=16,
            critic_turns=2,
            ema=0.99,
            adam=Adam(lr=5e-4, betas=(0.5, 0.9), schedule="linear"),
        ),
        steps=1200,
        batch=16,
        expect="drums, seed 0: 5.2 minutes of one CPU core. Envelopes of the kinds, over a hiss; a classifier trained "
        "apart (.80 right on held-out hits) takes .46 of 500 samples for what was asked, log mel FD 17 (floor .8).",
    ),
    "wavegan-tiny": Preset(
        config=WaveGANConfig(x=Audio(1, 64, rate=8000), latent=4, width=4, kernel=9, shuffle=1, critic_turns=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "wavegan-tiny-classes": Preset(
        config=WaveGANConfig(
            x=Audio(2, 72, rate=8000), given=Labels(3), latent=4, width=4, kernel=5, shuffle=0, critic_turns=1
        ),
        steps=10,
        batch=8,
        expect="For tests of classes and of two channels.",
    ),
}
