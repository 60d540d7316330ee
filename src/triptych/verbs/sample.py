"""Drawing samples, and showing or saving them."""

import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from triptych.core import (
    FAITHFUL,
    Audio,
    Data,
    Decoding,
    Generative,
    Given,
    ItemNoise,
    Label,
    Labels,
    Leveled,
    PartialLabel,
    PartialLabels,
    Points,
    Sampling,
    Space,
    Tokens,
    UsageError,
    prefix,
)
from triptych.core.spaces import listed
from triptych.io import commit, configs, outputs
from triptych.media import audio, pictures

SHOWN_TEXTS = 6
MEANS = "means of p(x | z), without the noise that the model draws for each value"
"""What a picture of a model with a decoder shows if nothing else was asked for."""


def to_look_at(model: Generative[Any]) -> Sampling:
    """How to draw what a person looks at: a decoder's mean in place of its noise; else as ever."""
    return Sampling(observation="mean") if isinstance(model, Decoding) else FAITHFUL


def examples(model: Generative[Any], n: int, data: Data | None = None) -> Given | None:
    """Conditions for n samples when nobody asked for particular ones: the classes in turn, if they must be known; of
    any other kind, those of items of `data`, evenly spaced.

    Raises UsageError if there are no such data.
    """
    space = getattr(model.config, "given", None)
    if space is None or isinstance(space, PartialLabels):
        return None
    if isinstance(space, Labels):
        return Label(torch.arange(n, device=model.device) % space.classes)
    if data is not None and data.given == space:
        rows = evenly(len(data), n)
        given: Given = data.fetch(rows, ItemNoise(0, rows.tolist(), model.device)).given
        return given
    raise UsageError(f"{model.name} needs a condition in {space}: say which with --given")


def evenly(length: int, n: int) -> Tensor:
    """n of so many rows, evenly spaced; the same again where there are fewer."""
    return torch.arange(n) * length // n


def in_turn(model: Generative[Any]) -> str:
    """Words on which classes `examples` takes, if they have names."""
    space = getattr(model.config, "given", None)
    return f"; in turn of {listed(space.names)}" if isinstance(space, Labels) and space.names else ""


def conditions(model: Generative[Any], n: int, asked: str | None) -> Given | None:
    """The conditions that a text asks for: "cat", "3" or "cat,dog" (in turn) for a model of labels.

    Raises UsageError for what the model does not take.
    """
    space = getattr(model.config, "given", None)
    if asked is None:
        return examples(model, n)
    if not isinstance(space, Labels | PartialLabels):
        raise UsageError(f"{model.name} takes no label; leave out --given")
    whole = asked in space.called  # a name may have a comma in it
    try:
        classes = [space.number(part.strip()) for part in ([asked] if whole else asked.split(","))]
    except UsageError as e:
        raise UsageError(
            f"--given {asked}: {e}; name a class, or several to take turns: {examples_of(space)}"
        ) from None
    y = torch.tensor(classes, device=model.device)[torch.arange(n, device=model.device) % len(classes)]
    space.check(y, "--given")
    return PartialLabel(y) if isinstance(space, PartialLabels) else Label(y)


def examples_of(space: Labels | PartialLabels) -> str:
    """How to ask for classes: "cat,dog"."""
    return ",".join(space.called[:2])


