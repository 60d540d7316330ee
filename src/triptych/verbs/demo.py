"""One model of each panel on real MNIST: train, sample, score, compare, report."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from triptych import models
from triptych.core import TriptychError
from triptych.data import data
from triptych.io import commit
from triptych.report import pictures
from triptych.verbs.compare import Comparison, compare
from triptych.verbs.train import metrics

CAST = (("dcgan-mnist-demo", "mnist"), ("vae-mnist-demo", "mnist-binary"), ("pixelcnn-mnist-demo", "mnist-binary"))
"""Preset and data of each panel's model. DCGAN draws grey images; the two likelihoods are of the same binary ones."""

INTRO = """One model of each family of deep generative models, trained from nothing on real handwritten digits on the
machine that you are sitting at. A GAN draws without ever saying how likely an image is; a VAE gives a lower bound on
log p(x); an autoregressive model gives log p(x) itself. The table keeps the three kinds of answer apart.

The GAN learned grey digits, the other two digits whose every pixel is black or white (drawn with the pixel's
intensity as probability): so distances are to different data, and only rows on the same data are ranked."""

Tick = Callable[[int, str], None]
Progress = Callable[[], AbstractContextManager[Callable[[str, int], Tick]]]


@dataclass(frozen=True)
class Demo:
    """What the demo left behind."""

    comparison: Comparison
    report: Path
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {"report": str(self.report), "seconds": self.seconds, **self.comparison.as_dict()}


def demo(
    out: str | Path,
    *,
    progress: Progress,
    quick: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> Demo:
    """Trains the cast into folders below `out` (going on with runs that are there) and writes `out`/report.html.

    The models train side by side, a process each as far as there are cores: small networks gain more from a core each
    than from sharing them. `quick` trains a few steps and measures little: it shows that everything works, not that it
    works well.

    Raises TriptychError if a training fails.
    """
    started, path = time.monotonic(), Path(out)
    for source in {source for _, source in CAST}:
        data(source)  # packed before several processes want it
    folders = [path / models.find_preset(preset)[0].name for preset, _ in CAST]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lanes = min(len(CAST), cores)
    with progress() as bar, ThreadPoolExecutor(lanes) as executor:
        jobs = []
        for (preset, source), folder in zip(reversed(CAST), reversed(folders), strict=True):  # the longest first
            entry, found = models.find_preset(preset)
            steps = 4 if quick or found is None else found.steps
            options = ["--steps", str(steps), "--seed", str(seed), "--device", str(device)]
            options += ["--resume"] if commit.committed(folder) else []
            words = ["train", preset, "--data", source, "--out", str(folder), "--channels-last", *options]
            jobs.append(executor.submit(run, words, folder, max(1, cores // lanes), bar(entry.title, steps)))
        for job in jobs:
            job.result()
    report = path / "report.html"
    n, pool, limit = (100, 1000, 100) if quick else (2000, 10_000, None)
    comparison = compare(
        folders,
        out=report,
        n=n,
        pool=pool,
        limit=limit,
        seed=seed,
        device=device,
        title="Three families on real MNIST",
        intro=INTRO,
        command="triptych demo --quick" if quick else "make demo",
        say=say,
    )
    pictures.save_png(gallery(comparison), path / "samples.png", {"seed": str(seed)})
    return Demo(comparison, report, time.monotonic() - started)


def run(words: Sequence[str], folder: Path, threads: int, tick: Tick) -> None:
    """Runs a command line in a process of its own and follows its log. Raises TriptychError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "triptych", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while True:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
            for line in metrics(folder)[-1:]:
                losses = [f"{k} {v:.3f}" for k, v in line.items() if "/" not in k and k not in ("step", "seconds")]
                tick(int(line["step"]), "  ".join(losses))
            if process.returncode is not None:
                break
        if process.returncode:
            said = process.stderr.read().decode(errors="replace").strip().splitlines()
            raise TriptychError(f"training into {folder} failed: {said[-1] if said else process.returncode}")


def gallery(comparison: Comparison, rows: int = 5, columns: int = 6) -> Image.Image:
    """The first samples of every model, side by side."""
    sheets = [pictures.grid(e.images[: rows * columns], columns=columns, scale=2) for e in comparison.evaluations]
    gap = 24
    wide = Image.new("L", (sum(s.width + gap for s in sheets) - gap, sheets[0].height), 255)
    left = 0
    for sheet in sheets:
        wide.paste(sheet, (left, 0))
        left += sheet.width + gap
    return wide
