"""Texts as they sound: phonemes of espeak-ng, where it is installed. https://github.com/espeak-ng/espeak-ng"""

import re
import shutil
import subprocess
from functools import lru_cache

from triptych.core import UsageError

MARKS = re.compile(r"([,.;:!?…]+)")
"""What espeak-ng does not say, and a voice should hear of."""
SECONDS = 60


@lru_cache(maxsize=1 << 16)
def phonemes(text: str, voice: str) -> str:
    """The text in the International Phonetic Alphabet, its marks of punctuation kept. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z0-9+-]{1,32}", voice):
        raise UsageError(f"phonemes={voice!r}: the name of a voice of espeak-ng, as en-us")
    program = shutil.which("espeak-ng")
    if program is None:
        raise UsageError(f"phonemes={voice}: espeak-ng is not on this machine; install it, or leave out phonemes=")
    said = [part for part in MARKS.split(text) if part.strip()]
    words = [part for part in said if not MARKS.fullmatch(part)]
    command = [program, "-q", "--ipa", "-v", voice, "--stdin"]
    sounds = list[str]()
    for part in words:
        try:
            done = subprocess.run(
                command, input=part, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise UsageError(f"espeak-ng does not answer: {e}") from e
        if done.returncode:
            raise UsageError(f"espeak-ng has no voice {voice}, or cannot read: {done.stderr.strip()[:200]}")
        sounds.append(" ".join(done.stdout.split()))
    rest = iter(sounds)
    return " ".join(part.strip() if MARKS.fullmatch(part) else next(rest) for part in said)
