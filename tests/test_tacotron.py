"""Tacotron: attention that goes on letter by letter, an exact likelihood of spectrograms, and speech step by step."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Laplace

from triptych.core import Audio, Batch, Clock, ItemNoise, Text, Tokens, UsageError
from triptych.models.autoregressive.tacotron import Tacotron, TacotronConfig, uneven
from triptych.nn.alignment import stepwise
from triptych.nn.mel import Mel

RATE, STEPS = 8000, 300
TONES = {1: 400, 2: 900, 3: 1800}
MEL = Mel(rate=RATE, fft=256, hop=64, mels=20, mean=-4.0, deviation=3.0)


def small(**settings) -> Tacotron:
    torch.manual_seed(0)
    config = TacotronConfig(x=Audio(1, 8000, rate=RATE), given=Tokens(4, 5), mel=MEL, width=16, layers=1, hidden=16)
    return Tacotron(TacotronConfig(**{**vars(config), "narrow": 8, "rounds": 12, **settings}))


# Attention


def test_attention_is_the_sum_over_all_ways_to_go_on() -> None:
    torch.manual_seed(0)
    stay = torch.rand(1, 4, 3)
    found = stepwise(stay, torch.tensor([3]))
    expected = torch.zeros(4, 3)
    for way in product((0, 1), repeat=4):  # whether it goes on, step by step
        at, p = 0, 1.0
        places = []
        for step, goes in enumerate(way):
            last = at == 2
            p *= (1 - goes if last else (1 - stay[0, step, at] if goes else stay[0, step, at])) if p else 0.0
            at = min(2, at + goes)
            places.append(at)
        for step, place in enumerate(places):
            expected[step, place] += p
    torch.testing.assert_close(found[0], expected)


def test_attention_stays_at_the_last_letter_of_each_text() -> None:
    found = stepwise(torch.full((2, 9, 4), 0.1), torch.tensor([4, 2]))
    torch.testing.assert_close(found.sum(2), torch.ones(2, 9))
    assert found[1, :, 2:].abs().max() == 0 and found[0, -1, 3] > 0.99
    assert found[0, 0].tolist() == pytest.approx([0.1, 0.9, 0, 0])  # by one letter a step, and no more


def test_the_even_pace_is_not_pulled() -> None:
    even = torch.eye(6)[None]
    late = torch.eye(6)[[0, 0, 0, 0, 0, 5]][None]
    many = torch.tensor([6])
    assert uneven(even, many, many).max() < 1e-6 < 0.3 < uneven(late, many, many).mean()


# Likelihood


def test_the_likelihood_is_that_of_its_distributions() -> None:
    model = small().eval()
    torch.nn.init.normal_(model.breadth, std=0.3)
    mel, given = torch.randn(2, 20, 7), Text(torch.tensor([[1, 2, 3, 0, 0], [3, 1, 0, 0, 0]]))
    found = model.log_prob_mel(mel, given)
    frames = model.stepped(mel)
    middle, end, _ = model.taught(frames, given.tokens)
    density = Laplace(middle, model.breadth.exp()).log_prob(frames).sum((1, 2, 3))
    ends = Bernoulli(end).log_prob(torch.tensor([[0.0, 0.0, 1.0]]).expand(2, -1)).sum(1)
    torch.testing.assert_close(found.nats, density + ends)
    assert found.kind == "exact" and found.measure == "density" and found.dims == 9 * 20
    with pytest.raises(UsageError, match="condition"):
        model.log_prob_mel(mel, given[:1])


def test_a_frame_depends_on_those_before_it_only() -> None:
    model, given = small().eval(), torch.tensor([[1, 2, 3, 0, 0]])
    frames = torch.randn(1, 6, 3, 20)
    other = frames.clone()
    other[:, 3:] += 1
    one, two = (model.taught(some, given) for some in (frames, other))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a[:, :4], b[:, :4])
    assert not torch.allclose(one[0][:, 4], two[0][:, 4])


def test_step_by_step_it_says_what_it_says_all_at_once() -> None:
    model, given = small(x=Audio(1, 2048, rate=RATE)).eval(), Text(torch.tensor([[1, 2, 3, 0, 0], [3, 1, 0, 0, 0]]))
    torch.nn.init.normal_(model.middle.weight, std=0.5)
    made, drawn, steps = model.spoken(ItemNoise(0, [0, 1]), given, 10)
    frames = torch.cat((made[:, :, :-1], drawn[:, :, None]), 2)
    middle, end, _ = model.taught(frames, given.tokens)
    torch.testing.assert_close(made, middle, atol=1e-4, rtol=1e-4)
    assert made.shape[:2] == (2, 10) == drawn.shape[:2]
    lasts = (1 - end).cumprod(1)
    assert steps.tolist() == [1 + int((lasts[k, : made.shape[1] - 1] > 0.5).sum()) for k in range(2)]


def test_frames_after_the_end_of_a_recording_do_not_count() -> None:
    model, given = small(dropout=0.0, forgotten=0.0), Text(torch.tensor([[1, 2, 0, 0, 0]]))
    x = torch.zeros(1, 1, 8000)
    x[:, :, :1920] = 0.1 * torch.randn(1, 1, 1920)
    noise = ItemNoise(0, [0])
    whole = model.loss(Batch(x, given, noise, lengths=torch.tensor([1920])), Clock(0, 0.0)).value
    part = model.loss(Batch(x[:, :, :1920], given, noise), Clock(0, 0.0)).value
    torch.testing.assert_close(whole, part, atol=1e-4, rtol=1e-4)


def test_in_bfloat16_an_end_that_is_sure_costs_what_it_does() -> None:
    """1 - 1e-4 is 1 in bfloat16, and what goes on after it has a probability of zero."""
    model, given = small(dropout=0.0, forgotten=0.0), Text(torch.randint(1, 4, (4, 5)))
    torch.nn.init.constant_(model.ends.bias, 9.0)
    torch.nn.init.constant_(model.key.bias, -4.0)
    batch = Batch(torch.rand(4, 1, 8000) - 0.5, given, ItemNoise(0, range(4)), lengths=torch.tensor([8000, 6000] * 2))
    plain = model.loss(batch, Clock(1, 0.9)).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.loss(batch, Clock(1, 0.9)).value
    torch.testing.assert_close(rounded, plain, rtol=0.05, atol=0.0)


# A voice of tones


def spoken(n: int) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Texts of tones, their sound, and how long it is."""
    drawn, found = np.random.default_rng(0), []
    for _ in range(n):
        letters = drawn.integers(1, 4, drawn.integers(2, 6))
        t = np.arange(960) / RATE
        sound = np.concatenate([0.3 * np.sin(2 * np.pi * TONES[int(k)] * t) for k in letters])
        x = np.zeros(8000, np.float32)
        x[: len(sound)] = sound + 1e-3 * drawn.standard_normal(len(sound))
        tokens = np.zeros(5, np.int64)
        tokens[: len(letters)] = letters
        found.append((torch.from_numpy(x)[None], torch.from_numpy(tokens), len(sound)))
    return found


