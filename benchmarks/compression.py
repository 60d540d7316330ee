"""How small models make data, beside PNG, WebP and xz, and whether it all comes back.

    python benchmarks/compression.py --runs runs/pixelcnn runs/vae --out results/compression

Each model compresses the same items in one process and decompresses them in another; what comes back is compared with
what went in, value by value. The other codecs get the same images: each as a file of its own, all of them as one
picture (a column, so that rows of a file are rows of the images), and, for xz, as packed bits or bytes. A model of text
gets a .txt file (--text), whole; so do xz and bzip2. Times are those of the verbs, from a loaded model; other work on
the machine shows in them.
"""

import argparse
import bz2
import io
import json
import lzma
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from triptych.core import ItemNoise, Tokens
from triptych.data import data
from triptych.media.medium import stored
from triptych.verbs.create import load


def verb(*arguments: object) -> dict[str, Any]:
    """A verb of the command line, in a process of its own, on one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "triptych", *map(str, arguments), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def there_and_back(run: Path, source: str, limit: int | None, expected: bytes | np.ndarray) -> dict[str, Any]:
    """Compresses and decompresses. Raises SystemExit unless what comes back is what went in."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.ttc"
        back = Path(folder) / ("back.npz" if isinstance(expected, np.ndarray) else "back.txt")
        about = verb("compress", run, source, "--out", small, *(["--limit", limit] if limit else []))
        opened = verb("decompress", run, small, "--out", back)
        same = (
            np.array_equal(np.load(back)["x"], expected)
            if isinstance(expected, np.ndarray)
            else back.read_bytes() == expected
        )
    if not same:
        raise SystemExit(f"{run}: what comes back is not what went in")
    most = 1.001 * about["reported_bits"] + 64
    del about["out"]
    return {
        **about,
        "run": run.name,
        "decompress_seconds": opened["seconds"],
        "within_promise": about["net_bits"] <= most,
    }


def as_file(picture: Image.Image, **options: Any) -> int:
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return len(buffer.getvalue())


def other_codecs(images: np.ndarray, levels: int) -> Iterator[tuple[str, int]]:
    """Bytes that PNG, WebP and xz take for images [n, 1 or 3, height, width] of levels."""
    pixels = (images.astype(np.float64) * 255 / (levels - 1)).round().astype(np.uint8).transpose(0, 2, 3, 1)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    mode = "1" if levels == 2 else None
    pictures = [Image.fromarray(p) for p in [*pixels, pixels.reshape(-1, *pixels.shape[2:])]]
    png = [as_file(p.convert(mode) if mode else p, format="PNG", optimize=True) for p in pictures]
    yield "PNG, a file an image", sum(png[:-1])
    yield "PNG, one picture of all", png[-1]
    yield "WebP lossless, a file an image", sum(webp(p) for p in pictures[:-1])
    if pictures[-1].height <= 16383:
        yield "WebP lossless, one picture of all", webp(pictures[-1])
    else:
        rows = max(1, 16383 // pixels.shape[1])
        sheets = [pixels[i : i + rows].reshape(-1, *pixels.shape[2:]) for i in range(0, len(pixels), rows)]
        yield f"WebP lossless, {len(sheets)} pictures of all", sum(webp(Image.fromarray(s)) for s in sheets)
    raw = np.packbits(images.astype(bool)).tobytes() if levels == 2 else pixels.tobytes()
    yield "xz of packed bits" if levels == 2 else "xz of bytes", len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    yield "packed, not compressed", len(raw)


def webp(picture: Image.Image) -> int:
    return as_file(picture.convert("RGB"), format="WEBP", lossless=True, quality=100, method=6)


def table(title: str, values: int, found: list[dict[str, Any]], others: list[tuple[str, int]]) -> str:
    lines = [
        f"### {title}",
        "",
        "| codec | file, bytes | file, bits/value | code, net bits | likelihood, bits | code / likelihood | kind | "
        "compress | decompress |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one['model']} (`{one['run']}`) | {one['bytes']:,} | {one['file_bits_per_dim']:.4f} | "
            f"{one['net_bits']:,.0f} | {one['reported_bits']:,.0f} | {one['net_bits'] / one['reported_bits']:.5f} | "
            f"{one['kind']} | {one['seconds']:.0f} s | {one['decompress_seconds']:.0f} s |"
        )
    lines += [f"| {name} | {size:,} | {8 * size / values:.4f} | | | | | | |" for name, size in others]
    for one in found:
        if one["initial_bits"]:
            lines += ["", f"{one['run']}: {one['initial_bits']:,} initial bits are in the file beside the net bits."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--data", default="mnist-binary:test", help="for models of images")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--text", type=Path, help="for models of text")
    parser.add_argument("--out", type=Path, help="without an ending: writes .json and .md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images, texts = [], []
    for run in args.runs:
        (texts if isinstance(load(run).config.x, Tokens) else images).append(run)
    sections, results = [], {}
    if images:
        found = data(args.data)
        n = min(args.limit, len(found))
        rows = torch.arange(n) * len(found) // n
        x = stored(found.x, found.fetch(rows, ItemNoise(0, rows.tolist())).x).numpy()
        title = f"{n} images of {found.name}, evenly spaced, seed 0"
        results[title] = [there_and_back(run, args.data, n, x) for run in images]
        others = list(other_codecs(x, found.x.levels))
        sections.append(table(title, x.size, results[title], others))
        results[title] += [{"codec": name, "bytes": size} for name, size in others]
    if texts:
        text = args.text.read_bytes()
        title = f"{args.text.name}, {len(text):,} bytes"
        results[title] = [there_and_back(run, str(args.text), None, text) for run in texts]
        others = [
            ("xz", len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))),
            ("bzip2", len(bz2.compress(text))),
            ("not compressed", len(text)),
        ]
        sections.append(table(title, results[title][0]["values"], results[title], others))
        results[title] += [{"codec": name, "bytes": size} for name, size in others]
    report = {"torch": torch.__version__, "threads": 1, "results": results}
    if args.out:
        args.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
        args.out.with_suffix(".md").write_text("\n".join(sections))
    sys.stdout.write("\n".join(sections))


if __name__ == "__main__":
    main()
