"""Pictures turned and mirrored at random."""

import torch

from triptych.core import StepNoise
from triptych.nn.symmetries import turned


def test_a_square_turns_to_all_eight_ways_and_its_small_version_alike():
    x = torch.arange(4.0).view(1, 1, 2, 2).expand(200, 1, 2, 2)
    large = x.repeat_interleave(3, 2).repeat_interleave(3, 3)
    small, big = turned(StepNoise(0, 200, slice(None)), x, large)
    assert torch.equal(big, small.repeat_interleave(3, 2).repeat_interleave(3, 3))
    ways = small.flatten(1).unique(dim=0)
    assert len(ways) == 8
    assert torch.equal(ways.sort(1).values, torch.arange(4.0).expand(8, 4))


def test_a_wide_picture_keeps_its_form():
    x = torch.arange(6.0).view(1, 1, 2, 3).expand(100, 1, 2, 3)
    (out,) = turned(StepNoise(0, 100, slice(None)), x)
    assert out.shape == x.shape
    assert len(out.flatten(1).unique(dim=0)) == 4
