"""Scores of anomaly: known answers of each, and two sets of images told apart."""

from math import log

import pytest
import torch
from torch import Tensor

import triptych as tt
from triptych.core import Estimate, Exact, Images, ItemNoise, LowerBound, Points, StepNoise, Tokens, UsageError
from triptych.data import data
from triptych.inference.anomaly import (
    auroc,
    complexity_corrected,
    likelihood_ratio,
    lossless_bits,
    raw,
    typicality,
)
from triptych.testing import Examples
from triptych.verbs.anomaly import anomaly

# AUROC


def by_pairs(a: Tensor, b: Tensor) -> float:
    more, same = (b[:, None] > a).double(), (b[:, None] == a).double()
    return (more + same / 2).mean().item()


def test_the_area_is_the_share_of_pairs() -> None:
    a, b = torch.randn(40), torch.randn(30) + 0.7
    assert auroc(a, b).auroc == pytest.approx(by_pairs(a, b))
    a, b = torch.randint(4, (50,)).float(), torch.randint(5, (60,)).float()
    assert auroc(a, b).auroc == pytest.approx(by_pairs(a, b))


def test_known_areas() -> None:
    low, high = torch.arange(5.0), torch.arange(5.0) + 10
    assert (auroc(low, high).auroc, auroc(high, low).auroc, auroc(low, low).auroc) == (1, 0, 0.5)
    assert auroc(low, high).stderr == 0
    same = auroc(torch.zeros(4), torch.zeros(9))
    assert (same.auroc, same.normal, same.anomalous) == (0.5, 4, 9)


def test_the_standard_error_is_the_spread_over_samples() -> None:
    found = [auroc(torch.randn(60), torch.randn(40) + 0.5) for _ in range(500)]
    values = torch.tensor([f.auroc for f in found])
    errors = torch.tensor([f.stderr for f in found])
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.1)
    # P(N(.5, 2) > 0)
    assert values.mean().item() == pytest.approx(
        torch.distributions.Normal(0, 2**0.5).cdf(torch.tensor(0.5)).item(), abs=0.01
    )


def test_areas_of_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="1 normal and 5 anomalous"):
        auroc(torch.zeros(1), torch.zeros(5))
    with pytest.raises(UsageError, match="NaN"):
        auroc(torch.tensor([0.0, torch.nan]), torch.zeros(5))


# Scores


def exact(nats: Tensor, **fields) -> Exact:
    return Exact(**{"nats": nats, "dims": 4, "measure": "mass", "how": "chain rule", **fields})


def test_the_ratio_is_of_two_likelihoods_of_a_kind() -> None:
    a, b = torch.tensor([-3.0, -5.0]), torch.tensor([-4.0, -4.0])
    assert likelihood_ratio(exact(a), exact(b)).tolist() == [-1, 1]
    bound = LowerBound(nats=b, dims=4, measure="mass", how="ELBO")
    estimate = Estimate(nats=b, dims=4, measure="mass", how="IS", stderr=b)
    for other, words in (
        (bound, "kind exact, the background's lower bound"),
        (estimate, "kind exact"),
        (exact(b, measure="density"), "measure mass"),
        (exact(b, dims=5), "dims 4"),
    ):
        with pytest.raises(UsageError, match=words):
            likelihood_ratio(exact(a), other)


def test_raw_and_corrected() -> None:
    nats = torch.tensor([-log(2) * 100, -log(2) * 300], dtype=torch.float64)
    assert raw(nats).tolist() == (-nats).tolist()
    torch.testing.assert_close(
        complexity_corrected(nats, torch.tensor([80.0, 310.0])).double(), torch.tensor([20.0, -10.0]).double()
    )


def test_typicality_is_of_batches_and_to_either_side() -> None:
    nats = -torch.tensor([1.0, 3.0, 5.0, 5.0, 0.0])
    assert typicality(nats, 3.0, 2).tolist() == [1, 2]
    assert typicality(nats, 3.0, 1).tolist() == [2, 0, 2, 2, 3]
    for batch in (0, 6):
        with pytest.raises(UsageError, match=r"batch=.*5"):
            typicality(nats, 3.0, batch)


@pytest.mark.parametrize(
    "space",
    [Images(1, 16, 16, levels=2), Images(1, 16, 16), Images(3, 16, 16), Images(2, 16, 16), Tokens(300, 64)],
    ids=str,
)
def test_bits_of_a_compressor(space) -> None:  # type: ignore[no-untyped-def]
    """Of a constant next to nothing but the header; of random levels at least their entropy; for each item alone."""
    levels = space.vocabulary if isinstance(space, Tokens) else space.levels
    noise = torch.randint(levels, (3, *space.shape))
    x = torch.cat([torch.zeros_like(noise[:1]), noise])
    x = x if isinstance(space, Tokens) else space.from_index(x)
    bits = lossless_bits(space, x)
    assert bits[0] < 8 * 110 and (bits % 8 == 0).all()
    assert (bits[1:] >= 0.98 * space.dims * torch.tensor(levels).log2()).all()
    assert torch.equal(bits[1:2], lossless_bits(space, x[1:2]))
    assert lossless_bits(space, x[:0]).shape == (0,)


