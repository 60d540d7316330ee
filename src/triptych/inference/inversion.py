"""What latent does x come from? By optimization, for models that have no encoder: GANs.

Zhu, Krähenbühl, Shechtman and Efros, 2016. Generative Visual Manipulation on the Natural Image Manifold (Section 3).
https://arxiv.org/abs/1609.03552
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from triptych.core import Generative, HasLikelihood, ItemNoise, UsageError, evaluating, mix
from triptych.inference.generators import Generator


@dataclass(frozen=True, eq=False, kw_only=True)
class Inverted:
    """The latents that come nearest to some examples, of those that were tried."""

    z: Float[Tensor, "n latent"]
    """All the noise that a sample spends, as standard normal numbers (see `Generator`)."""
    x: Shaped[Tensor, "n ..."]
    """G(z)"""
    error: Float[Tensor, " n"]
    """Mean squared difference of a value, on the scale of x."""


def invert(
    model: Generative[Any],
    x: Shaped[Tensor, "n ..."],
    given: Any = None,
    *,
    steps: int = 300,
    starts: int = 4,
    lr: float = 0.05,
    seed: int = 0,
    first: int = 0,
) -> Inverted:
    """min over z of |x - G(z)|^2, by Adam from `starts` draws of the prior; of all steps and starts the best is kept.

    How near it comes says what the generator can make, and also how hard its latent is to search. Example i's answer
    follows from the model, x[i], the seed and first + i, up to rounding.

    Raises UsageError for a model that has a likelihood (it encodes, or has no latent), or x outside of its space.
    """
    if isinstance(model, HasLikelihood):
        raise UsageError(f"{model.name} has a likelihood: encode x if it has a latent; inversion is for generators")
    if steps < 1 or starts < 1 or not lr > 0:
        raise UsageError(f"steps={steps}, starts={starts}, lr={lr}: inversion takes 1 or more of each, and lr above 0")
    model.check_given(len(x), given)
    model.config.x.check(x)
    generator = Generator(model)
    with evaluating(model):
        if len(x) == 0:
            return Inverted(z=x.new_empty(0, generator.latent(given)), x=x, error=x.new_empty(0))
        noise = ItemNoise(mix(seed), range(first, first + len(x)), x.device)
        z = noise.normal(starts, generator.latent(given)).movedim(0, 1).clone().requires_grad_()
        adam = torch.optim.Adam([z], lr=lr)
        best_z, best = z.detach().clone(), torch.full(z.shape[:2], torch.inf, device=x.device)
        for step in range(steps + 1):
            error = (generator(z, given) - x).square().flatten(2).mean(2)
            nearer = error.detach() < best
            best, best_z = torch.where(nearer, error.detach(), best), torch.where(nearer[..., None], z.detach(), best_z)
            if step < steps:
                (z.grad,) = torch.autograd.grad(error.sum(), z)
                adam.step()
        error, which = best.min(0)
        chosen = best_z[which, torch.arange(len(x), device=x.device)]
        with torch.no_grad():
            return Inverted(z=chosen, x=generator(chosen, given), error=error)
