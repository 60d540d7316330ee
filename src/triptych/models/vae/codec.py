"""A codec of sound: a clip as a short row of codes, whose decoder also has to pass for real, and a transformer of rows.

Zeghidour, Luebs, Omran, Skoglund and Tagliasacchi, 2021. SoundStream: An End-to-End Neural Audio Codec.
https://arxiv.org/abs/2107.03312

    L = mel |log mel(x) - log mel(x^)| + wave |x - x^| + matching L_feat + L_GAN,    x^ = decoder(codes(x))

Judges hear sound at several rates, by the hinge loss, and so do their features (Equations 2 to 5); spectrograms are
compared through many windows (Kumar and others, 2023. https://arxiv.org/abs/2306.06546, Section 3.5). Two parts are
newer than the paper. Its strided convolutions are convolutions along the frames of a Fourier transform, in and out
(Siuzdak, 2023: Vocos. https://arxiv.org/abs/2306.00814): those at the rate of sound are what takes a CPU its time. And
its residual vector quantization is finite scalar quantization (Mentzer and others, 2023.
https://arxiv.org/abs/2309.15505): one code a frame, so that what models them reads one row.

In three stages, as VQGAN is trained: the auto-encoder by distances alone; then the judges join in; then everything
stands still and a causal transformer learns p(codes), by class or text, as for pictures (Sun and others, 2024.
https://arxiv.org/abs/2406.06525).

The decoder gives a sound, and no distribution of sounds: p(codes) is exact, and there is no likelihood of x, nor a
bound on it. For one take `wavenet`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from triptych.core import (
    FAITHFUL,
    Adam,
    Audio,
    Batch,
    Clock,
    Coding,
    Count,
    Exact,
    Fraction,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Sampling,
    Stage,
    Text,
    Tokens,
    UsageError,
    asked,
    config,
    full,
)
from triptych.losses import adversarial
from triptych.losses.features import alike
from triptych.models.paper import Paper
from triptych.nn.code_transformer import CodeTransformer
from triptych.nn.fsq import FSQ, Levels
from triptych.nn.judges import ManyRates
from triptych.nn.many_mels import ManyMels
from triptych.nn.transformer import check_heads
from triptych.nn.vocos import Backbone, Spectra

PAPER = Paper(
    called="SoundStream",
    title="SoundStream: An End-to-End Neural Audio Codec",
    authors="Neil Zeghidour, Alejandro Luebs, Ahmed Omran, Jan Skoglund, Marco Tagliasacchi",
    year=2021,
    url="https://arxiv.org/abs/2107.03312",
    conditions="none, label or text",
    takes=("sound",),
)
Windows = Annotated[tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...], Field(min_length=1)]


@config
class CodecConfig:
    x: Audio = Audio(1, 16384, rate=16000)
    """What is modeled: a multiple of `hop`."""
    given: Labels | Tokens | None = None
    """The classes, or the space of the texts, that p(codes) is conditioned on."""
    hop: Count = 256
    """Samples a code stands for."""
    fft: Count = 1024
    """Samples of the windows that the networks see sound through, and make it of: at least twice `hop`."""
    levels: Levels = (8, 5, 5, 5)
    """Of each number of a code: their product is how many codes there are."""
    width: Count = 256
    """Channels of the encoder and of the decoder."""
    layers: Count = 6
    """Blocks of either."""
    windows: Windows = (64, 128, 256, 512, 1024, 2048)
    """Samples of the windows that spectrograms are compared by."""
    mel: NonNegative = 45.0
    """The weight of the distance of log mel spectrograms."""
    wave: NonNegative = 45.0
    """The weight of the distance of samples."""
    matching: NonNegative = 2.0
    """The weight of the distance in the judges' features."""
    adversarial: NonNegative = 1.0
    """The weight of passing for real, summed over the judges."""
    judges: Count = 3
    """How many there are; each hears sound at half the rate of the one before."""
    judge: Count = 16
    """Channels of a judge's first layer; four times as many at each of the next, up to sixteen times."""
    judge_layers: Count = 4
    """How often a judge goes to a fourth of the rate."""
    prior_width: Count = 128
    """Width of the transformer: of a code's embedding. A multiple of twice the heads."""
    prior_layers: Count = 4
    """Blocks of attention and network."""
    prior_heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.1
    """The share of what a layer of the transformer adds that is left out in training."""
    drop: Fraction = 0.1
    """How often the condition is left out in training: what guidance needs."""
    misread: Fraction = 0.0
    """The share of codes before that the transformer is shown another in place of, in training: it relies less on them,
    and more on what it is told."""
    segment: Count | None = None
    """Samples of a clip, cut out at random, that the auto-encoder learns from at a time, a multiple of `hop`: the same
    time goes through more clips. None: all of x."""
    alone: Count = 1
    """How many times as many rounds the first stage has as the second: without judges they cost a third."""
    code_times: Count = 1
    """How many times as many rounds the transformer's stage has as the second."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the auto-encoder before there are judges."""
    late_adam: Adam = Adam(lr=5e-4, betas=(0.8, 0.99), schedule="cosine")
    """Optimizer of the auto-encoder after that."""
    judge_adam: Adam = Adam(lr=5e-4, betas=(0.8, 0.99), schedule="cosine")
    """Optimizer of the judges."""
    prior_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.02)
    """Optimizer of the transformer."""

    def __post_init__(self) -> None:
        if self.x.length % self.hop:
            near = max(1, round(self.x.length / self.hop)) * self.hop
            raise UsageError(
                f"x.length={self.x.length}: each code stands for hop={self.hop} samples, and so many are no whole "
                f"number of codes; x.length={near} would do"
            )
        if self.segment is not None and (self.segment % self.hop or self.segment > self.x.length):
            near = min(max(1, round(self.segment / self.hop)) * self.hop, self.x.length)
            raise UsageError(
                f"segment={self.segment}: it is a multiple of hop={self.hop} samples, and at most x.length="
                f"{self.x.length}; {near} would do"
            )
        if self.fft % 2 or self.fft < 2 * self.hop:
            raise UsageError(
                f"fft={self.fft}, hop={self.hop}: a window is an even number of samples, and at least two hops; "
                f"fft={4 * self.hop} would do"
            )
        if self.x.companding:
            raise UsageError(f"x.companding={self.x.companding}: the codec makes amplitudes; leave it out")
        check_heads("prior_width", self.prior_width, self.prior_heads)


