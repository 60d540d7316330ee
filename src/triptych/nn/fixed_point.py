"""Two ways to sample from any autoregressive network with nothing but its `logits`: what cached samplers must equal."""

from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from triptych.core import FAITHFUL, Autoregressive, Noise, Sampling, evaluating


@torch.no_grad()
def draw_naively(
    model: Autoregressive[Any], noise: Noise, given: Any = None, how: Sampling = FAITHFUL
) -> Shaped[Tensor, "n ..."]:
    """The textbook loop: one pass of the whole network for each value, of which one number is kept."""
    space = model.config.x
    u, known = noise.uniform(*space.shape).flatten(1), how.start(space, noise).flatten(1)
    level = torch.zeros_like(known)
    with evaluating(model):
        for i in model.order().tolist():
            x = values(model, level.view(-1, *space.shape))
            logits = model.logits(x, given).flatten(1, -2)[:, i]
            level[:, i] = how.fill(known[:, i], logits, u[:, i])
    return values(model, level.view(-1, *space.shape))


@torch.no_grad()
def draw_by_iteration(
    model: Autoregressive[Any], noise: Noise, given: Any = None, how: Sampling = FAITHFUL
) -> Shaped[Tensor, "n ..."]:
    """The same samples by Jacobi iteration: all values are picked at once, again and again, until nothing changes.

    With its uniform numbers fixed, a sample is the one fixed point of x -> pick(logits(x), u). After k passes the first
    k values are right, whatever the start; in practice many are right at once, and it takes far fewer passes than
    values. Song, Meng, Liao and Ermon, 2021. Accelerating Feedforward Computation via Parallel Nonlinear Equation
    Solving. https://arxiv.org/abs/2002.03629
    """
    space = model.config.x
    u, known = noise.uniform(*space.shape), how.start(space, noise)
    level = torch.zeros_like(known)
    with evaluating(model):
        for _ in range(space.dims + 1):
            better = how.fill(known, model.logits(values(model, level), given), u)
            if torch.equal(better, level):
                break
            level = better
    return values(model, level)


def values(model: Autoregressive[Any], level: Int[Tensor, "n *shape"]) -> Shaped[Tensor, "n *shape"]:
    """Levels as values of x, in the precision of the model."""
    x = model.config.x.from_index(level)
    return x.to(model.precision) if x.is_floating_point() else x
