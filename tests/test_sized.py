"""Presets that take the size, the channels, the levels and the classes of the data."""

from typing import Any

import pytest
import torch

from triptych import models
from triptych.core import Images, Labels, Tokens, UsageError
from triptych.io.sketching import Sketching
from triptych.verbs.create import create_for
from triptych.verbs.prepare import prepare

PICTURES = [e for e in models.own().values() if f"{e.name}-small" in e.presets()]
GENERATORS = [e for e in models.own().values() if "images" in e.paper.takes and e.family != "translation"]
BINARY = ("nade", "eonade", "made", "darn")


class Held:
    """Data of which only the spaces are asked."""

    name, split, fingerprint = "held", "train", ""

    def __init__(self, x: Any, given: Any = None, n: int = 100) -> None:
        self.x, self.given, self.n = x, given, n

    def __len__(self) -> int:
        return self.n


@pytest.mark.parametrize("entry", PICTURES, ids=lambda entry: entry.name)
def test_every_picture_model_is_built_at_the_size_of_the_data(entry: models.Entry) -> None:
    two = entry.name in BINARY
    sizes = [Images(1, 28, 28, levels=2)] if two else [Images(3, 32, 32), Images(1, 28, 28), Images(3, 48, 64)]
    if entry.name == "fastgan":  # takes sides of 32 or more
        sizes[1] = Images(1, 40, 40)
    for x in sizes:
        for size in ("small", "medium"):
            with torch.device("meta"), Sketching():
                model = create_for(f"{entry.name}-{size}", Held(x, Labels(7)), [])
            assert model.config.x == x
            given = getattr(model.config, "given", None)
            assert given is None or given.choices == 7


@pytest.mark.parametrize("entry", GENERATORS, ids=lambda entry: entry.name)
def test_every_model_of_pictures_has_a_small_a_medium_and_a_paper_preset(entry: models.Entry) -> None:
    x = Images(1, 64, 64, levels=2) if entry.name in BINARY else Images(3, 64, 64)
    presets, given = entry.module().PRESETS, Tokens(9, 4) if entry.name == "df-gan" else Labels(7)
    for size in ("small", "medium", "paper"):
        assert presets[f"{entry.name}-{size}"].fits is not None
        with torch.device("meta"), Sketching():
            assert create_for(f"{entry.name}-{size}", Held(x, given), []).config.x == x


def test_settings_that_follow_from_x_do() -> None:
    assert create_for("pixelcnn-small", Held(Images(3, 8, 8)), []).config.width == 36
    assert create_for("vq-vae-small", Held(Images(3, 64, 64)), []).config.grid == (8, 8)
    shrinks = create_for("vdvae-small", Held(Images(3, 40, 60)), []).config
    assert (shrinks.fold, shrinks.strides) == (4, (5, 1))
    assert create_for("vae-small", Held(Images(1, 16, 24)), ["width=4"]).config.width == 4


def test_captions_are_left_out_where_a_model_takes_classes_or_nothing() -> None:
    assert create_for("vq-vae-small", Held(Images(3, 16, 16), Tokens(9, 4)), []).config.given is None


def test_a_batch_is_no_larger_than_the_data_unless_it_was_asked_for() -> None:
    small = Held(Images(3, 16, 16), n=20)
    assert prepare("vae-small", small, ["width=4"], {}, None)[1].batch == 20
    assert prepare("vae-small", small, ["width=4"], {"batch": 64}, None)[1].batch == 64
    with pytest.raises(UsageError, match="never arrives at 9 x 9"):
        create_for("vae-small", Held(Images(3, 9, 9)), [])
