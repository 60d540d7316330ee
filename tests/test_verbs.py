"""The verbs as functions: the demo and its report, comparisons, walks, samples on disk."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych import metrics
from triptych.core import Adam, ItemNoise, UsageError
from triptych.testing import Examples
from triptych.verbs.compare import compare, distinct
from triptych.verbs.demo import Tick, demo
from triptych.verbs.evaluate import evaluate
from triptych.verbs.judge import Judge, served
from triptych.verbs.sample import conditions, sample, write
from triptych.verbs.sections import charts
from triptych.verbs.walk import Between, interpolate, reconstruct


@contextmanager
def silent() -> Iterator[Callable[[str, int], Tick]]:
    yield lambda title, total: lambda step, text: None


class Loads(HTMLParser):
    """What a page would load, and its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and tag != "a" and not value.startswith(("data:", "#")):
                self.loaded.append(value)


def text_of(path: Path) -> dict[str, str]:
    """What is written within a PNG."""
    with Image.open(path) as image:
        return dict(image.info)


@pytest.mark.slow
def test_the_demo_leaves_three_runs_and_a_report(tmp_path: Path) -> None:
    result = demo(tmp_path, progress=silent, quick=True)
    text = result.report.read_text()
    page = Loads()
    page.feed(text)
    assert page.loaded == [], "the report must be one file"
    for words in ("none: a GAN has no likelihood", "lower bound", "estimate", "exact", "FD-mnist-classifier", "floor"):
        assert words in text, words
    kinds = [[s["kind"] for s in run["likelihoods"]] for run in result.as_dict()["runs"]]
    assert kinds == [[], ["lower bound", "estimate"], ["exact"]]
    assert text_of(tmp_path / "samples.png")["seed"] == "0"
    for name in ("dcgan", "vae", "pixelcnn"):
        assert (tmp_path / name / "README.md").read_text().startswith("---\nlibrary_name: triptych")
        # where sampling one value after the other takes long, pictures are left out
        assert name == "pixelcnn" or (tmp_path / name / "samples" / "progress.gif").exists()
        about = json.loads((tmp_path / name / "config.json").read_text())
        assert about["model"] == name and about["run"]["steps"] == 4
    again = demo(tmp_path, progress=silent, quick=True)  # nothing is left to train; the same numbers come out
    assert [r["likelihoods"] for r in again.as_dict()["runs"]] == [r["likelihoods"] for r in result.as_dict()["runs"]]


def test_points_are_judged_by_their_modes() -> None:
    train, test = tt.data("ring-8"), tt.data("ring-8:test")
    model = tt.create("gan", x=tt.Points(2), latent=2, generator_width=8, discriminator_width=4, pieces=2)
    result = evaluate(model, train, test, n=60)
    assert result.modes is not None and result.modes.modes == 8 and result.modes.n == 60
    assert result.scores == () and result.distances == () and result.classes is None
    assert any(row[0] == "modes of 8" for row in result.rows())


def test_models_of_digits_are_asked_for_classes_and_their_own_categories_are_matched() -> None:
    train, test = tt.data("mnist"), tt.data("mnist:test")
    judge = Judge(train, test, n=40, pool=70)
    conditional = evaluate(tt.create("cgan", width=2, latent=4), train, test, n=40, judge=judge)
    assert conditional.classes is not None and conditional.classes.accuracy is not None and conditional.purity is None
    assert any(row[0] == "class accuracy" for row in conditional.rows())
    model = tt.create("infogan", width=2, hidden=8, latent=4)
    found = evaluate(model, train, test, n=40, limit=60, judge=judge)
    assert found.classes is not None and found.classes.accuracy is None
    assert found.purity is not None and (found.purity.n, found.purity.n_real) == (40, 60)
    assert found.as_dict()["purity"]["real"] == found.purity.real > 0.1
    assert [row[0] for row in found.rows()].count("category purity, real") == 1
    model.category = lambda x: metrics.classify(x.cpu()).argmax(1)  # a perfect reader of digits
    assert evaluate(model, train, test, n=40, limit=60, judge=judge).purity.generated == 1


def test_the_real_data_is_judged_as_good_as_itself() -> None:
    """The floor: training images in place of samples score what the floor says, exactly."""
    train, test = tt.data("mnist"), tt.data("mnist:test")
    judge = Judge(train, test, n=200, pool=200)
    for reference in judge.references:
        found = metrics.distances(judge.train, reference)
        assert found.generated.fd == pytest.approx(found.floor.fd, rel=1e-9)
        assert found.generated.coverage == found.floor.coverage > 0.8


def test_served_data_is_the_same_every_time_and_evenly_spaced() -> None:
    data = tt.data("mnist-binary:test")
    assert torch.equal(served(data, 20, 0), served(data, 20, 0))
    assert not torch.equal(served(data, 20, 0), served(data, 20, 1))
    grey = tt.data("mnist:test")
    assert torch.equal(served(grey, 10, 0)[3], grey.fetch(torch.tensor([3000]), ItemNoise(0, [0])).x[0])


