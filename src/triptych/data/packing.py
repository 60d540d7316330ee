"""Writing a pack: what a source reads goes through a sink into files, and these are listed in meta.json, last."""

import hashlib
import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from triptych.core import ResourceError, planar
from triptych.data.checking import open_pack
from triptych.data.columns import Stored
from triptych.data.files import sha256_file
from triptych.data.packs import FORMAT, ArrayFile, Meta, Pack, seal
from triptych.data.sink import Options, Reader, Sink, writing
from triptych.data.text import Tokenizer
from triptych.media.reading import Reading


def build(name: str, read: Reader, options: Options, folder: Path | None) -> Pack:
    """Packs into `folder`, which must exist and be empty; None: into memory. Raises CannotWrite."""
    sink = Sink(folder and folder / "x.npy", options)
    try:
        content = read(sink)
    except MemoryError as e:
        remedy = "bring pictures to a smaller size=, cut recordings by sound=, or take a part of the files"
        raise ResourceError(f"memory ran out while {name} was packed: {remedy}") from e
    x = sink.finish()
    y = None if content.labels is None else content.labels.astype(np.int64)
    tokens, tokenizer, small = None, content.tokenizer, dict[str, bytes]()
    if content.captions is not None:
        training = content.captions[: next(iter(content.splits.values()))]
        tokenizer = tokenizer or Tokenizer.fit(training or content.captions)
        tokens = tokenizer.encode(content.captions).astype(np.int32)
        small = {"captions.json": json.dumps(content.captions).encode(), "tokens.npy": npy(tokens)}
    if y is not None:
        small["y.npy"] = npy(y)
    sizes = np.array(sink.sizes, np.int64) if sink.sizes else None
    if sizes is not None:
        small["sizes.npy"] = npy(sizes)
    columns = dict[str, Stored]()
    for k, (column_name, column) in enumerate(content.columns.items()):
        further = sink.further[column_name]
        pixels, its = further.finish(), np.array(further.sizes, np.int64) if further.sizes else None
        if its is not None:
            small[f"column-{k}-sizes.npy"] = npy(its)
        if pixels is not None:
            columns[column_name] = Stored(column, pixels, its)
    small |= {f"value-{k}.npy": npy(array) for k, (_, array) in enumerate(content.values.values())}
    files = {file: stamp(data) for file, data in small.items()}
    large = {"x.npy": (sink, x)}
    large |= {
        f"column-{k}.npy": (sink.further[called], columns[called].pixels if called in columns else None)
        for k, called in enumerate(content.columns)
    }
    if folder:
        with writing():
            for file, data in small.items():
                (folder / file).write_bytes(data)
            for file in large:
                files[file] = ArrayFile(bytes=(folder / file).stat().st_size, sha256=sha256_file(folder / file))
    else:
        for file, (kept, array) in large.items():
            assert array is not None
            files[file] = stamp(kept.header(kept.n), np.ascontiguousarray(array).data)
    ends = np.cumsum([0, *content.splits.values()]).tolist()
    x_space = content.x or sink.space()
    meta = Meta(
        format=FORMAT,
        name=name,
        x=x_space,
        splits={split: (ends[i], ends[i + 1]) for i, split in enumerate(content.splits)},
        classes=content.classes,
        tokenizer=tokenizer,
        problems=tuple(content.problems),
        notes=tuple(content.notes),
        truth=content.truth,
        files=files,
        columns=content.columns,
        values={name: space for name, (space, _) in content.values.items()},
        whole=options.whole,
        reading=Reading(size=options.size, channels=x_space.channels, half=content.half, wide=content.wide)
        if planar(x_space)
        else None,
    )
    if folder is None:
        assert x is not None
        values = {name: array for name, (_, array) in content.values.items()}
        return Pack(meta, x, y, tokens, None, content.captions, sizes, columns, values)
    with writing():
        write_meta(folder, meta)
        for path in folder.iterdir():
            sync(path)
    return open_pack(folder)


def npy(array: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def stamp(*parts: bytes | memoryview) -> ArrayFile:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return ArrayFile(bytes=sum(memoryview(p).nbytes for p in parts), sha256=digest.hexdigest())


def write_meta(folder: Path, meta: Meta) -> None:
    about = TypeAdapter(Meta).dump_python(meta, mode="json")
    sealed = {"meta": about, "sha256": seal(about)}
    (folder / "meta.json").write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


def sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
