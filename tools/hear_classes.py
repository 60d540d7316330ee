"""What a classifier trained apart makes of a codec's sounds, plain and guided: `python tools/hear_classes.py RUN`.

The classifier is the one that `triptych evaluate` trains on log mel spectrograms of the run's own training data.
"""

import argparse

import torch

import triptych as tt
from triptych import metrics
from triptych.core import Label, Sampling
from triptych.verbs.judge import Judge
from triptych.verbs.opening import open_for

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--guidance", default="1,1.5,2,3")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = tt.load(asked.run)
    train, test = (open_for(model, asked.run, None, split=split) for split in ("train", "test"))
    judge = Judge(train, test)
    reader = judge.reader
    assert reader is not None, "the data have no classes"
    features = next(r for r in judge.references if r.extractor.name == "classifier")
    y = torch.arange(asked.n) % reader.classes
    print(reader.about)  # noqa: T201
    for guidance in map(float, asked.guidance.split(",")):
        x = judge.seen(model.sample(asked.n, Label(y), seed=0, how=Sampling(guidance=guidance)))
        found, apart = metrics.read_classes(reader, x, y), metrics.distances(x, features)
        print(  # noqa: T201
            f"guidance {guidance:g}: {found.accuracy:.3f} taken for what was asked {found.counts}; Frechet distance "
            f"{apart.generated.fd:.2f} (floor {apart.floor.fd:.2f}), coverage {apart.generated.coverage:.2f}"
        )
