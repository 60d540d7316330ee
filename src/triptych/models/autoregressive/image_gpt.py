"""ImageGPT: p(x) as a product over sub-pixels, each given those before it in raster order by a causal transformer.

Chen, Radford, Child, Wu, Jun, Luan and Sutskever, 2020. Generative Pretraining From Pixels.
https://proceedings.mlr.press/v119/chen20s.html

    p(x) = prod_i p(x_i | x_1, ..., x_{i-1}, theta)        (Equation 1)

in raster order, red before green before blue. Each sub-pixel is one token, its level, as in the Sparse Transformer
(Child and others, 2019; https://arxiv.org/abs/1904.10509). The paper itself shortens images to a palette of 512 colors
found by k-means: then p is one of palette images, of which many images become the same, and its bits a token cannot be
compared with bits a sub-pixel. Here they can be: p sums to one over the images themselves.

A place of the sequence predicts one sub-pixel, and is told where that is: by learned vectors for its row, its column
and its color, and by rotary attention along rows and columns. The block is today's: RMSNorm, SwiGLU. A learned vector
stands before the first sub-pixel; with labels, one for each class.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import (
    FAITHFUL,
    UNKNOWN,
    Adam,
    Autoregressive,
    Batch,
    Clock,
    Count,
    Exact,
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
)
from triptych.models.paper import Paper
from triptych.nn.transformer import Read, Score, Transformer, check_heads, rotations, write

PAPER = Paper(
    called="ImageGPT",
    title="Generative Pretraining From Pixels",
    authors="Mark Chen, Alec Radford, Rewon Child, Jeffrey Wu, Heewoo Jun, David Luan, Ilya Sutskever",
    year=2020,
    url="https://proceedings.mlr.press/v119/chen20s.html",
    conditions="none or label",
    likelihood="exact",
)


@config
class ImageGPTConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """Two levels make each factor a Bernoulli, more a softmax over the levels."""
    given: Labels | None = None
    """The classes, for p(x | class)."""
    width: Count = 64
    """Width of the sub-pixel embedding and of the residual stream. A multiple of four times the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 2
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=4e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)

    def __post_init__(self) -> None:
        check_heads("width", self.width, self.heads, axes=2)


