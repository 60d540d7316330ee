"""How well a voice is understood, and how long it takes to speak: sentences that it says, one at a time, are heard by a
recognizer that learned to listen on the training recordings, and has no part in the model."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from triptych.caching import cache_folder
from triptych.core import Coding, ItemNoise, Text, UsageError, evaluating
from triptych.data.spoken import Spoken
from triptych.io import configs, kept
from triptych.metrics import Measurement, recognizer
from triptych.metrics.recognizer import Recognizer, error_rate, plain
from triptych.nn.mel import Mel, MelSpectrogram
from triptych.tasks.speaking import spoken

log = logging.getLogger(__name__)

ITEMS = 60
"""Sentences that are said, at most."""
MOST = 1000
"""Recordings that the recognizer learns from, at most."""


def spoken_well(model: Any, test: Spoken, mel: Mel, unit: str, *, limit: int | None, seed: int) -> list[Measurement]:
    """The share of letters (or of what else `unit` says texts are written in), and of words, that are misheard, of the
    model's speech, of recordings, and of recordings that went through their spectrograms, or through its codes; how
    long speech takes; and, of a model that tells it, how likely spectrograms or codes are."""
    rows = torch.arange(min(len(test), limit or ITEMS)) * len(test) // min(len(test), limit or ITEMS)
    front, sounds, seconds, took = MelSpectrogram(mel), list[Tensor](), 0.0, 0.0
    batches = [test.fetch(rows[k : k + 1], ItemNoise(seed, [int(rows[k])], model.device)) for k in range(len(rows))]
    for k, batch in enumerate(batches):
        begun = time.process_time()
        with evaluating(model), torch.no_grad():
            sound = spoken(model, batch.given, seed=seed, item=k)
        took += time.process_time() - begun
        seconds += len(sound) / model.config.x.rate
        sounds.append(sound.cpu())
    many = f"{len(rows)} held-out sentences"
    found = [
        Measurement(
            name="real-time factor",
            value=took / max(seconds, 1e-9),
            better="lower",
            protocol=f"processor seconds a second of speech, {torch.get_num_threads()} threads, one text at a time",
            n=many,
        )
    ]
    recordings = [batch.x[0, 0, : int(batch.lengths[0])].cpu() for batch in batches if batch.lengths is not None]
    said = [plain(test.texts[k]) for k in rows.tolist()]
    try:
        ear = listener(test.training_part(), mel)
    except UsageError as e:
        log.warning("nobody listens: %s", e)
    else:
        real = [front(one[None])[0] for one in recordings]
        others = [front(one[None])[0] for one in through(model, batches)] or [
            front(front.invert(one[None], ItemNoise(0, [k]).uniform(one.shape[1], mel.fft // 2 + 1).mT))[0]
            for k, one in enumerate(real)
        ]
        way = f"recordings by way of {'codes' if isinstance(model, Coding) else 'Griffin-Lim'}"
        found[:0] = misheard(ear, [front(one[None])[0] for one in sounds], real, {way: others}, said, unit, many)
    return found + likelihood(model, batches, many)


def through(model: Any, batches: list[Any]) -> list[Tensor]:
    """Recordings by way of a model's codes; none of a model that has none."""
    if not isinstance(model, Coding):
        return []
    with evaluating(model), torch.no_grad():
        backs = [model.pixels(model.encode(batch.x)).mean.float().mean(1)[0].cpu() for batch in batches]
    return [back[: int(batch.lengths[0])] for back, batch in zip(backs, batches, strict=True)]


