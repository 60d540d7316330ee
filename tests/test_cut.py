"""CUT: its contrastive loss in closed form, where patches come from, and who learns when."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from triptych.core import Batch, Clock, Picture, StepNoise
from triptych.losses.contrastive import patch_nce
from triptych.models.translation.cut import CUT, PRESETS
from triptych.training.turn import only

TINY = PRESETS["cut-tiny"].config
NOW = Clock(0, 0.0)


def batch(model, n=4):
    x, c = (2 * torch.rand(n, *space.shape) - 1 for space in (model.config.x, model.config.given))
    return Batch(x, Picture(c), StepNoise(0, n, slice(None)))


def shaken(model):
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    return model


def test_patches_that_are_all_alike_cost_the_log_of_their_number():
    q = normalize(torch.ones(2, 7, 3), dim=-1)
    assert patch_nce(q, q, 0.07).item() == pytest.approx(math.log(7), rel=1e-5)


def test_identical_features_at_right_angles_cost_their_closed_form():
    q = torch.eye(5).expand(3, 5, 5)
    for t in (0.2, 0.5, 2.0):
        assert patch_nce(q, q, t).item() == pytest.approx(math.log1p(4 * math.exp(-1 / t)), rel=1e-4)


def test_negatives_are_of_the_same_picture_only():
    q, k = (normalize(torch.randn(3, 6, 4), dim=-1) for _ in range(2))
    alone = torch.stack([patch_nce(q[i : i + 1], k[i : i + 1], 0.3) for i in range(3)]).mean()
    assert patch_nce(q, k, 0.3).item() == pytest.approx(alone.item(), rel=1e-5)
    other = k.clone()
    other[1:] = normalize(torch.randn(2, 6, 4), dim=-1)
    assert patch_nce(q[:1], other[:1], 0.3).item() == pytest.approx(patch_nce(q[:1], k[:1], 0.3).item())


def test_no_gradient_goes_to_the_key():
    q, k = (torch.randn(1, 4, 3, requires_grad=True) for _ in range(2))
    patch_nce(q, k, 1.0).backward()
    assert q.grad is not None
    assert k.grad is None


def test_places_are_drawn_without_repetition():
    model = CUT(replace(TINY, patches=10))
    seen = model.generator.features(torch.rand(3, 1, 16, 16))
    where = model.places(StepNoise(0, 3, slice(None)), seen)
    assert [tuple(places.shape) for places in where] == [(3, 10)] * len(seen)
    assert all(len(set(row.tolist())) == 10 for places in where for row in places)
    assert all(int(p.max()) < h.shape[2] * h.shape[3] for p, h in zip(where, seen, strict=True))


def test_heads_look_at_the_places_they_are_told_and_answer_with_unit_length():
    model = CUT(TINY)
    seen = model.generator.features(torch.rand(2, 1, 16, 16))
    where = model.places(StepNoise(0, 2, slice(None)), seen)
    found = model.heads(seen, where)
    assert all(torch.allclose(f.norm(dim=-1), torch.ones(2, f.shape[1]), atol=1e-5) for f in found)
    place = int(where[0][1, 3])
    alone = normalize(model.heads.layers[0](seen[0][1, :, place // 16, place % 16]), dim=-1)
    assert torch.allclose(found[0][1, 3], alone, atol=1e-6)


def test_a_generator_that_changes_nothing_is_told_apart_as_well_as_can_be():
    model = CUT(TINY).train()  # begins as the identity
    same = model.told(StepNoise(0, 4, slice(None)), (x := torch.rand(4, 1, 16, 16)), x)
    other = model.told(StepNoise(0, 4, slice(None)), x, x.flip(2, 3))
    assert same < other


def test_the_loss_is_the_weighted_sum():
    model = shaken(CUT(replace(TINY, nce=3.0, identity=7.0))).train()
    loss = model.generator_loss(batch(model), NOW)
    parts = [loss.logs[name].item() for name in ("fooled", "nce", "identity")]
    assert all(part > 0 for part in parts)
    assert loss.value.item() == pytest.approx(parts[0] + 3 * parts[1] + 7 * parts[2], rel=1e-5)


def test_each_player_learns_alone_and_the_heads_with_the_generator():
    model = CUT(TINY).train()
    for player in model.stages()[0].players:
        model.zero_grad(set_to_none=True)
        with only(player, model):
            player.loss(batch(model), NOW).value.backward()
        mine = {id(w) for w in player.owns.parameters()}
        assert all((w.grad is not None) == (id(w) in mine) for w in model.parameters() if w.requires_grad)
    assert {id(w) for w in model.heads.parameters()} <= mine
