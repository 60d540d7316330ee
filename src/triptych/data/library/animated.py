"""Emoji that move: those of Microsoft's Fluent emoji that are animated, 28 to 97 frames each, 256 x 256.

They are kept as they come (WebP, on nothing; read on white), and begin where they end. An emoji is on the same side of
the split in all its skin tones.
"""

from triptych.core import DataError
from triptych.data.library.emoji import TONES, plain
from triptych.data.library.packages import Package
from triptych.data.library.recipe import Archives, Folder, Recipe
from triptych.data.splits import held_out
from triptych.media.images import BadImage, open_picture

PACKAGE = Package(
    client="npm",
    name="@lobehub/fluent-emoji-anim-1",
    version="1.0.0",
    sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
    size=164_966_217,
)
WHERE, SUFFIX = "package/assets/", ".webp"


def toneless(code: str) -> str:
    """The code of the same emoji without skin tones."""
    return "-".join(part for part in code.split("-") if part.upper() not in TONES)


def moves(content: bytes, name: str) -> bool:
    """Whether it is a picture of several frames; half of the package are of one. Raises DataError."""
    try:
        with open_picture(content) as picture:
            return int(getattr(picture, "n_frames", 1)) > 1
    except BadImage as e:
        raise DataError(f"{name} cannot be decoded: {e}; get the set again") from e


def write(archives: Archives, folder: Folder) -> None:
    found = archives.members(PACKAGE.name, lambda n: n.startswith(WHERE) and n.endswith(SUFFIX))
    clips = {plain(n.removeprefix(WHERE).removesuffix(SUFFIX)): content for n, content in found if moves(content, n)}
    names = sorted({toneless(code) for code in clips})
    held = dict(zip(names, held_out(names), strict=True))
    for code, content in sorted(clips.items()):
        split = "test" if held[toneless(code)] else "train"
        folder.put(f"{split}/{code}{SUFFIX}", content)
        folder.counts[split] += 1


RECIPE = Recipe(
    name="animated-emoji",
    about="477 emoji that move, 28 to 97 frames each, 256 x 256; held out by code point, in all skin tones",
    licence="MIT",
    credit="Microsoft Fluent Emoji (as packaged by LobeHub)",
    packages=(PACKAGE,),
    write=write,
    counts={"train": 412, "test": 65},
    version=1,
    then=(
        "triptych data animated-emoji --frames 20 --size 64 --sheet emoji.png",
        "triptych train video-prediction --data animated-emoji --size 64 --out runs/emoji",
    ),
)
