"""Trackers of a run: TensorBoard, Weights & Biases and trackio, each beside metrics.jsonl, off unless asked for.

They get the lines of the log, the pictures that the run takes and, of a model of sound, some sounds. What a tracker
cannot do never costs a run: its first failure is said, and from then on it is left out.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from triptych.core import Space, UsageError

log = logging.getLogger(__name__)

SOUNDS = 4
"""Of a model of sound, at each picture."""
PROJECT = "triptych"


class Tracker(Protocol):
    def line(self, values: Mapping[str, float], step: int) -> None:
        """Figures by name."""

    def picture(self, image: Image.Image, step: int) -> None: ...

    def sounds(self, waves: Sequence[np.ndarray], rate: int, step: int) -> None:
        """Each float32 [samples], from -1 to 1."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir RUN`. Those of steps that are taken again are hidden."""

    def __init__(self, run: Path, about: Mapping[str, Any], began: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self.writer = writer(str(run / "tensorboard"), purge_step=began + 1 if began else None)
        self.writer.add_text("config", "\n".join(f"- {name}: {value}" for name, value in about.items()), began)

    def line(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, image: Image.Image, step: int) -> None:
        self.writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def sounds(self, waves: Sequence[np.ndarray], rate: int, step: int) -> None:
        for i, wave in enumerate(waves):
            self.writer.add_audio(f"sample {i}", wave[None], step, sample_rate=rate)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of wandb, offline unless WANDB_MODE says otherwise: in the run's folder, and `wandb sync` sends it."""

    def __init__(self, run: Path, about: Mapping[str, Any], began: int) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.wandb: Any = wandb
        self.run: Any = wandb.init(project=PROJECT, name=run.name, dir=str(run), config=dict(about), mode=mode)

    def line(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def picture(self, image: Image.Image, step: int) -> None:
        self.run.log({"samples": self.wandb.Image(image)}, step=step)

    def sounds(self, waves: Sequence[np.ndarray], rate: int, step: int) -> None:
        self.run.log({"sounds": [self.wandb.Audio(wave, sample_rate=rate) for wave in waves]}, step=step)

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """A run of trackio, in its own folder (TRACKIO_DIR): `trackio show` opens it."""

    def __init__(self, run: Path, about: Mapping[str, Any], began: int) -> None:
        import trackio

        self.trackio: Any = trackio
        self.run: Any = trackio.init(project=PROJECT, name=run.name, config=dict(about), resume="allow", embed=False)

    def line(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def picture(self, image: Image.Image, step: int) -> None:
        self.run.log({"samples": self.trackio.Image(image)}, step=step)

    def sounds(self, waves: Sequence[np.ndarray], rate: int, step: int) -> None:
        for i, wave in enumerate(waves):
            self.run.log({f"sample {i}": self.trackio.Audio(wave, sample_rate=rate)}, step=step)

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


class Careful:
    """A tracker that is left out after its first failure. As a sink of the log, it takes its lines."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker, self.failed = name, tracker, False

    def attempt(self, what: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            what()
        except Exception as e:
            self.failed = True
            log.warning("%s is left out from here on: %s", self.name, str(e).strip() or type(e).__name__)

    def __call__(self, line: Mapping[str, float]) -> None:
        step, values = int(line["step"]), {name: value for name, value in line.items() if name != "step"}
        self.attempt(lambda: self.tracker.line(values, step))

    def shot(self, space: Space, image: Image.Image, x: Tensor, step: int) -> None:
        """A picture of samples x, and the first of them to hear where they are sound."""
        self.attempt(lambda: self.tracker.picture(image, step))
        if space.kind == "audio":
            sound: Any = space
            waves = list(sound.expand(x[:SOUNDS].float()).mean(1).cpu().numpy())
            self.attempt(lambda: self.tracker.sounds(waves, sound.rate, step))

    def close(self) -> None:
        self.attempt(self.tracker.close)


def names_of(track: str | Sequence[str]) -> list[str]:
    """The trackers that are asked for: "tensorboard,wandb" or a list. Raises UsageError for another name."""
    names = [name.strip() for name in (track.split(",") if isinstance(track, str) else track)]
    for name in names:
        if name not in TRACKERS:
            near = get_close_matches(name, TRACKERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(TRACKERS)}"
            raise UsageError(f"track={name}: there is no such tracker; {hint}")
    return list(dict.fromkeys(names))


def opened(names: Sequence[str], run: Path, about: Mapping[str, Any], began: int) -> list[Careful]:
    """The trackers of a run, that begins or goes on after `began` steps.

    Raises UsageError where a package is missing. One that fails to begin is left out, with a line.
    """
    found = []
    for name in names:
        try:
            found.append(Careful(name, TRACKERS[name](run, about, began)))
        except ImportError as e:
            missing = f"track={name}: {e.name or name} is not installed"
            raise UsageError(f"{missing}: pip install 'triptych[{name}]'") from e
        except Exception as e:
            log.warning("%s is left out: %s", name, str(e).strip() or type(e).__name__)
    return found
