"""MaskGIT: an image as codes, any of which are predicted from any others, many at a time, by a transformer.

Chang, Zhang, Jiang, Liu and Freeman, 2022. MaskGIT: Masked Generative Image Transformer.
https://arxiv.org/abs/2202.04200

    loss = -mean over masked i of log p(z_i | those not masked),  a share cos(pi u / 2) masked       (Equation 1)

Samples begin with nothing and take a few passes, each of which reveals more of the codes: those that the network is
most confident of (Section 3.2), or, better, the next of an order that spreads evenly over the image, a Halton sequence
(Besnier and others, 2025. Halton Scheduler for Masked Generative Image Transformer. https://arxiv.org/abs/2503.17076).
Known codes simply stay: holes are filled by what surrounds them on all sides.

The likelihood is of another way to draw with the same network: one code a pass, in an order at random. Then p(z) is the
mean over orders of p(z | order), and with D codes, a random order and a random number m of them masked,

    D / m  sum over masked i of log p(z_i | the others)

is in expectation the mean of log p(z | order), so not above log p(z): the order-agnostic bound of Uria, Murray and
Larochelle (2014; https://arxiv.org/abs/1310.1757), as EoNADE trains by. Samples of few passes, whose codes of one pass
do not know of each other, follow p(z) in part only.
"""

from collections.abc import Sequence
from math import acos, ceil, cos, pi
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Uniform
from torch.nn import functional as F

