"""Latents to look at: walks from one to another, and the one that a given picture comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from triptych.core import Generative, HasLikelihood, UsageError, evaluating, planar
from triptych.inference.generators import Generator
from triptych.inference.inversion import invert
from triptych.inference.latents import straight
from triptych.media import pictures
from triptych.media.photo import read_photo
from triptych.tasks.faces import face
from triptych.verbs.walk import Codes, interpolate

WALKS, STEPS = 4, 8
"""Paths, and pictures of each."""


@dataclass(frozen=True, eq=False)
class Found:
    """Pictures, and how near to them a model comes."""

    x: Float[Tensor, "n c h w"]
    """What was brought, at the model's size."""
    z: Float[Tensor, "n latent"]
    """The latents: of a generator all the noise that a sample spends, of a model with an encoder the code's mean."""
    made: Float[Tensor, "n c h w"]
    """What the model makes of them."""

    @property
    def error(self) -> Float[Tensor, " n"]:
        """Root mean square difference of a pixel, on the scale of 0 to 255."""
        return (self.made - self.x).square().flatten(1).mean(1).sqrt() * 127.5

    def sheet(self) -> Image.Image:
        """What was brought above what was found."""
        return pictures.strip([self.x, self.made], scale=2 if self.x.shape[-1] <= 64 else 1)


def check(model: Generative[Any]) -> None:
    """Raises UsageError for a model of no pictures, or of pictures given something."""
    if not planar(model.config.x):
        raise UsageError(f"{model.name} models {model.config.x}: walks and inversions are of pictures")
    if getattr(model.config, "given", None) is not None:
        raise UsageError(f"{model.name} is given {model.config.given}: walks and inversions are of models of p(x)")


def find(
    model: Generative[Any],
    brought: Sequence[Any],
    *,
    steps: int = 300,
    starts: int = 4,
    seed: int = 0,
    eyes: str = "",
) -> Found:
    """The latents that pictures come from: by the encoder where there is one, else by descent from `starts` draws of
    the prior, `steps` steps each (see `inference.inversion`).

    brought   files, PIL images or arrays, of any size: they are cut to their middle and brought to the model's size.
    eyes      of one face, "x,y,x,y" in pixels: it is turned and scaled by them (see `tasks.faces`).

    Raises UsageError for a model without a latent.
    """
    check(model)
    x = torch.cat([face(read_photo(one).opaque(), model.config.x, eyes) for one in brought])
    here = x.to(model.device)
    if isinstance(model, HasLikelihood):
        return encoded(model, x)
    result = invert(model, here, steps=steps, starts=starts, seed=seed)
    return Found(x, result.z.cpu(), result.x.cpu())


def encoded(model: Generative[Any], x: Float[Tensor, "n c h w"]) -> Found:
    """By an encoder. Raises UsageError where there is none, or where codes are no vectors that could be walked."""
    if not isinstance(model, Codes):
        raise UsageError(f"{model.name} has no latent that a picture could come from")
    with evaluating(model), torch.no_grad():
        q = model.encode(x.to(model.device), None)
        if not isinstance(q, Distribution) or q.mean.dim() != 2:
            raise UsageError(f"{model.name} encodes pictures as other than a vector of numbers: there is no walk in it")
        return Found(x, q.mean.cpu(), model.decode(q.mean, None).mean.cpu())


def between(model: Generative[Any], z: Float[Tensor, "n latent"], steps: int = STEPS) -> Float[Tensor, "w s c h w2"]:
    """From each latent to the next one, in a straight line: [n - 1, steps, *x.shape]."""
    frames = []
    with evaluating(model), torch.no_grad():
        for path in straight(z[:-1], z[1:], steps).movedim(1, 0).to(model.device):
            made = model.decode(path, None).mean if isinstance(model, Codes) else Generator(model)(path)
            frames.append(made.cpu().clamp(-1, 1))
    return torch.stack(frames)


def walk(
    model: Generative[Any],
    *,
    through: Sequence[Any] = (),
    walks: int = WALKS,
    steps: int = STEPS,
    seed: int = 0,
) -> Float[Tensor, "w s c h w2"]:
    """Paths through latent space: between random latents, along great circles; or from the latent of one picture to
    that of the next (see `find`).

    Raises UsageError for a model without a latent, or one picture alone.
    """
    check(model)
    if steps < 2 or walks < 1:
        raise UsageError(f"walks={walks}, steps={steps}: a walk has two pictures or more, and there is one or more")
    if not through:
        return interpolate(model, walks, steps, seed=seed)
    if len(through) < 2:
        raise UsageError("a walk leads from one picture to another: name two or more, with commas between")
    return between(model, find(model, through, seed=seed).z, steps)


def pictured(frames: Float[Tensor, "w s c h w2"]) -> Image.Image:
    """A row a walk."""
    return pictures.grid(frames.flatten(0, 1), columns=frames.shape[1], scale=2 if frames.shape[-1] <= 64 else 1)


def save(image: Image.Image, out: Path, about: dict[str, str]) -> None:
    pictures.save_png(image, out, about)
