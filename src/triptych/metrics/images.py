"""Images as metrics take them: 8-bit, whatever produced them."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from triptych.core import Images, UsageError

BATCH = 1000
"""Images of digits that go through a network at a time."""
PIXELS = 2**17
"""Numbers of images that go through a network at a time: about as many, whatever the images' size."""


def in_parts(images: Tensor) -> tuple[Tensor, ...]:
    """So many at a time as a network takes well."""
    return torch.split(images, max(1, PIXELS // max(1, images[0].numel())))


def eight_bit(images: Tensor) -> UInt8[Tensor, "n c h w"]:
    """Images as they would be stored: floats in [-1, 1] go to the nearest of 256 levels, uint8 stays; on the CPU.

    Raises UsageError for another type or shape, values out of range, NaN, or uint8 levels that were not scaled.
    """
    if images.dim() != 4 or 0 in images.shape:
        raise UsageError(f"images have shape {list(images.shape)}; metrics take [n, channels, height, width]")
    images = images.detach().cpu()
    if images.is_floating_point():
        space = Images(*images.shape[1:])
        space.check(images, "images")
        return space.nearest(images).to(torch.uint8)
    if images.dtype != torch.uint8:
        raise UsageError(f"images are {images.dtype}; metrics take uint8 from 0 to 255, or floats from -1 to 1")
    if images.max() == 1:
        raise UsageError(
            "images are uint8 with no value above 1: levels of a binary space, not 8-bit images; "
            "pass the floats in [-1, 1] (space.from_index(levels))"
        )
    return images
