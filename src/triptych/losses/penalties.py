"""Penalties on a critic's gradient with respect to its input: pure functions.

    x = penalties.watched(batch.x)
    scores = precisely(self.critic, x)
    loss = ... scores ... + gamma / 2 * penalties.squared_gradient(scores, x)

In float32 whatever the precision of the run: what is watched is, `precisely` sees to the critic, and the gradients are
taken so. A gradient is taken of the sum over the batch, so it is each item's own only if the critic looks at items one
by one: no batch normalization in it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.core import full, precisely

Scores = Float[Tensor, " n"]
Inputs = Float[Tensor, "n ..."]


def watched(x: Inputs) -> Inputs:
    """x as a leaf of the graph: gradients with respect to it are taken, and go no further back."""
    return full(x).detach().requires_grad_()


def between(real: Inputs, fake: Inputs, u: Float[Tensor, " n"]) -> Inputs:
    """A watched point on the line from each fake to its real, at u in [0, 1) of the way."""
    return watched(torch.lerp(full(fake), full(real), full(u).view(-1, *[1] * (real.dim() - 1))))


def gradients(scores: Scores, x: Inputs) -> Float[Tensor, "n dims"]:
    """The gradient of each item's score with respect to that item, flattened; itself differentiable."""
    (found,) = precisely(lambda total: torch.autograd.grad(total, x, create_graph=True), scores.sum())
    return found.flatten(1)


def squared_gradient(scores: Scores, x: Inputs) -> Float[Tensor, ""]:
    """E |grad D(x)|^2: R1 at real x, R2 at generated x; both carry a weight of gamma / 2.

    Which Training Methods for GANs do actually Converge? Mescheder, Geiger and Nowozin, 2018.
    https://arxiv.org/abs/1801.04406, Equations 9 and 10.
    """
    return gradients(scores, x).square().sum(1).mean()


def squared_difference(scores: Scores, near: Scores, length: float) -> Float[Tensor, ""]:
    """E (D(x) - D(x + length e))^2 / length^2 with e ~ N(0, I): about E |grad D(x)|^2, without second derivatives.

    near: the scores of x + length e; like `scores` computed `precisely`, or their difference is what was rounded.
    Diffusion Adversarial Post-Training for One-Step Video Generation. Lin, Xia, Ren, Yang, Xiao and Jiang, 2025.
    https://arxiv.org/abs/2501.08316
    """
    return ((scores - near) / length).square().mean()


def unit_gradient(scores: Scores, x: Inputs) -> Float[Tensor, ""]:
    """E (|grad D(x)| - 1)^2: the gradient penalty, for x `between` real and fake (Gulrajani et al., 2017, Equation 3).

    https://arxiv.org/abs/1704.00028
    """
    return (gradients(scores, x).norm(dim=1) - 1).square().mean()


def matching_aware(scores: Scores, x: Inputs, e: Float[Tensor, "n d"], power: int) -> Float[Tensor, ""]:
    """E (|grad_x D(x, e)| + |grad_e D(x, e)|)^power, of real x and what is said of them, e: the matching-aware gradient
    penalty. Both are taken in one pass backward.

    DF-GAN. Tao, Tang, Wu, Jing, Bao and Xu, 2022. https://arxiv.org/abs/2008.05865, Equation 2.
    """
    found = precisely(lambda total: torch.autograd.grad(total, [x, e], create_graph=True), scores.sum())
    length = sum((part.flatten(1).norm(dim=1) for part in found), torch.zeros_like(scores))
    return (length**power).mean()


def alike(weight: Float[Tensor, "out ..."]) -> Float[Tensor, ""]:
    """|W W^T * (1 - I)|^2, entry by entry: 0 if a layer's filters are at right angles, whatever their lengths.

    Orthogonal regularization, relaxed. Brock, Donahue and Simonyan, 2019. https://arxiv.org/abs/1809.11096, Equation 3.
    """
    w = weight.flatten(1)
    products = precisely(torch.mm, w, w.T)
    return products.square().sum() - products.diagonal().square().sum()