def test_png_spends_a_bit_on_a_pixel_of_two_levels() -> None:
    x = Images(1, 64, 64, levels=2).from_index(torch.randint(2, (1, 1, 64, 64)))
    assert lossless_bits(Images(1, 64, 64, levels=2), x).item() < 64 * 64 + 8 * 150


def test_bits_of_what_has_no_levels_are_refused() -> None:
    with pytest.raises(UsageError):
        lossless_bits(Points(2), torch.zeros(2, 2))


# Mutated data


def test_so_many_values_are_replaced_by_any_level() -> None:
    whole, mutated = data("mnist:test"), data("mnist:test", mutate=0.25)
    assert mutated.name == "mnist-mutated-0.25:test" and whole.fingerprint != mutated.fingerprint
    assert data("mnist:test", mutate=0.0).fingerprint == whole.fingerprint
    rows = torch.arange(60)
    a, b = (d.fetch(rows, ItemNoise(0, range(60))).x for d in (whole, mutated))
    changed = a != b
    n = changed.numel()
    assert changed.float().mean().item() == pytest.approx(0.25 * 255 / 256, abs=4 * (0.19 / n) ** 0.5)
    level = mutated.x.index(b)[changed].float()
    assert level.mean().item() == pytest.approx(127.5, abs=2) and level.min() == 0 and level.max() == 255
    again = mutated.fetch(rows[:3], ItemNoise(0, range(3))).x
    assert torch.equal(again, b[:3]) and not torch.equal(mutated.fetch(rows[:3], ItemNoise(1, range(3))).x, b[:3])


def test_binary_pixels_are_drawn_and_then_replaced() -> None:
    mutated = data("mnist-binary", mutate=1.0)
    x = mutated.fetch(torch.arange(50), StepNoise(0, 50, slice(None))).x
    mutated.x.index(x)
    assert x.mean().abs() < 0.03, "all replaced: coins"
    held = mutated.held_out()
    assert held is not None and held.mutate == 0, "what a run is checked on stays whole"


def test_what_cannot_be_mutated_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mutate=1\.5"):
        data("mnist", mutate=1.5)
    with pytest.raises(UsageError, match="images and sound"):
        data("ring-8", mutate=0.1)


# The verb


class Stroked(Examples):
    """Images that are dark on `share` of their pixels."""

    def __init__(self, share: float, n: int = 60) -> None:
        super().__init__(Images(1, 3, 3, levels=2), None, n)
        generator = torch.Generator().manual_seed(int(100 * share))
        self.values = (torch.rand(n, 1, 3, 3, generator=generator) < share).float() * 2 - 1
        self.name = f"strokes-{share}"


def biased(bias: float) -> tt.core.Generative:
    """A model of independent pixels, each 1 with odds exp(bias)."""
    model = tt.create("pixelcnn-tiny")
    with torch.no_grad():
        for w in model.parameters():
            w.zero_()
        *_, last = (p for name, p in model.named_parameters() if name.endswith("bias"))
        last.fill_(bias)
    return model


def test_two_sets_are_told_apart_and_raw_likelihood_is_fooled_by_simple_images() -> None:
    """The failure in small: a model that expects dark pixels in a third finds empty images likelier than its own."""
    model, background = biased(-0.7), biased(-1.4)
    normal, simple = Stroked(1 / 3), Stroked(0.05)
    found = anomaly(model, normal, simple, background=background, group=5, batch=25)
    by_name = {s.name: s for s in found.scores}
    assert list(by_name) == [
        "raw likelihood",
        "likelihood ratio",
        "complexity correction",
        "typicality of 1",
        "typicality of 5",
    ]
    assert found.nats_other < found.nats_normal and by_name["raw likelihood"].auroc < 0.15
    assert by_name["likelihood ratio"].auroc > 0.85, "the background expects them emptier"
    assert by_name["typicality of 5"].auroc > 0.9
    assert (by_name["raw likelihood"].normal, by_name["typicality of 5"].normal) == (60, 6)
    assert found.kind == "exact" and found.as_dict()["scores"][0]["name"] == "raw likelihood"
    same = anomaly(model, normal, simple, background=background, group=5, batch=60)
    assert same == found


def test_without_a_background_there_is_no_ratio() -> None:
    found = anomaly(biased(-0.7), Stroked(0.3), Stroked(0.6), limit=20, group=100)
    assert [s.name for s in found.scores] == ["raw likelihood", "complexity correction", "typicality of 1"]
    assert found.background is None and found.scores[0].normal == 20


def test_a_background_of_another_kind_is_refused() -> None:
    vae = tt.create("vae-tiny", x=Images(1, 3, 3, levels=2))
    with pytest.raises(UsageError, match="kind exact, the background's lower bound"):
        anomaly(biased(-0.7), Stroked(0.3), Stroked(0.6), background=vae)
    with pytest.raises(UsageError, match="no likelihood"):
        anomaly(tt.create("gan-tiny"), Stroked(0.3), Stroked(0.6))
