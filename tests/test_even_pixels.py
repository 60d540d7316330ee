"""Tokenizers whose training may weigh pixels evenly: fsq-vae, llamagen and maskgit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from triptych.core import Batch, Clock, Label, StepNoise
from triptych.testing import Examples
from triptych.verbs.create import create


def made(name: str, field: str, beta: float) -> Any:
    torch.manual_seed(0)
    one = create(f"{name}-tiny-classes")
    model: Any = type(one)(replace(one.config, **{field: beta})).double().eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.tokenizer.decoder[-1].weight, std=0.7)
    return model


@pytest.mark.parametrize(
    ("name", "field"), [("fsq-vae", "beta"), ("llamagen", "tokenizer_beta"), ("maskgit", "tokenizer_beta")]
)
def test_a_tokenizer_may_weigh_pixels_evenly(name: str, field: str) -> None:
    """By the squares of their scales, with what it costs said in nats as ever."""
    plain, even = made(name, field, 0.0), made(name, field, 1.0)
    even.load_state_dict(plain.state_dict())
    x = Examples(plain.config.x).values[:8].double()
    batch = Batch(x, Label(torch.zeros(8, dtype=torch.int64)), StepNoise(0, 8, slice(None)))
    p = plain.pixels(plain.encode(x))
    nats = -p.log_prob(x).flatten(1).sum(1).mean()
    torch.testing.assert_close(plain.loss(batch, Clock(0, 0.0)).value, nats)
    loss = even.loss(batch, Clock(0, 0.0))
    torch.testing.assert_close(loss.logs["distortion"], nats)
    want = (-p.log_prob(x) * (2 * p.log_scale).exp()).flatten(1).sum(1).mean()
    torch.testing.assert_close(loss.value, want)
    assert abs(want - nats) > 0.01 * abs(nats)  # the two are not the same
