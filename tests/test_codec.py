"""The codec: its stages, its codes and their likelihood, what judges hear, and what is measured of it."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import FAITHFUL, Audio, Batch, Clock, ItemNoise, Label, Sampling, UsageError
from triptych.losses.features import alike
from triptych.media.wav import encode_wav
from triptych.models.vae.codec import PRESETS, Codec, CodecConfig
from triptych.nn.judges import ManyPeriods, ManyRates, PeriodJudge
from triptych.nn.many_mels import ManyMels
from triptych.nn.vocos import Spectra
from triptych.testing.toys import Examples
from triptych.training import Run, train
from triptych.verbs.evaluate import evaluate
from triptych.verbs.sample import to_look_at

TINY: CodecConfig = PRESETS["codec-tiny"].config
CLASSES: CodecConfig = PRESETS["codec-tiny-classes"].config


def test_each_stage_moves_its_own_and_the_last_only_the_transformer() -> None:
    torch.manual_seed(0)
    model, before = Codec(replace(CLASSES, alone=2)), dict[str, dict[str, Tensor]]()
    before["start"] = copy.deepcopy(model.state_dict())
    steps = list[str]()
    for now in train(model, Examples(CLASSES.x, CLASSES.given), Run(steps=2, batch=8)):
        steps.append(now.stage_name)
        before[now.stage_name] = copy.deepcopy(model.state_dict())
    assert steps == ["auto-encoder"] * 4 + ["adversarial"] * 2 + ["codes"] * 2

    def moved(a: str, b: str) -> set[str]:
        return {k.partition(".")[0] for k in before[a] if not torch.equal(before[a][k], before[b][k])}

    assert moved("start", "auto-encoder") == {"encoder", "decoder"}
    assert moved("auto-encoder", "adversarial") == {"encoder", "decoder", "judges"}
    assert moved("adversarial", "codes") == {"prior"}


def test_parts_of_clips_are_learned_from_and_never_the_silence_behind_them() -> None:
    model = Codec(replace(TINY, segment=16))
    x = torch.arange(1, 33.0).expand(200, 1, 32).clone() / 32
    x[:, :, 17:] = 0
    batch = Batch(x, None, ItemNoise(0, range(200)), lengths=torch.full((200,), 17))
    part = model.cut(batch, 16)
    begins = part[:, 0, 0] * 32
    assert part.shape == (200, 1, 16) and set(begins.long().tolist()) == {1, 9, 17}  # at codes, of 8 samples
    assert model.rebuilt(batch).shape == (2, 200, 1, 16)


@pytest.mark.parametrize("samples", [8, 16, 24])
def test_no_part_is_of_silence_alone_where_a_clip_ends_with_a_code(samples: int) -> None:
    model = Codec(replace(TINY, segment=8))
    heard = torch.arange(32) < samples
    batch = Batch(heard.expand(200, 1, 32).float(), None, ItemNoise(0, range(200)), lengths=torch.full((200,), samples))
    part = model.cut(batch, 8)
    assert (part == 1).all()  # parts of a code's length lie on codes
    empty = replace(batch, x=0 * batch.x, lengths=0 * batch.lengths)
    assert model.cut(empty, 8).shape == (200, 1, 8)


def test_codes_have_a_likelihood_and_sounds_have_none() -> None:
    small = replace(CLASSES, x=Audio(2, 30, rate=8000), levels=(3,))
    model = Codec(small).double().eval()
    torch.nn.init.normal_(model.prior.out.weight, std=2.0)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    given = Label(torch.ones(9, dtype=torch.long))
    p = model.log_prob_codes(every, given)
    assert p.kind == "exact" and p.dims == 2
    assert p.nats.exp().sum().item() == pytest.approx(1) and p.nats.std() > 0.1
    with pytest.raises(AttributeError, match="has no likelihood"):
        model.log_prob(torch.zeros(1, 2, 30))
    with pytest.raises(UsageError, match="guidance"):
        model.log_prob_codes(every, given, guidance=2.0)


def test_samples_go_on_from_codes_that_are_known_and_follow_the_class() -> None:
    torch.manual_seed(0)
    model = Codec(CLASSES).eval()
    torch.nn.init.normal_(model.prior.out.weight, std=2.0)
    known = torch.tensor([[3, -1]])
    x = model.sample(20, [1] * 20, seed=0, how=Sampling(known=known))
    one, other = (model.sample(40, [k] * 40, seed=0, how=Sampling(guidance=3)) for k in (0, 2))
    assert x.shape == (20, 2, 30) and not torch.equal(one, other)
    assert model.decode(model.encode(x), None).mean.shape == x.shape
    assert to_look_at(model) is FAITHFUL  # there is no noise of the decoder to leave out


def test_the_best_of_several_is_the_one_that_the_class_makes_most_likelier() -> None:
    torch.manual_seed(0)
    model = Codec(CLASSES).eval()
    torch.nn.init.normal_(model.prior.out.weight, std=2.0)
    given = Label(torch.arange(3).repeat(20))
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))[:3].repeat(20, 1)
    none = model.prior.prefix.none(60)
    gain = model.log_prob_codes(every, given).nats + model.prior.nats(every, none)
    torch.testing.assert_close(model.fits(every, given), gain)

    def fit(best_of: int) -> float:
        x = model.sample(60, given, seed=0, how=Sampling(best_of=best_of))
        return model.fits(model.encode(x), given).mean().item()

    assert fit(6) > fit(1)


def test_codes_before_may_be_misread_in_training() -> None:
    torch.manual_seed(0)
    model = Codec(replace(CLASSES, misread=1.0, drop=0.0))
    torch.nn.init.normal_(model.prior.out.weight, std=2.0)
    x, given = 0.3 * torch.randn(50, 2, 30), Label(torch.zeros(50, dtype=torch.long))
    code = model.encode(x)

    def learned(misread: float) -> float:
        model.config = replace(CLASSES, misread=misread, drop=0.0)
        return model.code_loss(Batch(x, given, ItemNoise(0, range(50))), Clock(0, 0.0)).value.item()

    said = -model.log_prob_codes(code, given).nats.mean().item() / 2
    assert learned(0.0) == pytest.approx(said, rel=1e-5) and learned(1.0) != pytest.approx(said, rel=1e-2)


def test_sound_goes_through_a_spectrum_unharmed() -> None:
    """What is read says it all: the logarithm of a magnitude, and its root with the phase."""
    spectra, x = Spectra(8000, 64, 16), 0.3 * torch.randn(2, 2, 160)
    size, real, imaginary = spectra.read(x).view(4, 3, 33, 10).unbind(1)
    loud = (size * -torch.tensor(1e-5).log()).exp()
    torch.testing.assert_close(real.square() + imaginary.square(), loud, rtol=1e-3, atol=1e-5)
    said = torch.stack((size * -torch.tensor(1e-5).log(), torch.atan2(imaginary, real)), 1)
    torch.testing.assert_close(spectra.sound(said.view(2, -1, 10), 2), x, atol=1e-4, rtol=0)


def test_codes_of_a_batch_that_judges_have_to_themselves_are_not_counted() -> None:
    model = Codec(TINY)
    batch = Batch(torch.rand(4, 1, 32), None, ItemNoise(0, range(4)))
    model.judges_loss(batch, Clock(0, 0.0))
    assert model.fsq.seen.sum() == 0
    model.judges_loss(replace(batch, made=lambda make: make()), Clock(0, 0.0))  # of all players
    assert model.fsq.seen.sum() == 16


def test_distances_of_spectrograms_are_in_nats_and_those_of_judges_add_up() -> None:
    """Half as loud is log 2 off in every band of every window."""
    torch.manual_seed(0)
    x = 0.5 * torch.randn(1, 1, 512)
    assert ManyMels(8000, (32, 128))(x, x / 2).item() == pytest.approx(np.log(2), rel=1e-4)
    real = [[torch.ones(2), torch.zeros(3)], [torch.ones(1)]]
    fake = [[torch.zeros(2), torch.full((3,), 0.5)], [torch.full((1,), 3.0)]]
    assert alike(real, fake).item() == pytest.approx(1 + 0.5 + 2)


def test_judges_hear_every_rate_and_every_period() -> None:
    x = torch.randn(2, 1, 100)
    heard = ManyRates(2, 1, 4, 2)(x)
    assert [[f.shape[2] for f in seen] for _, seen in heard] == [[100, 25, 7, 7], [51, 13, 4, 4]]
    judged = ManyPeriods((2, 7), 1, 4, 2)(x)
    assert [len(seen) for _, seen in judged] == [3, 3] and all(len(score) == 2 for score, _ in judged)
    judge = PeriodJudge(5, 1, 2, 1).double()
    moved, still = (torch.zeros(1, 1, 60).double() for _ in range(2))
    moved[0, 0, 7] = 1
    felt = (judge(moved)[1][0] - judge(still)[1][0]).abs().sum((0, 1, 2))
    assert (felt > 0).nonzero().flatten().tolist() == [2]  # its column: 7 of 5


def test_evaluate_says_what_goes_through_the_codes(tmp_path: Path) -> None:
    x = Audio(1, 512, rate=8000)
    for kind, hz in (("low", 300), ("high", 2500)):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for i in range(30):
            clip = 0.5 * np.sin(2 * np.pi * (hz + 7 * i) * np.arange(512) / 8000)[None].astype(np.float32)
            (tmp_path / "in" / kind / f"{i}.wav").write_bytes(encode_wav(clip, 8000))
    train, test = (tt.data(tmp_path / "in", split=s, sound=x, cache=tmp_path / "cache") for s in ("train", "all"))
    model = Codec(replace(TINY, x=x, given=None, hop=64, fft=128))
    found = {one.name: one for one in evaluate(model, train, test, n=50, features=["pixels"]).found["codes"]}
    assert found["-log2 p(codes), a code"].value == pytest.approx(np.log2(6), rel=1e-5)  # uniform until trained
    assert found["log mel distance through codes"].value > 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Audio(1, 100)}, "hop=256 samples.*x.length=256 would do"),
        ({"fft": 300}, "fft=1024 would do"),
        ({"x": Audio(1, 4096, companding="mu-law")}, "leave it out"),
        ({"prior_width": 10}, "prior_width"),
        ({"segment": 1000}, "segment=1000.*1024 would do"),
    ],
)
def test_what_cannot_be_built_is_said(fields, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CodecConfig(**fields)
