"""Media: how a file becomes an element of a space, and comes back. One file a kind of space.

`medium_of(space)` is that of a space. Nothing is imported until it is asked for.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.core import Space
    from triptych.media.medium import Medium

MEDIA = {
    "images": "reading.ImageMedium",
    "audio": "audio.AudioMedium",
    "tokens": "text.TextMedium",
    "points": "points.PointMedium",
    "labels": "labels.LabelMedium",
    "partial-labels": "labels.LabelMedium",
    "voxels": "voxels.VoxelMedium",
    "video": "video.VideoMedium",
}
"""By the kind of space."""


@cache
def of_kind(kind: str) -> "Medium[Any]":
    """The medium of a kind of space."""
    module, _, name = MEDIA[kind].rpartition(".")
    made: Medium[Any] = getattr(import_module(f"triptych.media.{module}"), name)()
    return made


def medium_of(space: "Space") -> "Medium[Any]":
    """The medium of a space."""
    return of_kind(space.kind)
