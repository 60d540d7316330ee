"""The list of measures: what applies is taken, what does not is left out with a reason, and tasks bring their own."""

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from test_features import Striped

import triptych as tt
from triptych import metrics
from triptych.core import FAITHFUL, ItemNoise, Label, Labels, Picture, UsageError
from triptych.report import Quantity
from triptych.tasks.inpainting import Inpainting
from triptych.tasks.measuring import against_truth
from triptych.tasks.super_resolution import SuperResolution
from triptych.tasks.task import posed
from triptych.testing import Examples
from triptych.verbs.compare import compare
from triptych.verbs.evaluate import evaluate
from triptych.verbs.judge import Judge
from triptych.verbs.measures import MEASURES, Case, asked

SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A judge of a data set of two classes that nobody ever heard of, by a classifier that was trained for it."""
    train, test = Striped(SHAPE, n=400), Striped(SHAPE, n=100, seed=1)
    return train, test, Judge(train, test, n=80, seconds=0.6, cache=tmp_path_factory.mktemp("cache"))


def test_every_measure_says_how_and_beside_what():
    assert len({m.name for m in MEASURES}) == len(MEASURES)
    for m in MEASURES:
        assert m.needs and m.protocol and m.floor


def test_what_does_not_apply_is_left_out_with_a_reason():
    model = tt.create("gan", x=tt.Points(2), latent=2, generator_width=8, discriminator_width=4, pieces=2)
    found = evaluate(model, tt.data("ring-8"), tt.data("ring-8:test"), n=60)
    assert set(found.found) == {"modes"}
    assert set(found.skipped) == {m.name for m in MEASURES} - {"modes"}
    assert found.skipped["likelihoods"] == "gan has no likelihood"
    assert "ring-8:test serves" in found.skipped["distances"]
    text = found.as_dict()
    assert json.loads(json.dumps(text)) == text
    assert set(text["measures"]["modes"]) == {"protocol", "floor"} and len(text["measures"]) == 1
    assert text["skipped"] == found.skipped and text["distances"] == [] and text["classes"] is None
    assert "left out: likelihoods (gan has no likelihood)" in found.notes()
    assert "it is of solids" in found.skipped["shapes"] and "solids" not in " ".join(found.notes())  # nobody asks


def test_data_that_nobody_knows_are_judged_by_a_classifier_of_their_own_classes(judged):
    train, test, judge = judged
    model = tt.create("cgan", x=test.x, given=Labels(2), width=2, latent=4)
    found = evaluate(model, train, test, n=80, judge=judge)
    assert [d.extractor for d in found.distances] == ["classifier", "pca-64", "pixels"]
    assert "held-out ones classified right" in found.distances[0].extractor_about
    assert found.classes.reader == "classifier" and found.classes.accuracy is not None
    names = [line[0] for line in found.rows()]
    for name in ("FD-classifier", "precision", "precision (pixels)", "memorized", "class accuracy", "classes"):
        assert names.count(name) == 1, name
    (protocol,) = [line[3] for line in found.rows() if line[0] == "FD-classifier"]
    better = {v.name: v.better for v in found.row().values if isinstance(v, Quantity)}
    assert better["class accuracy"] == "higher" and better["confidence"] is None, "it may be sure of noise"
    assert "trained here on 360 training images" in protocol and "no resizing" in protocol
    assert found.as_dict()["digits"] is None and found.digits is None and found.as_dict()["classes"]["n"] == 80


def test_a_perfect_sampler_is_at_the_floor_and_of_the_class_that_was_asked_for(judged):
    train, test, judge = judged

    class Sampler(type(tt.create("cgan-tiny"))):
        """Draws training examples of the class."""

        def draw(self, noise, given):
            y = given.y.tolist()
            rows = [int((train.y == k).nonzero()[(i // 2) % 150]) for i, k in enumerate(y)]
            return train.x.from_index(train.images[rows])

    model = Sampler(tt.create("cgan", x=test.x, given=Labels(2), width=2, latent=4).config)
    found = evaluate(model, train, test, n=80, judge=judge)
    assert found.classes.accuracy > 0.9
    assert found.distances[0].generated.fd < 3 * found.distances[0].floor.fd
    assert found.memorization.memorized == 1 and found.memorization.memorized_floor < 0.1


class Reading(type(tt.create("vq-vae-tiny"))):
    """Codes are some of the pixels; those of samples are drawn evenly."""

    def encode(self, x, given=None):
        return self.config.x.index(x)[:, 0, ::4, ::4]


class Repeating(Reading):
    """Says the codes of training examples, one after the other."""

    known: Striped

    def draw_codes(self, noise, given=None):
        return self.encode(self.known.x.from_index(self.known.images[: noise.n]))


def test_copies_are_found_by_their_codes(judged, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_NATIVE", "0")
    train, test, _ = judged
    small = {"width": 8, "blocks": 1, "prior_width": 8, "prior_layers": 1, "prior_heads": 2}
    config = tt.create("vq-vae", x=test.x, codes=256, code_width=4, **small).config
    model, again = Reading(config), Repeating(config)
    again.known = train
    own, copied = (evaluate(m, train, test, n=50, features=["pixels"], limit=10) for m in (model, again))
    assert own.found["copies"][0].value == 0 and copied.found["copies"][0].value == 1
    assert copied.found["copies"][0].floor < 0.1
    (line,) = [row for row in copied.rows() if row[0] == "copied codes"]
    assert line[1] == "100.0 %" and "training items" in line[3] and "noise" not in line[3]
    assert copied.as_dict()["copies"][0]["value"] == 1


@dataclass
class Noised:
    """Pictures under noise that hides what they are."""

    mean: torch.Tensor
    uniforms = SHAPE

    def icdf(self, u):
        return (self.mean + 4 * u - 2).clamp(-1, 1)


class Hiding(type(tt.create("vae-tiny"))):
    """Draws training examples."""

    known: Striped

    def observe(self, noise, given=None):
        return Noised(self.known.x.from_index(self.known.images[: noise.n]))


def test_copies_are_found_behind_the_noise_of_a_decoder(judged):
    train, test, _ = judged
    model = Hiding(tt.create("vae", x=test.x, latent=2, hidden=[4]).config)
    model.known = train
    found = evaluate(model, train, test, n=50, features=["pixels"], limit=10)
    assert found.memorization.memorized == 1 and found.memorization.memorized_floor < 0.1
    asides = {row[0]: row[3] for row in found.rows()}
    assert "without the noise" in asides["memorized"] and "with the decoder's noise" in asides["FD-pixels"]
    assert torch.equal(found.shown[0], train.x.from_index(train.images[:1])[0])
    assert "has no codes" in found.skipped["copies"]


def test_classes_are_matched_by_their_names(judged, monkeypatch):
    _, test, judge = judged
    monkeypatch.setattr(judge, "names", ("rows", "columns"))
    given = Labels(2, names=("Columns", "rows"))
    model = tt.create("cgan", x=test.x, given=given, width=2, latent=4)
    told = Label(torch.tensor([0, 0, 1]))
    case = Case(model=model, test=test, judge=judge, n=3, given=told, seed=0, limit=None, draws=None)
    assert asked(case, judge.reader).tolist() == [1, 1, 0]
    monkeypatch.setattr(judge, "names", ("rows", "dots"))
    assert asked(case, judge.reader) is None
    monkeypatch.setattr(judge, "names", None)
    assert asked(case, judge.reader).tolist() == [0, 0, 1], "no names: by number"
    monkeypatch.setattr(model, "config", replace(model.config, given=Labels(3)))
    assert asked(case, judge.reader) is None, "of another number of classes"


def test_features_are_taken_as_asked(tmp_path):
    train, test = Striped(SHAPE, n=40, labels=False), Striped(SHAPE, n=30, seed=1, labels=False)
    model = tt.create("gan", x=test.x, latent=2, generator_width=8, discriminator_width=4, pieces=2)
    found = evaluate(model, train, test, n=50, features=["random-conv"])
    assert [d.extractor for d in found.distances] == ["random-conv"]
    assert "there is no classifier" in found.skipped["classes"]
    assert found.memorization.extractor == "pixels", "copies are found by pixels whatever distances are taken on"
    usual = evaluate(model, train, test, n=50)
    assert "got 40 of 256" in usual.without["pca-64"] and "pca-64" in " ".join(usual.notes())


# Tasks


def photographs(shape=(3, 32, 32), n=12):
    return Striped(shape, n=n, labels=False, name="photographs")


def test_super_resolution_is_measured_beside_its_baselines():
    data, task = photographs(), SuperResolution(times=2)
    asked = posed(data, task)
    model = tt.create("sr-compact", x=asked.x, given=asked.given, width=4, depth=1)
    psnr, ssim = against_truth(model, asked)
    assert set(psnr.baselines) == {"nearest", "bicubic"} and "border of 2 pixels" in psnr.protocol
    batch = asked.fetch(torch.arange(12), ItemNoise(0, range(12)))
    how = metrics.Convention(border=2)
    for name, fill in task.baselines().items():
        expected = metrics.fidelity(fill(batch.given, asked.x), batch.x, how)
        assert (psnr.baselines[name], ssim.baselines[name]) == (expected.mean_psnr, expected.mean_ssim)
    own = metrics.fidelity(model.sample(12, batch.given, seed=0), batch.x, how)
    assert (psnr.value, ssim.value) == pytest.approx((own.mean_psnr, own.mean_ssim), rel=1e-6)
    assert against_truth(model, asked, limit=5)[0].n == "5 pictures"
    with pytest.raises(UsageError, match="does not take what super-resolution asks with"):
        against_truth(model, posed(photographs((3, 64, 64)), task))


def test_inpainting_is_measured_in_its_holes_and_what_is_known_counts_as_known():
    class Truth:
        """A model that knows the truth, and spoils all that it was not asked for."""

        name, device = "truth", torch.device("cpu")

        def __init__(self, data):
            self.data, self.config = data, type("Config", (), {"given": data.given})

        def sample(self, n, given, *, seed, first, how):
            assert isinstance(given, Picture) and how is FAITHFUL
            x = self.data.fetch(torch.arange(first, first + n), ItemNoise(0, range(first, first + n))).x
            return torch.where(given.grid[:, -1:] > 0, x, -x)

    asked = posed(photographs(n=60), Inpainting())
    hole, psnr, ssim = against_truth(Truth(asked), asked)
    assert [m.name for m in (hole, psnr, ssim)] == ["PSNR in the hole", "PSNR", "SSIM"]
    assert hole.value == psnr.value == math.inf and ssim.value == pytest.approx(1)
    assert set(hole.baselines) == {"border mean", "diffusion"}
    assert all(0 < hole.baselines[name] < psnr.baselines[name] < 60 for name in hole.baselines)


def test_evaluate_shows_a_tasks_own_measures(monkeypatch):
    task = SuperResolution(times=2)
    train, test = (posed(photographs(n=n), task) for n in (40, 20))
    model, drawn = tt.create("sr-compact", x=test.x, given=test.given, width=4, depth=1), []
    draw = type(model).draw
    monkeypatch.setattr(type(model), "draw", lambda *a, **b: drawn.append(1) or draw(*a, **b))
    found = evaluate(model, train, test, n=50, features=["random-conv"])
    assert len(drawn) == 1, "what distances are taken of is what is compared with the truth"
    apart = against_truth(model, test)
    for one, other in zip(found.measurements, apart, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-4) and one.baselines == other.baselines
    assert [m.name for m in found.measurements] == ["PSNR", "SSIM"]
    assert found.n == len(found.images) == 20 and found.distances[0].n_gen == 20
    assert found.notes()[0] == "20 samples of 50: one for each condition that is held out"
    (line,) = [line for line in found.rows() if line[0] == "PSNR, dB"]
    assert "baselines: nearest" in line[3] and "20 pictures" in line[3]
    assert found.as_dict()["measurements"][0]["baselines"].keys() == {"nearest", "bicubic"}
    plain = evaluate(tt.create("gan-tiny"), *2 * [Examples(tt.create("gan-tiny").config.x)], n=50, features=["pixels"])
    assert plain.skipped["measurements"] == "random examples is not posed by a task"


def test_a_run_for_a_task_is_evaluated_and_compared_as_its_task_says(tmp_path, cli):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, one in enumerate(photographs((3, 64, 66), n=160).images):
        Image.fromarray(one.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    out = tmp_path / "run"
    done = cli(
        "train",
        "super-resolution",
        "--data",
        folder,
        "--out",
        out,
        "--steps",
        2,
        "--batch",
        2,
        "times=2",
        "width=4",
        "depth=1",
    )
    assert done.code == 0, done.err
    done = cli("evaluate", out, "--data", folder, "-n", 50, "--features", "random-conv", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    names = [m["name"] for m in found["measurements"]]
    assert names == ["PSNR", "SSIM", "PSNR, whole pictures", "SSIM, whole pictures"]
    assert found["distances"][0]["extractor"] == "random-conv"
    both = compare([out], n=50, features=["random-conv"], out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "From above: what was asked, the answers, and the truth" in page
    bicubic = both.evaluations[0].measurements[0].baselines["bicubic"]
    assert (
        f"bicubic {bicubic:.3g}" in page[page.index("Against the truth") : page.index("Protocol", page.index("PSNR"))]
    )
    assert both.evaluations[0].measurements[0].value == pytest.approx(found["measurements"][0]["value"], rel=1e-5)
    refused = cli("evaluate", out, "--data", folder, "--features", "random-con")
    assert refused.code == 2 and "did you mean 'random-conv'?" in refused.err
