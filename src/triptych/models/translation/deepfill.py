"""DeepFill: fills holes of any form in pictures, by convolutions that learn which pixels to trust.

Free-Form Image Inpainting with Gated Convolution.
Yu et al., 2018. https://arxiv.org/abs/1806.03589

    O = phi(W_f * I) sigma(W_g * I)                                                (Section 3.1)
    L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(z)),    L_G = distance(x, z) - E D(z)  (Section 3.3)

A convolution that is told nothing else treats a hole as if it were black or grey; here a second one, the gate, says for
every place and channel how much the first one's answer is worth. c is the picture, its hole filled smoothly from the
border, and a channel beside it that is 1 in the hole and -1 elsewhere. z is the result: in the hole c with what the
network adds to it, and outside the picture as it was given, exactly. The discriminator, with spectral normalization,
sees the result and the mask; each number of its last layer is a score of its own, for a patch of the picture
(SN-PatchGAN, Section 3.2). It joins for the last part of the training, if at all: stage "adversarial", after
"pretrain", which is for the pixels alone.

Where this departs from the paper: the hole is filled smoothly beforehand, and the network begins by adding nothing (the
paper's holes are white, and a coarse network fills them first). The network sees the picture with its brightness taken
away and divided by its contrast, both of a window around each pixel, and what it adds is multiplied by that contrast
again: a dim wall is then as good an example as a bright one. The distance (L1) is taken in that unit, in the hole,
each picture's own mean. One generator, a U-Net, stands in place of the paper's two,
and there is no contextual attention, the layer that copies patches from anywhere in the picture. With that a pixel
would depend on all of the picture, and large pictures could not be filled in tiles. A hole is bettered from what is
within `reach`: in the middle of a larger one than that, it stays about as smooth as it came. User guidance (sketches)
is left out, too.

The model is a function of c: it fills a hole in one of the ways that are possible, and always the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, elu, pixel_shuffle
from torch.nn.utils.parametrizations import spectral_norm

from triptych.core import (
    Adam,
    AnySize,
    Batch,
    Clock,
    Count,
    Doublings,
    Fraction,
    Images,
    Loss,
    Noise,
    NonNegative,
    Picture,
    Player,
    Preset,
    Stage,
    check_sides,
    config,
)
from triptych.losses import adversarial, pictures
from triptych.models.paper import Paper
from triptych.nn.ema import EMA
from triptych.nn.reach import reach
from triptych.nn.residual import DoublingConv

PAPER = Paper(
    called="DeepFill v2",
    title="Free-Form Image Inpainting with Gated Convolution",
    authors="Jiahui Yu, Zhe Lin, Jimei Yang, Xiaohui Shen, Xin Lu, Thomas Huang",
    year=2018,
    url="https://arxiv.org/abs/1806.03589",
    conditions="picture",
)

SLOPE = 0.2
"""Negative slope of the discriminator's LeakyReLU."""
WINDOW = 33
"""Pixels to a side: what brightness and contrast are told from."""
DIMMEST = 0.01
"""What is added to the contrast (squared), lest noise be taken for one; between black and white it is 2."""
GAIN = 2.3
"""Gain of the features' initial weights: with ELU and a gate that is half open, activations keep their scale."""


@config
class DeepFillConfig:
    x: Images = Images(3, 64, 64)
    """What is modeled: crops as large as those trained on. A trained model fills pictures of any size."""
    given: Images = Images(4, 64, 64)
    """The picture, its hole filled smoothly, and a channel for the hole: 1 inside, -1 where pixels are known."""
    patch: Count = 2
    """The generator takes squares of so many pixels to a side for one; 1 for small pictures."""
    width: Count = 24
    """Channels of the generator at the size that this leaves; twice as many at half of it, four times at a quarter."""
    dilations: tuple[Count, ...] = (1, 2, 1)
    """Dilations of the 3 x 3 convolutions in the middle, at a quarter of that size: they set the receptive field."""
    judge: Count = 32
    """Channels of the discriminator at half the picture's size; twice as many at a quarter, and four times from there
    on."""
    halvings: Doublings = 4
    """How often the discriminator halves the picture."""
    pixel: NonNegative = 1.0
    """Weight of the distance in pixels, the contrast around them being 1."""
    adversarial: NonNegative = 1.0
    """Weight of the adversarial loss: less is smoother, and closer to the truth in the mean. 0: without that stage."""
    pretrain: Count = 1
    """Rounds of the first stage for each one of the second."""
    ema: Fraction = 0.999
    """Decay of the average of the generator's weights that samples are drawn from; 0: the weights themselves, as in
    the paper."""
    pretrain_adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.99), schedule="cosine", warmup=0.01)
    """For the generator in the first stage."""
    generator_adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.999))
    discriminator_adam: Adam = Adam(lr=1e-4, betas=(0.5, 0.999))

    def __post_init__(self) -> None:
        x, given = self.x, self.given
        if (given.channels, given.height, given.width) != (x.channels + 1, x.height, x.width):
            raise ValueError(
                f"given has {given.channels} channels of {given.height} x {given.width}; for x with {x.channels} of "
                f"{x.height} x {x.width} it has {x.channels + 1} of the same size: the picture and the mask of its hole"
            )
        check_sides(x, 4 * self.patch, "the generator halves twice what patch= leaves of x")


