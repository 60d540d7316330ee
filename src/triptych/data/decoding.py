"""The files of a folder as pixels: several are decoded at a time, in bounded memory."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.data.fitting import Fitting
from triptych.data.folders import IMAGES, Item, arrange, described
from triptych.data.sides import SizesDiffer
from triptych.data.sink import CHUNK, Content, Sink
from triptych.media.images import extent
from triptych.media.reading import Reading
from triptych.media.work import BadFile

T = TypeVar("T")
D = TypeVar("D")

TOGETHER = 32
"""Files decoded at a time, at most."""
MEMORY, EACH_PIXEL = 1 << 28, 12
"""Bytes that pictures which are being decoded may take together, and what one of their pixels takes."""


class Mixed(Exception):
    """Colour turned up where all was grey so far."""


def read_images(tree: Tree, sink: Sink) -> Content:
    """Decodes every image of `tree` into `sink`, split by split.

    Sub-folders train/ and test/ (or val/, dev/, ...: see `splits`) are splits. The next folder is the class. A table
    (metadata.jsonl or .csv), or a text file beside each image, gives captions; a table also labels. Without split
    folders, a tenth is held out by name (see `held_out`).

    Raises DataError if there is no image to be had, or if their sizes differ and no size was asked.
    """
    found = arrange(tree, IMAGES)
    channels, fitting = sink.options.channels, Fitting(sink.options.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; damage to the pixels raises
        try:
            kept, bad = decode_all(tree, found.items, sink, channels or 1, fitting)
        except Mixed:
            sink.restart()
            fitting = Fitting(sink.options.size)
            kept, bad = decode_all(tree, found.items, sink, 3, fitting)
    found.notes.extend(fitting.notes())
    return described(tree, IMAGES, found, kept, bad)


def decode_all(
    tree: Tree, items: list[Item], sink: Sink, channels: int, fitting: Fitting
) -> tuple[list[Item], list[Problem]]:
    """Appends all images to `sink`. Returns the items that could be read, and the problems.

    Raises Mixed if a picture has colour, one channel is to be stored, and nobody asked for one.
    """
    kept: list[Item] = []
    problems: list[Problem] = []
    convert = channels if channels == 3 else sink.options.channels
    first: tuple[str, tuple[int, ...]] | None = None
    pixels, held = list[np.ndarray](), 0
    read = Reading(size=sink.options.size, channels=convert)
    for item, picture in load_all(tree, ((item, item.file, read) for item in items)):
        if isinstance(picture, str):
            problems.append(Problem(file=shown(item.file), reason=picture))
            continue
        if picture.note:
            problems.append(Problem(file=shown(item.file), reason=picture.note))
        if len(picture.pixels) > channels:
            raise Mixed
        kept.append(item)
        fitting.see([item.file], [picture.size])
        if sink.options.whole:
            sink.append(picture.pixels[None])
            continue
        shape = picture.pixels.shape[1:]
        first = first or (item.file, shape)
        if shape != first[1]:
            raise SizesDiffer(
                f"{tree.name}: {shown(first[0])} has {first[1][0]} x {first[1][1]} pixels (height x width) and "
                f"{shown(item.file)} has {shape[0]} x {shape[1]}; give size= to bring all to one size",
                tree,
            )
        pixels.append(picture.pixels)
        held += picture.pixels.nbytes
        if held > MEMORY // 4 or len(pixels) == CHUNK:
            sink.append(np.stack(pixels))
            pixels, held = [], 0
    if pixels:
        sink.append(np.stack(pixels))
    return kept, problems


def load_all(tree: Tree, jobs: Iterable[tuple[T, str, Callable[[bytes], D]]]) -> Iterator[tuple[T, D | str]]:
    """What is made of one file after the other, some at a time; instead of a bad one, what is wrong with it.

    A job is a key, the name of a file, and what decodes its bytes. Large pictures wait for each other: those that are
    being decoded take `MEMORY` together, or one alone what it takes.
    """
    waiting, taken = deque[tuple[T, Future[D | str], int]](), 0
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for key, file, read in jobs:
            content = content_of(tree, file)
            memory = 0 if isinstance(content, str) else len(content) + EACH_PIXEL * extent(content)
            while waiting and (taken + memory > MEMORY or len(waiting) == TOGETHER):
                before, future, its = waiting.popleft()
                taken -= its
                yield before, future.result()
            waiting.append((key, pool.submit(decoded, content, read), memory))
            taken += memory
            del content
        for before, future, _ in waiting:
            yield before, future.result()


def content_of(tree: Tree, name: str) -> bytes | str:
    """The bytes of a file, or what is wrong with it."""
    if tree.files[name] > LARGEST_FILE:
        return f"{tree.files[name]:,} bytes; at most {LARGEST_FILE:,} are read"
    try:
        return tree.read(name)
    except OSError as e:
        return reason_of(e)


def decoded(content: bytes | str, read: Callable[[bytes], D]) -> D | str:
    """What is made of the bytes of a file, or what is wrong with it."""
    if isinstance(content, str):
        return content
    try:
        return read(content)
    except BadFile as e:
        return str(e)
