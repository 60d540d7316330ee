"""Which features distances are taken on, and the networks that are trained for them: once for each data set, then
kept in the cache."""

import hashlib
import logging
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from triptych import metrics
from triptych.caching import cache_folder
from triptych.core import Data, ItemNoise, Label, PartialLabel, UsageError
from triptych.io import kept
from triptych.metrics.trained import RECIPE, SECONDS, Name, Trained
from triptych.tasks.task import Posed

log = logging.getLogger(__name__)

LEARNED = ("classifier", "self-supervised")
MOST_CLASSES, LEAST_EACH = 100, 20
"""A classifier is trained unasked only for so many classes, and examples of each."""
BYTES = 2**28
"""Of training images that a network is trained on."""


def parse(text: str | None) -> tuple[str, ...] | None:
    """ "pixels,random-conv": the names. Raises UsageError for an unknown one, and for one that is there twice."""
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        metrics.check_name(name)
    if len(set(names)) < len(names):
        raise UsageError(f"features {text}: one of them is there twice")
    return names


def usual(train: Data) -> tuple[str, ...]:
    """The features for images of which nothing else was said: first those that tell most of this kind of data.

    A shipped network that knows the data set; else a classifier of the data's own classes; else random convolutions.
    """
    if found := metrics.shipped(train):
        return found.reader().name, "pca-64", "pixels"
    labels = train.given
    classes = labels.choices if labels and not labels.optional else None
    enough = classes is not None and classes <= min(MOST_CLASSES, len(train) // LEAST_EACH)
    return "classifier" if enough else "random-conv", "pca-64", "pixels"


def made(
    name: str, train: Data, images: Tensor, *, seconds: float = SECONDS, cache: str | Path | None = None
) -> metrics.Extractor:
    """The extractor of that name for `images`, which `train` serves. Those that learn are trained on more of `train`,
    for about `seconds` of one core, unless the cache has them.

    Raises UsageError as `metrics.extractor`.
    """
    if name not in LEARNED:
        return metrics.extractor(name, images)
    kind = cast(Name, name)
    shape = images.shape[1], images.shape[2], images.shape[3]
    key = hashlib.sha256(f"{name} {train.fingerprint} {shape} {seconds:g} {RECIPE}".encode()).hexdigest()[:32]
    base = cache_folder(cache)
    file = None if base is None else base / "features" / f"{name}-{key}.safetensors"
    if found := kept.restored(file, lambda tensors: Trained.restored(kind, shape, tensors)):
        return found
    x, y = labeled(train, max(1, BYTES // images[0].numel()))
    given = behind(train).given
    classes = given.choices if given else None
    log.info("training %s features on %s: about %.0f s of one core or less, then kept", name, train.name, seconds)
    learned = cast(Trained, metrics.extractor(name, x, y, classes=classes, seconds=seconds))
    kept.keep(file, learned, f"{name} features")
    return learned


def behind(train: Data) -> Data:
    """The data themselves, whose classes a task that poses them does not ask for."""
    return train.data if isinstance(train, Posed) else train


def labeled(train: Data, most: int) -> tuple[Tensor, Tensor | None]:
    """Up to `most` images as bytes, evenly spaced, and their classes (-1 where unknown) if the data have any."""
    rows = torch.arange(min(most, len(train))) * len(train) // min(most, len(train))
    images, labels = [], []
    for part in torch.split(rows, 500):
        batch = train.fetch(part, ItemNoise(0, part.tolist()))
        images.append(metrics.eight_bit(batch.x))
        given = batch.given if behind(train) is train else behind(train).fetch(part, ItemNoise(0, part.tolist())).given
        labels += [given.y] if isinstance(given, Label | PartialLabel) else []
    return torch.cat(images), torch.cat(labels) if labels else None
