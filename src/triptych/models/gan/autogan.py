"""AutoGAN: a GAN whose generator was found by a search, and the space that the search is over.

AutoGAN: Neural Architecture Search for Generative Adversarial Networks.
Gong, Chang, Jiang and Wang, 2019. https://arxiv.org/abs/1908.03835

The generator is a stack of cells, each of which doubles the sides (Figure 1). Of each cell can be chosen: whether
activation and normalization come before a convolution or after it; which normalization; how it doubles; whether there
is a short cut past its two convolutions; and from which of the earlier cells features come in between the two. The loss
is the hinge, the discriminator that of SNGAN, with spectral normalization.

`triptych.search.autogan` is the search: it trains one network that holds all of these generators, and its result is a
value of `cells` here.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import instance_norm, interpolate

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Fraction,
    Generative,
    Images,
    Loss,
    Noise,
    Player,
    Preset,
    Stage,
    UsageError,
    config,
    sized,
)
from triptych.losses import adversarial
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.residual import down_block, first_block, last_block, spectral

PAPER = Paper(
    called="AutoGAN",
    title="AutoGAN: Neural Architecture Search for Generative Adversarial Networks",
    authors="Xinyu Gong, Shiyu Chang, Yifan Jiang, Zhangyang Wang",
    year=2019,
    url="https://arxiv.org/abs/1908.03835",
)

Conv = Literal["post", "pre"]
Norm = Literal["none", "batch", "instance"]
Up = Literal["bilinear", "nearest", "deconv"]


@config
class Cell:
    """One cell of the generator (Section 3.1)."""

    conv: Conv = "pre"
    """Whether normalization and ReLU come before ("pre") or after ("post") each of the two convolutions."""
    norm: Norm = "none"
    up: Up = "nearest"
    """How sides are doubled: before the first convolution, on the short cut and for what skips in."""
    shortcut: bool = True
    """Whether the cell's input, doubled, is added to its output."""
    skips: tuple[bool, ...] = ()
    """For each earlier cell, the first one first: whether what its first convolution made is added to what this one's
    made."""


PAPERS = (
    Cell(conv="pre", norm="none", up="nearest", shortcut=True),
    Cell(conv="pre", norm="none", up="bilinear", shortcut=True, skips=(True,)),
    Cell(conv="pre", norm="none", up="nearest", shortcut=False, skips=(True, True)),
)
"""What the authors' search found on CIFAR-10 (Figure 3; "A" in their code)."""


@config
class AutoGANConfig:
    x: Images = Images(3, 32, 32)
    """What is modeled. The generator's grid is the smallest that its cells double to at least this size; the rest is
    cut off."""
    cells: tuple[Cell, ...] = PAPERS
    """The generator's, from the smallest: one for each doubling."""
    latent: Count = 128
    """Dimensions of z ~ N(0, I)."""
    width: Count = 256
    """Channels of every cell."""
    critic_width: Count = 128
    """Channels of every block of the discriminator."""
    turns: Count = 5
    """Updates of the discriminator for each of the generator."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from."""
    adam: Adam = Adam(lr=2e-4, betas=(0.0, 0.9))
    """For either player."""

    def __post_init__(self) -> None:
        for i, cell in enumerate(self.cells):
            if len(cell.skips) != i:
                raise UsageError(
                    f"cells.{i}.skips={list(cell.skips)}: one true or false for each of the {i} cells before"
                )
        if not self.cells or min(self.x.height, self.x.width) < 2 << len(self.cells):
            raise UsageError(
                f"cells: {len(self.cells)} of them, and images of {self.x.height} x {self.x.width}; there is at least "
                f"one, and the shorter side has {2 << len(self.cells)} pixels or more for so many"
            )


class Doubling(nn.Module):
    """Doubles the sides, in those of the three ways that are wanted."""

    def __init__(self, channels: int, ways: Collection[Up]) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, 2) if "deconv" in ways else None

    def forward(self, x: Float[Tensor, "n c h w"], up: Up) -> Float[Tensor, "n c h2 w2"]:
        if up == "deconv":
            assert self.deconv is not None
            return self.deconv(x)
        return interpolate(x, scale_factor=2.0, mode=up)


