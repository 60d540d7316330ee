"""Drawing samples, and showing or saving them."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from triptych.core import (
    FAITHFUL,
    Data,
    Decoding,
    Generative,
    Given,
    ItemNoise,
    Label,
    Labels,
    PartialLabels,
    Sampling,
    Space,
    Tokens,
    UsageError,
    prefix,
)
from triptych.core.classes import listed
from triptych.core.text import Words
from triptych.io import commit, outputs
from triptych.media import medium_of
from triptych.nn import ranks

log = logging.getLogger(__name__)

MEANS = "means of p(x | z), without the noise that the model draws for each value"
"""What a picture of a model with a decoder shows if nothing else was asked for."""


def to_look_at(model: Generative[Any]) -> Sampling:
    """How to draw what a person looks at: a decoder's mean in place of its noise; else as ever."""
    return Sampling(observation="mean") if noisy(model) else FAITHFUL


def noisy(model: Generative[Any]) -> bool:
    """Whether samples of it have a decoder's noise in them, which may be left out."""
    return isinstance(model, Decoding) and model.noisy


def examples(model: Generative[Any], n: int, data: Data | None = None) -> Given | None:
    """Conditions for n samples when nobody asked for particular ones: the classes in turn, if they must be known; of
    any other kind, those of items of `data`, evenly spaced.

    Raises UsageError if there are no such data.
    """
    if not told(model):
        return None
    space = model.config.given
    if space.choices:
        return Label(torch.arange(n, device=model.device) % space.choices)
    if data is not None and data.given is not None and data.given.serves(space):
        rows = evenly(len(data), n)
        given: Given = data.fetch(rows, ItemNoise(0, rows.tolist(), model.device)).given
        return given
    if space.symbols is not None:
        known = f", of words like {words_like(space)}" if words_like(space) else ""
        raise UsageError(f"{model.name} draws what words say{known}: say them with --given")
    if space.measure == "density" and not space.planar:
        raise UsageError(f"{model.name} needs {space.dims} number{'s' * (space.dims > 1)}: say them with --given")
    raise UsageError(f"{model.name} makes its x of another: triptych apply hands it a file of yours")


def told(model: Generative[Any]) -> bool:
    """Whether a model has to be told a condition."""
    space = getattr(model.config, "given", None)
    return space is not None and not space.optional


def told_items(model: Generative[Any]) -> bool:
    """Whether what a model has to be told are pictures, texts or numbers, which only data have, and no classes."""
    return told(model) and not model.config.given.choices


def evenly(length: int, n: int) -> Tensor:
    """n of so many rows, evenly spaced; the same again where there are fewer."""
    return torch.arange(n) * length // n


def in_turn(model: Generative[Any]) -> str:
    """Words on which classes `examples` takes, if they have names."""
    space = getattr(model.config, "given", None)
    return f"; in turn of {listed(space.told)}" if space and space.told and space.classed else ""


def conditions(model: Generative[Any], n: int, asked: str | None) -> Given | None:
    """The conditions that a text asks for: "cat", "3" or "cat,dog" (in turn) for a model of labels, "some words" for a
    model of captions, "20,40,60" (in turn) for a model of one number, "0.5,-1" for one of two.

    Raises UsageError for what the model does not take.
    """
    space = getattr(model.config, "given", None)
    if asked is None:
        return examples(model, n)
    if space is not None and space.symbols is not None:
        said: Given = space.condition(space.elements(check_words(space, asked), n).to(model.device))
        return said
    if space is not None and space.measure == "density":
        numbered: Given = space.condition(numbers(space, n, asked).to(model.device))
        return numbered
    if space is None or not space.choices:
        raise UsageError(f"{model.name} takes no label; leave out given=")
    whole = asked in space.called  # a name may have a comma in it
    try:
        classes = [space.number(part.strip()) for part in ([asked] if whole else asked.split(","))]
    except UsageError as e:
        raise UsageError(f"given={asked}: {e}; name a class, or several to take turns: {examples_of(space)}") from None
    y = torch.tensor(classes, device=model.device)[torch.arange(n, device=model.device) % len(classes)]
    space.check(y, "given")
    given: Given = space.condition(y)
    return given


def numbers(space: Space, n: int, asked: str) -> Tensor:
    """float32 [n, dims]: single numbers in turn, or all that one condition has. Raises UsageError."""
    try:
        values = torch.tensor([float(word) for word in asked.split(",")])
    except ValueError:
        raise UsageError(f"given={asked}: these are numbers, with commas between: 20,40,60") from None
    if space.dims > 1 and len(values) != space.dims:
        raise UsageError(f"given={asked}: {len(values)} numbers; a condition has {space.dims}")
    rows = values.view(-1, space.dims)
    found = rows[torch.arange(n) % len(rows)]
    if not found.isfinite().all():
        raise UsageError(f"given={asked}: it takes finite numbers")
    return found


