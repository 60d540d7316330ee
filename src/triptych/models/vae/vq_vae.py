"""VQ-VAE: an image as a small grid of codes from a learned codebook, and an autoregressive model of such grids.

van den Oord, Vinyals and Kavukcuoglu, 2017. Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937

    z(x)_i = the k whose e_k is the nearest to encoder(x)_i                                (Equations 1 and 2)
    loss = -log p(x | z(x)) + beta sum_i |encoder(x)_i - e_{z_i}|^2                        (Equation 3)

In the first stage the auto-encoder learns: the decoder from its likelihood, the encoder as if quantization were not
there (straight-through) and by the second term, which commits it to the codes; the codes follow the encoder's vectors
as moving averages (Appendix A.1, in place of Equation 3's middle term). In the second stage the auto-encoder stands
still, and a causal transformer learns p(z) of the grids: the paper has a PixelCNN there. With labels, it is p(z | y).

An image has one grid in log_prob, but may come from any: p(x) = sum over z of p(z) p(x | z) >= p(z(x)) p(x | z(x)).
"""

from collections.abc import Sequence

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
    sized,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.code_prior import CodePrior
from triptych.nn.codebook import Codebook
from triptych.nn.transformer import check_heads

PAPER = Paper(
    called="VQ-VAE",
    title="Neural Discrete Representation Learning",
    authors="Aäron van den Oord, Oriol Vinyals, Koray Kavukcuoglu",
    year=2017,
    url="https://arxiv.org/abs/1711.00937",
    conditions="none or label",
    likelihood="lower bound",
)


