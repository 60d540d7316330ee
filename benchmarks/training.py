"""How long a training step takes: against the peers, and each part against the plain way of doing it.

    python benchmarks/training.py --threads 2 --out results/training.json

The sides of a comparison take turns in one process (A, B, ..., A, B, ...), a block of steps each, after one block to
warm up. A ratio is the first side's time over this side's in the same turn, median over turns: above 1 is faster than
the first side. GFLOP are counted (matrix products and convolutions), so they do not move with what else is running.

Sides start from the same weights and work on the same images in batches of the same size. Before anything is timed,
both losses are checked to be the same function of weights, images and noise. Afterwards every loss must be finite;
likelihood models must have learned, and those that saw the same batches must have arrived at the same loss within
LOSS_GAP, which is what bf16 has to pass. The losses of a GAN's players need not fall; they are in the JSON.

Peers. pythae runs as it is, if it can be imported. PyTorch-GAN (Erik Linder-Noren) is a set of scripts that train
when imported, so its DCGAN recipe is written here, from what it does: `PlainGAN`.
"""

import argparse
import json
import logging
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from triptych.core import Adam, Batch, Clock, Generative, StepNoise
from triptych.data import Dataset, data
from triptych.models.autoregressive.pixelcnn import PRESETS, PixelCNN, PixelCNNConfig
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.models.vae.vae import VAE, VAEConfig
from triptych.nn.ema import EMA
from triptych.nn.strided import initialize
from triptych.training import Run, train

LOSS_GAP = 0.02
"""By how much (relative) the last losses of sides with the same batches may differ."""
PYTHAE = (
    "pythae is missing, so its rows are. Beside the dev extras, in a folder of its own so that nothing else changes: "
    "pip install --no-deps --target PEERS pythae==0.1.2 cloudpickle imageio tqdm; "
    "then PYTHONPATH=PEERS python benchmarks/training.py"
)


@dataclass(frozen=True)
class Side:
    name: str
    run: Callable[[int], float | None]
    """Takes that many steps; returns their mean loss, if there is one."""
    parameters: int | None = None
    batches: str | None = None
    """Sides with the same name here see the same batches and must arrive at the same loss."""


@dataclass(frozen=True)
class Row:
    group: str
    side: str
    ratio_wall: float
    ratio_cpu: float
    wall_s: float
    """Median, of one step."""
    cpu_s: float
    """Median, of one step, all threads together."""
    gflop: float
    """Of one step."""
    parameters: int | None
    first_loss: float | None
    last_loss: float | None
    """Mean over the last block."""
    wall_runs_s: list[float]
    cpu_runs_s: list[float]
    passed: bool | None
    """Whether the loss fell, and to where it should; None where there is nothing to check."""


def compare(group: str, sides: Sequence[Side], steps: int, repeats: int) -> list[Row]:
    """Times the sides in turn. Raises ValueError if they are not of one size or a loss is not finite."""
    if len({s.parameters for s in sides}) > 1:
        raise ValueError(f"{group}: the sides differ in size: {[(s.name, s.parameters) for s in sides]}")
    wall, cpu, losses = ({s.name: list[Any]() for s in sides} for _ in range(3))
    gflop = {}
    for side in sides:  # one block to warm up, counted
        with FlopCounterMode(display=False) as counter:
            losses[side.name].append(side.run(steps))
        gflop[side.name] = counter.get_total_flops() / steps / 1e9
    for _ in range(repeats):
        for side in sides:
            wall_began, cpu_began = time.perf_counter(), time.process_time()
            loss = side.run(steps)
            wall[side.name].append((time.perf_counter() - wall_began) / steps)
            cpu[side.name].append((time.process_time() - cpu_began) / steps)
            losses[side.name].append(loss)
            if loss is not None and not math.isfinite(loss):
                raise ValueError(f"{group}: the loss of {side.name} is {loss}")

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(a / b for a, b in zip(times[sides[0].name], times[name], strict=True))

    def passed(side: Side) -> bool | None:
        if side.batches is None:
            return None
        first, last = losses[side.name][0], losses[side.name][-1]
        others = [losses[s.name][-1] for s in sides if s.batches == side.batches]
        return last < first and abs(last / others[0] - 1) <= LOSS_GAP

    return [
        Row(
            group=group,
            side=side.name,
            ratio_wall=ratio(wall, side.name),
            ratio_cpu=ratio(cpu, side.name),
            wall_s=statistics.median(wall[side.name]),
            cpu_s=statistics.median(cpu[side.name]),
            gflop=gflop[side.name],
            parameters=side.parameters,
            first_loss=losses[side.name][0],
            last_loss=losses[side.name][-1],
            wall_runs_s=wall[side.name],
            cpu_runs_s=cpu[side.name],
            passed=passed(side),
        )
        for side in sides
    ]


