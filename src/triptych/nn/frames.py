"""Frames of videos as pictures by themselves, and back; and what video models check."""

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import UsageError, Video

Last = TypeVar("Last", nn.Conv2d, nn.ConvTranspose2d)


def merged(frames: Float[Tensor, "n t c h w"]) -> Float[Tensor, "nt c h w"]:
    """Every frame by itself."""
    return frames.flatten(0, 1)


def split(pictures: Float[Tensor, "nt c h w"], t: int) -> Float[Tensor, "n t c h w"]:
    """The inverse of `merged`."""
    return pictures.reshape(pictures.shape[0] // t, t, *pictures.shape[1:])


def patched(x: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n cpp hp wp"]:
    """The pixels of each patch as channels. (torch's own does not take an empty batch.)"""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // side, side, w // side, side).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(n, c * side * side, h // side, w // side)


def unpatched(x: Float[Tensor, "n cpp hp wp"], side: int) -> Float[Tensor, "n c h w"]:
    """The inverse of `patched`."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c // side**2, side, side, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // side**2, h * side, w * side)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3, normalized in two groups, SiLU."""
    groups = 2 if outputs % 2 == 0 else 1
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(groups, outputs), nn.SiLU())


class Mixer(nn.Module):
    """h + wide(h), each channel by itself; then all channels at each place: a block of ConvMixer.

    Trockman and Kolter, 2022. Patches Are All You Need? https://arxiv.org/abs/2201.09792
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(width, width, kernel, padding="same", groups=width)
        self.norms = nn.ModuleList([nn.GroupNorm(1, width), nn.GroupNorm(1, width)])
        self.deep = nn.Conv2d(width, width, 1)

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        h = h + F.gelu(self.norms[0](self.wide(h)))
        out: Tensor = h + F.gelu(self.norms[1](self.deep(h)))
        return out


def darkened(last: Last) -> Last:
    """A last layer that begins with black, as most of most videos of things that move is."""
    assert last.bias is not None
    nn.init.constant_(last.bias, -1.0)
    return last


def silenced(last: Last) -> Last:
    """A last layer that begins with nothing, for what is added to frames."""
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last


def check_frames(x: Video, given: Video, unit: int, why: str) -> None:
    """Raises UsageError unless the frames before and those that follow are alike, their sides multiples of `unit`."""
    if x.shape[1:] != given.shape[1:]:
        raise UsageError(
            f"x={x} and given={given}: frames that follow are as large as those before, of as many channels"
        )
    if x.height % unit or x.width % unit:
        raise UsageError(
            f"{why}: sides of frames must be multiples of {unit}, not {x.height} x {x.width}: open with size="
        )
