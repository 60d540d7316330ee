"""Muon: what it does to matrices, to all else, and that it goes on where it stopped."""

import pytest
import torch
from torch import nn

from triptych.core import Adam, IntegrityError, Muon
from triptych.core.muon import Orthogonalized, orthogonalized
from triptych.training.restoring import restore


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.hidden, self.head = nn.Embedding(5, 4), nn.Linear(4, 6), nn.Linear(6, 5)

    def loss(self) -> torch.Tensor:
        return self.head(self.hidden(self.embedding(torch.arange(5))).tanh()).square().mean()


def moved(net: Net, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 5, 9), (2, 9, 5)], ids=str)
def test_singular_values_become_about_one_and_their_directions_stay(shape) -> None:
    torch.manual_seed(1)
    x = torch.randn(shape)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    found = orthogonalized(1000 * x, 6)
    core = u.mT @ found @ v.mT
    size = core.diagonal(dim1=1, dim2=2)
    assert size.min() > 0.6 and size.max() < 1.3
    assert (core - torch.diag_embed(size)).abs().max() < 1e-3
    torch.testing.assert_close(orthogonalized(x[:1], 6), found[:1], atol=1e-4, rtol=1e-4)


def test_the_first_step_of_a_matrix_is_lr_in_every_direction_and_adam_moves_the_rest() -> None:
    net = Net()
    before = {name: w.detach().clone() for name, w in net.named_parameters()}
    muon = Muon(lr=0.1, schedule="constant", adam=Adam(lr=1e-2, betas=(0.8, 0.95)))
    moved(net, muon.of(net.hidden)(net.parameters()), 1)
    change = {name: w.detach() - before[name] for name, w in net.named_parameters()}
    values = torch.linalg.svdvals(change["hidden.weight"]) / (0.1 * (6 / 4) ** 0.5)
    assert values.min() > 0.6 and values.max() < 1.3
    for name in ("embedding.weight", "head.weight", "head.bias", "hidden.bias"):
        torch.testing.assert_close(change[name].abs(), torch.full_like(change[name], 1e-2), atol=1e-4, rtol=1e-2)


def test_other_weights_move_as_torchs_adam_moves_them() -> None:
    one, other = Net(), Net()
    muon = Muon(adam=Adam(lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1))
    moved(one, muon.of(nn.Linear(1, 1))(one.parameters()), 4)  # nothing of it is hidden
    moved(other, torch.optim.AdamW(other.parameters(), lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1), 4)
    for w, v in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(w, v)


def test_it_goes_on_where_it_stopped() -> None:
    whole, part, again = Net(), Net(), Net()
    muon = Muon(lr=0.05)
    moved(whole, muon.of(whole.hidden)(whole.parameters()), 5)
    optimizer = muon.of(part.hidden)(part.parameters())
    moved(part, optimizer, 3)
    again.load_state_dict(part.state_dict())
    resumed = muon.of(again.hidden)(again.parameters())
    restore(resumed, optimizer.state_dict())
    moved(again, resumed, 2)
    for w, v in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(w, v)


@pytest.mark.parametrize("wrong", ["slot", "group"])
def test_a_state_of_another_run_is_refused(wrong: str) -> None:
    net = Net()
    optimizer = Muon().of(net.hidden)(net.parameters())
    moved(net, optimizer, 1)
    state = optimizer.state_dict()
    if wrong == "slot":
        matrix = next(k for k, held in state["state"].items() if "momentum" in held)
        state["state"][matrix] = {"mean": torch.zeros(6, 4)}
    else:
        state["param_groups"][0]["momentum"] = "much"
    with pytest.raises(IntegrityError, match="not one of this run"):
        restore(optimizer, state)


def test_rates_follow_progress() -> None:
    muon = Muon(lr=1.0, schedule="linear", warmup=0.5, adam=Adam(lr=2.0, schedule="constant")).of(nn.Linear(1, 1))
    assert [muon.settings(p)["lr"] for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert muon.settings(0.9)["adam_lr"] == 2.0
    assert set(muon.settings(0)) <= set(Orthogonalized.DEFAULTS)
