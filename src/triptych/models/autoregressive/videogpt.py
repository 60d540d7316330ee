"""VideoGPT: the frames that follow as codes of small blocks of space and time, one after the other, by a transformer.

Yan, Zhang, Abbeel and Srinivas, 2021. VideoGPT: Video Generation using VQ-VAE and Transformers.
https://arxiv.org/abs/2104.10157

    p(z | c) = prod_t p(z_t | z_1, ..., z_{t-1}, c)                                            (Section 3.2)

where c are the frames before. The first stage makes codes of blocks of a few frames by a few pixels; here by finite
scalar quantization (Mentzer and others, 2023; https://arxiv.org/abs/2309.15505), in place of a learned codebook, with
the frames of a block as channels of a picture, in place of convolutions in three dimensions. It is trained by the
likelihood of pixels alone, so that p(x | z) is one. The second stage draws the codes block after block, row after row.
The frames before are read by convolutions, as in the paper, and by blocks of ConvMixer that foresee as SimVP's do; what
they make of them is added at the place of each code that is to come (there it is attended to), and is left out one time
in ten.

p(z | c) is exact. p(x | c) = sum over z of p(z | c) p(x | z) is bounded from below by the encoder's own z.

Where a model that is trained by squared distance shows the mean of what may come, this one draws one thing that may.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
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
    Loss,
    LowerBound,
    Noise,
    Picture,
    Player,
    Preset,
    Sampling,
    Stage,
    Tokens,
    UsageError,
    Video,
    asked,
    config,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.frames import Mixer, check_frames, darkened, merged, split
from triptych.nn.fsq import Levels
from triptych.nn.prefix import places_after
from triptych.nn.tokenizer import Tokenizer, encoder
from triptych.nn.transformer import Read, Score, Transformer, check_heads, rotations, write

PAPER = Paper(
    called="VideoGPT",
    title="VideoGPT: Video Generation using VQ-VAE and Transformers",
    authors="Wilson Yan, Yunzhi Zhang, Pieter Abbeel, Aravind Srinivas",
    year=2021,
    url="https://arxiv.org/abs/2104.10157",
    conditions="video",
    likelihood="lower bound",
    takes=("video",),
)


@config
class VideoGPTConfig:
    x: Video = Video(10, 1, 64, 64)
    """The frames that follow. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Video = Video(10, 1, 64, 64)
    """The frames before, of the same size."""
    levels: Levels = (8, 5, 5, 5)
    """Of each number of a code: their product is how many codes there are."""
    span: Count = 2
    """Frames of a block that is one grid of codes."""
    halvings: Doublings = 3
    """How often each side is halved on the way from the frames to the grid of codes."""
    tokenizer_width: Count = 32
    """Feature maps of the tokenizer's encoder and decoder."""
    tokenizer_blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    tokenizer_beta: Fraction = 0.0
    """How the tokenizer's training weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    past_width: Count = 16
    """Channels of each frame before."""
    mixed: Count = 128
    """Channels of all frames before together."""
    past_blocks: Count = 4
    """Blocks that foresee."""
    kernel: Count = 7
    """Places to a side that such a block's convolution sees; an odd number."""
    width: Count = 96
    """Width of the transformer: of a code's embedding. A multiple of six times the heads."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.0
    """The share of what a layer adds that is left out in training."""
    drop: Fraction = 0.1
    """How often the frames before are left out in training: what guidance needs."""
    tokenizer_adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.05)
    """Optimizer of the tokenizer."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.05)
    """Optimizer of the transformer, and of what reads the frames before."""

    def __post_init__(self) -> None:
        check_frames(self.x, self.given, 2**self.halvings, f"halvings={self.halvings}")
        check_heads("width", self.width, self.heads, axes=3)
        if self.x.frames % self.span:
            raise UsageError(
                f"span={self.span}: {self.x.frames} frames that follow are no whole number of blocks of "
                f"{self.span} frames; span=1 goes with any"
            )

    @property
    def blocks(self) -> int:
        return self.x.frames // self.span


class Past(nn.Module):
    """The frames before -> what they say of each code that is to come."""

    def __init__(self, c: VideoGPTConfig) -> None:
        super().__init__()
        self.frames, self.blocks = c.given.frames, c.blocks
        self.each = encoder(c.given.channels, 2 * c.past_width, c.halvings, c.past_width, blocks=1)
        self.into = nn.Conv2d(self.frames * 2 * c.past_width, c.mixed, 1)
        self.foresee = nn.Sequential(*(Mixer(c.mixed, c.kernel) for _ in range(c.past_blocks)))
        self.out_of = nn.Conv2d(c.mixed, self.blocks * c.width, 1)

    def forward(self, frames: Float[Tensor, "n before c h w"]) -> Float[Tensor, "n places width"]:
        seen = split(self.each(merged(frames)), self.frames).flatten(1, 2)  # n before*2*past_width h/8 w/8
        ahead = self.out_of(self.foresee(self.into(seen)))  # n blocks*width h/8 w/8
        return ahead.unflatten(1, (self.blocks, -1)).movedim(2, -1).flatten(1, 3)


