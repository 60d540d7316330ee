"""Spoken numbers, digit by digit: recordings that are made by arithmetic, of words that everybody knows.

Each sound of a word is a target: where three resonances of the throat lie, how loud the voice is, and how loud a hiss
and where. Between targets everything glides. The voice is a sum of harmonics, each as loud as the resonances let it
through; the hiss is noise in a band. As in the formant synthesizers of Klatt, 1980. Software for a cascade/parallel
formant synthesizer. https://doi.org/10.1121/1.383940; the resonances of vowels are those that Peterson and Barney
measured, 1952. https://doi.org/10.1121/1.1906875

Ten pairs of words, one for each word, follow each other in the test split alone, and there in every number: who says
those has understood words, and has not learned numbers by heart.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from triptych.core import mix

VERSION = 1
WORDS = {
    "zero": "z i r o u",
    "one": "w A n",
    "two": "_ T u u",
    "three": "T2 r I I",
    "four": "f O O r",
    "five": "f a a i v",
    "six": "s i _ K s",
    "seven": "s E v @ n",
    "eight": "e e I _ T",
    "nine": "n a a i n",
}
SOUNDS = {  # milliseconds; three resonances, Hz; how loud the voice is; how loud the hiss, its middle and width, Hz
    "I": (75, 270, 2290, 3010, 1.0, 0.0, 0, 1),
    "i": (75, 390, 1990, 2550, 1.0, 0.0, 0, 1),
    "E": (90, 530, 1840, 2480, 1.0, 0.0, 0, 1),
    "e": (75, 480, 1950, 2500, 1.0, 0.0, 0, 1),
    "A": (120, 640, 1190, 2390, 1.0, 0.0, 0, 1),
    "a": (75, 730, 1090, 2440, 1.0, 0.0, 0, 1),
    "O": (75, 570, 840, 2410, 1.0, 0.0, 0, 1),
    "o": (80, 480, 900, 2400, 1.0, 0.0, 0, 1),
    "u": (80, 300, 870, 2240, 0.9, 0.0, 0, 1),
    "@": (50, 500, 1500, 2500, 0.8, 0.0, 0, 1),
    "r": (65, 350, 1100, 1500, 0.7, 0.0, 0, 1),
    "w": (60, 300, 650, 2200, 0.6, 0.0, 0, 1),
    "n": (80, 250, 1400, 2300, 0.4, 0.0, 0, 1),
    "v": (55, 250, 1100, 2200, 0.35, 0.05, 3000, 1500),
    "z": (80, 250, 1700, 2500, 0.3, 0.2, 3700, 500),
    "s": (95, 300, 1700, 2500, 0.0, 0.3, 3700, 500),
    "f": (85, 300, 1100, 2300, 0.0, 0.08, 2400, 2000),
    "T2": (75, 300, 1400, 2500, 0.0, 0.08, 3000, 700),
    "T": (35, 350, 1800, 2600, 0.0, 0.35, 3200, 700),
    "K": (35, 350, 1900, 2400, 0.0, 0.3, 1800, 500),
    "_": (45, 350, 1700, 2500, 0.0, 0.0, 0, 1),
}
VOICES = ((95.0, 1.0), (125.0, 1.04), (190.0, 1.14), (225.0, 1.19))
"""Pitch, Hz, and how many times as high as a man's the resonances lie."""
WIDTHS, HIGHEST = (70.0, 100.0, 160.0, 250.0), 3500.0
"""Of the resonances; and where the fourth lies."""
LENGTHS = (0.1, 0.25, 0.65)
"""The share of numbers of one word, of two and of three."""
RATE, FRAME, WINDOW = 8000, 40, 128
"""Samples a second; from one place where all is said to the next; and of the windows that hiss is made in."""
LONGEST = 10_240
"""Samples of a clip, at most."""
LOUDEST = 0.8
Number = tuple[str, ...]


def apart(number: Number) -> bool:
    """Whether two words follow each other that never do in training: each word is kept from one."""
    place = {word: k for k, word in enumerate(WORDS)}
    return any(place[b] == (3 * place[a] + 1) % len(WORDS) for a, b in pairwise(number))


