"""What goes through a codec: held-out recordings as codes and back, and what the codes cost."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from triptych.core import Coding, Data, Generative, ItemNoise, Likelihood, evaluating
from triptych.metrics import Measurement
from triptych.nn.mel import SOFTEST
from triptych.verbs.hearing import pictures
from triptych.verbs.judge import Judge

MOST = 500
"""Held-out recordings, at most."""
BATCH = 50
DECIBELS = -10 * math.log10(SOFTEST)
"""Of one step of brightness: a picture is 2 from black to white, and what lies between are the levels of `SOFTEST`."""


@runtime_checkable
class Codec(Protocol):
    """A model that says how likely codes are."""

    def encode(self, x: Tensor, given: Any) -> Tensor: ...
    def decode(self, z: Tensor, given: Any) -> Any: ...
    def log_prob_codes(self, code: Tensor, given: Any) -> Likelihood: ...


def coded(model: Generative[Any], test: Data, judge: Judge, seed: int) -> tuple[Measurement, ...]:
    """Bits a code, how far spectrograms are off through the codes, and what a classifier still makes of them."""
    assert isinstance(model, Codec) and isinstance(model, Coding)
    space: Any = test.x
    rows = torch.arange(min(len(test), MOST)) * len(test) // min(len(test), MOST)
    nats, off, wanted, seen = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    reader = judge.reader if test.given is not None and test.given.classed else None
    for some in torch.split(rows, BATCH):
        batch = test.fetch(some, ItemNoise(seed, some.tolist(), model.device, model.precision))
        given = batch.given if getattr(model.config, "given", None) is not None else None
        with evaluating(model), torch.no_grad():
            code = model.encode(batch.x, given)
            back = model.decode(code, given).mean
            nats.append(model.log_prob_codes(code, given).nats.cpu())
        before, after = (pictures(space, x) for x in (batch.x, back))
        off.append((before - after).abs().flatten(1).mean(1) * DECIBELS)
        if reader is not None:
            wanted.append(batch.given.y.cpu())
            seen.append(torch.stack([reader.probabilities(x).argmax(1) for x in (before, after)]))
    many, rate = f"{len(rows)} held-out recordings", space.rate / (space.length / model.codes.length)
    found = [
        Measurement(
            name="-log2 p(codes), a code",
            value=-torch.cat(nats).double().mean().item() / model.codes.length / math.log(2),
            unit="bits",
            better="lower",
            protocol=f"{model.codes.length} codes a recording ({rate:.1f} a second), exact; uniform would be "
            f"{math.log2(model.codes.vocabulary):.2f}; no likelihood of sound",
            n=many,
        ),
        Measurement(
            name="log mel distance through codes",
            value=torch.cat(off).double().mean().item(),
            unit="dB",
            better="lower",
            protocol="mean distance of log mel spectrograms (those that distances are taken on) to what comes back of "
            "the codes",
            n=many,
        ),
    ]
    if reader is not None:
        y = torch.cat(wanted)
        real, back = (torch.cat(seen, 1) == y).double().mean(1).tolist()
        found.append(
            Measurement(
                name="right class, through codes",
                value=back,
                unit="share",
                better="higher",
                floor=real,
                protocol="by the classifier trained apart, of what comes back of the codes; floor: the recordings",
                n=many,
            )
        )
    return tuple(found)