class VideoGPT(Coding[Picture]):
    """Exact p(codes), a bound on the likelihood of the frames that follow, and samples of them."""

    name = "videogpt"

    def __init__(self, config: VideoGPTConfig) -> None:
        super().__init__()
        self.config, x, width = config, config.x, config.width
        block = Images(config.span * x.channels, x.height, x.width, levels=x.levels)
        self.tokenizer = Tokenizer(
            block, outputs_of(block), config.levels, config.halvings, config.tokenizer_width, config.tokenizer_blocks
        )
        last = self.tokenizer.decoder[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        darkened(last)
        grid, codes = (config.blocks, *self.tokenizer.grid), self.tokenizer.fsq.codes
        self.codes = Tokens(codes, config.blocks * self.tokenizer.places)
        self.past = Past(config)
        self.start = nn.Parameter(torch.empty(1, width).normal_())
        self.code = nn.Embedding(codes, width)
        self.where = nn.Parameter(torch.empty(self.codes.length, width).normal_())
        """For each position, of the place whose code it predicts."""
        turns = rotations(places_after(1, grid)[:-1], width // config.heads, slowest=100)
        self.transformer = Transformer(config.layers, width, config.heads, turns, dropout=config.dropout)
        self.out = nn.Linear(width, codes, bias=False)
        nn.init.zeros_(self.out.weight)

    # The tokenizer

    def blocks(self, x: Float[Tensor, "n t c h w"]) -> Float[Tensor, "nb spanc h w"]:
        """The frames of each block as channels of a picture."""
        n, _, c, h, w = x.shape
        return x.reshape(n * self.config.blocks, self.config.span * c, h, w)

    def encode(self, x: Float[Tensor, "n t c h w"], given: Picture | None = None) -> Int[Tensor, "n places"]:
        """The codes of frames, block after block, each row by row: there is no distribution over them."""
        return self.tokenizer.encode(self.blocks(x)).view(len(x), self.codes.length)

    def decode(self, code: Int[Tensor, "*n places"], given: Picture | None = None) -> Distribution:
        """p(x | z), over the frames that follow"""
        return Independent(self.pixels(code), 4, validate_args=False)

    def pixels(self, code: Int[Tensor, "*n places"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        return self.observed(
            self.tokenizer.decode(code.view(*code.shape[:-1], self.config.blocks, self.tokenizer.places))
        )

    def observed(self, y: Float[Tensor, "*n blocks outputs h w"]) -> Binary | DiscretizedLogistic:
        """Of what the decoder makes of blocks, p(x | z) of frames."""
        *n, _, outputs, h, w = y.shape
        each = y.reshape(*n, self.config.x.frames, outputs // self.config.span, h, w)
        return pixels_of(each, self.config.x.levels)

    # The transformer

    def beside(self, given: Picture, kept: Bool[Tensor, " n"] | None = None) -> Float[Tensor, "n places width"]:
        """What is read at each position beside the code before: which place comes next, and what the frames before
        say of it, where they are kept."""
        past = self.past(given.grid)
        return self.where + (past if kept is None else past * kept[:, None, None])

    def scores(
        self, code: Int[Tensor, "n places"], beside: Float[Tensor, "#n places width"]
    ) -> Float[Tensor, "n places codes"]:
        """The scores of each code, given those before it and what is read beside them."""
        h = torch.cat((self.start.expand(len(code), 1, -1), self.code(code[:, :-1])), 1) + beside  # n places width
        out: Tensor = self.out(self.transformer(h))
        return out

    def draw_codes(self, noise: Noise, given: Picture, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        """One code after the other, by the key-value cache; guided, with and without the frames before side by side."""
        n, beside = noise.n, self.beside(given)
        u, code = noise.uniform(self.codes.length), how.start(self.codes, noise)
        if how.guidance != 1:
            beside = torch.cat((beside, self.where.expand_as(beside)))
            u, code = u.repeat(2, 1), code.repeat(2, 1)
        score, read = Score(self.out.weight), Read(self.code.weight, position=beside)

        def guided(h: Tensor) -> Tensor:
            scores = score(h)
            return how.guide(scores[:n], scores[n:]).repeat(2, 1)

        h = self.start + beside[:, :1]
        return write(self.transformer, h, code, u, how, score if how.guidance == 1 else guided, read)[:n]

    # The losses

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """The tokenizer's: -log p(x | z(x)), in nats where beta is 0."""
        p = self.observed(split(self.tokenizer.learn(self.blocks(batch.x)), self.config.blocks))
        nats = -p.log_prob(batch.x)
        value = evened(p, nats, self.config.tokenizer_beta).flatten(1).sum(1).mean()
        return Loss(value, {"distortion": nats.flatten(1).sum(1).mean()})

    def code_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """-log p(z | c) a code, in nats: of real frames' codes, with the frames before left out now and then."""
        code, kept = batch.coded(self.encode), batch.noise.uniform(1)[:, 0] >= self.config.drop
        nats = self.nats(code, self.beside(batch.given, kept)).mean()
        return Loss(nats / self.codes.length, {"nats": nats})

    # The likelihood

    def nats(self, code: Int[Tensor, "n places"], beside: Float[Tensor, "#n places width"]) -> Float[Tensor, " n"]:
        return F.cross_entropy(self.scores(code, beside).mT, code, reduction="none").sum(1)

    @asked
    def log_prob_codes(self, code: Int[Tensor, "n places"], given: Picture, *, guidance: float = 1.0) -> Exact:
        """log p(z | c). Raises UsageError for a guidance other than 1: what it draws is of another distribution."""
        self.check_plain(guidance)
        self.check_given(len(code), given)
        nats = -self.nats(code, self.beside(given))
        return Exact(nats=nats, dims=self.codes.length, measure="mass", how="chain rule over codes")

    def log_prob(self, x: Float[Tensor, "n t c h w"], given: Picture, *, guidance: float = 1.0) -> LowerBound:
        """log p(x | z) + log p(z | c) of the encoder's own z, which is one term of the sum that p(x | c) is.

        Before the second stage p(z) is uniform. Raises UsageError if x is not in the model's space, and for a guidance
        other than 1.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        code = self.encode(x)
        nats = self.decode(code).log_prob(x) + self.log_prob_codes(code, given, guidance=guidance).nats
        return LowerBound(
            nats=nats, dims=self.config.x.dims, measure="mass", how="log p(x, z) of the encoder's codes z"
        )

    def stages(self) -> Sequence[Stage]:
        tokenizer, c = self.tokenizer, self.config
        owned = nn.ModuleDict({"past": self.past, "code": self.code, "transformer": self.transformer, "out": self.out})
        owned.register_parameter("start", self.start)
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


PRESETS = {
    "videogpt-64": Preset(
        config=VideoGPTConfig(),
        steps=850,
        batch=8,
        expect="Moving Fashion-MNIST, seed 0, 850 steps a stage, 10 minutes of one CPU core: at most 5,842 bits "
        "a frame given ten (500 held-out clips), 4.05 bits a code. MSE 255 a frame of one answer, 168 of the mean "
        "of eight (copying the last 379): things with edges, of no particular clothes.",
    ),
    "videogpt-paper": Preset(
        config=VideoGPTConfig(
            x=Video(15, 3, 64, 64),
            given=Video(1, 3, 64, 64),
            levels=(8, 8, 6, 5),
            span=1,
            halvings=2,
            tokenizer_width=240,
            tokenizer_blocks=4,
            past_width=64,
            mixed=576,
            width=576,
            layers=8,
            dropout=0.2,
            tokenizer_adam=Adam(lr=3e-4),
            adam=Adam(lr=3e-4, schedule="cosine"),
        ),
        steps=100_000,
        batch=32,
        expect="As wide and deep as its networks for 64 x 64 (there with learned codes of blocks in time, too), 15 "
        "frames after one, for GPUs; not trained by us. The paper, on BAIR robot pushing: FVD 103.",
    ),
    "videogpt-tiny": Preset(
        config=VideoGPTConfig(
            x=Video(2, 1, 2, 2, levels=2),
            given=Video(3, 1, 2, 2, levels=2),
            levels=(3, 2),
            span=1,
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            past_width=4,
            mixed=8,
            past_blocks=1,
            kernel=3,
            width=12,
            layers=1,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: all codes, and all frames, can be summed over.",
    ),
    "videogpt-tiny-blocks": Preset(
        config=VideoGPTConfig(
            x=Video(4, 3, 4, 4, levels=4),
            given=Video(1, 3, 4, 4, levels=4),
            levels=(2,),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            past_width=4,
            mixed=8,
            past_blocks=1,
            kernel=3,
            width=12,
            layers=2,
            heads=1,
        ),
        steps=10,
        batch=8,
        expect="For tests of blocks of frames, and of colors.",
    ),
}
