"""DiffAugment: what each augmentation does, that gradients pass, and that it is for the discriminator alone."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from triptych.core import ItemNoise, UsageError
from triptych.models.gan.cgan import CGAN, PRESETS
from triptych.models.vae import vae
from triptych.nn.augment import augment, color, cutout, deformed, translation
from triptych.testing import Examples
from triptych.testing.toys import copied, difference
from triptych.training import Run, train
from triptych.training.augmenting import augmenting

CONFIG = PRESETS["cgan-tiny"].config
DATA = Examples(CONFIG.x, CONFIG.given)


def test_a_translation_moves_by_an_eighth_at_most_and_pads_with_grey():
    x = torch.zeros(200, 2, 16, 24)
    x[:, :, 8, 12] = 1
    moved = translation(x)
    assert moved.sum((1, 2, 3)).eq(2).all() and torch.equal(moved[:, 0], moved[:, 1])
    where = moved[:, 0].flatten(1).argmax(1)
    rows, columns = where // 24 - 8, where % 24 - 12
    assert set(rows.tolist()) == set(range(-2, 3)) and set(columns.tolist()) == set(range(-3, 4))
    assert translation(torch.ones(50, 1, 16, 24)).mean((1, 2, 3)).min() < 0.85


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
    assert torch.equal(made[2:], deformed(x[2:], ItemNoise(3, range(2, 4)), 1.0))


def test_a_cutout_is_a_rectangle_of_half_of_either_side():
    hole = cutout(torch.ones(500, 1, 16, 24))[:, 0] == 0
    rows, columns = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), rows * columns)
    assert rows.max() == 8 and columns.max() == 12 and rows.min() >= 3 and columns.min() >= 5
    assert hole.any(0).all()  # everywhere


def test_color_keeps_shapes_and_changes_brightness_saturation_and_contrast():
    x = torch.rand(300, 3, 8, 8) - 0.5
    y = color(x)
    assert (y.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs().max() < 0.5 + 1e-5
    grey = (x - x.mean(1, keepdim=True)).std((1, 2, 3))
    ratio = (y - y.mean(1, keepdim=True)).std((1, 2, 3)) / grey  # saturation times contrast
    assert ratio.min() < 0.2 and 1.5 < ratio.max() < 3
    lights = x.mean(1), y.mean(1)
    contrast = lights[1].std((1, 2)) / lights[0].std((1, 2))
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5


def test_gradients_pass():
    x = torch.rand(4, 3, 16, 16, requires_grad=True)
    augment(x, ("color", "translation", "cutout")).sum().backward()
    assert x.grad is not None and x.grad.any()


def test_only_the_discriminator_sees_augmented_images_and_only_for_a_while():
    model = CGAN(CONFIG).eval()
    x, y = DATA.values[:4], DATA.conditions.y[:4]
    plain = model.discriminator(x, y)
    with augmenting(model, ("translation", "cutout")):
        assert not torch.equal(model.discriminator(x, y), plain)
    assert torch.equal(model.discriminator(x, y), plain)


def test_a_run_is_changed_by_the_option_and_still_a_function_of_its_seed():
    ends = []
    for how in ((), ("color", "translation"), ("color", "translation")):
        torch.manual_seed(0)
        model = CGAN(CONFIG)
        for _ in train(model, DATA, replace(Run(steps=2, batch=8), augment=how)):
            torch.rand(3)
        ends.append(copied(model))
    assert difference(ends[0], ends[1]) is not None
    assert difference(ends[1], ends[2]) is None


def test_other_models_and_other_words_are_refused():
    config = vae.PRESETS["vae-tiny"].config
    with pytest.raises(UsageError, match="vae has no discriminator"):
        next(train(vae.VAE(config), Examples(config.x), Run(steps=1, batch=8, augment=("color",))))
    with pytest.raises(ValidationError, match="'color', 'translation' or 'cutout'"):
        Run(augment=("blur",))
