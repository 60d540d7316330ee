"""LlamaGen: an image as codes in raster order, each given those before and a class or a text, by a causal transformer.

Sun, Jiang, Chen, Zhang, Peng, Luo and Yuan, 2024. Autoregressive Model Beats Diffusion: Llama for Scalable Image
Generation. https://arxiv.org/abs/2406.06525

    p(z | c) = prod_t p(z_t | z_1, ..., z_{t-1}, c)                                            (Section 2.1)
    scores of guided samples: l_u + s (l_c - l_u)                                              (Section 2.2)

The first stage is an image tokenizer; here one of finite scalar quantization (Mentzer and others, 2023), trained by the
likelihood of pixels alone, so that p(x | z) is one. The second is Llama over its codes: RMSNorm, SwiGLU, rotary
embedding by row and by column, no biases; the condition is what it reads first, and a learned token takes its place one
time in ten. A position is told by a learned vector, too, where the code that it predicts lies.

p(z | c) is exact. p(x | c) = sum over z of p(z | c) p(x | z) is bounded from below by the encoder's own z.

Solids are modeled in the same way, by convolutions and an embedding of three axes: 32 x 32 x 32 voxels are 8 x 8 x 8
codes, and shapes have a likelihood, which a 3D-GAN does not give.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution, Independent

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
    Player,
    Preset,
    Sampling,
    Stage,
    Text,
    Tokens,
    Voxels,
    asked,
    check_sides,
    config,
    sized,
    unchanged,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.code_transformer import CodeTransformer
from triptych.nn.fsq import Levels
from triptych.nn.tokenizer import Tokenizer
from triptych.nn.transformer import check_heads

PAPER = Paper(
    called="LlamaGen",
    title="Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation",
    authors="Peize Sun, Yi Jiang, Shoufa Chen, Shilong Zhang, Bingyue Peng, Ping Luo, Zehuan Yuan",
    year=2024,
    url="https://arxiv.org/abs/2406.06525",
    conditions="none, label or text",
    likelihood="lower bound",
    takes=("images", "solids"),
)


@config
class LlamaGenConfig:
    x: Images | Voxels = Images(1, 28, 28, levels=2)
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
    code_times: Count = 1
    """How many times as many rounds the transformer's stage has as the tokenizer's."""
    width: Count = 128
    """Width of the transformer: of a code's embedding. A multiple of four times the heads, of solids of six times."""
    layers: Count = 4
    """Blocks of attention and network."""
    heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    dropout: Fraction = 0.1
    """The share of what a layer adds that is left out in training."""
    drop: Fraction = 0.1
    """How often the condition is left out in training: what guidance needs."""
    tokenizer_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the tokenizer."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.02)
    """Optimizer of the transformer."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_heads("width", self.width, self.heads, axes=len(self.x.shape) - 1)


class LlamaGen(Coding[Label | Text | None]):
    """Exact p(codes), a bound on the likelihood of images, and samples, by class, by text or neither."""

    name = "llamagen"

    def __init__(self, config: LlamaGenConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        self.tokenizer = Tokenizer(
            x, outputs_of(x), config.levels, config.halvings, config.tokenizer_width, config.tokenizer_blocks
        )
        grid, codes = self.tokenizer.grid, self.tokenizer.fsq.codes
        self.codes = Tokens(codes, self.tokenizer.places)
        first = CodeTransformer(
            codes, grid, config.given, config.width, config.layers, config.heads, dropout=config.dropout
        )
        self.prefix, self.code, self.where = first.prefix, first.code, first.where
        self.transformer, self.out = first.transformer, first.out

    @property
    def code_prior(self) -> CodeTransformer:
        """p(z | c), of the parts that are the model's own."""
        return CodeTransformer.of(self.prefix, self.code, self.where, self.transformer, self.out)

    def encode(self, x: Float[Tensor, "n c *sides"], given: Label | Text | None = None) -> Int[Tensor, "n places"]:
        """The images' codes, row by row: there is no distribution over them."""
        return self.tokenizer.encode(x)

    def decode(self, code: Int[Tensor, "*n places"], given: Label | Text | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(code), len(self.config.x.shape), validate_args=False)

    def pixels(self, code: Int[Tensor, "*n places"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        return pixels_of(self.tokenizer.decode(code), self.config.x.levels, len(self.tokenizer.grid))

    def draw_codes(self, noise: Noise, given: Label | Text | None, how: Sampling = FAITHFUL) -> Int[Tensor, "n places"]:
        """One code after the other, by the key-value cache; guided, with and without the condition side by side."""
        return self.code_prior.draw(self.codes, noise, given, how)

    def known_codes(self, x: Float[Tensor, "n c *sides"], known: Bool[Tensor, "n *sides"]) -> Int[Tensor, "n places"]:
        """The codes of what is only known in part, for `Sampling(known=...)`: -1 for those that are to be drawn."""
        return self.tokenizer.known(x, known)

    def foresaw(
        self, code: Int[Tensor, "n places"], known: Int[Tensor, "n places"], given: Label | Text | None = None
    ) -> Float[Tensor, " n"]:
        """The log probability of the codes that are known (not -1), each given those before it: what completions that
        do not foresee them are weighed by."""
        scores = self.code_prior.scores(code, self.prefix.ids(len(code), given)).log_softmax(-1)
        each = scores.gather(-1, code[..., None])[..., 0]
        return (each * (known != UNKNOWN)).sum(1)

    def loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """The tokenizer's: -log p(x | z(x)), in nats where beta is 0."""
        p = pixels_of(self.tokenizer.learn(batch.x), self.config.x.levels, len(self.tokenizer.grid))
        nats = -p.log_prob(batch.x)
        value = evened(p, nats, self.config.tokenizer_beta).flatten(1).sum(1).mean()
        return Loss(value, {"distortion": nats.flatten(1).sum(1).mean()})

    def code_loss(self, batch: Batch[Label | Text | None], clock: Clock) -> Loss:
        """-log p(z | c) a code, in nats: of real images' codes, with the condition left out now and then."""
        code, dropped = batch.coded(self.encode), batch.noise.uniform(1)[:, 0] < self.config.drop
        nats = self.code_prior.nats(code, self.prefix.ids(len(code), batch.given, dropped)).mean()
        return Loss(nats / self.codes.length, {"nats": nats})

    @asked
    def log_prob_codes(
        self, code: Int[Tensor, "n places"], given: Label | Text | None = None, *, guidance: float = 1.0
    ) -> Exact:
        """log p(z | c). Raises UsageError for a guidance other than 1: what it draws is of another distribution."""
        self.check_plain(guidance)
        self.check_given(len(code), given)
        nats = -self.code_prior.nats(code, self.prefix.ids(len(code), given))
        return Exact(nats=nats, dims=self.codes.length, measure="mass", how="chain rule over codes")

    def log_prob(
        self, x: Float[Tensor, "n c *sides"], given: Label | Text | None = None, *, guidance: float = 1.0
    ) -> LowerBound:
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
        first = Player(
            name="tokenizer",
            owns=tokenizer,
            loss=self.loss,
            optimizer=c.tokenizer_adam,
            clip=1.0,
            project=tokenizer.fsq.follow,
        )
        second = Player(name="codes", owns=self.code_prior, loss=self.code_loss, optimizer=c.adam, clip=1.0)
        later = Stage(name="codes", players=[second], reads=self.encode, times=c.code_times)
        return [Stage(name="tokenizer", players=[first]), later]


PRESETS = {
    "llamagen-mnist": Preset(
        config=LlamaGenConfig(levels=(5, 5), tokenizer_width=32, tokenizer_blocks=1, width=96, layers=4),
        steps=1500,
        batch=16,
        expect="Dynamically binarized MNIST, seed 0, 910 steps a stage (96 CPU seconds of one core): at most 141.6 "
        "+- .7 nats (1,000 test images; the encoder's own codes only), FD-pca-64 3.17 (500 samples; floor 3.47). Most "
        "samples are digits.",
    ),
    "llamagen-32": Preset(
        config=LlamaGenConfig(x=Images(3, 32, 32), tokenizer_width=48, tokenizer_blocks=1, width=96, layers=4),
        steps=3000,
        batch=32,
        expect="Color images of 32 x 32, meant for 20 minutes of one CPU core for both stages; not trained by us yet.",
    ),
    "llamagen-shapes": Preset(
        config=LlamaGenConfig(
            x=Images(3, 32, 32),
            levels=(5, 5),
            tokenizer_width=32,
            tokenizer_blocks=1,
            tokenizer_beta=1.0,
            width=96,
            layers=4,
            dropout=0.0,
            code_times=4,
            tokenizer_adam=Adam(lr=2e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02),
            adam=Adam(lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup=0.02),
        ),
        steps=8000,
        batch=8,
        expect="Flat drawings of 32 x 32 with captions. shapes-apart, seed 0, 23 minutes of one CPU core, both stages: "
        "of 300 pictures of pairs of a color and a shape that were never seen, all five attributes are right of 78 %, "
        "at guidance 2 of 87 %, and of 95 % by the best of four. At most 3.11 bits a dimension.",
    ),
    "llamagen-paper": Preset(
        config=LlamaGenConfig(
            x=Images(3, 256, 256),
            given=Labels(1000),
            levels=(8, 8, 8, 6, 5),
            halvings=4,
            tokenizer_width=256,
            width=768,
            layers=12,
            heads=12,
            tokenizer_adam=Adam(lr=1e-4, betas=(0.9, 0.95)),
            adam=Adam(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05),
        ),
        fits=unchanged,
        steps=1_500_000,
        batch=256,
        expect="Its B model, 111 M weights over 16 x 16 codes of 15,360 (there 16,384, learned), for ImageNet on GPUs; "
        "not trained by us. The paper, with an adversarial tokenizer: FID 5.46 at guidance 2.",
    ),
    "llamagen-solids": Preset(
        config=LlamaGenConfig(
            x=Voxels(1, 32, 32, 32),
            levels=(8, 6, 5),
            tokenizer_width=16,
            tokenizer_blocks=1,
            width=96,
            layers=3,
            tokenizer_adam=Adam(lr=2e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02),
        ),
        steps=650,
        batch=8,
        data={"size": 32},
        expect="Not trained by us yet.",
    ),
    "llamagen-tiny": Preset(
        config=LlamaGenConfig(
            x=Images(1, 2, 4, levels=2),
            levels=(3, 2),
            halvings=1,
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
    "llamagen-tiny-classes": Preset(
        config=LlamaGenConfig(
            x=Images(3, 4, 4, levels=3),
            given=Labels(3),
            levels=(4,),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=1,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors, classes and guidance.",
    ),
    "llamagen-tiny-text": Preset(
        config=LlamaGenConfig(
            x=Images(1, 4, 4, levels=2),
            given=Tokens(5, 3),
            levels=(3,),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=8,
            layers=2,
            heads=1,
        ),
        steps=10,
        batch=8,
        expect="For tests of texts and guidance.",
    ),
    "llamagen-tiny-solids": Preset(
        config=LlamaGenConfig(
            x=Voxels(1, 2, 4, 2),
            given=Labels(2),
            levels=(3,),
            halvings=1,
            tokenizer_width=8,
            tokenizer_blocks=1,
            width=12,
            layers=1,
            heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of solids: all codes can be summed over.",
    ),
}
PRESETS["llamagen-small"] = sized(PRESETS["llamagen-mnist"])
PRESETS["llamagen-medium"] = sized(PRESETS["llamagen-mnist"], steps=18_000)
