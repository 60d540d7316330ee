"""Samples, data and models to look at, in a notebook or anywhere: a picture, or a text."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from triptych.core import Data, Generative, Images, ItemNoise, Points, Space, UsageError
from triptych.media import medium_of
from triptych.media.text import SHOWN
from triptych.verbs.run_view import RunView
from triptych.verbs.sample import examples, to_look_at


class Shown(str):
    """A text that reads as it is where a notebook or a prompt shows it."""

    def __repr__(self) -> str:
        return str(self)


def show(what: Any, of: Space | Generative[Any] | Data | None = None, *, n: int = 64) -> Image.Image | str | RunView:
    """A picture of samples, of the first examples of a data set, or of samples of a model; of texts, the texts; of the
    folder of a run, its losses and its last picture.

    `what` is a tensor or an array of x, a data set, a model, or the folder of a run. `of` says what space a tensor is
    in: the space, or the model or data set that it comes from; images [n, channels, height, width] and points [n, 2]
    say it themselves. At most `n` are shown. Models with a decoder show its means.

    Example: `tt.show(model.sample(16), model)`.

    Raises UsageError for what cannot be shown.
    """
    if isinstance(what, (str, Path)):
        return RunView.of(what)
    if isinstance(what, Generative):
        what, of = what.sample(n, examples(what, n), seed=0, how=to_look_at(what)), what
    elif isinstance(what, Data):
        m = min(n, len(what))
        what, of = what.fetch(torch.arange(m), ItemNoise(0, range(m))).x, what
    try:
        x = torch.as_tensor(what).detach().cpu()[:n]
    except (TypeError, ValueError, RuntimeError, IndexError) as e:
        raise UsageError(f"show takes samples, a data set, a model or a run, not a {type(what).__name__}") from e
    space = space_of(x, of)
    if tuple(x.shape) == space.shape:  # one by itself
        x = x[None]
    texts = medium_of(space).text(space, x[:SHOWN])
    return medium_of(space).sheet(space, x) if texts is None else Shown("\n---\n".join(texts))


def space_of(x: Tensor, of: Any) -> Space:
    """Where x lives. Raises UsageError where nothing says it."""
    if isinstance(of, Space):
        return of
    if of is not None:
        found: Space = of.config.x if isinstance(of, Generative) else of.x
        return found
    if x.dim() == 4:
        return Images(*x.shape[1:])
    if x.dim() == 2 and x.shape[1] == 2:
        return Points(2)
    raise UsageError(f"x has shape {list(x.shape)}: say what it is, as in tt.show(x, model)")
