"""A recognizer of letters: what a network hears in speech that learned to listen on recordings with their texts.

Graves, Fernandez, Gomez and Schmidhuber, 2006. Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks. https://www.cs.toronto.edu/~graves/icml_2006.pdf

    p(text | sound) = sum over paths of prod_t p(path_t | sound),   where a path becomes the text when what is repeated
                                                                    is said once, and then blanks are left out

The network is of convolutions along time, each channel's own and then across channels (Kriman and others, 2019:
QuartzNet. https://arxiv.org/abs/1910.10261), as a CPU trains those soonest. It reads the likeliest path, and knows no
words: what it writes is what it heard, and its errors on recordings say how far to believe it of anything else.
"""

import hashlib
import json
import logging
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import IntegrityError, StepNoise, UsageError, mix

log = logging.getLogger(__name__)

STEPS, BATCH, RATE = 600, 8, 3e-3
PASSES = 40
"""At most, over the recordings: small sets take fewer steps."""
WIDTH, LAYERS, KERNEL, STRIDE = 128, 6, 9, 2
MASKED = 3
"""Stretches of time that are hidden in training, and half as many bands: so that the rest is listened to as well."""
WEAK = 0.4
"""The share of letters of recordings beyond which what is misheard says nothing of who speaks."""
FEWEST = 20
RECIPE = (
    f"{LAYERS} separable convolutions of {WIDTH} channels over log mel spectrograms, CTC, {STEPS} batches of {BATCH} "
    f"recordings at most, AdamW and one cycle, seed 0, version 1"
)
"""What the weights depend on beside the data: changes when the code does."""


class Net(nn.Module):
    """Scores of the blank and of each letter, every `STRIDE` frames."""

    def __init__(self, mels: int, letters: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(mels, WIDTH, 5, stride=STRIDE, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2, groups=WIDTH, bias=False),
                nn.BatchNorm1d(WIDTH),
                nn.Conv1d(WIDTH, 2 * WIDTH, 1),
                nn.ReLU(),
                nn.Conv1d(2 * WIDTH, WIDTH, 1),
            )
            for _ in range(LAYERS)
        )
        self.out = nn.Conv1d(WIDTH, letters + 1, 1)

    def forward(self, mel: Float[Tensor, "n mels frames"]) -> Float[Tensor, "n k t"]:
        h = self.norm(self.first(mel)).relu()
        for layer in self.layers:
            h = h + layer(h)
        scores: Tensor = self.out(h)
        return scores


