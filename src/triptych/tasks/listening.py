"""How well a voice is understood, and how long it takes to speak: sentences that it says, one at a time, are heard by a
recognizer that learned to listen on the training recordings, and has no part in the model."""

import hashlib
import json
import logging
import time
from typing import Any

import torch
from torch import Tensor

from triptych.caching import cache_folder
from triptych.core import ItemNoise, Text, UsageError, evaluating
from triptych.data.spoken import Spoken
from triptych.io import configs, kept
from triptych.metrics import Measurement, recognizer
from triptych.metrics.recognizer import Recognizer, error_rate, plain
from triptych.nn.mel import Mel, MelSpectrogram

log = logging.getLogger(__name__)

ITEMS = 60
"""Sentences that are said, at most."""
MOST = 1000
"""Recordings that the recognizer learns from, at most."""


def spoken_well(model: Any, test: Spoken, mel: Mel, unit: str, *, limit: int | None, seed: int) -> list[Measurement]:
    """The share of letters (or of what else `unit` says texts are written in) that are misheard, of the model's speech,
    of recordings, and of recordings that went through their spectrograms; how long speech takes; and, of a model that
    tells it, how likely spectrograms are."""
    rows = torch.arange(min(len(test), limit or ITEMS)) * len(test) // min(len(test), limit or ITEMS)
    front, sounds, seconds, took = MelSpectrogram(mel), list[Tensor](), 0.0, 0.0
    batches = [test.fetch(rows[k : k + 1], ItemNoise(seed, [int(rows[k])], model.device)) for k in range(len(rows))]
    for k, batch in enumerate(batches):
        begun = time.process_time()
        with evaluating(model), torch.no_grad():
            sound, samples = model.speak(ItemNoise(seed, [k], model.device), batch.given)
        took += time.process_time() - begun
        seconds += int(samples[0]) / model.config.x.rate
        sounds.append(sound[0, : int(samples[0])].float().cpu())
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
        found.insert(0, misheard(ear, front, sounds, recordings, said, unit, many))
    return found + (likelihood(model, batches, many) if hasattr(model, "log_prob_mel") else [])


def misheard(
    ear: Recognizer,
    front: MelSpectrogram,
    sounds: list[Tensor],
    recordings: list[Tensor],
    said: list[str],
    unit: str,
    many: str,
) -> Measurement:
    """Of what was said, how much the recognizer mishears."""

    def rate(heard: list[Tensor]) -> float:
        return error_rate([ear(mel) for mel in heard], said)

    real, mels = [front(one[None])[0] for one in recordings], [front(one[None])[0] for one in sounds]
    floor = rate(real)
    weak = floor > recognizer.WEAK
    if weak:
        log.warning("the recognizer mishears %.0f %% of recordings: it is too weak to judge a voice", 100 * floor)
    copies = [
        front(front.invert(mel[None], ItemNoise(0, [k]).uniform(mel.shape[1], front.mel.fft // 2 + 1).mT))[0]
        for k, mel in enumerate(real)
    ]
    return Measurement(
        name=f"{unit} error rate",
        value=rate(mels),
        unit="",
        better="lower",
        protocol=f"edits that make what is heard what was said, a {unit} (marks aside), by a recognizer {ear.about} "
        f"(sha256 {ear.sha256[:8]}); floor: recordings of the same sentences"
        + ("; it is too weak to judge a voice by" if weak else ""),
        n=many,
        baselines={
            "recordings by way of Griffin-Lim": rate(copies),
            "what is said of another sentence": rate(mels[1:] + mels[:1]),
        },
        floor=floor,
    )


def likelihood(model: Any, batches: list[Any], many: str) -> list[Measurement]:
    """Bits of each number of held-out spectrograms, by their texts and by those of others."""

    def bits(texts: list[Text]) -> float:
        with torch.no_grad():
            told = [
                model.log_prob_mel(model.front(batch.x[:, 0, : int(batch.lengths[0])]), given)
                for batch, given in zip(batches, texts, strict=True)
            ]
        return sum(float(p.bits_per_dim()[0]) * p.dims for p in told) / sum(p.dims for p in told)

    texts = [batch.given for batch in batches]
    mel = model.config.mel
    return [
        Measurement(
            name="bits/band",
            value=bits(texts),
            better="lower",
            protocol=f"-log2 p(spectrogram | text) a number of it, exact, chain rule; a density of log bands less "
            f"{mel.mean:.3f}, over {mel.deviation:.3f}",
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
