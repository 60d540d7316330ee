"""Super resolution: a small picture, larger and sharp.

In training the small picture is made of the large one: scaled down with an antialiased bicubic filter and rounded to
8 bits, as the field's tables have it; or, with degradation="real", blurred, made noisy and saved as JPEG as well, so
that the model learns to undo what cameras and the web do to pictures (after Wang, Xie, Dong and Shan, 2021.
https://arxiv.org/abs/2107.10833).

    triptych train super-resolution --data photos/ --out runs/sr times=4
    triptych apply runs/sr --picture small.png --out large.png
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Count, Generative, Given, Images, Noise, Picture, Space, UsageError, config
from triptych.inference import tiling
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Convention, Measurement, fidelity
from triptych.tasks.degradation import eight_bits, reduced, smaller, worn
from triptych.tasks.task import Question, of_pictures


@config
class SuperResolution:
    name: ClassVar[str] = "super-resolution"

    times: Literal[2, 3, 4] = 4
    """How much larger pictures become, to a side."""
    degradation: Literal["bicubic", "real"] = "bicubic"
    """How small pictures are made in training."""
    shrink: Count = 1
    """How many times smaller pictures are made before anything else, in training and evaluation: 2 takes away most of
    what JPEG or WebP did to photographs, so that the model does not learn to draw it."""

    @property
    def step(self) -> int:
        return self.times * self.shrink

    @property
    def model(self) -> str:
        return f"sr-compact-x{self.times}"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"crop": x.height * self.shrink, "channels": x.channels}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name, drawn=False)
        if x.levels == 2:
            raise UsageError(f"super resolution is for photographs and drawings; the data serve {x}")
        whole = self.step
        if x.height % whole or x.width % whole:
            sides = f"pictures of {x.height} x {x.width} cannot be made {whole} times smaller"
            raise UsageError(f"{sides}; crop={whole * 32} would do")
        x = replace(x, height=x.height // self.shrink, width=x.width // self.shrink)
        return x, replace(x, height=x.height // self.times, width=x.width // self.times)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = reduced(columns["x"], self.shrink)
        worse = worn(x, noise) if self.degradation == "real" else x
        small = smaller(worse, self.times)
        return x, Picture(worn(small, noise, last=True) if self.degradation == "real" else eight_bits(small))

    def ask(self, model: Generative[Any], *, picture: Path) -> Question:
        """picture: the small picture, a file of any size (or a PIL image, or an array)."""
        return Question(read_photo(picture), None)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture `times` as large; what was transparent is enlarged with a bicubic filter."""
        photo, times = question.photo, self.times
        channels = model.config.given.channels
        small = tiling.Parts(photo.height, photo.width, lambda part: photo.tensor(channels, part))
        out = np.empty((photo.height * times, photo.width * times, photo.channels), photo.pixels.dtype)
        for top, left, x in tiling.pieces(model, small, seed=seed, tile=tile):
            out[top : top + x.shape[1], left : left + x.shape[2]] = photo.levels(x)
        return replace(photo.resized(photo.height * times, photo.width * times, alpha_only=True), pixels=out)

    def before(self, question: Question) -> Photo:
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        """The small pictures, each pixel a square."""
        assert isinstance(given, Picture)
        return F.interpolate(given.grid, size=like.shape[-2:], mode="nearest")

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM of RGB without a border of `times` pixels, as most of the field's tables have them."""
        return fidelity(x, truth, Convention(border=self.times)).measurements()

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"nearest": enlarged("nearest"), "bicubic": enlarged("bicubic")}


def enlarged(mode: str) -> Callable[[Given, Space], Tensor]:
    def enlarge(given: Given, x: Space) -> Tensor:
        assert isinstance(given, Picture)
        aligned = None if mode == "nearest" else False
        return F.interpolate(given.grid, size=x.shape[-2:], mode=mode, align_corners=aligned).clamp(-1, 1)

    return enlarge
