"""Lossless compression with a likelihood: a file of about as many bits as the model says the items are unlikely.

The file proves the number. What is decoded is what was encoded, or nothing at all: a file that was altered, another
model, or a machine that does not compute the same probabilities to the last bit is refused.

Layout, little-endian: 4 bytes that say what this is, 8 of a sha256 of all the rest, then `HEADER`, the text of `maker`,
a byte of checksum for each item, a CRC-32 of every 256 items, and the code, in words of 32 bits. The bytes tell which
item goes wrong first; what slips through one (1 error in 256), the CRC-32 catches. Four bytes an item would make
files of binary MNIST a quarter larger.
"""

import hashlib
import platform
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from pydantic import TypeAdapter
from torch import Tensor

from triptych.core import (
    Autoregressive,
    Generative,
    HasLikelihood,
    IntegrityError,
    Label,
    UsageError,
    evaluating,
    levels_of,
)
from triptych.inference.codes import BitsBack, Message, Reading, Words, Writing, library, supply, take, uniform
from triptych.inference.importance import LatentVariable

MAGIC = b"TTC\x02"
"""The last byte is the version of the format, and of what decides the numbers that a model computes in coding."""
DIGEST = 8
HEADER = struct.Struct("<16sIHIIB")
"""The model's fingerprint, items, items a batch, absent values, initial words, and the length of `maker`."""
BATCH = 256
"""Items of an autoregressive model that are coded together."""
CHECKED = 256
"""Items to a CRC-32."""
SUPPLY = 1024
"""Words that a stack begins with beyond those that the first batch may take. What is not touched is not stored."""


@dataclass(frozen=True)
class Compressed:
    """Items as a file, and where its bits go."""

    data: bytes
    items: int
    code: int
    """Bits of the code itself, in whole words: all but what says how to read it."""
    initial: int
    """Of these, the bits that the first latents were drawn by: their price for the whole chain. Else 0."""
    labels: float
    """Of these, the bits that say the classes, for a model that is conditioned on them. Else 0."""

    @property
    def net(self) -> float:
        """Bits that the likelihood has to account for."""
        return self.code - self.initial - self.labels


@dataclass(frozen=True, eq=False)
class Restored:
    """What a file held."""

    x: Shaped[Tensor, "n ..."]
    given: Label | None
    absent: int
    """How many values at the end of the last item stand for nothing."""


def compress(
    model: Generative[Any],
    x: Shaped[Tensor, "n ..."],
    given: Label | None = None,
    *,
    batch: int | None = None,
    absent: int = 0,
    tick: Callable[[int], None] = lambda done: None,
) -> Compressed:
    """Items of the model's space as the bytes of a file; and their classes, if the model is conditioned on them.

    Autoregressive models are range coded, `batch` items together (256; more are faster), through their sampler:
    writing takes as long as drawing. Latent variable models get bits back, one item after another (batch=1; more cost
    more initial bits). `absent` values at the end of the last sequence of tokens are left out: a text ends where it
    ends. `tick` is told how many items are done.

    All is computed on the CPU, by one thread. Raises UsageError for a model without a likelihood, or whose values or
    latents cannot be coded, for an x that is not in its space, and where the library of coders is missing.
    """
    space, n = model.config.x, len(x)
    check_codable(model)
    model.check_given(n, given)
    if given is not None:
        model.config.given.check(given.y)
    if n == 0:
        raise UsageError("there is nothing to compress: 0 items")
    batch = min(n, batch if batch is not None else default_batch(model))
    if not 1 <= batch < 2**16:
        raise UsageError(f"batch={batch}: it is from 1 to {2**16 - 1}")
    if absent and not (space.kind == "tokens" and isinstance(model, Autoregressive) and 0 < absent < space.dims):
        raise UsageError(f"absent={absent}: only the last sequence of an autoregressive model of tokens may end early")
    level = space.index(x)
    marks, sums = checksums(level, given)
    with one_thread(), evaluating(model), torch.no_grad():
        if isinstance(model, Autoregressive):
            words, initial = write_range(model, level, given, batch, absent, tick), 0
        else:
            words, initial = write_stack(model, level, given, batch, tick)
    about = maker(model).encode()
    body = HEADER.pack(fingerprint(model), n, batch, absent, initial, len(about)) + about
    body += marks + struct.pack(f"<{len(sums)}I", *sums) + words.astype("<u4").tobytes()
    return Compressed(
        data=MAGIC + digest(body) + body,
        items=n,
        code=32 * len(words),
        initial=32 * initial,
        labels=0.0 if given is None else n * float(np.log2(model.config.given.classes)),
    )


