"""Images as they might have been put to paper: for what should read the same from them however they were.

Not an augmentation of what a discriminator sees (`nn.augment`): gradients pass, and draws come from the batch's noise.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from triptych.core import Noise


def blurred(x: Float[Tensor, "n c h w"], deviation: float) -> Float[Tensor, "n c h w"]:
    """Blurred by a Gaussian of so many pixels; the border goes on outside of the image."""
    reach = max(1, round(2.5 * deviation))
    taps = (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / deviation).square().mul(-0.5).softmax(0)
    x, channels = pad(x, (reach,) * 4, mode="replicate"), x.shape[1]
    x = conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def deformed(x: Float[Tensor, "n c h w"], noise: Noise, amount: float) -> Float[Tensor, "n c h w"]:
    """Each image turned, sheared, stretched, moved, blurred and lit at random; its border goes on outside of it.

    With an amount of 1, turned by up to 14 degrees either way (.25), sheared by up to .5, made up to a fifth larger or
    smaller in either direction, moved by up to a tenth of either side, blurred by up to a 24th of the shorter side, and
    of .4 to 2.5 times the light (cut off at 1, so that bright strokes grow or shrink).
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
