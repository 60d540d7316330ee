"""MADE: an autoencoder whose weights are masked, so that each output sees only the inputs before it in an ordering.

Germain, Gregor, Murray and Larochelle, 2015. MADE: Masked Autoencoder for Distribution Estimation.
https://arxiv.org/abs/1502.03509

    h = relu(b + (W * M_W) v),    p(v_d = 1 | v_<d) = sigmoid(c_d + (V * M_V)_d h)

Every unit has a degree, the number of inputs that it may see. Inputs and outputs have their places in the ordering,
1 to D, hidden units any number below D. A unit sees those of the layer before that have no higher degree than itself;
an output, those of a lower one. Training may cycle through many orderings and degrees (order-agnostic and
connectivity-agnostic training): then one network is as many models, whose mixture is better than each, and as exact.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Bernoulli
from torch.nn import functional as F

from triptych import native
from triptych.core import (
    FAITHFUL,
    Adam,
    Autoregressive,
    Batch,
    Clock,
    Count,
    Exact,
    Images,
    Loss,
    Noise,
    Player,
    Preset,
    Sampling,
    Stage,
    UsageError,
    config,
    sized,
)
from triptych.core.sampling import from_sequence, to_sequence
from triptych.models.paper import Paper
from triptych.native.dense import draw_made

PAPER = Paper(
    called="MADE",
    title="MADE: Masked Autoencoder for Distribution Estimation",
    authors="Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle",
    year=2015,
    url="https://arxiv.org/abs/1502.03509",
    likelihood="exact",
)

MOST_DEGREES = 1 << 26
"""Numbers in all masks together: half a gigabyte."""


@config
class MADEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """What is modeled: images of two levels."""
    hidden: tuple[Count, ...] = (500,)
    """Units of each hidden layer."""
    direct: bool = False
    """Whether outputs also see the inputs before them directly."""
    masks: Annotated[int, Field(ge=1, le=4096)] = 1
    """Orderings, each with degrees of its own, that training cycles through. The first ordering is raster order."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine")

    def __post_init__(self) -> None:
        if self.x.levels != 2:
            raise UsageError(
                f"x.levels={self.x.levels}: MADE models pixels of two levels; binarize the images, "
                "or take pixelcnn, which models any number of levels"
            )
        if self.masks * (self.x.dims + sum(self.hidden)) > MOST_DEGREES:
            raise UsageError(f"masks={self.masks} of {list(self.hidden)} units are more than {MOST_DEGREES:,} degrees")


def degrees(inputs: int, hidden: Sequence[int], number: int) -> list[Int[Tensor, " units"]]:
    """The degrees of the inputs and of each hidden layer's units, for the mask of this number.

    Inputs: a random ordering. Hidden units: uniform from the lowest degree of the layer before (so that no unit is
    left without input) to D - 1. Mask 0 is in raster order, with the units of a layer sorted by degree.
    """
    random = np.random.Generator(np.random.Philox(key=number))
    out = [random.permutation(inputs) + 1 if number else np.arange(inputs) + 1]
    for units in hidden:
        out.append(random.integers(out[-1].min(), max(inputs, 2), units))
        if number == 0:
            out[-1].sort()
    return [torch.from_numpy(d).int() for d in out]