class Convolution(nn.Module):
    """A 3 x 3 convolution with its normalization, for cells of one kind: `conv`."""

    def __init__(self, inputs: int, outputs: int, conv: Conv, norms: Collection[Norm], shared: bool) -> None:
        super().__init__()
        self.post = conv == "post"
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        # what many generators share has no statistics of its own: those of the batch are the one's that is being used
        normalized = nn.BatchNorm2d(outputs if self.post else inputs, track_running_stats=not shared)
        self.batch = normalized if "batch" in norms else None

    def normalize(self, x: Float[Tensor, "n c h w"], norm: Norm) -> Float[Tensor, "n c h w"]:
        if norm == "batch":
            assert self.batch is not None
            return self.batch(x)
        return instance_norm(x) if norm == "instance" else x

    def forward(self, x: Float[Tensor, "n c h w"], norm: Norm, doubling: nn.Module | None, up: Up) -> Tensor:
        h = x if self.post else self.normalize(x, norm).relu()
        h = self.conv(h if doubling is None else doubling(h, up))
        return self.normalize(h, norm).relu() if self.post else h


class CellNet(nn.Module):
    """The parts of a cell, for all of `choices`, each of which says what is done with them.

    Convolutions before and after activation are different ones; short cuts and skips are 1 x 1, taken before doubling,
    where that is the same and costs a quarter.
    """

    def __init__(self, inputs: int, width: int, before: int, choices: Sequence[Cell], shared: bool) -> None:
        super().__init__()
        ups, norms = {c.up for c in choices}, {c.norm for c in choices}
        convs = sorted({c.conv for c in choices})
        self.first = nn.ModuleDict({c: Convolution(inputs, width, c, norms, shared) for c in convs})
        self.second = nn.ModuleDict({c: Convolution(width, width, c, norms, shared) for c in convs})
        self.up = Doubling(inputs, ups)
        self.short = nn.Conv2d(inputs, width, 1) if any(c.shortcut for c in choices) else None
        self.short_up = Doubling(width, ups if self.short is not None else ())
        wanted = [any(c.skips[i] for c in choices) for i in range(before)]
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) if some else nn.Identity() for some in wanted)
        self.skip_ups = nn.ModuleList(
            nn.ModuleList(Doubling(width, ups) for _ in range(before - i)) if some else nn.ModuleList()
            for i, some in enumerate(wanted)
        )

    def forward(
        self, x: Float[Tensor, "n c h w"], earlier: Sequence[Tensor], cell: Cell
    ) -> tuple[Float[Tensor, "n k h2 w2"], Float[Tensor, "n k h2 w2"]]:
        """What the first convolution makes, for later cells, and what the cell makes."""
        made = h = self.first[cell.conv](x, cell.norm, self.up, cell.up)
        for used, features, point, ups in zip(cell.skips, earlier, self.skips, self.skip_ups, strict=True):
            if used:
                features = point(features)
                for up in ups:  # type: ignore[attr-defined]
                    features = up(features, cell.up)
                h = h + features
        h = self.second[cell.conv](h, cell.norm, None, cell.up)
        if cell.shortcut:
            assert self.short is not None
            h = h + self.short_up(self.short(x), cell.up)
        return made, h


