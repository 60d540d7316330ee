"""A model outside the package: a Gaussian for each pixel, trained, saved and loaded like those of the catalogue.

A model says its space, its loss and who owns which weights. It holds no loop, device or backward.

    python examples/a_model_of_your_own.py 50
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import triptych as tt
from triptych.core import Adam, Batch, Clock, Generative, Images, Loss, Noise, Player, Stage, config


@config
class GaussianConfig:
    x: Images = Images(1, 28, 28)
    """The space of x."""
    adam: Adam = Adam(lr=0.05)


@tt.register
class Gaussian(Generative[None]):
    name = "my-gaussian"

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Parameter(torch.zeros(config.x.shape))
        self.log_scale = nn.Parameter(torch.zeros(config.x.shape))

    def draw(self, noise: Noise, given: None = None) -> Tensor:
        return self.mean + self.log_scale.exp() * noise.normal(*self.config.x.shape)

    def loss(self, batch: Batch[None], clock: Clock) -> Loss:
        z = (batch.x - self.mean) / self.log_scale.exp()
        return Loss((z.square() / 2 + self.log_scale).mean())

    def stages(self) -> Sequence[Stage]:
        player = Player(name="gaussian", owns=self, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
model = Gaussian(GaussianConfig())
for now in tt.train(model, tt.data("mnist"), tt.Run(steps=steps, batch=64)):
    print(now) if now.step == steps else None

tt.save_pretrained(model, "runs/gaussian")
again = tt.load("runs/gaussian")
print(again.sample(4, seed=0).shape, "as before:", torch.equal(again.sample(4, seed=0), model.eval().sample(4, seed=0)))
