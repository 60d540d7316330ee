"""The same nets under PyTorch-GAN's recipe and under our loop."""

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steps.turns import Row, Side, check_same, compare, fetched, size, triptych
from triptych.core import Batch, Clock, StepNoise
from triptych.data import Dataset
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.nn.ema import EMA
from triptych.nn.residual import DoublingConv
from triptych.nn.strided import initialize


class PlainGAN:
    """The training recipe of PyTorch-GAN's dcgan.py, written here.

    One batch and one batch of fakes for both players; first the generator's step, through a discriminator whose own
    gradients are computed as well and thrown away, then the discriminator's on the real and the detached fakes in two
    passes; binary cross-entropy of probabilities; default Adam; contiguous float32; both losses read at every step.
    """

    def __init__(self, model: DCGAN, images: Dataset, batch: int, *, freeze: bool = False) -> None:
        """`freeze`: not in the recipe: no gradients for the discriminator's weights in the generator's step."""
        self.generator, self.discriminator = model.generator.train(), model.discriminator.train()
        self.latent, self.freeze = model.config.latent, freeze
        self.adams = [
            torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for net in (self.generator, self.discriminator)
        ]
        self.batches = fetched(images, batch)

    def guess(self, x: Tensor, label: float) -> Tensor:
        p = self.discriminator(x).sigmoid()
        return F.binary_cross_entropy(p, torch.full_like(p, label))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (self.guess(real, 1) + self.guess(fake, 0)) / 2

    def step(self, x: Tensor) -> float:
        generator_adam, discriminator_adam = self.adams
        generator_adam.zero_grad()
        self.discriminator.requires_grad_(not self.freeze)
        fake = self.generator(torch.randn(len(x), self.latent))
        loss = self.guess(fake, 1)
        loss.backward()
        generator_adam.step()
        loss.item()
        self.discriminator.requires_grad_(True)
        discriminator_adam.zero_grad()
        loss = self.discriminator_loss(x, fake.detach())
        loss.backward()
        discriminator_adam.step()
        return 2 * loss.item()  # on the scale of ours, which is a sum

    def run(self, steps: int) -> float:
        return statistics.fmean(self.step(next(self.batches).x) for _ in range(steps))


def peer_generator(latent: int, channels: int, side: int, width: int) -> nn.Sequential:
    """The layers of PyTorch-GAN's DCGAN generator (width 128 there): nearest-neighbor doubling, then convolution."""
    return nn.Sequential(
        nn.Linear(latent, width * (side // 4) ** 2),
        nn.Unflatten(1, (width, side // 4, side // 4)),
        nn.BatchNorm2d(width),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1)),
        *(nn.BatchNorm2d(width, eps=0.8), nn.LeakyReLU(0.2)),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, 1, 1)),
        *(nn.BatchNorm2d(width // 2, eps=0.8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width // 2, channels, 3, 1, 1), nn.Tanh()),
    )


def peer_discriminator(channels: int, side: int, width: int) -> nn.Sequential:
    """The layers of PyTorch-GAN's DCGAN discriminator, up to the logit: four strided convolutions with dropout."""
    layers: list[nn.Module] = []
    wide = [width // 8, width // 4, width // 2, width]
    for i, (cin, cout) in enumerate(zip([channels, *wide], wide, strict=False)):
        layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout2d(0.25)]
        layers += [nn.BatchNorm2d(cout, eps=0.8)] if i else []
    return nn.Sequential(*layers, nn.Flatten(1), nn.Linear(width * (side // 16) ** 2, 1), nn.Flatten(0))


def our_nets(images: Dataset, width: int, shared: bool = False) -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(DCGANConfig(x=images.x, width=width, shared=shared))


def folded(generator: nn.Sequential) -> nn.Sequential:
    """The same weights and the same function, with doubling and the convolution after it in one layer."""
    layers = list[nn.Module]()
    for before, layer in pairwise([nn.Identity(), *generator]):
        if isinstance(before, nn.Upsample) and isinstance(layer, nn.Conv2d):
            one = DoublingConv(layer.in_channels, layer.out_channels, 3, padding=1)
            one.load_state_dict(layer.state_dict())
            layers.append(one)
        elif not isinstance(layer, nn.Upsample):
            layers.append(layer)
    return nn.Sequential(*layers)


def peer_nets(images: Dataset, width: int, shared: bool = False) -> DCGAN:
    """Our DCGAN with the layers of PyTorch-GAN's in place of its own."""
    model = our_nets(images, width, shared)
    channels, side, _ = images.x.shape
    model.generator = peer_generator(model.config.latent, channels, side, width)
    model.discriminator = peer_discriminator(channels, side, width)
    for layer in [*model.generator.modules(), *model.discriminator.modules()]:
        if not isinstance(layer, nn.Linear):  # those keep torch's defaults there
            initialize(layer)
    model.average = EMA(model.generator, model.config.ema)
    return model


Build = Callable[..., DCGAN]


def check_gan(model: DCGAN, peer: DCGAN, images: Dataset, batch: int) -> None:
    """Raises ValueError unless both recipes give the discriminator the same loss."""
    x = next(fetched(images, batch)).x

    def noise() -> StepNoise:
        return StepNoise(1, batch, slice(None))

    with torch.no_grad():
        torch.manual_seed(2)  # dropout
        ours = model.train().discriminator_loss(Batch(x, None, noise()), Clock(0, 0)).value
        fake = peer.train().draw(noise())
        torch.manual_seed(2)
        theirs = 2 * PlainGAN(peer, images, batch).discriminator_loss(x, fake)
    check_same("DCGAN", ours, theirs)


def dcgan(
    images: Dataset, steps: int, repeats: int, *, batch: int = 64, width: int = 64, peer_width: int = 128
) -> list[Row]:
    """The same nets under PyTorch-GAN's recipe and under our loop; a step is one of either player."""
    rows = []
    for whose, build, wide in (("PyTorch-GAN's", peer_nets, peer_width), ("our", our_nets, width)):

        def plain(name: str, freeze: bool = False, build: Build = build, wide: int = wide) -> Side:
            model = build(images, wide)
            nets = size(model.generator, model.discriminator)
            return Side(name, PlainGAN(model, images, batch, freeze=freeze).run, nets)

        def ours(name: str, shared: bool = False, build: Build = build, wide: int = wide, **how: Any) -> Side:
            model = build(images, wide, shared)
            if build is peer_nets:
                model.generator = folded(model.generator)
                model.average = EMA(model.generator, model.config.ema)
            check_gan(model, build(images, wide), images, batch)
            return triptych(name, model, images, batch, weights=[model.generator, model.discriminator], **how)

        c, h, w = images.x.shape
        rows += compare(
            f"DCGAN {c}x{h}x{w}, batch {batch}, {whose} nets",
            [
                plain("recipe as in PyTorch-GAN, written here"),
                plain("the same, idle discriminator frozen", freeze=True),
                ours("triptych"),
                ours("triptych, channels last", channels_last=True),
                ours("triptych, channels last, samples shared", shared=True, channels_last=True),
                ours("triptych, bf16, channels last", channels_last=True, precision="bf16"),
                ours("triptych, bf16, channels last, samples shared", True, channels_last=True, precision="bf16"),
            ],
            steps,
            repeats,
        )
    return rows