def check_words(space: Tokens, text: str) -> str:
    """The text, if the model knows a word of it; says which it does not know. Raises UsageError if it knows none."""
    strange = space.symbols.unknown(text) if isinstance(space.symbols, Words) else []
    if strange and len(strange) == len(space.encode(text)):
        raise UsageError(f"given={text}: the model knows none of these words; it was told of {words_like(space)}")
    if strange:
        log.warning("the model does not know %s: it takes it for some word", ", ".join(strange))
    return text


def words_like(space: Tokens, most: int = 12) -> str:
    """The commonest words that a model knows."""
    return listed(space.symbols.words[2:], most) if isinstance(space.symbols, Words) else ""


def examples_of(space: Labels | PartialLabels) -> str:
    """How to ask for classes: "cat,dog"."""
    return ",".join(space.called[:2])


def steering(
    model: Generative[Any],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
    best_of: int = 1,
    truncation: float | None = None,
    text: str = "",
    observation: Literal["drawn", "mean"] = "drawn",
) -> Sampling:
    """Options of sampling, with the text that every sample begins with.

    Raises UsageError for options that make no sense, and for a beginning that the model cannot read: a model of
    something else, a character that it has no token for, more tokens than it takes.
    """
    known = None
    if text:
        x = model.config.x
        if x.symbols is None:
            raise UsageError(f"{model.name} models {x}: a sample of it does not begin with text; leave out --prefix")
        known = prefix(x, x.encode(text)[None])
    chosen = (temperature, top_k, top_p, known, guidance, best_of, truncation, observation)
    if chosen == (1.0, None, None, None, 1.0, 1, None, "drawn"):
        return FAITHFUL
    return Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        known=known,
        guidance=guidance,
        best_of=best_of,
        truncation=truncation,
        observation=observation,
    )


def sample(
    model: Generative[Any],
    n: int,
    given: Given | None = None,
    *,
    seed: int = 0,
    batch: int = 256,
    how: Sampling = FAITHFUL,
) -> Tensor:
    """n samples on the CPU, drawn `batch` at a time; they do not depend on `batch`.

    Several ranks share the work, and each has all samples at the end.
    """
    batch = min(batch, max(1, -(-n // ranks.world())))

    def draw(first: int) -> Tensor:
        m = min(batch, n - first)
        part = given[slice(first, first + m)] if given is not None else None
        return model.sample(m, part, seed=seed, first=first, how=how if how is FAITHFUL else how[first : first + m])

    if ranks.world() == 1:
        parts = [draw(first).cpu() for first in range(0, n, batch)]
        return torch.cat(parts) if parts else torch.empty(0, *model.config.x.shape)
    own = {first: draw(first) for first in range(ranks.rank() * batch, n, ranks.world() * batch)}
    one = next(iter(own.values()), None)
    x = (draw(0) if one is None else one).new_zeros(n, *model.config.x.shape)
    for first, part in own.items():
        x[first : first + len(part)] = part
    return ranks.together(x)


def picture(space: Space, x: Tensor) -> Image.Image:
    """Samples as one picture, as their medium draws a sheet of them."""
    return medium_of(space).sheet(space, x)


def ending(space: Space, out: Path) -> str:
    """What samples are written as: the ending of one file, or "" for a folder of files.

    Raises UsageError for another ending, and for what samples of this space cannot be.
    """
    last, its = out.suffix.lower(), medium_of(space)
    if not last or (last not in its.endings and out.is_dir()):
        return ""
    its.check_ending(space, last, str(out))
    return last


def check_out(space: Space, out: Path, n: int | None = None, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is drawn, unless n samples can be written to `out`; None: any number."""
    if ending(space, out):
        return outputs.check_file(out, overwrite=overwrite)
    each = medium_of(space).ending
    if n is None:
        names = [name for name in (os.listdir(out) if out.is_dir() else ()) if name.endswith(each)]
    else:
        names = [f"{i:06d}{each}" for i in range(n)]
    outputs.check_files(out, names, overwrite=overwrite)


def write(model: Generative[Any], x: Tensor, out: Path, about: dict[str, str]) -> list[Path]:
    """Saves samples: one file of them all (a sheet, .png; arrays, .npz: levels of images as uint8, else x as it is;
    what its medium has beside: .txt, .wav, .gif), or a folder with a file each. Whether they may be written there is
    for `check_out` to say first.

    Raises UsageError for another ending, and ResourceError if the disk is full.
    """
    space, its = model.config.x, medium_of(model.config.x)
    how, about = ending(space, out), {"Software": outputs.MADE_BY, **about}
    if how:
        return [commit.write_atomic(out, its.together(space, x, how, about))]
    files = [out / f"{i:06d}{its.ending}" for i in range(len(x))]
    for i, file in enumerate(files):
        commit.write_atomic(file, its.write(space, x[i : i + 1], {**about, "item": str(i)}))
    return files
