"""FSQ-VAE: an image as a small grid of codes that no codebook is learned for, and an autoregressive model of them.

Mentzer, Minnen, Agustsson and Tschannen, 2023. Finite Scalar Quantization: VQ-VAE Made Simple.
https://arxiv.org/abs/2309.15505

    z(x)_i = round(f(encoder(x)_i)),  of a few numbers each, each on a few levels                  (Equation 1)
    loss = -log p(x | z(x))

In the first stage the auto-encoder learns, the encoder as if nothing were rounded (straight-through). The product of
the levels is how many codes there are; nothing has to draw vectors and codes together, and none dies. In the second
stage the auto-encoder stands still, and a causal transformer learns p(z) of the grids; with labels, p(z | y). Samples
are grids that it draws, decoded. (The paper's losses of pixels are those of VQGAN and MaskGIT; here p(x | z) is a
proper likelihood of pixels, as in a VAE.)

An image has one grid in log_prob, but may come from any: p(x) = sum over z of p(z) p(x | z) >= p(z(x)) p(x | z(x)).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
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
    Player,
    Preset,
    Stage,
    check_sides,
    config,
    sized,
    unchanged,
)
from triptych.losses.pixels import Binary, DiscretizedLogistic, evened, outputs_of, pixels_of
from triptych.models.paper import Paper
from triptych.nn.code_prior import CodePrior
from triptych.nn.fsq import Levels
from triptych.nn.tokenizer import Tokenizer
from triptych.nn.transformer import check_heads

PAPER = Paper(
    called="FSQ-VAE",
    title="Finite Scalar Quantization: VQ-VAE Made Simple",
    authors="Fabian Mentzer, David Minnen, Eirikur Agustsson, Michael Tschannen",
    year=2023,
    url="https://arxiv.org/abs/2309.15505",
    conditions="none or label",
    likelihood="lower bound",
)


@config
class FSQVAEConfig:
    x: Images = Images(1, 28, 28, levels=2)
    """The space of x. p(x | z): Bernoulli pixels if there are two levels, else discretized logistic ones."""
    given: Labels | None = None
    """The classes, for p(x | class): the second stage's condition."""
    levels: Levels = (8, 6, 5)
    """Of each number of a code: their product is how many codes there are."""
    halvings: Doublings = 2
    """How often each side is halved on the way from the image to the grid of codes."""
    width: Count = 64
    """Feature maps of the encoder and the decoder."""
    blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    beta: Fraction = 0.0
    """How the auto-encoder's training weighs pixels: 0, by likelihood, of which an exact ground can take most; 1, as
    by squared errors (`losses.pixels.evened`). What it learns is a likelihood, p(x | z), either way."""
    prior_width: Count = 128
    """Width of the transformer: of a code's embedding. A multiple of four times the heads."""
    prior_layers: Count = 4
    """Blocks of attention and network."""
    prior_heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the auto-encoder."""
    prior_adam: Adam = Adam(lr=3e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the transformer, the prior."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_heads("prior_width", self.prior_width, self.prior_heads, axes=2)


class FSQVAE(Decoding[Label | None]):
    """A bound on the likelihood of images, by class or not, samples from codes, and the codes of images."""

    name = "fsq-vae"

    def __init__(self, config: FSQVAEConfig) -> None:
        super().__init__()
        self.config, x = config, config.x
        self.tokenizer = Tokenizer(x, outputs_of(x), config.levels, config.halvings, config.width, config.blocks)
        self.code_prior = CodePrior(
            self.tokenizer.fsq.codes,
            self.tokenizer.grid,
            config.prior_width,
            config.prior_layers,
            config.prior_heads,
            classes=config.given.classes if config.given else 1,
        )

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Int[Tensor, "n rows columns"]:
        """The image's codes: there is no distribution over them."""
        return torch.unflatten(self.tokenizer.encode(x), 1, self.tokenizer.grid)

    def decode(self, code: Int[Tensor, "*n rows columns"], given: Label | None = None) -> Distribution:
        """p(x | z), over images"""
        return Independent(self.pixels(code), 3, validate_args=False)

    def pixels(self, code: Int[Tensor, "*n rows columns"]) -> Binary | DiscretizedLogistic:
        """p(x | z) of each pixel; they are independent."""
        return pixels_of(self.tokenizer.decode(code.flatten(-2)), self.config.x.levels)

    def draw_codes(self, noise: Noise, given: Label | None = None) -> Int[Tensor, "n rows columns"]:
        return self.code_prior.draw(noise.uniform(*self.tokenizer.grid), given)

    def observe(self, noise: Noise, given: Label | None = None) -> Binary | DiscretizedLogistic:
        return self.pixels(self.draw_codes(noise, given))

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(x | z(x)), the one term that there is; in nats, where beta is 0."""
        p = pixels_of(self.tokenizer.learn(batch.x), self.config.x.levels)
        nats = -p.log_prob(batch.x)
        value = evened(p, nats, self.config.beta).flatten(1).sum(1).mean()
        return Loss(value, {"distortion": nats.flatten(1).sum(1).mean()})

    def prior_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(z | y) a code, in nats: maximum likelihood of the codes of real images."""
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
        tokenizer, prior = self.tokenizer, self.code_prior
        first = Player(
            name="auto-encoder",
            owns=tokenizer,
            loss=self.loss,
            optimizer=self.config.adam,
            clip=1.0,
            project=tokenizer.fsq.follow,
        )
        second = Player(name="prior", owns=prior, loss=self.prior_loss, optimizer=self.config.prior_adam, clip=1.0)
        return [Stage(name="codes", players=[first]), Stage(name="prior", players=[second], reads=self.encode)]


PRESETS = {
    "fsq-vae-mnist": Preset(
        config=FSQVAEConfig(levels=(5, 5), width=32, blocks=1, prior_width=96, prior_layers=3),
        steps=1500,
        batch=16,
        expect="MNIST of two levels, 3 minutes of one CPU core for both stages by its step times; not trained by us.",
    ),
    "fsq-vae-32": Preset(
        config=FSQVAEConfig(x=Images(3, 32, 32), halvings=2, width=48, blocks=1, prior_width=96, prior_layers=3),
        steps=3000,
        batch=32,
        expect="Color images of 32 x 32, meant for 20 minutes of one CPU core for both stages; not trained by us yet.",
    ),
    "fsq-vae-paper": Preset(
        config=FSQVAEConfig(
            x=Images(3, 128, 128),
            given=Labels(1000),
            levels=(8, 5, 5, 5),
            halvings=3,
            width=256,
            prior_width=512,
            prior_layers=12,
            prior_heads=8,
            adam=Adam(lr=1e-4, betas=(0.9, 0.95)),
            prior_adam=Adam(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05),
        ),
        fits=unchanged,
        steps=500_000,
        batch=256,
        expect="1,000 codes, 16 x 16 of them, for ImageNet at 128 x 128 on GPUs; not trained by us. The paper has "
        "adversarial and perceptual losses and a MaskGIT on top: FID 4.5 at 256 x 256.",
    ),
    "fsq-vae-tiny": Preset(
        config=FSQVAEConfig(
            x=Images(1, 2, 4, levels=2),
            levels=(3, 2),
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
    "fsq-vae-tiny-classes": Preset(
        config=FSQVAEConfig(
            x=Images(3, 2, 2, levels=3),
            given=Labels(3),
            levels=(4,),
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
PRESETS["fsq-vae-small"] = sized(PRESETS["fsq-vae-mnist"])
PRESETS["fsq-vae-medium"] = sized(PRESETS["fsq-vae-mnist"], steps=20_000)
