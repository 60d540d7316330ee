"""VAR: an image as codes of several scales, each scale drawn at once, given all coarser ones, by a transformer.

Tian, Jiang, Yuan, Peng and Wang, 2024. Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
Prediction. https://arxiv.org/abs/2404.02905

    p(z | c) = prod_k p(z_k | z_1, ..., z_{k-1}, c),   z_k a whole grid of codes                    (Equation 6)

The first stage trains the tokenizer, which the paper leaves to its code: an auto-encoder whose vectors are quantized
from one code for the whole image to one a place, each scale taking what the coarser ones left (Algorithms 1 and 2; see
`nn.scales`). It learns by the likelihood of pixels and by how far the sum of the scales so far lies from the encoder's
vectors. In the second stage a transformer reads, at each place of a scale, the sum of the coarser ones there, and
attends to its own scale and to those before. Samples take as many passes as there are scales, through caches of keys
and values. The condition comes first, and steers every layer; guidance grows with the scale.

The codes of one scale are independent given the coarser ones, so that p(z | c) is exact, and what is drawn follows it.
p(x | c) = sum over z of p(z | c) p(x | z) is bounded from below by the encoder's own z.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.nn import functional as F

from triptych.core import (
    FAITHFUL,
    Adam,
    Batch,
    Clock,
    Coding,
    Count,
    Doublings,
    Exact,
    Fraction,
    Images,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    NonNegative,
    Player,
    Preset,
    Sampling,
    Several,
    Stage,
    Text,
    Tokens,
    UsageError,
    asked,
    check_multiple,
    check_sides,
    config,
    sized,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.adaptive import AdaptiveTransformer, Remembered
from triptych.nn.prefix import Prefix
from triptych.nn.scales import Scales, doublings, sizes
from triptych.nn.tokenizer import decoder, encoder

PAPER = Paper(
    called="VAR",
    title="Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction",
    authors="Keyu Tian, Yi Jiang, Zehuan Yuan, Bingyue Peng, Liwei Wang",
    year=2024,
    url="https://arxiv.org/abs/2404.02905",
    conditions="none, label or text",
    likelihood="lower bound",
)


@config
class VARConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | Tokens | None = None
    """The classes, or the space of the texts, that images are conditioned on."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the finest grid of codes."""
    scales: tuple[Count, ...] = ()
    """The longer side of each scale's grid, from 1 to that of the finest. None given: doubled from one to the next."""
    codes: Several = 512
    """How many codes each scale has."""
    code_width: Count = 16
    """Dimensions of a code's vector."""
    tokenizer_width: Count = 64
    """Feature maps of the tokenizer's encoder and decoder."""
    tokenizer_blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    tokenizer_beta: Fraction = 0.0
    """How the tokenizer's training weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    commitment: NonNegative = 0.25
    """The weight of the encoder's distance from its codes, of the mean over scales."""
    width: Count = 128
    """Width of the transformer; the paper takes 64 times the layers. A multiple of the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.0
    """The share of what a layer adds that is left out in training."""
    drop: Fraction = 0.1
    """How often the condition is left out in training: what guidance needs."""
    tokenizer_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the tokenizer."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.02)
    """Optimizer of the transformer."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_multiple("width", self.width, self.heads, f"{self.heads} heads")
        sides, longer = self.sides, max(self.grid)
        if sides[0] != 1 or sides[-1] != longer or list(sides) != sorted(set(sides)):
            raise UsageError(
                f"scales={list(self.scales)}: they grow from 1 to {longer}, the longer side of the grid of "
                f"{self.grid[0]} x {self.grid[1]}: for example {list(doublings(self.grid))}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the finest scale."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings

    @property
    def sides(self) -> tuple[int, ...]:
        """The longer side of each scale."""
        return self.scales or doublings(self.grid)


class VAR(Coding[Label | Text | None]):
    """Exact p(codes), a bound on the likelihood of images, and samples in a pass a scale, by class, text or neither."""

    name = "var"

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        self.config, x, c = config, config.x, config
        self.encoder = encoder(x.channels, c.code_width, c.halvings, c.tokenizer_width, c.tokenizer_blocks)
        self.quantizer = Scales(sizes(c.grid, c.sides), c.codes, c.code_width)
        self.decoder = decoder(c.code_width, outputs_of(x), c.halvings, c.tokenizer_width, c.tokenizer_blocks)
        lengths = self.quantizer.lengths
        self.codes = Tokens(c.codes, sum(lengths))
        self.prefix = Prefix(c.given, c.width)
        self.read = nn.Linear(c.code_width, c.width)
        self.scale = nn.Embedding(len(lengths), c.width)
        blocks = [self.prefix.length, *lengths[1:]]  # the last word stands where the first scale is predicted
        self.where = nn.Parameter(torch.empty(sum(blocks), c.width).normal_())
        self.transformer = AdaptiveTransformer(c.layers, c.width, c.heads, blocks, c.dropout)
        heads = [nn.Linear(c.width, c.codes) for _ in lengths]
        self.out = nn.ModuleList(heads)
        for layer in heads:
            nn.init.normal_(layer.weight, std=0.02 * c.width**-0.5)
            nn.init.zeros_(layer.bias)

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | Text | None = None) -> Int[Tensor, "n places"]:
        """The images' codes, scale after scale, row by row: there is no distribution over them."""
        return self.quantizer.encode(self.encoder(x))

    def decode(self, code: Int[Tensor, "*n places"], given: Label | Text | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(code), 3, validate_args=False)

    def pixels(self, code: Int[Tensor, "*n places"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        y: Tensor = self.decoder(self.quantizer.decode(code.flatten(0, -2)))
        return pixels_of(y.view(*code.shape[:-1], *y.shape[1:]), self.config.x.levels)

    # What the transformer reads and says

    def begin(self, words: Float[Tensor, "n prefix width"]) -> Float[Tensor, "n prefix width"]:
        """The first block: the condition, in whose last place the code of the first scale is predicted."""
        return words + self.where[: self.prefix.length] + self.scale.weight[0]

    def go_on(self, k: int, total: Float[Tensor, "n places code_width"]) -> Float[Tensor, "n places width"]:
        """The block of scale k > 0: the sum of the coarser ones at its size."""
        first = self.prefix.length + sum(self.quantizer.lengths[1:k])
        out: Tensor = self.read(total) + self.where[first : first + total.shape[1]] + self.scale.weight[k]
        return out

    def scores(self, code: Int[Tensor, "n places"], ids: Int[Tensor, "n prefix"]) -> Float[Tensor, "n places codes"]:
        """The scores of each code, given those of coarser scales and the condition's tokens."""
        words = self.prefix(ids)
        blocks = [self.begin(words)] + [self.go_on(k, f) for k, f in enumerate(self.quantizer.before(code), 1)]
        h = self.transformer(torch.cat(blocks, 1), words.mean(1))[:, self.prefix.length - 1 :]  # n places width
        return torch.cat([out(part) for out, part in zip(self.out, h.split(self.quantizer.lengths, 1), strict=True)], 1)

    def draw_codes(self, noise: Noise, given: Label | Text | None, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        """A scale a pass, by the caches; guided, with and without the condition side by side."""
        n, guided, parts = noise.n, how.guidance != 1, self.quantizer.parts
        u, known, drawn = parts(noise.uniform(self.codes.length)), parts(how.start(self.codes, noise)), list[Tensor]()
        ids = self.prefix.ids(n, given)
        words = self.prefix(torch.cat((ids, self.prefix.none(n))) if guided else ids)
        h, caches, added = self.begin(words), [Remembered() for _ in self.transformer.blocks], list[Tensor]()
        for k, length in enumerate(self.quantizer.lengths):
            scores = self.out[k](self.transformer(h, words.mean(1), caches)[:, -length:])
            if guided:
                scores = self.ramped(k, how).guide(*scores.chunk(2))
            drawn.append(how.fill(known[k], scores, u[k]))
            if k + 1 < len(known):
                added.append(self.quantizer.add(k, drawn[k]))
                h = self.go_on(k + 1, self.quantizer.rest(k + 1, torch.stack(added).sum(0)))
                h = torch.cat((h, h)) if guided else h
        return torch.cat(drawn, 1)

    def ramped(self, k: int, how: Sampling) -> Sampling:
        """How scale k is guided: not at all at first, and as far as asked for in the end. To follow the condition less
        than was learned, or not at all, is to do so from the first scale on."""
        if how.guidance < 1:
            return how
        last = len(self.quantizer.lengths) - 1
        return replace(how, guidance=1 + (how.guidance - 1) * (k / last if last else 1))

    # The losses and the likelihood

    def loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The tokenizer's: -log p(x | z(x)), in nats where beta is 0, and the two distances of `Scales.learn`."""
        total, toward, fitted = self.quantizer.learn(self.encoder(batch.x), batch.noise)
        p = pixels_of(self.decoder(total), self.config.x.levels)
        nats = -p.log_prob(batch.x)
        weighed = evened(p, nats, self.config.tokenizer_beta, balanced=True).flatten(1).sum(1).mean()
        value = weighed + self.config.commitment * toward.mean() + fitted.mean()
        return Loss(value, {"distortion": nats.flatten(1).sum(1).mean(), "commitment": toward.mean()})

    def code_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """-log p(z | c) a code, in nats: of real images' codes, with the condition left out now and then."""
        code, dropped = batch.coded(self.encode), batch.noise.uniform(1)[:, 0] < self.config.drop
        nats = self.nats(code, self.prefix.ids(len(code), batch.given, dropped)).mean()
        return Loss(nats / self.codes.length, {"nats": nats})

    def nats(self, code: Int[Tensor, "n places"], ids: Int[Tensor, "n prefix"]) -> Float[Tensor, " n"]:
        return F.cross_entropy(self.scores(code, ids).mT, code, reduction="none").sum(1)

    @asked
    def log_prob_codes(
        self, code: Int[Tensor, "n places"], given: Label | Text | None = None, *, guidance: float = 1.0
    ) -> Exact:
        """log p(z | c). Raises UsageError for a guidance other than 1: what it draws is of another distribution."""
        self.check_plain(guidance)
        self.check_given(len(code), given)
        nats = -self.nats(code, self.prefix.ids(len(code), given))
        return Exact(nats=nats, dims=self.codes.length, measure="mass", how="chain rule over scales of codes")

    def log_prob(
        self, x: Float[Tensor, "n c h w"], given: Label | Text | None = None, *, guidance: float = 1.0
    ) -> LowerBound:
        """log p(x | z) + log p(z | c) of the encoder's own z, which is one term of the sum that p(x | c) is.

        Raises UsageError if x is not in the model's space, and for a guidance other than 1.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        code = self.encode(x)
        nats = self.decode(code).log_prob(x) + self.log_prob_codes(code, given, guidance=guidance).nats
        return LowerBound(
            nats=nats, dims=self.config.x.dims, measure="mass", how="log p(x, z) of the encoder's codes z"
        )

    def stages(self) -> Sequence[Stage]:
        c = self.config
        owned = nn.ModuleDict({"prefix": self.prefix, "read": self.read, "scale": self.scale, "out": self.out})
        owned["transformer"] = self.transformer
        owned.register_parameter("where", self.where)
        first = Player(
            name="tokenizer",
            owns=nn.ModuleList([self.encoder, self.quantizer, self.decoder]),
            loss=self.loss,
            optimizer=c.tokenizer_adam,
            clip=1.0,
            project=self.quantizer.follow,
        )
        second = Player(name="codes", owns=owned, loss=self.code_loss, optimizer=c.adam, clip=2.0)
        return [Stage(name="tokenizer", players=[first]), Stage(name="codes", players=[second], reads=self.encode)]


PRESETS = {
    "var-mnist": Preset(
        config=VARConfig(codes=64, code_width=8, tokenizer_width=32, tokenizer_blocks=1, width=96),
        steps=1500,
        batch=16,
        expect="Dynamically binarized MNIST, seed 0, 728 steps a stage (102 CPU seconds of one core): every code is "
        "used at every scale, at most 248.2 +- 1.1 nats (1,000 test images; the encoder's own codes only), FD-pca-64 "
        "5.16 (500 samples; floor 3.47). Half of the samples are broken digits, in 4 passes for 70 codes.",
    ),
    "var-32": Preset(
        config=VARConfig(x=Images(3, 32, 32), codes=256, tokenizer_width=48, tokenizer_blocks=1, width=96),
        steps=3000,
        batch=32,
        expect="Color images of 32 x 32, meant for 20 minutes of one CPU core for both stages; not trained by us yet.",
    ),
    "var-paper": Preset(
        config=VARConfig(
            x=Images(3, 256, 256),
            given=Labels(1000),
            halvings=4,
            scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
            codes=4096,
            code_width=32,
            tokenizer_width=160,
            width=1024,
            layers=16,
            heads=16,
            dropout=0.1,
            tokenizer_adam=Adam(lr=1e-4, betas=(0.9, 0.95)),
            adam=Adam(lr=3e-4, betas=(0.9, 0.95), weight_decay=0.05),
        ),
        fits=lambda x: {} if x.shape == (3, 256, 256) else {"scales": ()},  # those of its own size, or doubled
        steps=350_000,
        batch=768,
        expect="Its transformer of 16 layers, 680 codes in 10 passes, for ImageNet on GPUs; not trained by us. The "
        "paper, with an adversarial tokenizer and one codebook for all scales: FID 3.55, guided.",
    ),
    "var-tiny": Preset(
        config=VARConfig(
            x=Images(1, 2, 4, levels=2),
            halvings=1,
            codes=4,
            code_width=2,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=1,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: all codes can be summed over.",
    ),
    "var-tiny-classes": Preset(
        config=VARConfig(
            x=Images(3, 4, 4, levels=3),
            given=Labels(3),
            halvings=1,
            codes=3,
            code_width=2,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=2,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors, classes and guidance.",
    ),
    "var-tiny-text": Preset(
        config=VARConfig(
            x=Images(1, 6, 4, levels=2),
            given=Tokens(5, 3),
            halvings=1,
            scales=(1, 3),
            codes=2,
            code_width=2,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=1,
            heads=1,
        ),
        steps=10,
        batch=8,
        expect="For tests of texts.",
    ),
}
PRESETS["var-small"] = sized(PRESETS["var-mnist"])
PRESETS["var-medium"] = sized(PRESETS["var-32"])
