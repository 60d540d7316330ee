"""Tacotron: speech of text, frame after frame of its spectrogram, by those before and by the letter that is due.

Shen and others, 2018. Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions.
https://arxiv.org/abs/1712.05884; and the first, Wang and others, 2017. https://arxiv.org/abs/1703.10135

    log p(mel | text) = sum_i log p(mel_i | mel_<i, c_i) + log p(whether it ends | mel_<i, c_i),    c_i = sum_j a_ij k_j

A step makes several frames, as in the first paper. Each number of them is of Laplace's distribution, whose middle the
network says and whose breadth, one for each band, is learned: so the papers' absolute error, weighted, is an exact
likelihood of the spectrogram, beside which networks of convolutions learn to touch it up (Section 2.2).

Attention is stepwise monotonic (He and others, 2019. https://arxiv.org/abs/1906.00672): it begins at the first letter,
and at each step stays or goes on to the next, so that no letter is left out or said twice, which is how Tacotron fails.
Whether to go on is asked by the frames so far alone, and not by what was attended to: all steps of a recording are then
learned at once. At first it is drawn to the even pace (Tachibana and others, 2018, Section 4.1.
https://arxiv.org/abs/1710.08969).

Sound is made of the spectrogram by Griffin-Lim (`nn.mel`), or by a vocoder.
"""

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Audio,
    Batch,
    Clock,
    Count,
    Exact,
    Fraction,
    Generative,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Stage,
    Text,
    Tokens,
    UsageError,
    asked,
    config,
    full,
)
from triptych.models.paper import Paper
from triptych.nn.alignment import stepwise
from triptych.nn.mel import Mel, MelSpectrogram
from triptych.nn.ranks import averaged
from triptych.nn.timewise import Convolutions, within

PAPER = Paper(
    called="Tacotron",
    title="Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions",
    authors="Jonathan Shen, Ruoming Pang, Ron Weiss, Mike Schuster, Navdeep Jaitly, Zongheng Yang, and others",
    year=2018,
    url="https://arxiv.org/abs/1712.05884",
    conditions="text",
    takes=("sound",),
)
WIDE, EVEN = 0.2, 0.5
"""How far from the even pace, as a share of the whole, attention may go at first; and the share of training in which
it is drawn there, less and less."""
STAYS = 0.5
"""The logarithm of the odds that attention stays where it is, to begin with."""
CERTAIN = 1e-4
"""How sure it may be at most whether speech ends, so that a likelihood is finite."""


