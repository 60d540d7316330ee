"""Inpainting: a picture with a hole, filled.

White in the mask is what is filled (`--invert-mask` where yours says the opposite); without a mask, what is
transparent in the picture is. In training holes are drawn at random, boxes and the strokes of a brush. Pixels that are
known come back as they were, to the last bit.

    triptych train inpainting --data photos/ --out runs/fill
    triptych apply runs/fill --picture scratched.png --mask scratches.png --out whole.png

Models that were trained for something else fill holes too, at the size that they model: an autoregressive model draws
from p(missing | known), exactly where what is known comes first in its order; a VAE by importance resampling (see
`inference.imputation`):

    triptych apply runs/pixelcnn --task inpainting --picture digit.png --mask half.png --out whole.png
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from triptych.core import Count, Generative, Given, Images, ItemNoise, Noise, Picture, Space, UsageError, config, planar
from triptych.inference import imputation
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, fidelity, within_holes
from triptych.tasks.degradation import reduced
from triptych.tasks.filling import filled, masked, paste, strips
from triptych.tasks.holes import Kind, border_mean, diffused, holes
from triptych.tasks.task import Question, of_pictures

log = logging.getLogger(__name__)

DRAWS = 64
"""Completions that one is chosen from where there is no exact way."""


@config
class Inpainting:
    name: ClassVar[str] = "inpainting"

    hole: Kind = "mixed"
    """What is hidden in training: "box", "strokes", now one and now the other, or the "center"."""
    shrink: Count = 1
    """How many times smaller pictures are made before anything else, in training and evaluation: 2 takes away most of
    what JPEG or WebP did to photographs."""

    step: ClassVar[None] = None

    @property
    def model(self) -> str:
        return "deepfill-64"

    def opens(self, x: Images) -> dict[str, Any]:
        if x.levels == 2:  # black and white is drawn of pictures as they are stored: all of one size
            return {"size": (x.height, x.width), "channels": x.channels}
        return {"crop": x.height * self.shrink, "channels": x.channels}

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name, drawn=False)
        if x.height % self.shrink or x.width % self.shrink:
            raise UsageError(f"pictures of {x.height} x {x.width} cannot be made {self.shrink} times smaller")
        x = replace(x, height=x.height // self.shrink, width=x.width // self.shrink)
        return x, Images(x.channels + 1, x.height, x.width)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        x = reduced(columns["x"], self.shrink)
        return x, masked(x, holes(noise, x.shape[-2], x.shape[-1], self.hole).to(x.device))

    def ask(
        self,
        model: Generative[Any],
        *,
        picture: Path,
        mask: Path | None = None,
        invert_mask: bool = False,
        hide: Kind | None = None,
    ) -> Question:
        """picture: the picture with a hole.
        mask: a picture as large, white where it is to be filled; else what is transparent in the picture is.
        invert_mask: black is filled, and white is known.
        hide: no mask, but a hole like those of training, to try a model out.
        """
        photo = read_photo(picture)
        hole = hole_of(photo, mask, invert_mask, hide)
        if mask is None and hide is None:
            photo = replace(photo, alpha=None)
        x = model.config.x
        if getattr(model.config, "given", None) is None:
            if (photo.height, photo.width) != (x.height, x.width):
                size = f"{photo.name} has {photo.height} x {photo.width} pixels (height x width)"
                raise UsageError(f"{size}; {model.name} completes pictures of {x.height} x {x.width}: resize it")
            return Question(photo, None, None, hole)
        return Question(photo, None, around(hole, x.height), hole)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """The picture with its hole filled; all else is as it came."""
        photo, hole = question.photo, question.mask
        assert hole is not None
        if question.region is not None:
            return filled(model, photo, hole, question.region, seed, tile)
        pixels = photo.pixels.copy()
        paste(photo, pixels, hole, completed(model, photo, hole, seed), (0, 0))
        return replace(photo, pixels=pixels)

    def before(self, question: Question) -> Photo:
        """The picture with its hole in grey."""
        photo, hole = question.photo, question.mask
        assert hole is not None
        pixels = photo.pixels.copy()
        pixels[hole.numpy()] = (photo.top + 1) // 2
        return replace(photo, pixels=pixels)

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        """Pictures with their holes in grey."""
        assert isinstance(given, Picture)
        return given.grid[:, :-1].masked_fill(given.grid[:, -1:] > 0, 0.0)

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR in the hole, and of the whole picture, whose known part is as it was."""
        assert isinstance(given, Picture)
        hole = given.grid[:, -1:] > 0
        whole = torch.where(hole, x, truth)
        return [within_holes(whole, truth, hole), *fidelity(whole, truth).measurements()]

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"border mean": simply(border_mean), "diffusion": simply(diffused)}


