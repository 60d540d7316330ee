"""What examples without labels are worth: the semi-supervised GAN beside its own classifier, trained on labels alone.

    python benchmarks/semi_supervised.py --steps 5000 --seeds 1 --out results/semi_supervised.json

Of MNIST's 60,000 training images 25, 50, 100 and 1,000 keep their label (data(..., labels=n), another choice for each
seed). The classifier is the same network, with the same noise on its layers, from the same weights, for as many steps,
of the same optimizer; each of its batches is of labeled examples only, as many as the GAN's batch has on average. The
number is the share of the 10,000 test images whose likeliest class is right, after the last step: none is chosen by
it. Odena (2016, Table 1), with another network: SGAN .802, .883, .928, .964; its classifier alone .750, .859, .895,
.965.
"""

import argparse
import json
import logging
import statistics
from pathlib import Path
from typing import Any

import torch

from triptych.core import (
    Batch,
    Clock,
    Data,
    Generative,
    ItemNoise,
    Loss,
    Noise,
    PartialLabel,
    Player,
    Stage,
    evaluating,
)
from triptych.data import data
from triptych.models.gan.sgan import PRESETS, SGAN, SGANConfig, supervised
from triptych.training import Run, train
from triptych.verbs.create import initialize

LABELS = (25, 50, 100, 1000)


class Alone(Generative[PartialLabel | None]):
    """The classifier of an SGAN, without the game."""

    name = "classifier"

    def __init__(self, gan: SGAN) -> None:
        super().__init__()
        self.config, self.classifier = gan.config, gan.classifier

    def draw(self, noise: Noise, given: PartialLabel | None = None) -> Any:
        raise NotImplementedError("a classifier draws nothing")

    def loss(self, batch: Batch[PartialLabel], clock: Clock) -> Loss:
        return Loss(supervised(self.classifier(batch.x, batch.noise), batch.given.y))

    def stages(self) -> list[Stage]:
        player = Player(name="classifier", owns=self.classifier, loss=self.loss, optimizer=self.config.adam)
        return [Stage(name="train", players=[player])]


def accuracy(model: SGAN | Alone, test: Data) -> float:
    """The share of `test` whose likeliest class is right."""
    right = 0
    with evaluating(model), torch.no_grad():
        for rows in torch.arange(len(test)).split(1000):
            batch = test.fetch(rows, ItemNoise(0, rows.tolist()))
            right += int((model.classifier(batch.x).argmax(1) == batch.given.y).sum())
    return right / len(test)


def compare(config: SGANConfig, source: str, labels: int, run: Run) -> dict[str, float]:
    """The accuracy of both on the test part of `source`."""
    hidden, test = data(source, labels=labels, labels_seed=run.seed), data(source, split="test")
    known = hidden.subset((hidden.labels >= 0).nonzero().flatten())  # type: ignore[operator, union-attr]
    half = run.batch // 2
    sides: list[tuple[str, SGAN | Alone, Data, Run]] = []
    for name in ("sgan", "alone"):
        gan = initialize(SGAN, config, run.seed)
        assert isinstance(gan, SGAN)
        alone = Run(steps=run.steps, batch=half, seed=run.seed)
        sides.append((name, gan, hidden, run) if name == "sgan" else (name, Alone(gan), known, alone))
    found = {}
    for name, model, examples, how in sides:
        for _ in train(model, examples, how):
            pass
        found[name] = accuracy(model, test)
        logging.info("%s labels, seed %d: %s %.4f", labels, run.seed, name, found[name])
    return found


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    preset = PRESETS["sgan-mnist"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--steps", type=int, default=preset.steps)
    parser.add_argument("--batch", type=int, default=preset.batch)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    rows = []
    for labels in a.labels:
        runs = [
            compare(preset.config, a.data, labels, Run(steps=a.steps, batch=a.batch, seed=seed))
            for seed in range(a.seeds)
        ]
        row: dict[str, Any] = {"labels": labels}
        for side in ("sgan", "alone"):
            values = [run[side] for run in runs]
            row[side] = statistics.mean(values)
            row[f"{side}, each seed"] = values
        rows.append(row)
        about = {"data": a.data, "steps": a.steps, "batch": a.batch, "torch": torch.__version__}
        a.out.write_text(json.dumps({"protocol": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
