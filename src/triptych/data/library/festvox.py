"""A Russian voice: 620 sentences that one man read in a studio, each with its text (Moscow State University, 2008).

A plus stands before a stressed vowel where the text says which it is. The last 60 sentences are for testing.
"""

import re

from triptych.core import DataError
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe

PACKAGE = Package(
    client="apt",
    name="festvox-ru",
    version="0.5+dfsg-6",
    sha256="21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4",
    size=178_728_512,
)
VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits/"
SAID, NOTICE = f"{VOICE}etc/txt.done.data", "usr/share/doc/festvox-ru/copyright"
RECORDING = re.compile(rf"{VOICE}wav/(ru_\d{{4}})\.wav")
LINE = re.compile(r'\(\s*(ru_\d{4})\s+"((?:[^"\\]|\\.)*)"\s*\)')
SENTENCES, HELD = 620, 60


def write(archives: Archives, folder: Folder) -> None:
    """One pass over the package, in which recordings lie in the order of their numbers (some of which are missing)."""
    texts, recordings = dict[str, str](), list[str]()

    def wanted(name: str) -> bool:
        return name in (SAID, NOTICE) or RECORDING.fullmatch(name) is not None

    for name, content in archives.members(PACKAGE.name, wanted):
        if name == NOTICE:
            folder.put("LICENSE", content)
        elif name == SAID:
            texts = {key: said.replace('\\"', '"') for key, said in LINE.findall(content.decode("utf-8"))}
        else:
            key = RECORDING.fullmatch(name)[1]  # type: ignore[index]
            split = "test" if len(recordings) >= SENTENCES - HELD else "train"
            folder.put(f"{split}/{key}.wav", content)
            recordings.append(key)
    if missing := sorted(set(recordings) ^ set(texts)):
        raise DataError(f"{missing[0]} has a text and no recording, or the other way round; get the set again")
    if recordings != sorted(recordings):
        raise DataError("the recordings are out of order; get the set again")
    for split, some in (("train", recordings[: SENTENCES - HELD]), ("test", recordings[SENTENCES - HELD :])):
        folder.counts[split] = len(some)
        folder.table(f"{split}/metadata.csv", ("file_name", "text"), [(f"{key}.wav", texts[key]) for key in some])


RECIPE = Recipe(
    name="festvox-ru",
    about="620 Russian sentences read by one man, 99 minutes, 16 kHz, each with its text",
    licence="BSD-like (see LICENSE there)",
    credit="Nikolay Shmyrev and the Speech Processing group of Moscow State University",
    packages=(PACKAGE,),
    write=write,
    counts={"train": SENTENCES - HELD, "test": HELD},
    version=1,
    then=(
        "triptych data festvox-ru",
        "triptych train text-to-speech --data festvox-ru --out runs/voice",
    ),
)
