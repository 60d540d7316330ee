"""Makes a voice of espeak-ng read a text: a folder as LJSpeech has it, of sentences and what is said in them.

    apt-get install espeak-ng                      (Debian and Ubuntu; brew install espeak-ng on macOS)
    make kjv.txt                                   (or any text)
    python tools/spoken_sentences.py kjv.txt english/ -n 600
    triptych train text-to-speech --data english/ --out runs/english

A procedural twin of a recorded voice: any number of sentences, in any language that espeak-ng speaks (--voice ru). The
same version of it makes the same files.
"""

import argparse
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SHORTEST, LONGEST = 20, 120
"""Characters of a sentence."""
ENDS = re.compile(r"(?<=[.!?;:])\s+")
NAME = re.compile(r"[A-Za-z0-9+-]{1,32}")


def sentences(text: str, n: int) -> list[str]:
    """n of those that are neither short nor long, evenly spaced over the text; all if there are fewer."""
    plain = (re.sub(r"\S*\d\S*|[^\w\s.,;:!?'-]|_", " ", sentence) for sentence in ENDS.split(text))
    found = [" ".join(sentence.split()).lstrip(" .,;:!?'-") for sentence in plain]
    kept = list(dict.fromkeys(sentence for sentence in found if SHORTEST <= len(sentence) <= LONGEST))
    return [kept[i * len(kept) // n] for i in range(n)] if n < len(kept) else kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("-n", type=int, default=600, help="sentences")
    parser.add_argument("--voice", default="en-us", help="a voice of espeak-ng, as en-us or ru")
    args = parser.parse_args()
    if not NAME.fullmatch(args.voice):
        parser.error(f"--voice {args.voice}: the name of a voice of espeak-ng, as en-us")
    said = sentences(args.text.read_text(encoding="utf-8"), args.n)
    (args.out / "wavs").mkdir(parents=True, exist_ok=True)

    def speak(numbered: tuple[int, str]) -> None:
        k, sentence = numbered
        command = ["espeak-ng", "-v", args.voice, "--stdin", "-w", str(args.out / "wavs" / f"S{k:05d}.wav")]
        subprocess.run(command, input=sentence, encoding="utf-8", check=True, capture_output=True)

    with ThreadPoolExecutor() as pool:
        list(pool.map(speak, enumerate(said)))
    rows = "".join(f"S{k:05d}|{sentence}\n" for k, sentence in enumerate(said))
    (args.out / "metadata.csv").write_text(rows, encoding="utf-8")


if __name__ == "__main__":
    main()
