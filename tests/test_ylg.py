"""Your Local GAN: its masks, and attention that computes no more than they show."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from triptych.core import Images, Labels
from triptych.models.gan.ylg import PRESETS, YLG, LocalAttention, YLGConfig, enumerated, masks
from triptych.nn.attention import SelfAttention, pooled

SIZES = [(8, 8), (16, 16), (7, 7), (4, 6), (5, 3)]


def layer(channels, height, width):
    found = LocalAttention(channels, height, width).double()
    nn.init.constant_(found.gamma, 0.7)
    return found


def own_cell(height, width):
    """The cell of 2 x 2 that each place is in, as a number of the raster."""
    row, column = torch.arange(height)[:, None] // 2, torch.arange(width) // 2
    return (row * (width // 2) + column).flatten()


def masked_densely(attention, x):
    """The same by scores between all places and all cells, [heads, places, cells], hidden by masks."""
    n, _, h, w = x.shape
    shown = masks(h // 2, w // 2)[:, :, own_cell(h, w)].repeat_interleave(2, 1).flatten(0, 1)
    parts = attention.query(x), pooled(attention.key(x)), pooled(attention.value(x))
    query, key, value = (t.flatten(2).unflatten(1, (8, -1)) for t in parts)
    share = (query.mT @ key).masked_fill(~shown, -torch.inf).softmax(-1)
    taken = (share @ value.mT).mT.flatten(1, 2).view(n, -1, h, w)
    return x + attention.gamma * attention.out(taken)


def test_places_are_enumerated_by_distance_row_by_row():
    assert enumerated(3, 3).tolist() == [0, 1, 3, 2, 4, 6, 5, 7, 8]
    assert enumerated(2, 4).tolist() == [0, 1, 3, 5, 2, 4, 6, 7]
    for size in SIZES:
        assert sorted(enumerated(*size).tolist()) == list(range(size[0] * size[1]))


@pytest.mark.parametrize(("side", "within", "across"), [(8, 0.070, 0.139), (16, 0.033, 0.066)])
def test_the_masks_are_as_dense_as_the_papers(side, within, across):
    density = masks(side, side).double().mean((2, 3))
    assert density[:, 0].tolist() == pytest.approx([within] * 2, abs=5e-4)
    assert density[:, 1].tolist() == pytest.approx([across] * 2, abs=5e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_two_steps_tell_every_cell_of_every_other(size):
    """Full information, by the product of the steps' matrices; one step alone has it not."""
    for within, across in masks(*size).double():
        assert (across @ within > 0).all()
        assert not (within > 0).all() and not (across > 0).all()


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (14, 14), (16, 24)], ids=str)
def test_full_information_holds_with_pooled_keys(size):
    h, w = size
    for within, across in masks(h // 2, w // 2).double():
        assert (across[own_cell(h, w)] @ within > 0).all()


def test_a_query_of_pooled_keys_looks_near_where_it_lies():
    """As near as without pooling. Tiling the mask by flat index, as the authors' code does, loses a third of that."""
    place = torch.arange(64)
    at = torch.stack([place // 8, place % 8], 1).double()
    far = (at[:, None] - at[None]).abs().sum(-1)
    cell = own_cell(16, 16)

    def mean(shown, distance):
        return ((shown * distance).sum() / shown.sum()).item()

    square = masks(8, 8)[1, 0].double()
    assert mean(square, far) == mean(square[cell], far[cell]) == pytest.approx(3.11, abs=0.005)
    assert mean(square.repeat(4, 1), far[cell]) > 4.6
    assert mean(torch.ones(64, 64), far) == 5.25


@pytest.mark.parametrize("size", [(16, 16), (14, 14), (8, 12), (4, 2)], ids=str)
def test_sparse_attention_is_dense_attention_that_is_masked(size):
    attention, x = layer(64, *size), torch.randn(2, 64, *size, dtype=torch.float64, requires_grad=True)
    found, expected = attention(x), masked_densely(attention, x)
    assert torch.allclose(found, expected)
    weights = [x, *attention.parameters()]
    mine, theirs = (torch.autograd.grad(out.square().sum(), weights) for out in (found, expected))
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def flops(module, side):
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 64, side, side))
    return sum(n for op, n in counter.get_flop_counts()["Global"].items() if "bmm" in str(op))


def test_it_computes_no_more_than_the_masks_show():
    """Within a block, scores are for pairs, of which a triangle is shown; so twice the entries, and no more."""
    for side in (16, 32):
        shown = masks(side // 2, side // 2).sum().item() * 4 * 2  # queries a cell, heads a mask
        d, e = 1, 4
        assert flops(LocalAttention(64, side, side), side) <= 2 * shown * 2 * (d + e)
    growth = flops(LocalAttention(64, 64, 64), 64) / flops(LocalAttention(64, 32, 32), 32)
    assert 7 < growth < 9  # 4 times the places, to the power of 1.5
    dense = SelfAttention(64)
    assert 15.9 < flops(dense, 64) / flops(dense, 32) < 16.1


def test_it_begins_as_the_identity_and_needs_even_sides():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(LocalAttention(8, 4, 4)(x), x)
    with pytest.raises(ValueError, match="7 x 8 has no squares"):
        LocalAttention(8, 7, 8)


def test_it_is_sagan_but_for_its_attention():
    model = YLG(PRESETS["ylg-tiny"].config)
    assert isinstance(model.generator.attention, LocalAttention)
    assert isinstance(model.discriminator.attention, LocalAttention)
    assert hasattr(model.generator.attention.query, "parametrizations")
    assert not any(key.endswith(("order", "within")) for key in model.state_dict())  # they follow from the size
    c = YLGConfig()
    assert (c.generator_adam.lr, c.discriminator_adam.lr, c.attention, c.given) == (1e-4, 4e-4, 32, Labels(1000))
    copy.deepcopy(model)
    with pytest.raises(ValueError, match="attention=32"):
        YLGConfig(x=Images(1, 28, 28))