@config
class TacotronConfig:
    x: Audio = Audio(1, 160_000, rate=16000)
    """Sound: so many samples at most."""
    given: Tokens = Tokens(64, 200)
    """Text: letters or phonemes, 0 where it has ended."""
    mel: Mel = Mel()
    """What a spectrogram is; `triptych train text-to-speech` measures its mean and deviation on the recordings."""
    frames: Count = 3
    """Frames that a step makes. Attention goes on by a letter a step at most: no more than speech has a letter."""
    width: Count = 128
    """Channels of the encoder of texts, and of the convolutions that touch up."""
    layers: Count = 3
    """Convolutions of the encoder."""
    late_layers: Count = 2
    """Convolutions that touch up."""
    kernel: Count = 5
    """Places of each. An odd number."""
    hidden: Count = 192
    """Numbers that each of the two recurrent networks remembers."""
    narrow: Count = 128
    """Channels of the two layers that the last frame goes through."""
    forgotten: Fraction = 0.5
    """Share of these that is left out in training, so that the text is listened to, too."""
    dropout: Fraction = 0.1
    """Share of what each convolution adds that is left out in training."""
    drawn: NonNegative = 1.0
    """Weight of what draws attention to the even pace at first."""
    rounds: Count = 32
    """Of Griffin and Lim."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.98), schedule="cosine", warmup=0.03)

    def __post_init__(self) -> None:
        if self.mel.rate != self.x.rate:
            raise UsageError(f"mel.rate={self.mel.rate}, and x.rate={self.x.rate}: they are of one sound; set both")
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel={self.kernel}: it looks as far back as ahead; take {self.kernel + 1}")
        if self.x.channels != 1 or self.x.companding:
            raise UsageError(f"x={self.x}: speech is of one channel, and not companded")


class Tacotron(Generative[Text]):
    """An exact likelihood of spectrograms, step by step, by their texts; none of sound."""

    name = "tacotron"

    def __init__(self, config: TacotronConfig) -> None:
        super().__init__()
        self.config = c = config
        self.front = MelSpectrogram(c.mel)
        self.embedding = nn.Embedding(c.given.vocabulary + 1, c.width)  # the last is the silence before and after
        self.encoder = Convolutions(c.width, c.layers, c.kernel, c.dropout)
        forget = nn.Dropout(c.forgotten)
        self.last = nn.Sequential(
            nn.Linear(c.mel.mels, c.narrow), nn.ReLU(), forget, nn.Linear(c.narrow, c.narrow), nn.ReLU(), forget
        )
        self.asks = nn.GRU(c.narrow, c.hidden, batch_first=True)
        self.query, self.key = nn.Linear(c.hidden, c.width), nn.Linear(c.width, c.width + 1)
        self.says = nn.GRU(c.hidden + c.width, c.hidden, batch_first=True)
        self.middle = nn.Linear(c.hidden + c.width, c.frames * c.mel.mels)
        self.ends = nn.Linear(c.hidden + c.width, 1)
        self.breadth = nn.Parameter(torch.zeros(c.mel.mels))
        self.take = nn.Conv1d(c.mel.mels, c.width, c.kernel, padding=c.kernel // 2)
        self.after = Convolutions(c.width, c.late_layers, c.kernel, c.dropout)
        self.touch = nn.Conv1d(c.width, c.mel.mels, 1)
        nn.init.normal_(self.embedding.weight)
        nn.init.constant_(self.key.bias, STAYS)
        nn.init.constant_(self.ends.bias, -2.0)
        nn.init.zeros_(self.touch.weight)

    # Texts

    def read(self, tokens: Int[Tensor, "n length"]) -> tuple[Float[Tensor, "n s width"], Int[Tensor, " n"]]:
        """Features of each letter, and of the silence before and after all; and how many each item has."""
        silence, many = self.config.given.vocabulary, (tokens != 0).sum(1) + 2
        symbols = F.pad(tokens, (1, 1))
        places = torch.arange(symbols.shape[1], device=tokens.device)
        symbols = symbols.masked_fill((places == 0) | (places == many[:, None] - 1), silence)
        there = within(many, symbols.shape[1])[:, None]
        h = self.embedding(symbols).mT
        return self.encoder(h * there, there).mT, many

    # Steps

    def stays(
        self, h: Float[Tensor, "n steps hidden"], memory: Float[Tensor, "n s width"]
    ) -> Float[Tensor, "n steps s"]:
        """The probability that attention stays where it is, of each step and letter."""
        key, bias = self.key(memory).split((self.config.width, 1), 2)
        return full(self.query(h) @ key.mT / self.config.width**0.5 + bias.mT).sigmoid()

    def told(
        self,
        h: Float[Tensor, "n steps hidden"],
        attention: Float[Tensor, "n steps s"],
        memory: Float[Tensor, "n s width"],
        many: Int[Tensor, " n"],
        state: Float[Tensor, "1 n hidden"],
    ) -> tuple[Float[Tensor, "n steps frames mels"], Float[Tensor, "n steps"], Float[Tensor, "1 n hidden"]]:
        """Of each step the middle of its frames, the probability that it is the last, and what is remembered.

        Speech ends only as far as attention has come to the silence after the last letter."""
        context = attention @ memory
        h, state = self.says(torch.cat((h, context), 2), state)
        h = torch.cat((h, context), 2)
        c = self.config
        through = attention.gather(2, (many - 1)[:, None, None].expand(-1, attention.shape[1], 1))
        end = CERTAIN + (1 - 2 * CERTAIN) * (through * full(self.ends(h)).sigmoid())[..., 0]
        return self.middle(h).unflatten(2, (c.frames, c.mel.mels)), end, state

    def nothing(self, n: int) -> Float[Tensor, "1 n hidden"]:
        """What is remembered before the first step."""
        return self.breadth.new_zeros(1, n, self.config.hidden)

    def silence(self) -> Float[Tensor, " mels"]:
        """A frame of it."""
        frame: Tensor = self.front(self.breadth.new_zeros(1, self.config.mel.fft))[0, :, 0]
        return frame

    def stepped(self, mel: Float[Tensor, "n mels t"]) -> Float[Tensor, "n steps frames mels"]:
        """A spectrogram step by step, silence after its end."""
        more = -mel.shape[2] % self.config.frames
        whole = torch.cat((mel, self.silence()[:, None].expand(len(mel), -1, more)), 2)
        return whole.mT.view(len(mel), -1, self.config.frames, mel.shape[1])

    def taught(
        self, frames: Float[Tensor, "n steps frames mels"], tokens: Int[Tensor, "n length"]
    ) -> tuple[Float[Tensor, "n steps frames mels"], Float[Tensor, "n steps"], Float[Tensor, "n steps s"]]:
        """All steps at once, each given the true frames before it: the middles, the probability of the end, and where
        attention is."""
        n = len(frames)
        memory, many = self.read(tokens)
        before = torch.cat((self.silence().expand(n, 1, -1), frames[:, :-1, -1]), 1)
        h, _ = self.asks(self.last(before), self.nothing(n))
        attention = stepwise(self.stays(h, memory), many)
        middle, end, _ = self.told(h, attention, memory, many, self.nothing(n))
        return middle, end, attention

    def nats(
        self,
        frames: Float[Tensor, "n steps frames mels"],
        middle: Float[Tensor, "n steps frames mels"],
        end: Float[Tensor, "n steps"],
        steps: Int[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """log p(spectrogram, and that it ends after so many steps | text) of each item."""
        there = within(steps, frames.shape[1])
        density = -((frames - middle).abs() / self.breadth.exp() + self.breadth + log(2)).sum((2, 3))
        last = F.pad(there[:, 1:], (0, 1)) < there
        ends = torch.where(last, end, 1 - end).log()
        return ((density + ends) * there).sum(1)

    @asked
    def log_prob_mel(self, mel: Float[Tensor, "n mels t"], given: Text) -> Exact:
        """log p(spectrogram | text), normalized as the configuration's `mel` says, and of whole steps: what is missing
        of the last one counts as silence.

        Example:
            mel = model.front(x[:, 0])
            model.log_prob_mel(mel, given).bits_per_dim()    # of a band of a frame
        """
        self.check_given(len(mel), given)
        frames = self.stepped(mel)
        middle, end, _ = self.taught(frames, given.tokens)
        steps = torch.full((len(mel),), frames.shape[1], device=mel.device)
        dims = frames[0].numel() if len(frames) else mel[:1].numel()
        nats = self.nats(frames, middle, end, steps)
        return Exact(nats=nats, dims=dims, measure="density", how="chain rule over frames of the spectrogram")

    # Training

    def touched(self, mel: Float[Tensor, "n mels t"], there: Bool[Tensor, "n 1 t"]) -> Float[Tensor, "n mels t"]:
        """A spectrogram with the details that its steps left out."""
        out: Tensor = self.touch(self.after(F.gelu(self.take(mel * there)) * there, there))
        return mel + out

    def frames_of(self, x: Float[Tensor, "n 1 t"], lengths: Tensor | None) -> Int[Tensor, " n"]:
        """How many frames each sound has."""
        hop = self.config.mel.hop
        samples = x.new_full((len(x),), x.shape[2]).long() if lengths is None else lengths.long()
        return torch.div(samples + hop - 1, hop, rounding_mode="floor")

    def loss(self, batch: Batch[Text], clock: Clock) -> Loss:
        """-log p(spectrogram | text) a number of it, and how far it is off once touched up; at first, also how uneven
        the pace of attention is."""
        x, c = batch.x, self.config
        if batch.lengths is not None:
            x = x[:, :, : int(batch.lengths.max())]
        frames = self.stepped(self.front(x[:, 0]))
        steps = torch.div(self.frames_of(x, batch.lengths) + c.frames - 1, c.frames, rounding_mode="floor")
        middle, end, attention = self.taught(frames, batch.given.tokens)
        count = averaged(steps.sum())
        nats = -self.nats(frames, middle, end, steps).sum() / (count * c.frames * c.mel.mels)
        there = within(steps * c.frames, frames.shape[1] * c.frames)[:, None]
        flat, made = frames.flatten(1, 2).mT, self.touched(middle.flatten(1, 2).mT, there)
        off = ((made - flat).abs() * there).sum() / (count * c.frames * c.mel.mels)
        logs = {"nats": nats, "mel": off}
        loss, pull = nats + off, max(0.0, 1 - clock.progress / EVEN)
        if pull:
            many = (batch.given.tokens != 0).sum(1) + 2
            logs["pace"] = (uneven(attention, steps, many) * within(steps, frames.shape[1])).sum() / count
            loss = loss + c.drawn * pull * logs["pace"]
        return Loss(loss, logs)

    # Use

    def alignment(
        self, x: Float[Tensor, "1 1 t"], given: Text
    ) -> tuple[Float[Tensor, "1 symbols frames"], Float[Tensor, "1 mels frames"]]:
        """Where attention is at each frame of a recording (silence before and after are symbols, too), and its
        spectrogram."""
        mel = self.front(x[:, 0])
        _, _, attention = self.taught(self.stepped(mel), given.tokens)
        many = int((given.tokens != 0).sum()) + 2
        return attention.mT.repeat_interleave(self.config.frames, 2)[:, :many, : mel.shape[2]], mel

    def spectrogram(
        self, noise: Noise, given: Text, length_scale: float = 1.0, whole: bool = False
    ) -> tuple[Float[Tensor, "n mels t"], Int[Tensor, " n"]]:
        """Spectrograms, as long as the longest, or as x is if they are to be `whole`; and how many frames each has,
        before silence. What each step is given of those before is drawn, as the likelihood has it; what is heard of a
        step is the middle of its distribution: so speech goes on as it does in recordings, without the grain.

        length_scale: how many times as long as usual everything takes: what was said is stretched.
        """
        c = self.config
        most = c.mel.frames(c.x.length)
        middle, _, steps = self.spoken(noise, given, -(-most // c.frames))
        mel = self.touched(middle.flatten(1, 2).mT, within(steps * c.frames, middle.shape[1] * c.frames)[:, None])
        if length_scale != 1 and len(mel):
            mel = F.interpolate(mel, size=max(1, round(mel.shape[2] * length_scale)), mode="linear")
        frames = (steps * c.frames * length_scale).round().long().clamp(1, most)
        t = most if whole else min(most, mel.shape[2])
        mel = F.pad(mel, (0, max(0, t - mel.shape[2])))[:, :, :t]
        return torch.where(within(frames, t)[:, None], mel, self.silence()[:, None]), frames

    def spoken(
        self, noise: Noise, given: Text, most: int
    ) -> tuple[Float[Tensor, "n steps frames mels"], Float[Tensor, "n steps mels"], Int[Tensor, " n"]]:
        """Step by step, each given the last frame drawn before it, until it is as likely as not that all have ended:
        the middles, these last frames, and how many steps each item has."""
        n = len(given)
        memory, many = self.read(given.tokens)
        u = noise.uniform(most, self.config.mel.mels) - 0.5
        grain = -u.sign() * (-2 * u.abs()).clamp(min=CERTAIN - 1).log1p() * self.breadth.exp()
        last, asks, says = self.silence().expand(n, -1), self.nothing(n), self.nothing(n)
        at, found, drawn, steps, lasts = None, list[Tensor](), list[Tensor](), many.new_zeros(n), memory.new_ones(n)
        while len(found) < most and (not found or bool((lasts > 0.5).any())):
            h, asks = self.asks(self.last(last)[:, None], asks)
            at = stepwise(self.stays(h, memory), many, at)
            middle, end, says = self.told(h, at, memory, many, says)
            last = middle[:, 0, -1] + grain[:, len(found)]
            found.append(middle)
            drawn.append(last)
            steps, lasts = steps + (lasts > 0.5), lasts * (1 - end[:, 0])
        return torch.cat(found, 1), torch.stack(drawn, 1), steps

    def speak(
        self, noise: Noise, given: Text, length_scale: float = 1.0, whole: bool = False
    ) -> tuple[Tensor, Int[Tensor, " n"]]:
        """Sound [n, t], as long as the longest, or as x is if it is to be `whole`; and how many samples each has."""
        c = self.config
        mel, frames = self.spectrogram(noise, given, length_scale, whole)
        sound = self.front.invert(mel, noise.uniform(mel.shape[2], c.mel.fft // 2 + 1).mT, c.rounds)
        samples = (frames * c.mel.hop).clamp_max(c.x.length)
        return sound * within(samples, sound.shape[1]), samples

    def draw(self, noise: Noise, given: Text) -> Float[Tensor, "n 1 t"]:
        """Sound with the silence after it."""
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


def uneven(
    attention: Float[Tensor, "n steps s"], steps: Int[Tensor, " n"], many: Int[Tensor, " n"]
) -> Float[Tensor, "n steps"]:
    """How far from the even pace attention is, from 0 to 1 (Tachibana and others, Section 4.1)."""
    step, place = (torch.arange(k, device=attention.device) + 0.5 for k in attention.shape[1:])
    off = place / many[:, None, None] - step[:, None] / steps[:, None, None]
    return (attention * (1 - (-0.5 * (off / WIDE).square()).exp())).sum(2)


PRESETS = {
    "tacotron-16k": Preset(
        config=TacotronConfig(x=Audio(1, 256_000, rate=16000)),
        steps=1400,
        batch=4,
        expect="festvox-ru, seed 0, 7.5 minutes of one CPU core: letters in their order, harmonics, pauses too long. A "
        "recognizer mishears .355 of the letters of 30 held-out sentences (mas-tts .431, recordings .239); MCD 28.1 dB "
        "of 12; .304 bits a band, exact (by the text of another sentence .828).",
    ),
    "tacotron-tiny": Preset(
        config=TacotronConfig(
            x=Audio(1, 96, rate=8000),
            given=Tokens(5, 2),
            mel=Mel(rate=8000, fft=32, hop=8, mels=6),
            frames=2,
            width=8,
            layers=1,
            late_layers=1,
            kernel=3,
            hidden=8,
            narrow=4,
            forgotten=0.0,
            dropout=0.0,
            rounds=2,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
