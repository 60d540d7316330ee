"""DiffAugment: what each augmentation does, that gradients pass, and that it is for the discriminator alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from triptych import create
from triptych.core import Adam, Generative, Images, Picture, Player, Stage, UsageError
from triptych.models import find, own
from triptych.models.gan.cgan import CGAN, PRESETS
from triptych.models.vae import vae
from triptych.nn.augment import augment, color, cutout, together, translation
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
    with pytest.raises(ValueError, match="'color', 'translation' or 'cutout'"):
        Run(augment=("blur",))


def test_what_lies_over_an_image_is_moved_and_cut_with_it():
    x = torch.rand(50, 3, 16, 16) + 0.5
    over = torch.cat([x[:, :2], x], 1)
    for how in (("translation",), ("cutout",), ("translation", "cutout")):
        moved, other = together([x, over], how)
        assert torch.equal(other, torch.cat([moved[:, :2], moved], 1)) and not torch.equal(moved, x)
    colored, same = together([x, over], ("color",))
    assert torch.equal(same, over) and not torch.equal(colored, x)


class Judge(nn.Module):
    """Keeps what it sees."""

    def forward(self, x, given, level, mask):
        self.seen = x, given, level, mask
        return x.flatten(1).sum(1)


class Pictured(Generative[Picture]):
    """A conditional GAN of pictures, as far as its discriminator sees."""

    name = "pictured"

    def __init__(self):
        super().__init__()
        self.config, self.judge = replace(CONFIG), Judge()

    def draw(self, noise, given):
        raise NotImplementedError

    def stages(self):
        player = Player(name="d", owns=self.judge, loss=self.draw, optimizer=Adam(), judges=self.judge)
        return [Stage(name="one", players=[player])]


def test_a_condition_that_is_a_picture_does_not_stay_behind():
    model, x = Pictured(), torch.rand(20, 1, 8, 8) + 0.5
    with augmenting(model, ("translation", "cutout")):
        model.judge(x, Picture(2 * x), 3, x + 1)
    seen, given, level, mask = model.judge.seen
    assert torch.equal(given.grid, 2 * seen) and level == 3 and not torch.equal(seen, x)
    assert torch.equal(mask, torch.where(seen == 0, 0, seen + 1))
    with pytest.raises(UsageError, match="the condition, of 4 x 4, cannot be moved along with images of 8 x 8"):
        with augmenting(model, ("cutout",)):
            model.judge(x, Picture(x[:, :, :4, :4]), 3, x)
    with augmenting(model, ("color",)):
        model.judge(x, Picture(x[:, :, :4, :4]), 3, x)


def test_an_autoencoder_that_reconstructs_what_it_is_shown_gives_no_energy():
    class Perfect(nn.Module):
        def forward(self, x):
            return x.flatten(1), x

    model = create("ebgan-tiny")
    model.discriminator = Perfect()
    with augmenting(model, ("color", "translation", "cutout")):
        assert not model.energy(torch.rand(9, 1, 4, 4)).any()


EVERY = [(e.name, p) for e in own().values() for p in e.presets() if p.startswith(f"{e.name}-tiny")]
REFUSALS = {
    "lapgan": "adds to a smaller image",
    "msg-gan": "in several sizes at once",
    "gat": "looks at latents",
    "srgan": "how alike two pictures are",
    "pix2pix": "a picture with its condition, place by place",
    "spade": "compare a picture with its map",
    "oasis": "the class of every pixel",
    "cyclegan": "two kinds of pictures",
    "stargan": "it also classifies",
    "fastgan": "augments it itself",
    "caae": "a picture with its age",
    "wavegan": "not augmented as pictures are",
    "codec": "features of a sound with those of its reconstruction",
    "hifi-gan": "the sound it is to be",
    "vqgan": "features of a picture with those of its reconstruction",
}


@pytest.mark.parametrize(("name", "preset"), EVERY, ids=[preset for _, preset in EVERY])
def test_every_model_augments_what_all_its_players_judge_or_says_why_not(name, preset):
    model = create(preset)
    data = Examples(model.config.x, getattr(model.config, "given", None))
    judges = name == "vae-gan" or (find(name).family in ("gan", "translation") and name != "sr-compact")
    judges = judges and getattr(model.config, "adversarial", 1) > 0
    run = Run(steps=1, batch=8, augment=("translation", "cutout"))
    if not judges or not isinstance(model.config.x, Images) or name in REFUSALS:
        with pytest.raises(UsageError, match=REFUSALS.get(name, f"{name} (has no discriminator|judges no images)")):
            next(train(model, data, run))
        return
    for _ in train(model, data, run):
        pass
    assert all(w.isfinite().all() for w in model.parameters())
