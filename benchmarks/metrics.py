"""How fast the Frechet distance is, against the eigenvalues of the nonsymmetric product that torch-fidelity takes.

`OMP_NUM_THREADS=1 python benchmarks/metrics.py --out results/frechet.json`: medians of --runs runs, methods in turn
on the same numbers in one process and one thread; in CPU seconds, which other work on the machine disturbs less.
"From moments" starts from means and covariances; "from features" adds two covariances, which cost both alike.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from triptych.metrics import frechet_distance, frechet_distance_of_gaussians

Moments = tuple[Tensor, Tensor, Tensor, Tensor]


def moments(x: Tensor, y: Tensor) -> Moments:
    return x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T)


def by_eigenvalues(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    """Tr (S_x S_y)^(1/2) from the eigenvalues of S_x S_y, as the formula is written."""
    roots = np.sqrt(np.linalg.eigvals(cov_x.numpy() @ cov_y.numpy()).astype(complex)).real
    return float((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * roots.sum())


def median_seconds(runs: int, *methods: Callable[[], float]) -> list[float]:
    """CPU seconds of each method; the methods take turns."""
    spent: list[list[float]] = [[] for _ in methods]
    for _ in range(runs):
        for method, times in zip(methods, spent, strict=True):
            began = time.process_time()
            method()
            times.append(time.process_time() - began)
    return [statistics.median(times) for times in spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--items", type=int, default=5000, help="in each set")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    draws = np.random.default_rng(0)
    spread = np.linspace(0.1, 2, args.dims)
    x, y = (torch.from_numpy(shift + spread * draws.normal(size=(args.items, args.dims))) for shift in (0, 0.1))
    known = moments(x, y)
    ours, theirs, ours_whole, theirs_whole = median_seconds(
        args.runs,
        lambda: frechet_distance_of_gaussians(*known),
        lambda: by_eigenvalues(*known),
        lambda: frechet_distance(x, y),
        lambda: by_eigenvalues(*moments(x, y)),
    )
    result = {
        "dims": args.dims,
        "items": args.items,
        "runs": args.runs,
        "threads": 1,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "from_moments": {"triptych": ours, "eigenvalues": theirs, "ratio": theirs / ours},
        "from_features": {"triptych": ours_whole, "eigenvalues": theirs_whole, "ratio": theirs_whole / ours_whole},
        "relative_difference": abs(frechet_distance(x, y) / by_eigenvalues(*known) - 1),
    }
    text = json.dumps(result, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