def misheard(
    ear: Recognizer,
    mels: list[Tensor],
    real: list[Tensor],
    copies: Mapping[str, list[Tensor]],
    said: list[str],
    unit: str,
    many: str,
) -> list[Measurement]:
    """Of what was said, how much the recognizer mishears: letters, and words."""
    heard, recorded = [ear(mel) for mel in mels], [ear(mel) for mel in real]
    others = {name: [ear(mel) for mel in some] for name, some in copies.items()}
    weak = error_rate(recorded, said) > recognizer.WEAK
    if weak:
        log.warning(
            "the recognizer mishears %.0f %% of recordings: it is too weak to judge a voice",
            100 * error_rate(recorded, said),
        )
    by = f"by a recognizer {ear.about} (sha256 {ear.sha256[:8]}); floor: recordings of the same sentences" + (
        "; it is too weak to judge a voice by" if weak else ""
    )

    def rate(name: str, of: str, pieces: Callable[[str], Sequence[str]]) -> Measurement:
        def wrong(texts: list[str]) -> float:
            return error_rate([pieces(text) for text in texts], [pieces(text) for text in said])

        return Measurement(
            name=f"{name} error rate",
            value=wrong(heard),
            unit="",
            better="lower",
            protocol=f"edits that make what is heard what was said, a {of}, {by}",
            n=many,
            baselines={
                **{name: wrong(some) for name, some in others.items()},
                "what is said of another sentence": wrong(heard[1:] + heard[:1]),
            },
            floor=wrong(recorded),
        )

    words = [rate("word", "word", str.split)] if unit == "letter" else []
    return [rate(unit, f"{unit} (marks aside)", str), *words]


def likelihood(model: Any, batches: list[Any], many: str) -> list[Measurement]:
    """Bits of each number of held-out spectrograms, or of each code, by their texts and by those of others; of a model
    that says it."""
    if isinstance(model, Coding):
        even = math.log2(model.codes.vocabulary)
        name, what = "bits/code", f"codes | text) a code, exact; uniform would be {even:.2f}"
    elif hasattr(model, "log_prob_mel"):
        mel = model.config.mel
        name = "bits/band"
        what = (
            f"spectrogram | text) a number of it, exact, chain rule; a density of log bands less {mel.mean:.3f}, over "
            f"{mel.deviation:.3f}"
        )
    else:
        return []

    def told(batch: Any, given: Text) -> Any:
        if isinstance(model, Coding):
            return model.log_prob_codes(model.encode(batch.x), given)
        return model.log_prob_mel(model.front(batch.x[:, 0, : int(batch.lengths[0])]), given)

    def bits(texts: list[Text]) -> float:
        with evaluating(model), torch.no_grad():
            each = [told(batch, given) for batch, given in zip(batches, texts, strict=True)]
        return sum(float(p.bits_per_dim()[0]) * p.dims for p in each) / sum(p.dims for p in each)

    texts = [batch.given for batch in batches]
    return [
        Measurement(
            name=name,
            value=bits(texts),
            better="lower",
            protocol=f"-log2 p({what}",
            n=many,
            baselines={"by the text of another": bits(texts[1:] + texts[:1])},
        )
    ]


def listener(training: Spoken, mel: Mel) -> Recognizer:
    """A recognizer that learned on these recordings: in a minute or two, the first time; then it is in the cache.

    Raises UsageError if they are too few.
    """
    key = f"{training.fingerprint} {json.dumps(configs.to_json(mel), sort_keys=True)} {MOST} {recognizer.RECIPE}"
    base = cache_folder(None)
    name = f"recognizer-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    file = None if base is None else base / "features" / name
    if found := kept.restored(file, Recognizer.restored):
        return found
    many = min(MOST, len(training))
    rows = (torch.arange(many) * len(training) // many).tolist()
    front, spectrograms = MelSpectrogram(mel), list[Tensor]()
    for row in rows:
        batch = training.fetch(torch.tensor([row]), ItemNoise(0, [row]))
        spectrograms.append(front(batch.x[:, 0, : training.samples(row)])[0])
    log.info(
        "training a recognizer on %d recordings of %s: a minute or two of one core, then kept", many, training.name
    )
    learned = Recognizer.trained(spectrograms, [training.texts[row] for row in rows])
    kept.keep(file, learned, "recognizers")
    return learned
