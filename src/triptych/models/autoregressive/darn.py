"""DARN: layers of binary units, autoregressive within each layer, hidden or visible, trained as a code for x.

Gregor, Danihelka, Mnih, Blundell and Wierstra, 2013. Deep AutoRegressive Networks. https://arxiv.org/abs/1310.8499

    p(h_j = 1 | h_<j, above) = sigmoid(b_j + U_j above + W_j h_<j)        and so for the pixels of x
    q(h_j = 1 | below) = sigmoid(c_j + V_j below)

An encoder q describes x by hidden units h; sending h and then x costs -log p(x, h) nats, of which the choice of h gives
back -log q(h | x). The minimum description length is minus the evidence lower bound. Samples are exact: layer by layer
from the top, unit by unit within a layer.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import log
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Generative,
    Images,
    Loss,
    LowerBound,
    Noise,
    Player,
    Preset,
    Stage,
    UsageError,
    config,
    full,
    inverse_cdf,
    sized,
)
from triptych.core.sampling import from_sequence, to_sequence
from triptych.models.paper import Paper

PAPER = Paper(
    called="DARN",
    title="Deep AutoRegressive Networks",
    authors="Karol Gregor, Ivo Danihelka, Andriy Mnih, Charles Blundell, Daan Wierstra",
    year=2013,
    url="https://arxiv.org/abs/1310.8499",
    likelihood="lower bound",
)

Shape = torch.Size | list[int] | tuple[int, ...]


@config
class DARNConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """What is modeled: images of two levels."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (500,)
    """Units of each stochastic layer, from the one next to x to the top."""
    tanh: Annotated[int, Field(ge=0)] = 0
    """Units of a deterministic layer between each two stochastic ones, up and down; 0: none."""
    estimator: Literal["taylor", "reinforce"] = "taylor"
    """How the encoder learns: the paper's estimator, or the leave-one-out score function, which has no bias."""
    draws: Count = 1
    """Descriptions h of each image in a step; reinforce takes two or more."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")

    def __post_init__(self) -> None:
        if self.x.levels != 2:
            raise UsageError(
                f"x.levels={self.x.levels}: DARN models pixels of two levels; binarize the images, "
                "or take vae, which models any number of levels"
            )
        if self.estimator == "reinforce" and self.draws < 2:
            raise UsageError("draws=1: estimator=reinforce compares an image's draws with each other, set draws=2")


def bits(log_odds: Float[Tensor, "*batch"], u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Zeros and ones from uniform numbers."""
    return inverse_cdf(log_odds[..., None], u).to(log_odds.dtype)


