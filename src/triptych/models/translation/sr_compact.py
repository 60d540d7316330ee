"""SR-Compact: super resolution by a small network, as close to the truth as it gets in the mean.

Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data.
Wang, Xie, Dong and Shan, 2021. https://arxiv.org/abs/2107.10833

    min E |x - f(c)|_1

over pictures x and their small versions c: the first half of that paper's training, and its code's compact network.
All convolutions work at the low resolution, one shuffle of pixels leads to the high one, and the result is added to
the picture with every pixel as a square (`nn.compact`). How x becomes c is the task's part (`tasks.super_resolution`):
scaled down, or also blurred, made noisy and compressed, as in the paper.

The model is a function of c: every sample for the same c is the same. Where several x fit a c, what lowers the loss is
between all of them (their median, pixel by pixel): smooth where the truth is sharp. `srgan` goes on from here.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from triptych.core import (
    Adam,
    AnySize,
    Batch,
    Clock,
    Count,
    Fraction,
    Images,
    Loss,
    Noise,
    Picture,
    Player,
    Preset,
    Stage,
    config,
)
from triptych.losses import pictures
from triptych.models.paper import Paper
from triptych.nn.compact import Compact, magnification
from triptych.nn.ema import EMA
from triptych.nn.symmetries import turned

PAPER = Paper(
    called="SR-Compact",
    title="Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    authors="Xintao Wang, Liangbin Xie, Chao Dong, Ying Shan",
    year=2021,
    url="https://arxiv.org/abs/2107.10833",
    conditions="picture",
)


@config
class SRCompactConfig:
    x: Images = Images(3, 128, 128)
    """What is modeled: crops as large as those trained on. A trained model enlarges pictures of any size."""
    given: Images = Images(3, 32, 32)
    """The small picture; x is a whole number of times as high and as wide."""
    width: Count = 48
    """Channels."""
    depth: Count = 8
    """Convolutions between the first and the last; how far the network looks grows with them."""
    ema: Fraction = 0.999
    """Decay of the average of the weights that samples are drawn from; 0: the weights themselves."""
    turned: bool = False
    """Whether pictures are turned and mirrored at random in training: for those that have no up and down."""
    adam: Adam = Adam(lr=1e-3, betas=(0.9, 0.99), schedule="cosine", warmup=0.01)

    def __post_init__(self) -> None:
        magnification(self.x, self.given)


class SRCompact(AnySize[Picture]):
    name = "sr-compact"

    def __init__(self, config: SRCompactConfig) -> None:
        super().__init__()
        self.config = c = config
        self.net = Compact(c.x.channels, magnification(c.x, c.given), c.width, c.depth)
        self.average = EMA(self.net, c.ema)
        self.reach = self.net.reach

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n c h w"]:
        """By the network in training, by its average otherwise: there, what is beyond black and white is clipped."""
        x = self.average.unless_training(self.net)(given.grid)
        return x if self.training else x.clamp(-1, 1)

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """E |x - f(c)|_1"""
        x, c = batch.x, batch.given.grid
        if self.config.turned:
            x, c = turned(batch.noise, x, c)
        found = self.draw(batch.noise, Picture(c))
        return Loss(pictures.l1(x, found), {"PSNR": pictures.psnr(x, found)})

    def stages(self) -> Sequence[Stage]:
        follow = partial(self.average.update, self.net)
        player = Player(name="net", owns=self.net, loss=self.loss, optimizer=self.config.adam, project=follow)
        return [Stage(name="train", players=[player])]


QUICK = SRCompactConfig()
"""For half an hour of one CPU core."""

PRESETS = {
    "sr-compact-x2": Preset(
        config=replace(QUICK, x=Images(3, 64, 64)),
        steps=6000,
        batch=16,
        expect="Photographs (halved first), seed 0, 3,000 of these steps: 12 minutes of one CPU core. Whole held-out "
        "pictures: PSNR 31.23 dB, SSIM .911 (RGB, no border); bicubic 29.53 and .880. Satellite tiles, turned=true: "
        "34.11 dB, bicubic 32.97.",
    ),
    "sr-compact-x3": Preset(
        config=replace(QUICK, x=Images(3, 96, 96)),
        steps=6000,
        batch=16,
        expect="Photographs, half an hour of one CPU core (.28 s a step); not trained by us yet.",
    ),
    "sr-compact-x4": Preset(
        config=QUICK,
        steps=6000,
        batch=16,
        expect="Photographs (halved first), seed 0, 4,000 of these steps: 20 minutes of one CPU core. Whole held-out "
        "pictures: PSNR 27.12 dB, SSIM .759 (RGB, no border); bicubic 26.09 and .722. Satellite tiles, turned=true: "
        "30.07 dB, bicubic 29.35.",
    ),
    "sr-compact-paper": Preset(
        config=SRCompactConfig(
            x=Images(3, 256, 256), given=Images(3, 64, 64), width=64, depth=16, adam=Adam(lr=2e-4, betas=(0.9, 0.99))
        ),
        steps=1_000_000,
        batch=48,
        expect="The compact network of the paper's code and the paper's first half of training; not trained by us.",
    ),
    "sr-compact-tiny": Preset(
        config=SRCompactConfig(x=Images(1, 8, 8), given=Images(1, 4, 4), width=4, depth=2),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
    "sr-compact-tiny-x3": Preset(
        config=SRCompactConfig(x=Images(3, 9, 12), given=Images(3, 3, 4), width=4, depth=1, turned=True),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
