"""VQGAN: an image as a grid of codes whose decoder also has to pass for real, and a transformer that draws such grids.

Esser, Rombach and Ommer, 2020. Taming Transformers for High-Resolution Image Synthesis.
https://arxiv.org/abs/2012.09841

    L = L_rec(x, G(z)) + commitment + lambda L_GAN,
    lambda = weight |grad L_rec| / (|grad L_GAN| + 1e-4), by the decoder's last layer               (Equations 4, 6, 7)

In three stages. The auto-encoder learns by the distance of pixels; then a discriminator of patches joins in, late, as
from the start it would only disturb: when it does, reconstructions get further from their images for a while, by the
pixels for good, and sharper. The perceptual part of L_rec, a network trained on ImageNet in the paper, is here the
discriminator's own features (as pix2pixHD has it). Last, everything stands still, and a causal transformer learns p(z)
of the grids.

Codes are learned vectors of length 1 and 8 numbers (Yu and others, 2021; https://arxiv.org/abs/2110.04627), those out
of use placed anew; or, with `levels`, those of finite scalar quantization (Mentzer and others, 2023;
https://arxiv.org/abs/2309.15505).

The decoder gives a picture and no distribution of pixels: there is no p(x | z), so no likelihood of images and no bound
on it. p(z) is exact. For a bound take `fsq-vae`, whose decoder is trained by its likelihood.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Doublings,
    Exact,
    Generative,
    Images,
    Label,
    Labels,
    Loss,
    Noise,
    NonNegative,
    Player,
    Preset,
    Several,
    Stage,
    asked,
    check_sides,
    config,
    sized,
)
from triptych.losses import adversarial, features, pictures
from triptych.models.paper import Paper
from triptych.nn.code_prior import CodePrior
from triptych.nn.codebook import UnitCodebook
from triptych.nn.fsq import FSQ, Levels
from triptych.nn.patch import PatchDiscriminator, check_patches
from triptych.nn.ranks import averaged
from triptych.nn.tokenizer import decoder, encoder
from triptych.nn.transformer import check_heads

log = logging.getLogger(__name__)

PAPER = Paper(
    called="VQGAN",
    title="Taming Transformers for High-Resolution Image Synthesis",
    authors="Patrick Esser, Robin Rombach, Björn Ommer",
    year=2020,
    url="https://arxiv.org/abs/2012.09841",
    conditions="none or label",
)


@config
class VQGANConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled."""
    given: Labels | None = None
    """The classes, for p(z | class): the last stage's condition."""
    codes: Several = 1024
    """How many codes there are, if they are learned."""
    code_width: Count = 8
    """Dimensions of a code's vector."""
    levels: Levels | None = None
    """Of each number of a code, in place of learned ones: their product is how many codes there are."""
    halvings: Doublings = 3
    """How often each side is halved on the way from the image to the grid of codes."""
    width: Count = 64
    """Feature maps of the encoder and the decoder."""
    blocks: Count = 2
    """Residual blocks of either at the grid; there is one more at each size between."""
    judge: Count = 64
    """Channels of the discriminator at half the size, and so on."""
    judge_halvings: Doublings = 2
    """How often the discriminator halves the picture: 3 for patches of 70 x 70 pixels, 2 for 34 x 34, 1 for 16 x 16."""
    commitment: NonNegative = 0.25
    """The weight of the encoder's distance from its codes."""
    perceptual: NonNegative = 1.0
    """The weight of the distance in the discriminator's features."""
    adversarial: NonNegative = 0.8
    """How much passing for real counts in the gradient of the decoder's last layer, against 1 for reconstruction."""
    prior_width: Count = 128
    """Width of the transformer: of a code's embedding. A multiple of four times the heads."""
    prior_layers: Count = 4
    """Blocks of attention and network."""
    prior_heads: Count = 4
    """Attention heads of each layer; each has an equal share of the width."""
    adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the auto-encoder before there is a discriminator."""
    late_adam: Adam = Adam(lr=3e-4, betas=(0.5, 0.9), schedule="cosine", warmup=0.02)
    """Optimizer of the auto-encoder after that."""
    judge_adam: Adam = Adam(lr=2e-3, betas=(0.5, 0.9))
    """Optimizer of the discriminator: faster, as it comes late and its weights are normalized."""
    prior_adam: Adam = Adam(lr=3e-3, betas=(0.9, 0.95), schedule="cosine", warmup=0.02)
    """Optimizer of the transformer, the prior."""

    def __post_init__(self) -> None:
        check_sides(self.x, 2**self.halvings, f"halvings={self.halvings}", "halve less often")
        check_patches(self.x, self.judge_halvings)
        check_heads("prior_width", self.prior_width, self.prior_heads, axes=2)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.x.height >> self.halvings, self.x.width >> self.halvings


class VQGAN(Generative[Label | None]):
    """Samples from codes, by class or not, and the codes of images; no likelihood of images."""

    name = "vqgan"

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.book = FSQ(c.levels) if c.levels else UnitCodebook(c.codes, c.code_width, decay=0.99, revive=0.1)
        numbers, codes = (self.book.width, self.book.codes) if isinstance(self.book, FSQ) else (c.code_width, c.codes)
        self.encoder = encoder(c.x.channels, numbers, c.halvings, c.width, c.blocks)
        self.decoder = decoder(numbers, c.x.channels, c.halvings, c.width, c.blocks)
        self.discriminator = PatchDiscriminator(c.x.channels, c.judge, c.judge_halvings)
        classes = c.given.classes if c.given else 1
        self.code_prior = CodePrior(int(codes), c.grid, c.prior_width, c.prior_layers, c.prior_heads, classes=classes)

    # Codes and pictures

    def vectors(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n rows columns numbers"]:
        """What the encoder says of each place, before it is quantized."""
        z: Tensor = self.encoder(x).movedim(1, -1)
        return z if isinstance(self.book, FSQ) else F.normalize(z, dim=-1)

    def encode(self, x: Float[Tensor, "n c h w"], given: Label | None = None) -> Int[Tensor, "n rows columns"]:
        """The images' codes."""
        return self.book.nearest(self.vectors(x))

    def decode(self, code: Int[Tensor, "n rows columns"], given: Label | None = None) -> Float[Tensor, "n c h w"]:
        """The picture that codes stand for."""
        return self.paint(self.book(code))

    def paint(self, e: Float[Tensor, "n rows columns numbers"]) -> Float[Tensor, "n c h w"]:
        return torch.tanh(self.decoder(e.movedim(-1, 1)))

    def reconstruct(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Images through their codes."""
        return self.decode(self.encode(x))

    def draw(self, noise: Noise, given: Label | None = None) -> Float[Tensor, "n c h w"]:
        """A grid from the prior, decoded."""
        return self.decode(self.code_prior.draw(noise.uniform(*self.config.grid), given))

    @asked
    def log_prob_codes(self, code: Int[Tensor, "n rows columns"], given: Label | None = None) -> Exact:
        """log p(z | y) of grids of codes."""
        self.check_given(len(code), given)
        nats = self.code_prior.log_prob(code, given)
        return Exact(nats=nats, dims=code[0].numel(), measure="mass", how="chain rule over codes")

    # The losses

    def rebuilt(self, batch: Batch[Label | None]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, ""]]:
        """The batch through its codes, which are counted, and what commits the encoder to them."""
        z = self.vectors(batch.x)
        code = self.book.nearest(z)
        if isinstance(self.book, FSQ):
            self.book.observe(code)
            return self.paint(self.book.pass_through(z)), z.new_zeros(())
        self.book.observe(z, code, batch.noise)
        e, distance = self.book.pass_through(z, code)
        return self.paint(e), distance.mean()

    def loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """The mean distance of pixels, L1, and commitment."""
        back, commitment = self.rebuilt(batch)
        pixel = pictures.l1(batch.x, back)
        return Loss(pixel + self.config.commitment * commitment, {"pixel": pixel, "PSNR": pictures.psnr(batch.x, back)})

    def late_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """The same, the distance in the discriminator's features, and to pass for real, as much as counts the same."""
        back, commitment = self.rebuilt(batch)
        pixel = pictures.l1(batch.x, back)
        (_, seen), (scores, felt) = self.discriminator(batch.x), self.discriminator(back)
        alike, fooled = features.matching(seen, felt), adversarial.hinge_generator(scores)
        kept, last = pixel + self.config.perceptual * alike, next(self.decoder[-1].parameters())
        share = self.config.adversarial * adversarial.balance(kept, fooled, last, averaged)
        logs = {"pixel": pixel, "PSNR": pictures.psnr(batch.x, back), "alike": alike, "fooled": fooled, "weight": share}
        return Loss(kept + self.config.commitment * commitment + share * fooled, logs)

    def discriminator_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """The hinge loss of patches; real and rebuilt pictures go through together, in one step of power iteration."""
        back = self.reconstruct(batch.x)
        real, fake = self.discriminator(torch.cat((batch.x, back)))[0].chunk(2)
        return Loss(adversarial.hinge_discriminator(real, fake), {"real": real.mean(), "rebuilt": fake.mean()})

    def prior_loss(self, batch: Batch[Label | None], clock: Clock) -> Loss:
        """-log p(z | y) a code, in nats."""
        code = batch.coded(self.encode)
        nats = -self.code_prior.log_prob(code, batch.given).mean()
        return Loss(nats / code[0].numel(), {"nats": nats})

    def stages(self) -> Sequence[Stage]:
        c, coder = self.config, nn.ModuleList([self.encoder, self.decoder])
        follow = self.book.follow
        first = Player(name="auto-encoder", owns=coder, loss=self.loss, optimizer=c.adam, clip=1.0, project=follow)
        late = Player(
            name="auto-encoder",
            owns=coder,
            loss=self.late_loss,
            optimizer=c.late_adam,
            clip=1.0,
            project=follow,
            together="how much passing for real counts",
        )
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.judge_adam,
            judges="its discriminator compares features of a picture with those of its reconstruction",
        )
        prior = Player(name="prior", owns=self.code_prior, loss=self.prior_loss, optimizer=c.prior_adam, clip=1.0)
        return [
            Stage(name="codes", players=[first]),
            Stage(name="adversarial", players=[discriminator, late], begin=announce),
            Stage(name="prior", players=[prior], reads=self.encode),
        ]


