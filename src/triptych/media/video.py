"""Moving pictures: GIF, WebP and APNG by Pillow, archives and folders of frames, and MP4 and its kin by PyAV.

Written are GIF, WebP, APNG, MP4 (by PyAV), and folders of frames.

A video is so many frames, evenly spaced over the clip, each cropped to the middle and resized as a picture is.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from triptych.core import UsageError, Video
from triptych.core.reading import read_file
from triptych.io.commit import write_atomic
from triptych.media import animation, pictures
from triptych.media.images import SUFFIXES as PICTURES
from triptych.media.images import grey_or_rgb, open_picture
from triptych.media.medium import Medium, quiet, surveyed
from triptych.media.reading import Reading
from triptych.media.work import BadFile, Work

FILMS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv"))
"""Endings of what Pillow does not read."""
MOVING = frozenset((".gif", ".webp", ".apng"))
FOLDER = ".frames"
"""The ending of a folder of frames, as a tree of files has it."""
INSTALL = "pip install 'triptych[video]'"
CONTAINERS = (
    (4, 8, b"ftyp", "mp4"),
    (4, 8, b"moov", "mov"),
    (0, 4, b"\x1aE\xdf\xa3", "matroska"),
    (8, 12, b"AVI ", "avi"),
)
"""How films begin, and what FFmpeg calls them."""
MOST_FRAMES = 1 << 14
SHOWN, MILLISECONDS = 8, 120
"""Frames of a clip on a sheet, and how long each is shown in a GIF."""


@dataclass(frozen=True, eq=False)
class Film(Work):
    """A video that somebody brings, or takes home."""

    endings: ClassVar[tuple[str, ...]] = (".gif", ".mp4", ".webp", ".apng", ".png", "")
    suffixes: ClassVar[frozenset[str]] = MOVING | FILMS | {".zip"}
    frames: np.ndarray
    """uint8 [frames, channels, height, width]; grey or RGB."""
    name: str = "the video"

    @classmethod
    def read(cls, source: "Path | str | np.ndarray") -> "Film":
        """From a file, a folder of frames, or frames as an array. Raises UsageError naming what is wrong with it."""
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 4 or source.shape[1] not in (1, 3) or 0 in source.shape:
                raise UsageError(
                    f"a video is uint8 [frames, channels, height, width], 1 or 3 channels; this is {source.dtype} "
                    f"{list(source.shape)}"
                )
            return cls(source)
        path = Path(source)
        try:
            if path.is_dir():
                files = sorted(
                    (p for p in path.iterdir() if p.suffix.lower() in PICTURES), key=lambda p: natural(p.name)
                )
                if not files:
                    raise BadFile("no frames in it: pictures, in the order of their names")
                data = gathered((p.name, p.read_bytes()) for p in files)
            else:
                data = read_file(path)
            return cls(decode(data), str(source))
        except BadFile as e:
            raise UsageError(f"{source}: {e}") from e
        except OSError as e:
            raise UsageError(f"{source} cannot be read: {e.strerror or e}") from e

    @classmethod
    def whole(cls, folder: Path) -> bool:
        """A folder of frames is one video: of pictures, and nothing that moves."""
        suffixes = {p.suffix.lower() for p in folder.iterdir() if not p.name.startswith(".")}
        return bool(suffixes & PICTURES) and not suffixes & (FILMS | {".gif", ".apng"})

    def pictures(self) -> list[Image.Image]:
        return list(pictures.cells(self.frames))

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """A moving picture; of .png, its frames side by side."""
        self.check_ending(ending, f"a video as {ending or 'a folder'}")
        if ending == ".png":
            return pictures.png(pictures.grid(self.frames, columns=len(self.frames)), about)
        return film(self.pictures()) if ending == ".mp4" else moving(self.pictures(), ending)

    def save(self, path: str | Path, about: Mapping[str, str] | None = None) -> Path:
        """Of a name without an ending, a folder with a PNG file for each frame."""
        place = Path(path)
        if place.suffix:
            return super().save(path, about)
        for k, frame in enumerate(self.pictures()):
            write_atomic(place / f"{k:04d}.png", pictures.png(frame, about))
        return place

    def image(self) -> Image.Image:
        """Some of its frames, side by side."""
        shown = evenly(len(self.frames), min(SHOWN, len(self.frames)))
        return pictures.grid(self.frames[shown], columns=len(shown))


class VideoMedium(Medium[Video]):
    name: ClassVar[str] = "video"
    formats: ClassVar[tuple[str, ...]] = ("GIF", "WEBP", "APNG", "MP4", "a folder of frames")
    suffixes: ClassVar[frozenset[str]] = MOVING | FILMS | {FOLDER}
    ending: ClassVar[str] = ".gif"
    endings: ClassVar[tuple[str, ...]] = (".gif", ".webp", ".mp4", ".png", ".npz")
    pixelated: ClassVar[bool] = True
    work: ClassVar[type[Work]] = Film

    def survey(self, files: Iterable[bytes]) -> Video:
        """As many frames as the shortest has, the least height and width; grey, if all are."""
        shapes, failed = list[tuple[int, ...]](), list[str]()
        for data in files:
            try:
                shapes.append(decode(data).shape)
            except BadFile as e:
                failed.append(str(e))
        surveyed(failed, bool(shapes))
        frames, channels, heights, widths = zip(*shapes, strict=True)
        return Video(min(frames), max(channels), min(heights), min(widths))

    def read(self, space: Video, data: bytes, say: Callable[[str], object] = quiet) -> np.ndarray:
        """uint8 [frames, channels, height, width]."""
        found = decode(data, space.frames)
        return Reading(size=(space.height, space.width), channels=space.channels).fit(found)

    def asked(self, space: Video, **options: Any) -> Video:
        height, width = options.pop("size", None) or (space.height, space.width)
        frames, channels = options.pop("frames", None), options.pop("channels", None)
        super().asked(space, **options)
        return Video(frames or space.frames, channels or space.channels, height, width)

    def write(self, space: Video, x: Tensor, about: Mapping[str, str] | None = None) -> bytes:
        return moving(frames_of(x[0]), ".gif")

    def sheet(self, space: Video, x: Tensor) -> Image.Image:
        """A strip of frames a clip, evenly spaced."""
        shown = evenly(space.frames, min(SHOWN, space.frames))
        rows = [one[shown] for one in x.cpu()]
        return pictures.strip(rows, scale=2 if x.shape[-1] <= 48 else 1)

    def cells(self, space: Video, x: Tensor) -> list[Image.Image]:
        return [self.sheet(space, one[None]) for one in x]

    def how_to_fit(self, has: Video, wants: Video) -> str | None:
        options = " ".join(f"{name}={value}" for name, value in self.opens(wants).items())
        return f"open the data with {options}" if options and has.levels == wants.levels else None

    def opens(self, space: Video) -> dict[str, Any]:
        size: dict[str, Any] = {"frames": space.frames, "size": (space.height, space.width)}
        return size | ({"channels": space.channels} if space.channels in (1, 3) else {})

    def together(self, space: Video, x: Tensor, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """All clips side by side, moving."""
        if ending in MOVING or ending == ".mp4":
            scale = 2 if x.shape[-1] <= 64 else 1
            frames = [pictures.grid(x[:, t].cpu(), scale=scale) for t in range(space.frames)]
            return film(frames) if ending == ".mp4" else moving(frames, ending)
        return super().together(space, x, ending, about)


def decode(data: bytes, wanted: int | None = None) -> np.ndarray:
    """uint8 [frames, channels, height, width]: `wanted` frames of a clip, evenly spaced, or all. Raises BadFile."""
    if data[:4] == b"PK\x03\x04":
        frames = archived(data, wanted)
    elif data[:6] in (b"GIF87a", b"GIF89a") or data[8:12] == b"WEBP" or data[:4] == b"\x89PNG":
        frames = animated(data, wanted)
    else:
        frames = filmed(data, wanted)
    sizes = {frame.shape for frame in frames}
    if len({size[1:] for size in sizes}) > 1:
        some = " and ".join(f"{height} x {width}" for _, height, width in sorted(sizes)[:2])
        raise BadFile(f"its frames are of different sizes: {some}")
    if len(sizes) > 1:  # some are grey, and others are not
        frames = [np.repeat(frame, 3, 0) if len(frame) == 1 else frame for frame in frames]
    return np.stack(frames)


def evenly(length: int, n: int) -> list[int]:
    """n of so many frames, evenly spaced. Raises BadFile for more than there are."""
    if n > length:
        raise BadFile(f"{length} frames, where {n} are wanted")
    return [i * length // n for i in range(n)]


def animated(data: bytes, wanted: int | None) -> list[np.ndarray]:
    with open_picture(data) as image:
        there = int(getattr(image, "n_frames", 1))
        if there > MOST_FRAMES:
            raise BadFile(f"{there:,} frames; at most {MOST_FRAMES:,} are read")
        found = list[np.ndarray]()
        for k in evenly(there, there if wanted is None else wanted):
            image.seek(k)
            found.append(array(grey_or_rgb(ImageOps.exif_transpose(image), image)))
        return found


def array(image: Image.Image) -> np.ndarray:
    """uint8 [channels, height, width]; one channel where its three are equal."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def archived(data: bytes, wanted: int | None) -> list[np.ndarray]:
    """Frames that are pictures by themselves, in the order of their names."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted((n for n in archive.namelist() if Path(n).suffix.lower() in PICTURES), key=natural)
            if not names:
                raise BadFile("no pictures in it")
            chosen = evenly(len(names), len(names) if wanted is None else wanted)
            return [framed(names[k], archive.read(names[k])) for k in chosen]
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as e:
        raise BadFile(f"damaged ({e})") from e


def natural(name: str) -> list[tuple[int, str]]:
    """Numbers within names in their own order: frame 2 before frame 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def framed(name: str, data: bytes) -> np.ndarray:
    """One frame, uint8 [channels, height, width]. Raises BadFile, naming it."""
    try:
        return Reading()(data).pixels
    except BadFile as e:
        raise BadFile(f"its frame {name}: {e}") from e


