"""How well pictures fit their captions: R-precision, what can be read off known shapes, and how much answers differ."""

import hashlib
import logging
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.caching import cache_folder
from triptych.core import FAITHFUL, Decoding, Generative, ItemNoise, Sampling, Space, Text, Tokens
from triptych.core.text import Words, words_of
from triptych.data import shapes
from triptych.io import kept
from triptych.metrics import Measurement, eight_bit
from triptych.metrics.matching import RECIPE, SECONDS, Matching
from triptych.tasks.task import Posed

log = logging.getLogger(__name__)

MOST = 2**28
"""Bytes of training pictures that the encoder is trained on."""
ITEMS, EACH, SEEDS = 500, 50, 4
"""Held-out captions that are asked once; those that are asked several times, and how often."""
BATCH = 50
PARTS: dict[str, tuple[str, ...]] = {
    "size": tuple(shapes.SIZES),
    "color": tuple(shapes.COLORS),
    "shape": tuple(shapes.SHAPES),
    "down": shapes.DOWN,
    "across": shapes.ACROSS,
}
"""What captions of shapes say, and the words for it."""


def matching(training: Posed, *, seconds: float = SECONDS) -> Matching:
    """The encoders of these pictures and captions: trained now, unless the cache has them."""
    shape, space = cast(tuple[int, int, int], training.x.shape), cast(Tokens, training.given)  # of text-to-image
    key = hashlib.sha256(f"matching {training.data.fingerprint} {shape} {seconds:g} {RECIPE}".encode()).hexdigest()[:32]
    base = cache_folder(None)
    file = None if base is None else base / "features" / f"matching-{key}.safetensors"
    if found := kept.restored(file, lambda tensors: Matching.restored(shape, space, tensors)):
        return found
    n = min(len(training), MOST // training.x.dims)
    log.info("training encoders of pictures and captions on %s: about %.0f s of one core or less, then kept",
             training.name, seconds)  # fmt: skip
    x, tokens = taken(training, torch.arange(n) * len(training) // n)
    learned = Matching.learned(x, tokens, space, seconds=seconds)
    kept.keep(file, learned, "encoders of pictures and captions")
    return learned


def taken(data: Posed, rows: Int[Tensor, " n"]) -> tuple[Tensor, Int[Tensor, "n length"]]:
    """Pictures, uint8, and captions of some rows, as they are."""
    pictures, captions = [], []
    for part in torch.split(rows, 500):
        batch = data.plain(part, ItemNoise(0, part.tolist()))
        pictures.append(eight_bit(batch.x))
        captions.append(batch.given.tokens)
    return torch.cat(pictures), torch.cat(captions)


def asked(
    model: Generative[Text], tokens: Int[Tensor, "n length"], seed: int, how: Sampling = FAITHFUL
) -> Float[Tensor, "n c h w"]:
    """One picture of each caption, on the CPU; of a decoder its mean."""
    if isinstance(model, Decoding) and how is FAITHFUL:
        how = Sampling(observation="mean")
    parts = [(k, tokens[k : k + BATCH].to(model.device)) for k in range(0, len(tokens), BATCH)]
    return torch.cat([model.sample(len(t), Text(t), seed=seed, first=k, how=how).cpu() for k, t in parts])


def fit(
    model: Generative[Text], test: Posed, *, limit: int | None = None, seed: int = 0, how: Sampling = FAITHFUL
) -> list[Measurement]:
    """All of it, of pictures of held-out captions, up to `limit` (500) of them, evenly spaced."""
    n = min(len(test), limit or ITEMS, ITEMS)
    truth, tokens = taken(test, torch.arange(n) * len(test) // n)
    x = asked(model, tokens, seed, how)
    said = f"one picture of each caption, {'plain' if how.guidance == 1 else f'guidance {how.guidance:g}'}"
    said += f", the likeliest of {how.best_of}" if how.best_of != 1 else ""
    return [
        *precision(x, truth, tokens, test, said, seed),
        *attributes(x, truth, captions_of(test.given, tokens), said),
        diversity(model, tokens, seed, how),
    ]


def precision(
    x: Tensor, truth: Tensor, tokens: Int[Tensor, "n length"], test: Posed, said: str, seed: int
) -> list[Measurement]:
    """R-precision; as floor that of the true pictures, and as baseline pictures of other captions. None where all
    captions are one."""
    if len(torch.unique(tokens, dim=0)) < 2:
        return []
    found = matching(test.training_part())
    right, among = found.precision(x, tokens, tokens, seed=seed)
    real, _ = found.precision(truth, tokens, tokens, seed=seed)
    shuffled, _ = found.precision(x, tokens.roll(len(tokens) // 2, 0), tokens, seed=seed)
    protocol = f"{said}; its caption nearest among {among} of held-out pictures, by {found.about}; floor: true pictures"
    return [
        Measurement(
            name="R-precision",
            value=right,
            unit="share",
            better="higher",
            protocol=protocol,
            n=f"{len(x)} held-out captions",
            baselines={"captions shuffled": shuffled},
            floor=real,
        )
    ]


def attributes(x: Tensor, truth: Tensor, captions: Sequence[str], said: str) -> list[Measurement]:
    """How many pictures of shapes show what was said of them, all of it and each part; none for other captions."""
    words = [words_of(caption) for caption in captions]
    told = {part: [next((w for w in of if w in names), "") for of in words] for part, names in PARTS.items()}
    told = {part: one for part, one in told.items() if all(one)}
    if not {"size", "color", "shape"} <= set(told) or x.shape[1] != 3 or x.shape[2] != x.shape[3]:
        return []
    protocol = f"{said}; read off the picture by analysis (data.shapes.read); floor: true pictures"
    right = {name: correct(told, pictures) for name, pictures in (("x", eight_bit(x)), ("truth", truth))}
    return [
        Measurement(
            name=f"{part} right",
            value=right["x"][part],
            unit="share",
            better="higher",
            protocol=protocol,
            n=f"{len(x)} held-out captions",
            floor=right["truth"][part],
        )
        for part in right["x"]
    ]


def correct(told: dict[str, list[str]], pictures: Tensor) -> dict[str, float]:
    """The share of pictures that show what they are to, in all, and of each part."""
    seen = shapes.read(pictures.numpy())
    same = {part: torch.tensor([a == b for a, b in zip(getattr(seen, part), told[part], strict=True)]) for part in told}
    every = torch.stack(list(same.values())).all(0)
    return {"all attributes": every.double().mean().item()} | {k: v.double().mean().item() for k, v in same.items()}


def diversity(model: Generative[Text], tokens: Int[Tensor, "n length"], seed: int, how: Sampling) -> Measurement:
    """How far answers to one caption differ."""
    some = tokens[torch.arange(min(EACH, len(tokens))) * len(tokens) // min(EACH, len(tokens))]
    answers = torch.stack([asked(model, some, seed + 1 + k, how) for k in range(SEEDS)])
    return Measurement(
        name="diversity",
        value=answers.std(0, correction=0).mean().item() * 127.5,
        unit="levels",
        protocol=f"standard deviation of {SEEDS} pictures of a caption, the mean over pixels; of 255 levels",
        n=f"{len(some)} captions",
    )


def captions_of(space: Space | None, tokens: Int[Tensor, "n length"]) -> list[str]:
    """The words that tokens stand for; empty texts where they stand for none."""
    symbols = space.symbols if space is not None else None
    return [symbols.decode(row) if isinstance(symbols, Words) else "" for row in tokens.tolist()]
