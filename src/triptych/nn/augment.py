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
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from triptych.core import Noise

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
    steps = {"color": color, "translation": translation, "cutout": cutout}
    for name in how:
        x = steps[name](x)
    return x


def blurred(x: Pictures, deviation: float) -> Pictures:
    """Blurred by a Gaussian of so many pixels; the border goes on outside of the image."""
    reach = max(1, round(2.5 * deviation))
    taps = (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / deviation).square().mul(-0.5).softmax(0)
    x, channels = pad(x, (reach,) * 4, mode="replicate"), x.shape[1]
    x = conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def deformed(x: Pictures, noise: Noise, amount: float) -> Pictures:
    """Each image turned, sheared, stretched, moved, blurred and lit at random; its border goes on outside of it.

    With an amount of 1, turned by up to 14 degrees either way (.25), sheared by up to .5, made up to a fifth larger or
    smaller in either direction, moved by up to a tenth of either side, blurred by up to a 24th of the shorter side, and
    of .4 to 2.5 times the light (cut off at 1, so that bright strokes grow or shrink). Not of Zhao et al., and not a
    part of `augment`: for what should read the same from an image however it was put to paper.
    """
    height, width = x.shape[2:]
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    angle, shear, wide, high, right, down, blur, light = (amount * (2 * noise.uniform(8) - 1)).to(x.dtype).unbind(1)
    cos, sin, shear = (0.25 * angle).cos(), (0.25 * angle).sin(), 0.5 * shear
    wide, high = 1 + 0.2 * wide, 1 + 0.2 * high
    tall = height / width  # a grid is 2 wide and 2 high, whatever the image is
    across = torch.stack([cos * wide, tall * (cos * wide * shear - sin * high), 0.2 * right], 1)
    along = torch.stack([sin * wide / tall, sin * wide * shear + cos * high, 0.2 * down], 1)
    with torch.autocast(x.device.type, enabled=False):  # in bf16 pixels would be off their places
        grid = affine_grid(torch.stack([across, along], 1), list(x.shape), align_corners=False)
        x = grid_sample(x, grid, padding_mode="border", align_corners=False)
    blur, light = blur[:, None, None, None], light[:, None, None, None]
    x = x + blur.abs().clamp(max=1) * (blurred(x, min(height, width) / 24) - x)
    return ((x + 1) * (1.3 * light).exp2() - 1).clamp(max=1)