@config
class VQVAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | None = None
    """The classes, for p(x | class): the second stage's condition."""
    codes: Several = 512
    """K, how many codes there are."""
    code_width: Count = 64
    """Dimensions of a code's vector in the codebook."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the grid of codes."""
    width: Count = 256
    """Feature maps of the encoder and the decoder."""
    blocks: Count = 2
    """Residual blocks of either."""
    commitment: NonNegative = 0.25
    """beta, the weight of the encoder's distance from its codes."""
    pixel_beta: Fraction = 0.0
    """How the first stage weighs pixels: 0, by likelihood, of which an exact ground can take the most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    decay: Fraction = 0.99
    """Decay of the exponential moving averages that the codes' vectors are."""
    revive: Positive = 1.0
    """A code that stands for fewer vectors of a batch than this, on average, is moved to one that occurs."""
    prior_width: Count = 256
    """Width of the transformer: of a code's embedding. A multiple of four times the heads."""
    prior_layers: Count = 6
    """Blocks of attention and network."""
    prior_heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=2e-4)
    """Optimizer of the auto-encoder."""
    prior_adam: Adam = Adam(lr=3e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the transformer, the prior."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_heads("prior_width", self.prior_width, self.prior_heads, axes=2)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings


class Residual(nn.Module):
    """ReLU, 3 x 3, ReLU, 1 x 1, added to what goes in (Section 4.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, h: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return h + self.layers(h)


def encoder(c: VQVAEConfig) -> nn.Sequential:
    """Images -> a vector at each place of the grid [n, code_width, rows, columns]: halved, then residual blocks."""
    layers: list[nn.Module] = []
    for k in range(c.halvings):
        layers += [nn.Conv2d(c.width if k else c.x.channels, c.width, 4, 2, 1), nn.ReLU()]
    layers += [nn.Conv2d(c.width, c.width, 3, padding=1), *(Residual(c.width) for _ in range(c.blocks))]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(c.width, c.code_width, 1))


def decoder(c: VQVAEConfig, outputs: int) -> nn.Sequential:
    """The codes' vectors -> `outputs` numbers a pixel: residual blocks, then doubled."""
    layers: list[nn.Module] = [nn.Conv2d(c.code_width, c.width, 3, padding=1)]
    layers += [*(Residual(c.width) for _ in range(c.blocks)), nn.ReLU()]
    for _ in range(c.halvings - 1):
        layers += [nn.ConvTranspose2d(c.width, c.width, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(c.width, outputs, 4, 2, 1))


class VQVAE(Decoding[Label | None]):
    """A bound on the likelihood of images, by class or not, samples from codes, and the codes of images."""

    name = "vq-vae"

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        self.encoder = encoder(config)
        self.codebook = Codebook(config.codes, config.code_width, config.decay, config.revive)
        self.decoder = decoder(config, outputs_of(x))
        self.code_prior = CodePrior(
            config.codes,
            config.grid,
            config.prior_width,
            config.prior_layers,
            config.prior_heads,
            classes=config.given.classes if config.given else 1,
        )

    def vectors(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n rows columns code_width"]:
        """What the encoder says of each place, before it is quantized."""
        out: Tensor = self.encoder(x).movedim(1, -1)
        return out

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Int[Tensor, "n rows columns"]:
        """The image's codes: there is no distribution over them, each is the nearest one."""
        return self.codebook.nearest(self.vectors(x))

    def decode(self, code: Int[Tensor, "*n rows columns"], given: Label | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(self.codebook(code)), 3, validate_args=False)

    def pixels(self, e: Float[Tensor, "*n rows columns code_width"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        y = self.decoder(e.flatten(0, -4).movedim(-1, 1)).unflatten(0, e.shape[:-3])
        return pixels_of(y, self.config.x.levels)

    def draw_codes(self, noise: Noise, given: Label | None = None) -> Int[Tensor, "n rows columns"]:
        return self.code_prior.draw(noise.uniform(*self.config.grid), given)

    def observe(self, noise: Noise, given: Label | None = None) -> Binary | DiscretizedLogistic:
        return self.pixels(self.codebook(self.draw_codes(noise, given)))

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """Equation 3, in nats where pixel_beta is 0, without its middle term: `follow` does what that would."""
        z = self.vectors(batch.x)
        code = self.codebook.nearest(z)
        self.codebook.observe(z, code, batch.noise)
        e, distance = self.codebook.pass_through(z, code)
        p = self.pixels(e)
        nats, commitment = -p.log_prob(batch.x), distance.flatten(1).sum(1).mean()
        weighed = evened(p, nats, self.config.pixel_beta, balanced=True).flatten(1).sum(1).mean()
        logs = {"distortion": nats.flatten(1).sum(1).mean(), "commitment": commitment}
        return Loss(weighed + self.config.commitment * commitment, logs)

    def prior_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(z | y) a code, in nats: maximum likelihood of the codes of real images (Section 3.3)."""
        code = batch.coded(self.encode)
        nats = -self.code_prior.log_prob(code, batch.given).mean()
        return Loss(nats / code[0].numel(), {"nats": nats})

    def log_prob(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> LowerBound:
        """log p(x | z) + log p(z | y) of the encoder's own z, which is one term of the sum that p(x | y) is.

        Before the second stage p(z) is uniform, and the bound is that of a model which draws its codes uniformly.
        Raises UsageError if x is not in the model's space.
        """
        self.check_given(len(x), given)
        self.config.x.index(x)
        code = self.encode(x)
        nats = self.decode(code).log_prob(x) + self.code_prior.log_prob(code, given)
        return LowerBound(
            nats=nats, dims=self.config.x.dims, measure="mass", how="log p(x, z) of the encoder's codes z"
        )

    def stages(self) -> Sequence[Stage]:
        owned = nn.ModuleList([self.encoder, self.decoder])
        first = Player(
            name="auto-encoder",
            owns=owned,
            loss=self.loss,
            optimizer=self.config.adam,
            project=self.codebook.follow,
        )
        second = Player(
            name="prior", owns=self.code_prior, loss=self.prior_loss, optimizer=self.config.prior_adam, clip=1.0
        )
        return [Stage(name="codes", players=[first]), Stage(name="prior", players=[second], reads=self.encode)]


def halvings_for(x: Images) -> int:
    """As often as both sides can be halved, up to a grid of 8 to 15 rows or columns; once at least."""
    k = 1
    while min(x.height, x.width) >> k >= 16 and x.height % 2 ** (k + 1) == x.width % 2 ** (k + 1) == 0:
        k += 1
    return k


PRESETS = {
    "vq-vae-small": Preset(
        config=VQVAEConfig(
            x=Images(3, 32, 32),
            codes=256,
            code_width=16,
            width=64,
            prior_width=96,
            prior_layers=3,
            adam=Adam(lr=1e-3, schedule="cosine", warmup=0.02),
        ),
        fits=lambda x: {"halvings": halvings_for(x)},
        steps=3200,
        batch=32,
        expect="Emoji (`--data emoji --size 32 --condition none`), seed 0, 3,226 steps of either stage: 4 minutes of a "
        "core (with --channels-last). FD-random-conv 1.21, floor 1.21 (358 held-out emoji), at most 3.85 bits/dim "
        "(bound). Soft people, faces and hands, none of them copied in 34 passes of 3,009 pictures, 23 % in 67. Of 718 "
        "(`furniture-renders`) in 164 passes 94 % of the samples are the codes of one: give few pictures fewer steps.",
    ),
    "vq-vae-medium": Preset(
        config=VQVAEConfig(x=Images(3, 64, 64), width=128, adam=Adam(lr=4e-4, schedule="cosine", warmup=0.02)),
        fits=lambda x: {"halvings": halvings_for(x)},
        steps=20_000,
        batch=64,
        expect="Emoji at 64 px (`--data emoji --size 64 --condition none`), seed 0, 12,206 steps of the codes and "
        "4,952 of the prior, cut off there: 5 minutes of an H100 beside nine other trainings (TF32). FD-random-conv "
        "1.29, floor .88 (358 held-out emoji), at most 3.20 bits/dim (bound): people, faces and flags that are all but "
        "sharp, 58 % of them the codes of a training picture.",
    ),
    "vq-vae-mnist": Preset(
        config=VQVAEConfig(
            codes=128,
            code_width=16,
            width=48,
            prior_width=96,
            prior_layers=3,
            adam=Adam(lr=2e-3, schedule="cosine", warmup=0.02),
        ),
        steps=3000,
        batch=32,
        expect="Dynamically binarized MNIST, seed 0: 10 minutes of one CPU core for both stages. All 128 codes "
        "are used (perplexity 112 on the test images); at most 196.96 +- .24 nats (the encoder's own "
        "codes only), of which the prior takes 174: it is short of training, and half of the samples are "
        "broken digits.",
    ),
    "vq-vae-cifar": Preset(
        config=VQVAEConfig(x=Images(3, 32, 32)),
        steps=250_000,
        batch=128,
        expect="The paper's auto-encoder for CIFAR-10 (Section 4.1), with one code a place; not trained by us. The "
        "paper: 4.67 bits/dim, of a latent space of 8 x 8 x 10.",
    ),
    "vq-vae-tiny": Preset(
        config=VQVAEConfig(
            x=Images(1, 2, 4, levels=2),
            codes=3,
            code_width=2,
            halvings=1,
            width=8,
            blocks=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests: all grids of codes can be summed over.",
    ),
    "vq-vae-tiny-classes": Preset(
        config=VQVAEConfig(
            x=Images(3, 2, 2, levels=3),
            given=Labels(3),
            codes=4,
            code_width=2,
            halvings=1,
            width=8,
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
PRESETS["vq-vae-paper"] = sized(PRESETS["vq-vae-cifar"], fits=lambda x: {"halvings": halvings_for(x)})
