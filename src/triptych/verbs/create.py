"""Making models, saving them and getting them back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import torch

from triptych import models
from triptych.core import (
    Data,
    Generative,
    PartialLabels,
    Space,
    Tokens,
    TriptychError,
    UsageError,
    mix,
)
from triptych.core.classes import Classes
from triptych.data.fits import serving, taken
from triptych.io import configs, folder
from triptych.io.lock import writing
from triptych.tasks.task import Posed, Tells
from triptych.verbs.instead import check_told
from triptych.verbs.shipped import located, meant


def create(name: str, *, seed: int = 0, **values: Any) -> Generative[Any]:
    """A new model by the name of the catalogue (`pixelcnn`) or of a preset (`pixelcnn-mnist`).

    `values` are fields of its configuration (`triptych show NAME` lists them) and replace the preset's. The initial
    weights follow from `seed`; torch's global generator is left as it was.

    Raises UsageError, with a suggestion, for an unknown name or field or a value that the field does not take.
    """
    entry, preset = models.find_preset(name)
    kind = entry.load()
    settings = folder.config_class(kind)
    base = {f.name: getattr(preset.config, f.name) for f in fields(settings)} if preset else {}
    return initialize(kind, configs.from_json(settings, {**base, **values}, name), seed)


def initialize(kind: type[Generative[Any]], config: Any, seed: int) -> Generative[Any]:
    """A model whose initial weights follow from `seed`."""
    make: Any = kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed))
        model: Generative[Any] = make(config)
    return model


def create_for(name: str, data: Data, assignments: list[str], *, seed: int = 0) -> Generative[Any]:
    """A new model that fits `data`: x and the condition are the data's, unless a preset fixes them.

    No preset fixes what the tokens of a text stand for, nor the size of a task's crops: there x is always the data's.
    Nor does one fix the words of captions, where these were asked for as the condition.

    `assignments` are `field=value` texts. Raises UsageError as `create` does.
    """
    entry, preset = models.find_preset(name)
    check_kind(entry, data)
    kind = entry.load()
    settings = folder.config_class(kind)
    if preset and preset.fits is None:
        data = serving(data, (type(getattr(preset.config, "given", None)),))
        check_told(name, entry, preset.config, data.given, data)
        text = data.x.kind == preset.config.x.kind == "tokens"
        bound: dict[str, Any] = {"x": data.x} if text else {}
        bound |= {"x": data.x, "given": data.given, **told(data, settings)} if isinstance(data, Posed) else {}
        if getattr(data, "condition", None) == "caption" and Tokens in taken(settings):
            bound["given"] = data.given
        return initialize(kind, called(configs.override(preset.config, assignments, **bound), data.given), seed)
    names, usual = {f.name for f in fields(settings)}, preset.config if preset else settings()
    data = serving(data, taken(settings))
    given = condition(data.given, getattr(usual, "given", None))
    check_told(name, entry, None, given, data)
    if given is not None and NoneType in taken(settings) and not isinstance(given, taken(settings)):
        given = None  # captions, for a model of classes or of nothing
    spaces: dict[str, Any] = {k: v for k, v in (("x", data.x), ("given", given)) if k in names and v is not None}
    spaces |= told(data, settings) if isinstance(data, Posed) else {}
    follows = preset.fits(data.x) if preset and preset.fits else {}
    return initialize(kind, configs.override(usual, assignments, **{**follows, **spaces}), seed)


def called(config: Any, served: Space | None) -> Any:
    """The configuration with the names of the data's classes, where it has as many classes and no names for them."""
    given = getattr(config, "given", None)
    if not (isinstance(given, Classes) and isinstance(served, Classes)) or given.names or not served.names:
        return config
    if given.classes != served.classes:
        return config
    one: Any = given
    return replace(config, given=replace(one, names=served.names))


def told(data: Posed, settings: type) -> dict[str, Any]:
    """What a task tells a model of its condition, if the model asks: has such a field, of such a kind."""
    if not isinstance(data.task, Tells):
        return {}
    hints = get_type_hints(settings)
    kinds = {name: get_args(hint) or (hint,) for name, hint in hints.items()}
    return {k: v for k, v in data.task.told.items() if k in kinds and (type(v) in kinds[k] or not is_dataclass(v))}


KINDS: dict[str, models.Kind] = {
    "images": "images",
    "tokens": "text",
    "audio": "sound",
    "points": "points",
    "voxels": "solids",
    "video": "video",
}
"""What data of a space are called in the catalogue."""


def check_kind(entry: models.Entry, data: Data) -> None:
    """Raises UsageError, naming models to try instead, if a model does not take data of this kind."""
    kind = KINDS.get(data.x.kind)
    if kind is not None and kind not in entry.paper.takes:
        raise UsageError(
            f"{entry.name} models {' or '.join(entry.paper.takes)}; {data.name} holds {kind}: try "
            f"{models.instead(entry.name, kind)} (triptych models --takes {kind})"
        )


def condition(served: Space | None, usual: Space | None) -> Space | None:
    """What a model whose condition is usually `usual` is given of data that serve `served`; None: nothing of it.

    A model that bears unknown labels bears known ones too, and not the other way round.
    """
    bears = usual is not None and usual.optional
    if served is None or (served.optional and not bears):
        return None
    if bears and not served.optional and served.choices is not None:
        return PartialLabels(served.choices, names=served.told)
    return served


def load(path: str | Path, kind: type[Generative[Any]] | None = None) -> Generative[Any]:
    """The model that a run or `save_pretrained` left in a folder, or one that comes with the package, by its name
    ("dcgan-emoji"; see `triptych gallery`). Nothing in the folder is executed.

    `kind` is the class of a model from outside the package, which is one of the catalogue from then on (see
    `triptych.register`). Raises UsageError if the folder holds no model or another one; IntegrityError, naming the
    file, if anything was altered.
    """
    path = located(path)
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}; {meant(str(path))}")
    if kind is not None:
        held = folder.about(path).get("model")
        if held != models.register(kind).name:
            raise UsageError(f"{path} holds a {held}, which is no {kind.name}")
    return folder.load(path, models.find_class).eval()


def save_pretrained(model: Generative[Any], path: str | Path) -> None:
    """Writes config.json and model.safetensors, with checksums: what `from_pretrained` reads.

    Raises UsageError if the folder cannot be written, or a process writes there already (see `io.lock`).
    """
    with writing(path):
        folder.save(model, path)


def from_pretrained(name: str | Path) -> Generative[Any]:
    """A model that comes with the package, by its name ("dcgan-emoji"); from a local folder; or by its Hugging Face
    Hub id ("someone/digits"; needs the `hub` extra).

    Raises UsageError for a name that is none of these, without asking the network unless it has the form of an id;
    TriptychError where the hub is not reached or refuses.
    """
    if located(name).is_dir():
        return load(name)
    if str(name).count("/") != 1:
        raise UsageError(f"there is no folder {name}, and no weights of this name; {meant(str(name))}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UsageError(
            f"there is no folder {name}; to fetch it from the Hugging Face Hub: pip install 'triptych[hub]'"
        ) from None
    with reaching(str(name)):
        found = snapshot_download(str(name))
    return load(found)


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Raises TriptychError, in a line, for whatever goes wrong with the Hugging Face Hub."""
    try:
        yield
    except Exception as e:
        said = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise TriptychError(
            f"{name} is not to be had from, or put onto, the Hugging Face Hub ({said:.200}); a folder and the weights "
            "that come with the package need no network"
        ) from e
