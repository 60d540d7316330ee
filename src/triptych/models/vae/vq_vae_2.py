"""VQ-VAE-2: an image as two grids of codes, a coarse one for its layout and a finer one for its details.

Generating Diverse High-Fidelity Images with VQ-VAE-2.
Razavi, van den Oord and Vinyals, 2019. https://arxiv.org/abs/1906.00446

    top    = the codes nearest to what the encoder says at half the bottom's size
    bottom = the codes nearest to what the encoder says, together with what the top's codes decode to
    loss   = -log p(x | top, bottom) + beta (|vector - code|^2, summed over both grids)        (Equation 2)

In the first stage the auto-encoder learns (Algorithm 1), its codebooks following as moving averages. In the second it
stands still, and two priors learn p(top) and p(bottom | top) (Algorithm 2): causal transformers here, PixelSNAIL and a
PixelCNN in the paper. With labels, both are given the class.

An image has one pair of grids in log_prob, but may come from any: p(x) >= p(top) p(bottom | top) p(x | top, bottom).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Decoding,
    Doublings,
    Fraction,
    Images,
    Label,
    Labels,
    Loss,
    LowerBound,
    Noise,
    NonNegative,
    Player,
    Positive,
    Preset,
    Several,
    Stage,
    check_sides,
    config,
    precisely,
    sized,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.code_prior import CodePrior
from triptych.nn.codebook import Codebook
from triptych.nn.transformer import check_heads

PAPER = Paper(
    called="VQ-VAE-2",
    title="Generating Diverse High-Fidelity Images with VQ-VAE-2",
    authors="Ali Razavi, Aäron van den Oord, Oriol Vinyals",
    year=2019,
    url="https://arxiv.org/abs/1906.00446",
    conditions="none or label",
    likelihood="lower bound",
)


Codes = tuple[Int[Tensor, "*n rows columns"], Int[Tensor, "*n rows2 columns2"]]
"""The top grid, and the bottom one, twice as high and wide."""


@config
class VQVAE2Config:
    x: Images = Images(3, 256, 256)
    """The space of x. p(x | codes): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | None = None
    """The classes, for p(x | class): the second stage's condition."""
    codes: Several = 512
    """How many codes each codebook has."""
    code_width: Count = 64
    """Dimensions of a code's vector in the codebook."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the bottom grid; once more to the top grid."""
    width: Count = 128
    """Feature maps of the encoders and decoders."""
    block_width: Count = 64
    """Feature maps within their residual blocks."""
    blocks: Count = 2
    """Residual blocks of each."""
    commitment: NonNegative = 0.25
    """beta, the weight of the encoder's distance from its codes."""
    pixel_beta: Fraction = 0.0
    """How the first stage weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    decay: Fraction = 0.99
    """Decay of the exponential moving averages that the codes' vectors are."""
    revive: Positive = 1.0
    """A code that stands for fewer vectors of a batch than this, on average, is moved to one that occurs."""
    prior_width: Count = 512
    """Width of the transformers: of a code's embedding. A multiple of four times the heads."""
    prior_layers: Count = 20
    """Blocks of attention and network, in each of the two."""
    prior_heads: Count = 8
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=3e-4)
    """Optimizer of the auto-encoder."""
    prior_adam: Adam = Adam(lr=3e-4, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the transformers, the priors."""

    def __post_init__(self) -> None:
        check_sides(
            self.x,
            2 ** (self.halvings + 1),
            f"halvings={self.halvings}, and once more to the top grid",
            "halve less often",
        )
        check_heads("prior_width", self.prior_width, self.prior_heads, axes=2)

    @property
    def bottom(self) -> tuple[int, int]:
        """Rows and columns of the bottom grid."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings

    @property
    def top(self) -> tuple[int, int]:
        """Rows and columns of the top grid."""
        return self.bottom[0] // 2, self.bottom[1] // 2


class Residual(nn.Module):
    """ReLU, 3 x 3, ReLU, 1 x 1, added to what goes in."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, width, 1)
        )

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return h + self.layers(h)


def refined(c: VQVAE2Config, inputs: int, width: int) -> list[nn.Module]:
    """A convolution, then residual blocks: what every encoder and decoder has at its grid."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1)]
    return [*layers, *(Residual(width, c.block_width) for _ in range(c.blocks)), nn.ReLU()]


def encoder(c: VQVAE2Config, inputs: int, halvings: int) -> nn.Sequential:
    """Halves the grid, then refines it; `width` feature maps come out."""
    layers: list[nn.Module] = []
    for k in range(halvings):
        layers += [nn.Conv2d(c.width if k else inputs, c.width, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, *refined(c, c.width, c.width))


def decoder(c: VQVAE2Config, inputs: int, outputs: int, doublings: int) -> nn.Sequential:
    """Refines a grid, then doubles it; `outputs` feature maps come out."""
    layers = refined(c, inputs, c.width)
    for _ in range(doublings - 1):
        layers += [nn.ConvTranspose2d(c.width, c.width, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(c.width, outputs, 4, 2, 1))


def code_prior(c: VQVAE2Config, grid: tuple[int, int]) -> CodePrior:
    """p(top | y), or p(bottom | y, top)."""
    classes = c.given.classes if c.given else 1
    return CodePrior(c.codes, grid, c.prior_width, c.prior_layers, c.prior_heads, classes)


class Above(nn.Module):
    """What the places of the bottom grid know of the top grid: of the codes around them, by convolutions."""

    def __init__(self, c: VQVAE2Config) -> None:
        super().__init__()
        self.code = nn.Embedding(c.codes, c.width)
        self.net = decoder(c, c.width, c.prior_width, 1)

    def forward(self, top: Int[Tensor, "n rows columns"]) -> Float[Tensor, "n places width"]:
        out: Tensor = self.net(self.code(top).movedim(-1, 1)).flatten(2).mT
        return out


class VQVAE2(Decoding[Label | None]):
    """A bound on the likelihood of images, by class or not, samples from codes, and the codes of images."""

    name = "vq-vae-2"

    def __init__(self, config: VQVAE2Config) -> None:
        super().__init__()
        self.config, x, width, k = config, config.x, config.width, config.code_width
        self.bottom_encoder = encoder(config, x.channels, config.halvings)
        self.top_encoder = encoder(config, width, 1)
        self.top_vectors = nn.Conv2d(width, k, 1)
        self.top_codebook = Codebook(config.codes, k, config.decay, config.revive)
        self.top_decoder = decoder(config, k, k, 1)
        self.bottom_vectors = nn.Conv2d(width + k, k, 1)
        self.bottom_codebook = Codebook(config.codes, k, config.decay, config.revive)
        self.top_up = nn.ConvTranspose2d(k, k, 4, 2, 1)
        """The top codes at the bottom's size, for the decoder, which reads both."""
        self.decoder = decoder(config, 2 * k, outputs_of(x), config.halvings)
        self.top_prior, self.bottom_prior = code_prior(config, config.top), code_prior(config, config.bottom)
        self.above = Above(config)

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Codes:
        """The image's codes: there is no distribution over them, each is the nearest one."""
        h = self.bottom_encoder(x)
        top = self.top_codebook.nearest(self.of_top(h))
        return top, self.bottom_codebook.nearest(self.of_bottom(h, self.top_codebook(top)))

    def of_top(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n rows columns k"]:
        """The top's vectors, before they are quantized, from the bottom encoder's features."""
        out: Tensor = self.top_vectors(self.top_encoder(h)).movedim(1, -1)
        return out

    def of_bottom(
        self, h: Float[Tensor, "n width h w"], top: Float[Tensor, "n rows columns k"]
    ) -> Float[Tensor, "n h w k"]:
        """The bottom's vectors, before they are quantized: what the top does not say yet."""
        out: Tensor = self.bottom_vectors(torch.cat((h, self.top_decoder(top.movedim(-1, 1))), 1)).movedim(1, -1)
        return out

    def decode(self, codes: Codes, given: Label | None = None) -> Distribution:
        """p(x | top, bottom), over images"""
        top, bottom = codes
        return Independent(self.pixels(self.top_codebook(top), self.bottom_codebook(bottom)), 3, validate_args=False)

    def pixels(
        self, top: Float[Tensor, "*n rows columns k"], bottom: Float[Tensor, "*n h w k"]
    ) -> Binary | DiscretizedLogistic:
        """p(x | top, bottom) of each pixel; they are independent."""
        up, low = self.top_up(top.flatten(0, -4).movedim(-1, 1)), bottom.flatten(0, -4).movedim(-1, 1)
        y = self.decoder(torch.cat((up, low), 1)).unflatten(0, bottom.shape[:-3])
        return pixels_of(y, self.config.x.levels)

    def draw_codes(self, noise: Noise, given: Label | None = None) -> Codes:
        top = self.top_prior.draw(noise.uniform(*self.config.top), given)
        return top, self.bottom_prior.draw(noise.uniform(*self.config.bottom), given, self.above(top))

    def observe(self, noise: Noise, given: Label | None = None) -> Binary | DiscretizedLogistic:
        top, bottom = self.draw_codes(noise, given)
        return self.pixels(self.top_codebook(top), self.bottom_codebook(bottom))

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """Equation 2, in nats where pixel_beta is 0, without its middle term: `follow` does what that would."""
        h = self.bottom_encoder(batch.x)
        z_top = self.of_top(h)
        top = self.top_codebook.nearest(z_top)
        self.top_codebook.observe(z_top, top, batch.noise)
        e_top, far_top = self.top_codebook.pass_through(z_top, top)
        z_bottom = self.of_bottom(h, e_top)
        bottom = self.bottom_codebook.nearest(z_bottom)
        self.bottom_codebook.observe(z_bottom, bottom, batch.noise)
        e_bottom, far_bottom = self.bottom_codebook.pass_through(z_bottom, bottom)
        p = self.pixels(e_top, e_bottom)
        nats, commitment = -p.log_prob(batch.x), (far_top.flatten(1).sum(1) + far_bottom.flatten(1).sum(1)).mean()
        weighed = evened(p, nats, self.config.pixel_beta, balanced=True).flatten(1).sum(1).mean()
        logs = {"distortion": nats.flatten(1).sum(1).mean(), "commitment": commitment}
        return Loss(weighed + self.config.commitment * commitment, logs)

    def follow(self) -> dict[str, Tensor]:
        books = {"top": self.top_codebook, "bottom": self.bottom_codebook}
        return {f"{name}_{k}": v for name, book in books.items() for k, v in book.follow().items()}

    def top_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(top | y) a code, in nats."""
        top, _ = precisely(self.encode, batch.x)
        nats = -self.top_prior.log_prob(top, batch.given).mean()
        return Loss(nats / top[0].numel(), {"nats": nats})

    def bottom_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(bottom | top, y) a code, in nats."""
        top, bottom = precisely(self.encode, batch.x)
        nats = -self.bottom_prior.log_prob(bottom, batch.given, self.above(top)).mean()
        return Loss(nats / bottom[0].numel(), {"nats": nats})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> LowerBound:
        """log p(x | top, bottom) + log p(bottom | top, y) + log p(top | y) of the encoder's own codes.

        It is one term of the sum that p(x | y) is. Before the second stage the priors are uniform, and the bound is
        that of a model which draws its codes uniformly. Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        top, bottom = self.encode(x)
        nats = self.decode((top, bottom)).log_prob(x) + self.top_prior.log_prob(top, given)
        nats = nats + self.bottom_prior.log_prob(bottom, given, self.above(top))
        return LowerBound(
            nats=nats, dims=self.config.x.dims, measure="mass", how="log p(x, z) of the encoder's codes z"
        )

    def stages(self) -> Sequence[Stage]:
        learned: list[nn.Module] = [self.bottom_encoder, self.top_encoder, self.top_vectors, self.top_decoder]
        learned += [self.bottom_vectors, self.top_up, self.decoder]
        adam, prior_adam = self.config.adam, self.config.prior_adam
        first = Player(
            name="auto-encoder", owns=nn.ModuleList(learned), loss=self.loss, optimizer=adam, project=self.follow
        )
        top = Player(name="top", owns=self.top_prior, loss=self.top_loss, optimizer=prior_adam, clip=1.0)
        both = nn.ModuleList([self.bottom_prior, self.above])
        bottom = Player(name="bottom", owns=both, loss=self.bottom_loss, optimizer=prior_adam, clip=1.0)
        return [Stage(name="codes", players=[first]), Stage(name="priors", players=[top, bottom])]


PRESETS = {
    "vq-vae-2-mnist": Preset(
        config=VQVAE2Config(
            x=Images(1, 28, 28, levels=2),
            codes=64,
            code_width=8,
            halvings=1,
            width=32,
            block_width=16,
            blocks=1,
            prior_width=64,
            prior_layers=2,
            prior_heads=4,
            adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02),
            prior_adam=Adam(lr=4e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02),
        ),
        steps=2000,
        batch=16,
        expect="Dynamically binarized MNIST, seed 0: 7 minutes of one CPU core for both stages. All 64 codes of "
        "either level are used (perplexity 56 and 50 on the test images); at most 529.1 +- .7 nats (the "
        "encoder's own codes only), nearly all of it the priors' price. They are short of training: "
        "samples are strokes, a third of them digits.",
    ),
    "vq-vae-2-imagenet": Preset(
        config=VQVAE2Config(given=Labels(1000)),
        steps=2_200_000,
        batch=128,
        expect="The size of the paper's auto-encoder for ImageNet at 256 x 256, with 32 x 32 and 64 x 64 codes; for "
        "GPUs, not trained by us.",
    ),
    "vq-vae-2-tiny": Preset(
        config=VQVAE2Config(
            x=Images(1, 4, 4, levels=2),
            codes=2,
            code_width=2,
            halvings=1,
            width=8,
            block_width=4,
            blocks=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: all 32 pairs of grids can be summed over.",
    ),
    "vq-vae-2-tiny-classes": Preset(
        config=VQVAE2Config(
            x=Images(3, 4, 4, levels=3),
            given=Labels(3),
            codes=4,
            code_width=2,
            halvings=1,
            width=8,
            block_width=4,
            blocks=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors and classes.",
    ),
}
PRESETS["vq-vae-2-small"] = sized(PRESETS["vq-vae-2-mnist"])
PRESETS["vq-vae-2-medium"] = sized(PRESETS["vq-vae-2-mnist"], steps=8_000)
PRESETS["vq-vae-2-paper"] = sized(PRESETS["vq-vae-2-imagenet"])
