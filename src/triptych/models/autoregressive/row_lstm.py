"""PixelRNN with Row LSTM layers: states pass down the image row by row and bring each pixel a triangle above it.

van den Oord, Kalchbrenner and Kavukcuoglu, 2016. Pixel Recurrent Neural Networks. https://arxiv.org/abs/1601.06759

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})                                                              (Equation 1)
    [o, f, i, g] = sigma(K_ss * h_{t-1} + K_is * x_t),    c_t = f c_{t-1} + i g,    h_t = o tanh(c_t)     (Equation 3)

Each step t of an LSTM is a row of the image. K_ss is a convolution along the row above, K_is one along the row itself
that sees no pixel to the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical
from torch.nn import functional as F

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
from triptych.nn.incremental import IncrementalConv, Wavefront
from triptych.nn.masked import MaskedConv2d, check_colors, shared_out
from triptych.nn.recurrent import LineLSTM, at_each, cell, stacked

PAPER = Paper(
    called="PixelRNN, Row LSTM",
    title="Pixel Recurrent Neural Networks",
    authors="Aäron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu",
    year=2016,
    url="https://arxiv.org/abs/1601.06759",
    likelihood="exact",
)


@config
class RowLSTMConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """Two levels make each factor a Bernoulli, more a softmax over the levels."""
    hidden: Count = 16
    """Feature maps of a state: h in the paper. The residual stream has 2h. A multiple of the number of colors."""
    layers: Count = 7
    """Row LSTM layers."""
    kernel: Count = 3
    """Pixels that the convolutions along a row are wide: k in the paper. Odd, 3 or more."""
    head: Count = 32
    """Feature maps of the two 1 x 1 layers before the output. A multiple of the number of colors."""
    adam: Adam = Adam(lr=1e-3)
    """The paper trains with RMSProp, at rates set by hand."""

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or self.kernel < 3:
            raise UsageError(f"kernel={self.kernel}: it must be odd, to have a middle, and 3 or more, for example 3")
        check_colors("hidden", self.hidden, self.x.channels)
        check_colors("head", self.head, self.x.channels)


@dataclass(frozen=True)
class Rows:
    """A cell for each column; all go down a row a step."""

    height: int
    width: int

    @property
    def cells(self) -> int:
        return self.width

    @property
    def steps(self) -> int:
        return self.height

    def live(self, t: int) -> tuple[int, int]:
        return 0, self.width

    def at(self, map: Float[Tensor, "rows c columns n"], t: int) -> Float[Tensor, "c columns n"]:
        return map[t]


class Layer(nn.Module):
    """A Row LSTM (Section 3.1) in a residual block (Figure 5, right)."""

    def __init__(self, hidden: int, kernel: int, colors: int) -> None:
        super().__init__()
        self.reach = kernel // 2
        # K_is with mask B has two halves: the pixel itself, where colors are masked, and the pixels to its left
        self.own = MaskedConv2d(2 * hidden, 4 * hidden, 1, "B", colors=colors)
        self.left = nn.Linear(self.reach * 2 * hidden, 4 * hidden, bias=False)
        self.lstm = LineLSTM(hidden, range(-self.reach, self.reach + 1), colors=colors)
        self.up = MaskedConv2d(hidden, 2 * hidden, 1, "B", colors=colors)

    def forward(self, x: Float[Tensor, "rows 2*hidden columns n"]) -> Float[Tensor, "rows 2*hidden columns n"]:
        left = torch.cat([F.pad(x, (0, 0, k, 0))[:, :, : x.shape[2]] for k in range(self.reach, 0, -1)], 1)
        gates = at_each(self.own, x).flatten(2).baddbmm(self.left.weight.expand(len(x), -1, -1), left.flatten(2))
        h = self.lstm(gates.view(len(x), gates.shape[1], *x.shape[2:]), Rows(len(x), x.shape[2]))
        return x + at_each(self.up, h)


class Past:
    """For sampling: what a kind of feature maps is at earlier pixels, in all layers, with every window a matrix.

    Pixels lie in memory as those of `IncrementalConv`, [layers, cells, features]. There is one more row of them above
    the image, filled with `above`.
    """

    def __init__(self, front: Wavefront, n: int, above: Float[Tensor, "layers features"], reach: int) -> None:
        self.front, self.n, (layers, self.features) = front, n, above.shape
        self.pitch = front.width + 2 * reach
        self.down = n * self.pitch + front.slope
        self.memory = above.new_zeros(layers, (front.height + 1) * self.down + self.pitch, self.features)
        self.origin = self.down + reach
        row = self.memory[:, : n * self.pitch].view(layers, n, self.pitch, self.features)
        row[:, :, reach : reach + front.width] = above[:, None, None]

    def window(self, up: int, left: int, wide: int) -> Float[Tensor, "layers pixels wide*features"]:
        """A view, for each pixel that is due, of `wide` pixels from the one so many rows up and columns left."""
        i, j = self.front.first, self.front.t - self.front.slope * self.front.first
        start = (self.origin + (i - up) * self.down + j - left) * self.features
        size = (len(self.memory), self.front.live * self.n, wide * self.features)
        return self.memory.as_strided(size, (self.memory.stride(0), self.pitch * self.features, 1), start)


class RowLSTM(Autoregressive[None]):
    """An exact likelihood of images on a grid of levels, and samples from it."""

    name = "pixelrnn-row"

    def __init__(self, config: RowLSTMConfig) -> None:
        super().__init__()
        self.config, colors, width = config, config.x.channels, 2 * config.hidden
        self.scores = 1 if config.x.levels == 2 else config.x.levels
        # Table 1, top to bottom
        self.first = MaskedConv2d(colors, width, 7, "A", colors=colors)
        self.layers = nn.ModuleList([Layer(config.hidden, config.kernel, colors) for _ in range(config.layers)])
        self.head1 = MaskedConv2d(width, config.head, 1, "B", colors=colors)
        self.head2 = MaskedConv2d(config.head, config.head, 1, "B", colors=colors)
        self.out = MaskedConv2d(config.head, colors * self.scores, 1, "B", colors=colors)

    def logits(self, x: Float[Tensor, "n c h w"], given: None = None) -> Float[Tensor, "n c h w k"]:
        """The network: the scores of each sub-pixel's levels; for two levels their log-odds (k = 1)."""
        h = self.first(x).permute(2, 1, 3, 0).contiguous()  # [rows, channels, columns, images]
        for layer in self.layers:
            h = layer(h)
        h = at_each(self.out, at_each(self.head2, at_each(self.head1, h.relu()).relu()).relu())
        return h.view(len(h), self.config.x.channels, self.scores, *h.shape[2:]).permute(4, 1, 0, 3, 2)

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
        """The network again, only at the pixels that are due and for one color at a time (see `nn.incremental`).

        A layer looks kernel // 2 pixels to the right in the row above, and the first one 3: so goes the wavefront.
        What earlier pixels say is summed up for all layers at once.
        """
        x, n, hidden, reach = self.config.x, noise.n, self.config.hidden, self.config.kernel // 2
        u = noise.uniform(*x.shape).permute(2, 3, 1, 0)
        level = how.start(x, noise).permute(2, 3, 1, 0).contiguous()
        front = Wavefront(x.height, x.width, max(reach, self.first.reach))

        def at_front(conv: MaskedConv2d) -> IncrementalConv:
            return IncrementalConv(conv, front, n)

        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        first, head1, head2, out = map(at_front, (self.first, self.head1, self.head2, self.out))
        blocks = [at_front(layer.own) for layer in layers], [at_front(layer.up) for layer in layers]
        left = stacked(layer.left.weight.t() for layer in layers)
        above = stacked(layer.lstm.weight.mT.flatten(0, 1) for layer in layers)
        inputs = Past(front, n, left.new_zeros(len(layers), 2 * hidden), reach)
        h = Past(front, n, stacked(layer.lstm.h for layer in layers), reach)
        c = Past(front, n, stacked(layer.lstm.c for layer in layers), reach)
        for rows, columns in front:
            shape, part = (len(layers), len(rows) * n, x.channels), hidden // x.channels
            sums = torch.bmm(inputs.window(0, reach, reach), left)
            sums.baddbmm_(h.window(1, reach, 2 * reach + 1), above)
            gates, c_above = sums.view(*shape, 4, part), c.window(1, 0, 1).view(*shape, part)
            input_here, h_here, c_here = (
                past.window(0, 0, 1).view(*shape, past.features // x.channels) for past in (inputs, h, c)
            )
            for color in range(x.channels):
                stream = first(color)
                parts = (part[:, :, color].unbind() for part in (gates, c_above, input_here, h_here, c_here))
                for own, up, gate, before, now_x, now_h, now_c in zip(*blocks, *parts, strict=True):
                    now_x.copy_(stream)
                    own.here(color).copy_(stream)
                    own.add(color, gate.flatten(1))
                    cell(gate, before, now_h, now_c)
                    up.here(color).copy_(now_h)
                    up.add(color, stream)
                torch.clamp(stream, min=0, out=head1.here(color))
                head1(color, head2.here(color)).relu_()
                head2(color, out.here(color)).relu_()
                logits = out(color).reshape(len(rows), n, self.scores)
                due = how.fill(level[rows, columns, color], logits, u[rows, columns, color])
                level[rows, columns, color] = due
                first.here(color).copy_(x.from_index(due).view(-1, 1))
        return x.from_index(level.permute(3, 2, 0, 1))

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """-log p(x) a sub-pixel, in nats: maximum likelihood (Section 5.1)."""
        p = self.log_prob(batch.x)
        nats = -p.nats.mean()
        return Loss(nats / p.dims, {"nats": nats, "bits_per_dim": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="pixelrnn", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "pixelrnn-row-mnist": Preset(
        config=RowLSTMConfig(hidden=16, layers=4, head=32, adam=Adam(lr=4e-3, schedule="cosine", warmup=0.02)),
        steps=3500,
        batch=16,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 11 minutes, 86.72 "
        "+- .21 nats on the 10,000 test images (exact). Strokes as in digits, and many digits.",
    ),
    "pixelrnn-row-mnist-paper": Preset(
        config=RowLSTMConfig(hidden=16, layers=7, head=32),
        steps=200_000,
        batch=16,
        expect="Binarized MNIST at the size of the paper's best Diagonal BiLSTM (it gives none for this model); not "
        "trained by us. The paper: 80.54 nats.",
    ),
    "pixelrnn-row-cifar": Preset(
        config=RowLSTMConfig(x=Images(3, 32, 32), hidden=129, layers=12, head=1023),
        steps=500_000,
        batch=16,
        expect="The paper's CIFAR-10 model (h = 128 made 129, and 1024 made 1023, for three colors to share); not "
        "trained by us. The paper: 3.07 bits/dim.",
    ),
    "pixelrnn-row-tiny": Preset(
        config=RowLSTMConfig(x=Images(1, 3, 3, levels=2), hidden=4, layers=2, head=8),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "pixelrnn-row-tiny-rgb": Preset(
        config=RowLSTMConfig(x=Images(3, 2, 2, levels=3), hidden=6, layers=1, head=12),
        steps=10,
        batch=8,
        expect="For tests of the channel masks.",
    ),
}
PRESETS["pixelrnn-row-small"] = sized(PRESETS["pixelrnn-row-mnist"], fits=shared_out(hidden=(16, 1), head=(32, 1)))
PRESETS["pixelrnn-row-medium"] = sized(PRESETS["pixelrnn-row-cifar"], fits=shared_out(hidden=(129, 1), head=(1023, 1)))
PRESETS["pixelrnn-row-paper"] = sized(
    PRESETS["pixelrnn-row-mnist-paper"], fits=shared_out(hidden=(16, 1), head=(32, 1))
)
