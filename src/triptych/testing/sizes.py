"""Models that take pictures of any size: what `reach` promises to those who work in tiles."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych.core import AnySize, Data, Generative, Images
from triptych.testing.samples import is_function
from triptych.testing.toys import first_examples, random_elements, require

TOLERANCE = 1e-4
"""Kernels for other sizes add up in another order."""


def check_sizes(model: Generative[Any], data: Data) -> None:
    """Pictures of another size give x in proportion; a tile gives the whole picture's values `reach` from its cut.

    For models that are functions of their condition: noise is drawn for a size.
    """
    if not isinstance(model, AnySize) or not is_function(model, first_examples(model, data, 1).given):
        return
    shaken: AnySize[Any] = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in shaken.parameters():  # networks that begin as the identity would keep any promise
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight.device))
    for along in (-2, -1):
        check_cut(shaken, along, generator)


def check_cut(model: AnySize[Any], along: int, generator: torch.Generator) -> None:
    """A long picture, narrow the other way, with and without its first part."""
    x, needs, name, step = model.config.x, model.config.given, model.name, model.multiple
    cut = 2 * step
    long, narrow = cut + step * (2 * model.reach // step + 4), 2 * step
    height, width = (long, narrow) if along == -2 else (narrow, long)
    grid = random_elements(replace(needs, height=height, width=width), 1, generator).to(model.device)

    def enlarge(part: Tensor) -> Tensor:
        return model.sample(1, needs.given(part), seed=0)

    whole, scale = enlarge(grid), x.height // needs.height
    wanted = Images(x.channels, height * scale, width * x.width // needs.width)
    require(
        tuple(whole.shape[1:]) == wanted.shape, f"{name}: of a {height} x {width} picture, x is {list(whole.shape)}"
    )
    tile = enlarge(grid.narrow(along, cut, long - cut))
    begin, end = model.reach * scale, tile.shape[along]
    inner, same = tile.narrow(along, begin, end - begin), whole.narrow(along, cut * scale + begin, end - begin)
    off = (inner - same).abs().max().item()
    require(
        off <= TOLERANCE,
        f"{name}: {model.reach} pixels (reach) away from where a tile was cut, it is {off:.2g} off the whole picture",
    )
