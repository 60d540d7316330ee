"""Mixtures of discretized logistics for the pixels of an image, color after color: few numbers, an exact likelihood.

Salimans, Karpathy, Chen and Kingma, 2017. PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
Likelihood and Other Modifications. https://arxiv.org/abs/1701.05517
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from triptych.core import category, full
from triptych.losses.pixels import DiscretizedLogistic

LEAST_LOG_SCALE = -7.0
"""A scale of a tenth of the distance between two of 256 levels: smaller ones would change nothing but the gradient."""


def parameters_of(channels: int, components: int) -> int:
    """How many numbers describe the mixture at one pixel: 10 a component for three channels, 3 for one."""
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


class LogisticMixture:
    """p(x) of each pixel: with probability pi_k all its colors come from component k, one after the other.

    A color's location in a component depends linearly on the earlier colors of the pixel (Equation 3):

        mu_green = m_green + alpha red,        mu_blue = m_blue + beta red + gamma green

    with coefficients in (-1, 1). Around it lies a logistic density, of which each level takes the mass of its bin
    (Equation 2); the lowest and the highest level take what is beyond, too.
    """

    def __init__(self, parameters: Float[Tensor, "n parameters *grid"], channels: int, levels: int) -> None:
        """`parameters` are any real numbers, `parameters_of(channels, components)` at each place of the grid."""
        self.channels, self.levels = channels, levels
        coefficients, rows = channels * (channels - 1) // 2, parameters_of(channels, 1)
        n, _, *grid = parameters.shape
        table = full(parameters).movedim(1, -1).reshape(n, *grid, rows, parameters.shape[1] // rows)
        weight, self.loc, log_scale, move = torch.split(table, [1, channels, channels, coefficients], dim=-2)
        self.log_weight = weight.squeeze(-2).log_softmax(-1)
        self.log_scale = log_scale.clamp(min=LEAST_LOG_SCALE)
        self.coefficients = move.tanh()

    def components(self, channel: int, x: Float[Tensor, "n channels *grid"]) -> DiscretizedLogistic:
        """Each component's distribution [n, *grid, components] of one channel, given the channels of x before it."""
        loc, first = self.loc[..., channel, :], channel * (channel - 1) // 2
        for k in range(channel):
            loc = loc + self.coefficients[..., first + k, :] * x[:, k, ..., None]
        return DiscretizedLogistic(loc, self.log_scale[..., channel, :], self.levels)

    def joint(self, channel: int, x: Float[Tensor, "n channels *grid"]) -> Float[Tensor, "n *grid components"]:
        """log P(component, the channels of x before `channel`)."""
        nats = self.log_weight
        for k in range(channel):
            nats = nats + self.components(k, x).log_prob(x[:, k, ..., None])
        return nats

    def log_prob(self, x: Float[Tensor, "n channels *grid"]) -> Float[Tensor, "n *grid"]:
        """log P of the pixels of x, whose values are on the levels."""
        return self.joint(self.channels, x).logsumexp(-1)

    @property
    def mean(self) -> Float[Tensor, "n channels *grid"]:
        """The mean color of each pixel, of the logistics as they are before they are cut into bins; within [-1, 1]."""
        means: list[Tensor] = []
        for channel in range(self.channels):
            mean, first = self.loc[..., channel, :], channel * (channel - 1) // 2
            for k, earlier in enumerate(means):
                mean = mean + self.coefficients[..., first + k, :] * earlier
            means.append(mean)
        return (torch.stack(means, 1) * self.log_weight.exp()[:, None]).sum(-1).clamp(-1, 1)

    @property
    def uniforms(self) -> tuple[int, ...]:
        """The shape of what `icdf` takes for one image."""
        return self.channels + 1, *self.log_weight.shape[1:-1]

    def icdf(self, u: Float[Tensor, "n channels+1 *grid"]) -> Float[Tensor, "n channels *grid"]:
        """Uniforms -> pixels: the first of each chooses its component, the others the colors of it, in turn."""
        component = category(self.log_weight, u[:, 0])[..., None]

        def chosen(table: Float[Tensor, "n *grid components"]) -> Float[Tensor, "n *grid"]:
            return table.gather(-1, component)[..., 0]

        colors: list[Tensor] = []
        for channel in range(self.channels):
            loc, first = chosen(self.loc[..., channel, :]), channel * (channel - 1) // 2
            for k, earlier in enumerate(colors):
                loc = loc + chosen(self.coefficients[..., first + k, :]) * earlier
            p = DiscretizedLogistic(loc, chosen(self.log_scale[..., channel, :]), self.levels)
            colors.append(p.icdf(u[:, channel + 1]))
        return torch.stack(colors, 1)

    def logits(self, channel: int, x: Float[Tensor, "n channels *grid"]) -> Float[Tensor, "n *grid levels"]:
        """log P of every level of one channel, given the channels of x before it; those from it on are not looked at.

        p(b | r, g) = sum_k p(k | r, g) p_k(b | r, g): what came before also says which component it comes from.
        """
        posterior = self.joint(channel, x).log_softmax(-1)
        return (posterior[..., None] + log_masses(self.components(channel, x))).logsumexp(-2)


def log_masses(p: DiscretizedLogistic) -> Float[Tensor, "*shape levels"]:
    """log P of every level: what p.log_prob says of each, with the mass on either side of each edge computed once."""
    edges = (2 * torch.arange(p.levels - 1, device=p.loc.device, dtype=p.loc.dtype) + 1) * p.half - 1
    precision = (-p.log_scale).exp()[..., None]
    z = (edges - p.loc[..., None]) * precision
    below, above = logsigmoid(z), logsigmoid(-z)
    # between edges a < b lies sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))
    inner = below[..., 1:] + above[..., :-1] + (-torch.expm1(-2 * p.half * precision)).log()
    return torch.cat((below[..., :1], inner, above[..., -1:]), dim=-1)
