"""Sound as pictures, for measures that look: a clip is its log mel spectrogram, about 64 bands by 64 moments."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import Audio, Batch, Data, Images, Noise
from triptych.nn.mel import SOFTEST, Mel, MelSpectrogram

SIDE = 64
"""Bands, and moments at most, of a picture."""
LOUDEST = 1.0
"""A band of this size is white; one of `SOFTEST` is black."""


def front(x: Audio) -> Mel:
    """The spectrogram that clips are looked at by."""
    hop = max(16, -(-x.length // SIDE))
    return Mel(rate=x.rate, fft=4 * hop, hop=hop, mels=min(SIDE, hop))


def pictures(x: Audio, clips: Tensor) -> Float[Tensor, "n 1 bands moments"]:
    """Clips [n, channels, length] as log mel spectrograms in [-1, 1], low bands first; channels are averaged."""
    net = MelSpectrogram(front(x))
    parts = [net(x.expand(part.cpu().float()).mean(1)) for part in torch.split(clips, 100)]
    black = torch.tensor(SOFTEST / LOUDEST).log()
    return (1 - 2 * torch.cat(parts)[:, None] / black).clamp(-1, 1)


@dataclass(frozen=True, eq=False)
class Looked:
    """A set of recordings, served as pictures. Satisfies `triptych.core.Data`."""

    data: Any

    @property
    def x(self) -> Images:
        space = self.data.x
        return Images(1, front(space).mels, front(space).frames(space.length))

    @property
    def name(self) -> str:
        return f"{self.data.name}, log mel"

    @property
    def fingerprint(self) -> str:
        return f"{self.data.fingerprint} {front(self.data.x)}"

    @property
    def given(self) -> Any:
        return self.data.given

    def __len__(self) -> int:
        return len(self.data)

    def fetch(self, rows: Tensor, noise: Noise) -> Batch[Any]:
        batch = self.data.fetch(rows, noise)
        return Batch(pictures(self.data.x, batch.x), batch.given, noise)


def looked(data: Data) -> Data:
    """The data as measures look at them: recordings as pictures, all else as it is."""
    return Looked(data) if data.x.kind == "audio" else data
