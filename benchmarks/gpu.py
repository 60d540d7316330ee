"""What there is to see on a machine with one GPU, in one run of seven minutes: correctness, samplers, training.

    python benchmarks/gpu.py --out results/gpu                  # on the GPU, at most 400 seconds
    python benchmarks/gpu.py --out /tmp/small --small           # the same in miniature, on a CPU

It writes OUT/gpu.json after every single result, and two small pictures. Each part has a budget of time, at the end of
which it ends by itself and says what it left out. One that crashes or overruns is ended: what it found until then is
kept, and the rest goes on in another process.

A bare machine needs nothing but Python, a PyTorch with CUDA and this repository: nothing is installed or fetched. What
Python lacks there is unpacked from wheels that lie beside this file, in benchmarks/wheels: those of numpy, pillow,
safetensors, jaxtyping (with wadler-lindig) and pydantic (with pydantic-core, annotated-types, typing-inspection and
typing-extensions), for that machine's Python:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 \\
        --dest benchmarks/wheels pydantic pydantic-core annotated-types typing-inspection typing-extensions ...

--pictures takes a .npz or a folder of pictures for the last part, in place of the scenes that it draws itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

PARTS: dict[str, float] = {
    "machine": 10,
    "correct": 115,
    "samplers": 50,
    "steps": 130,
    "pair": 30,
    "compiled": 30,
    "picture": 35,
}
"""In their order, with the seconds of each; the last takes what is left."""
SECONDS = 400.0
GRACE = 15.0
"""Seconds that a part may take beyond its budget before it is ended; the first one has to start everything, too."""


def prepare(wheels: Path) -> None:
    """Makes what is beside this file, and in wheels, importable, in this process and those it starts."""
    paths = [str(HERE), str(HERE.parent / "src")]
    found = sorted(wheels.glob("*.whl"))
    if found:
        unpacked = Path(tempfile.gettempdir()) / f"triptych-wheels-{os.getuid()}"
        for wheel in found:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
        paths.append(str(unpacked))
    sys.path[:0] = [path for path in paths if path not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def work(parts: list[str], out: Path, device: str, small: bool, end: float, pictures: str | None) -> None:
    """Plays parts in this process, one after the other, until `end` on the clock of time.monotonic()."""
    import importlib

    import torch
    from on_gpu import Bench, write

    for k, name in enumerate(parts):
        budget = end - time.monotonic() if name == "picture" else PARTS[name]
        until = min(time.monotonic() + budget, end)
        write(out, name, {"began": time.monotonic(), "until": until, "pid": os.getpid()})
        bench = Bench(name, torch.device(device), small, out, until)
        with bench.guard(name):
            if bench.left <= 2 and k:
                raise TimeoutError("no time was left for it")
            module = importlib.import_module(f"on_gpu.{name}")
            module.main(bench, pictures) if name == "picture" else module.main(bench)
        write(out, name, {"done": True})


def supervise(parts: list[str], out: Path, end: float, command: list[str]) -> None:
    """Starts workers until every part was played: a part that crashes or overruns costs itself alone."""
    from on_gpu import read, write

    todo = list(parts)
    while todo and time.monotonic() < end:
        log = out / "log.txt"
        with log.open("ab") as errors:
            worker = subprocess.Popen([*command, "--parts", *todo, "--end", str(end)], stderr=errors)
            started = time.monotonic()
            while worker.poll() is None:
                time.sleep(0.1)
                now = time.monotonic()
                current = next((p for p in todo if not read(out)["parts"].get(p, {}).get("done")), None)
                limit = read(out)["parts"].get(current or "", {}).get("until", started + 60)
                if now > limit + GRACE or now > end + GRACE:
                    worker.kill()
                    worker.wait()
                    break
        done = [p for p in todo if read(out)["parts"].get(p, {}).get("done")]
        todo = todo[len(done) :]
        if todo:  # the one that was at work when the worker ended
            tail = log.read_text(errors="replace").splitlines()[-8:]
            write(out, todo[0], {"failed": f"its process ended with {worker.returncode}", "log": tail})
            todo = todo[1:]
    for name in todo:
        write(out, name, {"failed": "no time was left for it"})


def begin(out: Path, seconds: float, parts: list[str]) -> None:
    """A new file of results."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu.json", "log.txt"):
        (out / name).unlink(missing_ok=True)
    (out / "gpu.json").write_text(json.dumps({"seconds": seconds, "order": parts, "parts": {}}) + "\n")


def summary(out: Path) -> str:
    """A line or two a part, for whoever looks at the screen only."""
    lines = []
    for name, part in json.loads((out / "gpu.json").read_text())["parts"].items():
        rows = part.get("rows", [])
        bad = [row["what"] + ": " + row["failed"] for row in rows if "failed" in row]
        lines.append(f"{name}: {len(rows)} results in {part.get('seconds', 0)} s, {len(bad)} failed")
        lines += [f"  {line[:200]}" for line in bad]
        if "failed" in part:
            lines.append(f"  {part['failed']}")
        for row in rows:
            figures = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()]
            if "failed" not in row and "checks" not in row:
                lines.append("  " + ", ".join(figures)[:400])
            elif "checks" in row:
                broken = {k: v[:150] for k, v in row["checks"].items() if v != "kept"}
                lines.append(f"  {row['what']}: {broken or 'all kept'}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for gpu.json and the pictures")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of it, starts included")
    parser.add_argument("--device", help="cuda, where there is one")
    parser.add_argument("--small", action="store_true", help="in miniature, on a CPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--wheels", type=Path, default=HERE / "wheels", help="what Python lacks here")
    parser.add_argument("--pictures", help="to train on in the last part")
    parser.add_argument("--end", type=float, help=argparse.SUPPRESS)  # this is a worker
    args = parser.parse_args(arguments)
    prepare(args.wheels)
    device = args.device or ("cpu" if args.small else "cuda")
    if args.end is not None:
        work(args.parts, args.out, device, args.small, args.end, args.pictures)
        return
    begin(args.out, args.seconds, args.parts)
    command: list[Any] = [sys.executable, __file__, "--out", args.out, "--device", device, "--wheels", args.wheels]
    command += ["--small"] * args.small + (["--pictures", args.pictures] if args.pictures else [])
    supervise(args.parts, args.out, time.monotonic() + args.seconds, list(map(str, command)))
    sys.stdout.write(summary(args.out) + "\n")


if __name__ == "__main__":
    main()
