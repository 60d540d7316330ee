"""Which model for these data, this machine and this time: by what was measured, not by the year of a paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triptych import models
from triptych.core import Data, Generative, Space, TriptychError, UsageError
from triptych.io.sketching import Sketching
from triptych.verbs.create import create_for

MINUTES = 10.0
"""To train for where nobody says."""
GPU = 20.0
"""Minutes of a core that a minute of a GPU is taken for. Nobody has measured it here."""


@dataclass(frozen=True)
class Measured:
    """A row of the table: what a preset made of such data."""

    kind: str
    """Of the data, as `kind_of` says it."""
    by: str | None
    """What x is conditioned on: "label", or None."""
    preset: str
    minutes: float
    """Of one CPU core."""
    came: str
    """What came out, of which data."""
    most: int | None = None
    """The largest side of pictures at which it was better than those before it."""


EMOJI = "emoji at 32 px: FD-random-conv "
REPEATS = "Of 718 pictures, 94 % of its samples were copies, in 20 minutes of these 23 %"
TABLE: tuple[Measured, ...] = (
    Measured("color", None, "dcgan-small", 5, f"{EMOJI}1.91, floor 1.21; clear colors, ragged details"),
    Measured("color", None, "r3gan-hour", 45, f"{EMOJI}1.84, floor 1.21; faces and people that one can name", 32),
    Measured("grey", None, "dcgan-small", 4, "MNIST, with settings near these: FD-mnist-classifier 3.5, floor .22"),
    Measured("grey", None, "r3gan-small", 7, "MNIST: FD-mnist-classifier 2.96, floor .22"),
    Measured("grey", "label", "r3gan-small", 7, "MNIST by class: FD-mnist-classifier 1.02, 95 % the class asked for"),
    Measured("grey", "label", "biggan-small", 8, "MNIST by class: FD-mnist-classifier .75, 97 % the class asked for"),
    Measured("two levels", None, "pixelcnn-small", 4, "binary MNIST: 85.61 nats, exact; most samples are digits"),
    Measured("two levels", None, "gated-pixelcnn-small", 17, "binary MNIST: 86.79 nats, exact"),
    Measured("two levels", "label", "cvae-small", 4, "binary MNIST by class: at most 93.14 nats, a bound"),
    Measured("text", None, "gpt-char", 20, "King James Bible: 2.06 bits a character, exact"),
    Measured("text", None, "nanochat-bpe", 13, "King James Bible: 1.926 bits a character, exact"),
    Measured("sound", "label", "wavenet-digits", 14, "spoken digits: 3.33 bits a sample; bursts as long as words"),
    Measured("points", None, "r3gan-25-gaussians", 2, "25 Gaussians: all modes, .964 of the samples near one"),
)
"""From worse to better within a kind; the last that fits into the time is taken."""
OTHERS: tuple[Measured, ...] = (
    Measured("color", None, "vq-vae-small", 4, f"{EMOJI}1.21, floor 1.21; soft people and things. {REPEATS}"),
    Measured("color", None, "r3gan-small", 5, f"{EMOJI}1.91, floor 1.21; smooth things of clear colors"),
    Measured("color", None, "vdvae-small", 5, f"{EMOJI}3.03, floor 1.21; at most 3.25 bits/dim; mosaics"),
    Measured("color", None, "gan-small", 5, f"{EMOJI}7.08, floor 1.21; speckled blobs"),
    Measured("color", None, "pixelcnn-pp-small", 5, f"{EMOJI}10.5, floor 1.21; 2.66 bits/dim, exact; streaks"),
    Measured("color", None, "vae-small", 4, f"{EMOJI}11.0, floor 1.21; at most 4.07 bits/dim; blurs"),
    Measured("color", "label", "biggan-small", 4, f"{EMOJI}2.12, floor 1.21; ragged things"),
)
"""What is shown of the models that fit, and never chosen: the table has something better for the time, or something
that was not seen to repeat few pictures."""
KINDS: Mapping[str, str] = {"tokens": "text", "audio": "sound", "points": "points"}


@dataclass(frozen=True)
class Choice:
    """A preset, and the sentences that say why."""

    preset: str
    why: Sequence[str]


def kind_of(x: Any) -> str:
    """What the table calls data of this space: "color", "grey", "two levels", "text", "sound", "points"."""
    if not x.planar:
        return KINDS.get(x.kind, x.kind)
    if x.values == 2:
        return "two levels"
    return "grey" if x.channels == 1 else "color"


def choose_for(data: Data, minutes: float | None, device: torch.device) -> Choice:
    """The preset that made the most of such data in such a time.

    Raises UsageError for a kind of data that nothing was measured on.
    """
    kind, budget = kind_of(data.x), (minutes or MINUTES) * (1.0 if device.type == "cpu" else GPU)
    by = "label" if data.given is not None and data.given.classed else None
    side = max(data.x.shape[-2:]) if data.x.planar else 0
    rows = [row for row in TABLE if row.kind == kind and row.by == by and side <= (row.most or side)]
    left = []
    if not rows:
        rows = [row for row in TABLE if row.kind == kind and row.by is None and side <= (row.most or side)]
        others = [f"{row.preset} by class made of {row.came}" for row in OTHERS if (row.kind, row.by) == (kind, by)]
        known = "; ".join(others) or f"no model of {kind} data by class was measured"
        left = [f"the classes are left out: {known}"] if by and rows else []
    if data.given is not None and not by and rows:
        left = [f"{worded(data.given)} are left out: no model of {kind} data by them was measured"]
    if not rows:
        names = ", ".join(entry.name for entry in models.every().values() if fits(entry, data) is not None)
        raise UsageError(f"no model was measured on {kind} data: name one ({names or 'triptych models lists them'})")
    apart = [refusal(row.preset, data) for row in rows]
    rows = [row for row, why in zip(rows, apart, strict=True) if why is None]
    if not rows:
        raise UsageError(f"no model that was measured on {kind} data takes these: {apart[0]}")
    affordable = [row for row in rows if row.minutes <= budget]
    taken = affordable[-1] if affordable else min(rows, key=lambda row: row.minutes)
    why = [f"{taken.preset} is taken: {taken.minutes:g} minutes of one core made of {taken.came}", *left]
    if taken.minutes > budget:
        there = minutes or MINUTES
        why.append(f"there is less, {there:g} minute{'s' * (there != 1)}: what comes will be rougher")
    better = [row for row in rows[rows.index(taken) + 1 :] if row.minutes > budget]
    why += [f"{row.preset} wants {row.minutes:g} minutes: {row.came}" for row in better]
    if device.type != "cpu":
        why.append(f"a minute of this {device.type} is taken for {GPU:g} of a core, which was not measured")
    return Choice(taken.preset, why)


def usual_side(device: torch.device) -> int:
    """The side of pictures to take where nobody says one: in an hour of a core, R3GAN makes things that one can name at
    32 pixels, and none at 64 (results/colour.md)."""
    return 32 if device.type == "cpu" else 64


@dataclass(frozen=True)
class Fit:
    """How a model would take some data."""

    preset: str
    parameters: int
    steps: int
    batch: int
    given: str
    measured: str
    """What came out on such data; empty where that was not measured."""


def fits(entry: models.Entry, data: Data) -> Fit | str | None:
    """The smallest preset of a model that fits; or why the model does not; None where it is for other data."""
    kind = kind_of(data.x)
    if entry.family == "translation" or {"text": "text", "sound": "sound"}.get(kind, kind) not in takes(entry):
        return None
    presets = entry.presets()
    name = next((n for n in (f"{entry.name}-small", *presets) if n in presets and "tiny" not in n), entry.name)
    rows = [row for row in TABLE + OTHERS if row.preset in presets and row.kind == kind]
    try:
        model = sketched(name if name in presets and presets[name].fits else entry.name, data)
    except TriptychError as e:
        return str(e)
    preset, given = presets.get(name), getattr(model.config, "given", None)
    if given is not None and not given.optional and (data.given is None or data.given.kind != given.kind):
        return f"it is conditioned on {entry.paper.conditions}, and these data have none"
    count = sum(p.numel() for p in model.parameters())
    steps, batch = (preset.steps, preset.batch) if preset else (0, 0)
    said = "; ".join(f"{row.minutes:g} min: {row.came}" for row in rows)
    return Fit(name, count, steps, batch, "" if given is None else str(given), said)


def sketched(name: str, data: Data) -> Generative[Any]:
    """A model of these data without numbers in it. Raises UsageError if it does not take them."""
    with torch.device("meta"), Sketching():
        return create_for(name, data, [])


def refusal(preset: str, data: Data) -> str | None:
    """Why a preset does not take these data; None where it does."""
    try:
        sketched(preset, data)
    except TriptychError as e:
        return str(e)
    return None


def worded(given: Space) -> str:
    """What data are conditioned on, in a word."""
    if given.kind == "tokens":
        return "the captions"
    return "the numbers" if given.measure == "density" else "the conditions"


def takes(entry: models.Entry) -> set[str]:
    """The kinds that a model takes, in the words of the table."""
    pictures = {"color", "grey", "two levels"}
    return {kind for said in entry.paper.takes for kind in (pictures if said == "images" else {said})}