def gathered(frames: Iterator[tuple[str, bytes]]) -> bytes:
    """The frames of a folder as one file, which `decode` reads."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in frames:
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def filmed(data: bytes, wanted: int | None) -> list[np.ndarray]:
    there = sum(1 for _ in rolled(data))
    if not there:
        raise BadFile("0 frames; 1 or more are read")
    chosen = set(evenly(there, there if wanted is None else wanted))
    return [array(f.to_image()) for k, f in enumerate(rolled(data)) if k in chosen]


def rolled(data: bytes) -> Iterator[Any]:
    """The frames of what PyAV reads, one after the other, as it has them (`to_image`).

    Raises BadFile, also if it is not installed.
    """
    kind = next((name for start, stop, mark, name in CONTAINERS if data[start:stop] == mark), None)
    if kind is None:  # FFmpeg would take a playlist for a film, and open what it names
        raise BadFile(
            f"neither GIF, WebP, APNG, MP4, WebM, Matroska nor AVI (it starts with {data[:16].decode('latin-1')!r})"
        )
    try:
        import av
    except ImportError as e:
        raise BadFile(f"{kind} is read by PyAV: {INSTALL}") from e
    try:
        with av.open(io.BytesIO(data), format=kind) as film:
            for k, frame in enumerate(film.decode(video=0)):
                if k == MOST_FRAMES:
                    raise BadFile(f"more than {MOST_FRAMES:,} frames")
                yield frame
    except BadFile:
        raise
    except Exception as e:  # PyAV's own errors are of many types
        raise BadFile(f"damaged, or not a video ({str(e).strip() or type(e).__name__})") from e


def frames_of(x: Tensor) -> list[Image.Image]:
    """[frames, channels, height, width] in [-1, 1] as pictures."""
    return list(pictures.cells(x))


def moving(frames: list[Image.Image], ending: str) -> bytes:
    """An endless animation."""
    return animation.WRITERS[ending](frames, [MILLISECONDS] * len(frames))


def film(frames: list[Image.Image]) -> bytes:
    """An MP4 file (H.264, or MPEG-4 where that is not at hand). Raises UsageError without PyAV."""
    try:
        import av
    except ImportError as e:
        raise UsageError(f".mp4 is written by PyAV: {INSTALL}; or name a file that ends in .gif or .webp") from e
    out, codec = io.BytesIO(), "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=Fraction(1000, MILLISECONDS))
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)  # both kinds want even sides
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            whole = Image.new("RGB", (stream.width, stream.height))
            whole.paste(frame, (0, 0))
            for packet in stream.encode(av.VideoFrame.from_image(whole)):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return out.getvalue()
