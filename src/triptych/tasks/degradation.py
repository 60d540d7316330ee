"""What happens to pictures on their way to us: reduction, blur, noise, JPEG; what is random is each picture's own."""

import io

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Noise
from triptych.media.images import open_picture

RADIUS = 7
"""Of the blur, in pixels."""


def eight_bits(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Rounded to the levels that a file of 8 bits has."""
    return (((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5) - 1


def smaller(x: Float[Tensor, "n c h w"], times: int) -> Float[Tensor, "n c h/times w/times"]:
    """Scaled down with an antialiased bicubic filter."""
    size = (x.shape[-2] // times, x.shape[-1] // times)
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def reduced(x: Float[Tensor, "n c h w"], times: int) -> Float[Tensor, "n c h/times w/times"]:
    """As if pictures had been kept so many times smaller, with 8 bits."""
    return x if times == 1 else eight_bits(smaller(x, times))


def worn(x: Float[Tensor, "n c h w"], noise: Noise, last: bool = False) -> Float[Tensor, "n c h w"]:
    """Blurred (deviation up to 2.5 pixels; the last time up to 1), made noisy (up to 12 levels of 255; 6) and saved as
    JPEG (quality 40 to 95; 50 to 95), each picture to an extent of its own."""
    if len(x) == 0:
        return x
    u = noise.uniform(4)
    sigma = u[:, 0] * (1.0 if last else 2.5)
    amount = u[:, 1] * (6 if last else 12) * 2 / 255
    grey = (u[:, 2] < 0.4)[:, None, None, None]
    grain = noise.normal(*x.shape[1:])
    grain = torch.where(grey, grain[:, :1].expand_as(grain), grain)
    x = blurred(x, sigma) + grain * amount[:, None, None, None]
    quality = (50 if last else 40) + u[:, 3] * (45 if last else 55)
    return torch.stack([as_jpeg(one, round(q)) for one, q in zip(x, quality.tolist(), strict=True)])


def blurred(x: Float[Tensor, "n c h w"], sigma: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Under a Gaussian of each picture's own deviation, in pixels; mirrored at the border."""
    n, c, h, w = x.shape
    away = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    kernel = (-(away**2) / (2 * sigma.clamp(min=0.05)[:, None] ** 2)).softmax(-1)  # [n, 15]
    rows = kernel.repeat_interleave(c, 0)[:, None]
    flat = x.reshape(1, n * c, h, w)
    pad = "reflect" if min(h, w) > RADIUS else "replicate"
    flat = F.conv2d(F.pad(flat, (0, 0, RADIUS, RADIUS), pad), rows[..., None], groups=n * c)
    return F.conv2d(F.pad(flat, (RADIUS, RADIUS, 0, 0), pad), rows[:, :, None], groups=n * c).view(n, c, h, w)


def as_jpeg(x: Float[Tensor, "c h w"], quality: int) -> Float[Tensor, "c h w"]:
    """As it comes back from a JPEG file of this quality."""
    levels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    out = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(out, "JPEG", quality=quality)
    with open_picture(out.getvalue()) as image:
        back = np.asarray(image.convert("L" if len(levels) == 1 else "RGB"), np.float32)
    back = back[None] if back.ndim == 2 else back.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(back)).to(x) / 127.5 - 1
