"""Text to image: how words are read, what is trained, asked, completed and measured."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import Batch, IntegrityError, ItemNoise, Sampling, Text, Tokens, UsageError
from triptych.core.text import PAD, UNKNOWN, Words
from triptych.data import shapes
from triptych.metrics.matching import Matching, equal
from triptych.tasks import fitting
from triptych.tasks.captions import heard
from triptych.tasks.task import posed
from triptych.tasks.text_to_image import TextToImage
from triptych.verbs.jobs import slug

WORDS = ("<pad>", "<unknown>", "a", "red", "heart", "car", "blue")
SPACE = Tokens(7, 4, symbols=Words(words=WORDS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """48 pictures of shapes to train on, and 16 of held-out pairs."""
    root = tmp_path_factory.mktemp("shapes")
    for split, n in (("train", 48), ("test", 16)):
        kinds, rest = shapes.plan_apart(n, 3, split == "test")
        pictures = np.concatenate(list(shapes.draw(kinds, rest, 16)))
        (root / split).mkdir()
        rows = ["file_name,text"]
        for i, (picture, said) in enumerate(zip(pictures, shapes.placed_captions(kinds, rest), strict=True)):
            Image.fromarray(picture.transpose(1, 2, 0)).save(root / split / f"{i}.png")
            rows.append(f"{i}.png,{said}")
        (root / split / "metadata.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory, cli) -> dict[str, Path]:
    """A model of codes and a GAN, hardly trained."""
    out = tmp_path_factory.mktemp("runs")
    models = {
        "codes": ["llamagen-32", "tokenizer_width=8", "width=16", "layers=1", "heads=2", "levels=[4,3]"],
        "gan": ["df-gan-32", "width=4", "latent=8", "embedding=8"],
    }
    for name, (model, *fields) in models.items():
        words = ["text-to-image", "--model", model, *fields, "--data", folder, "--size", 16, "--pictures", 1]
        done = cli("train", *words, "--steps", 2, "--batch", 8, "--out", out / name)
        assert done.code == 0, done.err
    return {name: out / name for name in models}


# How words are read


def test_words_are_read_as_the_model_knows_them_and_what_it_does_not_know_is_said(caplog) -> None:
    assert heard(SPACE, "A red HEART").tolist() == [2, 3, 4, PAD]
    assert not caplog.messages
    assert heard(SPACE, "a green hearts").tolist() == [2, UNKNOWN, 4, PAD]
    assert "'green': it is read as any word" in caplog.text and "'hearts': it is read as 'heart'" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" \n", "the text is empty: say what the picture is to show, in words such as a, red"),
        ("a red heart in a blue car", "is 7 words and marks long, and the model reads 4: leave some out"),
        ("sailing ship", "knows none of these words; it was trained on captions with words such as a, red"),
        ("красное", r"none of these words \(nor any of the letters а, е, к, н, о"),
    ],
)  # fmt: skip
def test_captions_that_cannot_be_read_are_refused_with_what_would_do(text, why) -> None:
    with pytest.raises(UsageError, match=why):
        heard(SPACE, text)


# What is trained on


def test_words_are_forgotten_in_training_alone(folder) -> None:
    data = posed(tt.data(folder, size=16), TextToImage(forgotten=0.4))
    rows = torch.arange(48)
    batch, plain = data.fetch(rows, ItemNoise(0, range(48))), data.plain(rows, ItemNoise(0, range(48)))
    changed = batch.given.tokens != plain.given.tokens
    assert (batch.given.tokens[changed] == UNKNOWN).all() and torch.equal(batch.x, plain.x)
    words = plain.given.tokens != PAD
    assert not changed[~words].any() and 0.3 < changed[words].double().mean() < 0.5
    short = Batch(plain.x[:9], Text(torch.tensor([[2, 3, PAD, PAD]] * 9)), ItemNoise(0, range(9)))
    assert (TextToImage(forgotten=0.9).altered(short).given.tokens[:, 2:] == PAD).all()
    held = data.held_out()
    assert held is not None
    some = torch.arange(16)
    told = held.fetch(some, ItemNoise(0, range(16))).given.tokens
    assert torch.equal(told, held.plain(some, ItemNoise(0, range(16))).given.tokens)


def test_data_without_captions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"learns from captions, and there are none: .* text column of metadata.csv"):
        posed(tt.data(np.full((30, 3, 8, 8), 9, np.uint8), split="all"), TextToImage())


# What is asked


def read(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    with Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image).copy(), dict(image.text)  # type: ignore[attr-defined]


def test_a_caption_becomes_pictures_that_say_what_they_are_of(runs, tmp_path, cli) -> None:
    asked = ["apply", runs["codes"], "--text", "a small red stars", "-n", 2, "--guidance", 3, "--device", "cpu"]
    done = cli(*asked, "--out", tmp_path / "star.png", "--sheet", tmp_path / "sheet.png")
    assert done.code == 0 and "'stars': it is read as 'star'" in done.err, done.err
    assert "star-0.png to" in done.out and "star-1.png" in done.out
    (first, said), (second, other) = read(tmp_path / "star-0.png"), read(tmp_path / "star-1.png")
    assert first.shape == (16, 16, 3) and not np.array_equal(first, second)
    assert said["caption"] == "a small red stars" and said["guidance"] == "3"
    assert (said["seed"], other["seed"]) == ("0", "1") and len(said["run"]) == 12
    again = tt.apply(runs["codes"], text="a small red star", guidance=3.0, seed=1)
    assert np.array_equal(np.asarray(again.image()), second)
    piped = tt.pipeline("text-to-image", runs["codes"])("a small red star", guidance=3.0, seed=1)
    assert np.array_equal(piped.pixels, again.pixels)


def test_captions_come_from_a_file_and_from_standard_input(runs, tmp_path, cli, monkeypatch) -> None:
    (tmp_path / "captions.txt").write_text("a small red star\n\na large blue ring at the top left\nthe\n")
    done = cli("apply", runs["gan"], "--text", tmp_path / "captions.txt", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    names = ["1-a-small-red-star.png", "2-a-large-blue-ring-at-the-top-left.png", "3-the.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    monkeypatch.setattr("sys.stdin", io.StringIO("a small red star\n"))
    assert cli("apply", runs["gan"], "--text", "-", "--out", tmp_path / "one.png").code == 0
    assert np.array_equal(read(tmp_path / "one.png")[0], read(tmp_path / "out" / names[0])[0])
    refused = cli("apply", runs["gan"], "--text", tmp_path / "captions.txt", "--out", tmp_path / "all.png")
    assert refused.code == 2 and "the pictures of 3 lines go into a folder" in refused.err
    empty = cli("apply", runs["gan"], "--text", "", "--out", tmp_path / "no.png")
    assert empty.code == 2 and "is empty" in empty.err and "Traceback" not in empty.err


def test_names_of_files_hold_nothing_but_words() -> None:
    assert slug("A red/../heart: ♥ №1!") == "a-red-heart-1" and slug("♥") == "text" and len(slug("word " * 99)) <= 40


def test_what_a_model_does_not_do_is_refused_with_the_reason(runs, folder, tmp_path) -> None:
    with pytest.raises(UsageError, match="vae draws no pictures of words: it is given nothing"):
        TextToImage().ask(tt.create("vae-tiny"), text="a red star")
    gan = tt.pipeline("text-to-image", runs["gan"])
    with pytest.raises(UsageError, match=r"df-gan was not trained to do without its condition; leave out guidance=3"):
        gan("a red star", guidance=3.0)
    picture = folder / "train" / "0.png"
    with pytest.raises(UsageError, match="df-gan cannot complete a picture: that takes a model of codes"):
        gan("a red star", picture=picture, mask=picture)
    codes = tt.pipeline("text-to-image", runs["codes"])
    with pytest.raises(UsageError, match="a mask goes with a picture"):
        codes("a red star", mask=picture)
    large = tmp_path / "large.png"
    Image.new("RGBA", (24, 24)).save(large)
    Image.new("L", (24, 24), 0).save(tmp_path / "m.png")
    with pytest.raises(UsageError, match="to fill"):
        codes("a red star", picture=large, mask=tmp_path / "m.png")
    half = Image.new("L", (24, 24), 0)
    half.paste(255, (0, 0, 24, 12))
    half.save(tmp_path / "m.png")
    with pytest.raises(UsageError, match=r"has 24 x 24 pixels .* makes pictures of 16 x 16: resize it"):
        codes("a red star", picture=large, mask=tmp_path / "m.png")
    x, tokens = torch.zeros(1, 3, 16, 16), heard(codes.model.config.given, "a red star")[None]
    x = codes.model.config.x.from_index(codes.model.config.x.nearest(x))
    with pytest.raises(UsageError, match="guided samples are not drawn from p"):
        codes.model.log_prob(x, Text(tokens), guidance=3.0)


@pytest.mark.parametrize("verb", ["score", "evaluate", "compress"])
def test_likelihoods_of_guided_samples_are_refused_with_the_reason(runs, cli, verb) -> None:
    done = cli(verb, runs["codes"], "--guidance", 3)
    assert done.code == 2 and "guided samples are not drawn from p(x | given)" in done.err, done.err


def test_a_picture_is_completed_and_what_is_known_of_it_stays(runs, folder, tmp_path) -> None:
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (0, 8, 16, 16))
    mask.save(tmp_path / "mask.png")
    pipe, picture = tt.pipeline("text-to-image", runs["codes"]), folder / "train" / "0.png"
    made = [pipe("a red star", picture=picture, mask=tmp_path / "mask.png", seed=k).pixels for k in (0, 1)]
    with Image.open(picture, formats=("PNG",)) as image:
        known = np.asarray(image)
    assert all(np.array_equal(one[:8], known[:8]) for one in made)
    assert not np.array_equal(made[0][8:], made[1][8:])
    question = pipe.ask(text="a red star", picture=picture, mask=tmp_path / "mask.png")
    assert question.how.known is not None
    codes = question.how.known.view(4, 4)
    assert (codes[:2] >= 0).all() and (codes[2:] == -1).all()


# What is measured


def test_shapes_are_read_without_a_mistake() -> None:
    kinds, rest = shapes.plan_apart(150, 7, False)
    seen = shapes.read(np.concatenate(list(shapes.draw(kinds, rest, 32))))
    said = [f"a {a} {b} {c} at the {d} {e}" for a, b, c, d, e in zip(*vars(seen).values(), strict=True)]
    assert said == shapes.placed_captions(kinds, rest)


def test_held_out_pairs_are_in_no_other_split() -> None:
    def pairs(apart: bool) -> set[tuple[str, ...]]:
        captions = shapes.captions_of(shapes.plan_apart(3000, 0, apart)[0])
        return {tuple(caption.split()[2:]) for caption in captions}

    assert pairs(True) == set(shapes.APART) and not pairs(False) & set(shapes.APART)
    assert len(pairs(False)) == len(shapes.COLORS) * len(shapes.SHAPES) - len(shapes.APART)
    apart = [set(column) for column in zip(*shapes.APART, strict=True)]
    assert apart == [set(shapes.COLORS), set(shapes.SHAPES)]


def plain(n: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of one of three colors, and the word for it."""
    generator = torch.Generator().manual_seed(0)
    k = torch.arange(n) % 3
    x = torch.full((n, 3, 8, 8), 40, dtype=torch.uint8)
    x[torch.arange(n), k] = torch.randint(150, 256, (n, 8, 8), generator=generator, dtype=torch.uint8)
    tokens = torch.zeros(n, 4, dtype=torch.int64)
    tokens[:, 0], tokens[:, 1] = 2, torch.tensor([3, 4, 5])[k]
    return x, tokens