def size(*modules: nn.Module) -> int:
    return sum(w.numel() for m in modules for w in m.parameters())


def check_same(what: str, ours: Tensor, theirs: Tensor) -> None:
    """Raises ValueError unless two losses are equal up to rounding."""
    if not torch.allclose(ours, theirs, rtol=1e-4):
        raise ValueError(f"{what}: our loss is {ours.item():.6g}, theirs {theirs.item():.6g} on the same numbers")


def triptych(
    name: str,
    model: Generative[Any],
    images: Dataset,
    batch: int,
    *,
    weights: Sequence[nn.Module] | None = None,
    likelihood: bool = False,
    channels_last: bool = False,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Side:
    """Rounds of the training loop: for a GAN, a step of each player. The loss is the first player's."""
    rounds = train(model, images, Run(steps=10**6, batch=batch, precision=precision, channels_last=channels_last))
    first = model.stages()[0].players[0].name
    return Side(
        name,
        lambda steps: statistics.fmean(next(rounds).losses[first].value.item() for _ in range(steps)),
        size(*(weights or [model])),
        "triptych" if likelihood else None,
    )


# --- DCGAN ------------------------------------------------------------------------------------------------------------


class PlainGAN:
    """The training recipe of PyTorch-GAN's dcgan.py, written here.

    One batch and one batch of fakes for both players; first the generator's step, through a discriminator whose own
    gradients are computed as well and thrown away, then the discriminator's on the real and the detached fakes in two
    passes; binary cross-entropy of probabilities; default Adam; contiguous float32; both losses read at every step.
    """

    def __init__(self, model: DCGAN, images: Dataset, batch: int, *, freeze: bool = False) -> None:
        """`freeze`: not in the recipe: no gradients for the discriminator's weights in the generator's step."""
        self.generator, self.discriminator = model.generator.train(), model.discriminator.train()
        self.latent, self.freeze = model.config.latent, freeze
        self.adams = [
            torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for net in (self.generator, self.discriminator)
        ]
        self.batches = fetched(images, batch)

    def guess(self, x: Tensor, label: float) -> Tensor:
        p = self.discriminator(x).sigmoid()
        return F.binary_cross_entropy(p, torch.full_like(p, label))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (self.guess(real, 1) + self.guess(fake, 0)) / 2

    def step(self, x: Tensor) -> float:
        generator_adam, discriminator_adam = self.adams
        generator_adam.zero_grad()
        self.discriminator.requires_grad_(not self.freeze)
        fake = self.generator(torch.randn(len(x), self.latent))
        loss = self.guess(fake, 1)
        loss.backward()
        generator_adam.step()
        loss.item()
        self.discriminator.requires_grad_(True)
        discriminator_adam.zero_grad()
        loss = self.discriminator_loss(x, fake.detach())
        loss.backward()
        discriminator_adam.step()
        return 2 * loss.item()  # on the scale of ours, which is a sum

    def run(self, steps: int) -> float:
        return statistics.fmean(self.step(next(self.batches).x) for _ in range(steps))


def peer_generator(latent: int, channels: int, side: int, width: int) -> nn.Sequential:
    """The layers of PyTorch-GAN's DCGAN generator (width 128 there): nearest-neighbor doubling, then convolution."""
    return nn.Sequential(
        nn.Linear(latent, width * (side // 4) ** 2),
        nn.Unflatten(1, (width, side // 4, side // 4)),
        nn.BatchNorm2d(width),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1)),
        *(nn.BatchNorm2d(width, eps=0.8), nn.LeakyReLU(0.2)),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, 1, 1)),
        *(nn.BatchNorm2d(width // 2, eps=0.8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width // 2, channels, 3, 1, 1), nn.Tanh()),
    )


def peer_discriminator(channels: int, side: int, width: int) -> nn.Sequential:
    """The layers of PyTorch-GAN's DCGAN discriminator, up to the logit: four strided convolutions with dropout."""
    layers: list[nn.Module] = []
    wide = [width // 8, width // 4, width // 2, width]
    for i, (cin, cout) in enumerate(zip([channels, *wide], wide, strict=False)):
        layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout2d(0.25)]
        layers += [nn.BatchNorm2d(cout, eps=0.8)] if i else []
    return nn.Sequential(*layers, nn.Flatten(1), nn.Linear(width * (side // 16) ** 2, 1), nn.Flatten(0))


def our_nets(images: Dataset, width: int) -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(DCGANConfig(x=images.x, width=width))


def peer_nets(images: Dataset, width: int) -> DCGAN:
    """Our DCGAN with the layers of PyTorch-GAN's in place of its own."""
    model = our_nets(images, width)
    channels, side, _ = images.x.shape
    model.generator = peer_generator(model.config.latent, channels, side, width)
    model.discriminator = peer_discriminator(channels, side, width)
    for layer in [*model.generator.modules(), *model.discriminator.modules()]:
        if not isinstance(layer, nn.Linear):  # those keep torch's defaults there
            initialize(layer)
    model.average = EMA(model.generator, model.config.ema)
    return model


def check_gan(model: DCGAN, images: Dataset, batch: int) -> None:
    """Raises ValueError unless both recipes give the discriminator the same loss."""
    x = next(fetched(images, batch)).x

    def noise() -> StepNoise:
        return StepNoise(1, batch, slice(None))

    with torch.no_grad():
        torch.manual_seed(2)  # dropout
        ours = model.train().discriminator_loss(Batch(x, None, noise()), Clock(0, 0)).value
        fake = model.draw(noise())
        torch.manual_seed(2)
        theirs = 2 * PlainGAN(model, images, batch).discriminator_loss(x, fake)
    check_same("DCGAN", ours, theirs)


def dcgan(
    images: Dataset, steps: int, repeats: int, *, batch: int = 64, width: int = 64, peer_width: int = 128
) -> list[Row]:
    """The same nets under PyTorch-GAN's recipe and under our loop; a step is one of either player."""
    rows = []
    for whose, build, wide in (("PyTorch-GAN's", peer_nets, peer_width), ("our", our_nets, width)):

        def make(build: Callable[[Dataset, int], DCGAN] = build, wide: int = wide) -> DCGAN:
            return build(images, wide)

        def ours(name: str, channels_last: bool = False, precision: Literal["fp32", "bf16"] = "fp32") -> Side:
            model = make()
            nets = [model.generator, model.discriminator]
            return triptych(name, model, images, batch, weights=nets, channels_last=channels_last, precision=precision)

        def plain(name: str, freeze: bool = False) -> Side:
            model = make()
            nets = size(model.generator, model.discriminator)
            return Side(name, PlainGAN(model, images, batch, freeze=freeze).run, nets)

        check_gan(make(), images, batch)
        c, h, w = images.x.shape
        rows += compare(
            f"DCGAN {c}x{h}x{w}, batch {batch}, {whose} nets",
            [
                plain("recipe as in PyTorch-GAN, written here"),
                plain("the same, idle discriminator frozen", freeze=True),
                ours("triptych"),
                ours("triptych, channels last", channels_last=True),
                ours("triptych, bf16", precision="bf16"),
                ours("triptych, bf16, channels last", channels_last=True, precision="bf16"),
            ],
            steps,
            repeats,
        )
    return rows


# --- VAE --------------------------------------------------------------------------------------------------------------


class Collated(list[Any]):
    """Batches made beforehand, in place of pythae's loader."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.dataset = loader.dataset


def pythae_sides(ours: VAE, images: Dataset, batch: int) -> list[Side]:
    """pythae's own model under its own trainer, `BaseTrainer.train_step`, an epoch of which is one block here.

    No progress bar. Its default Adam, at our learning rate. Raises ImportError.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig as PythaeConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback

    logging.getLogger(BaseTrainer.__module__).setLevel(logging.WARNING)
    latent = ours.config.latent

    def trainer() -> Any:
        about = PythaeConfig(input_dim=images.x.shape, latent_dim=latent, reconstruction_loss="bce")
        model = PythaeVAE(about)
        first, last = ours.encoder[0], ours.encoder[2]
        with torch.no_grad():
            model.encoder.layers[0][0].weight.copy_(2 * first.weight)  # its images are in [0, 1], ours in [-1, 1]
            model.encoder.layers[0][0].bias.copy_(first.bias - first.weight.sum(1))
            for mine, part, scale in (
                (model.encoder.embedding, slice(latent), 1),
                (model.encoder.log_var, slice(latent, None), 2),  # of the variance, where ours is of its root
            ):
                mine.weight.copy_(scale * last.weight[part])
                mine.bias.copy_(scale * last.bias[part])
        for mine, theirs in zip(model.decoder.layers, (ours.decoder[0], ours.decoder[2]), strict=True):
            mine[0].load_state_dict(theirs.state_dict())
        trainer = BaseTrainer(
            model,
            BaseDataset(images.stored, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                per_device_train_batch_size=batch, learning_rate=ours.config.adam.lr, no_cuda=True
            ),
        )
        trainer.set_optimizer()
        trainer.callback_handler = CallbackHandler(callbacks=[TrainingCallback()], model=model)
        return trainer

    def side(name: str, trainer: Any) -> Side:
        def run(steps: int) -> float:
            if steps != len(trainer.train_loader):
                raise ValueError(f"an epoch of {len(trainer.train_loader)} steps was prepared, not of {steps}")
            return trainer.train_step(epoch=1)

        return Side(name, run, size(trainer.model), name)

    whole, in_hand = trainer(), trainer()
    in_hand.train_loader = Collated(in_hand.train_loader)
    x = images.stored.float()[:batch]
    with torch.no_grad():
        torch.manual_seed(3)  # of the generator that both draw from in the end
        theirs = whole.model({"data": x}).loss
        mine = ours.loss(Batch(2 * x - 1, None, StepNoise(3, len(x), slice(None))), Clock(0, 0)).value
    check_same("VAE", mine, theirs)
    return [
        side("pythae 0.1.2, its trainer and loader", whole),
        side("pythae 0.1.2, its trainer, batches in hand", in_hand),
    ]


def vae(
    images: Dataset, steps: int, repeats: int, *, batch: int = 128, latent: int = 16
) -> tuple[list[Row], list[str]]:
    """A VAE with one hidden layer of 512, as pythae's own; `images` are of two levels. Rows, and what is missing."""
    images = images.subset(slice(batch * steps))

    def make() -> VAE:
        torch.manual_seed(0)
        return VAE(VAEConfig(x=images.x, latent=latent, hidden=(512,), adam=Adam(lr=1e-3)))

    try:
        peers, missing = pythae_sides(make(), images, batch), []
    except ImportError:
        peers, missing = [], [PYTHAE]
    ours = [
        triptych("triptych", make(), images, batch, likelihood=True),
        triptych("triptych, bf16", make(), images, batch, likelihood=True, precision="bf16"),
    ]
    group = f"VAE {images.x.dims}-512-{latent}, batch {batch}"
    return compare(group, [*peers, *ours], steps, repeats), missing


# --- PixelCNN ---------------------------------------------------------------------------------------------------------


class ChannelsFirst(PixelCNN):
    """PixelCNN as it would be if it left its activations as the images come."""

    def logits(self, x: Tensor) -> Tensor:
        h = self.blocks(self.first(x))
        h = self.out(self.head2(self.head1(h.relu()).relu()).relu())
        return h.reshape(len(x), self.config.x.channels, self.scores, *x.shape[2:]).movedim(2, -1)


def pixelcnn(images: Dataset, steps: int, repeats: int, config: PixelCNNConfig, *, batch: int = 16) -> list[Row]:
    """Memory layouts and precisions of one model; `images` are of two levels."""

    def make(kind: type[PixelCNN] = PixelCNN) -> PixelCNN:
        torch.manual_seed(0)
        return kind(config)

    def side(
        name: str, model: PixelCNN, channels_last: bool = False, precision: Literal["fp32", "bf16"] = "fp32"
    ) -> Side:
        return triptych(name, model, images, batch, likelihood=True, channels_last=channels_last, precision=precision)

    return compare(
        f"PixelCNN {config.blocks} blocks x {config.width}, batch {batch}",
        [
            side("channels first throughout", make(ChannelsFirst)),
            side("triptych (activations channels last)", make()),
            side("triptych, channels last", make(), channels_last=True),
            side("channels first throughout, bf16", make(ChannelsFirst), precision="bf16"),
            side("triptych, bf16", make(), precision="bf16"),
            side("triptych, bf16, channels last", make(), channels_last=True, precision="bf16"),
        ],
        steps,
        repeats,
    )


# --- Parts ------------------------------------------------------------------------------------------------------------


def many(tensors: int, width: int = 16) -> nn.Module:
    """A net of many small tensors."""
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(tensors // 2)])


def optimizers(net: Callable[[], nn.Module], what: str, steps: int, repeats: int) -> list[Row]:
    """Updates by Adam, from gradients in hand. Raises ValueError if the weights end up different."""
    sides, nets = [], []
    for name, fused in (("torch.optim.Adam, default", None), ("fused, as triptych's", True)):
        torch.manual_seed(0)
        module = net()
        for w in module.parameters():
            w.grad = torch.randn_like(w)
        adam = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused)

        def run(steps: int, adam: torch.optim.Adam = adam) -> None:
            for _ in range(steps):
                adam.step()

        sides.append(Side(name, run, size(module)))
        nets.append(module)
    rows = compare(f"Adam's update, {what}", sides, steps, repeats)
    check_weights("Adam", *nets)
    return rows


def averages(net: Callable[[], nn.Module], what: str, steps: int, repeats: int) -> list[Row]:
    """Updates of an exponential moving average. Raises ValueError if the averages end up different."""
    torch.manual_seed(0)
    module = net()
    ours, plain = EMA(module, 0.999), EMA(module, 0.999)
    with torch.no_grad():
        for w in module.parameters():
            w.add_(torch.randn_like(w))

    @torch.no_grad()
    def loop(steps: int) -> None:
        for _ in range(steps):
            t = int(plain.updates)
            d = min(plain.decay, (1 + t) / (10 + t))
            for mine, theirs in zip(plain.module.parameters(), module.parameters(), strict=True):
                mine.mul_(d).add_(theirs, alpha=1 - d)
            for mine, theirs in zip(plain.module.buffers(), module.buffers(), strict=True):
                mine.copy_(theirs)
            plain.updates += 1

    def foreach(steps: int) -> None:
        for _ in range(steps):
            ours.update(module)

    sides = [
        Side("a loop over the weights, mul_ and add_", loop, size(module)),
        Side("triptych.nn.EMA", foreach, size(module)),
    ]
    rows = compare(f"EMA's update, {what}", sides, steps, repeats)
    check_weights("EMA", ours.module, plain.module)
    return rows


def check_weights(what: str, ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-5):
            raise ValueError(f"{what}: the two ways give different weights, by {(a - b).abs().max().item():.3g}")


class Items:
    """The same bytes, an example at a time, for torch's DataLoader."""

    def __init__(self, images: Dataset) -> None:
        self.x, self.y = images.stored, images.labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor | None]:
        x = self.x[i].float().div_(127.5).sub_(1)
        return (x, self.y[i]) if self.y is not None else (x, torch.zeros(()))


def fetched(images: Dataset, batch: int) -> Iterator[Batch[Any]]:
    """Batches without end; each epoch is a new permutation."""
    k = 0
    while True:
        for rows in torch.randperm(len(images)).split(batch):
            if len(rows) == batch:
                k += 1
                yield images.fetch(rows, StepNoise(k, batch, slice(None)))


def loaded(images: Dataset, batch: int) -> Iterator[Any]:
    while True:
        yield from DataLoader(Items(images), batch_size=batch, shuffle=True, drop_last=True)


def reading(images: Dataset, steps: int, repeats: int, *, batch: int = 64) -> list[Row]:
    """Batches from packed bytes. Raises ValueError if the same rows give different images."""
    some = torch.arange(min(batch, len(images)))
    x, _ = next(iter(DataLoader(Items(images), batch_size=batch)))
    if not torch.allclose(images.fetch(some, StepNoise(0, len(some), slice(None))).x, x, atol=1e-6):
        raise ValueError("reading: the same rows give different images")
    sources = {"torch DataLoader, 0 workers": loaded(images, batch), "Dataset.fetch": fetched(images, batch)}

    def taking(source: Iterator[Any]) -> Callable[[int], None]:
        def run(steps: int) -> None:
            for _ in range(steps):
                next(source)

        return run

    c, h, w = images.x.shape
    sides = [Side(name, taking(source)) for name, source in sources.items()]
    return compare(f"Reading a batch of {batch}, {c}x{h}x{w} uint8", sides, steps, repeats)


def parts(images: Dataset, steps: int, repeats: int, *, width: int = 64, tensors: int = 300) -> list[Row]:
    """The optimizer, the average and the data, each alone."""
    nets: dict[str, Callable[[], nn.Module]] = {
        f"{tensors} small tensors": lambda: many(tensors),
        f"DCGAN's generator, width {width}": lambda: our_nets(images, width).generator,
    }
    rows = []
    for what, net in nets.items():
        rows += optimizers(net, what, steps, repeats)
    for what, net in nets.items():
        rows += averages(net, what, steps, repeats)
    return rows + reading(images, steps, repeats)


# --- All --------------------------------------------------------------------------------------------------------------


def protocol(steps: int, repeats: int) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "hardware_bf16": torch.cpu._is_avx512_bf16_supported(),
        "steps": steps,
        "repeats": repeats,
        "peers": {
            "PyTorch-GAN": "recipe and layers written here; images from triptych's reader on every side",
            "pythae": "run as it is, if installed: its model, trainer and loader",
        },
        "unlike": "a round of triptych's DCGAN draws a batch and fakes for each player, where the recipe draws them "
        "once; and it keeps the average of the generator and checks that losses and gradients are finite",
    }


def table(rows: Sequence[Row]) -> str:
    lines, group = [], None
    for row in rows:
        if row.group != group:
            group = row.group
            size = f", {row.parameters:,} parameters" if row.parameters else ""
            lines += ["", f"{group}{size}", "  wall   CPU  wall/step   CPU/step  GFLOP"]
        loss = f"  loss {row.first_loss:.4g} to {row.last_loss:.4g}" if row.last_loss is not None else ""
        verdict = "" if row.passed is not False else "  FAILED: see LOSS_GAP"
        lines.append(
            f"{row.ratio_wall:5.2f}x {row.ratio_cpu:4.2f}x {row.wall_s * 1e3:7.2f} ms {row.cpu_s * 1e3:7.2f} ms "
            f"{row.gflop:6.2f}  {row.side}{loss}{verdict}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="blocks of each side that are timed")
    parser.add_argument("--steps", type=int, default=3, help="steps a block; 20 times as many where they are short")
    parser.add_argument("--out", type=Path, help="writes JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    short = 20 * args.steps
    about = protocol(args.steps, args.repeats)
    grey, binary, wide = data("mnist"), data("mnist-fixed"), data("mnist", size=32)
    preset = PRESETS["pixelcnn-mnist"]
    config = replace(preset.config, adam=Adam(lr=1e-3))  # its schedule would still be warming up when we are done

    rows, missing = vae(binary, short, args.repeats)
    rows = [
        *dcgan(wide, args.steps, args.repeats),
        *rows,
        *pixelcnn(binary, args.steps, args.repeats, config, batch=preset.batch),
        *parts(grey, short, args.repeats),
    ]
    notes = [f"{k}: {v}" for k, v in about.items()] + missing
    if not about["hardware_bf16"]:
        notes.append(
            "this machine has no bf16 instructions (AVX512-BF16): bf16 rows show emulation, not what it can do"
        )
    sys.stdout.write("\n".join([*notes, table(rows), ""]))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"protocol": about, "missing": missing, "rows": [asdict(row) for row in rows]}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    if any(row.passed is False for row in rows):
        raise SystemExit("a side did not learn what it should have: see FAILED above")


if __name__ == "__main__":
    main()
