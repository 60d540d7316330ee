"""A small network that enlarges pictures: every convolution at the low resolution, one shuffle of pixels at the end.

Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data.
Wang, Xie, Dong and Shan, 2021. https://arxiv.org/abs/2107.10833

It is the compact network of that paper's code. The shuffle is the sub-pixel convolution of Shi et al. (2016,
https://arxiv.org/abs/1609.05158): times^2 channels at a place become a square of times x times pixels.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from triptych.core import Images
from triptych.nn.reach import reach

SLOPE = 0.25
"""Initial negative slope of PReLU."""


def magnification(x: Images, given: Images) -> int:
    """How many times as high and as wide x is as the picture that is given.

    Raises ValueError unless that is a whole number, the same for both sides, and the channels are as many.
    """
    times = x.height // given.height
    if not times or (x.height, x.width) != (times * given.height, times * given.width):
        raise ValueError(
            f"x is {x.height} x {x.width} and the picture given is {given.height} x {given.width}: both sides of x "
            f"must be the same whole number of times as long"
        )
    if x.channels != given.channels:
        raise ValueError(f"x has {x.channels} channels and the picture given has {given.channels}: as many, please")
    return times


class Compact(nn.Module):
    """A picture -> the same, `times` as high and as wide: each pixel as a square, and what the network adds to that.

    width: channels. depth: convolutions between the first and the last, each of 3 x 3 pixels and followed, as the
    first is, by a PReLU with a slope for each channel. Within, black is 0 and white 1, so that the border is padded
    with black and the weights mean what they mean in the paper's code, whose names they have: body.0 is the first
    convolution, body.1 its PReLU, and so on.
    """

    def __init__(self, channels: int, times: int, width: int, depth: int) -> None:
        super().__init__()
        self.times = times
        layers: list[nn.Module] = []
        for i in range(depth + 1):
            layers += [nn.Conv2d(width if i else channels, width, 3, padding=1), nn.PReLU(width, init=SLOPE)]
        last = nn.Conv2d(width, channels * times**2, 3, padding=1)
        self.body = nn.Sequential(*layers, last).apply(initialize)
        nn.init.zeros_(last.weight)  # training begins at the squares

    @property
    def reach(self) -> int:
        """Reach of the receptive field around a pixel of the picture given: one pixel more with each convolution."""
        return reach(self.body)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        light = (x + 1) / 2
        squares = interpolate(light, scale_factor=float(self.times), mode="nearest")
        return 2 * (squares + pixel_shuffle(self.body(light), self.times)) - 1


def initialize(layer: nn.Module) -> None:
    """After He et al. (2015): a variance that neither grows nor fades from layer to layer."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, SLOPE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
