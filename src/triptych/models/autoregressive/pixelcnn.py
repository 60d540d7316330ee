"""PixelCNN: p(x) as a product over sub-pixels, each seeing those above it, to its left, and its pixel's earlier colors.

van den Oord, Kalchbrenner and Kavukcuoglu, 2016. Pixel Recurrent Neural Networks. https://arxiv.org/abs/1601.06759

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})        (Equation 1)

in raster order, red before green before blue (Equation 2). The factors come from one convolutional network whose
kernels are masked, so training and scoring take one pass; sampling goes pixel by pixel. By design the network has a
blind spot (above, to the right), which the gated PixelCNN closed later.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical

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
    full,
    sized,
)
from triptych.models.paper import Paper
from triptych.native.pixelcnn import draw_pixelcnn
from triptych.nn import stepped
from triptych.nn.incremental import IncrementalConv, Wavefront
from triptych.nn.masked import MaskedConv2d, check_colors, shared_out

PAPER = Paper(
    called="PixelCNN",
    title="Pixel Recurrent Neural Networks",
    authors="Aäron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu",
    year=2016,
    url="https://arxiv.org/abs/1601.06759",
    likelihood="exact",
)


@config
class PixelCNNConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """Two levels make each factor a Bernoulli, more a softmax over the levels."""
    width: Count = 96
    """Feature maps of the residual stream: 2h in the paper. A multiple of twice the number of colors."""
    blocks: Count = 7
    """Residual blocks, each of which reaches kernel // 2 pixels further."""
    kernel: Count = 3
    """Side of the blocks' masked convolution, odd. The paper's is 3; a large one sees far from the first step on."""
    head: Count = 96
    """Feature maps of the two 1 x 1 layers before the output. A multiple of the number of colors."""
    adam: Adam = Adam(lr=1e-3)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel={self.kernel}: a kernel has a middle, so it must be odd, e.g. {self.kernel + 1}")
        check_colors("width", self.width, self.x.channels, parts=2)
        check_colors("head", self.head, self.x.channels)


