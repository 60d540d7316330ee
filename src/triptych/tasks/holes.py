"""Holes in pictures: drawn at random for training, measured, and filled in simple ways to compare with."""

from math import pi
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Noise

Kind = Literal["mixed", "box", "strokes", "center"]
JOINTS = 6
"""Of a stroke."""


def holes(noise: Noise, height: int, width: int, kind: Kind = "mixed") -> Bool[Tensor, "n 1 h w"]:
    """A hole each: a box, the strokes of a brush, or now one and now the other ("mixed"; after Yu and others, 2019.
    https://arxiv.org/abs/1806.03589); "center" is always the same, half as high and wide as the picture.
    """
    if kind == "center":
        return center(height, width).expand(noise.n, 1, height, width).to(noise.device)
    u = noise.uniform(5 + 2 * 2 * JOINTS)
    box, brush = boxes(u[:, :4], height, width), strokes(u[:, 4:], height, width)
    if kind == "mixed":
        return torch.where((noise.uniform() < 0.5)[:, None, None, None], box, brush)
    return box if kind == "box" else brush


def center(height: int, width: int) -> Bool[Tensor, "1 1 h w"]:
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool)
    hole[..., height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = True
    return hole


def boxes(u: Float[Tensor, "n 4"], height: int, width: int) -> Bool[Tensor, "n 1 h w"]:
    """Of a quarter to a half of each side, anywhere within."""
    tall, wide = (height * (1 + u[:, 0]) / 4).round().clamp(min=1), (width * (1 + u[:, 1]) / 4).round().clamp(min=1)
    top, left = (u[:, 2] * (height - tall + 1)).floor(), (u[:, 3] * (width - wide + 1)).floor()
    rows, columns = torch.arange(height, device=u.device), torch.arange(width, device=u.device)
    inside = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    return (inside[:, :, None] & across[:, None, :])[:, None]


def strokes(u: Float[Tensor, "n numbers"], height: int, width: int) -> Bool[Tensor, "n 1 h w"]:
    """Two brush strokes that turn at every joint, a twelfth to a fifth of the picture wide."""
    side = min(height, width)
    thick = side * (1 / 12 + u[:, :1] * (1 / 5 - 1 / 12)) / 2
    y, x = torch.meshgrid(torch.arange(height, device=u.device), torch.arange(width, device=u.device), indexing="ij")
    hole = torch.zeros(len(u), height, width, dtype=torch.bool, device=u.device)
    for v in torch.split(u[:, 1:], 2 * JOINTS, 1):
        at = v[:, :2] * torch.tensor([height, width], device=u.device)
        angle = v[:, 2:3] * 2 * pi
        for joint in range(1, JOINTS):
            turn, stretch = v[:, 2 * joint : 2 * joint + 1], v[:, 2 * joint + 1 : 2 * joint + 2]
            angle = angle + (turn - 0.5) * pi
            step = side * (0.08 + 0.17 * stretch) * torch.cat([angle.sin(), angle.cos()], 1)
            hole |= beside(y, x, at, step) <= thick[:, :, None]
            at = at + step
    return hole[:, None]


def beside(y: Tensor, x: Tensor, start: Float[Tensor, "n 2"], step: Float[Tensor, "n 2"]) -> Float[Tensor, "n h w"]:
    """Distance of each pixel from the segments that begin at `start` and go by `step`."""
    dy, dx = y - start[:, 0, None, None], x - start[:, 1, None, None]
    sy, sx = step[:, 0, None, None], step[:, 1, None, None]
    along = ((dy * sy + dx * sx) / (sy**2 + sx**2).clamp(min=1e-9)).clamp(0, 1)
    return ((dy - along * sy) ** 2 + (dx - along * sx) ** 2).sqrt()


def thickness(hole: Bool[Tensor, "h w"]) -> int:
    """The side of the largest square that lies within the hole."""
    side, fits = 1, hole  # fits[y, x]: whether the square of this side that begins there lies within
    if not bool(hole.any()):
        return 0
    more = 1
    while more:  # a larger square is four that overlap: at first twice as large, then by less and less
        larger = fits[:-more, :-more] & fits[more:, :-more] & fits[:-more, more:] & fits[more:, more:]
        if bool(larger.any()):
            side, fits = side + more, larger
            more = side if more == side - more else more // 2
        else:
            more //= 2
    return side


def border_mean(x: Float[Tensor, "n c h w"], hole: Bool[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h w"]:
    """Every hole filled with the mean of the known pixels that touch it (of all known ones, if none does)."""
    touching = (F.max_pool2d(hole.float(), 3, 1, 1) > 0) & ~hole
    some = touching.flatten(1).any(1)[:, None, None, None]
    beside = torch.where(some, touching, ~hole).to(x.dtype)
    mean = (x * beside).sum((2, 3), keepdim=True) / beside.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean.expand_as(x), x)


def diffused(
    x: Float[Tensor, "n c h w"], hole: Bool[Tensor, "n 1 h w"], rounds: int = 400, finer: int = 40
) -> Float[Tensor, "n c h w"]:
    """Every hole filled smoothly from its border inwards: Laplace's equation, from coarse to fine, by so many rounds of
    averaging at the coarsest level and at each finer one."""
    h, w = x.shape[-2:]
    if min(h, w) > 8 and bool(hole.any()):
        known = (~hole).to(x.dtype)
        weight = F.avg_pool2d(known, 2, ceil_mode=True, count_include_pad=False)
        coarse = F.avg_pool2d(x * known, 2, ceil_mode=True, count_include_pad=False) / weight.clamp(min=1e-6)
        start = diffused(coarse, weight == 0, rounds, finer)
        start = F.interpolate(start, scale_factor=2, mode="bilinear", align_corners=False)[..., :h, :w]
        rounds = finer
    else:
        start = border_mean(x, hole)
    filled = torch.where(hole, start, x)
    kernel = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=x.dtype, device=x.device) / 4
    for _ in range(rounds if bool(hole.any()) else 0):
        around = F.conv2d(F.pad(filled, (1, 1, 1, 1), "replicate").flatten(0, 1)[:, None], kernel[None, None])
        filled = torch.where(hole, around.view_as(x), x)
    return filled
