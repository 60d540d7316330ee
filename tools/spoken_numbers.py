"""Makes voices of espeak-ng say numbers digit by digit: "four two seven", 8 kHz, 16 bits, mono.

    apt-get install espeak-ng                      (Debian and Ubuntu; brew install espeak-ng on macOS)
    python tools/spoken_numbers.py numbers/
    triptych train text-to-speech --model codec-numbers --data numbers/ --out runs/numbers
    triptych apply runs/numbers --text "four two seven" --out a.wav

The numbers are those of the built-in set `spoken-numbers`, which needs no espeak-ng: one to three words, of which ten
pairs follow each other in the test split alone, and there in every number. In each of the voices below, at any of the
speeds and pitches. Silence before and after is cut off, and every clip is as loud as any other. The same version of
espeak-ng makes the same files.
"""

import argparse
import csv
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from spoken_digits import speak, write

from triptych.data import numbers

VOICES = ("m1", "m3", "f2", "f4")
PITCHES, SPEEDS = (35, 65), (190, 230)
"""From and to: of 0 to 99; in words a minute."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("-n", type=int, default=6000, help="recordings for training")
    parser.add_argument("--held-out", type=int, default=400, help="recordings of the test split")
    args = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is not installed: apt-get install espeak-ng, or brew install espeak-ng")
    rows = list[tuple[str, str]]()
    for seed, (split, n) in enumerate((("train", args.n), ("test", args.held_out))):
        drawn = np.random.default_rng(seed)
        (args.out / split).mkdir(parents=True, exist_ok=True)
        said = [" ".join(number) for number in numbers.drawn(n, split == "test", drawn)]
        how = [
            (VOICES[int(drawn.integers(len(VOICES)))], int(drawn.integers(*PITCHES)), int(drawn.integers(*SPEEDS)))
            for _ in said
        ]
        names = [f"{split}/{k:05d}-{voice}.wav" for k, (voice, _, _) in enumerate(how)]
        with ThreadPoolExecutor(2) as pool:
            sounds = pool.map(lambda one: speak(one[0], "en-us", *one[1]), zip(said, how, strict=True))
            for name, text, sound in zip(names, said, sounds, strict=True):
                if len(sound) < numbers.LONGEST:
                    write(args.out / name, sound)
                    rows.append((name, text))
    with (args.out / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])


if __name__ == "__main__":
    main()
