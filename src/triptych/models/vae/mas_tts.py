"""MAS-TTS: speech of text; which symbol is heard when is found in training by monotonic alignment search.

Kim, Kim, Kong and Yoon, 2020. Glow-TTS: A Generative Flow for Text-to-Speech via Monotonic Alignment Search.
https://arxiv.org/abs/2005.11129

    A* = argmax_A log p(mel | text, A) = argmax_A sum_t log N(mel_t; mu_A(t), I)        (Equation 4)
    L  = -log p(mel | text, A*) + |decoder(mu_A*) - mel| - log Poisson(duration; predicted)

An encoder makes a mean mu of each symbol; the alignment is a latent that is set to its best value in place of being
integrated out (hard EM: what it maximizes bounds log p(mel | text) from below, up to a constant). In place of the
paper's flow, a decoder of convolutions takes the means, spread out over time, to the spectrogram (a first term that
ties the means to the sound, as in Popov and others, 2021: Grad-TTS. https://arxiv.org/abs/2105.06337). Durations are
Poisson's: where they vary, their mean is learned, and speech keeps its tempo; the paper's squared error of logarithms
learns less than the mean. Between any two symbols lies a blank, where breath and the ways between sounds find room.

At first all means are alike, and so are all alignments: in the first part of training the search is drawn to the even
one, on which text and sound go on at one pace (after Badlani and others, 2022: One TTS Alignment To Rule Them All.
https://arxiv.org/abs/2108.10447).

Sound is made of the spectrogram by Griffin-Lim (`nn.mel`). What a spectrogram is, with the mean and deviation of the
voice, is a part of the configuration.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from triptych.core import (
    Adam,
    Audio,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Loss,
    Noise,
    Player,
    Preset,
    Stage,
    Text,
    Tokens,
    UsageError,
    config,
    full,
    precisely,
)
from triptych.models.paper import Paper
from triptych.nn.alignment import durations, search, spread
from triptych.nn.mel import Mel, MelSpectrogram
from triptych.nn.ranks import averaged
from triptych.nn.timewise import Convolutions, within

PAPER = Paper(
    called="MAS-TTS",
    title="Glow-TTS: A Generative Flow for Text-to-Speech via Monotonic Alignment Search",
    authors="Jaehyeon Kim, Sungwon Kim, Jungil Kong, Sungroh Yoon",
    year=2020,
    url="https://arxiv.org/abs/2005.11129",
    conditions="text",
    takes=("sound",),
)
WIDE, EVEN = 0.2, 0.5
"""How far from the even alignment, as a share of the whole, the search is drawn back by one nat a band; and the share
of training in which it is, less and less."""


@config
class MASTTSConfig:
    x: Audio = Audio(1, 160_000, rate=16000)
    """Sound: so many samples at most."""
    given: Tokens = Tokens(64, 200)
    """Text: letters or phonemes, 0 where it has ended."""
    mel: Mel = Mel()
    """What a spectrogram is; `triptych train text-to-speech` measures its mean and deviation on the recordings."""
    width: Count = 128
    """Channels of the encoder and of the decoder."""
    layers: Count = 4
    """Convolutions of either."""
    kernel: Count = 5
    """Places of each. An odd number."""
    dropout: Fraction = 0.1
    """Share of what each convolution adds that is left out in training."""
    rounds: Count = 32
    """Of Griffin and Lim."""
    adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.98), schedule="cosine", warmup=0.03)

    def __post_init__(self) -> None:
        if self.mel.rate != self.x.rate:
            raise UsageError(f"mel.rate={self.mel.rate}, and x.rate={self.x.rate}: they are of one sound; set both")
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel={self.kernel}: it looks as far back as ahead; take {self.kernel + 1}")
        if self.x.channels != 1 or self.x.companding:
            raise UsageError(f"x={self.x}: speech is of one channel, and not companded")


class MASTTS(Generative[Text]):
    name = "mas-tts"

    def __init__(self, config: MASTTSConfig) -> None:
        super().__init__()
        self.config = c = config
        self.front = MelSpectrogram(c.mel)
        self.embedding = nn.Embedding(c.given.vocabulary + 1, c.width)  # the last is the blank
        self.encoder = Convolutions(c.width, c.layers, c.kernel, c.dropout)
        self.mean = nn.Conv1d(c.width, c.mel.mels, 1)
        self.length = nn.Sequential(
            nn.Conv1d(c.width, c.width, 3, padding=1), nn.GELU(), nn.Dropout(c.dropout), nn.Conv1d(c.width, 1, 1)
        )
        self.take = nn.Conv1d(c.mel.mels + c.width, c.width, 1)
        self.decoder = Convolutions(c.width, c.layers, c.kernel, c.dropout)
        self.give = nn.Conv1d(c.width, c.mel.mels, 1)
        nn.init.normal_(self.embedding.weight)
        nn.init.zeros_(self.give.weight)

    def symbols(self, tokens: Int[Tensor, "n length"]) -> tuple[Int[Tensor, "n symbols"], Int[Tensor, " n"]]:
        """The tokens with a blank before, between and after them; and how many each item has of both."""
        n, length = tokens.shape
        found = tokens.new_full((n, 2 * length + 1), self.config.given.vocabulary)
        found[:, 1::2] = tokens
        return found, 2 * (tokens != 0).sum(1) + 1

    def read(
        self, tokens: Int[Tensor, "n length"]
    ) -> tuple[Float[Tensor, "n width s"], Float[Tensor, "n mels s"], Float[Tensor, "n s"], Int[Tensor, " n"]]:
        """Of each symbol: features, the mean of its frames, the logarithm of how many there are; and how many symbols
        there are."""
        symbols, many = self.symbols(tokens)
        there = within(many, symbols.shape[1])[:, None]
        h = self.encoder(self.embedding(symbols).transpose(1, 2) * there, there)
        return h, self.mean(h), self.length(h)[:, 0], many

    def decode(
        self,
        h: Float[Tensor, "n width s"],
        mean: Float[Tensor, "n mels s"],
        path: Int[Tensor, "n frames"],
        there: Bool[Tensor, "n 1 frames"],
    ) -> tuple[Float[Tensor, "n mels frames"], Float[Tensor, "n mels frames"]]:
        """The means, and the spectrogram, of symbols spread out over time."""
        features, means = (t.gather(2, path[:, None].expand(-1, t.shape[1], -1)) for t in (h, mean))
        out = self.decoder(self.take(torch.cat((means, features), 1)) * there, there)
        return means, means + self.give(out)

    def align(
        self, mel: Tensor, mean: Tensor, many: Tensor, frames: Tensor, drawn: float = 0.0
    ) -> Int[Tensor, "n frames"]:
        """The symbol of each frame, by the search: -|mel_t - mu_i|^2 / 2 up to what is the same for all symbols; drawn
        to the even alignment so much."""
        mean = full(mean)  # a sum over a thousand frames, of numbers of which bfloat16 leaves whole nats
        score = precisely(torch.bmm, mean.mT, mel) - 0.5 * mean.square().sum(1)[:, :, None]
        if drawn:
            symbol, frame = (torch.arange(t.shape[2], device=t.device) + 0.5 for t in (mean, mel))
            off = symbol[:, None] / many[:, None, None] - frame / frames[:, None, None]
            score = score - drawn * self.config.mel.mels * (off / WIDE).square()
        return search(score, many, frames)

    def frames_of(self, x: Float[Tensor, "n 1 t"], lengths: Tensor | None) -> Int[Tensor, " n"]:
        """How many frames each sound has."""
        hop = self.config.mel.hop
        samples = x.new_full((len(x),), x.shape[2]).long() if lengths is None else lengths.long()
        return torch.div(samples + hop - 1, hop, rounding_mode="floor")

    def loss(self, batch: Batch[Text], clock: Clock) -> Loss:
        x, c = batch.x, self.config
        if batch.lengths is not None:
            x = x[:, :, : int(batch.lengths.max())]
        mel, frames = self.front(x[:, 0]), self.frames_of(x, batch.lengths)
        h, mean, log_length, many = self.read(batch.given.tokens)
        there = within(frames, mel.shape[2])[:, None]
        path = self.align(mel, mean, many, frames, max(0.0, 1 - clock.progress / EVEN))
        means, made = self.decode(h, mean, path, there)
        count = averaged(there.sum()) * c.mel.mels
        prior = 0.5 * ((means - mel).square() * there).sum() / count
        off = ((made - mel).abs() * there).sum() / count
        heard, spoken = durations(path, frames, mean.shape[2]), within(many, mean.shape[2])
        pace = (deviance(heard, full(log_length)) * spoken).sum() / averaged(spoken.sum())
        return Loss(prior + off + pace, {"prior": prior, "mel": off, "duration": pace})

    def alignment(
        self, x: Float[Tensor, "1 1 t"], given: Text
    ) -> tuple[Bool[Tensor, "1 symbols frames"], Float[Tensor, "1 mels frames"]]:
        """Which symbol (blanks count) each frame of a recording is found to be, and its spectrogram."""
        mel = self.front(x[:, 0])
        _, mean, _, many = self.read(given.tokens)
        path = self.align(mel, mean, many, self.frames_of(x, None))
        return torch.arange(int(many), device=path.device)[None, :, None] == path[:, None], mel

    def spectrogram(
        self, noise: Noise, given: Text, length_scale: float = 1.0, whole: bool = False
    ) -> tuple[Float[Tensor, "n mels t"], Int[Tensor, " n"]]:
        """Spectrograms, as long as the longest, or as x is if they are to be `whole`; and how many frames each has,
        before silence. One text has one melody: no noise is drawn."""
        h, mean, log_length, many = self.read(given.tokens)
        most = self.config.mel.frames(self.config.x.length)
        lengths = (log_length.clamp(max=6).exp() * length_scale).round() * within(many, mean.shape[2])
        frames = lengths.sum(1).long().clamp(1, most)
        t = most if whole else int(frames.max())
        there = within(frames, t)[:, None]
        _, mel = self.decode(h, mean, spread(lengths, t), there)
        silence = self.front(mel.new_zeros(1, self.config.mel.fft))[:, :, :1]
        return torch.where(there, mel, silence), frames

    def speak(
        self, noise: Noise, given: Text, length_scale: float = 1.0, whole: bool = False
    ) -> tuple[Tensor, Int[Tensor, " n"]]:
        """Sound [n, t], as long as the longest, or as x is if it is to be `whole`; and how many samples each has.

        length_scale: how many times as long as usual everything takes: 1.2 is slower, .8 faster.
        """
        c = self.config
        mel, frames = self.spectrogram(noise, given, length_scale, whole)
        sound = self.front.invert(mel, noise.uniform(mel.shape[2], c.mel.fft // 2 + 1).mT, c.rounds)
        samples = (frames * c.mel.hop).clamp_max(c.x.length)
        return sound * within(samples, sound.shape[1]), samples

    def draw(self, noise: Noise, given: Text) -> Float[Tensor, "n 1 t"]:
        """Sound with the silence after it. One text has one melody: only the phases to begin with are drawn."""
        return self.speak(noise, given, whole=True)[0][:, None, : self.config.x.length]

    def stages(self) -> Sequence[Stage]:
        player = Player(
            name="voice",
            owns=self,
            loss=self.loss,
            optimizer=self.config.adam,
            clip=1.0,
            together="how long its recordings are together, which all frames share in",
        )
        return [Stage(name="train", players=[player])]


def deviance(many: Float[Tensor, "n s"], log_rate: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
    """-log Poisson(many; rate), less what it is at rate = many."""
    log_rate = log_rate.clamp(max=6)
    return log_rate.exp() - many + torch.xlogy(many, many) - many * log_rate


PRESETS = {
    "mas-tts-16k": Preset(
        config=MASTTSConfig(x=Audio(1, 256_000, rate=16000)),
        steps=1600,
        batch=8,
        expect="festvox-ru, seed 0, 13 minutes of one CPU core: a recognizer mishears .248 of the letters of 59 "
        "held-out sentences (of recordings .236, of another sentence .935); MCD 26.2 dB (shuffled text 42.3, by way of "
        "Griffin-Lim 7.6). After 480 steps, 4.2 minutes, .404 of 30.",
    ),
    "mas-tts-22k": Preset(
        config=MASTTSConfig(
            x=Audio(1, 220_500, rate=22050), mel=Mel(rate=22050, high=8000.0), width=256, layers=8, rounds=60
        ),
        steps=100_000,
        batch=32,
        expect="For LJSpeech and the like, on a GPU; not trained by us.",
    ),
    "mas-tts-tiny": Preset(
        config=MASTTSConfig(
            x=Audio(1, 96, rate=8000),
            given=Tokens(5, 2),
            mel=Mel(rate=8000, fft=32, hop=8, mels=6),
            width=8,
            layers=1,
            kernel=3,
            dropout=0.0,
            rounds=2,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
