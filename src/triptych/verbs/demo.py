"""One model of each panel on real MNIST: train, sample, score, compare, report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from triptych import models
from triptych.data import data
from triptych.io import commit
from triptych.training import Run
from triptych.verbs.compare import Comparison, compare
from triptych.verbs.create import create
from triptych.verbs.train import train

CAST = (("dcgan-mnist-demo", "mnist"), ("vae-mnist-demo", "mnist-binary"), ("pixelcnn-mnist-demo", "mnist-binary"))
"""Preset and data of each panel's model. DCGAN draws grey images; the two likelihoods are of the same binary ones."""

INTRO = """One model of each family of deep generative models, trained from nothing on real handwritten digits on the
machine that you are sitting at. A GAN draws without ever saying how likely an image is; a VAE gives a lower bound on
log p(x); an autoregressive model gives log p(x) itself. The table keeps the three kinds of answer apart.

The GAN learned grey digits, the other two digits whose every pixel is black or white (drawn with the pixel's
intensity as probability): so distances are to different data, and only rows on the same data are ranked."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int, str], None]]]


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

    `quick` trains a few steps and measures little: it shows that everything works, not that it works well.
    """
    started, path = time.monotonic(), Path(out)
    folders = []
    for preset, source in CAST:
        entry, found = models.find_preset(preset)
        assert found is not None
        folder = path / entry.name
        model = create(preset, seed=seed).to(device)
        run = Run(steps=4 if quick else found.steps, batch=found.batch, seed=seed, channels_last=entry.name != "vae")
        with progress(entry.title, run.steps) as tick:
            for now in train(model, data(source), run, out=folder, resume=bool(commit.committed(folder))):
                tick(now.step, "  ".join(f"{k} {loss.value.item():.3f}" for k, loss in now.losses.items()))
        folders.append(folder)
    report = path / "report.html"
    n, limit = (100, 100) if quick else (2000, None)
    comparison = compare(
        folders,
        out=report,
        n=n,
        limit=limit,
        seed=seed,
        device=device,
        title="Three families on real MNIST",
        intro=INTRO,
        command="make demo",
        say=say,
    )
    return Demo(comparison, report, time.monotonic() - started)