class Recognizer:
    """A network that has learned to hear letters in spectrograms of one kind.

    Example:
        ear = Recognizer.trained(spectrograms, texts)
        error_rate([ear(mel) for mel in others], [plain(text) for text in their_texts])
    """

    def __init__(self, letters: str, net: Net, looks: int, recordings: int) -> None:
        self.letters, self.net, self.looks, self.recordings = (
            letters,
            net.eval().requires_grad_(False),
            looks,
            recordings,
        )
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.sha256 = hashlib.sha256(f"{letters} {RECIPE}".encode() + weights).hexdigest()

    @classmethod
    def trained(
        cls, spectrograms: Sequence[Float[Tensor, "mels frames"]], texts: Sequence[str], *, steps: int | None = None
    ) -> Self:
        """Learns from recordings: normalized log mel spectrograms, and what is said in each.

        Raises UsageError for less than 20 of them, or texts without a letter.
        """
        said = [plain(text) for text in texts]
        letters = "".join(sorted(set("".join(said))))
        if len(said) < FEWEST or not letters.strip():
            raise UsageError(f"a recognizer takes {FEWEST} recordings with their texts or more, got {len(said)}")
        number = {letter: k + 1 for k, letter in enumerate(letters)}
        tokens = [torch.tensor([number[c] for c in text]) for text in said]
        steps = max(2, min(steps or STEPS, PASSES * len(said) // BATCH))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Net(len(spectrograms[0]), len(letters))
            adam = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
            cycle = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=RATE, total_steps=steps, pct_start=0.1)
            with torch.enable_grad():
                for step, rows in zip(range(steps), batches([m.shape[1] for m in spectrograms]), strict=False):
                    noise = StepNoise(mix(0, step), len(rows), slice(None))
                    mel = masked(beside([spectrograms[k] for k in rows]), noise)
                    adam.zero_grad()
                    loss = missed(
                        net(mel),
                        torch.tensor([heard(spectrograms[k].shape[1]) for k in rows]),
                        [tokens[k] for k in rows],
                    )
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    adam.step()
                    cycle.step()
        return cls(letters, net, steps * min(BATCH, len(said)), len(said))

    def __call__(self, spectrogram: Float[Tensor, "mels frames"]) -> str:
        """What is heard: the likeliest path, as a text."""
        if not spectrogram.shape[1]:
            return ""
        with torch.no_grad():
            path = self.net(spectrogram[None])[0].argmax(0)
        return " ".join("".join(self.letters[k - 1] for k in collapsed(path.tolist())).split())

    @property
    def about(self) -> str:
        """How it was trained."""
        return f"trained here on {self.recordings:,} recordings ({self.looks:,} looks), CTC, no words known"

    def tensors(self) -> dict[str, Tensor]:
        """All there is to keep of it."""
        said = json.dumps([self.letters, self.looks, self.recordings]).encode()
        return {**self.net.state_dict(), "about": torch.frombuffer(bytearray(said), dtype=torch.uint8)}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> Self:
        """From `tensors`. Raises IntegrityError if they are not those of a recognizer."""
        try:
            letters, looks, recordings = json.loads(bytes(tensors["about"].tolist()))
            net = Net(tensors["first.weight"].shape[1], len(letters))
            net.load_state_dict({name: value for name, value in tensors.items() if name != "about"})
            return cls(letters, net, int(looks), int(recordings))
        except (KeyError, RuntimeError, ValueError, TypeError, IndexError) as e:
            raise IntegrityError("these are not the weights of a recognizer") from e


def plain(text: str) -> str:
    """What of a text can be heard: letters, digits and their marks, and one space between words."""
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " if c.isspace() else "" for c in text)
    return " ".join(kept.split())


def collapsed(path: Sequence[int]) -> list[int]:
    """What a path says: repetitions once, then without blanks (0)."""
    return [k for k, before in zip(path, [0, *path], strict=False) if k and k != before]


def missed(scores: Float[Tensor, "n k t"], frames: Tensor, texts: Sequence[Tensor]) -> Float[Tensor, ""]:
    """-log p(text | sound) a letter, in nats. A text that is too long for its sound to hold counts as nothing."""
    lengths = torch.tensor([len(text) for text in texts])
    nats: Tensor = F.ctc_loss(
        scores.log_softmax(1).permute(2, 0, 1),
        torch.cat(list(texts)),
        frames,
        lengths,
        reduction="sum",
        zero_infinity=True,
    )
    return nats / lengths.sum().clamp_min(1)


def heard(frames: int) -> int:
    """How often the network says something of so many frames."""
    return -(-frames // STRIDE)


def beside(spectrograms: Sequence[Float[Tensor, "mels _"]]) -> Float[Tensor, "n mels frames"]:
    """In one batch; after the shorter ones nothing (the mean)."""
    longest = max(mel.shape[1] for mel in spectrograms)
    return torch.stack([F.pad(mel, (0, longest - mel.shape[1])) for mel in spectrograms])


def masked(mel: Float[Tensor, "n mels frames"], noise: StepNoise) -> Float[Tensor, "n mels frames"]:
    """With stretches of time and of bands set to the mean (Park and others, 2019: SpecAugment, without warping.
    https://arxiv.org/abs/1904.08779)."""
    bands, frames = mel.shape[1:]
    for axis, size, widest, many in ((2, frames, 12, MASKED), (1, bands, bands // 5, MASKED // 2)):
        at = torch.arange(size)
        u = noise.uniform(many, 2)
        begin, wide = (u[..., 0] * size)[..., None], (u[..., 1] * widest)[..., None]
        hidden = ((at >= begin) & (at < begin + wide)).any(1)  # [n, size]
        mel = mel.masked_fill(hidden[:, None] if axis == 2 else hidden[:, :, None], 0.0)
    return mel


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Without end, recordings of about one length together; each pass otherwise."""
    size, turn = min(BATCH, len(lengths)), 0
    while True:
        noise = StepNoise(mix(1, turn), len(lengths), slice(None))
        order = (torch.tensor(lengths) * (1 + 0.2 * noise.uniform())).argsort().tolist()
        parts = [order[k : k + size] for k in range(0, len(order) - size + 1, size)]
        yield from (parts[k] for k in StepNoise(mix(2, turn), len(parts), slice(None)).uniform().argsort().tolist())
        turn += 1


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """How many letters (or words) have to be put in, taken out or changed to make one of the other.

    Levenshtein, 1966. Binary codes capable of correcting deletions, insertions, and reversals.
    """
    if not one or not other:
        return max(len(one), len(other))
    codes = {c: k for k, c in enumerate(dict.fromkeys([*one, *other]))}
    b, place = np.array([codes[c] for c in other]), np.arange(len(other) + 1)
    row = place.copy()
    for i, c in enumerate(one, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != codes[c]))  # taken out, or changed
        # put in: the least of what stands further left, and as many as lie between
        row = np.minimum.accumulate(np.concatenate([[i], best]) - place) + place
    return int(row[-1])


def error_rate(heard: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> float:
    """Letters (of texts; of lists of words, words) that are wrong, of all that were said: may be above one, where more
    is heard than was said."""
    return sum(edits(a, b) for a, b in zip(heard, said, strict=True)) / max(1, sum(map(len, said)))
