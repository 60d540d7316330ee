"""Adversarial losses: pure functions of the discriminator's logits, where D = sigmoid(logit).

Each is written with softplus(a) = log(1 + exp(a)), because -log D = softplus(-logit) and -log(1 - D) = softplus(logit)
stay finite, and keep their gradients, at any logit.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

Logits = Float[Tensor, "..."]


def discriminator(real: Logits, fake: Logits) -> Float[Tensor, ""]:
    """-E log D(x) - E log(1 - D(G(z))), in nats (Goodfellow et al., 2014, Equation 1).

    At its least where D = p_data / (p_data + p_G) (Proposition 1); 2 log 2 once the two densities are equal.
    """
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating(fake: Logits) -> Float[Tensor, ""]:
    """-E log D(G(z)), the generator's loss in practice (Goodfellow et al., 2014, Section 3).

    The gradient with respect to a logit is D - 1: strongest for the samples that the discriminator is sure about.
    """
    return softplus(-fake).mean()


def saturating(fake: Logits) -> Float[Tensor, ""]:
    """E log(1 - D(G(z))), the generator's side of the minimax game (Goodfellow et al., 2014, Equation 1).

    The gradient with respect to a logit is -D: it vanishes for the samples that the discriminator is sure about.
    """
    return -softplus(fake).mean()
