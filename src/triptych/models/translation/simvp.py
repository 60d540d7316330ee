"""SimVP: the frames that follow, all at once, by convolutions alone.

SimVP: Simpler yet Better Video Prediction. Gao, Tan, Wu and Li, 2022. https://arxiv.org/abs/2206.05099

    min E |x - f(c)|^2

over the frames x that follow the frames c. Each frame is encoded by itself, at a quarter of its size; what is known of
all of them stands side by side, as channels, where blocks of convolutions foresee what comes next; and each frame is
decoded by itself, with what the encoder saw at full size (Section 3.2). The blocks are those of ConvMixer (Trockman and
Kolter, 2022. https://arxiv.org/abs/2201.09792), which a later comparison found to do best for their weights (Tan and
others, 2023. OpenSTL. https://arxiv.org/abs/2306.11249): a wide convolution of each channel by itself, then one of all
channels at each place. Channels are normalized in groups here, not over the batch.

The model is a function of c: it shows the mean of what may come, which is blurred where that is not certain. Frames are
made from nothing, as in the paper, or added to the mean of those before (`start`), which is not of the paper.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
    Doublings,
    Generative,
    Loss,
    Noise,
    Picture,
    Player,
    Preset,
    Stage,
    Video,
    config,
)
from triptych.losses.pictures import frame_error
from triptych.models.paper import Paper
from triptych.nn.frames import Mixer, check_frames, convolution, darkened, merged, silenced, split

PAPER = Paper(
    called="SimVP",
    title="SimVP: Simpler yet Better Video Prediction",
    authors="Zhangyang Gao, Cheng Tan, Lirong Wu, Stan Z. Li",
    year=2022,
    url="https://arxiv.org/abs/2206.05099",
    conditions="video",
    takes=("video",),
)


@config
class SimVPConfig:
    x: Video = Video(10, 1, 64, 64)
    """The frames that follow."""
    given: Video = Video(10, 1, 64, 64)
    """The frames before, of the same size."""
    width: Count = 16
    """Channels of a frame."""
    halvings: Doublings = 2
    """How often a frame is halved on the way to the blocks."""
    mixed: Count = 192
    """Channels of all frames together."""
    depth: Count = 8
    """Blocks."""
    kernel: Count = 7
    """Places to a side that a block's convolution sees; an odd number."""
    start: Literal["black", "mean"] = "black"
    """What training begins with: black frames, or the mean of those before, to which the network adds: for what is
    filmed by a camera that stands, or moves on a background."""
    adam: Adam = Adam(lr=2e-3, betas=(0.9, 0.99), schedule="cosine", warmup=0.05)

    def __post_init__(self) -> None:
        check_frames(self.x, self.given, 2**self.halvings, f"halvings={self.halvings}")


class Network(nn.Module):
    """Frames before -> frames that follow."""

    def __init__(self, c: SimVPConfig) -> None:
        super().__init__()
        self.before, self.after, width = c.given.frames, c.x.frames, c.width
        self.first = convolution(c.given.channels, width)
        self.down = nn.Sequential(
            *(nn.Sequential(convolution(width, width, 2), convolution(width, width)) for _ in range(c.halvings))
        )
        self.into = nn.Conv2d(self.before * width, c.mixed, 1)
        self.blocks = nn.Sequential(*(Mixer(c.mixed, c.kernel) for _ in range(c.depth)))
        self.out_of = nn.Conv2d(c.mixed, self.after * width, 1)
        up: list[nn.Module] = []
        for _ in range(c.halvings):
            up += [convolution(width, width), nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2)]
        self.up = nn.Sequential(*up)
        self.adds = c.start == "mean"
        last = nn.Conv2d(width, c.x.channels, 1)
        self.last = nn.Sequential(convolution(2 * width, width), silenced(last) if self.adds else darkened(last))

    def forward(self, frames: Float[Tensor, "n before c h w"]) -> Float[Tensor, "n after c h w"]:
        sharp = self.first(merged(frames))  # n*before width h w
        small = self.down(sharp)  # n*before width h/4 w/4
        together = split(small, self.before).flatten(1, 2)  # n before*width h/4 w/4
        foreseen = self.out_of(self.blocks(self.into(together)))
        small = merged(foreseen.unflatten(1, (self.after, -1)))  # n*after width h/4 w/4
        beside = torch.arange(self.after, device=frames.device) * self.before // self.after
        seen = merged(split(sharp, self.before).index_select(1, beside))  # n*after width h w
        found = split(self.last(torch.cat([self.up(small), seen], 1)), self.after)
        return frames.mean(1, keepdim=True) + found if self.adds else found


class SimVP(Generative[Picture]):
    name = "simvp"

    def __init__(self, config: SimVPConfig) -> None:
        super().__init__()
        self.config = config
        self.net = Network(config)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n t c h w"]:
        """What is beyond black and white is clipped, but for training."""
        x = self.net(given.grid)
        return x if self.training else x.clamp(-1, 1)

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """E |x - f(c)|^2: the mean over pixels; what is logged is the sum over a frame, black being 0 and white 1."""
        found = self.draw(batch.noise, batch.given)
        error = frame_error(batch.x, found)
        return Loss(error / found[0, 0].numel() * 4, {"MSE": error})

    def stages(self) -> Sequence[Stage]:
        return [
            Stage(name="train", players=[Player(name="net", owns=self, loss=self.loss, optimizer=self.config.adam)])
        ]


PRESETS = {
    "simvp-64": Preset(
        config=SimVPConfig(),
        steps=650,
        batch=8,
        expect="Moving Fashion-MNIST, seed 0, 300 steps, 6 minutes of one CPU core: MSE 161 a frame (copying the last "
        "379, black 309; 500 held-out clips), by blur; the paper's numbers take 200 epochs.",
    ),
    "simvp-paper": Preset(
        config=SimVPConfig(width=64, mixed=256, depth=8, kernel=9, adam=Adam(lr=1e-3, schedule="cosine", warmup=0.05)),
        steps=125_000,
        batch=16,
        expect="As wide as OpenSTL's ConvMixer variant, for a GPU: 200 passes through 10,000 clips; not trained by us. "
        "There: MSE 32.1 on Moving MNIST, 31.2 on Moving Fashion-MNIST.",
    ),
    "simvp-tiny-mean": Preset(
        config=SimVPConfig(
            x=Video(4, 3, 4, 4),
            given=Video(2, 3, 4, 4),
            width=4,
            halvings=1,
            mixed=8,
            depth=1,
            kernel=3,
            start="mean",
        ),
        steps=10,
        batch=8,
        expect="For tests of what is added to the mean of the frames before.",
    ),
    "simvp-tiny": Preset(
        config=SimVPConfig(
            x=Video(2, 1, 8, 8), given=Video(3, 1, 8, 8), width=4, halvings=1, mixed=8, depth=1, kernel=3
        ),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
