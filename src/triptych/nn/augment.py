"""Augmentation that gradients pass through, so that a discriminator of few images has more to learn from them.

Differentiable Augmentation for Data-Efficient GAN Training.
Zhao, Liu, Lin, Zhu and Han, 2020. https://arxiv.org/abs/2006.10738

Real and generated images are augmented alike wherever the discriminator sees them, so the generator learns the images
themselves and not their augmentations. Draws come from torch's generator, as those of dropout do.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Literal["color", "translation", "cutout"]
Pictures = Float[Tensor, "n c h w"]


def color(x: Pictures) -> Pictures:
    """Brightness up to .5 more or less, saturation times 0 to 2, contrast times .5 to 1.5: one of each an image."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, dtype=x.dtype, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def translation(x: Pictures) -> Pictures:
    """Moved by up to an eighth of either side, what comes in being 0 (grey)."""
    n, _, h, w = x.shape
    far = round(h / 8), round(w / 8)
    padded = pad(x, (far[1], far[1], far[0], far[0])).permute(0, 2, 3, 1)
    rows, columns = (
        torch.arange(side, device=x.device) + torch.randint(2 * most + 1, (n, 1), device=x.device)
        for side, most in zip((h, w), far, strict=True)
    )
    items = torch.arange(n, device=x.device)
    return padded[items[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(x: Pictures) -> Pictures:
    """A rectangle of half of either side, somewhere, part of it perhaps outside of the image, is 0 (grey)."""
    inside = [
        (torch.arange(side, device=x.device) - torch.randint(side + 1, (len(x), 1), device=x.device) + side // 4)
        .div(max(side // 2, 1), rounding_mode="floor")
        .eq(0)
        for side in x.shape[2:]
    ]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0)


def augment(x: Pictures, how: Sequence[Augmentation]) -> Pictures:
    """The augmentations one after the other."""
    return together([x], how)[0]


def together(pictures: Sequence[Pictures], how: Sequence[Augmentation]) -> list[Pictures]:
    """The first picture of each item augmented; others that lie over it are moved and cut as it is, and keep their
    colors, which may not be colors at all (a label map)."""
    x, *over = pictures
    for name in how:
        if name == "color":
            x = color(x)
        else:
            steps = {"translation": translation, "cutout": cutout}
            moved = steps[name](torch.cat([x, *over], 1))
            x, *over = torch.split(moved, [x.shape[1], *(t.shape[1] for t in over)], 1)
    return [x, *over]