class ImageGPT(Autoregressive[Label | None]):
    """An exact likelihood of images on a grid of levels, and samples from it."""

    name = "imagegpt"
    places: Tensor
    """Row, column and color of each sub-pixel, in order."""

    def __init__(self, config: ImageGPTConfig) -> None:
        super().__init__()
        self.config, x, width = config, config.x, config.width
        self.scores = 1 if x.levels == 2 else x.levels
        places = torch.cartesian_prod(torch.arange(x.height), torch.arange(x.width), torch.arange(x.channels))
        self.register_buffer("places", places.view(-1, 3), persistent=False)
        self.level = nn.Embedding(x.levels, width)
        self.start = nn.Embedding(config.given.classes if config.given else 1, width)
        self.where = nn.ModuleList([nn.Embedding(size, width) for size in (x.height, x.width, x.channels)])
        turns = rotations(self.places[:, :2], width // config.heads, slowest=100)
        self.transformer = Transformer(config.layers, width, config.heads, turns)
        self.out = nn.Linear(width, self.scores)

    def begin(self, token: Int[Tensor, "n t"], given: Label | None) -> Float[Tensor, "n t+1 width"]:
        """Input embeddings: the start token or the class, then the sub-pixels, each one position after its own."""
        y = given.y if given is not None else token.new_zeros(len(token))
        return torch.cat((self.start(y)[:, None], self.level(token)), 1) + self.position(0, token.shape[1] + 1)

    def position(self, first: int, end: int) -> Float[Tensor, "t width"]:
        """Position embedding of the sub-pixel that each position predicts: its row, column and color, added up."""
        where = self.places[first:end].unbind(-1)
        return torch.stack([vector(at) for vector, at in zip(self.where, where, strict=True)]).sum(0)

    def logits(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Float[Tensor, "n c h w k"]:
        """The logits of each sub-pixel's levels, given those before it; for two levels one log-odds (k = 1)."""
        space = self.config.x
        token = space.nearest(x).movedim(1, -1).flatten(1)
        scores = self.out(self.transformer(self.begin(token[:, :-1], given)))
        return scores.view(len(x), space.height, space.width, space.channels, -1).movedim(3, 1)

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Exact:
        """log p(x), by Equation 1. Raises UsageError if x is not on the levels of its space."""
        level, logits = self.config.x.index(x), self.logits(x, given)
        if self.scores == 1:
            nats = -F.binary_cross_entropy_with_logits(logits.squeeze(-1), level.to(logits.dtype), reduction="none")
        else:
            nats = -F.cross_entropy(logits.movedim(-1, 1), level, reduction="none")
        return Exact(nats=nats.flatten(1).sum(1), dims=self.config.x.dims, measure="mass", how="chain rule")

    def draw(self, noise: Noise, given: Label | None = None, how: Sampling = FAITHFUL) -> Float[Tensor, "n c h w"]:
        """The prefix that all samples know is read at once; then one sub-pixel at a time, by the key-value cache."""
        x = self.config.x
        u = noise.uniform(*x.shape).movedim(1, -1).flatten(1)
        token = how.start(x, noise).movedim(1, -1).flatten(1)
        first = int((token[:, :-1] != UNKNOWN).all(0).cumprod(0).sum())
        score, row = Score(self.out.weight, self.out.bias), x.width * x.channels
        read = Read(self.level.weight, position=self.position(0, x.dims), row=row)
        token = write(self.transformer, self.begin(token[:, :first], given), token, u, how, score, read)
        return x.from_index(token.view(noise.n, x.height, x.width, x.channels).movedim(-1, 1).contiguous())

    def memory(self, n: int) -> Sequence[Tensor]:
        """The key-value caches of n images before their first sub-pixel."""
        return self.transformer.memory(n)

    def step(
        self, value: Int[Tensor, " n"], at: Int[Tensor, " 1"], memory: Sequence[Tensor], given: Label | None = None
    ) -> tuple[Float[Tensor, "n k"], Sequence[Tensor]]:
        """The scores of one sub-pixel, for programs without this model: rows from the top, the colors innermost."""
        start = self.start(given.y if given is not None else torch.zeros_like(value))[:, None]
        place = self.position(0, self.config.x.dims).index_select(0, at)
        h, memory = self.transformer.advance(
            torch.where(at == 0, start, self.level(value[:, None])) + place, at, memory
        )
        return self.out(h[:, 0]), memory

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(x) a sub-pixel, in nats: maximum likelihood (Equation 2)."""
        p = self.log_prob(batch.x, batch.given)
        nats = -p.nats.mean()
        return Loss(nats / p.dims, {"nats": nats, "bits_per_dim": p.bits_per_dim().mean()})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="imagegpt", owns=self, loss=self.loss, optimizer=self.config.adam, clip=1.0)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "imagegpt-mnist": Preset(
        config=ImageGPTConfig(),
        steps=2700,
        batch=4,
        expect="Dynamically binarized MNIST, one of two CPU cores (shared with other work), seed 0: 13 minutes, 85.39 "
        "+- .21 nats on the 10,000 test images (exact). Most samples are digits.",
    ),
    "imagegpt-cifar": Preset(
        config=ImageGPTConfig(
            x=Images(3, 32, 32),
            width=256,
            layers=128,
            heads=2,
            adam=Adam(lr=3.5e-4, weight_decay=0.01, schedule="cosine", warmup=0.01),
        ),
        steps=370_000,
        batch=16,
        expect="The Sparse Transformer's CIFAR-10 model in size (128 layers of 256), with full attention; for GPUs, "
        "not trained by us. That paper: 2.80 bits/dim.",
    ),
    "imagegpt-tiny": Preset(
        config=ImageGPTConfig(x=Images(1, 3, 3, levels=2), width=8, layers=2, heads=2),
        steps=10,
        batch=8,
        expect="For tests: all 512 images can be enumerated.",
    ),
    "imagegpt-tiny-rgb": Preset(
        config=ImageGPTConfig(x=Images(3, 2, 2, levels=3), width=8, layers=1, heads=1),
        steps=10,
        batch=8,
        expect="For tests of the order of colors.",
    ),
    "imagegpt-tiny-classes": Preset(
        config=ImageGPTConfig(x=Images(1, 2, 3, levels=3), given=Labels(3), width=8, layers=1, heads=2),
        steps=10,
        batch=8,
        expect="For tests of classes.",
    ),
}
PRESETS["imagegpt-small"] = sized(PRESETS["imagegpt-mnist"])
PRESETS["imagegpt-medium"] = sized(PRESETS["imagegpt-cifar"])
PRESETS["imagegpt-paper"] = sized(PRESETS["imagegpt-cifar"])