from triptych.core import (
    FAITHFUL,
    UNKNOWN,
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
    Stage,
    Text,
    Tokens,
    UsageError,
    asked,
    check_sides,
    config,
    sized,
    unchanged,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.fsq import Levels
from triptych.nn.prefix import Prefix, places_after
from triptych.nn.tokenizer import Tokenizer
from triptych.nn.transformer import Transformer, check_heads, rotations

PAPER = Paper(
    called="MaskGIT",
    title="MaskGIT: Masked Generative Image Transformer",
    authors="Huiwen Chang, Han Zhang, Lu Jiang, Ce Liu, William T. Freeman",
    year=2022,
    url="https://arxiv.org/abs/2202.04200",
    conditions="none, label or text",
    likelihood="lower bound",
)


@config
class MaskGITConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | Tokens | None = None
    """The classes, or the space of the texts, that images are conditioned on."""
    levels: Levels = (8, 6, 5)
    """Of each number of a code: their product is how many codes there are."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the grid of codes."""
    tokenizer_width: Count = 64
    """Feature maps of the tokenizer's encoder and decoder."""
    tokenizer_blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    tokenizer_beta: Fraction = 0.0
    """How the tokenizer's training weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    width: Count = 128
    """Width of the transformer: of a code's embedding. A multiple of four times the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.1
    """The share of what a layer adds that is left out in training."""
    drop: Fraction = 0.1
    """How often the condition is left out in training: what guidance needs."""
    smoothing: Fraction = 0.1
    """Label smoothing of the loss: the share of a target that is spread over all codes. Not in likelihoods."""
    order: Literal["halton", "confidence"] = "halton"
    """What a pass of sampling reveals: the next places of a Halton sequence, or those codes that it is surest of."""
    passes: Count = 8
    """How many passes sampling takes; as many as there are codes: one code each."""
    spread: NonNegative = 4.5
    """How much chance there is in what is surest: the weight of Gumbel noise in the first pass. It falls to zero."""
    tokenizer_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the tokenizer."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.96), weight_decay=0.045, schedule="cosine", warmup=0.02)
    """Optimizer of the transformer."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_heads("width", self.width, self.heads, axes=2)


class MaskGIT(Coding[Label | Text | None]):
    """A bound on the likelihood of images, and samples in few passes, by class, by text or neither."""

    name = "maskgit"
    halton: Tensor

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.config, x, width = config, config.x, config.width
        self.tokenizer = Tokenizer(
            x, outputs_of(x), config.levels, config.halvings, config.tokenizer_width, config.tokenizer_blocks
        )
        grid, self.hidden = self.tokenizer.grid, self.tokenizer.fsq.codes
        self.codes = Tokens(self.hidden, grid[0] * grid[1])
        self.register_buffer("halton", halton(*grid), persistent=False)
        self.prefix = Prefix(config.given, width)
        places = places_after(self.prefix.length, grid)
        self.code = nn.Embedding(self.hidden + 1, width)
        """The last one is for a code that is not known."""
        self.where = nn.Parameter(torch.empty(len(places), width).normal_())
        turns = rotations(places, width // config.heads, slowest=100)
        self.transformer = Transformer(config.layers, width, config.heads, turns, causal=False, dropout=config.dropout)
        self.out = nn.Linear(width, self.hidden, bias=False)
        nn.init.zeros_(self.out.weight)

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | Text | None = None) -> Int[Tensor, "n places"]:
        """The images' codes, row by row: there is no distribution over them."""
        return self.tokenizer.encode(x)

    def decode(self, code: Int[Tensor, "*n places"], given: Label | Text | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(code), 3, validate_args=False)

    def pixels(self, code: Int[Tensor, "*n places"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        return pixels_of(self.tokenizer.decode(code), self.config.x.levels)

    def scores(self, code: Int[Tensor, "n places"], ids: Int[Tensor, "n prefix"]) -> Float[Tensor, "n places codes"]:
        """The scores of each code, given those that are not -1 and the condition's tokens."""
        code = torch.where(code == UNKNOWN, self.hidden, code)
        h = torch.cat((self.prefix(ids), self.code(code)), 1) + self.where  # n prefix+places width
        out: Tensor = self.out(self.transformer(h)[:, self.prefix.length :])
        return out

    # Sampling

    def draw_codes(self, noise: Noise, given: Label | Text | None, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        """All codes in a few passes; those that are known stay, and the others are told of them from the first on."""
        n, places = noise.n, self.codes.length
        passes = min(self.config.passes, places)
        code, ids = how.start(self.codes, noise), self.prefix.ids(n, given)
        unknown = (code == UNKNOWN).sum(1, keepdim=True)
        for k, share in enumerate(shares(passes, places, self.config.order), 1):
            due = (share * unknown - 1e-4).ceil().long() - (unknown - (code == UNKNOWN).sum(1, keepdim=True))
            scores = self.scores(code, ids)
            if how.guidance != 1:
                scores = how.guide(scores, self.scores(code, self.prefix.none(n)))
            drawn = how.pick(scores, noise.uniform(places))
            if self.config.order == "halton":
                rank = -self.halton.expand_as(code).to(scores.dtype)
            else:
                sure = scores.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
                rank = sure + self.config.spread * (1 - k / passes) * gumbel(noise.uniform(places))
            rank = rank.masked_fill(code != UNKNOWN, -torch.inf)
            first = rank.argsort(dim=1, descending=True, stable=True).argsort(1) < due
            code = torch.where(first & (code == UNKNOWN), drawn, code)
        return code

    def known_codes(self, x: Float[Tensor, "n c h w"], known: Bool[Tensor, "n h w"]) -> Int[Tensor, "n places"]:
        """The codes of images of which only some pixels are known, for `Sampling(known=...)`: -1 for those of places
        where any pixel is not. (The encoder sees further than its place: what is not known is to be filled in x.)"""
        return self.tokenizer.known(x, known)

    # The losses

    def loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The tokenizer's: -log p(x | z(x)), in nats where beta is 0."""
        p = pixels_of(self.tokenizer.learn(batch.x), self.config.x.levels)
        nats = -p.log_prob(batch.x)
        value = evened(p, nats, self.config.tokenizer_beta).flatten(1).sum(1).mean()
        return Loss(value, {"distortion": nats.flatten(1).sum(1).mean()})

    def code_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """Equation 1: the cross-entropy of masked codes, in nats, with the condition left out now and then."""
        code, dropped = batch.coded(self.encode), batch.noise.uniform(1)[:, 0] < self.config.drop
        rank, u = batch.noise.uniform(self.codes.length).argsort(1).argsort(1), batch.noise.uniform(1)
        masked = rank < (self.codes.length * (u * pi / 2).cos()).ceil().clamp(min=1)
        ids = self.prefix.ids(len(code), batch.given, dropped)
        nats = masked * self.cost(code, masked, ids, self.config.smoothing)
        return Loss((nats.sum(1) / masked.sum(1)).mean())

    def cost(
        self,
        code: Int[Tensor, "n places"],
        masked: Bool[Tensor, "n places"],
        ids: Int[Tensor, "n prefix"],
        smoothing: float = 0.0,
    ) -> Float[Tensor, "n places"]:
        """-log p of each code given those that are not masked."""
        scores = self.scores(code.masked_fill(masked, UNKNOWN), ids)
        return F.cross_entropy(scores.mT, code, reduction="none", label_smoothing=smoothing)

    def fits(self, code: Int[Tensor, "n places"], given: Label | Text | None) -> Float[Tensor, " n"]:
        """log p(codes | given) of the passes of a Halton sequence. The bound draws its orders: what a seed draws would
        be chosen by something else, each time."""
        ids, places, seen = self.prefix.ids(len(code), given), self.codes.length, 0
        passes, nats = min(self.config.passes, places), code.new_zeros(len(code), dtype=self.precision)
        for share in shares(passes, places, "halton"):
            due = ceil(share * places - 1e-4)
            masked, now = self.halton >= seen, (self.halton >= seen) & (self.halton < due)
            nats = nats - (now * self.cost(code, masked.expand_as(code), ids)).sum(1)
            seen = due
        return nats

    # The likelihood

    @asked
    def log_prob_codes(
        self,
        code: Int[Tensor, "n places"],
        given: Label | Text | None = None,
        *,
        draws: int = 1,
        guidance: float = 1.0,
    ) -> LowerBound:
        """The order-agnostic bound on log p(z | c), a mean of `draws` passes.

        Orders come from torch's global generator. Raises UsageError for a guidance other than 1, or no draw.
        """
        self.check_plain(guidance)
        self.check_given(len(code), given)
        if draws < 1:
            raise UsageError(f"draws={draws}: the bound takes one or more")
        ids, nats = self.prefix.ids(len(code), given), code.new_zeros(len(code), dtype=self.precision)
        zero = code.new_zeros((), dtype=torch.float32)
        uniform = Uniform(zero, zero + 1)
        for _ in range(draws):
            rank = uniform.sample(code.shape).argsort(1).argsort(1)
            masked = rank <= (uniform.sample((len(code), 1)) * self.codes.length).long()
            part = (masked * self.cost(code, masked, ids)).sum(1) * (self.codes.length / masked.sum(1))
            nats = nats - part / draws
        how = f"order-agnostic bound, {draws} draw{'s' if draws > 1 else ''}"
        return LowerBound(nats=nats, dims=self.codes.length, measure="mass", how=how)

    @asked
    def log_prob_in_order(
        self, code: Int[Tensor, "n places"], order: Int[Tensor, " places"], given: Label | Text | None = None
    ) -> Exact:
        """log p(z | c, order), of one code a pass in that order: as many passes as there are codes."""
        self.check_given(len(code), given)
        ids, rank = self.prefix.ids(len(code), given), order.argsort()
        parts = [self.cost(code, (rank >= k).expand_as(code), ids)[:, place] for k, place in enumerate(order.tolist())]
        nats = -torch.stack(parts, 1).sum(1)
        return Exact(nats=nats, dims=self.codes.length, measure="mass", how="chain rule over codes, in one order")

    def log_prob(
        self,
        x: Float[Tensor, "n c h w"],
        given: Label | Text | None = None,
        *,
        draws: int = 1,
        guidance: float = 1.0,
    ) -> LowerBound:
        """log p(x | z) + the bound on log p(z | c), of the encoder's own z: below log p(x | c) twice over.

        Raises UsageError if x is not in the model's space, and as `log_prob_codes` does.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        code = self.encode(x)
        p = self.log_prob_codes(code, given, draws=draws, guidance=guidance)
        nats = self.decode(code).log_prob(x) + p.nats
        return LowerBound(nats=nats, dims=self.config.x.dims, measure="mass", how=f"the encoder's codes, {p.how}")

    def stages(self) -> Sequence[Stage]:
        tokenizer, c = self.tokenizer, self.config
        owned = nn.ModuleDict({"prefix": self.prefix, "code": self.code, "transformer": self.transformer})
        owned["out"] = self.out
        owned.register_parameter("where", self.where)
        first = Player(
            name="tokenizer",
            owns=tokenizer,
            loss=self.loss,
            optimizer=c.tokenizer_adam,
            clip=1.0,
            project=tokenizer.fsq.follow,
        )
        second = Player(name="codes", owns=owned, loss=self.code_loss, optimizer=c.adam, clip=1.0)
        return [Stage(name="tokenizer", players=[first]), Stage(name="codes", players=[second], reads=self.encode)]


def shares(passes: int, places: int, order: str) -> list[float]:
    """The share of codes that are known after each pass: few at first, where little is known to predict them by.

    By confidence 1 - cos(pi t / 2), the paper's; by Halton sequence 1 - arccos(t) / (pi / 2), the other paper's, which
    takes most in the last pass. One code a pass, if there are as many passes.
    """
    if passes == places:
        return [k / passes for k in range(1, passes + 1)]
    if order == "confidence":
        return [1 - cos(pi * k / passes / 2) for k in range(1, passes)] + [1.0]
    return [1 - acos(k / passes) / (pi / 2) for k in range(1, passes)] + [1.0]


def halton(rows: int, columns: int) -> Int[Tensor, " places"]:
    """When each place of a grid, row by row, comes in the Halton sequence of bases 2 and 3 on it."""
    rank: dict[tuple[int, int], int] = {}
    i = 0
    while len(rank) < rows * columns:
        i += 1
        rank.setdefault((int(mirrored(i, 2) * rows), int(mirrored(i, 3) * columns)), len(rank))
    return torch.tensor([rank[row, column] for row in range(rows) for column in range(columns)])


def mirrored(i: int, base: int) -> float:
    """The digits of i behind the point, the last one first: the van der Corput sequence."""
    value, unit = 0.0, 1.0
    while i:
        i, digit = divmod(i, base)
        unit /= base
        value += digit * unit
    return value


def gumbel(u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Standard Gumbel numbers of uniform ones."""
    return -(-(u.clamp(min=1e-20).log())).clamp(min=1e-20).log()


PRESETS = {
    "maskgit-mnist": Preset(
        config=MaskGITConfig(levels=(5, 5), tokenizer_width=32, tokenizer_blocks=1, width=96, layers=4),
        steps=1500,
        batch=16,
        expect="Dynamically binarized MNIST, seed 0, 859 steps a stage (90 CPU seconds of one core): at most 168.2 "
        "+- .7 nats (1,000 test images; the encoder's own codes only), FD-pca-64 6.73 in 8 passes and 6.75 in 4 (500 "
        "samples; floor 3.47). More than half of the samples are broken digits.",
    ),
    "maskgit-32": Preset(
        config=MaskGITConfig(x=Images(3, 32, 32), tokenizer_width=48, tokenizer_blocks=1, width=96, layers=4),
        steps=3000,
        batch=32,
        expect="Color images of 32 x 32, meant for 20 minutes of one CPU core for both stages; not trained by us yet.",
    ),
    "maskgit-paper": Preset(
        config=MaskGITConfig(
            x=Images(3, 256, 256),
            given=Labels(1000),
            levels=(8, 5, 5, 5),
            halvings=4,
            tokenizer_width=256,
            width=768,
            layers=24,
            heads=8,
            order="confidence",
            tokenizer_adam=Adam(lr=1e-4, betas=(0.9, 0.95)),
            adam=Adam(lr=1e-4, betas=(0.9, 0.96), weight_decay=0.045),
        ),
        fits=unchanged,
        steps=1_500_000,
        batch=256,
        expect="The paper's transformer over 16 x 16 codes (1,000 there are; it has 1,024, learned), for ImageNet on "
        "GPUs; not trained by us. The paper, with an adversarial tokenizer: FID 6.18 in 8 passes.",
    ),
    "maskgit-tiny": Preset(
        config=MaskGITConfig(
            x=Images(1, 2, 4, levels=2),
            levels=(3, 2),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=1,
            heads=2,
            passes=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: all codes can be summed over.",
    ),
    "maskgit-tiny-classes": Preset(
        config=MaskGITConfig(
            x=Images(3, 4, 6, levels=3),
            given=Labels(3),
            levels=(4,),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=1,
            heads=2,
            order="confidence",
            passes=3,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors, classes and guidance.",
    ),
}
PRESETS["maskgit-small"] = sized(PRESETS["maskgit-mnist"])
PRESETS["maskgit-medium"] = sized(PRESETS["maskgit-mnist"], steps=18_000)
