"""How long a training step takes: against the peers, and each part against the plain way of doing it.

    python benchmarks/training.py --threads 2 --out results/training.json

The sides of a comparison take turns in one process (A, B, ..., A, B, ...), a block of steps each, after one block to
warm up. A ratio is the first side's time over this side's in the same turn, median over turns: above 1 is faster than
the first side. GFLOP are counted (matrix products and convolutions), so they do not move with what else is running.

Sides start from the same weights and work on the same images in batches of the same size. Before anything is timed,
both losses are checked to be the same function of weights, images and noise. Afterwards every loss must be finite;
likelihood models must have learned, and those that saw the same batches must have arrived at the same loss within
LOSS_GAP, which is what bf16 has to pass. The losses of a GAN's players need not fall; they are in the JSON.

Peers. pythae runs as it is, if it can be imported. PyTorch-GAN (Erik Linder-Noren) is a set of scripts that train
when imported, so its DCGAN recipe is written here, from what it does: `PlainGAN`. Of pytorch-generative the network
is loaded from a checkout, and its trainer's step is written here, for the same reason: `Reproduced`.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from steps.dcgan import dcgan
from steps.parts import parts
from steps.pixelcnn import MISSING, against_peer, pixelcnn
from steps.turns import Row, table
from steps.vae import vae

from triptych.core import Adam
from triptych.data import data
from triptych.models.autoregressive.pixelcnn import PRESETS


def protocol(steps: int, repeats: int) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "hardware_bf16": torch.cpu._is_avx512_bf16_supported(),
        "steps": steps,
        "repeats": repeats,
        "peers": {
            "PyTorch-GAN": "recipe and layers written here; images from triptych's reader on every side",
            "pythae": "run as it is, if installed: its model, trainer and loader",
            "pytorch-generative": "its network as it is, its trainer's step written here; triptych's reader",
        },
        "unlike": "a round of triptych's DCGAN draws a batch and fakes for each player, where the recipe draws them "
        "once (rows of shared samples: likewise); and it keeps the average of the generator and checks that losses "
        "and gradients are finite",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="blocks of each side that are timed")
    parser.add_argument("--steps", type=int, default=3, help="steps a block; 20 times as many where they are short")
    parser.add_argument("--pytorch-generative", type=Path, metavar="CHECKOUT", help="where its source lies")
    parser.add_argument("--out", type=Path, help="writes JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    short = 20 * args.steps
    about = protocol(args.steps, args.repeats)
    grey, binary, wide = data("mnist"), data("mnist-fixed"), data("mnist", size=32)
    preset = PRESETS["pixelcnn-mnist"]
    config = replace(preset.config, adam=Adam(lr=1e-3))  # its schedule would still be warming up when we are done

    rows, missing = vae(binary, short, args.repeats)
    peer, beside = args.pytorch_generative, list[Row]()
    if peer:
        beside = against_peer(binary, args.steps, args.repeats, peer)
    else:
        missing = [*missing, MISSING]
    rows = [
        *dcgan(wide, args.steps, args.repeats),
        *rows,
        *beside,
        *pixelcnn(binary, args.steps, args.repeats, config, batch=preset.batch),
        *parts(grey, short, args.repeats),
    ]
    notes = [f"{k}: {v}" for k, v in about.items()] + missing
    if not about["hardware_bf16"]:
        notes.append(
            "this machine has no bf16 instructions (AVX512-BF16): bf16 rows show emulation, not what it can do"
        )
    sys.stdout.write("\n".join([*notes, table(rows), ""]))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"protocol": about, "missing": missing, "rows": [asdict(row) for row in rows]}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    if any(row.passed is False for row in rows):
        raise SystemExit("a side did not learn what it should have: see FAILED above")


if __name__ == "__main__":
    main()
