"""PixelCNN++: a PixelCNN whose factors are mixtures of logistics, with short cuts through smaller resolutions.

Salimans, Karpathy, Chen and Kingma, 2017. PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
Likelihood and Other Modifications. https://arxiv.org/abs/1701.05517

    P(x | pi, mu, s) = sum_k pi_k [sigmoid((x + 0.5 - mu_k) / s_k) - sigmoid((x - 0.5 - mu_k) / s_k)]    (Equation 2)

on the scale of 0 to 255, for whole pixels: within a pixel the colors depend on one another through the mixture alone
(`losses.mixture`), so that the network knows no colors. It is made of two streams: one sees the rows above, one also
what lies to the left; both by shifted convolutions, without masks. Two strided layers, and two back, give a wide view
cheaply; short cuts carry across what is lost by them. Samples and likelihoods come from an average of the weights.

Left out: weight normalization with data-dependent initialization, which changes how fast the network learns, not what
it can represent.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
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
    Label,
    Labels,
    Loss,
    Noise,
    Player,
    Preset,
    Sampling,
    Stage,
    config,
    sized,
    unchanged,
)
from triptych.losses.mixture import LogisticMixture, parameters_of
from triptych.models.paper import Paper
from triptych.native.pixelcnn_pp import draw_pixelcnn_pp
from triptych.nn.ema import EMA
from triptych.nn.incremental import PixelConv, RowConv

PAPER = Paper(
    called="PixelCNN++",
    title=("PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications"),
    authors="Tim Salimans, Andrej Karpathy, Xi Chen, Diederik P. Kingma",
    year=2017,
    url="https://arxiv.org/abs/1701.05517",
    conditions="none or label",
    likelihood="exact",
)


@config
class PixelCNNPPConfig:
    x: Images = Images(3, 32, 32)
    """Images of any size."""
    given: Labels | None = None
    """The classes, if images are drawn by class."""
    width: Count = 64
    """Feature maps of either stream."""
    blocks: Count = 2
    """Gated residual blocks at each resolution, down and up again: 5 in the paper."""
    halvings: Annotated[int, Field(ge=0, le=24)] = 2
    """How often the resolution is halved."""
    components: Count = 5
    """Logistics a mixture."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The share of a block's hidden features that is left out in training."""
    ema: Fraction = 0.9995
    """Decay of the average of the weights that samples and likelihoods come from; 0: the weights themselves."""
    adam: Adam = Adam(lr=1e-3)


