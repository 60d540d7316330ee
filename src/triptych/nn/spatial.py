"""Layers of as many spatial dimensions as x has: of pictures two, of solids three."""

from torch import nn

from triptych.core import Space

Conv = nn.Conv2d | nn.Conv3d
CONVOLUTIONS: dict[int, type[Conv]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d | nn.ConvTranspose3d]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS: dict[int, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LAYERS = (nn.Linear, *CONVOLUTIONS.values(), *TRANSPOSED.values())
"""Layers with weights."""


def sides(x: Space) -> tuple[int, ...]:
    """The height and width of pictures; the depth, height and width of solids."""
    return x.shape[1:]
