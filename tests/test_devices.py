"""Losses stay on their device: they mix it with no other, and never wait for what it has computed.

In place of a GPU there is torch's "meta" device. Its tensors have no numbers, so that whoever asks for one is found
out, as is whoever joins them with tensors of the CPU.
"""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from triptych import models
from triptych.core import Batch, Clock, Generative, learning, trusting
from triptych.testing import Examples
from triptych.verbs.create import create

META = torch.device("meta")
WAITS = {
    "cyclegan-tiny": "whether its pool is open is read from a buffer",
}


class Nothing:
    """Noise without numbers."""

    n, device, dtype = 8, META, torch.float32

    def normal(self, *shape: int) -> Tensor:
        return torch.empty(self.n, *shape, device=META)

    uniform = normal


def tiny() -> list[str]:
    return [name for entry in models.own().values() for name in entry.presets() if "-tiny" in name]


def emptied(model: Generative) -> Generative:
    """A model on the device, and no copy: some hold references of their own to layers and weights."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(weight.to(META), requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(META)
    return model.train()


@pytest.mark.parametrize("name", tiny())
def test_a_loss_stays_on_its_device(name, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # it does not know this device
    model = emptied(create(name))
    data = Examples(model.config.x, getattr(model.config, "given", None), 8)
    given = None if data.conditions is None else data.conditions.to(META)
    with pytest.raises(RuntimeError, match="meta") if name in WAITS else nullcontext():
        for stage in model.stages():
            if stage.begin:
                stage.begin()
            for player in stage.players:
                with learning(model), trusting():
                    loss = player.loss(Batch(data.values.to(META), given, Nothing()), Clock(1, 0.5))
                loss.value.backward()
                assert {v.device for v in (loss.value, *loss.logs.values())} == {META}
