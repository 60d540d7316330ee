"""One model of each panel on real MNIST: train, sample, score, compare, report."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from triptych import models
from triptych.core import TriptychError
from triptych.data import data
from triptych.errors import Interrupted
from triptych.io import commit, outputs
from triptych.io.lock import writing
from triptych.media import pictures
from triptych.verbs.compare import Comparison, compare
from triptych.verbs.decoration import metrics
from triptych.verbs.gallery import gallery as draw

CAST = (("dcgan-mnist-demo", "mnist"), ("vae-mnist-demo", "mnist-binary"), ("pixelcnn-mnist-demo", "mnist-binary"))
"""Preset and data of each panel's model. DCGAN draws grey images; the two likelihoods are of the same binary ones."""
SHARE = 0.6
"""Of a preset's steps that the demo takes, so that two cores are done in minutes."""
N, POOL, LIMIT = 1000, 10_000, 2000
"""Samples a model, training images looked at for copies, and held-out images that are scored."""

REPORT, SHEET, GALLERY = "report.html", "samples.png", "gallery"

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
    gallery: Path
    """A page in color, by weights that come with the package."""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "report": str(self.report),
            "gallery": str(self.gallery),
            "seconds": self.seconds,
            **self.comparison.as_dict(),
        }


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
    than from sharing them. Each takes `SHARE` of its preset's steps. The gallery of what is shipped is last.
    `quick` trains a few steps and measures little: it shows that everything works, not that it
    works well.

    A signal ends the trainings after a checkpoint each. Raises TriptychError if a training fails, Interrupted.
    """
    started, path, children = time.monotonic(), Path(out), Children()
    folders = [path / models.find_preset(preset)[0].name for preset, _ in CAST]
    outputs.check_files(path, [REPORT, SHEET])
    for folder in folders:
        if not commit.committed(folder):
            outputs.check_run(folder)
    for source in {source for _, source in CAST}:
        data(source)  # packed before several processes want it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lanes = min(len(CAST), cores)
    with writing(path), progress() as bar, ThreadPoolExecutor(lanes) as executor:
        jobs = []
        try:
            for (preset, source), folder in zip(reversed(CAST), reversed(folders), strict=True):  # the longest first
                entry, found = models.find_preset(preset)
                steps = 4 if quick or found is None else round(SHARE * found.steps)
                options = ["--steps", str(steps), "--seed", str(seed), "--device", str(device)]
                options += ["--resume"] if commit.committed(folder) else []
                words = ["train", preset, "--data", source, "--out", str(folder), "--channels-last", *options]
                tick = bar(entry.paper.called, steps)
                jobs.append(executor.submit(children.run, words, folder, max(1, cores // lanes), tick))
            for job in jobs:
                job.result()
        except BaseException as e:
            children.stop()
            executor.shutdown(cancel_futures=True)
            if isinstance(e, Interrupted):
                signal = e.exit_code - 128
                raise Interrupted(signal, f"stopped; what was trained is in {path}: the same command goes on") from None
            raise
    report = path / REPORT
    n, pool, limit = (100, 1000, 100) if quick else (N, POOL, LIMIT)
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
    pictures.save_png(gallery(comparison), path / SHEET, {"seed": str(seed)})
    say("in color, and without training: what the weights that come along make")
    page, _ = draw(path / GALLERY, seed=seed, n=4 if quick else 32)
    return Demo(comparison, report, page, time.monotonic() - started)


class Children:
    """The processes that train, each following a command line of ours; none outlives this one's end."""

    def __init__(self) -> None:
        self.running, self.lock, self.stopped = set[subprocess.Popen[bytes]](), threading.Lock(), False

    def run(self, words: Sequence[str], folder: Path, threads: int, tick: Tick) -> None:
        """Runs a command line and follows its log. Raises TriptychError if it fails."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "triptych", *words]
        with tempfile.TemporaryFile() as said:
            with self.lock:
                if self.stopped:
                    return
                # in a session of its own: a terminal's Ctrl-C comes to us, and we pass it on, once (a second signal
                # would end a training before it has saved)
                process = subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
                )
                self.running.add(process)
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                for line in metrics(folder)[-1:]:
                    losses = [f"{k} {v:.3f}" for k, v in line.items() if "/" not in k and k not in ("step", "seconds")]
                    tick(int(line["step"]), "  ".join(losses))
            with self.lock:
                self.running.remove(process)
            if process.returncode and not self.stopped:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:] or [f"exit {process.returncode}"]
                raise TriptychError(f"training into {folder} failed: {last[0]}")

    def stop(self) -> None:
        """Asks all to save and end; whoever called `run` returns when they have."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()


def gallery(comparison: Comparison, rows: int = 5, columns: int = 6) -> Image.Image:
    """The first samples of every model, side by side."""
    sheets = [pictures.grid(e.shown[: rows * columns], columns=columns, scale=2) for e in comparison.evaluations]
    gap = 24
    wide = Image.new("L", (sum(s.width + gap for s in sheets) - gap, sheets[0].height), 255)
    left = 0
    for sheet in sheets:
        wide.paste(sheet, (left, 0))
        left += sheet.width + gap
    return wide
