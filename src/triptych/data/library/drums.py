"""Single hits of drum kits, of five kinds: what the Debian package of kits for Hydrogen, a drum machine, holds.

What a hit is, its file's name says. Each is made mono and 16,000 samples a second, begins where it is first heard, and
is a second long at most. Reading the package takes soundfile (`pip install 'triptych[audio]'`); the set itself is WAV.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.data.splits import held_out
from triptych.media.audio import decode
from triptych.media.resample import resampled
from triptych.media.wav import BadClip, encode_wav

PACKAGE = Package(
    client="apt",
    name="hydrogen-drumkits",
    version="2017.09.19~dfsg-1",
    sha256="6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4",
    size=142_675_622,
)
FILES, NOTICE = "usr/share/hydrogen/data/drumkits/", "usr/share/doc/hydrogen-drumkits/copyright"
SOUNDS = (".flac", ".wav", ".aiff")
KINDS: Sequence[tuple[str, str]] = (
    ("", r"rim|stick|beats|empty|foot|pedal|hh_?p"),
    ("hat", r"hh|hat|(^|_)ho\d"),
    ("snare", r"snare|(^|_)s[dnr]\d*(_|$)|(^|_)sn"),
    ("kick", r"kick|(^|_)bd|bassdrum|_k(_b)?$"),
    ("tom", r"tom|^tm|^ft?\d|^t\d"),
    ("cymbal", r"crash|ride|splash|china|^rd|^[rc]c\d|^cra"),
)
"""What names say, tried in this order on a name in small letters; the first are no hits of these kinds."""
RATE, SECONDS, SOFT, FADE = 16_000, 1.0, 10 ** (-40 / 20), 0.02
"""Of what is written; below this share of the loudest sample, a hit has not begun; seconds that a cut one fades in."""


def kind_of(stem: str) -> str:
    """The kind of hit that a file's name says; empty if it says none."""
    name = stem.lower().replace("-", "_").replace(" ", "_")
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), "")


def hit(content: bytes) -> np.ndarray | None:
    """float32 [1, at most a second]; None for silence. Raises BadClip."""
    clip = decode(content)
    sound = resampled(clip.amplitude.mean(0, keepdims=True), clip.rate, RATE)
    loud = np.abs(sound[0]).max(initial=0)
    if loud < 1e-3:
        return None
    begun = int(np.argmax(np.abs(sound[0]) > SOFT * loud))
    whole, most = sound[:, begun:], round(RATE * SECONDS)
    kept = whole[:, :most].copy()
    if whole.shape[1] > most:
        fade = round(RATE * FADE)
        kept[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    kept *= 0.9 / np.abs(kept).max()
    return kept


def write(archives: Archives, folder: Folder) -> None:
    hits: dict[str, bytes] = {}
    seen = set[str]()
    for file, content in archives.members(PACKAGE.name, lambda n: n == NOTICE or n.startswith(FILES)):
        if file == NOTICE:
            folder.put("LICENSE", content)
            continue
        path = PurePosixPath(file.removeprefix(FILES))
        kind, digest = kind_of(path.stem), hashlib.sha256(content).hexdigest()
        if path.suffix.lower() not in SOUNDS or not kind or digest in seen:
            continue
        seen.add(digest)
        try:
            sound = hit(content)
        except BadClip as e:
            raise DataError(f"{path} cannot be read: {e}") from e
        if sound is not None:
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{path.parent}-{path.stem}").lstrip(".-")
            hits[f"{kind}/{name}.wav"] = encode_wav(sound, RATE)
    names = sorted(hits)
    for name, held in zip(names, held_out(names), strict=True):
        split = "test" if held else "train"
        folder.put(f"{split}/{name}", hits[name])
        folder.counts[split] += 1


RECIPE = Recipe(
    name="drums",
    about="393 hits of drum kits, a second at most, of five kinds: kick, snare, hat, tom and cymbal; mono, 16 kHz",
    licence="GPL, CC BY-SA, CC0 and others, by kit (see LICENSE there)",
    credit="the authors of the kits named in LICENSE, by way of the Hydrogen project",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 353, "test": 40},
    version=1,
    then=(
        "triptych data drums",
        "triptych train wavegan-drums --data drums --out runs/drums",
    ),
)
