"""A trained model for programs that do not have Triptych: ONNX, or a program of torch.export.

What is written are the functions that `programs` finds in a model. They are run again as they were written, at several
batch sizes, and refused unless they give what the model gives.
"""

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from triptych.core import (
    TriptychError,
    UsageError,
    evaluating,
)
from triptych.io import commit, outputs
from triptych.nn.compact import Compact
from triptych.verbs.create import load
from triptych.verbs.programs import LEAST, TRACED, Encoded, Part
from triptych.verbs.scripts import BATCHES, ENDING, To, readme
from triptych.verbs.stepping import Coded, CodeStep, Decoded, Stepped, parts

TOLERANCE = 1e-3
"""The most that a value may differ, of values that are from -1 to 1: kernels round differently."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    model: str
    to: To
    out: Path
    files: tuple[str, ...]
    apart: Mapping[str, float]
    """The largest difference between the model's values and those of each file, over the batches."""
    batches: tuple[int, ...] = BATCHES

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**vars(self), "out": str(self.out), "apart": dict(self.apart)}


def export(run: str | Path, out: str | Path, to: To = "onnx", *, overwrite: bool = False) -> Exported:
    """Writes a run's model into the folder `out`: model.onnx or model.pt2, and encoder.* of a VAE; step.* of an
    autoregressive model; step.*, decoder.* and encoder.* of a model whose codes are drawn one after the other. With a
    README.md that has a script which uses it without Triptych; of a network for super resolution also
    weights.safetensors, under the names by which other tools know that network.

    Raises UsageError if a package is missing, the model cannot be written (some autoregressive ones) or
    files are there already; TriptychError if what was written does not give what the model gives.
    """
    if to not in ENDING:
        raise UsageError(f"to={to}: it is {' or '.join(ENDING)}")
    model, out = load(run), Path(out)
    check(to)
    written = parts(model)
    names = [f"{part.name}{ENDING[to]}" for part in written] + ["README.md"]
    weights = names_others_know(model)
    names += ["weights.safetensors"] if weights else []
    outputs.check_files(out, names, overwrite=overwrite)
    files, apart = dict[str, bytes](), dict[str, float]()
    with evaluating(model), torch.no_grad(), quietly():
        for part in written:
            name = f"{part.name}{ENDING[to]}"
            files[name] = program(part, to, model.name)
            apart[name] = compared(part, files[name], to, model.name)
    if weights:
        files["weights.safetensors"] = save(weights, {"format": "pt", "made by": outputs.MADE_BY})
    files["README.md"] = readme(model, written, to, apart).encode()
    for name, content in files.items():
        commit.write_atomic(out / name, content)
    return Exported(model.name, to, out, tuple(files), apart)


def check(to: To) -> None:
    """Raises UsageError where a package is missing, before anything is done."""
    if to == "torch":
        return
    for module in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(module) is None:
            raise UsageError(
                f"to=onnx needs {module}, and what is not run again is not written: pip install 'triptych[export]'"
            )


@contextmanager
def quietly() -> Iterator[None]:
    """The exporters warn of their own future, and of packages that are not needed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def program(part: Part, to: To, name: str) -> bytes:
    """The program as a file, for any batch and, where the model takes it, any size. Raises UsageError."""
    args = part.example(TRACED, 0)
    batch = torch.export.Dim("batch", min=1, max=4096)
    sizes: list[dict[int, Any]] = [{} if one.kind == "place" else {0: batch} for one in part.inputs]
    if part.multiple:
        for axis, side in ((2, "height"), (3, "width")):
            dim = torch.export.Dim(side, min=LEAST, max=16384 // part.multiple)
            sizes[-1][axis] = dim if part.multiple == 1 else part.multiple * dim
    try:
        shapes: Any = (tuple(sizes),)  # as `Drawn.forward` takes them, all as one
        if isinstance(part.program, Encoded):  # x, and the rest
            shapes = (sizes[0], tuple(sizes[1:])) if sizes[1:] else (sizes[0],)
        elif isinstance(part.program, Stepped | CodeStep):
            shapes = (sizes[0], sizes[1], tuple(sizes[2:]))
        elif isinstance(part.program, Decoded | Coded):
            shapes = (sizes[0],)
        traced = torch.export.export(part.program, args, dynamic_shapes=shapes)
        buffer = io.BytesIO()
        if to == "torch":
            torch.export.save(traced, buffer)
            return buffer.getvalue()
        names = [one.name for one in part.inputs]
        made: Any = torch.onnx.export(
            traced, (), input_names=names, output_names=list(part.outputs), dynamo=True, verbose=False
        )
        proto = made.model_proto
        return bytes(proto.SerializeToString())
    except Exception as e:
        said = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise UsageError(f"{name} cannot be written as {to}: torch says: {said:.200}") from e


def compared(part: Part, content: bytes, to: To, name: str) -> float:
    """The largest difference from the model's values. Raises TriptychError if it is no rounding."""
    ask, worst = runner(part, content, to), 0.0
    for n in BATCHES:
        args = part.example(n, n)
        want = part.program(*args)
        want = (want,) if isinstance(want, Tensor) else want
        for theirs, ours in zip(ask(args), want, strict=True):
            if tuple(theirs.shape) != tuple(ours.shape):
                raise TriptychError(
                    f"{name} as {to}: {n} items have shape {list(theirs.shape)}, not {list(ours.shape)}"
                )
            if not ours.is_floating_point():  # codes: the share of those that are others
                worst = max(worst, float((theirs != ours).float().mean()))
                continue
            scale = max(1.0, float(ours.abs().max()))
            worst = max(worst, float((theirs - ours).abs().max()) / scale)
    if not math.isfinite(worst) or worst > TOLERANCE:
        raise TriptychError(
            f"{name} as {to} gives other values than the model, apart by {worst:.2g}: it is not written"
        )
    return worst


def runner(part: Part, content: bytes, to: To) -> Callable[[tuple[Tensor, ...]], list[Tensor]]:
    """What runs a file of ours, as somebody without us does."""
    if to == "torch":
        loaded: Any = torch.export.load(io.BytesIO(content)).module()

        def by_torch(args: tuple[Tensor, ...]) -> list[Tensor]:
            found = loaded(*args)
            return [found] if isinstance(found, Tensor) else list(found)

        return by_torch
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def by_onnx(args: tuple[Tensor, ...]) -> list[Tensor]:
        feed = {one.name: t.numpy() for one, t in zip(part.inputs, args, strict=True)}
        return [torch.from_numpy(np.asarray(t)) for t in session.run(list(part.outputs), feed)]

    return by_onnx


def names_others_know(model: Any) -> dict[str, Tensor] | None:
    """Weights of a compact network for super resolution by the names of the paper's code (body.0.weight, ...), by
    which spandrel and what is built on it open them; None for any other network."""
    net = getattr(getattr(model, "average", None), "module", None)
    if not isinstance(net, Compact):
        return None
    return {name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()}