def fills(model: Generative[Any]) -> bool:
    """Whether this is a model that was trained to fill holes: its condition is a picture and a mask."""
    x, given = model.config.x, getattr(model.config, "given", None)
    return planar(x) and planar(given) and given.channels == x.channels + 1


def imputed(model: Generative[Any], x: Float[Tensor, "n c h w"], known: Bool[Tensor, "n c h w"]) -> imputation.Imputed:
    """Its answer where values are not known, at the levels of x."""
    found = model.sample(len(x), masked(x, ~known[:, :1]))
    levels = model.config.x.from_index(model.config.x.nearest(found))
    how = "the answer of a model trained to fill holes, no draw"
    return imputation.Imputed(x=torch.where(known, x, levels), exact=False, how=how, effective=None)


def simply(how: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Given, Space], Tensor]:
    def fill(given: Given, x: Space) -> Tensor:
        assert isinstance(given, Picture)
        return how(given.grid[:, :-1], given.grid[:, -1:] > 0)

    return fill


def hole_of(photo: Photo, mask: Path | None, invert: bool, hide: Kind | None) -> Bool[Tensor, "h w"]:
    """What is to be filled. Raises UsageError where nothing says it, or nothing or all is."""
    if hide is not None:
        hole = holes(ItemNoise(0, [0]), photo.height, photo.width, hide)[0, 0]
        said = f"hide={hide} of {photo.name}"
    elif mask is not None:
        drawn = read_photo(mask)
        if (drawn.height, drawn.width) != (photo.height, photo.width):
            sizes = f"{drawn.height} x {drawn.width} pixels (height x width), and {photo.name} has"
            raise UsageError(f"{drawn.name} has {sizes} {photo.height} x {photo.width}: make them of one size")
        rows = [drawn.tensor(1, part)[0, 0] > 0 for part in strips(photo.height, photo.width)]
        hole, said = torch.cat(rows), drawn.name
    elif photo.alpha is not None:
        hole = torch.from_numpy(photo.alpha < (photo.top + 1) // 2)
        said = f"the transparency of {photo.name}"
    else:
        raise UsageError(f"{photo.name} has nothing transparent: say with mask= what is to be filled, in white")
    hole = ~hole if invert else hole
    if not bool(hole.any()):
        raise UsageError(f"{said} leaves nothing to fill: what is white is filled (invert_mask=True: what is black)")
    if bool(hole.all()):
        raise UsageError(f"{said} hides the whole picture: what is white is filled (invert_mask=True: what is black)")
    return hole


def around(hole: Bool[Tensor, "h w"], context: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the hole with so many pixels of the picture around it."""
    rows, columns = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
    top, left = max(0, int(rows[0]) - context), max(0, int(columns[0]) - context)
    bottom, right = min(hole.shape[0], int(rows[-1]) + 1 + context), min(hole.shape[1], int(columns[-1]) + 1 + context)
    return top, left, bottom - top, right - left


def completed(model: Generative[Any], photo: Photo, hole: Bool[Tensor, "h w"], seed: int) -> Float[Tensor, "c h w"]:
    """By a model of p(x). Raises UsageError for one that cannot."""
    space = model.config.x
    x = space.from_index(space.nearest(photo.tensor(space.channels))).to(model.device)
    known = (~hole).expand(1, *space.shape).to(model.device)
    found = imputation.impute(model, x, known, draws=DRAWS, seed=seed)
    log.info("%s: %s, %s", photo.name, "exact" if found.exact else "not exact", found.how)
    return found.x[0].float().cpu()