class Taylor(Function):
    """Bits h from their log-odds a, with the paper's gradient.

    To move E f(h) by q = sigmoid(a), use (f(h) - baseline) d log q(h) / da. The baseline is f at 1/2 as its tangent at
    h has it, f(h) + f'(h) (1/2 - h), and that it is not the same for both h is neglected. There remains

        f'(h) (h - 1/2) d log q(h) / da = f'(h) (h - 1/2) (h - q)

    whose mean q (1 - q) (f'(0) + f'(1)) / 2 has the trapezoid rule for f(1) - f(0): right if f is quadratic in a bit.
    Gu et al. (2016; https://arxiv.org/abs/1511.05176) call it the 1/2-estimator.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        h = bits(a, u)
        ctx.save_for_backward(h, a)
        return h

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        h, a = ctx.saved_tensors
        return slope * (h - 0.5) * (h - a.sigmoid()), None


class LeaveOneOut(Function):
    """A code's mean length -log p(x, h) + log q(h | x) over draws of h, with the score function's gradient for q.

    Each draw's length is compared with the mean of the others', which does not depend on it: there is no bias.
    Kool, van Hoof and Welling, 2019. Buy 4 REINFORCE Samples, Get a Baseline for Free!
    https://openreview.net/forum?id=r1lgTGL5DE
    """

    @staticmethod
    def forward(ctx: Any, minus_log_p: Tensor, log_q: Tensor) -> Tensor:
        length = minus_log_p + log_q
        # (length - mean of the others) / draws
        ctx.save_for_backward((length - length.mean(0)) / (len(length) - 1))
        return length.mean(0)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        (advantage,) = ctx.saved_tensors
        return slope.expand_as(advantage) / len(advantage), slope * advantage


class Layer(Distribution):
    """p(v | above) of a layer's bits, each given those before it: log-odds a + W v, W strictly lower triangular."""

    arg_constraints = {}

    def __init__(self, a: Float[Tensor, "*batch size"], weight: Float[Tensor, "size size"]) -> None:
        self.a, self.weight = full(a), weight
        super().__init__(a.shape[:-1], a.shape[-1:], validate_args=False)

    def log_prob(self, value: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """Broadcasts over the batch. Differentiable in the bits, as the estimator asks."""
        a = self.a + F.linear(value, self.weight.tril(-1))
        # the threshold leaves softplus exact in float64, too
        return (value * a - F.softplus(a, threshold=40)).sum(-1)

    def icdf(self, value: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Uniforms -> bits, one by one; what bit j needs of those before it is one row of W."""
        a, u = (t.expand_as(value).flatten(0, -2).T for t in (self.a, value))
        v = torch.empty_like(a)
        for j in range(len(v)):
            v[j] = bits(torch.addmm(a[j : j + 1], self.weight[j : j + 1, :j], v[:j])[0], u[j])
        return v.T.reshape(value.shape)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.a.device))


class Pixels(Distribution):
    """A layer of bits as an image, on the scale of its space."""

    arg_constraints = {}

    def __init__(self, bits: Layer, x: Images) -> None:
        self.bits, self.x = bits, x
        super().__init__(bits.batch_shape, torch.Size(x.shape), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch"]:
        return self.bits.log_prob(to_sequence(self.x, value + 1) / 2)

    def icdf(self, value: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c h w"]:
        level = from_sequence(self.x, self.bits.icdf(to_sequence(self.x, value)).flatten(0, -2))
        return self.x.from_index(level).view(value.shape)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self.icdf(torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.bits.a.device))


class Chain(Distribution):
    """Layers of bits z = (h_1, ..., h_L), drawn one after another, each given the one drawn before it."""

    arg_constraints = {}

    def __init__(
        self, first: Tensor, links: Sequence[Callable[[Tensor], Distribution]], sizes: Sequence[int], *, down: bool
    ) -> None:
        self.first, self.links, self.sizes, self.way = first, links, list(sizes), -1 if down else 1
        super().__init__(first.shape[:-1], torch.Size([sum(sizes)]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*batch z"]) -> Float[Tensor, "*batch"]:
        layers = [self.first, *torch.split(value, self.sizes, -1)[:: self.way]]
        steps = zip(self.links, pairwise(layers), strict=True)
        return torch.stack([link(before).log_prob(h) for link, (before, h) in steps]).sum(0)

    def sample(self, sample_shape: Shape = ()) -> Float[Tensor, "*batch z"]:
        nearest, *others = self.links
        layers = [nearest(self.first).sample(sample_shape)]
        for link in others:
            layers.append(link(layers[-1]).sample())
        return torch.cat(layers[:: self.way], -1)


def coins(log_odds: Float[Tensor, "*batch size"]) -> Distribution:
    """Bits that are independent of each other."""
    return Independent(Bernoulli(logits=full(log_odds), validate_args=False), 1, validate_args=False)


def connect(inputs: int, outputs: int, tanh: int) -> nn.Module:
    """From one stochastic layer to the next, through a deterministic one if it has units."""
    if not tanh:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, tanh), nn.Tanh(), nn.Linear(tanh, outputs))


class DARN(Generative[None]):
    """Binary images through layers of bits: a bound on their likelihood, and exact samples."""

    name = "darn"

    def __init__(self, config: DARNConfig) -> None:
        super().__init__()
        self.config, sizes = config, (config.x.dims, *config.hidden)
        self.encoder = nn.ModuleList([connect(low, high, config.tanh) for low, high in pairwise(sizes)])
        self.decoder = nn.ModuleList([connect(high, low, config.tanh) for low, high in pairwise(sizes)])
        self.top = nn.Parameter(torch.zeros(sizes[-1]))
        self.within = nn.ParameterList([torch.zeros(size, size) for size in sizes])

    def down(self, layer: int, above: Float[Tensor, "*batch above"]) -> Layer:
        """p(h_layer | the layer above), h_0 being the pixels."""
        return Layer(self.decoder[layer](above), self.within[layer])

    def prior(self, given: None = None) -> Chain:
        """p(z), z being all stochastic layers, h_1 first."""
        below = [partial(self.down, layer) for layer in reversed(range(1, len(self.config.hidden)))]
        return Chain(self.top, [partial(Layer, weight=self.within[-1]), *below], self.config.hidden, down=True)

    def encode(self, x: Float[Tensor, "n c h w"], given: None = None) -> Chain:
        """q(z | x)"""
        links = [lambda below, link=link: coins(link(below)) for link in self.encoder]
        return Chain(to_sequence(self.config.x, x + 1) / 2, links, self.config.hidden, down=False)

    def decode(self, z: Float[Tensor, "... z"], given: None = None) -> Pixels:
        """p(x | z), over images; only h_1 matters."""
        return Pixels(self.down(0, z[..., : self.config.hidden[0]]), self.config.x)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        """Layer by layer from the top, bit by bit within a layer."""
        h = self.top.expand(noise.n, -1)
        for link, size in zip(self.prior().links, reversed(self.config.hidden), strict=True):
            h = link(h).icdf(noise.uniform(size))
        return self.decode(h).icdf(noise.uniform(*self.config.x.shape))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """The description length of x, in nats: -log p(x, h) + log q(h | x), on average over q.

        With the Taylor estimator, q's entropy is taken in closed form, given the layer below.
        """
        taylor = self.config.estimator == "taylor"
        z, log_q, h = [], [], to_sequence(self.config.x, batch.x + 1) / 2
        u = batch.noise.uniform(self.config.draws, sum(self.config.hidden)).movedim(1, 0)
        for link, part in zip(self.encoder, torch.split(u, self.config.hidden, -1), strict=True):
            a = link(h).expand_as(part)
            h = Taylor.apply(a, part) if taylor else bits(a, part)  # type: ignore[no-untyped-call]
            log_q.append(-coins(a).entropy() if taylor else coins(a).log_prob(h))
            z.append(h)
        distortion = -self.decode(z[0]).log_prob(batch.x)
        minus_log_p = distortion - self.prior().log_prob(torch.cat(z, -1))
        total = torch.stack(log_q).sum(0)
        length = minus_log_p + total if taylor else LeaveOneOut.apply(minus_log_p, total)  # type: ignore[no-untyped-call]
        nats = length.mean()
        return Loss(nats, {"distortion": distortion.mean(), "rate": nats - distortion.mean()})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, draws: int = 1) -> LowerBound:
        """A lower bound on log p(x): minus the description length, or for more draws of h a tighter bound.

        That is the mean of p(x, h) / q(h | x) under the logarithm (Burda et al., 2015, Equation 8;
        https://arxiv.org/abs/1509.00519). Draws come from torch's global generator. Raises UsageError if x is not on
        the two levels of its space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        q, p = self.encode(x), self.prior()
        total = x.new_full((len(x),), -torch.inf)
        at_once = max(1, 2**24 // max(1, x.numel()))  # keeps the log-odds of all pixels within 64 MB
        for first in range(0, draws, at_once):
            z = q.sample((min(at_once, draws - first),))
            log_w = self.decode(z).log_prob(x) + p.log_prob(z) - q.log_prob(z)
            total = torch.logaddexp(total, log_w.logsumexp(0))
        how = "ELBO, 1 draw" if draws == 1 else f"IWAE bound, {draws} draws"
        return LowerBound(nats=total - log(draws), dims=self.config.x.dims, measure="mass", how=how)

    def stages(self) -> Sequence[Stage]:
        player = Player(name="darn", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "darn-mnist": Preset(
        config=DARNConfig(adam=Adam(lr=1e-3, schedule="cosine")),
        steps=15_000,
        batch=128,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 8 minutes, at most "
        "95.11 +- .23 nats (bound) on the 10,000 test images, 92.9 by importance sampling with 200 draws (1,000). "
        "Many samples are digits, others strokes.",
    ),
    "darn-mnist-paper": Preset(
        config=DARNConfig(adam=Adam(lr=3e-4, schedule="cosine")),
        steps=500_000,
        batch=100,
        expect="The paper's model of MNIST, 500 hidden units; not trained by us. The paper, on MNIST binarized once "
        "and for all, estimated from many draws: 84.71 nats, and 84.13 with adaptive weight noise, which is not here.",
    ),
    "darn-tiny": Preset(
        config=DARNConfig(x=Images(1, 2, 3, levels=2), hidden=(4,)),
        steps=10,
        batch=8,
        expect="For tests: the hidden units can be summed out.",
    ),
    "darn-tiny-deep": Preset(
        config=DARNConfig(x=Images(3, 1, 2, levels=2), hidden=(3, 2), tanh=4, estimator="reinforce", draws=2),
        steps=10,
        batch=8,
        expect="For tests of two stochastic layers, of deterministic layers and of the other estimator.",
    ),
}
PRESETS["darn-small"] = sized(PRESETS["darn-mnist"])
PRESETS["darn-medium"] = sized(PRESETS["darn-mnist"], steps=60_000)
PRESETS["darn-paper"] = sized(PRESETS["darn-mnist-paper"])
