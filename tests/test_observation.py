"""What a decoder's noise is to a sample: drawn by default, left out of what people look at."""

from typing import Any

import pytest
import torch
from PIL import Image

import triptych as tt
from triptych import models
from triptych.core import FAITHFUL, Decoding, Generative, Label, Labels, Sampling, UsageError
from triptych.report.tables import Quantity, Row, Table, best_values, protocols
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs.evaluate import evaluate
from triptych.verbs.impute import impute
from triptych.verbs.sample import examples, to_look_at
from triptych.verbs.train import train

MEAN = Sampling(observation="mean")
DECODING = [
    (name, preset)
    for name in models.own()
    if issubclass(models.find_class(name), Decoding)
    for preset in models.find(name).presets()
    if "-tiny" in preset
]


def test_the_models_with_a_decoder_s_noise_are_known() -> None:
    names = {name for name, _ in DECODING}
    assert {"vae", "beta-vae", "cvae", "iwae", "miwae", "ladder-vae", "vdvae", "vq-vae", "vq-vae-2"} <= names


@pytest.mark.parametrize(("name", "preset"), DECODING, ids=[preset for _, preset in DECODING])
def test_the_mean_is_what_draws_lie_around(name: str, preset: str) -> None:
    model = tt.create(preset)
    model.eval()
    given = examples(model, 3, Examples(model.config.x, getattr(model.config, "given", None)))
    mean = model.sample(3, given, seed=4, how=MEAN)
    assert mean.shape == (3, *model.config.x.shape) and bool((mean.abs() <= 1 + 1e-6).all())
    assert torch.equal(mean, model.sample(3, given, seed=4, how=MEAN))
    drawn = Sampling(observation="drawn")
    assert torch.equal(model.sample(3, given, seed=4), model.sample(3, given, seed=4, how=drawn))


def test_many_draws_of_one_latent_average_to_the_mean() -> None:
    model = tt.create("vae", x=tt.Images(1, 2, 2, levels=5), hidden=(4,), latent=1)

    class Once:
        """The same latent for all, and uniform numbers of their own."""

        n, device = 20_000, torch.device("cpu")

        def normal(self, *shape: int) -> torch.Tensor:
            return torch.full((self.n, *shape), 0.5)

        def uniform(self, *shape: int) -> torch.Tensor:
            return torch.rand(self.n, *shape)

    with torch.no_grad():
        drawn, mean = model.draw(Once()), model.draw(Once(), None, MEAN)
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.03, rtol=0)


def test_only_a_decoder_has_a_mean() -> None:
    for name in ("pixelcnn-tiny", "gan-tiny"):
        with pytest.raises(UsageError, match="no decoder"):
            tt.create(name).sample(1, how=MEAN)
    with pytest.raises(UsageError, match="drawn or mean"):
        Sampling(observation="median")  # type: ignore[arg-type]
    assert to_look_at(tt.create("pixelcnn-tiny")) is FAITHFUL
    assert to_look_at(tt.create("vae-tiny")).observation == "mean"


def test_pictures_of_a_run_show_means_and_say_so(tmp_path) -> None:
    model = tt.create("vae-tiny")
    for _ in train(model, Examples(model.config.x), Run(steps=1, batch=4), out=tmp_path / "run", pictures=1):
        pass
    with Image.open(tmp_path / "run" / "samples" / "step-00000001.png") as image:
        assert image.text["observation"] == "mean"  # type: ignore[attr-defined]
        assert any(0 < level < 255 for level in image.convert("L").tobytes())


def test_completions_are_shown_as_means_and_judged_as_drawn() -> None:
    model = tt.create("vae-tiny")
    found = impute(model, Examples(model.config.x), hide="bottom", n=2, completions=2, draws=3)
    assert found.means is not None and found.means.shape == found.drawn.shape
    assert torch.equal(found.means[:, found.known], found.drawn[:, found.known])
    assert set(found.drawn.unique().tolist()) <= {-1.0, 1.0} and not set(found.means.unique().tolist()) <= {-1.0, 1.0}
    other: Generative[Any] = tt.create("pixelcnn-tiny")
    assert impute(other, Examples(other.config.x), hide="bottom", n=1, completions=1, draws=2).means is None


def test_an_evaluation_says_that_it_judged_draws_and_shows_means() -> None:
    model = tt.create("vae-tiny")
    data = Examples(model.config.x)
    result = evaluate(model, data, data, n=20)
    assert set(result.images.unique().tolist()) <= {-1.0, 1.0}
    assert not set(result.shown.unique().tolist()) <= {-1.0, 1.0}
    drawn = [value for value in result.row().values if isinstance(value, Quantity) and value.group == "Distances"]
    assert drawn and all("noise" in value.aside for value in drawn)
    assert "with the decoder's noise" in dict(protocols(Table(rows=[result.row()]), "Distances")).popitem()[1]


def test_nothing_is_best_by_pixels_alone() -> None:
    def row(model: str, value: float, ranked: bool) -> Row:
        one = Quantity(name="FD", value=value, protocol="p", better="lower", ranked=ranked)
        return Row(model=model, likelihoods=[], no_likelihood="", values=[one])

    for ranked, best in ((True, {1}), (False, set())):
        table = Table(rows=[row("a", 2.0, ranked), row("b", 1.0, ranked)])
        assert best_values(table, "Measurements", "FD") == best
    data = Examples(tt.Images(1, 2, 2, levels=2))
    values = evaluate(tt.create("vae-tiny"), data, data, n=20).row().values
    pixels = [value for value in values if isinstance(value, Quantity) and "pixels" in value.name]
    assert pixels and not any(value.ranked for value in pixels)


def test_a_class_keeps_its_latent() -> None:
    model = tt.create("cvae", x=tt.Images(1, 2, 2, levels=2), given=Labels(2), hidden=(4,), latent=1)
    given = Label(torch.tensor([0, 1]))
    alone = model.sample(1, given[slice(1, 2)], seed=1, first=1, how=MEAN)
    torch.testing.assert_close(model.sample(2, given, seed=1, how=MEAN)[1:], alone)