def test_pictures_and_captions_find_each_other() -> None:
    x, tokens = plain()
    found = Matching.learned(x, tokens, SPACE, seconds=0.1)
    right, among = found.precision(x, tokens, tokens)
    assert right > 0.95 and among == 3
    wrong, _ = found.precision(x, tokens.roll(1, 0), tokens)
    assert wrong < 0.05
    again = Matching.restored(found.shape, SPACE, found.tensors())
    assert again.sha256 == found.sha256 and again.about == found.about
    torch.testing.assert_close(again.pictures(x), found.pictures(x))
    with pytest.raises(IntegrityError):
        Matching.restored((1, 8, 8), SPACE, found.tensors())
    with pytest.raises(UsageError, match="captions that differ"):
        found.precision(x, tokens[:1].expand_as(tokens), tokens[:1])


def test_r_precision_is_a_share_of_pictures_whose_own_caption_is_nearest(monkeypatch) -> None:
    """Of 150 captions at known places: a picture that lies nearer to 30 of the others is right as often as none of them
    is among the 99 that are drawn."""
    found = Matching.__new__(Matching)
    pool = torch.arange(150)[:, None]
    place = torch.zeros(150, 1)
    place[:30], place[40] = 2.0, 1.0
    monkeypatch.setattr(found, "pictures", lambda images: torch.ones(len(images), 1), raising=False)
    monkeypatch.setattr(found, "captions", lambda tokens: place[tokens[:, 0]], raising=False)
    images = torch.zeros(400, 3, 8, 8)
    assert found.precision(images, torch.full((400, 1), 40), pool) == (0.0, 100)
    place[:30] = 0.0
    assert found.precision(images, torch.full((400, 1), 40), pool) == (1.0, 100)
    place[0] = 2.0  # one that is nearer: not among 99 of the other 149 in 50 of 149 draws
    right, _ = found.precision(images, torch.full((400, 1), 40), pool)
    assert abs(right - 50 / 149) < 0.09
    assert equal(pool[:2], pool[:3]).tolist() == [[True, False, False], [False, True, False]]


