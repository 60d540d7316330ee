"""What a trained BiGAN's encoder is worth: nearest neighbors in its features, and how well it inverts the generator.

    python benchmarks/bigan.py RUN --out results/bigan.json

The authors' measures (https://github.com/jeffdonahue/bigan): the share of test images whose nearest neighbor among
the training images, in the Euclidean distance of features, is of their class; for the features before the encoder's
last layer and for its output E(x). And the mean of |x - G(E(x))|_2 over test images, beside the same for random pairs,
|x' - G(E(x))|_2: their ratio is 1 where nothing is inverted. The authors' log, in which the test images are a part of
the training set that was held out: 96.28 % (before the last layer) and .77 at 25 epochs, 97.35 % and .62 at 400.
"""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from triptych.core import ItemNoise, UsageError, evaluating
from triptych.data import data
from triptych.models.gan.bigan import BiGAN
from triptych.verbs.create import load

BATCH = 500


def in_batches(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f, without gradients, of so many items at a time."""
    with torch.no_grad():
        return torch.cat([f(part) for part in torch.split(x, BATCH)])


def nearest_neighbor_accuracy(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor) -> float:
    """The share of test features [m, d] whose nearest training features [n, d] are of their class."""
    squares = train.square().sum(1)  # |a - b|^2 without |a|^2, which does not change which b is nearest
    nearest = in_batches(lambda part: (squares - 2 * part @ train.T).argmin(1), test)
    return (train_y[nearest] == test_y).double().mean().item()


def reconstruction(x: Tensor, again: Tensor) -> tuple[float, float]:
    """The mean distance of x [n, ...] to its reconstruction, and of x to that of the next item (its baseline)."""

    def distance(a: Tensor) -> float:
        return (a - again).flatten(1).norm(dim=1).double().mean().item()

    return distance(x), distance(x.roll(1, 0))


def measure(model: BiGAN, train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> dict[str, float]:
    with evaluating(model):
        spaces = {"features": model.features, "codes": model.encode}
        found = {
            f"1-NN accuracy, {name}": nearest_neighbor_accuracy(
                in_batches(f, train_x), train_y, in_batches(f, test_x), test_y
            )
            for name, f in spaces.items()
        }
        error, baseline = reconstruction(test_x, in_batches(model.reconstruct, test_x))
        anomaly = in_batches(model.anomaly, test_x)
    return found | {
        "1-NN accuracy, pixels": nearest_neighbor_accuracy(train_x.flatten(1), train_y, test_x.flatten(1), test_y),
        "reconstruction error": error,
        "of random pairs": baseline,
        "ratio": error / baseline,
        "anomaly, mean": anomaly.double().mean().item(),
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--n", type=int, help="only the first so many training images")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model = load(arguments.run)
    if not isinstance(model, BiGAN):
        raise UsageError(f"{arguments.run} holds a {model.name}, not a bigan")
    parts = []
    for split in ("train", "test"):
        found = data(arguments.data, split=split)
        n = len(found) if split == "test" or arguments.n is None else arguments.n
        y = found.labels
        if y is None:
            raise UsageError(f"{found.name} has no labels")
        parts += [found.fetch(torch.arange(n), ItemNoise(0, range(n))).x, y[:n]]
    numbers = measure(model, *parts)
    protocol = f"{arguments.data}: {len(parts[2])} test images against {len(parts[0])} training images, all in [-1, 1]"
    arguments.out.write_text(json.dumps({"protocol": protocol, **numbers}, indent=1) + "\n")
    for name, value in numbers.items():
        logging.info("%-24s %.4f", name, value)


if __name__ == "__main__":
    main()
