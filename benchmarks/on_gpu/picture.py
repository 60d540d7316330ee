"""With the time that is left: R3GAN on color pictures of 64 x 64, from nothing, with a sheet of its samples."""

import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from on_gpu import Bench, peak_memory, wait
from triptych.core import Adam, Images, ItemNoise
from triptych.data import data as open_data
from triptych.data import shapes, textures
from triptych.media import pictures
from triptych.models.gan.r3gan import R3GAN, R3GANConfig
from triptych.training import Run, train


def some(first: int, n: int, side: int) -> np.ndarray:
    return np.stack([textures.picture(1, i, side, side) for i in range(first, first + n)])


def scenes(n: int, side: int, seconds: float, cores: int) -> np.ndarray:
    """Photograph-like scenes, drawn by many processes; simpler pictures if that takes too long."""
    part = max(1, n // (4 * cores))
    firsts = range(0, n, part)
    pool = ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
    try:
        drawn = pool.map(some, firsts, repeat(part), repeat(side), timeout=seconds)
        return np.concatenate(list(drawn))
    except (OSError, RuntimeError, TimeoutError):
        kinds, rest = shapes.plan(n, 1)
        return np.concatenate(list(shapes.draw(kinds, rest, side)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def plan(bench: Bench) -> tuple[R3GANConfig, int]:
    if bench.small:
        return R3GANConfig(x=Images(3, 8, 8), latent=4, width=4, group=2, blocks=1), 4
    adam = Adam(lr=1e-3, betas=(0, 0.99), schedule="cosine", floor=0.1)
    return R3GANConfig(x=Images(3, 64, 64), width=256, gamma=(2.0, 0.2), ema=0.998, adam=adam), 128


def main(bench: Bench, source: str | None = None) -> None:
    """`source`: a file of pictures that travelled along, to be trained on in place of scenes that are made here."""
    config, batch = plan(bench)
    side = config.x.shape[-1]
    began = time.monotonic()
    if source is None:
        array = scenes(64 if bench.small else 8000, side, max(5.0, bench.left / 3), 1 if bench.small else 16)
        images: Any = open_data(array)
    else:
        images = open_data(Path(source), size=side)
    bench.keep(what="pictures", source=source or "scenes", n=len(images), seconds=round(time.monotonic() - began, 1))
    torch.manual_seed(0)
    model = R3GAN(config).to(bench.device)
    # so many rounds as there is time for, from the time that some take: the schedule ends with them
    options: dict[str, Any] = {"batch": batch, "precision": "tf32", "channels_last": True, "repeatable": False}
    trial = train(R3GAN(config).to(bench.device), images, Run(steps=1000, **options))
    for _ in range(2 if bench.small else 10):
        next(trial)
    each = bench.once(lambda: [next(trial) for _ in range(2 if bench.small else 20)]) / (2 if bench.small else 20)
    del trial
    peak_memory(bench.device)
    steps = 3 if bench.small else max(20, int(0.9 * (bench.left - 5) / each))
    began, line = time.monotonic(), max(1, steps // 20)
    for now in train(model, images, Run(steps=steps, **options)):
        if now.step % line == 0:
            bench.keep(what="R3GAN 64 px", step=now.step, seconds=round(time.monotonic() - began, 2), **now.logs())
        if bench.left < 3:
            break
    wait(bench.device)
    spent = time.monotonic() - began
    sheet = model.sample(4 if bench.small else 64, seed=0)
    pictures.save_png(pictures.grid(sheet.cpu()), bench.out / "r3gan-64.png")
    real = images.fetch(torch.arange(len(sheet)), ItemNoise(0, range(len(sheet))))
    pictures.save_png(pictures.grid(real.x), bench.out / "real-64.png")
    bench.keep(
        what="R3GAN 64 px, whole",
        **{"rounds": now.step, "of": steps, "seconds": spent, "examples/s": 2 * batch * now.step / spent},
        **{"samples' deviation": sheet.std().item(), "pictures' deviation": real.x.std().item()},
        memory_MB=peak_memory(bench.device),
    )
