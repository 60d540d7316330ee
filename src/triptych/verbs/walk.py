"""Walks through latent space, and reconstructions: what a model with a latent can show."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution

from triptych.core import Generative, Given, HasLikelihood, ItemNoise, UsageError, evaluating
from triptych.inference.importance import LatentVariable


class Between:
    """Noise on the way from that of items `a` to that of items `b`: normals along great circles, uniforms straight.

    Great circles keep a Gaussian's length (White, 2016; https://arxiv.org/abs/1609.04468), as independent draws have.
    """

    def __init__(self, a: ItemNoise, b: ItemNoise, part: float) -> None:
        self.a, self.b, self.part = a, b, part
        self.n, self.device = a.n, a.device

    def normal(self, *shape: int) -> Tensor:
        angle = self.part * math.pi / 2
        return math.cos(angle) * self.a.normal(*shape) + math.sin(angle) * self.b.normal(*shape)

    def uniform(self, *shape: int) -> Tensor:
        return torch.lerp(self.a.uniform(*shape), self.b.uniform(*shape), self.part)


def interpolate(model: Generative[Any], walks: int = 4, steps: int = 10, *, seed: int = 0) -> Tensor:
    """`walks` paths of `steps` images each between pairs of random latents: [walks, steps, *x.shape] on the CPU.

    A model with a decoder shows its mean image. Raises UsageError for a model without a latent.
    """
    if isinstance(model, HasLikelihood) and not isinstance(model, LatentVariable):
        raise UsageError(f"{model.name} has no latent space to walk through")
    frames = []
    with evaluating(model), torch.no_grad():
        for i in range(steps):
            start, end = (
                ItemNoise(seed, range(k * walks, (k + 1) * walks), model.device, model.precision) for k in (0, 1)
            )
            noise = Between(start, end, i / (steps - 1))
            if isinstance(model, LatentVariable):
                z = noise.normal(*model.prior(None).event_shape)
                frames.append(model.decode(z, None).mean)
            else:
                frames.append(model.draw(noise, None))
    return torch.stack(frames, 1).cpu()


@runtime_checkable
class Codes(Protocol):
    """A model that encodes x and decodes what came of it: by a distribution of latents, or as codes."""

    def encode(self, x: Tensor, given: Any) -> Any: ...
    def decode(self, z: Any, given: Any) -> Distribution: ...


def reconstruct(model: Generative[Any], x: Tensor, given: Given | None = None) -> Tensor:
    """x through the encoder (its mean, or its codes) and back to the decoder's mean, on the CPU.

    Raises UsageError without an encoder and a decoder.
    """
    if not isinstance(model, Codes):
        raise UsageError(f"{model.name} has no encoder")
    condition = None if given is None else given.to(model.device)
    with evaluating(model), torch.no_grad():
        code = model.encode(x.to(model.device), condition)
        z = code.mean if isinstance(code, Distribution) else code
        mean: Tensor = model.decode(z, condition).mean
    return mean.cpu()
