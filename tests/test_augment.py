"""DiffAugment: what each augmentation does, that gradients pass, and that it is for the discriminator alone."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from triptych.core import UsageError
from triptych.models.gan.cgan import CGAN, PRESETS
from triptych.models.vae import vae
from triptych.nn.augment import augment, color, cutout, translation
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
