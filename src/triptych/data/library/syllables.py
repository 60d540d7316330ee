"""Mandarin syllables of two voices, by tone: what the Debian package of recordings for gcin, an input method, holds.

A folder of the package is called as the syllable is written in zhuyin, with its tone: nothing for the first, 2, 3 or 4
(a few of the neutral tone, 1, are left out). Here files have the letters that a table gives, and the classes are the
tones: high, rising, low and falling. All of a syllable, whatever its tone, is held out or none of it. Each is made
16,000 samples a second, begins and ends where it can be heard, and is as loud as any other. Reading the package takes
soundfile (`pip install 'triptych[audio]'`); the set itself is WAV.
"""

import re

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
    name="gcin-voice",
    version="0~20170223-3",
    sha256="6a0353f0294d06f7bd901bada3d5d9eec63b66c2ec029f92da3124d93d45de70",
    size=7_740_240,
)
FILE = re.compile(r"usr/share/gcin-voice/ogg/([\u3105-\u3129]{1,3})([1-4]?)/([35])\.ogg")
NOTICE = "usr/share/doc/gcin-voice/copyright"
LATIN = dict(
    zip(
        "ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦㄧㄨㄩ",
        "b p m f d t n l g k h j q x zh ch sh r z c s a o e eh ai ei ao ou an en ang eng er i u yu".split(),
        strict=True,
    )
)
TONES = {"": "1-high", "2": "2-rising", "3": "3-low", "4": "4-falling"}
VOICES = {"3": "a", "5": "b"}
RATE, LOUDEST, SOFT = 16_000, 0.9, 10 ** (-40 / 20)
"""Of what is written; and the share of the loudest sample below which, at either end, nothing is heard."""


def syllable(content: bytes) -> np.ndarray:
    """float32 [1, samples]. Raises BadClip, also for silence."""
    clip = decode(content)
    sound = resampled(clip.amplitude.mean(0, keepdims=True), clip.rate, RATE)
    loudest = float(np.abs(sound).max(initial=0))
    if loudest < 1e-3:
        raise BadClip("it is silent")
    loud = np.flatnonzero(np.abs(sound[0]) > SOFT * loudest)
    kept: np.ndarray = sound[:, loud[0] : loud[-1] + 1] * (LOUDEST / loudest)
    return kept


def write(archives: Archives, folder: Folder) -> None:
    found: dict[tuple[str, str], bytes] = {}
    for file, content in archives.members(PACKAGE.name, lambda n: n == NOTICE or FILE.fullmatch(n) is not None):
        if file == NOTICE:
            folder.put("LICENSE", content)
            continue
        zhuyin, tone, voice = FILE.fullmatch(file).groups()  # type: ignore[union-attr]
        if tone not in TONES:
            continue
        letters = "".join(LATIN[c] for c in zhuyin)
        try:
            found[letters, f"{TONES[tone]}/{letters}-{VOICES[voice]}.wav"] = encode_wav(syllable(content), RATE)
        except BadClip as e:
            raise DataError(f"{file} cannot be read: {e}") from e
    letters_of = sorted({letters for letters, _ in found})
    held = {letters for letters, is_held in zip(letters_of, held_out(letters_of), strict=True) if is_held}
    for letters, name in sorted(found):
        split = "test" if letters in held else "train"
        folder.put(f"{split}/{name}", found[letters, name])
        folder.counts[split] += 1


RECIPE = Recipe(
    name="syllables",
    about="2,334 Mandarin syllables, half a second at most, two voices, by four tones; mono, 16 kHz",
    licence="GPL-3 or LGPL-3 (voice a), CC BY 3.0 (voice b); see LICENSE there",
    credit="Edward Der-Hua Liu; ChionMeilin with the voice of Chu Lo, by way of gcin-voice",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 2131, "test": 203},
    version=1,
    then=(
        "triptych data syllables",
        "triptych train codec-syllables --data syllables --out runs/syllables",
    ),
)
