"""A classifier trained for nothing else, on the same labeled examples: what Bayes' rule is to be held against.

With many labels it wins: all its weights go into p(y | x), and none into what the classes have in common. With few, a
model of p(x | y) can be ahead, having assumed more (Ng and Jordan, 2001. On Discriminative vs. Generative Classifiers.
https://proceedings.neurips.cc/paper/2001/hash/7b7a53e239400a13bd6be6c91c4f6c4e-Abstract.html).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core import Data, ItemNoise, Space, UsageError, mix, planar

BATCH = 64
WIDTH = 64


def network(x: Space, classes: int) -> nn.Sequential:
    """x [n, ...] -> logits [n, classes]: convolutions, averaged over the plane; for points two hidden layers."""
    if not planar(x):
        layers: list[nn.Module] = [nn.Linear(x.dims, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    else:
        layers = []
        shapes = [(x.channels, WIDTH // 2, 5, 2), (WIDTH // 2, WIDTH // 2, 3, 1), (WIDTH // 2, WIDTH, 3, 2)]
        for inputs, outputs, kernel, stride in [*shapes, (WIDTH, WIDTH, 3, 1)]:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, classes))


def train_classifier(data: Data, *, steps: int = 2000, seed: int = 0) -> nn.Sequential:
    """p(y | x) as a small network, trained on `data` by Adam, 64 a step, in one cycle of the rate up to .004.

    Examples come in random order, each once before any comes again; random preprocessing is drawn anew each time. All
    follows from `seed`; torch's global generator is left as it was.

    Raises UsageError for data without labels, or whose examples are neither images nor points.
    """
    classes = data.given.choices if data.given and not data.given.optional else None
    if classes is None or not (data.x.planar or data.x.measure == "density"):
        raise UsageError(
            f"{data.name} holds {data.x} with {data.given or 'no labels'}; it takes labeled images or points"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed))
        net = network(data.x, classes)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps + 1)
    dice = torch.Generator().manual_seed(mix(seed, 1))
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        while len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(data), generator=dice)])
        rows, order = order[:BATCH], order[BATCH:]
        batch = data.fetch(rows, ItemNoise(mix(seed, 2, step), rows.tolist()))
        optimizer.zero_grad()
        F.cross_entropy(net(batch.x), batch.given.y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    return net.eval()


def log_probabilities(net: nn.Module, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
    """log p(y | x), float64."""
    with torch.no_grad():
        return net(x).double().log_softmax(1)
