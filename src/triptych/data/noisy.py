"""Images corrupted once and for all: what models that learn clean images from noisy ones are trained on.

The kinds, and their usual amounts, are those of Kaneko and Harada, 2020 (https://arxiv.org/abs/1911.11776).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from triptych.core import UsageError, mix

Kind = Literal["gaussian", "uniform", "multiplicative", "poisson"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SEED = 2
"""One stream an image, keyed by this and the image's row in the pack."""


@dataclass(frozen=True)
class Corruption:
    """What happens to every value x, from 0 to 255, of an image; eps ~ N(0, 1), u ~ U(-1, 1), a is the amount.

    gaussian          x + a eps                                a = 25: a standard deviation of 25 levels of 255
    uniform           x + a u                                  a = 50
    multiplicative    x + a eps x / 255                        a = 25: white is noisiest, black stays black
    poisson           255 / a times Poisson(a x / 255)         a = 30 events of light where it is white

    The result is clipped to [0, 255] and rounded to a level. Two looks at an image show the same noise.
    """

    kind: Kind
    amount: float

    @classmethod
    def parse(cls, text: str) -> "Corruption":
        """ "gaussian-25" and so on. Raises UsageError."""
        name, _, number = text.partition("-")
        kind = next((k for k in KINDS if k == name), None)
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if kind is None or not 0 < amount < math.inf:
            raise UsageError(
                f"noisy={text!r}: it is a kind of noise and its amount, such as gaussian-25, uniform-50, "
                f"multiplicative-25 or poisson-30"
            )
        return cls(kind, amount)

    def __str__(self) -> str:
        return f"{self.kind}-{self.amount:g}"

    def __call__(self, images: np.ndarray, first: int) -> np.ndarray:
        """uint8 [k, ...] -> the same, corrupted; the images are those numbered `first` and on."""
        key = mix(SEED)
        noisy = np.empty(images.shape, np.uint8)
        for i, x in enumerate(images):
            stream = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, first + i]))
            noisy[i] = np.rint(self.corrupt(x.astype(np.float32), stream)).clip(0, 255)
        return noisy

    def corrupt(self, x: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """One image of values from 0 to 255, neither clipped nor rounded."""
        if self.kind == "poisson":
            return stream.poisson(x * np.float32(self.amount / 255)) * np.float32(255 / self.amount)
        if self.kind == "uniform":
            return x + np.float32(self.amount) * (2 * stream.random(x.shape, np.float32) - 1)
        strength = x / np.float32(255) if self.kind == "multiplicative" else np.float32(1)
        return x + np.float32(self.amount) * strength * stream.standard_normal(x.shape, np.float32)