class Down(nn.Conv2d):
    """A shifted convolution of 2 x 3: a pixel with its two neighbors, and the three pixels above these."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, (2, 3), stride, padding=1)

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs h2 w2"]:
        return super().forward(x)[:, :, : x.shape[2] // self.stride[0]]  # padding below is cut off again


class DownRight(nn.Conv2d):
    """A shifted convolution of 2 x 2: the pixel, the ones to its left and above it, and the one between these."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 2, stride, padding=1)

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs h2 w2"]:
        return super().forward(x)[:, :, : x.shape[2] // self.stride[0], : x.shape[3] // self.stride[1]]


def concat_elu(x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n 2c ..."]:
    """ELU of x and of -x."""
    return F.elu(torch.cat((x, -x), dim=1))


class GatedBlock(nn.Module):
    """A residual block with a gate, told by any number of other features (`short cuts`), and by the class."""

    def __init__(self, c: PixelCNNPPConfig, conv: type[Down] | type[DownRight], others: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(2 * c.width, c.width), conv(2 * c.width, 2 * c.width)
        nn.init.xavier_normal_(self.conv2.weight, gain=0.1)  # so that a deep network begins close to the identity
        self.told = nn.ModuleList(nn.Conv2d(2 * c.width, c.width, 1, bias=False) for _ in range(others))
        self.dropout = nn.Dropout(c.dropout)
        if c.given is not None:
            self.label = nn.Embedding(c.given.classes, 2 * c.width)
            nn.init.normal_(self.label.weight, std=0.05)

    def of(self, given: Label | None) -> Float[Tensor, "n 2c 1 1"] | float:
        """What the class adds before the gate."""
        return 0.0 if given is None else self.label(given.y)[:, :, None, None]

    def forward(
        self, x: Float[Tensor, "n c h w"], *others: Float[Tensor, "n c h w"], given: Label | None
    ) -> Float[Tensor, "n c h w"]:
        return self.combine(self.conv1, self.conv2, self.of(given), x, *others)

    def combine(
        self,
        conv1: Callable[[Tensor], Tensor],
        conv2: Callable[[Tensor], Tensor],
        of: Tensor | float,
        *features: Tensor,
    ) -> Tensor:
        """The block, with its convolutions evaluated in one way or another."""
        x, *others = features
        y = conv1(concat_elu(x))
        for told, other in zip(self.told, others, strict=True):
            y = y + told(concat_elu(other))
        a, b = (conv2(self.dropout(concat_elu(y))) + of).chunk(2, dim=1)
        return x + a * b.sigmoid()


class Scale(nn.Module):
    """One resolution of both streams and, inside it, the smaller ones: blocks down, half the size and back, blocks up.

    u is the stream that sees the rows above; v sees the left as well, and is told by u.
    """

    def __init__(self, c: PixelCNNPPConfig, halvings: int) -> None:
        super().__init__()
        more = c.blocks + (halvings > 0)  # the input of each resolution is a short cut, too
        self.down_u = nn.ModuleList(GatedBlock(c, Down, 0) for _ in range(c.blocks))
        self.down_v = nn.ModuleList(GatedBlock(c, DownRight, 1) for _ in range(c.blocks))
        self.up_u = nn.ModuleList(GatedBlock(c, Down, 1) for _ in range(more))
        self.up_v = nn.ModuleList(GatedBlock(c, DownRight, 2) for _ in range(more))
        self.inner = Scale(c, halvings - 1) if halvings else None
        if halvings:
            self.shrink_u, self.shrink_v = Down(c.width, c.width, 2), DownRight(c.width, c.width, 2)
            self.grow_u = nn.ConvTranspose2d(c.width, c.width, (2, 3), 2, padding=(0, 1), output_padding=(0, 1))
            self.grow_v = nn.ConvTranspose2d(c.width, c.width, 2, 2)

    def forward(
        self, u: Float[Tensor, "n c h w"], v: Float[Tensor, "n c h w"], given: Label | None
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
        us, vs = [u], [v]
        for block_u, block_v in zip(self.down_u, self.down_v, strict=True):
            us.append(block_u(us[-1], given=given))
            vs.append(block_v(vs[-1], us[-1], given=given))
        if self.inner:
            u, v = self.inner(self.shrink_u(us[-1]), self.shrink_v(vs[-1]), given)
            u, v = self.grow_u(u), self.grow_v(v)
        else:
            u, v = us.pop(), vs.pop()
        for block_u, block_v in zip(self.up_u, self.up_v, strict=True):
            u = block_u(u, us.pop(), given=given)
            v = block_v(v, u, vs.pop(), given=given)
        return u, v


class Network(nn.Module):
    """Images to the parameters of a mixture at each pixel."""

    def __init__(self, c: PixelCNNPPConfig) -> None:
        super().__init__()
        self.unit = 2**c.halvings
        inputs = c.x.channels + 1  # a channel of ones tells the image from the padding around it
        self.first_u = nn.Conv2d(inputs, c.width, (2, 3), padding=(2, 1))
        self.above = nn.Conv2d(inputs, c.width, (1, 3), padding=1)
        self.left = nn.Conv2d(inputs, c.width, 1, padding=(0, 1), bias=False)
        self.scale = Scale(c, c.halvings)
        self.out = nn.Conv2d(c.width, parameters_of(c.x.channels, c.components), 1)

    def padded(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c+1 h2 w2"]:
        """With the ones, and zeros below and to the right, up to a size that can be halved."""
        return F.pad(F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0), (0, -x.shape[3] % self.unit, 0, -x.shape[2] % self.unit))

    def forward(self, x: Float[Tensor, "n c h w"], given: Label | None) -> Float[Tensor, "n parameters h w"]:
        wide = self.padded(x).contiguous(memory_format=torch.channels_last)
        h, w = wide.shape[2:]
        # cut off at the far ends, these are shifted down by a row, down by a row, and to the right by a pixel
        u = self.first_u(wide)[:, :, :h]
        v = self.above(wide)[:, :, :h] + self.left(wide)[..., :w]
        _, v = self.scale(u, v, given)
        found: Tensor = self.out(F.elu(v))[:, :, : x.shape[2], : x.shape[3]]
        return found


class PixelCNNPP(Autoregressive[Label | None]):
    """An exact likelihood of images on a grid of levels, by class or not, and samples from it."""

    name = "pixelcnn-pp"

    def __init__(self, config: PixelCNNPPConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Network(config)
        self.average = EMA(self.network, config.ema)

    @property
    def active(self) -> Network:
        """The network in training, its average otherwise."""
        return self.average.unless_training(self.network)

    def forward(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> LogisticMixture:
        """p(pixel | earlier pixels) at each pixel, all at once."""
        return LogisticMixture(self.active(x, given), self.config.x.channels, self.config.x.levels)

    def logits(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Float[Tensor, "n c h w levels"]:
        """log P of each level of each sub-pixel, given the earlier ones."""
        p = self(x, given)
        return torch.stack([p.logits(channel, x) for channel in range(self.config.x.channels)], dim=1)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Exact:
        """log p(x). Raises UsageError if x is not on the levels of its space."""
        level = self.config.x.index(x)
        x = 2 * level.to(x.dtype) / (self.config.x.levels - 1) - 1  # free of rounding, so that bins meet at their edges
        nats = self(x, given).log_prob(x).flatten(1).sum(1)
        return Exact(nats=nats, dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: Label | None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """The network again, one stream row by row, the other pixel by pixel (`nn.incremental`)."""
        x, n = self.config.x, noise.n
        u, level = noise.uniform(*x.shape), how.start(x, noise)
        if native.plays(u, how):  # in C++ the same samples, sooner
            return x.from_index(draw_pixelcnn_pp(self, u, level, given, how))
        u, level = u.permute(2, 3, 1, 0), level.permute(2, 3, 1, 0).contiguous()
        sampler = CachedNetwork(self.active, n, x, given)
        row = None
        for i in range(x.height):
            sampler.row(row)
            for j in range(x.width):
                parameters = sampler.pixel(j)
                p, pixel = LogisticMixture(parameters, x.channels, x.levels), parameters.new_zeros(n, x.channels)
                for channel in range(x.channels):
                    due = how.fill(level[i, j, channel], p.logits(channel, pixel), u[i, j, channel])
                    level[i, j, channel] = due
                    pixel[:, channel] = x.from_index(due)
                sampler.put(j, pixel)
            row = x.from_index(level[i].permute(2, 1, 0)[:, :, None])
        return x.from_index(level.permute(3, 2, 0, 1))

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(x) a sub-pixel, in nats."""
        p = self.log_prob(batch.x, batch.given)
        nats = -p.nats.mean()
        return Loss(nats / p.dims, {"nats": nats, "bits_per_dim": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        follow = partial(self.average.update, self.network)
        player = Player(
            name="pixelcnn-pp", owns=self.network, loss=self.loss, optimizer=self.config.adam, project=follow
        )
        return [Stage(name="train", players=[player])]


# Sampling. Row i of u needs the image's rows before i. At a pixel, v reads u of its own row, and v above and to the
# left. A halved resolution's pixel (i, j) belongs to pixel (2 i, 2 j), and gives to all four pixels from there on.


class RowBlock:
    """A block of u, for n images that are being drawn, row by row."""

    def __init__(self, block: GatedBlock, n: int, width: int, given: Label | None) -> None:
        self.block, self.label = block, block.of(given)
        self.conv1, self.conv2 = RowConv(block.conv1, n, width), RowConv(block.conv2, n, width)

    def __call__(self, u: Float[Tensor, "n c 1 w"], *others: Float[Tensor, "n c 1 w"]) -> Float[Tensor, "n c 1 w"]:
        return self.block.combine(self.conv1, self.conv2, self.label, u, *others)


class PixelBlock:
    """A block of v, for n images that are being drawn, pixel by pixel."""

    def __init__(self, block: GatedBlock, n: int, width: int, given: Label | None) -> None:
        convs = (block.conv1, block.conv2)
        self.above1, self.above2 = (conv.weight[:, :, 0] for conv in convs)
        self.own1, self.own2 = (PixelConv(conv.weight[:, :, 1], conv.bias, n, width) for conv in convs)
        # of the features that tell it something, the first are those of u, which come for a whole row
        weights = [told.weight[..., 0, 0].T for told in block.told if isinstance(told, nn.Conv2d)]
        self.from_u, self.from_v = weights[0], weights[1:]
        label = block.of(given)
        self.label = label if isinstance(label, float) else label.flatten(1)[:, None]

    def row(self, u: Float[Tensor, "n c 1 w"]) -> None:
        """Begins a row: what u, the row above and the class add, at each column."""
        self.add1 = (self.own1.above(self.above1) + concat_elu(u)[:, :, 0].mT @ self.from_u).unbind(1)
        self.add2 = (self.own2.above(self.above2) + self.label).unbind(1)

    def __call__(self, column: int, v: Float[Tensor, "n c"], *others: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        add = self.add1[column]
        for told, other in zip(self.from_v, others, strict=True):
            add = torch.addmm(add, concat_elu(other), told)
        self.own1.here[0][column].copy_(concat_elu(v))
        self.own2.here[0][column].copy_(concat_elu(self.own1(0, column, add)))
        a, b = self.own2(0, column, self.add2[column]).chunk(2, dim=1)
        return torch.addcmul(v, a, b.sigmoid())


class CachedScale:
    """A resolution, and the smaller ones, for n images that are being drawn."""

    def __init__(self, scale: Scale, n: int, width: int, given: Label | None) -> None:
        def cached(us: nn.ModuleList, vs: nn.ModuleList) -> list[tuple[RowBlock, PixelBlock]]:
            rows = [RowBlock(block, n, width, given) for block in us if isinstance(block, GatedBlock)]
            pixels = [PixelBlock(block, n, width, given) for block in vs if isinstance(block, GatedBlock)]
            return list(zip(rows, pixels, strict=True))

        self.scale, self.i = scale, -1
        self.down, self.up = cached(scale.down_u, scale.down_v), cached(scale.up_u, scale.up_v)
        self.inner = CachedScale(scale.inner, n, width // 2, given) if scale.inner else None
        if self.inner:
            self.shrink_u = RowConv(scale.shrink_u, n, width)
            self.shrink_v = PixelConv(scale.shrink_v.weight[:, :, 1], scale.shrink_v.bias, n, width)
            self.grown_u: tuple[Tensor, ...] = ()
            self.grown_v = scale.grow_v.weight.new_empty(2, width, n, scale.grow_v.out_channels)
            """What two rows get back from the smaller resolution."""

    def row(self, u: Float[Tensor, "n c 1 w"]) -> Float[Tensor, "n c 1 w"]:
        """Begins a row: u, and what it tells v. The smaller resolution begins one with every other."""
        self.i += 1
        us = [u]
        for block_u, block_v in self.down:
            us.append(block_u(us[-1]))
            block_v.row(us[-1])
        if self.inner is None:
            u = us.pop()
        elif self.i % 2:
            self.shrink_u.take(us[-1])
            u = self.grown_u[1]
        else:
            self.add = self.shrink_v.above(self.scale.shrink_v.weight[:, :, 0]).unbind(1)
            self.grown_u = self.scale.grow_u(self.inner.row(self.shrink_u(us[-1]))).split(1, dim=2)
            u = self.grown_u[0]
        for block_u, block_v in self.up:
            u = block_u(u, us.pop())
            block_v.row(u)
        return u

    def pixel(self, j: int, v: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """v at column j of the row that began last."""
        vs = [v]
        for _, block in self.down:
            vs.append(block(j, vs[-1]))
        if self.inner is None:
            v = vs.pop()
        else:
            self.shrink_v.here[0][j].copy_(vs[-1])
            if self.i % 2 == j % 2 == 0:
                small = self.inner.pixel(j // 2, self.shrink_v(0, j, self.add[j]))
                self.grown_v[:, j : j + 2] = self.scale.grow_v(small[:, :, None, None]).permute(2, 3, 0, 1)
            v = self.grown_v[self.i % 2, j]
        for _, block in self.up:
            v = block(j, v, vs.pop())
        return v


class CachedNetwork:
    """The network for n images that are being drawn, where each activation is computed once."""

    def __init__(self, network: Network, n: int, x: Images, given: Label | None) -> None:
        width = x.width + -x.width % network.unit
        self.network = network
        self.nothing = network.out.weight.new_zeros(n, x.channels + 1, 1, width)
        self.first_u, self.above = RowConv(network.first_u, n, width), RowConv(network.above, n, width)
        # shifted to the right: a kernel of the pixel to the left, without the pixel itself
        self.left = PixelConv(F.pad(network.left.weight[..., 0], (0, 1)), None, n, width, mask="A")
        self.scale = CachedScale(network.scale, n, width, given)
        self.out = PixelConv(network.out.weight[..., 0], network.out.bias, n, 1)

    def row(self, above: Float[Tensor, "n c 1 w"] | None) -> None:
        """Begins a row of the image, the one above it being `above`; None for the first row."""
        if above is None:
            wide = self.nothing
        else:
            wide = self.network.padded(above)[:, :, :1]
        self.told = self.above(wide)[:, :, 0].mT.unbind(1)
        self.scale.row(self.first_u(wide))

    def pixel(self, column: int) -> Float[Tensor, "n parameters"]:
        """The parameters of the mixture at a pixel; all before it were `put`."""
        v = self.scale.pixel(column, self.left(0, column, self.told[column]))
        self.out.here[0][0].copy_(F.elu(v))
        return self.out(0, 0)

    def put(self, column: int, pixel: Float[Tensor, "n c"]) -> None:
        self.left.here[0][column].copy_(F.pad(pixel, (0, 1), value=1.0))


PRESETS = {
    "pixelcnn-pp-small": Preset(
        config=PixelCNNPPConfig(
            width=16, blocks=1, dropout=0.0, ema=0.99, adam=Adam(lr=3e-3, schedule="cosine", warmup=0.02)
        ),
        fits=unchanged,
        steps=1400,
        batch=16,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 1,377 steps: 5 minutes "
        "of one CPU core (with --channels-last). 2.66 bits/dim on 358 held-out emoji (exact); FD-random-conv 10.5, "
        "floor 1.21: streaks of fitting colors, hardly a thing.",
    ),
    "pixelcnn-pp-medium": Preset(
        config=PixelCNNPPConfig(width=64, blocks=2, dropout=0.1, adam=Adam(lr=1e-3, schedule="cosine", warmup=0.02)),
        fits=unchanged,
        steps=50_000,
        batch=32,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 2,606 steps: 5 minutes of an H100 beside "
        "nine other trainings (TF32). 2.18 bits/dim on 358 held-out emoji (exact; pixelcnn-pp-small: 2.66): surfaces "
        "and edges of emoji, hardly a thing.",
    ),
    "pixelcnn-pp-mnist": Preset(
        config=PixelCNNPPConfig(
            x=Images(1, 28, 28), width=32, blocks=1, dropout=0.0, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02)
        ),
        steps=1000,
        batch=16,
        expect="Grey MNIST, 256 levels, one of two CPU cores (shared with other work), seed 0: 10 minutes, 1.1365 "
        "bits/dim on the 10,000 test images (exact). Smooth strokes, about half of them digits.",
    ),
    "pixelcnn-pp-cifar": Preset(
        config=PixelCNNPPConfig(width=192, blocks=5),
        steps=1_000_000,
        batch=128,
        expect="The paper's CIFAR-10 model, but for weight normalization; not trained by us. The paper: 2.92 bits/dim, "
        "and 2.94 by class.",
    ),
    "pixelcnn-pp-tiny": Preset(
        config=PixelCNNPPConfig(x=Images(1, 3, 3, levels=2), width=6, blocks=1, components=2),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "pixelcnn-pp-tiny-rgb": Preset(
        config=PixelCNNPPConfig(x=Images(3, 1, 2, levels=4), width=6, blocks=1, halvings=1, components=3),
        steps=10,
        batch=8,
        expect="For tests of the colors.",
    ),
    "pixelcnn-pp-tiny-classes": Preset(
        config=PixelCNNPPConfig(
            x=Images(1, 2, 3, levels=3), given=Labels(3), width=6, blocks=1, halvings=1, components=2
        ),
        steps=10,
        batch=8,
        expect="For tests of the condition.",
    ),
}
PRESETS["pixelcnn-pp-paper"] = sized(PRESETS["pixelcnn-pp-cifar"])