def steering(
    model: Generative[Any],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
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
        if not isinstance(x, Tokens):
            raise UsageError(f"{model.name} models {x}: a sample of it does not begin with text; leave out --prefix")
        known = prefix(x, x.encode(text)[None])
    if (temperature, top_k, top_p, known, truncation, observation) == (1.0, None, None, None, None, "drawn"):
        return FAITHFUL
    return Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        known=known,
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
    """n samples on the CPU, drawn `batch` at a time; they do not depend on `batch`."""
    parts = []
    for first in range(0, n, batch):
        m = min(batch, n - first)
        part = given[slice(first, first + m)] if given is not None else None
        part_how = how if how is FAITHFUL else how[first : first + m]
        parts.append(model.sample(m, part, seed=seed, first=first, how=part_how).cpu())
    return torch.cat(parts) if parts else torch.empty(0, *model.config.x.shape)


def picture(space: Space, x: Tensor) -> Image.Image:
    """Samples as one picture: a grid of images, spectrograms of sound, the first few texts, or a scatter of points."""
    if isinstance(space, Tokens):
        return pictures.page(written(space, x[:SHOWN_TEXTS]))
    if isinstance(space, Audio):
        return audio.sheet(space, x)
    if isinstance(space, Points):
        return pictures.scatter(x.cpu())
    return pictures.grid(x.cpu(), scale=2 if x.shape[-1] <= 64 else 1)


def written(space: Tokens, x: Tensor) -> list[str]:
    """The text of each sequence of tokens, or their numbers if they stand for none."""
    if space.symbols is None:
        return [" ".join(map(str, row)) for row in x.tolist()]
    return [space.decode(row) for row in x.cpu()]


def ending(space: Space, out: Path) -> str:
    """What samples are written as: ".png", ".npz", ".txt" or ".wav" for one file, "" for a folder of files.

    Raises UsageError for another ending, and for what samples of this space cannot be.
    """
    last = out.suffix.lower()
    if last == ".txt" and not isinstance(space, Tokens):
        raise UsageError(f"{out}: the model is of {space}, which is no text; write .png or .npz")
    if last == ".wav" and not isinstance(space, Audio):
        raise UsageError(f"{out}: the model is of {space}, which is no sound; write .png or .npz")
    if isinstance(space, Points) and (last != ".npz" if space.dims != 2 else last not in (".png", ".npz")):
        raise UsageError(f"{out}: points are written as .npz, and those of a plane as .png, too")
    if last in (".png", ".npz", ".txt", ".wav"):
        return last
    if last and not out.is_dir():
        raise UsageError(
            f"{out}: samples are written as .png, .npz, .txt (of text), .wav (of sound), or into a folder (a name "
            "without an ending)"
        )
    return ""


def one_each(space: Space) -> str:
    """The ending of the files in a folder of samples."""
    return ".txt" if isinstance(space, Tokens) else ".wav" if isinstance(space, Audio) else ".png"


def check_out(space: Space, out: Path, n: int | None = None, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is drawn, unless n samples can be written to `out`; None: any number."""
    if ending(space, out):
        return outputs.check_file(out, overwrite=overwrite)
    if n is None:
        names = [name for name in (os.listdir(out) if out.is_dir() else ()) if name.endswith(one_each(space))]
    else:
        names = [f"{i:06d}{one_each(space)}" for i in range(n)]
    outputs.check_files(out, names, overwrite=overwrite)


def write(model: Generative[Any], x: Tensor, out: Path, about: dict[str, str]) -> list[Path]:
    """Saves samples: one picture (.png), text (.txt), arrays (.npz: levels of images as uint8, else x as it is), or a
    file each. Whether they may be written there is for `check_out` to say first.

    Sound is written as .wav: one file of all clips, or a file each.

    Raises UsageError for another ending, and ResourceError if the disk is full.
    """
    space = model.config.x
    how = ending(space, out)
    if how == ".txt":
        texts = written(space, x)
        lines = texts if len(texts) == 1 else [f"--- {i} ---\n{text}" for i, text in enumerate(texts)]
        return [commit.write_atomic(out, ("\n".join(lines) + "\n").encode())]
    if how == ".png":
        return [pictures.save_png(picture(space, x), out, about)]
    if how == ".npz":
        return [commit.write_atomic(out, npz(space, x=stored(space, x)))]
    if how == ".wav":
        return [commit.write_atomic(out, audio.wav(space, x))]
    files = [out / f"{i:06d}{one_each(space)}" for i in range(len(x))]
    for i, file in enumerate(files):
        if isinstance(space, Tokens):
            commit.write_atomic(file, (written(space, x[i : i + 1])[0] + "\n").encode())
        elif isinstance(space, Audio):
            commit.write_atomic(file, audio.wav(space, x[i : i + 1]))
        else:
            pictures.save_png(pictures.grid(x[i : i + 1], pad=0), file, {**about, "item": str(i)})
    return files


def npz(space: Space, **arrays: Tensor) -> bytes:
    """A file of arrays, and the space that x is in: so that it can be opened as data, whatever its levels."""
    buffer, kept = io.BytesIO(), {name: array.numpy() for name, array in arrays.items()}
    kept["space"] = np.array(json.dumps(configs.to_json(space)))
    np.savez_compressed(buffer, **kept)  # type: ignore[arg-type]
    return buffer.getvalue()


def stored(space: Space, x: Tensor) -> Tensor:
    """Levels as the smallest of uint8 and int32 that holds them; else x as it is."""
    if isinstance(space, Leveled):
        return space.nearest(x).to(torch.uint8 if space.levels <= 256 else torch.int32)
    return x
