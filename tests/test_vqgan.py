"""VQGAN: codes of length 1, the weight of the adversarial loss, and its three stages."""

import copy
import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from triptych.core import Batch, Clock, Images, Label, StepNoise, UsageError
from triptych.losses import adversarial
from triptych.models.vae.vqgan import PRESETS, VQGAN, VQGANConfig
from triptych.nn.codebook import UnitCodebook
from triptych.testing.toys import Examples
from triptych.training import Run, train
from triptych.verbs.create import create

TINY: VQGANConfig = PRESETS["vqgan-tiny"].config
CLASSES: VQGANConfig = PRESETS["vqgan-tiny-classes"].config


def test_the_nearest_code_is_that_of_the_smallest_angle() -> None:
    book = UnitCodebook(3, 2, decay=0.9, revive=0.1)
    book.codes = torch.tensor([[9.0, 0.0], [0.0, 0.1], [-1.0, -1.0]])
    z = torch.nn.functional.normalize(torch.tensor([[0.9, 1.0], [1.0, 0.9], [-0.1, -3.0]]), dim=-1)
    assert book.nearest(z).tolist() == [1, 0, 2]
    torch.testing.assert_close(book(torch.arange(3)), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-(0.5**0.5)] * 2]))


def test_learned_codes_follow_directions_and_come_into_use() -> None:
    """Of vectors in two directions, however few codes were near them at first, every code finds one."""
    torch.manual_seed(0)
    book = UnitCodebook(2, 2, decay=0.8, revive=0.1)
    book.codes, book.counts = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.ones(2)
    kinds = torch.tensor([[-1.0, 0.0], [0.0, -1.0]])
    for step in range(40):
        z = torch.nn.functional.normalize(kinds[torch.arange(32) % 2] + 0.02 * torch.randn(32, 2), dim=-1)
        book.observe(z[:, None], book.nearest(z)[:, None], StepNoise(step, 32, slice(None)))
        said = book.follow()
    assert (kinds @ book(torch.arange(2)).T).max(1).values.min() > 0.99 and said["used"] == 1


def test_the_balance_is_the_ratio_of_gradients() -> None:
    """By hand: |(2, 0)| over |(0, 3)|; nothing of it is differentiated."""
    last = torch.zeros(2, requires_grad=True)
    kept, fooled = 2 * last[0] + 1, 3 * last[1]
    found = adversarial.balance(kept, fooled, last)
    assert found.item() == pytest.approx(2 / 3, rel=1e-4) and not found.requires_grad
    assert adversarial.balance(kept, 0 * fooled, last).item() == 1e4
    (kept + found * fooled).backward()
    assert last.grad is not None and last.grad.norm().item() == pytest.approx(2**1.5, rel=1e-3)


@pytest.mark.parametrize("c", [TINY, CLASSES], ids=["learned", "FSQ by class"])
def test_the_discriminator_starts_late_and_the_log_says_so(c: VQGANConfig, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, before = VQGAN(c), dict[str, dict[str, Tensor]]()
    before["start"] = copy.deepcopy(model.state_dict())
    with caplog.at_level(logging.INFO, logger="triptych"):
        for now in train(model, Examples(c.x, c.given), Run(steps=2, batch=8)):
            assert (now.step > 2) == ("the discriminator starts" in caplog.text)
            assert ("auto-encoder/weight" in now.logs()) == (now.stage_name == "adversarial")
            before[now.stage_name] = copy.deepcopy(model.state_dict())
    assert list(before) == ["start", "codes", "adversarial", "prior"]

    def moved(a: str, b: str) -> set[str]:
        return {k.partition(".")[0] for k in before[a] if not torch.equal(before[a][k], before[b][k])}

    book = set() if c.levels else {"book"}
    assert moved("start", "codes") == {"encoder", "decoder"} | book
    assert moved("codes", "adversarial") == {"encoder", "decoder", "discriminator"} | book
    assert moved("adversarial", "prior") == {"code_prior"}


def test_there_is_no_likelihood_of_images_but_of_codes() -> None:
    model = VQGAN(CLASSES).double().eval()
    torch.nn.init.normal_(model.code_prior.out.weight, std=0.7)
    with pytest.raises(AttributeError, match="has no likelihood"):
        model.log_prob(torch.zeros(1, 3, 16, 24))
    with pytest.raises(UsageError, match="condition"):
        model.log_prob_codes(torch.zeros(1, 2, 3, dtype=torch.long))
    small = VQGAN(replace(CLASSES, x=Images(1, 16, 16), halvings=4, levels=(3,), judge_halvings=1)).double()
    torch.nn.init.normal_(small.code_prior.out.bias)
    p = small.log_prob_codes(torch.arange(3).view(3, 1, 1), Label(torch.zeros(3, dtype=torch.long)))
    assert p.kind == "exact" and p.nats.exp().sum().item() == pytest.approx(1) and p.nats.std() > 0.1


def test_an_image_through_its_codes_is_what_the_codes_decode_to() -> None:
    model, x = VQGAN(TINY).eval(), Examples(TINY.x).values[:3]
    torch.nn.init.normal_(model.decoder[-1].weight)
    assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)))
    loss = model.loss(Batch(x, None, StepNoise(0, 3, slice(None))), Clock(0, 0.0))
    torch.testing.assert_close(loss.logs["pixel"], (model.reconstruct(x) - x).abs().mean())


@pytest.mark.parametrize("model", ["vqgan", "vq-vae", "vq-vae-2", "var"])
def test_one_code_says_nothing(model: str) -> None:
    with pytest.raises(UsageError, match="codes=1: it takes at least 2"):
        create(f"{model}-tiny", codes=1)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="the discriminator judges patches of 34 x 34"):
        VQGANConfig(x=Images(1, 16, 16), judge_halvings=2)
    with pytest.raises(UsageError, match="halvings=3"):
        VQGANConfig(x=Images(1, 36, 36))