def test_a_walk_begins_and_ends_at_the_samples_between_which_it_leads() -> None:
    a, b = ItemNoise(0, [0, 1]), ItemNoise(0, [2, 3])
    start = Between(ItemNoise(0, [0, 1]), ItemNoise(0, [2, 3]), 0.0)
    assert torch.equal(start.normal(5), a.normal(5)) and torch.equal(start.uniform(5), a.uniform(5))
    end = Between(ItemNoise(0, [0, 1]), ItemNoise(0, [2, 3]), 1.0)
    assert torch.allclose(end.normal(5), b.normal(5), atol=1e-6)
    half = Between(ItemNoise(0, range(500)), ItemNoise(1, range(500)), 0.5).normal(20)
    assert half.std().item() == pytest.approx(1, abs=0.03), "half way, a Gaussian is still a standard Gaussian"


def test_walks_and_reconstructions_by_family() -> None:
    vae = tt.create("vae-tiny")
    assert interpolate(vae, 2, 3).shape == (2, 3, 1, 2, 2)
    assert reconstruct(vae, torch.ones(4, 1, 2, 2)).shape == (4, 1, 2, 2)
    gan = tt.create("gan-tiny")
    walk = interpolate(gan, 2, 3, seed=5)
    assert torch.allclose(walk[:, 0], gan.sample(2, seed=5), atol=1e-6)
    with pytest.raises(UsageError, match="no latent"):
        interpolate(tt.create("pixelcnn-tiny"))
    with pytest.raises(UsageError, match="no encoder"):
        reconstruct(gan, torch.ones(1, 1, 4, 4))


def test_samples_do_not_depend_on_the_batch_and_land_on_disk(tmp_path: Path) -> None:
    model = tt.create("pixelcnn-tiny")
    x = sample(model, 7, seed=3, batch=2)
    assert torch.equal(x, sample(model, 7, seed=3, batch=100))
    write(model, x, tmp_path / "x.npz", {})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as stored:
        assert stored["x"].dtype == np.uint8
        assert torch.equal(model.config.x.from_index(torch.from_numpy(stored["x"])), x)
    assert len(write(model, x, tmp_path / "many", {"seed": "3"})) == 7
    assert text_of(tmp_path / "many" / "000002.png") == {"Software": "Triptych", "seed": "3", "item": "2"}
    with pytest.raises(UsageError, match="written as"):
        write(model, x, tmp_path / "x.jpg", {})
    with pytest.raises(UsageError, match="takes no label"):
        conditions(model, 3, "1")


def test_comparing_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        compare([tmp_path / "nowhere"])
    tt.save_pretrained(tt.create("vae-tiny"), tmp_path / "saved")
    with pytest.raises(UsageError, match="does not say what it was trained on"):
        compare([tmp_path / "saved"])
    tt.save_pretrained(tt.create("vae-tiny"), tmp_path / "other")
    assert distinct([tmp_path / "saved", tmp_path / "other"]) == ["vae (saved)", "vae (other)"]


def test_charts_of_a_log() -> None:
    log = [{"step": float(i), "seconds": 1.0, "g": 1.0, "d": 2.0, "d/D(real)": 0.5, "d/D(fake)": 0.4} for i in range(3)]
    found = {chart.title: [s.name for s in chart.series] for chart in charts(log)}
    assert found == {"loss": ["g", "d"], "D(real) and D(fake)": ["D(real)", "D(fake)"]}
    assert charts(log[:1]) == []


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path: Path) -> None:
    x = tt.Images(1, 3, 3, levels=2)
    seen, held, run = Examples(x, seed=1), Examples(x, seed=2), tt.Run(steps=12, batch=8)

    def trained(out: Path, held: Examples | None, steps: int = 12) -> tt.Generative:
        torch.manual_seed(0)
        model = tt.create("pixelcnn", x=x, width=16, blocks=1, head=16, adam=Adam(lr=0.3))
        for now in tt.train(model, seen, run, out=out, save_seconds=0, held=held, resume=out.exists()):
            if now.step == steps:
                break
        return model

    plain = trained(tmp_path / "plain", None)
    trained(tmp_path / "checked", held, steps=7)
    checked = trained(tmp_path / "checked", held)  # goes on, and still knows the best
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), checked.parameters(), strict=True))
    lines = [json.loads(line) for line in (tmp_path / "checked" / "metrics.jsonl").read_text().splitlines()]
    nats = {line["step"]: line["held_out/nats"] for line in lines if "held_out/nats" in line}
    best = min(nats, key=nats.__getitem__)
    (kept,) = (tmp_path / "checked" / "checkpoints").glob("best-*")
    assert len(nats) >= 11 and best < 12 and kept.name == f"best-{best:08d}"
    assert tt.score(tt.load(kept), held).nats == pytest.approx(nats[best], abs=1e-6)
    assert not list((tmp_path / "plain" / "checkpoints").glob("best-*"))
