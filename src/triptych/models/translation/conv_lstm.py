"""ConvLSTM: the frames that follow, one after the other, by memories that lie in the plane.

Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting.
Shi, Chen, Wang, Yeung, Wong and Woo, 2015. https://arxiv.org/abs/1506.04214

    i, f, o = sigmoid(W * [x_t, h_{t-1}]),   c_t = f c_{t-1} + i tanh(W * [x_t, h_{t-1}]),   h_t = o tanh(c_t)

with convolutions where an LSTM has matrices (Equation 3, without its connections from the memory to the gates). Layers
of them read the frames that are given, patches of pixels as channels; then they go on with what they foresee, in
training as in use: nothing is told there that is not known here. So the number of frames before, and of those that
follow, is free (`foresee`).

The model is a function of the frames: it shows the mean of what may come, which is blurred where that is not certain.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.core import (
    Adam,
    Batch,
    Clock,
    Count,
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
from triptych.nn.frames import check_frames, darkened, patched, unpatched

PAPER = Paper(
    called="ConvLSTM",
    title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
    authors="Xingjian Shi, Zhourong Chen, Hao Wang, Dit-Yan Yeung, Wai-kin Wong, Wang-chun Woo",
    year=2015,
    url="https://arxiv.org/abs/1506.04214",
    conditions="video",
    takes=("video",),
)


@config
class ConvLSTMConfig:
    x: Video = Video(10, 1, 64, 64)
    """The frames that follow, in training: any number in use."""
    given: Video = Video(10, 1, 64, 64)
    """The frames before, of the same size."""
    patch: Count = 4
    """Pixels to a side of the patches whose pixels are channels."""
    width: Count = 64
    """Channels of a memory."""
    layers: Count = 2
    """Memories above one another."""
    kernel: Count = 5
    """Patches to a side that a convolution sees; an odd number."""
    adam: Adam = Adam(lr=1e-3, schedule="cosine", warmup=0.05)

    def __post_init__(self) -> None:
        check_frames(self.x, self.given, self.patch, f"patch={self.patch}")


State = list[tuple[Tensor, Tensor]]


class Cell(nn.Module):
    """One layer at one moment."""

    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 4 * width, kernel, padding="same")

    def forward(self, x: Float[Tensor, "n inputs h w"], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, g = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = (f + 1).sigmoid() * c + i.sigmoid() * g.tanh()  # one more, so that it begins by remembering
        return o.sigmoid() * c.tanh(), c


class ConvLSTM(Generative[Picture]):
    name = "conv-lstm"

    def __init__(self, config: ConvLSTMConfig) -> None:
        super().__init__()
        self.config = c = config
        channels = c.x.channels * c.patch**2
        self.cells = nn.ModuleList(Cell(c.width if k else channels, c.width, c.kernel) for k in range(c.layers))
        self.out = darkened(nn.Conv2d(c.width, channels, 1))

    def after(self, frame: Float[Tensor, "n c h w"], state: State) -> tuple[Float[Tensor, "n c h w"], State]:
        """The frame after this one, and what is remembered."""
        h, found = patched(frame, self.config.patch), State()
        for cell, (before, memory) in zip(self.cells, state, strict=True):
            h, memory = cell(h, before, memory)
            found.append((h, memory))
        return unpatched(self.out(h), self.config.patch), found

    def foresee(self, frames: Float[Tensor, "n past c h w"], ahead: int) -> Float[Tensor, "n ahead c h w"]:
        """Any number of frames, of any number before."""
        n, past, _, height, width = frames.shape
        c = self.config
        nothing = frames.new_zeros(n, c.width, height // c.patch, width // c.patch)
        state: State = [(nothing, nothing)] * c.layers
        found: list[Tensor] = []
        for t in range(past + ahead - 1):
            frame, state = self.after(frames[:, t] if t < past else found[-1], state)
            if t >= past - 1:
                found.append(frame if self.training else frame.clamp(-1, 1))
        return torch.stack(found, 1)

    def draw(self, noise: Noise, given: Picture) -> Float[Tensor, "n t c h w"]:
        return self.foresee(given.grid, self.config.x.frames)

    def loss(self, batch: Batch[Picture], clock: Clock) -> Loss:
        """E |x - f(c)|^2: the mean over pixels; what is logged is the sum over a frame, black being 0 and white 1."""
        found = self.draw(batch.noise, batch.given)
        error = frame_error(batch.x, found)
        return Loss(error / found[0, 0].numel() * 4, {"MSE": error})

    def stages(self) -> Sequence[Stage]:
        player = Player(name="net", owns=self, loss=self.loss, optimizer=self.config.adam, clip=1.0)
        return [Stage(name="train", players=[player])]


PRESETS = {
    "conv-lstm-64": Preset(
        config=ConvLSTMConfig(width=32, kernel=3, adam=Adam(lr=2e-3, schedule="cosine", warmup=0.05)),
        steps=1800,
        batch=8,
        expect="Moving Fashion-MNIST, seed 0, 1,800 steps, 11 minutes of one CPU core: MSE 159 a frame (copying the "
        "last 379, black 309; 500 held-out clips), by blur; the paper's numbers take 200 epochs.",
    ),
    "conv-lstm-paper": Preset(
        config=ConvLSTMConfig(width=128, layers=4, adam=Adam(lr=5e-4)),
        steps=125_000,
        batch=16,
        expect="As wide and deep as OpenSTL's, for a GPU: 200 passes through 10,000 clips; not trained by us. There: "
        "MSE 29.8 on Moving MNIST, 28.9 on Moving Fashion-MNIST.",
    ),
    "conv-lstm-tiny": Preset(
        config=ConvLSTMConfig(x=Video(2, 1, 8, 8), given=Video(3, 1, 8, 8), patch=2, width=4, layers=2, kernel=3),
        steps=10,
        batch=8,
        expect="For tests.",
    ),
}