def announce() -> None:
    """Says what everyone asks."""
    log.info(
        "the discriminator starts: reconstructions get further from their images now (pixel, PSNR), and sharper; they "
        "recover in part"
    )


def fitting(x: Images, halvings: int, patches: int = 2) -> dict[str, Any]:
    """`Preset.fits`: halved as often as both sides can be, and judged in patches that the picture has room for."""
    often = next((k for k in range(halvings, 1, -1) if x.height % 2**k == x.width % 2**k == 0), 1)
    judged = next((k for k in range(patches, 1, -1) if min(x.height, x.width) >= 9 * 2**k - 2), 1)
    return {"halvings": often, "judge_halvings": judged}


PRESETS = {
    "vqgan-mnist": Preset(
        config=VQGANConfig(
            x=Images(1, 28, 28),
            codes=64,
            halvings=2,
            width=32,
            blocks=1,
            judge=24,
            judge_halvings=1,
            prior_width=96,
            prior_layers=3,
        ),
        steps=1000,
        batch=16,
        expect="Grey MNIST, 7 x 7 codes of 64, seed 0, 300 steps a stage (about 50 CPU seconds of one core): all codes "
        "are used, pixels are off by .048 through them (black and white are 2 apart; 16 test images). PSNR in training "
        "falls from 22.3 to 20.5 dB when the discriminator starts, and is back at 22. Half of the samples are digits.",
    ),
    "vqgan-64": Preset(
        config=VQGANConfig(),
        steps=100_000,
        batch=64,
        expect="8 x 8 codes of 1,024 for color images of 64 x 64, on a GPU; not trained by us.",
    ),
    "vqgan-paper": Preset(
        config=VQGANConfig(
            x=Images(3, 256, 256),
            given=Labels(1000),
            code_width=256,
            halvings=4,
            width=128,
            judge_halvings=3,
            prior_width=1536,
            prior_layers=48,
            prior_heads=16,
            adam=Adam(lr=5.4e-5, betas=(0.5, 0.9)),
            late_adam=Adam(lr=5.4e-5, betas=(0.5, 0.9)),
            judge_adam=Adam(lr=5.4e-5, betas=(0.5, 0.9)),
            prior_adam=Adam(lr=5.4e-5, betas=(0.9, 0.95)),
        ),
        fits=partial(fitting, halvings=4, patches=3),
        steps=1_000_000,
        batch=12,
        expect="The paper's sizes for ImageNet at 256 x 256, 16 x 16 codes of 1,024; for GPUs, not trained by us.",
    ),
    "vqgan-tiny": Preset(
        config=VQGANConfig(
            x=Images(1, 16, 16),
            codes=5,
            code_width=2,
            width=8,
            blocks=1,
            judge=2,
            judge_halvings=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "vqgan-tiny-classes": Preset(
        config=VQGANConfig(
            x=Images(3, 16, 24),
            given=Labels(3),
            levels=(3, 2),
            width=8,
            blocks=1,
            judge=2,
            judge_halvings=1,
            prior_width=8,
            prior_layers=1,
            prior_heads=2,
        ),
        steps=10,
        batch=8,
        expect="For tests of colors, classes and codes that are not learned.",
    ),
}
PRESETS["vqgan-small"] = sized(PRESETS["vqgan-mnist"], fits=partial(fitting, halvings=2))
PRESETS["vqgan-medium"] = sized(PRESETS["vqgan-64"], fits=partial(fitting, halvings=3))
