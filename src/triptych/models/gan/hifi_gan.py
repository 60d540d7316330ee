"""HiFi-GAN: a vocoder, sound of a log mel spectrogram.

Kong, Kim and Bae, 2020. HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis.
https://arxiv.org/abs/2010.05646

    L_D = sum_k E (D_k(x) - 1)^2 + E D_k(G(s))^2                                                  (Equation 1)
    L_G = sum_k E (D_k(G(s)) - 1)^2 + 2 L_FM + 45 E |log mel(x) - log mel(G(s))|            (Equations 2 to 6)

Transposed convolutions take the frames of a spectrogram s to samples; behind each, residual blocks of several kernels
and dilations see stretches of several lengths, and their mean goes on (multi-receptive-field fusion, Section 2.2). The
judges D_k look at samples in rows of a period (2.3), and at sound at several rates.

Where the transposed convolutions stop short of the rate of sound, an inverse Fourier transform does the rest, of
magnitudes and phases (Kaneko and others, 2022: iSTFTNet. https://arxiv.org/abs/2203.02395): a few frames a hop are a
fraction of the work of all its samples.

Before the judges join in, the generator learns by the spectrograms alone, in rounds that cost a fifth of those with
judges; in the paper they are there from the start.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from triptych.core import (
    Adam,
    Audio,
    Batch,
    Clock,
    Count,
    Generative,
    Images,
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    UsageError,
    config,
)
from triptych.losses import adversarial
from triptych.losses.features import alike
from triptych.models.paper import Paper
from triptych.nn.judges import SLOPE, Judged, ManyPeriods, ManyRates
from triptych.nn.mel import Mel, MelSpectrogram
from triptych.nn.vocos import Spectra

PAPER = Paper(
    called="HiFi-GAN",
    title="HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis",
    authors="Jungil Kong, Jaehyeon Kim, Jaekyoung Bae",
    year=2020,
    url="https://arxiv.org/abs/2010.05646",
    conditions="picture",
    takes=("sound",),
)
Some = Annotated[tuple[Count, ...], Field(min_length=1)]


@config
class HiFiGANConfig:
    x: Audio = Audio(1, 65536, rate=16000)
    """Sound: so many samples at most, a multiple of a spectrogram's hop. In use it is as long as what is brought."""
    given: Images = Images(1, 80, 256)
    """Its spectrogram as a picture (`nn.mel.pictured`): bands, and as many frames as x has hops."""
    mel: Mel = Mel()
    """What a spectrogram is; its mean and deviation do not matter here."""
    segment: Count = 8192
    """Samples that are learned from at a time, cut out of x at random: a multiple of the hop."""
    rates: Some = (4,)
    """How many times as many places there are behind each transposed convolution; together they divide the hop."""
    width: Count = 256
    """Channels before the first of them; half as many behind each."""
    kernels: Some = (3, 7)
    """Of the residual blocks that are fused."""
    dilations: Annotated[tuple[Some, ...], Field(min_length=1)] = ((1, 1), (3, 1))
    """Of the convolutions of each residual part (the paper's D_r)."""
    periods: Some = (2, 3, 5, 7, 11)
    """Of the judges of periods."""
    scales: Count = 3
    """Judges of rates; each hears sound at half the rate of the one before."""
    judge: Count = 4
    """Channels of a judge's first layer; four times as many at each of the next, up to sixteen times."""
    judge_layers: Count = 4
    """Layers of a judge of periods that each have a third of the places; one of rates has one less, of a fourth."""
    spectrum: NonNegative = 45.0
    """The weight of the distance of spectrograms."""
    matching: NonNegative = 2.0
    """The weight of the distance in the judges' features."""
    alone: Count = 1
    """How many times as many rounds the generator learns without judges as with them: those cost a fifth."""
    adam: Adam = Adam(lr=2e-3, betas=(0.8, 0.99), schedule="cosine", warmup=0.02)
    """Optimizer of the generator before there are judges."""
    late_adam: Adam = Adam(lr=5e-4, betas=(0.8, 0.99), weight_decay=0.01, schedule="cosine")
    """Optimizer of the generator after that."""
    judge_adam: Adam = Adam(lr=5e-4, betas=(0.8, 0.99), weight_decay=0.01, schedule="cosine")
    """Optimizer of the judges."""

    def __post_init__(self) -> None:
        hop, x = self.mel.hop, self.x
        if self.mel.rate != x.rate:
            raise UsageError(f"mel.rate={self.mel.rate}, and x.rate={x.rate}: they are of one sound; set both")
        if x.channels != 1 or x.companding:
            raise UsageError(f"x={x}: a spectrogram is of one channel, and not companded")
        for name, length in (("x.length", x.length), ("segment", self.segment)):
            if length % hop:
                near = max(1, round(length / hop)) * hop
                raise UsageError(f"{name}={length}: no multiple of the hop, {hop} samples; {near} would do")
        if self.segment > x.length:
            raise UsageError(f"segment={self.segment}: longer than x.length={x.length}, of which it is to be a part")
        if even := [k for k in self.kernels if k % 2 == 0]:
            raise UsageError(f"kernels={list(self.kernels)}: each looks as far back as ahead; take {even[0] + 1}")
        if min(self.rates) < 2:
            raise UsageError(f"rates={list(self.rates)}: each is how many times as many places there are, 2 or more")
        if hop % prod(self.rates):
            raise UsageError(f"rates={list(self.rates)}: together {prod(self.rates)}, which does not divide {hop=}")
        if self.width % (1 << len(self.rates)):
            raise UsageError(
                f"width={self.width}: it is halved {len(self.rates)} times; {1 << (len(self.rates) + 3)} would do"
            )
        if self.given.shape != (wants := (1, self.mel.mels, x.length // hop)):
            raise UsageError(f"given={self.given}: spectrograms of x are {wants[1]} bands by {wants[2]} frames")


class Residuals(nn.Sequential):
    """Parts of convolutions; each is added to what goes into it."""

    def __init__(self, parts: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__(*(nn.Sequential(*(m for conv in part for m in (nn.LeakyReLU(SLOPE), conv))) for part in parts))

    def forward(self, h: Float[Tensor, "n width t"]) -> Float[Tensor, "n width t"]:
        for part in self:
            h = h + part(h)
        return h


class Fused(nn.Module):
    """Residual blocks of several kernels, side by side: their mean (Figure 1)."""

    def __init__(self, width: int, kernels: Sequence[int], dilations: Sequence[Sequence[int]]) -> None:
        super().__init__()

        def conv(k: int, d: int) -> nn.Module:
            return weight_norm(nn.Conv1d(width, width, k, dilation=d, padding=d * (k - 1) // 2))

        self.blocks = nn.ModuleList(Residuals([[conv(k, d) for d in part] for part in dilations]) for k in kernels)

    def forward(self, h: Float[Tensor, "n width t"]) -> Float[Tensor, "n width t"]:
        total = torch.zeros_like(h)
        for block in self.blocks:
            total = total + block(h)
        return total / len(self.blocks)


class Generator(nn.Module):
    """Spectrograms -> sound, `hop` samples a frame."""

    def __init__(self, c: HiFiGANConfig) -> None:
        super().__init__()
        wide = [c.width >> k for k in range(len(c.rates) + 1)]
        rest = c.mel.hop // prod(c.rates)
        self.take = weight_norm(nn.Conv1d(c.mel.mels, wide[0], 7, padding=3))
        self.up = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(a, b, 2 * r, r, (r + 1) // 2, output_padding=r % 2))
            for (a, b), r in zip(pairwise(wide), c.rates, strict=True)
        )
        self.fused = nn.ModuleList(Fused(b, c.kernels, c.dilations) for b in wide[1:])
        self.spectra = Spectra(c.mel.rate, 4 * rest, rest) if rest > 1 else None
        self.give = weight_norm(nn.Conv1d(wide[-1], self.spectra.says if self.spectra else 1, 7, padding=3))

    def forward(self, picture: Float[Tensor, "n 1 mels frames"]) -> Float[Tensor, "n 1 t"]:
        h = self.take(picture[:, 0])
        for up, fused in zip(self.up, self.fused, strict=True):
            h = fused(up(F.leaky_relu(h, SLOPE)))
        said: Tensor = self.give(F.leaky_relu(h, SLOPE))
        return said.tanh() if self.spectra is None else self.spectra.sound(said, 1).clamp(-1, 1)


class HiFiGAN(Generative[Picture]):
    name = "hifi-gan"

    def __init__(self, config: HiFiGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.front, self.generator = MelSpectrogram(c.mel), Generator(c)
        self.judges = nn.ModuleList(
            [
                ManyPeriods(c.periods, 1, c.judge, c.judge_layers),
                ManyRates(c.scales, 1, c.judge, max(1, c.judge_layers - 1)),
            ]
        )

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n 1 t"]:
        """One spectrogram has one sound: nothing is drawn."""
        return self.wave(given.grid)

    def wave(self, picture: Float[Tensor, "n 1 mels frames"]) -> Float[Tensor, "n 1 t"]:
        """Sound of spectrograms of any length, as pictures (`nn.mel.pictured`)."""
        out: Tensor = self.generator(picture)
        return out

    # The losses

    def cut(self, batch: Batch[Picture]) -> tuple[Float[Tensor, "n 1 t"], Float[Tensor, "n 1 mels frames"]]:
        """A segment of each recording, from a frame at random on, and its spectrogram."""
        hop, frames = self.config.mel.hop, self.config.segment // self.config.mel.hop
        n, whole = len(batch.x), batch.given.grid.shape[3]
        there = batch.x.new_full((n,), whole) if batch.lengths is None else batch.lengths // hop
        first = (batch.noise.uniform() * (there - frames + 1).clamp(min=1)).long()
        at = first[:, None] + torch.arange(frames, device=first.device)  # n frames
        samples = (at[:, :, None] * hop + torch.arange(hop, device=first.device)).flatten(1)
        x = batch.x.gather(2, samples[:, None])
        grid = batch.given.grid
        return x, grid.gather(3, at[:, None, None].expand(-1, -1, grid.shape[2], -1))

    def heard(self, x: Float[Tensor, "n 1 t"]) -> list[Judged]:
        """What all judges say."""
        return [one for judges in self.judges for one in judges(x)]

    def apart(self, x: Float[Tensor, "n 1 t"], made: Float[Tensor, "n 1 t"]) -> Float[Tensor, ""]:
        """The distance of log mel spectrograms, in nats."""
        return (self.front(x[:, 0]) - self.front(made[:, 0])).abs().mean() * self.config.mel.deviation

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """The distance of log mel spectrograms."""
        x, picture = self.cut(batch)
        mel = self.apart(x, self.wave(picture))
        return Loss(self.config.spectrum * mel, {"mel": mel})

    def late_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """To pass for real, and the distances of spectrograms and of the judges' features."""
        x, picture = self.cut(batch)
        made = self.wave(picture)
        mel, real, fake = self.apart(x, made), self.heard(x), self.heard(made)
        near = alike([seen for _, seen in real], [seen for _, seen in fake])
        fooled = sum((2 * adversarial.least_squares_generator(score) for score, _ in fake), near.new_zeros(()))
        loss = fooled + self.config.matching * near + self.config.spectrum * mel
        return Loss(loss, {"mel": mel, "alike": near, "fooled": fooled})

    def judges_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Least squares: 1 for recordings, 0 for what is made of their spectrograms."""
        x, picture = self.cut(batch)
        pairs = zip(self.heard(x), self.heard(self.wave(picture)), strict=True)
        losses = [2 * adversarial.least_squares_discriminator(real, fake) for (real, _), (fake, _) in pairs]
        return Loss(sum(losses[1:], losses[0]))

    def stages(self) -> Sequence[Stage]:
        c, generator = self.config, partial(Player, name="generator", owns=self.generator)
        judges = Player(
            name="judges",
            owns=self.judges,
            loss=self.judges_loss,
            optimizer=c.judge_adam,
            judges="they compare features of a sound with those of the sound it is to be",
        )
        return [
            Stage(
                name="spectrograms",
                players=[generator(loss=self.loss, optimizer=c.adam, clip=100.0)],
                times=c.alone,
            ),
            Stage(name="adversarial", players=[judges, generator(loss=self.late_loss, optimizer=c.late_adam)]),
        ]


PRESETS = {
    "hifi-gan-16k": Preset(
        config=HiFiGANConfig(alone=5),
        steps=450,
        batch=4,
        expect="festvox-ru, seed 0, 4 minutes of one CPU core: MCD of copy synthesis 14.3 dB (Griffin-Lim 7.9; 16.2 "
        "after 200 of the steps, with harmonics on a fixed grid). It takes far longer to be worth it.",
    ),
    "hifi-gan-v1": Preset(
        config=HiFiGANConfig(
            x=Audio(1, 65536, rate=22050),
            mel=Mel(rate=22050, high=8000.0),
            rates=(8, 8, 2, 2),
            width=512,
            kernels=(3, 7, 11),
            dilations=((1, 1), (3, 1), (5, 1)),
            judge=32,
            late_adam=Adam(lr=2e-4, betas=(0.8, 0.99), weight_decay=0.01, schedule="cosine"),
            judge_adam=Adam(lr=2e-4, betas=(0.8, 0.99), weight_decay=0.01, schedule="cosine"),
        ),
        steps=500_000,
        batch=16,
        expect="The paper's V1, but for the judges' widths, for LJSpeech on GPUs; not trained by us.",
    ),
    "hifi-gan-tiny": Preset(
        config=HiFiGANConfig(
            x=Audio(1, 96, rate=8000),
            given=Images(1, 6, 12),
            mel=Mel(rate=8000, fft=32, hop=8, mels=6),
            segment=48,
            rates=(2,),
            width=4,
            kernels=(3,),
            dilations=((1, 2),),
            periods=(2, 3),
            scales=1,
            judge=2,
            judge_layers=2,
        ),
        steps=10,
        batch=8,
        expect="For tests; a half of the way by an inverse Fourier transform.",
    ),
    "hifi-gan-tiny-whole": Preset(
        config=HiFiGANConfig(
            x=Audio(1, 48, rate=8000),
            given=Images(1, 5, 8),
            mel=Mel(rate=8000, fft=24, hop=6, mels=5),
            segment=48,
            rates=(3, 2),
            width=8,
            kernels=(3, 5),
            dilations=((1,), (2,)),
            periods=(5,),
            scales=2,
            judge=4,
            judge_layers=1,
        ),
        steps=10,
        batch=8,
        expect="For tests; all the way by transposed convolutions, as in the paper.",
    ),
}
