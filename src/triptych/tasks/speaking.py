"""What a voice says of a text, whether its model makes a spectrogram of it or codes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import FAITHFUL, Coding, ItemNoise, Sampling, Text, UsageError

WINDOW, QUIET = 0.01, 0.01
"""Seconds, and the share of the loudest of them (root mean square) below which a voice of codes has ended."""


def spoken(
    model: Any, given: Text, *, seed: int, item: int = 0, scale: float = 1.0, how: Sampling = FAITHFUL
) -> Float[Tensor, " t"]:
    """One text as a voice says it, without the silence behind it. `item` is its number among others of this seed."""
    if isinstance(model, Coding):
        sound = model.sample(1, given, seed=seed, first=item, how=how)[0].float().mean(0)
        return sound[: ended(sound, model.config.x.rate)]
    said, samples = model.speak(ItemNoise(seed, [item], model.device), given, scale)
    found: Tensor = said[0, : int(samples[0])].float()
    return found


def ended(sound: Float[Tensor, " t"], rate: int) -> int:
    """After how many samples nothing more is heard."""
    window = max(1, round(WINDOW * rate))
    parts = torch.split(sound, window)
    loud = torch.stack([part.square().mean().sqrt() for part in parts])
    last = int((loud > QUIET * loud.max()).nonzero().amax()) if loud.max() > 0 else 0
    return min((last + 1) * window, len(sound))


def check_speaks(model: Any, scale: float, how: Sampling) -> None:
    """Raises UsageError for a model that does not speak, and for what it cannot be told of how to."""
    if isinstance(model, Coding):
        if scale != 1:
            raise UsageError(
                f"length_scale={scale:g}: {model.name} speaks as fast as its recordings do; leave it out, or train "
                "mas-tts"
            )
    elif not hasattr(model, "speak"):
        raise UsageError(f"{model.name} does not speak; train text-to-speech with mas-tts, tacotron or codec")
    elif how.guidance != 1 or how.best_of != 1 or not how.faithful:
        raise UsageError(
            f"{model.name} makes no codes that could be guided or chosen from: leave out guidance=, best_of= and "
            "temperature=, or train codec"
        )