class Gated(nn.Module):
    """phi(W_f * I) sigma(W_g * I), phi being ELU: both convolutions as one, of twice the channels."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        half, spread = conv.out_channels // 2, conv.weight[0].numel() ** -0.5
        nn.init.normal_(conv.weight[:half], 0, GAIN * spread)
        nn.init.normal_(conv.weight[half:], 0, spread)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        features, gates = self.conv(x).chunk(2, 1)
        return elu(features) * gates.sigmoid()


def same(cin: int, cout: int, side: int = 3, dilation: int = 1) -> Gated:
    """At the same size."""
    return Gated(nn.Conv2d(cin, 2 * cout, side, padding=side // 2 * dilation, dilation=dilation))


def halved(cin: int, cout: int) -> Gated:
    return Gated(nn.Conv2d(cin, 2 * cout, 3, stride=2, padding=1))


def doubled(cin: int, cout: int) -> Gated:
    return Gated(DoublingConv(cin, 2 * cout, 3, padding=1))


class Generator(nn.Module):
    """A picture with its mask -> what is to be added to it: at first nothing.

    A U-Net of gated convolutions that halves the picture, its patches taken for pixels, twice.
    """

    def __init__(self, c: DeepFillConfig) -> None:
        super().__init__()
        w, wide, area = c.width, 4 * c.width, c.patch**2
        self.patch = c.patch
        self.whole = nn.Sequential(same(area * c.given.channels, w), same(w, w))
        self.halved = nn.Sequential(halved(w, 2 * w), same(2 * w, 2 * w))
        self.quarter = nn.Sequential(halved(2 * w, wide), *(same(wide, wide, dilation=d) for d in c.dilations))
        self.to_half, self.on_half = doubled(wide, 2 * w), same(4 * w, 2 * w)
        self.to_whole, self.on_whole = doubled(2 * w, w), same(2 * w, w)
        self.last = nn.Conv2d(w, area * c.x.channels, 3, padding=1)
        for weight in self.last.parameters():
            nn.init.zeros_(weight)
        # In patches; the pixel may be at the end of its own, and what is seen of the others is the mean around, too.
        self.reach = c.patch * reach(self, 4) + c.patch - 1 + WINDOW // 2

    def forward(self, given: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c h w"]:
        picture, mask = given[:, :-1], given[:, -1:]
        mean, contrast = local(picture)
        x = torch.cat([(picture - mean) / contrast, mask], 1)
        first = self.whole(in_patches(x, self.patch))  # n, width, h / patch, w / patch
        second = self.halved(first)
        x = self.to_half(self.quarter(second))
        x = self.to_whole(self.on_half(torch.cat([x, second], 1)))
        x = self.last(self.on_whole(torch.cat([x, first], 1)))
        return contrast * pixel_shuffle(x, self.patch)


def in_patches(x: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c*side*side h/side w/side"]:
    """What `pixel_shuffle` undoes. (`pixel_unshuffle` forgets to do it to an empty batch.)"""
    n, c, h, w = x.shape
    squares = x.reshape(n, c, h // side, side, w // side, side).permute(0, 1, 3, 5, 2, 4)
    return squares.reshape(n, c * side * side, h // side, w // side)


def local(x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 1 h w"]]:
    """The mean of the pixels around each one, in every channel, and their standard deviation from it, in all."""

    def around(x: Tensor) -> Tensor:
        return avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    mean = around(x)
    # What is left of equal values by rounding is no contrast.
    variance = (around(x.square()) - mean.square()).mean(1, keepdim=True).clamp(min=0)
    return mean, (variance + DIMMEST**2).sqrt()


def discriminator(c: DeepFillConfig) -> nn.Sequential:
    """A picture with its mask -> scores [n, channels, h, w], each for a patch of it."""
    wide = [c.given.channels, *(c.judge * min(2**i, 4) for i in range(c.halvings))]
    layers: list[nn.Module] = []
    for cin, cout in pairwise(wide):
        layers += [spectral_norm(nn.Conv2d(cin, cout, 5, stride=2, padding=2)), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class Beside(nn.Module):
    """A picture and its mask, channels beside channels: as they are judged."""

    def forward(self, x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c+1 h w"]:
        return torch.cat([x, mask], 1)


class DeepFill(AnySize[Picture]):
    name = "deepfill"

    def __init__(self, config: DeepFillConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Generator(c)
        self.discriminator = discriminator(c) if c.adversarial else None
        self.beside, self.average = Beside(), EMA(self.generator, c.ema)
        self.multiple, self.reach = 4 * c.patch, self.generator.reach

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the generator in training, by its average otherwise; known pixels are those given."""
        x = filled(given, self.average.unless_training(self.generator)(given.grid))
        return x if self.training else x.clamp(-1, 1)

    def discriminator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_D; real pictures have the masks of the batch, and go through together with the filled ones, with one step
        of power iteration for both."""
        x = torch.cat([batch.x, self.draw(batch.noise, batch.given)])
        real, fake = self.judge(x, batch.given.grid[:, -1:].repeat(2, 1, 1, 1)).chunk(2)
        logs = {"score(real)": real.mean(), "score(fake)": fake.mean()}
        return Loss(adversarial.hinge_discriminator(real, fake), logs)

    def pixel_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """Of the first stage: E distance(x, z)."""
        z = self.draw(batch.noise, batch.given)
        return Loss(distance(batch.x, z, batch.given), {"PSNR": pictures.psnr(batch.x, z)})

    def generator_loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """L_G"""
        c, z = self.config, self.draw(batch.noise, batch.given)
        pixel, scores = distance(batch.x, z, batch.given), self.judge(z, batch.given.grid[:, -1:])
        logs = {"pixel": pixel, "PSNR": pictures.psnr(batch.x, z)}
        return Loss(c.pixel * pixel + c.adversarial * adversarial.hinge_generator(scores), logs)

    def judge(self, x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n d h2 w2"]:
        assert self.discriminator is not None
        return self.discriminator(self.beside(x, mask))

    def stages(self) -> Sequence[Stage]:
        c, net, follow = self.config, self.generator, partial(self.average.update, self.generator)
        alone = Player(name="generator", owns=net, loss=self.pixel_loss, optimizer=c.pretrain_adam, project=follow)
        first = Stage(name="pretrain", players=[alone], times=c.pretrain)
        if self.discriminator is None:
            return [first]
        discriminator = Player(
            name="discriminator",
            owns=self.discriminator,
            loss=self.discriminator_loss,
            optimizer=c.discriminator_adam,
            judges=self.beside,
        )
        generator = Player(
            name="generator", owns=net, loss=self.generator_loss, optimizer=c.generator_adam, project=follow
        )
        return [first, Stage(name="adversarial", players=[discriminator, generator])]


def distance(x: Float[Tensor, "n c h w"], z: Float[Tensor, "n c h w"], given: Picture) -> Float[Tensor, ""]:
    """The mean of |x - z| / contrast in each hole, and of those."""
    picture, mask = given.grid[:, :-1], given.grid[:, -1:]
    hole = (mask > 0).to(z.dtype)
    off = ((x - z) / local(picture)[1]).abs() * hole
    return (off.sum((1, 2, 3)) / (hole.sum((1, 2, 3)) * z.shape[1]).clamp(min=1)).mean()


def filled(given: Picture, added: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """What is added, in the hole; elsewhere the picture, exactly as it was given."""
    picture, mask = given.grid[:, :-1], given.grid[:, -1:]
    return torch.where(mask > 0, picture + added, picture)


QUICK = DeepFillConfig(adversarial=0)
"""For half an hour of one CPU core: in that, a discriminator learns little."""

PRESETS = {
    "deepfill-64": Preset(
        config=QUICK,
        steps=5000,
        batch=8,
        expect="Photographs, halved first (shrink=2), seed 0: half an hour of one CPU core. PSNR in the hole 26.93 dB; "
        "diffusion 26.08, mean of the border 21.75 (748 held-out crops).",
    ),
    "deepfill-paper": Preset(
        config=DeepFillConfig(
            x=Images(3, 256, 256),
            given=Images(4, 256, 256),
            width=64,
            dilations=(1, 2, 4, 8, 1),
            judge=64,
            halvings=6,
        ),
        steps=1_000_000,
        batch=16,
        expect="The paper's discriminator and rates at 256 x 256, after as many rounds for the pixels alone; not "
        "trained by us.",
    ),
    "deepfill-mnist": Preset(
        config=replace(QUICK, x=Images(1, 28, 28, levels=2), given=Images(2, 28, 28), patch=1, width=16),
        steps=4000,
        batch=16,
        expect="Binarized MNIST, 3,000 of these steps, seed 0: 3 minutes of one CPU core. Of the hidden half, right or "
        "bottom, a pixel is .11 off the truth in the mean (100 held-out digits).",
    ),
    "deepfill-tiny": Preset(
        config=DeepFillConfig(x=Images(1, 8, 8), given=Images(2, 8, 8), width=2, dilations=(2,), judge=4, halvings=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "deepfill-tiny-rgb": Preset(
        config=replace(
            QUICK, x=Images(3, 8, 16), given=Images(4, 8, 16), patch=1, width=2, dilations=(1, 2), judge=2, halvings=1
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
