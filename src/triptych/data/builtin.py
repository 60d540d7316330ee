"""The data that needs no network: MNIST, and data with known truth.

MNIST is that of Yann LeCun and Corinna Cortes (CC BY-SA 3.0), 60,000 training and 10,000 test images; the files are
the original ones, compressed (see NOTICE).
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from triptych.core import Audio, DataError, IntegrityError, UsageError, Video, Voxels, mix
from triptych.data import library, moving, numbers, shapes, solids, textures
from triptych.data.arrays import Arrays, Named, read_arrays
from triptych.data.controlled import GAUSSIANS_25, RING_8, Mixture
from triptych.data.files import Folder, Tree, sha256_of
from triptych.data.idx import find_idx, load_idx, read_idx
from triptych.data.sink import CHUNK, Content, Reader, Sink
from triptych.media.audio import Clip, fit, levels
from triptych.options import Binarization

MNIST = {
    ("train", "x"): (
        "train-images.idx3-ubyte.xz",
        "8f41e9b4abc124dc3d209e86f7ea714a81f80edea40b565a4781dec7bd67c6e2",
    ),
    ("train", "y"): (
        "train-labels.idx1-ubyte.xz",
        "dcd3d8184fe1a8be6231f172fb3390116f91c127282fd736ab55752c179963d8",
    ),
    ("test", "x"): (
        "t10k-images.idx3-ubyte.xz",
        "d815adbb3188b5bafed15d649960a5dbcb0f9138b9a4205b88b175001cb394c9",
    ),
    ("test", "y"): (
        "t10k-labels.idx1-ubyte.xz",
        "f2edae9ce0307abae4671a37b70e6e3858696b48b16c3cfdfef97388dc9925d5",
    ),
}
POINTS = {"train": 50_000, "test": 10_000}
PICTURES = {"train": 10_000, "test": 2_000}
APART = {"train": 10_000, "validation": 1_000, "test": 2_000}
SCENES = {"train": 500, "test": 60}
TRIPLES = {"train": 30_000, "test": 6_000}
THINGS = {"train": 1_000, "test": 200}
CLIPS = {"train": 3_000, "test": 500}
SPOKEN = {"train": 6_000, "test": 400}
SEEDS = {"train": 0, "test": 1, "validation": 2}
"""Of the generated sets."""

BUILTIN = {
    "mnist": "handwritten digits, 8-bit grey, 28 x 28, labels 0-9 (60,000 and 10,000)",
    "mnist-binary": "mnist with each pixel drawn anew, black or white with its intensity as probability, when served",
    "mnist-fixed": "mnist with each pixel drawn once, with a fixed seed of ours (this is not Larochelle's file)",
    "stacked-digits": "three digits of mnist as red, green and blue, 28 x 28: 1,000 modes, with the number they write",
    "gaussians-25": "points of the plane from a 5 x 5 grid of Gaussians, sd 0.05, with the true density",
    "ring-8": "points of the plane from 8 Gaussians on the unit circle, sd 0.01, with the true density",
    "shapes": "a coloured shape each on a light ground, 32 x 32, with a caption and the shape's class",
    "shapes-apart": "as shapes, captions saying where; seven pairs of a color and a shape are in the test split alone",
    "solids": "tables, chairs and their like of boxes and discs, 32 x 32 x 32 voxels or any size, in 6 classes",
    "moving-mnist": "two digits of mnist that move over a black field and bounce: clips of 20 frames of 64 x 64",
    "moving-fashion-mnist": "the same with clothes of fashion-mnist, which has to be on this machine",
    "spoken-numbers": "one to three digits, said by four voices of formants, with their text; some pairs in test alone",
    "textures": "photograph-like scenes of textured things over one another, 64 x 64 or any size that is asked",
}
"""Names and what they stand for."""


@dataclass(frozen=True)
class Source:
    """Something that can be packed."""

    name: str
    stamp: str
    """A sha256 that changes when the content does."""
    read: Reader
    binary: Binarization | None = None
    """How it is made binary when nothing else is asked."""
    tree: Tree | None = None
    """Its files, where it is a folder or an archive of pictures."""
    lone: bool = False
    """Whether it is one file of one element, which is of any split."""


def builtin(name: str, size: tuple[int, int] | None) -> Source:
    """The built-in set of that name; shapes, solids and textures are drawn in the size that is asked.

    Raises UsageError.
    """
    if name in ("mnist", "mnist-binary", "mnist-fixed"):
        stamp = sha256_of(*(sha for _, sha in MNIST.values()))
        how: dict[str, Binarization] = {"mnist-binary": "dynamic", "mnist-fixed": "fixed"}
        return Source("mnist", stamp, read_mnist, how.get(name))
    if name == "stacked-digits":
        stamp = sha256_of(name, *(sha for _, sha in MNIST.values()), str(TRIPLES))
        return Source(name, stamp, read_stacked_digits)
    if name in ("shapes", "shapes-apart"):
        height, width = size or (32, 32)
        if height != width or not 16 <= height <= 256:
            raise UsageError(f"{name} are drawn square, size=16 to 256; got size=({height}, {width})")
        if name == "shapes-apart":
            stamp = sha256_of(name, str(height), str(APART), str(shapes.APART), str(shapes.NEAR))
            return Source(name, stamp, lambda sink: read_shapes_apart(sink, height))
        return Source(name, sha256_of(name, str(height), str(PICTURES)), lambda sink: read_shapes(sink, height))
    if name == "textures":
        height, width = size or (64, 64)
        if not 8 <= min(height, width) <= max(height, width) <= 2048:
            raise UsageError(f"textures are drawn in size=8 to 2048; got size=({height}, {width})")
        stamp = sha256_of(name, str(height), str(width), str(SCENES), str(textures.VERSION))
        return Source(name, stamp, lambda sink: read_textures(sink, height, width))
    if name == "solids":
        side, other = size or (32, 32)
        if side != other or not 8 <= side <= 128:
            raise UsageError(f"solids are drawn in cubes, size=8 to 128; got size=({side}, {other})")
        return Source(name, sha256_of(name, str(side), str(THINGS)), lambda sink: read_solids(sink, side))
    if name == "spoken-numbers":
        return Source(name, sha256_of(name, str(SPOKEN), str(numbers.VERSION)), read_spoken_numbers)
    if name in ("moving-mnist", "moving-fashion-mnist"):
        if size not in (None, (moving.FIELD, moving.FIELD)):
            raise UsageError(f"{name} is made in {moving.FIELD} x {moving.FIELD}; got size={size}")
        stamp = sha256_of(name, str(CLIPS), *(sha for _, sha in MNIST.values()))
        return Source(name, stamp, lambda sink: read_moving(sink, name))
    mixture = {"gaussians-25": GAUSSIANS_25, "ring-8": RING_8}[name]
    return Source(name, sha256_of(name, str(mixture), str(POINTS)), lambda sink: read_mixture(sink, mixture))


def read_mnist(sink: Sink) -> Content:
    """Raises IntegrityError if the files in the package are not those that were shipped."""
    return read_arrays("mnist", Arrays(mnist_arrays()), sink)


def mnist_arrays() -> Named:
    """Raises as `read_mnist`."""
    named: Named = {}
    for (split, role), (file, sha256) in MNIST.items():
        try:
            data = (files("triptych.data") / "mnist" / file).read_bytes()
        except OSError as e:
            raise DataError(f"mnist/{file} is missing from the installed package; install it again") from e
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"mnist/{file} in the installed package is damaged; install it again")
        named.setdefault(split, {})[role] = read_idx(data, f"mnist/{file}")
    return named


def read_stacked_digits(sink: Sink) -> Content:
    """Each channel an image of its own, drawn evenly; the class is the number from 000 to 999 that they write.

    The benchmark of Unrolled GANs (Metz et al., 2016; https://arxiv.org/abs/1611.02163) and of PacGAN (2018), with
    test examples that are made of test images.
    """
    labels = []
    for split, n in TRIPLES.items():
        x, y = (mnist_arrays()[split][role] for role in ("x", "y"))
        which = np.random.Generator(np.random.Philox(key=mix(SEEDS[split]))).integers(len(x), size=(n, 3))
        for rows in np.array_split(which, -(-n // CHUNK)):
            sink.append(x[rows])
        labels.append(y[which].astype(np.int64) @ [100, 10, 1])
    classes = tuple(f"{k:03d}" for k in range(1000))
    return Content(splits=dict(TRIPLES), labels=np.concatenate(labels), classes=classes)


def read_mixture(sink: Sink, mixture: Mixture) -> Content:
    for split, n in POINTS.items():
        sink.append(mixture.draw(n, SEEDS[split]))
    return Content(splits=dict(POINTS), truth=mixture)


def read_shapes(sink: Sink, side: int) -> Content:
    kinds = []
    for split, n in PICTURES.items():
        kind, rest = shapes.plan(n, SEEDS[split])
        for pictures in shapes.draw(kind, rest, side):
            sink.append(pictures)
        kinds.append(kind)
    together = np.concatenate(kinds)
    return Content(
        splits=dict(PICTURES),
        labels=shapes.labels_of(together),
        classes=tuple(shapes.SHAPES),
        captions=shapes.captions_of(together),
    )


def read_shapes_apart(sink: Sink, side: int) -> Content:
    """Pairs of a color and a shape that are held out are those of the test split, and of no other."""
    plans = [shapes.plan_apart(n, SEEDS[split], split == "test") for split, n in APART.items()]
    for kinds, rest in plans:
        for pictures in shapes.draw(kinds, rest, side):
            sink.append(pictures)
    together = np.concatenate([kinds for kinds, _ in plans])
    captions = [caption for plan in plans for caption in shapes.placed_captions(*plan)]
    return Content(
        splits=dict(APART), labels=shapes.labels_of(together), classes=tuple(shapes.SHAPES), captions=captions
    )


def read_solids(sink: Sink, side: int) -> Content:
    kinds, x = [], Voxels(1, side, side, side)
    for split, n in THINGS.items():
        for kind, solid in solids.furniture(n, SEEDS[split], side):
            sink.append_item(solid[None].astype(np.uint8), x)
            kinds.append(kind)
    return Content(splits=dict(THINGS), labels=np.array(kinds), classes=solids.KINDS, x=x)


def read_moving(sink: Sink, name: str) -> Content:
    """Raises UsageError if clothes are asked for that are not on this machine."""
    if name == "moving-mnist":
        named = mnist_arrays()
    else:
        tree = Folder(library.folder_of("fashion-mnist", None))
        named = load_idx(tree, find_idx(tree.files, tree.name))
    x = Video(moving.FRAMES, 1, moving.FIELD, moving.FIELD)
    for split, n in CLIPS.items():
        for clip in moving.clips(named[split]["x"], n, SEEDS[split]):
            sink.append_item(clip, x)
    return Content(splits=dict(CLIPS), x=x)


def read_spoken_numbers(sink: Sink) -> Content:
    x, captions = sink.options.sound or Audio(1, numbers.LONGEST, rate=numbers.RATE), list[str]()
    for split, n in SPOKEN.items():
        for text, sound in numbers.recordings(n, SEEDS[split], split == "test"):
            sink.append_item(levels(fit(Clip(sound[None], numbers.RATE), x), x), x)
            captions.append(text)
    return Content(splits=dict(SPOKEN), captions=captions, x=x)


def read_textures(sink: Sink, height: int, width: int) -> Content:
    for split, n in SCENES.items():
        for i in range(n):
            sink.append(textures.picture(SEEDS[split], i, height, width)[None])
    return Content(splits=dict(SCENES))