class Generator(nn.Module):
    """z -> images, by cells chosen among those that it was made for.

    choices: for each cell, what may be asked of it; with one choice each, this is a generator like any other. Asked for
    fewer cells than it has, it makes a smaller image, with as many halvings less.
    """

    def __init__(self, x: Images, latent: int, width: int, choices: Sequence[Sequence[Cell]], shared: bool) -> None:
        super().__init__()
        self.x, self.depth = x, len(choices)
        h, w = (-(-side // 2**self.depth) for side in (x.height, x.width))
        self.grid = nn.Sequential(nn.Linear(latent, width * h * w), nn.Unflatten(1, (width, h, w)))
        self.cells = nn.ModuleList(CellNet(width, width, i, some, shared) for i, some in enumerate(choices))
        self.image = nn.Sequential(
            nn.BatchNorm2d(width, track_running_stats=not shared),
            nn.ReLU(),
            nn.Conv2d(width, x.channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Float[Tensor, "n latent"], cells: Sequence[Cell]) -> Float[Tensor, "n c h w"]:
        h, earlier = self.grid(z), list[Tensor]()
        for net, cell in zip(self.cells, cells, strict=False):
            made, h = net(h, earlier, cell)
            earlier.append(made)
        rest = self.depth - len(cells)
        return self.image(h)[:, :, : self.x.height >> rest, : self.x.width >> rest]


class Discriminator(nn.Module):
    """Images -> one score each: SNGAN's, its blocks as many as the generator has cells, then one more (at least 2, at
    most 4), the first two halving the sides."""

    def __init__(self, x: Images, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([first_block(x.channels, width), down_block(width, width), last_block(width)])
        self.last = last_block(width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"], depth: int) -> Float[Tensor, " n"]:
        """depth: cells of the generator that it judges."""
        for block in self.blocks[:depth]:
            x = block(x)
        return self.score(self.last(x).relu().sum((2, 3))).squeeze(1)


def initialize(layer: nn.Module) -> None:
    """Convolutions from Glorot's uniform distribution, as in the authors' recipe."""
    if isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)


class AutoGAN(Generative[None]):
    name = "autogan"

    def __init__(self, config: AutoGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Generator(c.x, c.latent, c.width, [[cell] for cell in c.cells], shared=False).apply(initialize)
        self.discriminator = Discriminator(c.x, c.critic_width).apply(initialize).apply(spectral)
        self.average = EMA(self.generator, c.ema)

    def generate(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise."""
        net = self.average.unless_training(self.generator)
        return net(z, self.config.cells)

    def draw(self, noise: Noise, given: None = None) -> Float[Tensor, "n c h w"]:
        return self.generate(noise.normal(self.config.latent))

    def judge(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """The discriminator's score."""
        return self.discriminator(x, len(self.config.cells))

    def discriminator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """The hinge (Section 4.1)."""
        real, fake = self.judge(batch.x), self.judge(self.draw(batch.noise))
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.hinge_discriminator(real, fake), logs)

    def generator_loss(self, batch: Batch[None], clock: Clock) -> Loss:
        """On two images for each example: 128 where the discriminator sees 64 in the authors' recipe."""
        made = self.generate(batch.noise.normal(2, self.config.latent).flatten(0, 1))
        return Loss(adversarial.hinge_generator(self.judge(made)))

    def stages(self) -> Sequence[Stage]:
        c, follow = self.config, partial(self.average.update, self.generator)
        players = [
            Player(
                name="discriminator",
                owns=self.discriminator,
                loss=self.discriminator_loss,
                optimizer=c.adam,
                turns=c.turns,
                judges=self.discriminator,
            ),
            Player(name="generator", owns=self.generator, loss=self.generator_loss, optimizer=c.adam, project=follow),
        ]
        return [Stage(name="train", players=players)]


PRESETS = {
    "autogan-cifar10": Preset(
        config=AutoGANConfig(),
        steps=50_000,
        batch=64,
        expect="What the authors found, their size and recipe for CIFAR-10: FID 12.42, inception score 8.55 in the "
        "paper; not trained by us.",
    ),
    "autogan-mnist": Preset(
        config=AutoGANConfig(
            x=Images(1, 28, 28),
            latent=64,
            width=16,
            critic_width=16,
            turns=2,
            ema=0.99,
            adam=Adam(lr=1e-3, betas=(0.0, 0.9), schedule="linear"),
        ),
        steps=2_400,
        batch=16,
        expect="Grey MNIST, seed 0, `--channels-last`: 6 minutes of one CPU core. Strokes, most of them digits "
        "(mean confidence .844, FD-mnist-classifier 3.16 by 2,000 samples; floor .22). With the cells "
        "that our search found on MNIST, at the same length: 1.98. To train what a search found: "
        'cells="$(cat DIR/cells.json)".',
    ),
    "autogan-tiny": Preset(
        config=AutoGANConfig(
            x=Images(1, 7, 7), cells=(Cell(conv="post", norm="batch", up="deconv"),), latent=4, width=4, critic_width=4
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "autogan-tiny-rgb": Preset(
        config=AutoGANConfig(x=Images(3, 16, 20), latent=4, width=4, critic_width=4, turns=1),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
PRESETS["autogan-small"] = sized(PRESETS["autogan-mnist"])
PRESETS["autogan-medium"] = sized(PRESETS["autogan-cifar10"])
PRESETS["autogan-paper"] = sized(PRESETS["autogan-cifar10"])
