"""Makes a corpus of spoken digits with espeak-ng: a folder for each digit, 8 kHz, 16 bits, mono.

    apt-get install espeak-ng                      (Debian and Ubuntu; brew install espeak-ng on macOS)
    python tools/spoken_digits.py digits/
    triptych train wavenet-digits --data digits/ --out runs/digits

The words "zero" to "nine", in each accent, each voice, each pitch and each speed below: 2,400 clips of about half a
second. The same version of espeak-ng makes the same files. Silence before and after the word is cut off, and every clip
is as loud as any other.
"""

import argparse
import io
import subprocess
import wave
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us",)
VOICES = ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5", "klatt2", "steph")
PITCHES, SPEEDS = (30, 40, 50, 60, 70), (200, 220, 240, 260)
"""Of 0 to 99; in words a minute."""
RATE = 8000
LOUDEST, SILENT = 0.8, 0.02
"""Parts of the largest amplitude: of what a clip's peak is brought to, and of what is cut off at its ends."""


def speak(word: str, accent: str, voice: str, pitch: int, speed: int) -> np.ndarray:
    """One word: float [samples] in [-1, 1] at RATE."""
    command = ["espeak-ng", "-v", f"{accent}+{voice}", "-p", str(pitch), "-s", str(speed), "--stdout", word]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        sound = resample_poly(sound, RATE, file.getframerate())
    sound = sound / np.abs(sound).max()
    (loud,) = np.nonzero(np.abs(sound) > SILENT)
    return LOUDEST * sound[loud[0] : loud[-1] + 1]


def write(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write, one sub-folder for each digit")
    out = parser.parse_args().out
    for digit in range(10):
        (out / str(digit)).mkdir(parents=True, exist_ok=True)

    def make(digit: int, accent: str, voice: str, pitch: int, speed: int) -> None:
        write(
            out / str(digit) / f"{accent}-{voice}-{pitch}-{speed}.wav", speak(WORDS[digit], accent, voice, pitch, speed)
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda choice: make(*choice), product(range(10), ACCENTS, VOICES, PITCHES, SPEEDS)))


if __name__ == "__main__":
    main()
