"""Two processes on one card: each for itself, at the same time; and as ranks that share a batch."""

import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as spawned

from on_gpu import Bench, wait
from on_gpu.steps import Work, data_for, works
from triptych.training import Run, train


def work_for(small: bool) -> Work:
    return next(work for work in works(small) if work.peer == "dcgan")


def rounds_of(small: bool, device: torch.device, batch: int) -> Any:
    work = work_for(small)
    torch.manual_seed(0)
    model = work.make().to(device)
    return train(model, data_for(model, 4 * batch), Run(steps=1000, batch=batch))


def rate(rounds: Any, device: torch.device, seconds: float, batch: int) -> float:
    """Examples a second over some time."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        next(rounds)
        wait(device)
        count += 1
    return 2 * batch * count / (time.monotonic() - began)


def losses(rounds: Any, n: int) -> list[dict[str, float]]:
    return [next(rounds).logs() for _ in range(n)]


def one(rank: int, small: bool, kind: str, seconds: float, start: Any, folder: str) -> None:
    """What each of the two does; its findings go to a file."""
    device, batch = torch.device(kind), work_for(small).batch
    rounds, found = rounds_of(small, device, batch), dict[str, Any]()
    next(rounds)
    start.wait()
    found["rate"] = rate(rounds, device, seconds, batch)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
        found["losses"] = losses(rounds_of(small, device, batch), 2)
        dist.destroy_process_group()
    except Exception as e:  # the rate is worth as much without
        found["failed"] = f"{type(e).__name__}: {e}"[:1000]
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


def main(bench: Bench) -> None:
    device, seconds = bench.device, 0.1 if bench.small else 3.0
    batch = work_for(bench.small).batch
    with bench.guard("alone"):
        alone = losses(rounds_of(bench.small, device, batch), 2)
        rounds = rounds_of(bench.small, device, batch)
        next(rounds)
        single = rate(rounds, device, seconds, batch)
        del rounds
    folder = bench.out / ".pair"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    context = spawned.get_context("spawn")
    start = context.Barrier(2)
    where = str(folder.resolve())
    both = [
        context.Process(target=one, args=(rank, bench.small, str(device), seconds, start, where)) for rank in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(max(1.0, bench.left))
        if process.is_alive():
            process.kill()
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    with bench.guard("two processes"):
        rates = [one["rate"] for one in found]
        bench.keep(
            what="two processes on one device",
            **{"alone, examples/s": single, "each of two": rates, "together to alone": sum(rates) / single},
        )
    with bench.guard("two ranks"):
        failed = [one["failed"] for one in found if "failed" in one]
        if failed or len(found) < 2:
            raise RuntimeError(failed[0] if failed else f"{len(found)} of 2 processes ended in time")
        other = found[0]["losses"]
        apart = max(abs(other[k][name] / alone[k][name] - 1) for k in range(2) for name in alone[k] if alone[k][name])
        bench.keep(what="two ranks on one device", same_on_both=other == found[1]["losses"], relative_difference=apart)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