def decompress(model: Generative[Any], data: bytes, *, what: str = "the file") -> Restored:
    """What `compress` was given.

    Raises IntegrityError, before anything is decoded, if `data` was altered or cut short, or was made with another
    model, version of torch or kind of processor; and later if what is decoded is not what was encoded. `what` is how
    the message calls the data.
    """
    check_codable(model)
    held = parse(data, what)
    check_maker(model, held, what)
    with one_thread(), evaluating(model), torch.no_grad():
        try:
            parts = list((read_range if isinstance(model, Autoregressive) else read_stack)(model, held))
            parts.sort(key=lambda part: part[0].start)
            level = torch.cat([level for _, level, _ in parts])
            labels = [given.y for _, _, given in parts if given is not None]
            given = Label(torch.cat(labels)) if labels else None
            check(*checksums(level, given), held)
        except IntegrityError as e:
            raise IntegrityError(
                f"{what} cannot be decoded here ({e}): this machine computes other probabilities than the one that "
                "wrote it, as processors, libraries and settings differ; decompress it where it was compressed"
            ) from e
    return Restored(model.config.x.from_index(level), given, held.absent)


@dataclass(frozen=True, eq=False)
class Held:
    """A file, taken apart."""

    mark: bytes
    """The model's fingerprint."""
    items: int
    batch: int
    absent: int
    initial: int
    """Words."""
    maker: str
    marks: bytes
    """A byte an item."""
    sums: tuple[int, ...]
    """A CRC-32 each `CHECKED` items."""
    words: Words


