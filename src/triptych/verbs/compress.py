"""Files that a model makes small, and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Data, Generative, ItemNoise, Label, UsageError, evaluating, mix
from triptych.core.likelihood import Kind
from triptych.core.reading import read_file
from triptych.data import fitted
from triptych.inference.compression import Compressed, Restored
from triptych.inference.compression import compress as encode
from triptych.inference.compression import decompress as decode
from triptych.io import commit
from triptych.media.medium import npz, stored
from triptych.verbs.sample import check_out, write


@dataclass(frozen=True)
class Compression:
    """What a compressed file takes, beside what the model's likelihood says of the same items."""

    model: str
    items: int
    bytes: int
    """Of the whole file."""
    code_bits: int
    """Without what says how to read it: versions, the model's fingerprint, checksums."""
    initial_bits: int
    """Of the code: what bits back began with. They are returned, and a part of the price only for the first item."""
    label_bits: float
    """Of the code: the classes, for a model that is conditioned on them."""
    values: int
    """Numbers that were coded, over all items."""
    reported_bits: float
    """-log2 p of the items, as `triptych score` has it."""
    kind: Kind
    how: str

    @property
    def net_bits(self) -> float:
        """The code without initial bits and labels: what is to be compared with `reported_bits`."""
        return self.code_bits - self.initial_bits - self.label_bits

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **vars(self),
            "net_bits": self.net_bits,
            "net_bits_per_dim": self.net_bits / self.values,
            "reported_bits_per_dim": self.reported_bits / self.values,
            "file_bits_per_dim": 8 * self.bytes / self.values,
        }


@dataclass(frozen=True, eq=False)
class Items:
    """What is to be compressed."""

    x: Shaped[Tensor, "n ..."]
    given: Label | None = None
    absent: int = 0
    """How many values at the end of the last item stand for nothing."""


def from_data(model: Generative[Any], data: Data, *, limit: int | None = None, seed: int = 0) -> Items:
    """The items of a data set (with `limit`, that many, evenly spaced), as `score` would fetch them.

    Raises UsageError for text that comes in windows: its end would be lost.
    """
    if data.x.kind == "tokens":
        raise UsageError(f"{data.name}: a text is compressed whole; name one .txt file")
    data = fitted(data, model.config)
    n = len(data) if limit is None else min(limit, len(data))
    rows = torch.arange(n) * len(data) // max(n, 1)
    batch = data.fetch(rows, ItemNoise(seed, rows.tolist()))
    return Items(batch.x, batch.given if getattr(model.config, "given", None) is not None else None)


def from_text(model: Generative[Any], path: Path) -> Items:
    """A file of text as the model's tokens, in sequences of its length; the last may end early.

    Raises UsageError for what cannot be read, is no UTF-8, or has a character that the model has no token for.
    """
    space = model.config.x
    try:
        tokens = space.encode(path.read_bytes().decode())
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is not text in UTF-8: {e.reason} at byte {e.start}") from e
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror or e}") from e
    absent = -len(tokens) % space.length
    return Items(F.pad(tokens, (0, absent)).view(-(-len(tokens) // space.length), space.length), absent=absent)


def is_text(model: Generative[Any], source: str) -> bool:
    """Whether the source is to be read as one text."""
    return model.config.x.symbols is not None and Path(source).is_file()


def compress(
    model: Generative[Any],
    items: Items,
    *,
    batch: int | None = None,
    tick: Callable[[int], None] = lambda done: None,
) -> tuple[Compressed, Compression]:
    """The items as a file, and its size beside the likelihood's. Raises as `inference.compression.compress`."""
    made = encode(model, items.x, items.given, batch=batch, absent=items.absent, tick=tick)
    nats, kind, how = likelihood(model, items)
    return made, Compression(
        model=model.name,
        items=made.items,
        bytes=len(made.data),
        code_bits=made.code,
        initial_bits=made.initial,
        label_bits=made.labels,
        values=made.items * model.config.x.dims - items.absent,
        reported_bits=-nats / math.log(2),
        kind=kind,
        how=how,
    )


def likelihood(model: Any, items: Items, batch: int = 100) -> tuple[float, Kind, str]:
    """log p of all items together, in nats; bounds are drawn as `score` draws them by default."""
    whole = len(items.x) - bool(items.absent)
    nats, one = 0.0, None
    with evaluating(model), torch.no_grad():
        for first in range(0, whole, batch):
            rows = slice(first, min(whole, first + batch))
            torch.manual_seed(mix(0, first))
            one = model.log_prob(items.x[rows], items.given and items.given[rows])
            nats += one.nats.double().sum().item()
        if items.absent:
            logits, x = model.logits(items.x[-1:], None)[0], items.x[-1]
            nats -= F.cross_entropy(logits[: -items.absent], x[: -items.absent], reduction="sum").item()
    return nats, one.kind if one else "exact", one.how if one else "chain rule"


def write_compressed(made: Compressed, out: Path) -> None:
    """Raises ResourceError if the disk is full. Whether it may be written there is for `outputs.check_file` to say."""
    commit.write_atomic(out, made.data)


def decompress(model: Generative[Any], path: Path) -> Restored:
    """What a file holds. Raises UsageError if it cannot be read, and as `inference.compression.decompress`."""
    try:
        data = read_file(path)
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror or e}") from e
    return decode(model, data, what=str(path))


def check_restored(model: Generative[Any], out: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError, before anything is decoded, unless what a file holds can be written to `out`."""
    space, last = model.config.x, out.suffix.lower()
    if space.symbols is not None and last != ".txt":
        raise UsageError(f"{out}: this is text; write .txt")
    if getattr(model.config, "given", None) is not None and last != ".npz":
        raise UsageError(f"{out}: the items have classes, which only .npz has a place for")
    check_out(space, out, overwrite=overwrite)


def write_restored(model: Generative[Any], held: Restored, out: Path) -> list[Path]:
    """Text as .txt, byte for byte; else .npz (x and, if there are classes, y), or what `triptych sample` writes.

    Raises UsageError where something would be lost: classes anywhere but in .npz.
    """
    space = model.config.x
    if space.symbols is not None:
        if out.suffix.lower() != ".txt":
            raise UsageError(f"{out}: this is text; write .txt")
        tokens = held.x.flatten()
        return [commit.write_atomic(out, space.decode(tokens[: len(tokens) - held.absent]).encode())]
    if out.suffix.lower() == ".npz":
        labels = {} if held.given is None else {"y": held.given.y}
        return [commit.write_atomic(out, npz(space, x=stored(space, held.x), **labels))]
    if held.given is not None:
        raise UsageError(f"{out}: the items have classes, which only .npz has a place for")
    return write(model, held.x, out, {"model": model.name})
