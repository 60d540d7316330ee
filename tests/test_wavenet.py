"""WaveNet: its field, normalization, the sampler against the naive loop and the likelihood, conditions, refusals."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from triptych.core import (
    UNKNOWN,
    Audio,
    Batch,
    Clock,
    Exact,
    ItemNoise,
    Label,
    Labels,
    Sampling,
    StepNoise,
    UsageError,
)
from triptych.models.autoregressive.wavenet import PRESETS, WaveNet, WaveNetConfig
from triptych.nn.fixed_point import draw_naively
from triptych.nn.folded import FoldedConv
from triptych.verbs import sample as verb

MU_LAW = Audio(1, 24, rate=8000, levels=256, companding="mu-law")


def make(x: Audio, *, given: int | None = None, layers: int = 3, cycles: int = 2, sharp: float = 1.0) -> WaveNet:
    """A small random WaveNet; `sharp` is the standard deviation of its logits on random sound."""
    torch.manual_seed(0)
    labels = Labels(given) if given else None
    model = WaveNet(WaveNetConfig(x=x, given=labels, width=6, skip=8, layers=layers, cycles=cycles)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
        for _ in range(2):  # spread the logits around zero, so that no level is out of reach
            logits = model.logits(noisy(x, 32), classes(32, given)).flatten(0, -2)
            scale = sharp / (logits - logits.mean(0)).std()
            model.out.bias.sub_(logits.mean(0)).mul_(scale)
            model.out.weight.mul_(scale)
    return model


def noisy(x: Audio, n: int) -> Tensor:
    return x.from_index(torch.randint(x.levels, (n, *x.shape), generator=torch.Generator().manual_seed(1)))


def classes(n: int, given: int | None) -> Label | None:
    return Label(torch.arange(n) % given) if given else None


def everything(x: Audio) -> Tensor:
    states = torch.tensor(list(product(range(x.levels), repeat=x.dims)))
    return x.from_index(states.view(-1, 1, x.length))


# The likelihood


@pytest.mark.parametrize("x", [Audio(1, 6, levels=2), Audio(1, 5, levels=3), Audio(1, 2, levels=16)], ids=str)
@pytest.mark.parametrize("given", [None, 3])
def test_probabilities_sum_to_one(x: Audio, given: int | None) -> None:
    model, every = make(x, given=given, layers=2), everything(x)
    label = Label(torch.ones(len(every), dtype=torch.long)) if given else None
    with torch.no_grad():
        single = model.log_prob(every, label)
        double = model.double().log_prob(every.double(), label)
    assert isinstance(single, Exact) and (single.dims, single.measure, single.how) == (x.dims, "mass", "chain rule")
    assert single.nats.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert double.nats.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert single.nats.std() > 0.1  # a uniform distribution would prove little


def test_loss_is_nats_a_sample() -> None:
    model, noise = make(MU_LAW, given=4), StepNoise(0, 8, slice(None))
    batch = Batch(noisy(MU_LAW, 8), Label(torch.arange(8) % 4), noise)
    loss, p = model.loss(batch, Clock(0, 0.0)), model.log_prob(batch.x, batch.given)
    torch.testing.assert_close(loss.value, -p.nats.mean() / 24)
    torch.testing.assert_close(loss.logs["bits_per_dim"], p.bits_per_dim().mean())


def test_likelihood_is_that_of_the_class() -> None:
    model, x = make(MU_LAW, given=3).double(), noisy(MU_LAW, 6).double()
    first, second = (model.log_prob(x, Label(torch.full((6,), k))).nats for k in (0, 1))
    mixed = model.log_prob(x, Label(torch.tensor([0, 1, 0, 1, 0, 1]))).nats
    assert (first - second).abs().min() > 1e-3
    torch.testing.assert_close(mixed, torch.where(torch.arange(6) % 2 == 0, first, second), rtol=0, atol=1e-10)


# The field


@pytest.mark.parametrize("layers,cycles", [(1, 1), (3, 1), (3, 2), (5, 1), (2, 4)])
@pytest.mark.parametrize("training", [False, True])
def test_each_sample_sees_as_far_as_the_field_and_no_further(layers: int, cycles: int, training: bool) -> None:
    """By gradients with respect to what is read of each sample, all the way back; nothing of itself or later."""
    config = WaveNetConfig(x=replace(MU_LAW, length=60), width=8, skip=32, layers=layers, cycles=cycles)
    assert config.field == cycles * (2**layers - 1) + 2
    model = WaveNet(config).double().train(training)
    read: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        read.append(output.detach().requires_grad_())
        return read[0]

    model.first.register_forward_hook(keep)
    logits = model.logits(noisy(config.x, 1).double())[0, 0]
    for t in (0, 1, 7, 59):
        (moved,) = torch.autograd.grad(logits[t].square().sum(), read[0], retain_graph=True, allow_unused=True)
        seen = moved[0].abs().sum(1).nonzero().flatten().tolist() if moved is not None else []
        assert seen == list(range(max(0, t - config.field), t))


def test_the_papers_field() -> None:
    """Ten doublings, twice: 2,048 samples, of which the first convolution adds two to the 2,046 of the dilations."""
    config = PRESETS["wavenet-digits"].config
    assert list(config.dilations()) == 2 * [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] and config.field == 2048


# Sampling


@pytest.mark.parametrize("width,columns", [(1, 1), (3, 1), (8, 1), (50, 1), (5, 2), (1, 2), (4, 3)])
def test_a_folded_convolution_is_the_convolution(width: int, columns: int) -> None:
    """Step by step, what conv2d makes of the sequence folded into rows, padded by zeros above and on the left."""
    torch.manual_seed(0)
    rows, n = 40 // width + 1, 3
    weight, x = torch.randn(7, 5, 2, columns), torch.randn(n, 5, rows, width)
    bias = torch.randn(n, 7)
    whole = nn.functional.conv2d(nn.functional.pad(x, (columns - 1, 0, 1, 0)), weight) + bias[:, :, None, None]
    conv = FoldedConv(weight, bias, width, n)
    for t in range(40):
        conv.here(t).copy_(x.flatten(2)[:, :, t])
        torch.testing.assert_close(conv(t), whole.flatten(2)[:, :, t], rtol=0, atol=1e-5)


SPACES = [replace(MU_LAW, length=40), Audio(1, 33, levels=2), Audio(1, 30, levels=7), Audio(1, 1, levels=3)]


@pytest.mark.parametrize("x", SPACES, ids=str)
@pytest.mark.parametrize("given", [None, 3])
def test_sampler_equals_the_naive_loop(x: Audio, given: int | None) -> None:
    """Queues of every length are gone round several times."""
    model, label = make(x, given=given, sharp=2.0), classes(8, given)
    fast, naive = model.sample(8, label, seed=7), draw_naively(model, ItemNoise(7, range(8)), label)
    assert torch.equal(fast, naive) and torch.equal(x.from_index(x.index(fast)), fast)
    assert model.logits(fast, label).std() >= 1 or x.length == 1


def test_a_sample_does_not_depend_on_the_batch() -> None:
    model, y = make(MU_LAW, given=3, sharp=2.0), torch.arange(8) % 3
    all8 = model.sample(8, Label(y), seed=3)
    assert torch.equal(model.sample(1, Label(y[5:6]), seed=3, first=5), all8[5:6])
    assert model.sample(0, Label(y[:0]), seed=3).shape == (0, 1, 24)


def test_sampler_agrees_with_likelihood() -> None:
    x, n = Audio(1, 4, levels=3), 20_000
    model, label = make(x, given=2, layers=2), Label(torch.ones(n, dtype=torch.long))
    drawn = x.index(model.draw(StepNoise(11, n, slice(None)), label)).flatten(1)
    counts = torch.bincount((drawn * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81).double()
    with torch.no_grad():
        expected = n * model.log_prob(everything(x), label[:81]).nats.double().exp()
    assert expected.max() > 3 * expected.mean()
    rare = expected < 5  # pooled, as the approximation asks
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    assert chi2.sf(((counts - expected) ** 2 / expected).sum().item(), len(expected) - 1) > 1e-3


def test_goes_on_from_a_beginning() -> None:
    model = make(MU_LAW, sharp=2.0)
    known = torch.full((1, 1, 24), UNKNOWN)
    known[..., :9] = torch.randint(256, (9,))
    drawn = MU_LAW.index(model.sample(4, seed=0, how=Sampling(known=known)))
    assert (drawn[..., :9] == known[..., :9]).all() and not torch.equal(drawn[0, 0, 9:], drawn[1, 0, 9:])


# Files


def test_samples_become_wav_files_and_a_sheet(tmp_path: Path) -> None:
    model = make(MU_LAW)
    x = model.sample(3, seed=0)
    assert verb.write(model, x, tmp_path / "all.wav", {})[0].read_bytes().startswith(b"RIFF")
    files = verb.write(model, x, tmp_path / "each", {})
    assert [f.name for f in files] == ["000000.wav", "000001.wav", "000002.wav"]
    (sheet,) = verb.write(model, x, tmp_path / "sheet.png", {"seed": "0"})
    assert sheet.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"\.mp3"):
        verb.write(model, x, tmp_path / "all.mp3", {})


# Refusals


def test_refuses_what_it_does_not_model() -> None:
    with pytest.raises(ValueError, match="2 channels"):
        WaveNetConfig(x=Audio(2, 100, levels=256))
    with pytest.raises(ValueError, match=r"65,536 levels.*companding"):
        WaveNetConfig(x=Audio(1, 100))
    model = make(MU_LAW)
    with pytest.raises(UsageError, match="not on"):
        model.log_prob(torch.full((1, 1, 24), 0.1234))
    with pytest.raises(UsageError, match="shape"):
        model.log_prob(torch.ones(1, 1, 25))
    conditional = make(MU_LAW, given=2)
    for asked in (lambda: conditional.sample(1, seed=0), lambda: conditional.log_prob(noisy(MU_LAW, 1))):
        with pytest.raises(UsageError, match="needs a condition"):
            asked()
