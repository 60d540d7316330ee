"""Mirrored ends, against torch's padding."""

import pytest
import torch

from triptych.nn.mirrored import mirrored


@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (0, 3), (3, 4)])
def test_as_padding_by_reflection(left, right):
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    ours, theirs = mirrored(x, left, right), torch.nn.functional.pad(x, (left, right), mode="reflect")
    assert torch.equal(ours, theirs)
    weight = torch.randn_like(theirs)
    (slope,) = torch.autograd.grad((ours * weight).sum(), x)
    (other,) = torch.autograd.grad((theirs * weight).sum(), x)
    torch.testing.assert_close(slope, other)
