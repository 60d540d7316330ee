"""Training steps: ours in each precision and layout against the peer's recipe, in blocks that take turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from on_gpu import Bench, peak_memory, peers, read
from triptych.core import Adam, Batch, Generative, Images, Label, Labels, StepNoise, Tokens, sent
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.models.gan.biggan import BigGAN, BigGANConfig
from triptych.models.gan.dcgan import DCGAN, DCGANConfig
from triptych.models.gan.r3gan import R3GAN, R3GANConfig
from triptych.models.vae.vdvae import VDVAE, VDVAEConfig
from triptych.training import Run, playing, train

WARM = 8
"""Steps before any is timed: kernels are tried out in the first, turns recorded and played both ways in the next."""
Precision = Literal["fp32", "tf32", "bf16"]


class Random:
    """Random examples, packed as a data set has them: bytes or tokens, and classes. Satisfies `Data`."""

    def __init__(self, x: Images | Tokens, classes: int, n: int) -> None:
        self.x, self.given, self.name, self.fingerprint = x, Labels(classes), "random", f"{x} {classes} {n}"
        draws = np.random.default_rng(0)
        most = x.vocabulary if isinstance(x, Tokens) else x.levels
        self.stored = torch.from_numpy(draws.integers(0, most, (n, *x.shape), dtype=np.uint8))
        self.labels = torch.from_numpy(draws.integers(0, classes, n))

    def __len__(self) -> int:
        return len(self.stored)

    def fetch(self, rows: torch.Tensor, noise: Any) -> Batch[Any]:
        k = sent(self.stored[rows], noise.device)
        label = Label(sent(self.labels[rows], noise.device))
        return Batch(k.long() if isinstance(self.x, Tokens) else self.x.from_index(k), label, noise)


@dataclass(frozen=True)
class Work:
    """A model, its batch, and whose step it is compared with."""

    name: str
    peer: str
    make: Callable[[], Generative[Any]]
    batch: int
    images: int
    """Examples that a step of ours takes, over all turns."""
    slow: bool = False
    """Whether only two ways of it are timed: its repeatable kernels take a second a step."""


def works(small: bool) -> list[Work]:
    adam = Adam(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    if small:
        picture = Images(3, 8, 8)
        return [
            Work("DCGAN", "dcgan", lambda: DCGAN(DCGANConfig(x=picture, latent=4, width=4)), 4, 8),
            Work("R3GAN", "r3gan", lambda: R3GAN(R3GANConfig(x=picture, latent=4, width=4, group=2, blocks=1)), 4, 8),
            Work(
                "BigGAN",
                "biggan",
                lambda: BigGAN(
                    BigGANConfig(x=Images(3, 16, 16), given=Labels(3), chunk=2, embedding=3, width=4, attention=8)
                ),
                4,
                12,
            ),
            Work(
                "VDVAE",
                "vdvae",
                lambda: VDVAE(VDVAEConfig(x=picture, strides=(2, 4), up=(1, 1, 1), down=(1, 1, 1), width=8, latent=2)),
                4,
                4,
            ),
            Work("GPT", "gpt", lambda: GPT(GPTConfig(x=Tokens(7, 6), width=8, layers=2, heads=2, adam=adam)), 4, 4),
        ]
    return [
        Work(
            "GPT 6 x 384, batch 64 x 256",
            "gpt",
            lambda: GPT(GPTConfig(x=Tokens(65, 256), width=384, layers=6, heads=6, adam=adam)),
            64,
            64,
        ),
        Work("DCGAN 64 px, batch 128", "dcgan", lambda: DCGAN(DCGANConfig(x=Images(3, 64, 64))), 128, 256),
        Work(
            "R3GAN 64 px, width 256, batch 64",
            "r3gan",
            lambda: R3GAN(R3GANConfig(x=Images(3, 64, 64), width=256)),
            64,
            128,
            slow=True,
        ),
        Work(
            "BigGAN 64 px, width 64, batch 64",
            "biggan",
            lambda: BigGAN(BigGANConfig(x=Images(3, 64, 64), given=Labels(100), width=64, attention=32)),
            64,
            192,
            slow=True,
        ),
        Work(
            "VDVAE 32 px, width 256, batch 32",
            "vdvae",
            lambda: VDVAE(
                VDVAEConfig(
                    x=Images(3, 32, 32), strides=(2, 2, 2, 4), up=(4, 3, 3, 2, 1), down=(8, 5, 3, 2, 1), width=256
                )
            ),
            32,
            32,
        ),
    ]


def data_for(model: Generative[Any], n: int) -> Random:
    given = getattr(model.config, "given", None)
    return Random(model.config.x, given.classes if given else 2, n)


@dataclass
class Side:
    name: str
    step: Callable[[], Any]
    precision: Precision
    seconds: list[float]
    memory: float | None = None
    flop: float = 0.0


def ours(work: Work, device: torch.device, name: str, n: int, **options: Any) -> Side:
    torch.manual_seed(0)
    model = work.make().to(device)
    rounds = train(model, data_for(model, n), Run(steps=10**6, batch=work.batch, **options))
    return Side(name, lambda: next(rounds), options.get("precision", "fp32"), [])


def theirs(work: Work, device: torch.device, n: int) -> Side:
    """Left as torch comes: TF32 in convolutions, and not in products of matrices."""
    torch.manual_seed(0)
    model = work.make().to(device)
    data = data_for(model, n)
    x = data.stored.long() if isinstance(data.x, Tokens) else data.x.from_index(data.stored)
    step = peers.of(work.peer)(model, x, data.labels, work.batch, device)
    return Side("the peer's step", step, "bf16" if work.peer == "gpt" and device.type == "cuda" else "tf32", [])


def each_turn(work: Work, device: torch.device, name: str, n: int, **options: Any) -> Side:
    """Looks at every turn by itself, whether it was finite, for which the host waits; not once a round."""
    with mock.patch.object(playing, "waits", lambda device: False):
        return ours(work, device, name, n, **options)


def sides(bench: Bench, work: Work, n: int) -> list[Callable[[], Side]]:
    """How each is made: only when it is due, as memory is shared."""
    last = work.peer != "gpt"
    table: list[tuple[str, dict[str, Any]]] = [
        ("triptych, fp32", {}),
        ("triptych, tf32", {"precision": "tf32"}),
        ("triptych, bf16", {"precision": "bf16"}),
        *([("triptych, bf16, channels last", {"precision": "bf16", "channels_last": True})] if last else []),
        (
            "triptych, bf16, channels last, not repeatable" if last else "triptych, bf16, not repeatable",
            {"precision": "bf16", "channels_last": last, "repeatable": False},
        ),
    ]
    if work.slow or bench.small:
        table = [table[0], table[-1]] if bench.small else table[-2:]
    name, options = table[-1]
    table.insert(-1, (f"{name}, not recorded", {**options, "record": False}))
    return [
        lambda: theirs(work, bench.device, n),
        *[lambda name=name, options=options: ours(work, bench.device, name, n, **options) for name, options in table],
        lambda: each_turn(work, bench.device, f"{name}, looked at in every turn", n, **options),
    ]


def fetching(bench: Bench, work: Work, n: int) -> None:
    """What the host takes to put a batch together and send it off: a part of every turn's time."""
    data = data_for(work.make(), n)
    rows = torch.randperm(n)[: work.batch]
    seconds = bench.seconds(lambda: data.fetch(rows, StepNoise(0, len(rows), slice(None), bench.device)), 9)
    bench.keep(what=work.name, side="a batch fetched", **{"ms a batch": seconds * 1e3})


