"""DF-GAN: the matching-aware penalty and loss at known answers; and the encoders of conditions."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from triptych.core import (
    Audio,
    Batch,
    Clock,
    Images,
    ItemNoise,
    Label,
    Labels,
    Picture,
    Points,
    Sampling,
    Text,
    Tokens,
    UsageError,
    Vector,
)
from triptych.core.text import Words
from triptych.losses import penalties
from triptych.models.gan.df_gan import DFGAN, PRESETS, DFGANConfig, widths
from triptych.nn.conditioning import SentenceEncoder, embed, told_apart

TINY: DFGANConfig = PRESETS["df-gan-tiny"].config
WORDS = Tokens(6, 4, symbols=Words(words=("<pad>", "<unknown>", "a", "red", "car", "bus")))
CLOCK = Clock(0, 0.0)


def test_the_penalty_is_of_both_gradients() -> None:
    """Of D(x, e) = w . x + v . e it is (|w| + |v|)^p."""
    w, v = torch.randn(3, 2, 2), torch.randn(5)
    x, e = penalties.watched(torch.randn(4, 3, 2, 2)), torch.randn(4, 5, requires_grad=True)
    scores = (x * w).sum((1, 2, 3)) + e @ v
    found = penalties.matching_aware(scores, x, e, 6)
    torch.testing.assert_close(found, (w.norm() + v.norm()) ** 6)


def batch_of(tokens: list[list[int]]) -> Batch[Text]:
    n = len(tokens)
    return Batch(torch.rand(n, 3, 8, 8) * 2 - 1, Text(torch.tensor(tokens)), ItemNoise(0, range(n)))


class Steep(nn.Module):
    """A judge whose score is that of x plus that of e, and the same at every gradient."""

    def forward(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return 0 * h.flatten(1).sum(1) + 3 * e[:, 0]


def test_the_loss_is_the_papers() -> None:
    """With a score of its sentence alone, 3 e: 1 for what is real, and 1/2 each for what is made and what does not
    fit."""
    model = DFGAN(replace(TINY, penalty=0.0))
    model.discriminator.judge = Steep()  # type: ignore[assignment]
    batch = batch_of([[1, 2, 0], [3, 1, 1], [4, 4, 4]])
    score = 3 * model.discriminator.condition(batch.given)[:, 0]
    expected = (1 - score).relu().mean() + (1 + score).relu().mean() / 2 + (1 + score).relu().mean() / 2
    torch.testing.assert_close(model.discriminator_loss(batch, CLOCK).value, expected)


def test_what_is_said_of_both_is_no_misfit() -> None:
    model = DFGAN(replace(TINY, penalty=0.0))
    model.discriminator.judge = Steep()  # type: ignore[assignment]
    batch = batch_of([[1, 2, 0]] * 3)
    score = 3 * model.discriminator.condition(batch.given)[0, 0]
    expected = (1 - score).relu() + (1 + score).relu() / 2
    torch.testing.assert_close(model.discriminator_loss(batch, CLOCK).value, expected)
    model.discriminator_loss(batch_of([[1, 2, 0]]), CLOCK)  # one alone


def test_the_penalty_comes_as_often_as_it_is_asked_for_and_reaches_both_parts() -> None:
    model, batch = DFGAN(replace(TINY, penalty_every=3)), batch_of([[1, 2, 0], [3, 1, 1]])
    for block in model.discriminator.trunk[1:]:
        nn.init.ones_(block.gamma)
    found = [model.discriminator_loss(batch, Clock(k, 0.0)) for k in range(4)]
    assert ["penalty" in loss.logs for loss in found] == [True, False, False, True]
    weights = [model.discriminator.judge.both.weight, model.discriminator.trunk[0].weight]
    gradients = torch.autograd.grad(found[0].logs["penalty"], weights)
    assert all(g.any() for g in gradients)


def test_every_block_hears_what_is_said_and_truncation_narrows_what_is_made() -> None:
    model = DFGAN(TINY)
    for name, weight in model.generator.named_parameters():
        if name.endswith("layers.2.weight"):
            nn.init.normal_(weight, std=0.3)
    model.average.module.load_state_dict(model.generator.state_dict())
    h = torch.randn(2, widths(TINY.x, TINY.width)[0], 4, 4)
    for block in model.generator.blocks:
        codes = torch.randn(2, 1, TINY.latent + TINY.embedding).expand(-1, 2, -1)
        one, other = block(h, codes[0]), block(h, codes[1])
        assert (one - other).abs().max() > 1e-3
        h = one
    given = Text(torch.tensor([[1, 2, 0]]).expand(64, -1))
    spread = [model.sample(64, given, seed=0, how=Sampling(truncation=t)).std(0).mean() for t in (0.1, 3.0)]
    assert spread[0] < spread[1] / 3


def test_what_is_made_of_it_is_clipped_in_use_and_not_in_training() -> None:
    model = DFGAN(TINY)
    nn.init.constant_(model.generator.last[-1].bias, 2.0)
    nn.init.constant_(model.average.module.last[-1].bias, 2.0)
    given = Text(torch.tensor([[1, 2, 0]]))
    assert model.sample(1, given, seed=0).max() <= 1
    assert model.train().draw(ItemNoise(0, [0]), given).max() > 1


# Encoders of conditions


def test_what_fills_up_a_sentence_says_nothing_and_the_order_of_words_does() -> None:
    longer = replace(WORDS, length=7)
    short, long = SentenceEncoder(WORDS, 8), SentenceEncoder(longer, 8)
    long.load_state_dict(short.state_dict())
    tokens = torch.tensor([[2, 3, 4, 0], [0, 0, 0, 0], [4, 0, 0, 0]])
    e = short(Text(tokens))
    filled = long(Text(torch.cat([tokens, tokens.new_zeros(3, 3)], 1)))
    torch.testing.assert_close(e, filled)
    assert e.isfinite().all()
    turned = short(Text(torch.tensor([[4, 3, 2, 0]])))
    assert (turned - e[:1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (WORDS, Text(torch.tensor([[2, 3, 0, 0], [3, 0, 0, 0]]))),
        (Tokens(5, 3), Text(torch.tensor([[0, 0, 1], [0, 1, 1]]))),
        (Labels(3), Label(torch.tensor([0, 2]))),
        (Points(2), Vector(torch.randn(2, 2))),
        (Images(1, 9, 20), Picture(torch.randn(2, 1, 9, 20))),
    ],
)
def test_a_condition_of_any_kind_is_one_vector(space, given) -> None:
    encoder = embed(space, 6)
    e = encoder(given)
    assert e.shape == (2, 6) and (e[0] - e[1]).abs().max() > 1e-5
    e.square().sum().backward()
    assert all(w.grad is not None for w in encoder.parameters())
    assert told_apart(given, given.map(lambda t: t.roll(1, 0))).tolist() == [True, True]
    assert told_apart(given, given).tolist() == [False, False]


def test_a_condition_that_is_no_vector_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be a condition that is made one vector of"):
        embed(Audio(1, 16), 4)  # type: ignore[arg-type]
