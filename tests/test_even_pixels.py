"""Models of codes or latents whose training may weigh pixels evenly: an even ground takes no more than its share."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from triptych.core import Batch, Clock, Label, StepNoise
from triptych.losses.pixels import DiscretizedLogistic, evened
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


@pytest.mark.parametrize(
    ("name", "field", "balanced"),
    [
        ("vq-vae-tiny-classes", "pixel_beta", True),
        ("vq-vae-2-tiny-classes", "pixel_beta", True),
        ("givt-tiny-classes", "pixel_beta", True),
        ("var-tiny-classes", "tokenizer_beta", True),
        ("videogpt-tiny-blocks", "tokenizer_beta", False),
    ],
)
def test_so_may_those_whose_loss_has_other_terms(name: str, field: str, balanced: bool, monkeypatch) -> None:
    """Pixels are weighed against each other, and not against what else a loss has."""
    config, told = create(name).config, []

    def seen(p: Any, nats: Any, beta: float, **how: bool) -> Any:
        told.append((p, nats, how.get("balanced", False)))
        return evened(p, nats, beta, **how)

    values = []
    for beta in (0.0, 1.0):
        torch.manual_seed(0)
        model: Any = type(create(name))(replace(config, **{field: beta}))
        torch.nn.init.normal_((getattr(model, "tokenizer", None) or model).decoder[-1].weight, std=0.7)
        monkeypatch.setattr(sys.modules[type(model).__module__], "evened", seen)
        x = Examples(config.x).values[:8]
        given = Label(torch.zeros(8, dtype=torch.int64)) if config.given.classed else None
        values.append(model.loss(Batch(x, given, StepNoise(0, 8, slice(None))), Clock(0, 0.0)))
    (p, nats, one), (q, same, _) = told
    torch.testing.assert_close(nats, same)  # the first loss of equal weights: only how pixels count differs
    assert one == balanced and isinstance(q, DiscretizedLogistic)
    weight = (2 * p.log_scale).exp().flatten(1)
    weight = weight / weight.mean(1, keepdim=True) if balanced else weight
    more = ((weight - 1) * nats.flatten(1)).sum(1).mean()
    torch.testing.assert_close(values[1].value - values[0].value, more, rtol=1e-3, atol=1e-3)
    assert abs(more) > 0.01 * nats.sum() / 8
    torch.testing.assert_close(values[1].logs["distortion"], nats.flatten(1).sum(1).mean())