def drawn(n: int, held: bool, generator: np.random.Generator) -> list[Number]:
    """n numbers at random, of those that are held out, or of the others."""
    found, words = list[Number](), list(WORDS)
    while len(found) < n:
        length = 1 + int(generator.choice(len(LENGTHS), p=LENGTHS))
        number = tuple(words[k] for k in generator.integers(0, len(words), length))
        if apart(number) == held:
            found.append(number)
    return found


def recordings(n: int, seed: int, held: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Texts, and float32 [samples] of each."""
    generator = np.random.Generator(np.random.Philox(key=mix(seed)))
    for number in drawn(n, held, generator):
        pitch, scale = VOICES[int(generator.integers(len(VOICES)))]
        pitch, speed = pitch * generator.uniform(0.9, 1.1), generator.uniform(0.95, 1.25)
        yield " ".join(number), said(number, pitch, scale * generator.uniform(0.98, 1.02), speed, generator)


def said(number: Number, pitch: float, scale: float, speed: float, generator: np.random.Generator) -> np.ndarray:
    """One number by one voice: float32 [samples], as loud as any other, cut off where a clip has to end."""
    sounds = [SOUNDS[sound] for word in number for sound in WORDS[word].split()]
    frames = [max(2, round(ms / speed * generator.uniform(0.85, 1.15) * RATE / 1000 / FRAME)) for ms, *_ in sounds]
    targets = np.repeat(np.array([rest for _, *rest in sounds], float), frames, axis=0)  # frames, 7
    targets = np.pad(targets, ((2, 4), (0, 0)), mode="edge")
    targets[:2, 3:5] = targets[-4:, 3:5] = 0
    resonances, voice, hiss = glided(targets[:, :3], 7) * scale, glided(targets[:, 3], 3), glided(targets[:, 4], 3)
    at = np.arange(len(targets)) * FRAME
    sample = np.arange(len(targets) * FRAME)
    f0 = pitch * np.linspace(1.12, 0.85, len(sample)) * (1 + 0.02 * np.sin(2 * np.pi * 3 * sample / RATE))
    phase, sound = 2 * np.pi * np.cumsum(f0) / RATE, np.zeros(len(sample))
    for harmonic in range(1, int(0.98 * RATE / 2 / f0.max()) + 1):
        loud = voice * passed(harmonic * f0[at], resonances) / harmonic
        sound += np.interp(sample, at, loud) * np.sin(harmonic * phase)
    sound = sound / max(np.abs(sound).max(), 1e-9) + hissed(hiss, targets[:, 5], targets[:, 6], generator)
    sound = sound[:LONGEST]
    return (LOUDEST * sound / np.abs(sound).max()).astype(np.float32)


def glided(track: np.ndarray, over: int) -> np.ndarray:
    """A track [frames, ...] whose steps take so many frames."""
    whole = np.pad(track, ((over // 2, over // 2), *[(0, 0)] * (track.ndim - 1)), mode="edge")
    found: np.ndarray = np.lib.stride_tricks.sliding_window_view(whole, over, 0).mean(-1)
    return found


def passed(f: np.ndarray, resonances: np.ndarray) -> np.ndarray:
    """How much of a frequency [frames] the resonances [frames, 3], and a fourth, let through."""
    out = np.ones_like(f)
    for k, width in enumerate(WIDTHS):
        center = resonances[:, k] if k < resonances.shape[1] else np.full_like(f, HIGHEST)
        ratio = f / center
        out /= np.sqrt((1 - ratio**2) ** 2 + (f * width / center**2) ** 2)
    return out


def hissed(loud: np.ndarray, middle: np.ndarray, width: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noise [frames * FRAME] in a band that moves, in windows of which each is half over the next."""
    samples, hop = len(loud) * FRAME, WINDOW // 2
    many = -(-samples // hop) + 1
    noise = generator.standard_normal((many, WINDOW))
    frame = np.minimum(np.arange(many) * hop // FRAME, len(loud) - 1)
    f = np.fft.rfftfreq(WINDOW, 1 / RATE)
    band = loud[frame, None] * np.exp(-(((f - middle[frame, None]) / width[frame, None]) ** 2))
    pieces = np.fft.irfft(np.fft.rfft(noise) * band, WINDOW) * np.hanning(WINDOW)
    out = np.zeros((many + 1) * hop)
    for k, piece in enumerate(pieces):
        out[k * hop : k * hop + WINDOW] += piece
    return out[:samples]
