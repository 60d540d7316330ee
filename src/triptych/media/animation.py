"""Animations: GIF, WebP and APNG files in which every frame stands by itself.

Pillow writes a frame that equals the one before as a longer look at that one: the film takes as long and has fewer
frames, and who reads it back gets fewer. Here each frame is encoded by Pillow as a picture, whole, and put into the
container by hand: GIF89a (CompuServe, 1990), and WebP's RIFF container
(https://developers.google.com/speed/webp/docs/riff_container).
"""

import io
import struct
from collections.abc import Callable, Iterator, Sequence

from PIL import Image, PngImagePlugin


def gif(frames: Sequence[Image.Image], times: Sequence[int]) -> bytes:
    """An endless GIF of frames of one size, each with its own colors; `times` in milliseconds, which a GIF rounds to
    hundredths of a second."""
    width, height = frames[0].size
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0), b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"]
    for frame, time in zip(frames, times, strict=True):
        parts += [struct.pack("<4sHBB", b"!\xf9\x04\x04", round(time / 10), 0, 0), gif_image(encoded(frame, "GIF"))]
    return b"".join(parts) + b";"


def gif_image(file: bytes) -> bytes:
    """The image of a GIF file of one: its place, the colors of the file as its own, and its codes."""
    at, flags = 13, file[10]
    colors = file[at : at + (3 << (flags & 7) + 1)]
    at += len(colors)
    while file[at : at + 1] == b"!":  # extensions: a label, then blocks up to an empty one
        at += 2
        while file[at]:
            at += 1 + file[at]
        at += 1
    place, its = file[at : at + 9], file[at + 9]
    return place + bytes([0x80 | its & 0x40 | flags & 7]) + colors + file[at + 10 : -1]


def webp(frames: Sequence[Image.Image], times: Sequence[int]) -> bytes:
    """An endless WebP of frames of one size, without loss; `times` in milliseconds."""
    width, height = frames[0].size
    parts = [chunk(b"VP8X", b"\x02\0\0\0" + three(width - 1) + three(height - 1)), chunk(b"ANIM", bytes(6))]
    for frame, time in zip(frames, times, strict=True):
        file = encoded(frame.convert("RGB"), "WEBP", lossless=True)
        head = bytes(6) + three(width - 1) + three(height - 1) + three(time) + b"\x02"  # in place of what was there
        parts.append(chunk(b"ANMF", head + b"".join(chunk(*part) for part in chunks(file) if part[0] == b"VP8L")))
    return chunk(b"RIFF", b"WEBP" + b"".join(parts))


def chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a WebP file, by name."""
    at = 12
    while at < len(file):
        name, size = struct.unpack_from("<4sI", file, at)
        yield name, file[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", name, len(data)) + data + bytes(len(data) % 2)


def three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def apng(frames: Sequence[Image.Image], times: Sequence[int]) -> bytes:
    """An endless APNG of opaque frames of one size; `times` in milliseconds."""
    ways = PngImagePlugin.Blend.OP_SOURCE, PngImagePlugin.Blend.OP_OVER
    # They are the same for what is opaque, and Pillow joins no frames that are blended in different ways.
    blend = [ways[k % 2] for k in range(len(frames))]
    options = {"append_images": frames[1:], "duration": list(times), "blend": blend, "loop": 0}
    return encoded(frames[0], "PNG", save_all=True, **options)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


WRITERS: dict[str, Callable[[Sequence[Image.Image], Sequence[int]], bytes]] = {
    ".gif": gif,
    ".webp": webp,
    ".apng": apng,
}
"""By the ending of a file's name."""
