"""Turns that are recorded, as on a GPU, against turns that run as they are."""

import logging

import pytest
import torch

from triptych.core import Images, Labels, Loss
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.nn import recorded
from triptych.testing import Examples
from triptych.testing.toys import copied, difference
from triptych.training import Run, playing, train
from triptych.verbs.create import create

PRESETS = ["dcgan-tiny", "biggan-tiny", "vae-tiny", "vdvae-tiny", "gpt-tiny", "pix2pix-tiny", "pixelcnn-pp-tiny"]
TIMED = ["r3gan-tiny", "infogan-tiny", "ladder-vae-tiny", "progan-tiny"]
"""Whose losses have weights that change over training."""


def data_for(model):
    return Examples(model.config.x, getattr(model.config, "given", None) or Labels(2), 48)


@pytest.fixture
def graphs(monkeypatch):
    """A CPU that records: as a CUDA graph, a step is not run when it is recorded, and its results have their place."""
    made = []

    class Graph:
        def __init__(self, step, device, *, generators, memory, what):
            self.step, self.model = step, made.model
            buffers = {k: b.clone() for k, b in self.model.named_buffers()}
            before, state = {w: w.grad for w in self.model.parameters()}, torch.get_rng_state()
            step()
            torch.set_rng_state(state)
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])
            self.places = {w: w.grad for w in before if w.grad is not before[w]}
            for gradient in self.places.values():
                gradient.fill_(torch.nan)
            made.append(what)

        def replay(self):
            for w in self.places:
                w.grad = None
            self.step()
            for w, place in self.places.items():
                place.copy_(w.grad)

    class Made(list):
        model = None

    made = Made()
    monkeypatch.setattr(recorded, "records", lambda device: True)
    monkeypatch.setattr(recorded, "recorded", Graph)
    monkeypatch.setattr(playing, "LOOK", 7)
    return made


def trained(model, steps, graphs, resume=None, **options):
    graphs.model, state = model, None
    for now in train(model, data_for(model), Run(steps=steps, batch=4, **options), resume=resume):
        state = now.state()
    return copied(model), state


def both(make, graphs, **options):
    """The weights after 12 rounds as they are and recorded, of the same first weights."""
    found = []
    for record in (False, True):
        torch.manual_seed(0)
        found.append(trained(make(), 12, graphs, record=record, **options)[0])
        assert record or not graphs
    return found


@pytest.mark.parametrize("preset", PRESETS + TIMED)
def test_recorded_turns_are_what_they_are_one_by_one(preset, graphs, caplog):
    with caplog.at_level(logging.INFO):
        expected, found = both(lambda: create(preset), graphs)
    assert len(graphs) == sum(len(stage.players) for stage in create(preset).stages()), caplog.text
    assert "not recorded" not in caplog.text
    assert difference(expected, found) is None


def test_a_resumed_run_records_anew(graphs):
    torch.manual_seed(0)
    whole, _ = trained(create("dcgan-tiny"), 14, graphs)
    torch.manual_seed(0)
    half = create("dcgan-tiny")
    graphs.model = half
    for now in train(half, data_for(half), Run(steps=14, batch=4)):
        if now.step == 6:
            break
    resumed, _ = trained(half, 14, graphs, resume=now.state())
    assert len(graphs) == 6
    assert difference(whole, resumed) is None


def test_parts_and_shared_samples_run_as_they_are(graphs):
    config = DCGANConfig(x=Images(1, 8, 8), latent=3, width=4)
    both(lambda: DCGAN(config), graphs, accumulate=2)
    assert not graphs


class Odd(DCGAN):
    """Whose generator's loss is not the same work every time."""

    how = ""
    count = 0

    def generator_loss(self, batch, clock):
        loss = super().generator_loss(batch, clock)
        self.__class__.count += 1
        if self.how == "clock":
            return Loss(loss.value * (1 + clock.progress), loss.logs)
        if self.how == "count":
            return Loss(loss.value * self.count, loss.logs)
        if self.how == "attribute":
            self.latest = loss.value.detach()
        if self.how == "buffer":
            self.generator[2].running_mean = self.generator[2].running_mean.clone()
        if self.how == "elsewhere":
            return Loss(loss.value, {**loss.logs, "one": torch.ones((), device="meta")})
        return loss


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("clock", "goes by how far training is"),
        ("count", "not what they are kernel by kernel"),
        ("attribute", "leaves something in latest"),
        ("buffer", "leaves something in generator.2.running_mean"),
        ("elsewhere", "not on the device"),
    ],
)
def test_a_loss_that_is_other_work_every_time_runs_as_it_is(how, said, graphs, caplog, monkeypatch):
    monkeypatch.setattr(Odd, "how", how)

    def make():
        Odd.count = 0
        return Odd(DCGANConfig(x=Images(1, 8, 8), latent=3, width=4))

    with caplog.at_level(logging.INFO):
        expected, found = both(make, graphs)
    assert said in caplog.text
    assert how == "buffer" or "the turns of discriminator are not recorded" not in caplog.text
    if how != "count":  # whose second run of a turn is another one
        assert difference(expected, found) is None
