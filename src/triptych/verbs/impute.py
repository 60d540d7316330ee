"""What is missing, filled in: several completions of each item, and whether they are draws from p(missing | known)."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from triptych.core import Data, Generative, ItemNoise, Space, UsageError, Voxels, evaluating, mix
from triptych.data import fitted
from triptych.inference import imputation
from triptych.io import outputs
from triptych.media import medium_of, pictures
from triptych.tasks import inpainting
from triptych.verbs.opening import as_data

HALVES = ("top", "bottom", "left", "right")
SOLID = {"front": 1, "back": 1, "top": 2, "bottom": 2, "left": 3, "right": 3}
"""The halves of a solid [channel, depth, height, width], and the axes along which they lie."""
FIRST = ("top", "left", "front")


@dataclass(frozen=True, eq=False)
class Imputations:
    """Items of a data set with a part hidden, and completions of them."""

    model: str
    data: str
    hidden: str
    n: int
    completions: int
    exact: bool
    """Whether each completion is a draw from p(missing | known), or in the limit of many draws only."""
    how: str
    effective: float | None
    """Mean effective number of draws that one was chosen from; None if exact."""
    error: float
    """Mean distance between a hidden value and the truth: 1 from black to white, or for any other token."""
    seed: int
    x: Shaped[Tensor, "n ..."]
    known: Bool[Tensor, "n ..."]
    drawn: Shaped[Tensor, "completions n ..."]
    means: Shaped[Tensor, "completions n ..."] | None
    """Of a model with a decoder: each completion without the noise that is drawn for each value by itself."""

    def __repr__(self) -> str:
        said = f"{self.completions} completions of {self.n} items of {self.data}, hidden: {self.hidden}"
        return f"<{self.model}: {said}; mean distance {self.error:.4g} ({self.how})>"

    def summary(self) -> dict[str, Any]:
        """All but the items, ready for JSON."""
        return {k: v for k, v in vars(self).items() if not isinstance(v, Tensor)}


def mask(space: Space, hide: str, n: int, seed: int) -> Bool[Tensor, "n ..."]:
    """What is known: all but one half ("top", "bottom", "left", "right"), but a hole half as high and half as wide
    ("middle"), or but a share of the places ("0.5").

    Hidden places lose all their channels. Which ones follows from `seed` and the item's number.

    Of a solid, also its "front" or "back". Raises UsageError for other words, and for a half of what is neither.
    """
    if space.kind == "voxels" and hide in SOLID:
        return half(space, hide, SOLID[hide]).expand(n, *space.shape)
    if hide in (*HALVES, "middle"):
        if not space.planar:
            raise UsageError(f'hide="{hide}": {space} has no such side; hide a share: 0.5')
        known = torch.ones(space.shape, dtype=torch.bool)
        if hide == "middle":
            h, w = known.shape[1:]
            known[:, h // 4 : h // 4 + (h + 1) // 2, w // 4 : w // 4 + (w + 1) // 2] = False
            return known.expand(n, *space.shape)
        return half(space, hide, 1 if hide in ("top", "bottom") else 2).expand(n, *space.shape)
    try:
        share = float(hide)
    except ValueError:
        share = float("nan")
    if not (isfinite(share) and 0 < share < 1):
        parts = SOLID if space.kind == "voxels" else (*HALVES, "middle")
        raise UsageError(f'hide="{hide}": it is {", ".join(parts)}, or a share between 0 and 1')
    places = (1, *space.shape[1:]) if space.planar else space.shape
    return (ItemNoise(mix(seed), range(n)).uniform(*places) >= share).expand(n, *space.shape)


def half(space: Space, hide: str, axis: int) -> Bool[Tensor, "..."]:
    """All but one half along an axis."""
    known, middle = torch.ones(space.shape, dtype=torch.bool), space.shape[axis] // 2
    first, count = (0, middle) if hide in FIRST else (middle, space.shape[axis] - middle)
    known.narrow(axis, first, count).fill_(False)
    return known


def impute(
    model: Generative[Any],
    data: Data | Any,
    *,
    hide: str = "bottom",
    n: int = 8,
    completions: int = 4,
    draws: int = 64,
    seed: int = 0,
) -> Imputations:
    """Hides a part of `n` items, evenly spaced over `data`, and draws `completions` of each.

    Where the model has no exact way, each completion is chosen among `draws`. All follows from `seed`. A model that was
    trained to fill holes has one answer, and gives it each time.

    Raises UsageError as `mask` and `inference.imputation.impute` do.
    """
    data = as_data(data, model)
    if n < 1 or completions < 1:
        raise UsageError(f"n={n}, completions={completions}: both are 1 or more")
    filler = inpainting.fills(model)
    if not filler:
        data = fitted(data, model.config)
    elif data.x != model.config.x:
        raise UsageError(f"{model.name} fills holes of {model.config.x}; {data.name} serves {data.x}")
    n, space = min(n, len(data)), model.config.x
    rows = torch.arange(n) * len(data) // n
    batch = data.fetch(rows, ItemNoise(seed, rows.tolist(), model.device))
    given = batch.given if getattr(model.config, "given", None) is not None else None
    known = mask(space, hide, n, seed).to(model.device)
    with evaluating(model):
        if filler:
            found = [inpainting.imputed(model, batch.x, known)] * completions
        else:
            found = [
                imputation.impute(model, batch.x, known, given, draws=draws, seed=mix(seed, k))
                for k in range(completions)
            ]
    drawn = torch.stack([one.x for one in found])
    off = (space.index(drawn.flatten(0, 1)).view(drawn.shape) - space.index(batch.x)).abs().double()
    off = off / (space.values - 1) if space.scaled and space.values else off.clamp(max=1)
    means = [one.mean for one in found if one.mean is not None]
    effective = [one.effective.mean().item() for one in found if one.effective is not None]
    return Imputations(
        model=model.name,
        data=data.name,
        hidden=hide,
        n=n,
        completions=completions,
        exact=found[0].exact,
        how=found[0].how,
        effective=sum(effective) / len(effective) if effective else None,
        error=off[~known.expand_as(off)].mean().item(),
        seed=seed,
        x=batch.x.cpu(),
        known=known.cpu(),
        drawn=drawn.cpu(),
        means=torch.stack(means).cpu() if means else None,
    )


def check_picture(space: Space, out: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError unless completions in this space can be written to this file: before they are drawn."""
    if out.suffix.lower() != ".png" or not (space.planar or space.kind == "voxels"):
        raise UsageError(f"{out}: only completions of images and solids are written, as .png; this model is of {space}")
    outputs.check_file(out, overwrite=overwrite)


def write_picture(found: Imputations, out: Path) -> None:
    """One column an item: what it was, what was known (hidden: grey), and the completions, one below the other; of a
    model with a decoder, their means.

    Raises ResourceError if the disk is full.
    """
    shown: Float[Tensor, "n ..."] = torch.where(found.known, found.x, torch.zeros_like(found.x))
    filled = found.drawn if found.means is None else found.means
    if found.x.dim() == 5:  # of solids, a row each, and empty where it was hidden
        space = Voxels(*found.x.shape[1:])
        known = torch.where(found.known, found.x, -torch.ones_like(found.x))
        columns = [medium_of(space).cells(space, x) for x in (found.x, known, *filled)]
        about = {"model": found.model, "seed": str(found.seed), "hidden": found.hidden}
        pictures.save_png(pictures.rows(list(zip(*columns, strict=True))), out, about)
        return
    strip = pictures.strip([found.x, shown, *filled], scale=2 if found.x.shape[-1] <= 64 else 1)
    pictures.save_png(strip, out, {"model": found.model, "seed": str(found.seed), "hidden": found.hidden})
