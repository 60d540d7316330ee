"""How cost grows: sampling with a picture's side and a text's length, memory with the data, a step with ranks.

    python benchmarks/growth.py --out results/growth.json

Of times the least of some repeats: of the processor where a process is alone, by the clock for ranks. Slopes are those
of straight lines through logarithms: 2 means four times as long for twice the size. Of memory, what a process of its
own holds after training, without pages of files, which the system takes back as it likes. Ranks are processes of one
thread each, on one batch shared out (gloo).
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as spawned

from triptych.core import Images, Tokens, evaluating
from triptych.data import data
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.training import Run, train

SIDES, LENGTHS, BATCHES = (8, 16, 32), (64, 128, 256, 512), (1, 4, 16)
ROWS = (2_000, 20_000, 200_000)


def least(run: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    run()
    times = []
    for _ in range(repeats):
        began = clock()
        run()
        times.append(clock() - began)
    return min(times)


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    return float(np.polyfit([math.log(s) for s in sizes], [math.log(c) for c in costs], 1)[0])


def sampling(name: str, sizes: Sequence[int], make: Callable[[int], Any], n: int, repeats: int) -> dict[str, Any]:
    """Seconds for n samples by the caches, and what as many whole passes as there are values would take."""
    rows = []
    for size in sizes:
        torch.manual_seed(0)
        model = make(size).eval()
        cached = least(lambda: model.sample(n, seed=0), repeats)  # noqa: B023
        drawn, values = model.sample(n, seed=0), model.config.x.dims
        with evaluating(model), torch.no_grad():
            naive = least(lambda: model.logits(drawn, None), repeats) * values  # noqa: B023
        rows.append({"size": size, "values": values, "cached_s": cached, "naive_s": naive})
    found = {key: slope(sizes, [row[key] for row in rows]) for key in ("cached_s", "naive_s")}
    return {"what": name, "n": n, "rows": rows, "slopes": found}


def batches(repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = GatedPixelCNN(GatedPixelCNNConfig(x=Images(1, 16, 16, levels=2), width=32, layers=4)).eval()
    rows = [{"n": n, "cached_s": least(lambda: model.sample(n, seed=0), repeats)} for n in BATCHES]  # noqa: B023
    return {"what": "Gated PixelCNN of 16 x 16, by the batch", "rows": rows}


def cache_bytes(length: int, width: int = 384, layers: int = 6) -> int:
    """Keys and values of every layer, float32."""
    return 2 * layers * width * length * 4


def small(side: int = 32) -> DCGAN:
    return DCGAN(DCGANConfig(x=Images(3, side, side), width=16))


def peak(rows: int, folder: str) -> None:
    """Trains on as many pictures as are told, and prints what it holds then in MB."""
    torch.set_num_threads(1)
    found = data(Path(folder) / f"{rows}.npy")
    for _ in train(small(), found, Run(steps=20, batch=32)):
        pass
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(f"{int(said['RssAnon'].split()[0]) / 1e3:.0f}\n")


def memory(counts: Sequence[int]) -> dict[str, Any]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in counts:
            pixels = np.lib.format.open_memmap(f"{folder}/{rows}.npy", "w+", np.uint8, (rows, 3, 32, 32))
            for first in range(0, rows, 1000):
                pixels[first : first + 1000] = np.random.default_rng(first).integers(0, 256, (1000, 3, 32, 32))
            pixels.flush()
            del pixels
            words = [sys.executable, __file__, "--peak", str(rows), "--folder", folder]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            found.append({"pictures": rows, "data_MB": rows * 3072 / 1e6, "held_MB": float(done.stdout.split()[-1])})
    return {"what": "memory of training, by the pictures (Linux)", "rows": found}


def rank(k: int, world: int, folder: str, steps: int) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet{world}", rank=k, world_size=world)
    torch.manual_seed(0)
    pictures = data(np.random.default_rng(0).integers(0, 256, (512, 3, 32, 32), dtype=np.uint8))
    rounds = train(small(), pictures, Run(steps=10**6, batch=64))
    step = least(lambda: [next(rounds) for _ in range(steps)], 3, time.perf_counter) / steps
    numbers = torch.zeros(sum(w.numel() for w in small().generator.parameters()))
    sent = least(lambda: dist.all_reduce(numbers), 10, time.perf_counter) if world > 1 else 0.0
    if k == 0:
        Path(folder, f"{world}.json").write_text(json.dumps({"step": step, "sent": sent, "MB": numbers.numel() * 4e-6}))
    if world > 1:
        dist.destroy_process_group()


def ranks(steps: int) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2):
            spawned.spawn(rank, (world, folder, steps), nprocs=world)
            rows.append({"ranks": world, **json.loads(Path(folder, f"{world}.json").read_text())})
    return {"what": "a round of DCGAN, 64 pictures of 32 px over all ranks", "rows": rows}


SEEN = {"GPT 6 x 384, 64 x 256 tokens": (0.0339, 10.7, 1, 0), "DCGAN 64 px, batch 128": (0.0268, 23.7, 2, 30)}
"""Of one H200 (results/gpu.md, bf16): seconds a round, millions of weights that are moved, turns, and how often batch
normalizations send: DCGAN has 4 in the generator and 3 in the discriminator, which a round passes 17 times forward and
13 times backward."""
NEAR, FAR = (300e9, 5e-6), (40e9, 15e-6)
"""Assumed, for up to 8 GPUs in a machine and for more: bytes a second that one GPU gets through, and seconds a hop."""


def modelled(worlds: Sequence[int] = (8, 64, 1024)) -> list[dict[str, Any]]:
    """A round on many GPUs that each have as many examples as one had: what it takes alone, and what is sent.

    Gradients go in one all-reduce, after the backward pass: 2 B / w + 2 l log2(p). Each batch normalization sends its
    statistics forward and their gradient backward: 2 l log2(p) each time.
    """
    rows = []
    for name, (alone, millions, turns, norms) in SEEN.items():
        for world in worlds:
            width, hop = NEAR if world <= 8 else FAR
            hops = 2 * hop * math.log2(world)
            sent = 2 * millions * 4e6 / width + (turns + norms) * hops
            rows.append({"what": name, "gpus": world, "sent_ms": sent * 1e3, "efficiency": alone / (alone + sent)})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.peak is not None:
        peak(args.peak, args.folder)
        return
    torch.set_num_threads(1)
    picture = lambda side: GatedPixelCNN(  # noqa: E731
        GatedPixelCNNConfig(x=Images(1, side, side, levels=2), width=32, layers=4)
    )
    text = lambda length: GPT(GPTConfig(x=Tokens(65, length), width=128, layers=4, heads=4))  # noqa: E731
    found = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "results": [
            sampling("Gated PixelCNN, 4 layers of 32, by the side", SIDES, picture, 4, args.repeats),
            sampling("GPT, 4 layers of 128, by the length", LENGTHS, text, 1, args.repeats),
            batches(args.repeats),
            {
                "what": "key-value cache of GPT, 6 layers of 384",
                "rows": [{"length": n, "MB": cache_bytes(n) / 1e6} for n in LENGTHS],
            },
            memory(args.rows),
            ranks(10),
        ],
        "modelled": modelled(),
    }
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    for one in found["results"]:
        sys.stdout.write(f"{one['what']} {one.get('slopes', '')}\n")
        for row in one["rows"]:
            sys.stdout.write("  " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()) + "\n")
    for row in found["modelled"]:
        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