class MADE(Autoregressive[None]):
    """An exact likelihood of binary images, and samples from it. `log_prob`'s `masks` makes it a mixture."""

    name = "made"

    def __init__(self, config: MADEConfig) -> None:
        super().__init__()
        self.config, d = config, config.x.dims
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise((d, *config.hidden))])
        self.out = nn.Linear((d, *config.hidden)[-1], d)
        self.direct = nn.Linear(d, d, bias=False) if config.direct else None
        # kept with the weights, which are of no use without them: a row a mask
        for i, rows in enumerate(zip(*[degrees(d, config.hidden, k) for k in range(config.masks)], strict=True)):
            self.register_buffer(f"degrees{i}", torch.stack(rows))

    def degrees(self, mask: int) -> list[Int[Tensor, " units"]]:
        """m(k), the degrees that a mask is made of: of the inputs (and outputs), then of each hidden layer's units."""
        return [self.get_buffer(f"degrees{i}")[mask] for i in range(len(self.layers) + 1)]

    def hidden_layers(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def logits(self, x: Float[Tensor, "n c h w"], given: None = None, mask: int = 0) -> Float[Tensor, "n c h w 1"]:
        """The log-odds of each pixel given those before it in the ordering of a mask."""
        v, (place, *hidden) = to_sequence(self.config.x, x + 1) / 2, self.degrees(mask)
        h, before = v, place
        for layer, degree in zip(self.hidden_layers(), hidden, strict=True):
            h = F.linear(h, layer.weight * (degree[:, None] >= before), layer.bias).relu()
            before = degree
        out = F.linear(h, self.out.weight * (place[:, None] > before), self.out.bias)
        if self.direct is not None:
            out = out + F.linear(v, self.direct.weight * (place[:, None] > place))
        return from_sequence(self.config.x, out)[..., None]

    def forward(self, x: Float[Tensor, "n c h w"], mask: int = 0) -> Bernoulli:
        """p(v_d = 1 | v_<d) of each pixel in the ordering of a mask, all at once."""
        return Bernoulli(logits=self.logits(x, mask=mask).squeeze(-1), validate_args=False)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None, *, masks: int = 1) -> Exact:
        """log p(x) in raster order, or under the mixture of the first `masks` masks in equal parts.

        Samples are of the model in raster order. Raises UsageError if x is not on the two levels of its space, or for
        more masks than there are.
        """
        if not 1 <= masks <= self.config.masks:
            raise UsageError(f"masks={masks}: this model was made with {self.config.masks}")
        level = self.config.x.index(x).to(x.dtype)
        each = torch.stack([self(x, k).log_prob(level).flatten(1).sum(1) for k in range(masks)])
        return Exact(
            nats=each.logsumexp(0) - log(masks),
            dims=self.config.x.dims,
            measure="mass",
            how="chain rule" if masks == 1 else f"mixture of {masks} orderings",
        )

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """Pixel by pixel in raster order, each hidden unit once: as soon as all that it sees is known.

        Mask 0 has the units of a layer sorted by degree. So with i pixels known, the units of degree i are next, they
        see all units so far, and the weights between them are one piece of the matrix: the masks are not needed.
        """
        x = self.config.x
        u, level = to_sequence(x, noise.uniform(*x.shape)), to_sequence(x, how.start(x, noise)).contiguous()
        steps = torch.arange(x.dims, device=noise.device, dtype=torch.int)
        known = [torch.searchsorted(d, steps, right=True).tolist() for d in self.degrees(0)]
        """For each layer: how many units are known when i pixels are."""
        if native.plays(u, how):  # in C++ the same samples, sooner
            return x.from_index(from_sequence(x, draw_made(self, known[1:], u, level, how)))
        u, level = u.T, level.T.contiguous()
        layers, values = self.hidden_layers(), [self.out.weight.new_zeros(len(d), noise.n) for d in self.degrees(0)]
        for i in range(x.dims):
            for k, layer in enumerate(layers if i else ()):
                seen, due = values[k][: known[k][i]], slice(known[k + 1][i - 1], known[k + 1][i])
                if due.start < due.stop:
                    h = torch.addmm(layer.bias[due, None], layer.weight[due, : len(seen)], seen)
                    torch.clamp(h, min=0, out=values[k + 1][due])
            seen = values[-1][: known[-1][i]]
            logits = torch.addmm(self.out.bias[i], self.out.weight[i : i + 1, : len(seen)], seen)
            if self.direct is not None:
                logits.addmm_(self.direct.weight[i : i + 1, :i], values[0][:i])
            level[i] = how.fill(level[i], logits.T, u[i])
            values[0][i] = level[i]
        return x.from_index(from_sequence(x, level.T.contiguous()))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a pixel, in nats, with the mask whose turn it is."""
        p = self(batch.x, clock.step % self.config.masks)
        nats = -p.log_prob(self.config.x.index(batch.x).to(batch.x.dtype)).flatten(1).sum(1).mean()
        bits = nats / (self.config.x.dims * log(2))
        return Loss(nats / self.config.x.dims, {"nats": nats, "bits_per_dim": bits})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="made", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "made-mnist": Preset(
        config=MADEConfig(hidden=(1000, 1000), direct=True, adam=Adam(lr=1e-3, schedule="cosine")),
        steps=12_000,
        batch=128,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 14 minutes, 87.32 "
        "+- .23 nats on the 10,000 test images (exact). Most samples are digits, some of them strewn with gaps.",
    ),
    "made-mnist-paper": Preset(
        config=MADEConfig(hidden=(8000, 8000), direct=True, masks=32, adam=Adam(lr=1e-3, schedule="cosine")),
        steps=500_000,
        batch=100,
        expect="The paper's best model; not trained by us. The paper (Table 6), on MNIST binarized once and for all: "
        "86.64 nats for the mixture of 32 masks.",
    ),
    "made-tiny": Preset(
        config=MADEConfig(x=Images(1, 3, 3, levels=2), hidden=(16, 12)),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "made-tiny-masks": Preset(
        config=MADEConfig(x=Images(3, 1, 3, levels=2), hidden=(16,), direct=True, masks=3),
        steps=10,
        batch=8,
        expect="For tests of the order of colors, of direct connections and of several masks.",
    ),
}
PRESETS["made-small"] = sized(PRESETS["made-mnist"])
PRESETS["made-medium"] = sized(PRESETS["made-mnist"], steps=48_000)
PRESETS["made-paper"] = sized(PRESETS["made-mnist-paper"])
