"""Whether what holds on a CPU holds on the device: the contract, precision, the samplers, and resuming bit for bit."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from on_gpu import Bench
from triptych import testing
from triptych.core import (
    Autoregressive,
    Batch,
    Clock,
    Generative,
    Images,
    ItemNoise,
    Labels,
    Tokens,
    evaluating,
    learning,
)
from triptych.models.autoregressive.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.models.gan.r3gan import R3GAN, R3GANConfig
from triptych.models.vae.vdvae import VDVAE, VDVAEConfig
from triptych.nn.fixed_point import draw_by_iteration
from triptych.testing import Examples
from triptych.testing.toys import copied, difference, first_examples
from triptych.training import Run, train
from triptych.training.kernels import Kernels
from triptych.verbs.create import create

TINY = ("vdvae-tiny", "vae-tiny", "r3gan-tiny-class", "dcgan-tiny", "gated-pixelcnn-tiny", "gpt-tiny", "wavenet-tiny")
"""One or two a family, for the whole contract."""
CHECKS: dict[str, Callable[[Generative[Any], Any], None]] = {
    name: getattr(testing, f"check_{name}")
    for name in (
        "players training resume samples likelihood causality sampler bfloat16 questions precisions saving".split()
    )
}
MIDDLE: dict[str, Callable[[], Generative[Any]]] = {
    "DCGAN 64 px": lambda: DCGAN(DCGANConfig(x=Images(3, 64, 64), width=64)),
    "R3GAN 64 px": lambda: R3GAN(R3GANConfig(x=Images(3, 64, 64), width=128)),
    "VDVAE 32 px": lambda: VDVAE(
        VDVAEConfig(x=Images(3, 32, 32), strides=(2, 2, 2, 4), up=(2, 2, 2, 1, 1), down=(3, 3, 2, 1, 1), width=128)
    ),
    "Gated PixelCNN 28 px": lambda: GatedPixelCNN(GatedPixelCNNConfig(width=64, layers=6)),
    "GPT 6 x 384": lambda: GPT(GPTConfig(x=Tokens(65, 256), width=384, layers=6, heads=6)),
}
"""Of the sizes that libraries choose other kernels for than for tiny ones."""
SMALL = {
    "DCGAN 64 px": lambda: create("dcgan-tiny"),
    "R3GAN 64 px": lambda: create("r3gan-tiny"),
    "VDVAE 32 px": lambda: create("vdvae-tiny"),
    "Gated PixelCNN 28 px": lambda: create("gated-pixelcnn-tiny"),
    "GPT 6 x 384": lambda: create("gpt-tiny"),
}


def data_for(model: Generative[Any], n: int = 64) -> Examples:
    return Examples(model.config.x, getattr(model.config, "given", None) or Labels(2), n)


def contract(bench: Bench) -> None:
    """Every promise of every model by itself."""
    for preset in bench.each("contract", TINY[1:2] if bench.small else TINY):
        found = {}
        with bench.guard(f"contract of {preset}"):
            model = create(preset).to(bench.device)
            data = data_for(model, 48)
            for name, check in CHECKS.items():
                try:
                    check(copy.deepcopy(model), data)
                    found[name] = "kept"
                except Exception as e:  # the next promise may hold
                    found[name] = f"{type(e).__name__}: {e}"[:600]
            bench.keep(what=f"contract of {preset}", kept=set(found.values()) == {"kept"}, checks=found)


def loss_and_slope(model: Generative[Any], batch: Batch[Any], how: str) -> tuple[Tensor, Tensor]:
    """The first player's loss on a batch, and the gradient of its weights in one row, in float64 on the CPU."""
    model = copy.deepcopy(model).train()
    player = model.stages()[0].players[0]
    low = how == "bf16"
    with Kernels(model.device, how, True).turn(), learning(model):  # type: ignore[arg-type]
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=low):
            loss = player.loss(batch, Clock(1, 0.5))
        weights = [w for w in player.owns.parameters() if w.requires_grad]
        slopes = torch.autograd.grad(loss.value, weights, allow_unused=True, materialize_grads=True)
    return loss.value.detach().double().cpu(), torch.cat([s.flatten() for s in slopes]).double().cpu()