def parse(data: bytes, what: str) -> Held:
    """Raises IntegrityError for what `compress` did not write just so."""
    start = len(MAGIC) + DIGEST
    body = data[start:]
    if data[: len(MAGIC)] != MAGIC:
        raise IntegrityError(f"{what} is not a file that this version of triptych compressed, or its start was altered")
    if digest(body) != data[len(MAGIC) : start]:
        raise IntegrityError(f"{what} is not what was written (its sha256 differs): it was altered or cut short")
    try:
        mark, items, batch, absent, initial, length = HEADER.unpack_from(body)
        about, rest = body[HEADER.size : HEADER.size + length].decode(), body[HEADER.size + length :]
        if not 0 < batch <= items <= len(rest):  # there is a byte an item
            raise ValueError(f"{items} items, {batch} at a time, in {len(rest)} bytes")
        count = -(-items // CHECKED)
        sums = struct.unpack_from(f"<{count}I", rest, items)
        words = np.frombuffer(rest, "<u4", offset=items + 4 * count).astype(np.uint32)
    except (struct.error, ValueError) as e:
        raise IntegrityError(f"{what} is damaged: {e}") from e
    return Held(mark, items, batch, absent, initial, about, rest[:items], sums, words)


def check_codable(model: Generative[Any]) -> None:
    """Raises UsageError unless items can be coded with this model."""
    library()
    if not isinstance(model, HasLikelihood):
        raise UsageError(
            f"{model.name} cannot compress: it has no likelihood; take an autoregressive model, or a VAE with a "
            "Gaussian latent"
        )
    if not isinstance(model, Autoregressive | LatentVariable):
        raise UsageError(f"{model.name} cannot compress: it is neither autoregressive nor has a latent variable")
    levels_of(model.config.x)
    needs = getattr(model.config, "given", None)
    if needs is not None and not needs.classed:
        raise UsageError(f"{model.name} is conditioned on {needs}: only labels can be coded beside x")
    if model.device.type != "cpu":
        raise UsageError(f"coding runs on the CPU, where numbers come out the same; the model is on {model.device}")


def default_batch(model: Generative[Any]) -> int:
    return BATCH if isinstance(model, Autoregressive) else 1


def batches(n: int, batch: int) -> list[slice]:
    return [slice(first, min(n, first + batch)) for first in range(0, n, batch)]


def write_range(
    model: Autoregressive[Any],
    level: Int[Tensor, "n *shape"],
    given: Label | None,
    batch: int,
    absent: int,
    tick: Callable[[int], None],
) -> Words:
    coder = library().stream.queue.RangeEncoder()
    if absent:
        level = level.clone()
        level[-1, -absent:] = -1
    for rows in batches(len(level), batch):
        part = given and given[rows]
        if part is not None:
            coder.encode(part.y.int().numpy(), uniform(model.config.given.classes))
        model.draw(Message(level[rows]), part, Writing(coder=coder))
        tick(rows.stop)
    return coder.get_compressed()


Decoded = Iterator[tuple[slice, Int[Tensor, "n *shape"], Label | None]]
"""Batch by batch, not always in order: which items, their levels, their classes."""


def read_range(model: Any, held: Held) -> Decoded:
    coder, space = library().stream.queue.RangeDecoder(held.words), model.config.x
    for rows in batches(held.items, held.batch):
        given = read_labels(coder, model, rows.stop - rows.start)
        blank = torch.zeros(rows.stop - rows.start, *space.shape, dtype=torch.long)
        if held.absent and rows.stop == held.items:
            blank[-1, -held.absent :] = -1
        yield rows, space.index(model.draw(Message(blank), given, Reading(coder=coder))), given


def read_labels(coder: Any, model: Generative[Any], n: int) -> Label | None:
    needs = getattr(model.config, "given", None)
    return None if needs is None else Label(torch.from_numpy(take(coder, uniform(needs.classes), n)).long())


def write_stack(
    model: Generative[Any],
    level: Int[Tensor, "n *shape"],
    given: Label | None,
    batch: int,
    tick: Callable[[int], None],
) -> tuple[Words, int]:
    begin = initial_words(model, batch, given)
    stack = BitsBack(model, begin, seal=True)
    for rows in batches(len(level), batch):
        part = given and given[rows]
        stack.push(level[rows], part, rows.start)
        if part is not None:
            stack.coder.encode_reverse(part.y.int().numpy(), uniform(model.config.given.classes))
        tick(rows.stop)
    if stack.lowest == 0:
        raise UsageError(f"{model.name} gives back more bits than items take: its bound says that they are certain")
    return stack.words[stack.lowest :], len(begin) + 1 - stack.lowest


def read_stack(model: Any, held: Held) -> Decoded:
    stack, given = BitsBack(model, held.words), None
    for rows in reversed(batches(held.items, held.batch)):
        given = read_labels(stack.coder, model, rows.stop - rows.start)
        yield rows, stack.pop(rows.stop - rows.start, given, rows.start), given
    begin = BitsBack(model, initial_words(model, held.batch, given), seal=True).words
    if not np.array_equal(stack.words, begin[len(begin) - held.initial :]):
        raise IntegrityError("the bits that the first latents were drawn by do not come back")


def initial_words(model: Any, batch: int, given: Label | None) -> Words:
    latent = model.prior(given and given[:1]).event_shape.numel()
    return supply(2 * batch * latent + SUPPLY)  # a dimension takes two digits, each of 24 bits at most


@contextmanager
def one_thread() -> Iterator[None]:
    """With more threads, sums are taken in another order, and come out as other numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:DIGEST]


def checksums(level: Int[Tensor, "n *shape"], given: Label | None) -> tuple[bytes, list[int]]:
    """Of the items as they went in, their levels and their classes: a byte each, and a CRC-32 each `CHECKED`."""
    labels = torch.empty(len(level), 0, dtype=torch.long) if given is None else given.y[:, None]
    rows = torch.cat((level.flatten(1), labels), 1).numpy().astype("<i4")
    marks = bytes(zlib.crc32(row.tobytes()) & 0xFF for row in rows)
    return marks, [zlib.crc32(rows[part].tobytes()) for part in batches(len(rows), CHECKED)]


def check(marks: bytes, sums: list[int], held: Held) -> None:
    """Raises IntegrityError, with the first item that is wrong, unless the checksums are those that were written."""
    for i, (found, right) in enumerate(zip(marks, held.marks, strict=True)):
        if found != right:
            raise IntegrityError(f"item {i} does not come out as it went in")
    for i, (total, due) in enumerate(zip(sums, held.sums, strict=True)):
        if total != due:
            end = min(held.items, (i + 1) * CHECKED) - 1
            raise IntegrityError(f"items {i * CHECKED} to {end} do not come out as they went in")


def fingerprint(model: Generative[Any]) -> bytes:
    """16 bytes that tell models apart: of a sha256 over the name, the configuration and the weights."""
    sha = hashlib.sha256(model.name.encode() + TypeAdapter(type(model.config)).dump_json(model.config))
    for name, value in sorted(model.state_dict().items()):
        sha.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        sha.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.digest()[:16]


def maker(model: Generative[Any]) -> str:
    """The model's name and all that decides what numbers it computes: these must be the same when decoding."""
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return f"{model.name}, torch {torch.__version__}, constriction {version('constriction')}, {cpu}, 1 thread"


def check_maker(model: Generative[Any], held: Held, what: str) -> None:
    """Raises IntegrityError unless this model, here, computes what the file was made with."""
    name, _, theirs = held.maker.partition(", ")
    ours, mark = maker(model).partition(", ")[2], fingerprint(model)
    if name != model.name:
        raise IntegrityError(f"{what} was compressed with a model {name}; this is a {model.name}")
    if held.mark != mark:
        raise IntegrityError(
            f"{what} was compressed with another {name}: the fingerprint of its configuration and weights is "
            f"{held.mark.hex()}, this one's is {mark.hex()}"
        )
    if theirs != ours:
        raise IntegrityError(f"{what} was compressed with {theirs}; here it is {ours}: use what it was made with")
