"""PixelSNAIL: p(x) pixel by pixel, from causal convolutions near by and causal attention to everything before.

Chen, Mishra, Rohaninejad and Abbeel, 2018. PixelSNAIL: An Improved Autoregressive Generative Model.
https://arxiv.org/abs/1712.09763

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})

in raster order. Each block has gated residual layers with 2 x 2 convolutions that see above and to the left (after
PixelCNN++), and then lets every pixel attend to all pixels before it, wherever they are: strictly before, so that the
first attends to nothing and gets zeros (Section 2, Figure 2). The authors' networks end in a mixture of logistics; here
each sub-pixel has a softmax over its levels, or a Bernoulli, and colors are chained exactly: green's scores see red,
blue's see red and green, through masked 1 x 1 layers.

An image here is [n, height, width, channels] from the first layer to the last.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical
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
    Fraction,
    Images,
    Loss,
    Noise,
    Player,
    Preset,
    Sampling,
    Stage,
    config,
    full,
    sized,
)
from triptych.models.paper import Paper
from triptych.native.pixelsnail import draw_pixelsnail
from triptych.nn.folded import FoldedConv, frozen
from triptych.nn.masked import MaskedConv2d

PAPER = Paper(
    called="PixelSNAIL",
    title="PixelSNAIL: An Improved Autoregressive Generative Model",
    authors="Xi Chen, Nikhil Mishra, Mostafa Rohaninejad, Pieter Abbeel",
    year=2017,
    url="https://arxiv.org/abs/1712.09763",
    likelihood="exact",
)


@config
class PixelSNAILConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """Two levels make each factor a Bernoulli, more a softmax over the levels."""
    width: Count = 64
    """Feature maps: 256 in the paper."""
    blocks: Count = 2
    """Each ends with an attention: 12 in the paper."""
    layers: Count = 4
    """Gated residual layers in a block."""
    keys: Count = 16
    """Numbers in a query, and in what it is compared with."""
    values: Count = 32
    """Numbers that attention brings from elsewhere: 128 in the paper."""
    head: Count = 64
    """Feature maps for each color before the output."""
    dropout: Fraction = 0.0
    """In each gated layer: 0.5 in the paper."""
    adam: Adam = Adam(lr=1e-3)


def concat_elu(x: Float[Tensor, "*n k"]) -> Float[Tensor, "*n 2*k"]:
    """elu(x) and elu(-x), as concatenated ReLUs: no input is lost."""
    return F.elu(torch.cat((x, -x), -1))


def conv(
    layer: Callable[[Tensor], Tensor], x: Float[Tensor, "n h w k"], left: int, right: int, above: int
) -> Float[Tensor, "n h w k"]:
    """A convolution of an image, padded by so many zeros."""
    return layer(F.pad(x, (0, 0, left, right, above, 0)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Causal(nn.Conv2d):
    """A 2 x 2 convolution that sees a pixel and those above, to the left, and above to the left of it."""

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 2)

    def forward(self, x: Float[Tensor, "n h w inputs"]) -> Float[Tensor, "n h w outputs"]:
        return conv(super().forward, x, left=1, right=0, above=1)


class Gated(nn.Module):
    """A gated residual layer of PixelCNN++: x + a * sigmoid(b), with 2 x 2 (`Causal`) or 1 x 1 (`Linear`) convolutions.

    `extra` feature maps from elsewhere may join halfway.
    """

    first: Causal | nn.Linear
    second: Causal | nn.Linear

    def __init__(self, layer: type[Causal] | type[nn.Linear], width: int, dropout: float, extra: int = 0) -> None:
        super().__init__()
        self.first, self.second = layer(2 * width, width), layer(2 * width, 2 * width)
        self.extra = nn.Linear(2 * extra, width, bias=False) if extra else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*n width"], extra: Float[Tensor, "*n extra"] | None = None) -> Tensor:
        between = self.first(concat_elu(x))
        if self.extra is not None and extra is not None:
            between = between + self.extra(concat_elu(extra))
        a, b = self.second(self.dropout(concat_elu(between))).chunk(2, -1)
        return x + a * b.sigmoid()


class Block(nn.Module):
    """Gated layers, then attention (Figure 2, right)."""

    def __init__(self, config: PixelSNAILConfig) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.near = nn.Sequential(*[Gated(Causal, width, dropout) for _ in range(config.layers)])
        asked, offered = width + 2, config.x.channels + width + 2
        self.asking = nn.Sequential(Gated(nn.Linear, asked, dropout), nn.Linear(asked, config.keys))
        self.offering = nn.Sequential(
            Gated(nn.Linear, offered, dropout), nn.Linear(offered, config.keys + config.values)
        )
        self.split = (config.keys, config.values)
        self.mix = Gated(nn.Linear, width, dropout, extra=config.values)

    def forward(
        self, h: Float[Tensor, "n h w width"], x: Float[Tensor, "n h w c"], where: Float[Tensor, "n h w 2"]
    ) -> Float[Tensor, "n h w width"]:
        h = self.near(h)
        query = self.asking(torch.cat((h, where), -1)).flatten(1, 2)
        key, value = self.offering(torch.cat((x, h, where), -1)).flatten(1, 2).split(self.split, -1)
        return self.mix(h, attend_before(query, key, value).view(*h.shape[:3], -1))


def attend_before(
    query: Float[Tensor, "n pixels keys"], key: Float[Tensor, "n pixels keys"], value: Float[Tensor, "n pixels values"]
) -> Float[Tensor, "n pixels values"]:
    """Causal attention of each pixel over those strictly before it; zeros for the first (Equation 2).

    From the second pixel on, each attends to the first up to the one before it: so no softmax is empty.
    """
    seen = F.scaled_dot_product_attention(query[:, 1:], key[:, :-1], value[:, :-1], is_causal=True)
    return F.pad(seen, (0, 0, 1, 0))


class PixelSNAIL(Autoregressive[None]):
    """An exact likelihood of images on a grid of levels, and samples from it."""

    name = "pixelsnail"
    where: Tensor

    def __init__(self, config: PixelSNAILConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        self.scores = 1 if x.levels == 2 else x.levels
        # The row above, and the pixel to the left with the one above that. A channel of ones shows where the image ends
        self.above = nn.Conv2d(x.channels + 1, config.width, (1, 3))
        self.left = nn.Conv2d(x.channels + 1, config.width, (2, 1))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        # For every color its own features, from those of the pixel and from the colors before it
        self.head = nn.Linear(config.width, x.channels * config.head)
        self.earlier = MaskedConv2d(x.channels, x.channels * config.head, 1, "A", colors=x.channels)
        self.out = MaskedConv2d(x.channels * config.head, x.channels * self.scores, 1, "B", colors=x.channels)
        rows, columns = (torch.arange(side) / side - 0.5 for side in (x.height, x.width))
        self.register_buffer("where", torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1), persistent=False)

    def first(self, x: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w width"]:
        """What is read of x: at every pixel the three above it and the one to its left."""
        x = F.pad(x, (0, 1), value=1.0)
        above = conv(self.above, x[:, :-1], left=1, right=1, above=1)
        return above + conv(self.left, x[:, :, :-1], left=1, right=0, above=1)

    def scores_of(self, h: Float[Tensor, "*n width"], x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c k"]:
        """The scores of each color of a pixel, given its features and the colors before."""
        seen = F.linear(x, self.earlier.kernel.flatten(1), self.earlier.bias)
        own = F.elu(self.head(F.elu(h)) + seen)
        scores = F.linear(own, self.out.kernel.flatten(1), self.out.bias)
        return scores.reshape(*x.shape, self.scores)

    def logits(self, x: Float[Tensor, "n c h w"], given: None = None) -> Float[Tensor, "n c h w k"]:
        """The network: the scores of each sub-pixel's levels; for two levels their log-odds (k = 1)."""
        x = x.permute(0, 2, 3, 1)
        h, where = self.first(x), self.where.expand(len(x), -1, -1, -1)
        for block in self.blocks:
            h = block(h, x, where)
        return self.scores_of(h, x).permute(0, 3, 1, 2, 4)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Bernoulli | Categorical:
        """p(x_i | x_1, ..., x_{i-1}) over the level of each sub-pixel i, all at once."""
        logits = self.logits(x)
        if self.config.x.levels == 2:
            return Bernoulli(logits=logits.squeeze(-1), validate_args=False)
        return Categorical(logits=full(logits), validate_args=False)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None) -> Exact:
        """log p(x). Raises UsageError if x is not on the levels of its space."""
        level = self.config.x.index(x)
        nats = self(x).log_prob(level.to(x.dtype)).flatten(1).sum(1)
        return Exact(nats=nats, dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """The network again, only at the pixel that is due (see `Walk`)."""
        x, n = self.config.x, noise.n
        u, level = noise.uniform(*x.shape), how.start(x, noise)
        if native.plays(u, how):  # in C++ the same samples, sooner
            return x.from_index(draw_pixelsnail(self, u, level, how))
        u, level, net = u.permute(2, 3, 0, 1), level.permute(2, 3, 0, 1).contiguous(), frozen(self)
        drawn = net.where.new_zeros(n, x.height, x.width, x.channels)
        walks = [Walk(block, net.where, n) for block in net.blocks if isinstance(block, Block)]
        left = net.left.weight[:, : x.channels, 1, 0].t()
        for i in range(x.height):
            # All that the first layer sees of the row above, and of its own row but for the pixel on the left
            read = net.first(drawn[:, max(0, i - 1) : i + 1])[:, -1]
            for j in range(x.width):
                h, pixel = read[:, j], drawn[:, i, j]
                if j:
                    h = torch.addmm(h, drawn[:, i, j - 1], left)
                for walk in walks:
                    h = walk(h)
                for color in range(x.channels):
                    logits = net.scores_of(h, pixel)[:, color]
                    level[i, j, :, color] = how.fill(level[i, j, :, color], logits, u[i, j, :, color])
                    pixel[:, color] = x.from_index(level[i, j, :, color])
                for walk in walks:
                    walk.offer(pixel)
        return x.from_index(level.permute(2, 3, 0, 1))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a sub-pixel, in nats: maximum likelihood."""
        p = self.log_prob(batch.x)
        nats = -p.nats.mean()
        return Loss(nats / p.dims, {"nats": nats, "bits_per_dim": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="pixelsnail", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


class Walk:
    """A block, pixel by pixel: its convolutions remember a row, its attention the keys and values of all pixels.

    For each pixel in raster order: call with its features, then `offer` its value to the pixels after it.
    """

    def __init__(self, block: Block, where: Float[Tensor, "h w 2"], n: int) -> None:
        self.block, self.t = block, 0
        self.where = where.flatten(0, 1)[:, None].expand(-1, n, -1)
        pixels, width = where.shape[0] * where.shape[1], where.shape[1]
        layers = [layer for layer in block.near if isinstance(layer, Gated)]
        self.near = [
            tuple(FoldedConv(conv.weight, conv.bias, width, n) for conv in (layer.first, layer.second))
            for layer in layers
        ]
        keys, values = block.split
        self.keys, self.values = where.new_empty(n, keys, pixels), where.new_zeros(n, pixels, values)

    def __call__(self, h: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        t = self.t
        for first, second in self.near:
            write_concat_elu(h, first.here(t))
            write_concat_elu(first(t), second.here(t))
            a, b = second(t).chunk(2, 1)
            h = torch.addcmul(h, a, b.sigmoid_())
        self.h = h
        query = self.block.asking(torch.cat((h, self.where[t]), 1))
        if t == 0:
            return self.block.mix(h, self.values[:, 0])
        weight = torch.bmm(query[:, None], self.keys[..., :t]).mul_(query.shape[1] ** -0.5).softmax(-1)
        return self.block.mix(h, torch.bmm(weight, self.values[:, :t])[:, 0])

    def offer(self, x: Float[Tensor, "n c"]) -> None:
        """Appends this pixel's key and value, which know the pixel itself: later queries attend to them."""
        offered = self.block.offering(torch.cat((x, self.h, self.where[self.t]), 1))
        self.keys[..., self.t], self.values[:, self.t] = offered.split(self.block.split, 1)
        self.t += 1


def write_concat_elu(x: Float[Tensor, "n k"], out: Float[Tensor, "n 2*k"]) -> None:
    positive, negative = out.chunk(2, 1)
    positive.copy_(x)
    torch.neg(x, out=negative)
    F.elu(out, inplace=True)


PRESETS = {
    "pixelsnail-mnist": Preset(
        config=PixelSNAILConfig(
            width=32, blocks=2, layers=3, values=16, head=32, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02)
        ),
        steps=2200,
        batch=4,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 9 minutes, which "
        "are too few: 90.71 +- .22 nats on the 10,000 test images (exact); strokes, and some digits.",
    ),
    "pixelsnail-cifar": Preset(
        config=PixelSNAILConfig(
            x=Images(3, 32, 32), width=256, blocks=12, values=128, head=256, dropout=0.5, adam=Adam(lr=1e-4)
        ),
        steps=500_000,
        batch=32,
        expect="The paper's CIFAR-10 network (Section 3), but for its mixture of logistics; not trained by us. The "
        "paper: 2.85 bits/dim.",
    ),
    "pixelsnail-tiny": Preset(
        config=PixelSNAILConfig(
            x=Images(1, 3, 3, levels=2), width=6, blocks=2, layers=1, keys=3, values=4, head=6, dropout=0.1
        ),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "pixelsnail-tiny-rgb": Preset(
        config=PixelSNAILConfig(x=Images(3, 2, 1, levels=3), width=6, blocks=1, layers=1, keys=3, values=4, head=6),
        steps=10,
        batch=8,
        expect="For tests of the colors: all 729 images can be enumerated.",
    ),
}
PRESETS["pixelsnail-small"] = sized(PRESETS["pixelsnail-mnist"])
PRESETS["pixelsnail-medium"] = sized(PRESETS["pixelsnail-cifar"])
PRESETS["pixelsnail-paper"] = sized(PRESETS["pixelsnail-cifar"])
