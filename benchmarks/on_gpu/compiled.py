"""What torch.compile takes and gives: the step of networks that are compiled beside the same as they are."""

import statistics

from on_gpu import Bench, wait
from on_gpu.steps import ours, works


def main(bench: Bench) -> None:
    todo = {work.peer: work for work in works(bench.small)}
    for kind in bench.each("compiled", ["gpt"] if bench.small else ["gpt", "dcgan"]):
        work = todo[kind]
        with bench.guard(work.name):
            options = {"precision": "bf16", "channels_last": kind != "gpt", "repeatable": False}
            plain, other = (ours(work, bench.device, "", 4 * work.batch, **options, compile=c) for c in (False, True))
            for _ in range(3):
                plain.step()
            wait(bench.device)
            first = bench.once(other.step)
            bench.keep(what=work.name, side="compiled", **{"seconds to the first step": first})
            for _ in range(2):
                now = other.step()
            losses, block = now.logs(), 1 if bench.small else 10
            times = [
                [bench.once(lambda: [side.step() for _ in range(block)]) / block for side in (plain, other)]  # noqa: B023
                for _ in range(1 if bench.small else 5)
            ]
            a, b = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
            ratio = statistics.median(one / two for one, two in times)
            bench.keep(
                what=work.name,
                side="compiled, beside the same as it is",
                **{"as it is, ms": a, "compiled, ms": b, "ratio": ratio},
                **{name: value for name, value in losses.items() if "/" not in name},
            )
