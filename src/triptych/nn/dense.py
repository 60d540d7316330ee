"""Fully connected networks."""

from itertools import pairwise

from torch import nn


def mlp(*sizes: int, between: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] units, with `between` after each but the last."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [nn.Linear(cin, cout), between()]
    return nn.Sequential(*layers[:-1])
