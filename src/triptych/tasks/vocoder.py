"""A vocoder: sound of spectrograms, in the voice of the recordings that it was trained on.

In training each recording is given its own log mel spectrogram. In use the spectrogram is one that a voice makes of a
text (`text-to-speech` with --vocoder), or that of a recording: copy synthesis, by which one hears what a spectrogram
and the vocoder together lose.

    triptych train vocoder --data recordings/ --out runs/vocoder
    triptych apply runs/vocoder --sound a.wav --out copy.wav
    triptych apply runs/voice --text "Some words." --vocoder runs/vocoder --out said.wav
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych import models
from triptych.core import Generative, Given, Images, ItemNoise, Noise, Picture, Space, UsageError, config
from triptych.io import folder
from triptych.media import pictures
from triptych.media.audio import Clip, at_rate
from triptych.media.wav import BadClip
from triptych.metrics import Measurement
from triptych.metrics.speech import distortion
from triptych.nn.mel import Mel, MelSpectrogram, differences, pictured, unpictured, usual
from triptych.tasks.task import Posed, Question

TIMED = 8
"""Recordings that it is timed on."""


@config
class Vocoder:
    name: ClassVar[str] = "vocoder"
    step: ClassVar[None] = None

    mel: Mel | None = None
    """What a spectrogram is: that of `text-to-speech` for recordings of this rate."""

    @property
    def model(self) -> str:
        return "hifi-gan-16k"

    @property
    def told(self) -> Mapping[str, Any]:
        return {"mel": self.mel} if self.mel is not None else {}

    def opens(self, x: Any) -> dict[str, Any]:
        return {"sound": x}

    def settled(self, data: Any) -> "Vocoder":
        """With the spectrograms of the data's rate."""
        if data.x.kind != "audio":
            raise UsageError(f"{self.name} is for recordings; x holds {data.x}")
        return self if self.mel is not None else replace(self, mel=usual(data.x.rate))

    def said(self, data: Any) -> list[str]:
        mel, x = self.mel, data.x
        assert mel is not None
        return [
            f"spectrograms: {mel.mels} bands, {mel.rate / mel.hop:.1f} frames a second, of the first "
            f"{x.length / x.rate:.1f} s of each recording (x.length={2 * x.length} takes more)"
        ]

    def files(self) -> Mapping[str, bytes]:
        return {}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x: Any = columns["x"]
        if x.kind != "audio" or self.mel is None:
            raise UsageError(f"{self.name} is for recordings; x holds {x}")
        if x.channels != 1:
            raise UsageError(f"{self.name} is for recordings of one channel; x.channels=1 makes one of {x.channels}")
        if x.length % self.mel.hop:
            near = max(1, round(x.length / self.mel.hop)) * self.mel.hop
            raise UsageError(f"x.length={x.length}: no whole number of frames of {self.mel.hop} samples; {near} is one")
        return x, Images(1, self.mel.mels, x.length // self.mel.hop)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x, mel = columns["x"], self.mel
        assert mel is not None
        return x, Picture(pictured(mel, MelSpectrogram(mel).to(x.device)(x[:, 0])))

    def ask(self, model: Generative[Any], *, sound: Path) -> Question:
        """sound: a recording, a file of any rate and length: it is said again of its spectrogram."""
        clip = Clip.read(sound)
        try:
            return Question(at_rate(clip, model.config.x.rate), None)
        except BadClip as e:
            raise UsageError(f"{clip.name}: {e}") from e

    def answer(self, model: Any, question: Question, *, seed: int, tile: int | None) -> Clip:
        """The recording, of one channel, by way of its spectrogram."""
        clip = question.brought
        assert isinstance(clip, Clip)
        x = torch.from_numpy(clip.amplitude).mean(0, keepdim=True).to(model.device)
        mel = model.config.mel
        made = model.wave(pictured(mel, MelSpectrogram(mel).to(model.device)(x)))
        return replace(clip, amplitude=made[0, :, : x.shape[1]].float().cpu().numpy())

    def before(self, question: Question) -> Clip:
        assert isinstance(question.brought, Clip)
        return question.brought

    def shown(self, given: Given, like: Tensor) -> list[Image.Image]:
        """The spectrograms, high bands on top, dark where it is loud."""
        assert isinstance(given, Picture)
        return list(pictures.cells(-given.grid.flip(2)))

    def measure(self, x: Float[Tensor, "n 1 t"], truth: Float[Tensor, "n 1 t"], given: Given) -> list[Measurement]:
        """Mel-cepstral distortion of copy synthesis."""
        assert self.mel is not None
        return [
            Measurement(
                name="MCD, copy synthesis",
                value=distortion(x, truth, self.mel),
                unit="dB",
                better="lower",
                protocol=f"the recording by way of its spectrogram; 13 mel-cepstral coefficients without the first, of "
                f"{self.mel.mels} bands, {self.mel.rate / self.mel.hop:.1f} frames a second, time warped",
                n=f"{len(truth)} held-out recordings",
            )
        ]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """Griffin and Lim's algorithm, of 32 rounds."""
        mel = self.mel
        assert mel is not None

        def phases(given: Given, x: Any) -> Tensor:
            assert isinstance(given, Picture)
            n, frames = len(given), given.grid.shape[3]
            phase = ItemNoise(0, range(n)).uniform(frames, mel.fft // 2 + 1).mT
            return MelSpectrogram(mel).invert(unpictured(mel, given.grid), phase)[:, None, : x.length]

        return {"Griffin-Lim": phases}

    def further(self, model: Any, test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """How long sound takes, of how long it lasts."""
        rows = torch.arange(min(TIMED, len(test)))
        batch = test.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
        begun = time.process_time()
        for k in range(len(rows)):
            model.sample(1, batch.given[slice(k, k + 1)], seed=seed)
        took, seconds = time.process_time() - begun, len(rows) * model.config.x.length / model.config.x.rate
        return [
            Measurement(
                name="real-time factor",
                value=took / seconds,
                better="lower",
                protocol=f"processor seconds a second of sound, {torch.get_num_threads()} threads, one at a time",
                n=f"{len(rows)} recordings of {model.config.x.length / model.config.x.rate:.1f} s",
            )
        ]


def vocoder_of(path: str, voice: Generative[Any]) -> Any:
    """The vocoder of a run, for a voice. Raises UsageError for a run that is none, or reads other spectrograms."""
    where = Path(path)
    if not where.is_dir():
        raise UsageError(f"vocoder {path}: there is no such folder; it is a run of `triptych train vocoder`")
    found = opened(where, (where / "config.json").stat().st_mtime_ns if (where / "config.json").exists() else 0)
    if not hasattr(found, "wave"):
        raise UsageError(f"vocoder {path}: a run of {found.name}, which makes no sound of spectrograms; hifi-gan does")
    if not hasattr(voice, "spectrogram"):
        raise UsageError(f"vocoder {path}: {voice.name} makes no spectrograms that it could make sound of")
    other = differences(found.config.mel, voice.config.mel)
    if other:
        raise UsageError(
            f"vocoder {path} reads other spectrograms than the voice makes: {'; '.join(other)}. Train it with the "
            f"voice's: triptych train vocoder x.rate={voice.config.mel.rate} --data the voice's recordings"
        )
    return found.to(voice.device).eval()


@lru_cache(maxsize=1)
def opened(path: Path, changed: int) -> Generative[Any]:
    """The model of a run, read again when it has changed."""
    return folder.load(path, lambda name: models.find(name).load())
