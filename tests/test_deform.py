"""Deformations: each by a known answer, in colors and on oblong images, in half the precision, seeded by the item."""

import pytest
import torch

from triptych.core import ItemNoise
from triptych.nn.deform import deformed


class Drawn:
    """Noise whose uniform draws are all `u`, but for one column."""

    def __init__(self, n, column, value):
        self.n, self.column, self.value = n, column, value

    def uniform(self, *shape):
        u = torch.full((self.n, *shape), 0.5)
        u[:, self.column] = self.value
        return u


ANGLE, SHEAR, WIDE, HIGH, RIGHT, DOWN, BLUR, LIGHT = range(8)


def test_nothing_is_deformed_by_an_amount_of_zero_or_by_the_middle_of_every_draw():
    x = torch.rand(5, 2, 12, 20)
    assert torch.allclose(deformed(x, ItemNoise(0, range(5)), 0.0), x, atol=1e-5)
    assert torch.allclose(deformed(x, Drawn(5, ANGLE, 0.5), 1.0), x, atol=1e-5)


def test_an_image_is_moved_by_a_tenth_of_its_side_at_most_and_its_border_goes_on():
    x = torch.arange(20.0).div(20).expand(1, 1, 10, 20)
    left, up = deformed(x, Drawn(1, RIGHT, 1.0), 1.0), deformed(x.transpose(2, 3), Drawn(1, DOWN, 0.0), 1.0)
    assert torch.allclose(left, (x + 0.1).clamp(max=0.95), atol=1e-4)
    assert torch.allclose(up.transpose(2, 3), (x - 0.1).clamp(min=0), atol=1e-4)


@pytest.mark.parametrize("column", [WIDE, HIGH])
def test_an_image_is_stretched_by_a_fifth_about_its_middle(column):
    side = torch.arange(20.0) / 10 - 0.95
    x = side.expand(1, 1, 20, 20) if column == WIDE else side[:, None].expand(1, 1, 20, 20)
    stretched = deformed(x, Drawn(1, column, 0.0), 1.0)
    assert torch.allclose(stretched, 0.8 * x, atol=1e-4)


@pytest.mark.parametrize(("column", "far"), [(ANGLE, torch.tensor(0.25).tan().item()), (SHEAR, 0.5)])
def test_a_line_is_turned_and_slanted_as_far_in_pixels_whatever_the_sides(column, far):
    """x + c y of a vertical line's points: c is the tangent of the angle, or the shear."""
    x = (torch.arange(60.0) - 29.5).square().neg().div(8).exp().expand(1, 1, 20, 60)
    line = deformed(x, Drawn(1, column, 1.0), 1.0)[0, 0, 4:16].argmax(1).float()
    slope = (line[-1] - line[0]).abs() / 11
    assert slope.item() == pytest.approx(far, abs=0.1)


def test_an_image_is_blurred_by_a_gaussian_of_a_24th_of_its_side_whose_light_is_kept():
    x = torch.full((1, 2, 49, 48), -1.0)
    x[:, :, 24, 24] = 1
    made = deformed(x, Drawn(1, BLUR, 1.0), 1.0) + 1
    assert torch.allclose(made.sum((2, 3)), torch.full((1, 2), 2.0), atol=1e-3)
    rows = made[0, 0].sum(1) / 2
    assert rows.mul((torch.arange(49) - 24).square()).sum().sqrt().item() == pytest.approx(2, abs=0.1)
    assert torch.allclose(deformed(x, Drawn(1, BLUR, 0.75), 1.0) + 1, (x + 1) / 2 + made / 2, atol=1e-4)


def test_a_deformation_is_the_same_with_half_the_precision_but_for_rounding():
    x = torch.rand(4, 3, 12, 8) - 1
    with torch.autocast("cpu", torch.bfloat16):
        made = deformed(x, ItemNoise(0, range(4)), 1.0)
    assert torch.allclose(made.float(), deformed(x, ItemNoise(0, range(4)), 1.0), atol=0.05)


def test_light_counts_from_black_and_is_cut_off_at_white():
    x = torch.tensor([-1.0, -0.8, 0.0, 1.0]).expand(1, 1, 4, 4)
    made = deformed(x, Drawn(1, LIGHT, 1.0), 1.0)[0, 0, 0]
    assert torch.allclose(made, torch.tensor([-1.0, 0.2 * 2**1.3 - 1, 1.0, 1.0]), atol=1e-4)
    assert torch.allclose(deformed(x, Drawn(1, LIGHT, 0.0), 0.5), (x + 1) * 2**-0.65 - 1, atol=1e-4)


def test_deformations_differ_from_image_to_image_pass_gradients_and_depend_on_the_item_alone():
    x = (torch.rand(1, 1, 8, 8) / 2 - 1).expand(4, 1, 8, 8).clone().requires_grad_()
    made = deformed(x, ItemNoise(3, range(4)), 1.0)
    assert len({tuple(image.flatten().tolist()) for image in made}) == 4
    made.sum().backward()
    assert x.grad.abs().flatten(1).sum(1).gt(0).all()
    assert torch.allclose(made[2:], deformed(x[2:], ItemNoise(3, range(2, 4)), 1.0), atol=1e-5)
