"""The applications: one page each, from a user's file to the file they take home.

A test walks this folder and fails if a page is missing from the table. Nothing is imported until it is asked for.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.tasks.task import Task

TASKS = {
    "text-to-image": ("text_to_image.TextToImage", "words, as pictures"),
    "super-resolution": ("super_resolution.SuperResolution", "a small picture, larger and sharp"),
    "inpainting": ("inpainting.Inpainting", "a picture with a hole, filled"),
    "translation": ("translation.Translation", "a picture, as the one that it is paired with"),
    "unpaired-translation": ("unpaired.UnpairedTranslation", "a picture of one kind, as one of another"),
    "clothing": ("clothing.Clothing", "what somebody wears, alone"),
    "map-to-photo": ("map_to_photo.MapToPhoto", "a map of classes, as photographs"),
    "text-to-speech": ("text_to_speech.TextToSpeech", "words, spoken by the voice of recordings"),
    "vocoder": ("vocoder.Vocoder", "a spectrogram of speech, as sound"),
    "edges": ("edges.Edges", "a drawing of outlines, as a picture"),
    "aging": ("aging.Aging", "a face, older or younger"),
    "attributes": ("attributes.Attributes", "a face with a smile, with glasses, with long hair"),
    "picture-to-solid": ("picture_to_solid.PictureToSolid", "a thing in a picture, as a solid"),
    "video-prediction": ("video_prediction.VideoPrediction", "a video, gone on with"),
}
"""Name -> where it is, and what it does."""


def find(name: str) -> "type[Task]":
    """The task of this name. Raises UsageError, with a suggestion, if there is none."""
    if name not in TASKS:
        near = get_close_matches(name.lower(), TASKS, n=1)
        raise UsageError(f"there is no task {name!r}; " + (f"did you mean {near[0]}?" if near else names()))
    module, _, cls = TASKS[name][0].rpartition(".")
    found: type[Task] = getattr(import_module(f"triptych.tasks.{module}"), cls)
    return found


def names() -> str:
    """Those that there are, for a message."""
    return f"there are {', '.join(TASKS)}"


def from_json(value: Any) -> "Task":
    """A task as a run's config.json keeps it. Raises UsageError for one that this version does not know."""
    from triptych.io import configs

    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise UsageError(f"a task is an object with a name; {names()}")
    fields = {name: field for name, field in value.items() if name != "name"}
    return configs.from_json(find(value["name"]), fields, value["name"])
