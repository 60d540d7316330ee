"""Ways through latent space: between two points, and along one coordinate."""

from collections.abc import Sequence
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import UsageError


def straight(a: Float[Tensor, "n latent"], b: Float[Tensor, "n latent"], steps: int) -> Float[Tensor, "steps n latent"]:
    """From a to b in equal steps on straight lines. Points on the way are shorter than a Gaussian's in many dimensions.

    Raises UsageError for less than 2 steps.
    """
    return torch.lerp(a, b, parts(steps, a))


def spherical(
    a: Float[Tensor, "n latent"], b: Float[Tensor, "n latent"], steps: int
) -> Float[Tensor, "steps n latent"]:
    """From a to b along great circles, lengths changing evenly (White, 2016; https://arxiv.org/abs/1609.04468).

    Points in one direction are joined by a straight line. Raises UsageError for less than 2 steps, for a point at the
    origin and for opposite points, between which there are many ways.
    """
    t = parts(steps, a)
    lengths = [v.norm(dim=-1, keepdim=True) for v in (a, b)]
    if not all(bool((length > 0).all()) for length in lengths):
        raise UsageError("a point at the origin has no direction: take straight lines")
    u, v = a / lengths[0], b / lengths[1]
    angle = (u * v).sum(-1, keepdim=True).clamp(-1, 1).acos()
    if bool((angle > pi * (1 - 1e-4)).any()):
        raise UsageError("two points lie opposite of each other: no one great circle is the shortest")
    near = angle < 1e-4
    safe = torch.where(near, 1.0, angle)
    turned = ((1 - t) * safe).sin() / safe.sin() * u + (t * safe).sin() / safe.sin() * v
    way = torch.where(near, torch.lerp(u.expand_as(turned), v.expand_as(turned), t), turned)
    return way * torch.lerp(lengths[0], lengths[1], t)


def traverse(z: Float[Tensor, "n latent"], coordinate: int, values: Sequence[float]) -> Float[Tensor, "steps n latent"]:
    """z with one coordinate set to each of the values in turn. Raises UsageError if there is no such coordinate."""
    if not 0 <= coordinate < z.shape[1]:
        raise UsageError(f"coordinate={coordinate}: z has 0 to {z.shape[1] - 1}")
    way = z.expand(len(values), *z.shape).clone()
    way[..., coordinate] = torch.tensor(values, dtype=z.dtype, device=z.device)[:, None]
    return way


def parts(steps: int, like: Tensor) -> Float[Tensor, "steps 1 1"]:
    if steps < 2:
        raise UsageError(f"steps={steps}: a way has 2 points or more")
    return torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device)[:, None, None]