class Block(nn.Module):
    """The residual block of Figure 5 (left)."""

    def __init__(self, width: int, kernel: int, colors: int) -> None:
        super().__init__()
        self.down = MaskedConv2d(width, width // 2, 1, "B", colors=colors)
        self.conv = MaskedConv2d(width // 2, width // 2, kernel, "B", colors=colors)
        self.up = MaskedConv2d(width // 2, width, 1, "B", colors=colors)

    def forward(self, x: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return x + self.up(self.conv(self.down(x.relu()).relu()).relu())


class PixelCNN(Autoregressive[None]):
    """An exact likelihood of images on a grid of levels, and samples from it."""

    name = "pixelcnn"

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        self.config, colors = config, config.x.channels
        self.scores = 1 if config.x.levels == 2 else config.x.levels
        # Table 1, top to bottom
        self.first = MaskedConv2d(colors, config.width, 7, "A", colors=colors)
        self.blocks = nn.Sequential(*[Block(config.width, config.kernel, colors) for _ in range(config.blocks)])
        self.head1 = MaskedConv2d(config.width, config.head, 1, "B", colors=colors)
        self.head2 = MaskedConv2d(config.head, config.head, 1, "B", colors=colors)
        self.out = MaskedConv2d(config.head, colors * self.scores, 1, "B", colors=colors)

    def logits(self, x: Float[Tensor, "n c h w"], given: None = None) -> Float[Tensor, "n c h w k"]:
        """The network: the scores of each sub-pixel's levels; for two levels their log-odds (k = 1)."""
        # Channels last, because the 1 x 1 convolutions are then matrix products: on a CPU, steps are 1.2 times faster.
        h = self.blocks(self.first(x).contiguous(memory_format=torch.channels_last))
        h = self.out(self.head2(self.head1(h.relu()).relu()).relu())
        return h.reshape(len(x), self.config.x.channels, self.scores, *x.shape[2:]).movedim(2, -1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Bernoulli | Categorical:
        """p(x_i | x_1, ..., x_{i-1}) over the level of each sub-pixel i, all at once."""
        logits = self.logits(x)
        if self.config.x.levels == 2:
            return Bernoulli(logits=logits.squeeze(-1), validate_args=False)
        return Categorical(logits=full(logits), validate_args=False)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: None = None) -> Exact:
        """log p(x), by Equation 1. Raises UsageError if x is not on the levels of its space."""
        level = self.config.x.index(x)
        nats = self(x).log_prob(level.to(x.dtype)).flatten(1).sum(1)
        return Exact(nats=nats, dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """The network again, only at the pixels that are due and for one color at a time (see `nn.incremental`)."""
        x = self.config.x
        u, level = noise.uniform(*x.shape), how.start(x, noise)
        if native.plays(u, how):  # in C++ the same samples, sooner
            return x.from_index(draw_pixelcnn(self, u, level, how))
        u, level = u.permute(2, 3, 1, 0), level.permute(2, 3, 1, 0).contiguous()
        front = Wavefront(x.height, x.width, max(self.first.reach, self.config.kernel // 2))

        def at_front(conv: MaskedConv2d) -> IncrementalConv:
            return IncrementalConv(conv, front, noise.n)

        first, head1, head2, out = map(at_front, (self.first, self.head1, self.head2, self.out))
        blocks = [tuple(map(at_front, (b.down, b.conv, b.up))) for b in self.blocks if isinstance(b, Block)]
        for rows, columns in front:
            for color in range(x.channels):
                h = first(color)
                for down, conv, up in blocks:
                    torch.clamp(h, min=0, out=down.here(color))
                    down(color, conv.here(color)).relu_()
                    conv(color, up.here(color)).relu_()
                    up.add(color, h)
                torch.clamp(h, min=0, out=head1.here(color))
                head1(color, head2.here(color)).relu_()
                head2(color, out.here(color)).relu_()
                logits = out(color).reshape(len(rows), noise.n, self.scores)
                due = how.fill(level[rows, columns, color], logits, u[rows, columns, color])
                level[rows, columns, color] = due
                first.here(color).copy_(x.from_index(due).view(-1, 1))
        return x.from_index(level.permute(3, 2, 0, 1))

    def memory(self, n: int) -> Sequence[Tensor]:
        """What the convolutions that see more than a pixel have read of n images before their first sub-pixel."""
        seeing, x = [self.first, *(b.conv for b in self.blocks if isinstance(b, Block))], self.config.x
        return [stepped.nothing(conv, n, x.height, x.width) for conv in seeing]

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: None = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of one sub-pixel, for programs without this model: rows from the top, the colors innermost."""
        x, (image, *maps) = self.config.x, memory
        before, pixel = (at - 1).clamp(min=0), at // x.channels
        last = torch.where(at > 0, x.from_index(value), 0.0)[:, None].expand(-1, x.channels)
        image = stepped.read(self.first, image, before // x.channels, last, before % x.channels)
        h = stepped.around(self.first, image, pixel)
        for k, b in enumerate(b for b in self.blocks if isinstance(b, Block)):
            maps[k] = stepped.read(b.conv, maps[k], pixel, stepped.pointwise(b.down, h.relu()).relu())
            h = h + stepped.pointwise(b.up, stepped.around(b.conv, maps[k], pixel).relu())
        for conv in (self.head1, self.head2, self.out):
            h = stepped.pointwise(conv, h.relu())
        # all colors, of which those after this one have read nothing yet: they are computed again when it is their turn
        scores = h.view(-1, x.channels, self.scores).index_select(1, at % x.channels)
        return scores[:, 0], [image, *maps]

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a sub-pixel, in nats: maximum likelihood (Section 5.1)."""
        p = self.log_prob(batch.x)
        nats = -p.nats.mean()
        return Loss(nats / p.dims, {"nats": nats, "bits_per_dim": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="pixelcnn", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "pixelcnn-mnist": Preset(
        config=PixelCNNConfig(
            width=64, blocks=6, kernel=7, head=64, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.01)
        ),
        steps=13_000,
        batch=16,
        expect="Dynamically binarized MNIST, two CPU cores (shared with other work), seed 0: 56 minutes, 81.80 +- .20 "
        "nats on the 10,000 test images (exact). The paper: 81.30. Samples are digits, a few of them broken.",
    ),
    "pixelcnn-mnist-demo": Preset(
        config=PixelCNNConfig(
            width=32, blocks=4, kernel=13, head=32, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02)
        ),
        steps=5400,
        batch=4,
        expect="Dynamically binarized MNIST, one of two CPU cores, seed 0: 4 minutes, 85.61 +- .21 nats on the 10,000 "
        "test images (exact). Most samples are digits: mean confidence .83 by our classifier.",
    ),
    "pixelcnn-cifar": Preset(
        config=PixelCNNConfig(x=Images(3, 32, 32), width=258, blocks=15, head=1023, adam=Adam(lr=1e-3)),
        steps=500_000,
        batch=16,
        expect="The paper's CIFAR-10 model (Table 1, Section 5.4); not trained by us. The paper: 3.14 bits/dim.",
    ),
    "pixelcnn-tiny": Preset(
        config=PixelCNNConfig(x=Images(1, 3, 3, levels=2), width=8, blocks=1, head=8),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "pixelcnn-tiny-rgb": Preset(
        config=PixelCNNConfig(x=Images(3, 2, 2, levels=3), width=12, blocks=1, head=12),
        steps=10,
        batch=8,
        expect="For tests of the channel masks.",
    ),
}
PRESETS["pixelcnn-small"] = sized(PRESETS["pixelcnn-mnist-demo"], fits=shared_out(width=(32, 2), head=(32, 1)))
PRESETS["pixelcnn-medium"] = sized(PRESETS["pixelcnn-mnist"], fits=shared_out(width=(64, 2), head=(64, 1)))
PRESETS["pixelcnn-paper"] = sized(PRESETS["pixelcnn-cifar"], fits=shared_out(width=(258, 2), head=(1023, 1)))