def compare(bench: Bench, work: Work, until: float) -> None:
    """Blocks of each side in turn, as many as there is time for."""
    n = 4 * work.batch if bench.small else 2048
    found: list[Side] = []
    for make in sides(bench, work, n):
        with bench.guard(f"{work.name}: making a side"):
            peak_memory(bench.device)
            side, flop = make(), 0.0
            try:
                with FlopCounterMode(display=False) as counter:
                    side.step()
                flop = float(counter.get_total_flops())
            except RuntimeError:  # it does not count gradients of gradients; the step did not end, so begin anew
                side = make()
            side.flop = flop
            for _ in range(1 if bench.small else WARM):
                side.step()
            side.memory = peak_memory(bench.device)  # of all sides so far: see the differences
            found.append(side)
    block, rounds = 1, 0
    if not bench.small and found:
        block = max(1, min(20, int(0.25 / bench.once(found[0].step))))
    while found and rounds < (1 if bench.small else 5) and (rounds == 0 or bench.left > until):
        rounds += 1
        for side in list(found):
            with bench.guard(f"{work.name}: {side.name}"):
                side.seconds.append(bench.once(lambda: [side.step() for _ in range(block)]) / block)  # noqa: B023
            if len(side.seconds) < rounds:
                found.remove(side)
    tell(bench, work, found, block)
    with bench.guard(f"{work.name}: kernels"):
        kernels(bench, work, next(side for side in reversed(found) if not side.name.endswith("every turn")))
    with bench.guard(f"{work.name}: fetching"):
        fetching(bench, work, n)


def kernels(bench: Bench, work: Work, side: Side) -> None:
    """Of the time of some steps, the share in which the device computes, and what on."""
    if bench.device.type != "cuda":
        return
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        seconds = bench.once(lambda: [side.step() for _ in range(4)])
    rows = [(e.self_device_time_total / 1e6, e.count, e.key[:60]) for e in seen.key_averages()]
    busy, most = sum(row[0] for row in rows), sorted(rows, reverse=True)[:12]
    named = {f"{name} x {count // 4}": round(time / busy, 3) for time, count, name in most}
    counted = sum(row[1] for row in rows) / 4
    bench.keep(
        what=work.name,
        side=f"{side.name}: kernels",
        busy=busy / seconds,
        kernels=counted,
        shares=named,
        ms=seconds / 4e-3,
    )


def tell(bench: Bench, work: Work, found: Sequence[Side], block: int) -> None:
    ceilings = {row["what"].rpartition(" ")[2]: row["TFLOPs"] for row in machine(bench) if "TFLOPs" in row}
    peer = next((side for side in found if side.name.startswith("the peer")), None)
    for side in found:
        seconds, row = statistics.median(side.seconds), dict[str, Any]()
        row["ms a step"], row["examples/s"] = seconds * 1e3, work.images / seconds
        if side.flop:
            row["TFLOP/s"] = side.flop / seconds / 1e12
        if side.flop and side.precision in ceilings:
            row[f"share of the {side.precision} product's"] = row["TFLOP/s"] / ceilings[side.precision]
        if peer is not None:
            row["ratio to the peer's step"] = statistics.median(
                a / b for a, b in zip(peer.seconds, side.seconds, strict=True)
            )
        row |= {"memory so far, MB": side.memory, "steps a block": block, "blocks": len(side.seconds)}
        bench.keep(what=work.name, side=side.name, **row)


def machine(bench: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(bench.out)["parts"].get("machine", {}).get("rows", [])
    return found


def main(bench: Bench) -> None:
    todo = works(bench.small)
    share = bench.left / len(todo)
    for k, work in enumerate(todo):
        if bench.left <= share / 4:
            bench.keep(what="training", left_out=[w.name for w in todo[k:]])
            return
        with bench.guard(work.name):
            compare(bench, work, bench.left - share)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
