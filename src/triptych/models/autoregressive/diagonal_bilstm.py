"""PixelRNN with Diagonal BiLSTM layers: each pixel sees all pixels before it, through states that pass over the image.

van den Oord, Kalchbrenner and Kavukcuoglu, 2016. Pixel Recurrent Neural Networks. https://arxiv.org/abs/1601.06759

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1})                                                              (Equation 1)
    [o, f, i, g] = sigma(K_ss * h_{t-1} + K_is * x_t),    c_t = f c_{t-1} + i g,    h_t = o tanh(c_t)     (Equation 3)

Each step t of an LSTM is a diagonal of the image, whose pixels do not see each other. One LSTM goes from the top left
corner to the bottom right, another from the top right to the bottom left; what the second says of a pixel goes to the
pixel below it, because it has seen the pixels to the right.

One addition: mask A keeps a pixel out of its own features, so that the last pixel of a row would stay out of sight of
most of the next row. All maps have one more column on the right, where the second LSTM sees that pixel, too.
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
    config,
    full,
    sized,
)
from triptych.models.paper import Paper
from triptych.nn.incremental import IncrementalConv, Wavefront
from triptych.nn.masked import MaskedConv2d, check_colors, shared_out
from triptych.nn.recurrent import LineLSTM, at_each, cell, stacked

PAPER = Paper(
    called="PixelRNN, Diagonal BiLSTM",
    title="Pixel Recurrent Neural Networks",
    authors="Aäron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu",
    year=2016,
    url="https://arxiv.org/abs/1601.06759",
    likelihood="exact",
)


@config
class DiagonalBiLSTMConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """Two levels make each factor a Bernoulli, more a softmax over the levels."""
    hidden: Count = 16
    """Feature maps of a state: h in the paper. The residual stream has 2h. A multiple of the number of colors."""
    layers: Count = 7
    """Diagonal BiLSTM layers."""
    head: Count = 32
    """Feature maps of the two 1 x 1 layers before the output. A multiple of the number of colors."""
    adam: Adam = Adam(lr=1e-3)
    """The paper trains with RMSProp, at rates set by hand."""

    def __post_init__(self) -> None:
        check_colors("hidden", self.hidden, self.x.channels)
        check_colors("head", self.head, self.x.channels)


@dataclass(frozen=True)
class Diagonals:
    """A cell for each row; all go to the right (or to the left) a pixel a step, each starting after the one above.

    Column t of the skewed map in Figure 3 is what the cells are over in step t; its padding is never computed.
    """

    height: int
    width: int
    leftward: bool

    @property
    def cells(self) -> int:
        return self.height

    @property
    def steps(self) -> int:
        return self.height + self.width - 1

    def live(self, t: int) -> tuple[int, int]:
        return max(0, t - self.width + 1), min(self.height, t + 1)

    def at(self, map: Float[Tensor, "rows c columns n"], t: int) -> Float[Tensor, "c live n"]:
        first, last = self.live(t)
        row, channel, column, image = map.stride()
        j, down = (self.width - 1 - t + first, row + column) if self.leftward else (t - first, row - column)
        start = map.storage_offset() + first * row + j * column
        return map.as_strided((map.shape[1], last - first, map.shape[3]), (channel, down, image), start)


class Layer(nn.Module):
    """A Diagonal BiLSTM (Section 3.2) in a residual block (Figure 5, right)."""

    def __init__(self, hidden: int, colors: int) -> None:
        super().__init__()
        # K_is and K_ss of either direction; the kernel of the latter covers the pixel above and the one just left
        self.to_right = MaskedConv2d(2 * hidden, 4 * hidden, 1, "B", colors=colors)
        self.to_left = MaskedConv2d(2 * hidden, 4 * hidden, 1, "B", colors=colors)
        self.rightward = LineLSTM(hidden, (-1, 0), colors=colors)
        self.leftward = LineLSTM(hidden, (-1, 0), colors=colors)
        self.up = MaskedConv2d(hidden, 2 * hidden, 1, "B", colors=colors)

    def forward(self, x: Float[Tensor, "rows 2*hidden columns n"]) -> Float[Tensor, "rows 2*hidden columns n"]:
        height, width = len(x), x.shape[2]
        right = self.rightward(at_each(self.to_right, x), Diagonals(height, width, leftward=False))
        left = self.leftward(at_each(self.to_left, x), Diagonals(height, width, leftward=True))
        return x + at_each(self.up, right + F.pad(left[:-1], (0, 0, 0, 0, 0, 0, 1, 0)))


class Row:
    """For sampling: the LSTMs of one direction, those of all layers at once, on one row of pixels after the other."""

    def __init__(self, lines: Sequence[LineLSTM], width: int, n: int) -> None:
        layers, colors, part = len(lines), lines[0].colors, lines[0].hidden // lines[0].colors
        self.above, self.beside = (stacked(line.weight[k].t() for line in lines) for k in range(2))
        self.start = [
            states.view(layers, 1, colors, part)
            for states in (stacked(line.h for line in lines), stacked(line.c for line in lines))
        ]
        self.h, self.c = (states.repeat(1, n, 1, 1) for states in self.start)
        """What the cells are at the pixel where they are, [layers, n, colors, part]. These tensors stay in place."""
        self.gates = self.h.new_empty(layers, n, colors, 4, part)
        self.row = self.h.new_zeros(width, layers, n, colors, part)
        """h of the row above, until that of this row takes its place. Above the image zeros."""

    def begin(self) -> None:
        """Goes to the next row, with the initial states beside it."""
        self.sums = torch.matmul(self.row.flatten(3), self.above)
        for state, start in zip((self.h, self.c), self.start, strict=True):
            state.copy_(start)

    def advance(self, j: int) -> None:
        """Fills `gates` with the state-to-state half of Equation 3 at column j."""
        torch.baddbmm(self.sums[j], self.h.flatten(2), self.beside, out=self.gates.flatten(2))

    def sweep_left(self, inputs: Float[Tensor, "width layers n gates"]) -> None:
        """All of the next row, from right to left, given the input-to-state half."""
        self.begin()
        self.sums += inputs
        gates, h, c = (part.flatten(0, 2) for part in (self.gates, self.h, self.c))
        for j in reversed(range(len(self.row))):
            self.advance(j)
            cell(gates, c, h, c)
            self.row[j] = self.h


class DiagonalBiLSTM(Autoregressive[None]):
    """An exact likelihood of images on a grid of levels, and samples from it."""

    name = "pixelrnn-diagonal"

    def __init__(self, config: DiagonalBiLSTMConfig) -> None:
        super().__init__()
        self.config, colors, width = config, config.x.channels, 2 * config.hidden
        self.scores = 1 if config.x.levels == 2 else config.x.levels
        # Table 1, top to bottom
        self.first = MaskedConv2d(colors, width, 7, "A", colors=colors)
        self.layers = nn.ModuleList([Layer(config.hidden, colors) for _ in range(config.layers)])
        self.head1 = MaskedConv2d(width, config.head, 1, "B", colors=colors)
        self.head2 = MaskedConv2d(config.head, config.head, 1, "B", colors=colors)
        self.out = MaskedConv2d(config.head, colors * self.scores, 1, "B", colors=colors)

    def logits(self, x: Float[Tensor, "n c h w"], given: None = None) -> Float[Tensor, "n c h w k"]:
        """The network: the scores of each sub-pixel's levels; for two levels their log-odds (k = 1)."""
        h = self.first(F.pad(x, (0, 1))).permute(2, 1, 3, 0).contiguous()  # [rows, channels, columns, images]
        for layer in self.layers:
            h = layer(h)
        h = h[:, :, :-1].relu()
        h = at_each(self.out, at_each(self.head2, at_each(self.head1, h).relu()).relu())
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
        """The network again, only at the pixel that is due and for one color at a time.

        A pixel needs the leftward LSTMs at all pixels of the row above (from its own column on), so that there is no
        order but the raster's. These LSTMs, of all layers at once, pass over a row as soon as it is complete.
        """
        x, n, width = self.config.x, noise.n, self.config.x.width + 1
        u = noise.uniform(*x.shape).permute(2, 3, 1, 0)
        level = how.start(x, noise).permute(2, 3, 1, 0).contiguous()
        front = Wavefront(x.height, width, width)

        def at_front(conv: MaskedConv2d) -> IncrementalConv:
            return IncrementalConv(conv, front, n)

        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        first, head1, head2, out = map(at_front, (self.first, self.head1, self.head2, self.out))
        blocks = [at_front(layer.to_right) for layer in layers], [at_front(layer.up) for layer in layers]
        right, left = (
            Row(lines, width, n)
            for lines in ([layer.rightward for layer in layers], [layer.leftward for layer in layers])
        )
        here = [[part[:, :, color].unbind() for part in (right.gates, right.h, right.c)] for color in range(x.channels)]
        to_left = stacked(layer.to_left.kernel.flatten(1).t() for layer in layers)
        bias = stacked(layer.to_left.bias for layer in layers)[:, None]
        inputs = bias.new_empty(width, len(layers), n, x.channels, 2 * self.config.hidden // x.channels)
        """What goes into each layer, along the row."""
        for rows, columns in front:
            i, j = divmod(front.t, width)
            if j == 0:
                if i > 0:  # the row above is complete
                    left.sweep_left(torch.matmul(inputs.flatten(3), to_left) + bias)
                right.begin()
            right.advance(j)
            for color in range(x.channels):
                stream = first(color)
                parts = *here[color], inputs[j, :, :, color].unbind(), left.row[j, :, :, color].unbind()
                for to_right, up, gate, h, c, kept, beyond in zip(*blocks, *parts, strict=True):
                    kept.copy_(stream)
                    to_right.here(color).copy_(stream)
                    to_right.add(color, gate.flatten(1))
                    cell(gate, c, h, c)
                    torch.add(h, beyond, out=up.here(color))
                    up.add(color, stream)
                if j == x.width:  # beside the image
                    continue
                torch.clamp(stream, min=0, out=head1.here(color))
                head1(color, head2.here(color)).relu_()
                head2(color, out.here(color)).relu_()
                logits = out(color).reshape(1, n, self.scores)
                due = how.fill(level[rows, columns, color], logits, u[rows, columns, color])
                level[rows, columns, color] = due
                first.here(color).copy_(x.from_index(due).view(-1, 1))
            right.row[j] = right.h
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
    "pixelrnn-diagonal-mnist": Preset(
        config=DiagonalBiLSTMConfig(hidden=32, layers=1, head=32, adam=Adam(lr=4e-3, schedule="cosine", warmup=0.02)),
        steps=3500,
        batch=16,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 10 minutes, 85.53 "
        "+- .21 nats on the 10,000 test images (exact). Most samples are digits.",
    ),
    "pixelrnn-diagonal-mnist-paper": Preset(
        config=DiagonalBiLSTMConfig(hidden=16, layers=7, head=32),
        steps=200_000,
        batch=16,
        expect="The paper's best model of binarized MNIST; not trained by us. The paper: 79.20 nats.",
    ),
    "pixelrnn-diagonal-cifar": Preset(
        config=DiagonalBiLSTMConfig(x=Images(3, 32, 32), hidden=129, layers=12, head=1023),
        steps=500_000,
        batch=16,
        expect="The paper's CIFAR-10 model (h = 128 made 129, and 1024 made 1023, for three colors to share); not "
        "trained by us. The paper: 3.00 bits/dim.",
    ),
    "pixelrnn-diagonal-tiny": Preset(
        config=DiagonalBiLSTMConfig(x=Images(1, 3, 3, levels=2), hidden=4, layers=2, head=8),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "pixelrnn-diagonal-tiny-rgb": Preset(
        config=DiagonalBiLSTMConfig(x=Images(3, 2, 2, levels=3), hidden=6, layers=1, head=12),
        steps=10,
        batch=8,
        expect="For tests of the channel masks.",
    ),
}
PRESETS["pixelrnn-diagonal-small"] = sized(
    PRESETS["pixelrnn-diagonal-mnist"], fits=shared_out(hidden=(32, 1), head=(32, 1))
)
PRESETS["pixelrnn-diagonal-medium"] = sized(
    PRESETS["pixelrnn-diagonal-cifar"], fits=shared_out(hidden=(129, 1), head=(1023, 1))
)
PRESETS["pixelrnn-diagonal-paper"] = sized(
    PRESETS["pixelrnn-diagonal-mnist-paper"], fits=shared_out(hidden=(16, 1), head=(32, 1))
)