def test_a_model_is_measured_by_what_its_pictures_show(runs, folder, monkeypatch) -> None:
    test = posed(tt.data(folder, size=16, split="test"), TextToImage())
    model = tt.load(runs["gan"])
    true, tokens = fitting.taken(test, torch.arange(16))
    x = test.x.from_index(true)
    found = {m.name: m for m in fitting.attributes(x, true, fitting.captions_of(test.given, tokens), "one each")}
    assert found["all attributes right"].value == found["color right"].floor == 1
    shuffled = fitting.attributes(x.roll(1, 0), true, fitting.captions_of(test.given, tokens), "one each")
    assert shuffled[0].value < 0.5
    assert not fitting.attributes(x, true, ["a red heart"] * 16, "one each")
    quick = partial(fitting.matching, seconds=0.1)
    monkeypatch.setattr(fitting, "matching", quick)
    measured = {m.name: m for m in fitting.fit(model, test, limit=12)}
    assert {"R-precision", "all attributes right", "diversity"} <= measured.keys()
    assert measured["R-precision"].floor is not None and "held-out" in measured["R-precision"].n
    train = posed(tt.data(folder, size=16), TextToImage())
    found = tt.evaluate(model, train, test, n=12, limit=12, features=["pixels"]).found["measurements"]
    assert [m.name for m in found] == list(measured) and found[0].value == measured["R-precision"].value
    kept = quick(test.training_part())
    assert kept.sha256 == quick(test.training_part()).sha256 and "trained apart on 44" in kept.about
    guided = fitting.asked(tt.load(runs["codes"]), tokens[:2], 0, Sampling(guidance=2.0))
    assert guided.shape == (2, 3, 16, 16)


def test_the_run_knows_its_task_and_shows_captions_in_words(runs) -> None:
    with Image.open(max((runs["gan"] / "samples").iterdir()), formats=("PNG",)) as image:
        assert image.width > 7 * 32 and image.height > 8 * 3 * 18  # a page of three lines beside each
    about = json.loads((runs["gan"] / "config.json").read_text())
    assert about["task"] == {"name": "text-to-image", "forgotten": 0.05}
