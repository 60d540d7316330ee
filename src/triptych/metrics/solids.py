"""How alike solids are, and how well a set of them stands for another: by the points of their surfaces.

Achlioptas, Diamanti, Mitliagkas and Guibas, 2018. Learning Representations and Generative Models for 3D Point Clouds.
https://arxiv.org/abs/1707.02392 (COV, MMD). Yang and others, 2019. PointFlow. https://arxiv.org/abs/1906.12320 (1-NNA).

COV and MMD can be had by chance of samples that are many and bad; 1-NNA says how well the two sets can be told apart.
What as many training shapes get in the samples' place stands beside each.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from triptych.core import ItemNoise
from triptych.metrics.measurement import Measurement

POINTS = 256
"""Of each surface."""
Solids = Float[Tensor, "n 1 d h w"]


def iou(x: Solids, y: Solids) -> Float[Tensor, " n"]:
    """Intersection over union of what is full (above 0) in each pair; 1 for two empty ones. float64."""
    a, b = (x > 0).flatten(1), (y > 0).flatten(1)
    both, either = (a & b).sum(1).double(), (a | b).sum(1).double()
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def likest(x: Solids, among: Solids) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """The greatest IoU of each with one of others, and which it is."""
    a, b = ((one > 0).flatten(1).float() for one in (x, among))
    both = a @ b.T
    return (both / (a.sum(1)[:, None] + b.sum(1)[None] - both).clamp(min=1)).max(1)


def surfaces(x: Solids, seed: int = 0) -> Float[Tensor, "n points 3"]:
    """Points on the surface of each, drawn evenly from its full voxels that have an empty neighbour, anywhere in them;
    the grid's longest side is 1 long. Of an empty one, its middle."""
    full: Bool[Tensor, "n d h w"] = x[:, 0] > 0
    buried = -F.max_pool3d(-F.pad(full[:, None].float(), [1] * 6), 3, 1)[:, 0] > 0
    u = ItemNoise(seed, range(len(x))).uniform(POINTS, 4)
    longest, found = max(x.shape[2:]), []
    for one, inside, numbers in zip(full, buried, u, strict=True):
        places = (one & ~inside).nonzero().float()
        if not len(places):
            found.append(torch.full((POINTS, 3), 0.5))
            continue
        chosen = places[(numbers[:, 3] * len(places)).long().clamp(max=len(places) - 1)]
        found.append((chosen + numbers[:, :3]) / longest)
    return torch.stack(found)


def chamfer(a: Float[Tensor, "n points 3"], b: Float[Tensor, "m points 3"]) -> Float[Tensor, "n m"]:
    """The mean squared distance from each point to the nearest of the other, both ways added up."""
    rows = []
    for one in a:
        apart = torch.cdist(one.expand(len(b), -1, -1), b).square()  # m points points
        rows.append(apart.amin(2).mean(1) + apart.amin(1).mean(1))
    return torch.stack(rows)


@dataclass(frozen=True)
class Coverage:
    """How a set stands for a reference set of as many."""

    mmd: float
    """Mean over the reference of the distance to the nearest of the set."""
    cov: float
    """Share of the reference that is the nearest of some of the set."""
    one_nna: float
    """Share of both whose nearest other is of its own set: one half if they cannot be told apart."""


def coverage(made: Float[Tensor, "n points 3"], real: Float[Tensor, "n points 3"]) -> Coverage:
    between = chamfer(made, real)
    within = [chamfer(one, one).fill_diagonal_(torch.inf) for one in (made, real)]
    together = torch.cat([torch.cat([within[0], between], 1), torch.cat([between.T, within[1]], 1)])
    own = torch.arange(len(together)) < len(made)
    return Coverage(
        mmd=between.amin(0).mean().item(),
        cov=len(set(between.argmin(1).tolist())) / len(real),
        one_nna=(own[together.argmin(1)] == own).double().mean().item(),
    )


def shape_measurements(made: Solids, real: Solids, training: Solids) -> list[Measurement]:
    """MMD-CD, COV, 1-NNA and the nearest training shapes of samples, as many as there are held-out shapes."""
    n = min(len(made), len(real), len(training))
    sets = [one[torch.arange(n) * len(one) // n] for one in (made, real, training)]
    points = [surfaces(one, seed) for seed, one in enumerate(sets)]
    got, floor = coverage(points[0], points[1]), coverage(points[2], points[1])
    of = f"{n} generated, {n} held-out; floor: {n} training shapes"
    how = (
        f"Chamfer distance (squared, both ways) of {POINTS} points of each surface, the grid's side 1 long; of a model "
        "with a decoder, of what is full with probability one half"
    )
    near, near_held = (likest(one, training)[0].double().mean().item() for one in sets[:2])
    return [
        Measurement(
            name="MMD-CD x 1000",
            value=1000 * got.mmd,
            better="lower",
            protocol=f"mean over held-out shapes of the distance to the nearest generated one; {how}",
            n=of,
            floor=1000 * floor.mmd,
        ),
        Measurement(
            name="COV",
            value=got.cov,
            unit="share",
            better="higher",
            protocol=f"held-out shapes that are the nearest of some generated one; {how}",
            n=of,
            floor=floor.cov,
        ),
        Measurement(
            name="1-NNA",
            value=got.one_nna,
            unit="share",
            better="lower",
            protocol=f"shapes whose nearest other is of their own set, generated or held out: .5 is best; {how}",
            n=of,
            floor=floor.one_nna,
        ),
        Measurement(
            name="IoU with the nearest training shape",
            value=near,
            protocol=f"mean over generated shapes, of {len(training)} training shapes; high is copying",
            n=f"{n} generated; floor: {n} held-out",
            floor=near_held,
        ),
    ]