def precision(bench: Bench) -> None:
    """Loss and gradient in each precision, against float64 on the CPU: relative differences."""
    for name, make in bench.each("precision", (SMALL if bench.small else MIDDLE).items()):
        with bench.guard(f"precision of {name}"):
            torch.manual_seed(0)
            model, row = make(), dict[str, float]()
            data = data_for(model, 8)

            def at(device: torch.device, dtype: torch.dtype) -> Batch[Any]:
                noise = ItemNoise(0, range(8), device, dtype)
                batch = data.fetch(torch.arange(8), noise)  # noqa: B023
                given = batch.given if getattr(model.config, "given", None) else None  # noqa: B023
                x = batch.x.to(dtype) if batch.x.is_floating_point() else batch.x
                return replace(batch, x=x, given=given)

            cpu = torch.device("cpu")
            exact, slope = loss_and_slope(copy.deepcopy(model).double(), at(cpu, torch.float64), "fp32")
            model.to(bench.device)
            for how in ("fp32", "tf32", "bf16"):
                value, other = loss_and_slope(model, at(bench.device, torch.float32), how)
                row[f"loss, {how}"] = ((value - exact).abs() / exact.abs()).item()
                row[f"gradient, {how}"] = ((other - slope).norm() / slope.norm()).item()
            bench.keep(what=f"precision of {name}", against="float64 on the CPU", **row)


def samplers(bench: Bench) -> None:
    """Samples by caches (on a GPU recorded) against those of the whole network, and against the CPU's."""
    for name, make in bench.each("samplers", (SMALL if bench.small else MIDDLE).items()):
        with bench.guard(f"samples of {name}"):
            torch.manual_seed(0)
            model, n = make().eval(), 4
            if isinstance(model, Autoregressive):
                with torch.no_grad():  # logits of no small size
                    (model.out if hasattr(model, "out") else model.embedding).weight.mul_(4)
            on_cpu = model.sample(n, seed=1)
            model.to(bench.device)
            drawn = model.sample(n, seed=1)
            row: dict[str, Any] = {"same as on the CPU": (drawn.cpu() == on_cpu).float().mean().item()}
            if not isinstance(model, Autoregressive):
                row["largest difference from the CPU"] = (drawn.cpu() - on_cpu).abs().max().item()
            else:
                with evaluating(model), torch.no_grad():
                    batch = first_examples(model, data_for(model), n)
                    noise = ItemNoise(1, range(n), bench.device)
                    whole = draw_by_iteration(model, noise, batch.given)
                    row["deviation of the logits"] = model.logits(drawn, None).std().item()
                row["cached equals whole network"] = torch.equal(whole, drawn)
                row["same as by the whole network"] = (whole == drawn).float().mean().item()
            bench.keep(what=f"samples of {name}", **row)


def recording(bench: Bench) -> None:
    """Eight rounds of which all but the first are recorded, against the same as they are: which turns, and bits."""
    for name, make in bench.each("recording", (SMALL if bench.small else MIDDLE).items()):
        for how in ("fp32", "bf16"):
            with bench.guard(f"recording {name} in {how}"):
                weights, log = [], Said()
                for record in (False, True):
                    torch.manual_seed(0)
                    model = make().to(bench.device)
                    run = Run(steps=8, batch=8, precision=how, record=record, channels_last=True)  # type: ignore[arg-type]
                    with log.listening():
                        for _ in train(model, data_for(model), run):
                            pass
                    weights.append(copied(model))
                same = difference(*weights) is None
                bench.keep(what=f"recording {name} in {how}", same_bits=same, said=log.lines)


class Said(logging.Handler):
    """What the toolkit says meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = logging.getLogger("triptych")
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def resuming(bench: Bench) -> None:
    """Six rounds at once against three, saved, and three more by another model; in bf16 with other kernels, too."""
    for name, make in bench.each("resuming", (SMALL if bench.small else MIDDLE).items()):
        for how in ("fp32", "bf16"):
            row = {}
            for repeatable in (True, False)[: 2 if how == "bf16" else 1]:
                with bench.guard(f"resuming {name} in {how}"):
                    run = Run(steps=6, batch=8, precision=how, repeatable=repeatable, channels_last=True)  # type: ignore[arg-type]
                    torch.manual_seed(0)
                    whole = make().to(bench.device)
                    data, states, weights = data_for(whole), [], []
                    for now in train(whole, data, run):
                        states.append(copy.deepcopy(now.state()))
                        weights.append(copied(whole))
                    other = make().to(bench.device)
                    other.load_state_dict(weights[2])
                    for _ in train(other, data, run, resume=states[2]):
                        pass
                    changed = difference(weights[-1], copied(other))
                    row["repeatable" if repeatable else "not repeatable"] = changed is None
            bench.keep(what=f"resuming {name} in {how}, bit for bit", **row)


def main(bench: Bench) -> None:
    recording(bench)
    resuming(bench)
    contract(bench)
    samplers(bench)
    precision(bench)