def heard(sound: torch.Tensor) -> list[int]:
    """The tones of a sound, each once for a stretch of a third of its length or more."""
    pieces = sound.unfold(0, 256, 64) * torch.hann_window(256)
    size = torch.fft.rfft(pieces).abs()
    at = size.argmax(1) * RATE / 256
    found = [min(TONES, key=lambda k: abs(TONES[k] - f)) if s > 4 else 0 for f, s in zip(at, size.amax(1), strict=True)]
    said, run = list[int](), 0
    for k, tone in enumerate(found):
        run = run + 1 if k and tone == found[k - 1] else 1
        if run == 5 and tone:
            said.append(tone)
    return said


def test_it_learns_to_say_tones_in_order() -> None:
    model, data = small(width=32, hidden=48, narrow=24), spoken(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(STEPS):
        some = [data[k] for k in np.random.default_rng(step).integers(0, len(data), 8)]
        x, tokens = torch.stack([a for a, _, _ in some]), torch.stack([b for _, b, _ in some])
        batch = Batch(x, Text(tokens), ItemNoise(step, range(8)), lengths=torch.tensor([n for _, _, n in some]))
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / STEPS)
        optimizer.zero_grad()
        model.loss(batch, Clock(step, step / STEPS)).value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        given = Text(torch.tensor([[3, 1, 2, 0, 0]]))
        sound, samples = model.speak(ItemNoise(0, [0]), given)
        slow = model.speak(ItemNoise(0, [0]), given, 1.6)[1]
        x, tokens, n = data[0]
        attention, mel = model.alignment(x[None, :, :n], Text(tokens[None]))
        own = model.log_prob_mel(mel, Text(tokens[None])).nats
        others = model.log_prob_mel(mel, Text(torch.where(tokens == 0, tokens, 4 - tokens)[None])).nats
    assert heard(sound[0]) == [3, 1, 2]
    assert 0.5 < int(samples[0]) / 2880 < 1.6 and float(slow / samples) == pytest.approx(1.6, abs=0.1)
    places = (attention[0] * torch.arange(attention.shape[1])[:, None]).sum(0)
    assert (places.diff() >= -1e-3).all() and places[0] < 1 and places[-1] > attention.shape[1] - 3
    assert own > others
