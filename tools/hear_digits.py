"""Are the digits that a run was asked for the ones that it says? A nearest neighbor among real clips listens.

    python tools/hear_digits.py runs/digits digits/ --n 100 --out heard/

Each sample's spectrogram is compared with those of all training clips, by Euclidean distance; the class of the nearest
one is what was heard. How often the same ear is right about held-out clips is printed beside it. Writes the samples
one by one, in one file, and as a sheet of spectrograms, class after class.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import triptych as tt
from triptych.core import Audio, ItemNoise, Label, Labels, UsageError
from triptych.media import audio as sound
from triptych.verbs.sample import sample, write


def features(space: Audio, x: Tensor) -> Tensor:
    """Spectrograms of a quarter of the resolution, each of one norm: [n, bins * columns / 16]."""
    parts = [sound.spectrograms(space.expand(part).mean(1)) for part in x.split(1)]  # each against its own loudest
    return F.normalize(F.avg_pool2d(torch.cat(parts)[:, None], 4).flatten(1))


def clips(data: tt.Dataset) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(data))
    batch = data.fetch(rows, ItemNoise(0, rows.tolist()))
    return batch.x, batch.given.y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    args = parser.parse_args()

    model = tt.load(args.run)
    space, given = model.config.x, model.config.given
    if not isinstance(space, Audio) or not isinstance(given, Labels):
        raise UsageError(f"{args.run} is no model of sound by class")
    known, names = clips(tt.data(args.data, split="train", sound=space))
    real, truth = clips(tt.data(args.data, split="test", sound=space))
    library = features(space, known)

    def heard(x: Tensor) -> Tensor:
        return names[torch.cdist(features(space, x), library).argmin(1)]

    asked = torch.arange(args.n) * given.classes // args.n
    x = sample(model, args.n, Label(asked), seed=args.seed)
    for name in ("clips", "all.wav"):
        write(model, x, args.out / name, {})
    sound.sheet(space, x, columns=-(-args.n // given.classes)).save(args.out / "sheet.png")
    right, ceiling = (heard(x) == asked), (heard(real) == truth)
    by_class = " ".join(f"{int(right[asked == k].sum())}/{int((asked == k).sum())}" for k in range(given.classes))
    lines = [
        f"samples heard as what was asked: {int(right.sum())} of {args.n} ({by_class})",
        f"held-out clips heard as what they are: {int(ceiling.sum())} of {len(real)}",
        f"nearest of {len(known)} training clips by Euclidean distance of spectrograms, seed {args.seed}",
    ]
    (args.out / "heard.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