@dataclass(frozen=True, eq=False)
class Certain:
    """What codes stand for: one sound, with no noise around it."""

    mean: Tensor
    uniforms: Sequence[int] = ()

    def icdf(self, value: Tensor) -> Tensor:
        return self.mean


class Codec(Coding[Label | Text | None]):
    """Exact p(codes), sounds by class, by text or neither, and the codes of sounds; no likelihood of sounds."""

    name = "codec"
    noisy = False

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = c = config
        self.fsq, self.spectra, numbers = FSQ(c.levels), Spectra(c.x.rate, c.fft, c.hop), len(c.levels)
        self.encoder = Backbone(c.x.channels * self.spectra.reads, numbers, c.width, c.layers)
        self.decoder = Backbone(numbers, c.x.channels * self.spectra.says, c.width, c.layers)
        self.judges, self.mels = (
            ManyRates(c.judges, c.x.channels, c.judge, c.judge_layers),
            ManyMels(c.x.rate, c.windows),
        )
        self.codes = Tokens(self.fsq.codes, c.x.length // c.hop)
        self.prior = CodeTransformer(
            self.fsq.codes, (self.codes.length,), c.given, c.prior_width, c.prior_layers, c.prior_heads, c.dropout
        )

    # Codes and sounds

    def encode(self, x: Float[Tensor, "n c t"], given: Label | Text | None = None) -> Int[Tensor, "n places"]:
        """The sounds' codes."""
        return self.fsq.nearest(self.vectors(x))

    def vectors(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n places numbers"]:
        """What the encoder says of each frame, before it is quantized."""
        out: Tensor = self.encoder(self.spectra.read(x)).mT
        return out

    def play(self, e: Float[Tensor, "n places numbers"]) -> Float[Tensor, "n c t"]:
        return self.spectra.sound(self.decoder(e.mT), self.config.x.channels).clamp(-1, 1)

    def decode(self, code: Int[Tensor, "*n places"], given: Label | Text | None = None) -> Certain:
        """The sounds that codes stand for."""
        return self.pixels(code)

    def pixels(self, code: Int[Tensor, "*n places"]) -> Certain:
        sound = self.play(self.fsq(code).flatten(0, -3))
        return Certain(sound.view(*code.shape[:-1], *sound.shape[1:]))

    def draw_codes(self, noise: Noise, given: Label | Text | None, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        return self.prior.draw(self.codes, noise, given, how)

    @asked
    def log_prob_codes(
        self, code: Int[Tensor, "n places"], given: Label | Text | None = None, *, guidance: float = 1.0
    ) -> Exact:
        """log p(codes | given). Raises UsageError for a guidance other than 1: what it draws is distributed otherwise.

        Example:
            model.log_prob_codes(model.encode(x), given).bits_per_dim()    # bits a code
        """
        self.check_plain(guidance)
        self.check_given(len(code), given)
        nats = -self.prior.nats(code, self.prior.prefix.ids(len(code), given))
        return Exact(nats=nats, dims=self.codes.length, measure="mass", how="chain rule over codes")

    def fits(self, code: Int[Tensor, "n places"], given: Label | Text | None) -> Float[Tensor, " n"]:
        """log p(codes | given) - log p(codes): how much likelier the condition makes them. Likely ones alone would be
        those of short and even sounds, whatever they say."""
        if given is None:
            return super().fits(code, given)
        n, prefix = len(code), self.prior.prefix
        return self.prior.nats(code, prefix.none(n)) - self.prior.nats(code, prefix.ids(n, given))

    # The losses

    def rebuilt(self, batch: Batch[Label | Text | None], counts: bool = True) -> Float[Tensor, "2 n c t"]:
        """Sounds, and what comes back of their codes, with the gradient going on to the encoder; codes are counted, if
        they are to be."""
        x = batch.x if self.config.segment is None else self.cut(batch, self.config.segment)
        z = self.vectors(x)
        if counts:
            self.fsq.observe(self.fsq.nearest(z))
        return torch.stack((x, self.play(self.fsq.pass_through(z))))

    def cut(self, batch: Batch[Label | Text | None], samples: int) -> Float[Tensor, "n c samples"]:
        """A part of each clip, from anywhere in it on: never of the silence behind it alone."""
        x, hop = batch.x, self.config.hop
        last = x.new_full((len(x),), x.shape[2]).long() if batch.lengths is None else batch.lengths
        ways = ((last + hop - 1) // hop).clamp(1, (x.shape[2] - samples) // hop + 1)
        first = (batch.noise.uniform() * ways).long() * hop
        at = first[:, None, None] + torch.arange(samples, device=x.device)
        return x.gather(2, at.expand(-1, x.shape[1], -1))

    def kept(self, x: Float[Tensor, "n c t"], back: Float[Tensor, "n c t"]) -> Loss:
        """What is lost of sounds."""
        mel, wave = self.mels(x, back), (full(x) - full(back)).abs().mean()
        return Loss(self.config.mel * mel + self.config.wave * wave, {"mel": mel, "wave": wave})

    def loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The distances of log mel spectrograms and of samples."""
        x, back = self.rebuilt(batch)
        return self.kept(x, back)

    def late_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The distances of spectrograms, of samples and of the judges' features; and to pass for real."""
        x, back = batch.once(partial(self.rebuilt, batch))
        kept, real, fake = self.kept(x, back), self.judges(x), self.judges(back)
        near = alike([seen for _, seen in real], [seen for _, seen in fake])
        fooled = sum((adversarial.hinge_generator(score) for score, _ in fake), near.new_zeros(()))
        loss = kept.value + self.config.matching * near + self.config.adversarial * fooled
        return Loss(loss, {**kept.logs, "alike": near, "fooled": fooled})

    def judges_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The hinge loss of each judge, on sounds and on what came back of them. A batch of the judges' own (in parts,
        or on several ranks) is not counted among the auto-encoder's."""
        x, back = batch.once(partial(self.rebuilt, batch, counts=batch.made is not None))
        pairs = zip(self.judges(x), self.judges(back), strict=True)
        losses = [adversarial.hinge_discriminator(real, fake) for (real, _), (fake, _) in pairs]
        return Loss(sum(losses[1:], losses[0]))

    def code_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """-log p(codes | given) a code, in nats, with the condition left out now and then."""
        code, dropped = batch.coded(self.encode), batch.noise.uniform(1)[:, 0] < self.config.drop
        read = None
        if self.config.misread:
            place, other = batch.noise.uniform(2, self.codes.length).unbind(1)
            read = torch.where(place < self.config.misread, (other * self.codes.vocabulary).long(), code)
        nats = self.prior.nats(code, self.prior.prefix.ids(len(code), batch.given, dropped), read).mean()
        return Loss(nats / self.codes.length, {"nats": nats})

    def stages(self) -> Sequence[Stage]:
        c, coder = self.config, nn.ModuleList([self.encoder, self.decoder])
        auto = partial(Player, name="auto-encoder", owns=coder, clip=100.0, project=self.fsq.follow)
        judges = Player(
            name="judges",
            owns=self.judges,
            loss=self.judges_loss,
            optimizer=c.judge_adam,
            judges="they compare features of a sound with those of its reconstruction",
        )
        prior = Player(name="codes", owns=self.prior, loss=self.code_loss, optimizer=c.prior_adam, clip=1.0)
        return [
            Stage(name="auto-encoder", players=[auto(loss=self.loss, optimizer=c.adam)], times=c.alone),
            Stage(
                name="adversarial",
                players=[judges, auto(loss=self.late_loss, optimizer=c.late_adam)],
                maker="auto-encoder",
            ),
            Stage(name="codes", players=[prior], reads=self.encode, times=c.code_times),
        ]


SMALL = CodecConfig(
    x=Audio(1, 4096, rate=8000),
    hop=64,
    fft=256,
    levels=(8, 6, 5),
    width=128,
    layers=4,
    windows=(64, 256, 1024),
    judge=8,
    judge_layers=3,
    alone=2,
)
"""For half a second of 8 kHz, and minutes of one CPU core."""

PRESETS = {
    "codec-16k": Preset(
        config=CodecConfig(),
        steps=100_000,
        batch=32,
        expect="A second of 16 kHz as 64 codes of 1,000, on a GPU; not trained by us.",
    ),
    "codec-drums": Preset(
        config=replace(SMALL, given=Labels(5), prior_width=64, prior_layers=2, dropout=0.3),
        steps=450,
        batch=16,
        expect="drums, seed 0: 6.5 minutes of one CPU core. A classifier trained apart takes .41 of 500 samples for "
        "what was asked, .65 at guidance 3 (wavegan-drums .46; of held-out hits through the codes .70, of themselves "
        ".88); log mel FD 9.8 (floor .8). 5.42 bits a code of held-out hits, exact, of 7.91.",
    ),
    "codec-syllables": Preset(
        config=replace(SMALL, given=Labels(4), prior_width=96, prior_layers=3, dropout=0.1),
        steps=450,
        batch=16,
        expect="syllables, seed 0, 300 steps in place of 450, 4.2 minutes of one CPU core: harmonics are lost. A "
        "classifier trained apart hears the right tone in .29 of 300 samples, .44 at guidance 3 (through codes .48, of "
        "recordings .95); 3.82 bits a code of held-out ones, exact, of 7.91.",
    ),
    "codec-numbers": Preset(
        config=replace(
            SMALL,
            x=Audio(1, 10240, rate=8000),
            hop=128,
            fft=512,
            levels=(5, 5, 5, 4),
            width=192,
            segment=4096,
            alone=5,
            code_times=10,
            prior_width=128,
            prior_layers=3,
            dropout=0.15,
            misread=0.1,
            prior_adam=Adam(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.02),
        ),
        steps=450,
        batch=8,
        expect="Texts of a few words, by text-to-speech. Spoken numbers of espeak-ng, seed 0, 12 minutes of one CPU "
        "core: of 300 numbers with a pair of words that was never heard, a recognizer apart hears .763 wholly right, "
        ".830 by the best of four (of recordings .880, through codes .813). 1.80 bits a code by their text, exact, and "
        "2.86 by that of another.",
    ),
    "codec-tiny": Preset(
        config=CodecConfig(
            x=Audio(1, 32, rate=8000),
            hop=8,
            fft=16,
            levels=(3, 2),
            width=4,
            layers=1,
            windows=(16,),
            judges=2,
            judge=2,
            judge_layers=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
            dropout=0.0,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "codec-tiny-classes": Preset(
        config=CodecConfig(
            x=Audio(2, 30, rate=8000),
            given=Labels(3),
            hop=15,
            segment=15,
            misread=0.1,
            fft=32,
            levels=(4,),
            width=4,
            layers=1,
            windows=(16,),
            judges=1,
            judge=4,
            judge_layers=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
            dropout=0.0,
        ),
        steps=10,
        batch=8,
        expect="For tests of classes, of two channels, of parts of clips and of guidance.",
    ),
}
