"""Adversarial losses: pure functions of the discriminator's logits, where D = sigmoid(logit).

Each is written with softplus(a) = log(1 + exp(a)), because -log D = softplus(-logit) and -log(1 - D) = softplus(logit)
stay finite, and keep their gradients, at any logit. Logits of a bfloat16 run are averaged, and compared, in float32.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

from triptych.core import full

Logits = Float[Tensor, "..."]


def discriminator(real: Logits, fake: Logits) -> Float[Tensor, ""]:
    """-E log D(x) - E log(1 - D(G(z))), in nats (Goodfellow et al., 2014, Equation 1).

    At its least where D = p_data / (p_data + p_G) (Proposition 1); 2 log 2 once the two densities are equal.
    """
    return softplus(-full(real)).mean() + softplus(full(fake)).mean()


def non_saturating(fake: Logits) -> Float[Tensor, ""]:
    """-E log D(G(z)), the generator's loss in practice (Goodfellow et al., 2014, Section 3).

    The gradient with respect to a logit is D - 1: strongest for the samples that the discriminator is sure about.
    """
    return softplus(-full(fake)).mean()


def saturating(fake: Logits) -> Float[Tensor, ""]:
    """E log(1 - D(G(z))), the generator's side of the minimax game (Goodfellow et al., 2014, Equation 1).

    The gradient with respect to a logit is -D: it vanishes for the samples that the discriminator is sure about.
    """
    return -softplus(full(fake)).mean()


def least_squares_discriminator(real: Logits, fake: Logits) -> Float[Tensor, ""]:
    """E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2, where D is the score itself (Mao et al., 2017, Equation 9).

    At its least, as above, where D = p_data / (p_data + p_G) (Equation 5 with a = 0, b = 1).
    """
    return (full(real) - 1).square().mean() / 2 + full(fake).square().mean() / 2


def least_squares_generator(fake: Logits) -> Float[Tensor, ""]:
    """E (D(G(z)) - 1)^2 / 2: scores above 1, too, are drawn to 1 (Mao et al., 2017, Equation 9)."""
    return (full(fake) - 1).square().mean() / 2


def hinge_discriminator(real: Logits, fake: Logits) -> Float[Tensor, ""]:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))): nothing more to win with real scores above 1, fake below -1.

    Geometric GAN. Lim and Ye, 2017. https://arxiv.org/abs/1705.02894
    """
    return relu(1 - full(real)).mean() + relu(1 + full(fake)).mean()


def hinge_generator(fake: Logits) -> Float[Tensor, ""]:
    """-E D(G(z)), the generator's side of the hinge loss: not cut off, so that its gradient never ends."""
    return -full(fake).mean()


def relativistic(ahead: Logits, behind: Logits) -> Float[Tensor, ""]:
    """E softplus(D(behind) - D(ahead)), item by item: how far each of a pair is from being taken for the realer one.

    The discriminator's loss with the real ones ahead, the generator's with its own (Jolicoeur-Martineau, 2019,
    https://arxiv.org/abs/1807.00734, the relativistic pairing of Huang et al., 2024, Section 2.1). log 2 where the two
    cannot be told apart.
    """
    return softplus(full(behind) - full(ahead)).mean()


def balance(
    kept: Float[Tensor, ""], fooled: Float[Tensor, ""], last: Tensor, mean: Callable[[Tensor], Tensor] = full
) -> Float[Tensor, ""]:
    """|d kept / d last| / (|d fooled / d last| + 1e-4): the weight by which an adversarial loss moves the last layer of
    a decoder as much as its reconstruction does (Esser et al., 2020, Equation 7; https://arxiv.org/abs/2012.09841).

    A number, without a gradient of its own; 10,000 at most.

    mean: of a gradient, that over all ranks (`nn.ranks.averaged`), where these losses are of a rank's part of a batch.
    """
    size = [mean(full(torch.autograd.grad(loss, last, retain_graph=True)[0])).norm() for loss in (kept, fooled)]
    return (size[0] / (size[1] + 1e-4)).clamp(max=1e4)
