"""A trained model for programs that do not have Triptych: ONNX, or a program of torch.export.

What is written are the functions that `programs` finds in a model. They are run again as they were written, at several
batch sizes, and refused unless they give what the model gives.
"""

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from triptych import __version__
from triptych.core import (
    AnySize,
    Generative,
    TriptychError,
    UsageError,
    evaluating,
)
from triptych.io import commit, outputs
from triptych.nn.compact import Compact
from triptych.verbs.create import load
from triptych.verbs.programs import LEAST, TRACED, Encoded, Input, Part, Stepped, parts

To = Literal["onnx", "torch"]
ENDING: dict[To, str] = {"onnx": ".onnx", "torch": ".pt2"}
BATCHES = (1, 2, 5)
"""At which what was written is compared with the model."""
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
    """Writes a run's model into the folder `out`: model.onnx or model.pt2 (and encoder.*), or step.* of an
    autoregressive model, with a README.md that has a script which uses it without Triptych; of a network for super
    resolution also weights.safetensors, under the names by which other tools know that network.

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
        shapes: Any = (
            tuple(sizes),
        )  # as `Drawn.forward` takes them, all as one; and `Encoded.forward`: x, and the rest
        if isinstance(part.program, Encoded):
            shapes = (sizes[0], tuple(sizes[1:])) if sizes[1:] else (sizes[0],)
        if isinstance(part.program, Stepped):
            shapes = (sizes[0], sizes[1], tuple(sizes[2:]))
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


def readme(model: Generative[Any], written: Sequence[Part], to: To, apart: Mapping[str, float]) -> str:
    """What was written, and a script that uses it without Triptych."""
    lines = [f"# {model.name}, written by Triptych {__version__} for programs without it", ""]
    for part in written:
        name = f"{part.name}{ENDING[to]}"
        lines += [f"`{name}`: differs from the model by {apart[name]:.1e} at most (batches of {BATCHES}). It takes", ""]
        for one in part.inputs:
            size = ", ".join(map(str, one.shape if one.kind == "place" else ("batch", *one.shape)))
            lines.append(f"- `{one.name}` [{size}]: {one.what}")
        lines += ["", f"and gives {', '.join(f'`{o}`' for o in part.outputs)}.", ""]
    if isinstance(model, AnySize):
        lines += [
            f"The sides of the condition may be any multiples of {model.multiple}, from {LEAST * model.multiple} on.",
            "",
        ]
    x = model.config.x
    lines += [f"x is {x}; pictures are from -1 (black) to 1 (white).", ""]
    code = walk(model, written[0], to) if written[0].name == "step" else script(written[0], to)
    return "\n".join([*lines, "```python", code.strip(), "```", ""])


def script(part: Part, to: To) -> str:
    """Some twenty lines that sample."""
    drawn = {"normal": "rng.standard_normal(({0}), 'float32')", "uniform": "rng.random(({0}), 'float32')"}
    feed = []
    for one in part.inputs:
        size = ", ".join(["n", *(str(s) for s in one.shape)])
        said = drawn[one.kind].format(size) if one.kind in drawn else brought(one)
        feed.append(f'    "{one.name}": {said},')
    runs = {
        "onnx": [
            'session = onnxruntime.InferenceSession("model.onnx")',
            'x = session.run(["x"], inputs)[0]',
        ],
        "torch": [
            'program = torch.export.load("model.pt2").module()',
            "x = program(*map(torch.from_numpy, inputs.values())).detach().numpy()",
        ],
    }
    picture = any(one.kind == "given" and len(one.shape) == 3 for one in part.inputs)
    opened = [
        'picture = np.asarray(Image.open("input.png").convert("RGB"), "float32") / 127.5 - 1',
        "picture = picture.transpose(2, 0, 1)[None]",
    ]
    return "\n".join(
        [
            "import numpy as np",
            {"onnx": "import onnxruntime", "torch": "import torch"}[to],
            "from PIL import Image",
            "",
            f"n, rng = {1 if picture else 16}, np.random.default_rng(0)",
            *(opened if picture else []),
            "inputs = {",
            *feed,
            "}",
            *runs[to],
            "pixels = ((x.clip(-1, 1) + 1) * 127.5).round().astype('uint8')  # [n, channels, height, width]",
            "row = np.concatenate(list(pixels), axis=2).transpose(1, 2, 0)",
            'Image.fromarray(row.squeeze()).save("samples.png")',
        ]
    )


def walk(model: Any, part: Part, to: To) -> str:
    """Some twenty lines that draw value after value by single steps."""
    x = model.config.x
    zeros = [f"np.zeros((n, {', '.join(map(str, i.shape))}), 'float32')" for i in part.inputs if i.kind == "memory"]
    given = [f'"{one.name}": np.zeros((n,), "int64")' for one in part.inputs if one.kind == "given"]
    opened, ask = {
        "onnx": (
            'session = onnxruntime.InferenceSession("step.onnx")',
            ["    scores, *memory = session.run(None, inputs)"],
        ),
        "torch": (
            'program = torch.export.load("step.pt2").module()',
            [
                "    found = program(*map(torch.from_numpy, inputs.values()))",
                "    scores, *memory = (one.detach().numpy() for one in found)",
            ],
        ),
    }[to]
    remembered = ", ".join(f'"{i.name}": memory[{k}]' for k, i in enumerate(part.inputs[2 : 2 + len(zeros)]))
    inputs = ", ".join(['"value": value', '"place": np.array([place])', remembered, *given])
    two = x.values == 2 and x.planar
    pick = (
        ["    value = (rng.random(n) * (1 + np.exp(-scores[:, 0])) < 1).astype('int64')"]
        if two
        else [
            "    likely = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)",
            "    value = (likely > rng.random((n, 1)) * likely[:, -1:]).argmax(1)",
        ]
    )
    if x.planar:
        last = [
            f"pixels = np.stack(drawn, 1).reshape(n, {x.height}, {x.width}, {x.channels}) * (255 / {x.levels - 1})",
            "row = np.concatenate(list(pixels), axis=1).round().astype('uint8')",
            'Image.fromarray(row.squeeze()).save("samples.png")',
        ]
    else:
        last = ["tokens = np.stack(drawn, 1)  # [n, length]", "print(tokens)"]
    return "\n".join(
        [
            *(["import numpy as np", {"onnx": "import onnxruntime", "torch": "import torch"}[to]]),
            *(["from PIL import Image"] if x.planar else []),
            "",
            "n, rng, drawn = 4, np.random.default_rng(0), []",
            opened,
            f"value, memory = np.zeros(n, 'int64'), [{', '.join(zeros)}]",
            f"for place in range({x.dims}):",
            f"    inputs = {{{inputs}}}",
            *ask,
            *pick,
            "    drawn.append(value)",
            *last,
        ]
    )


def brought(one: Input) -> str:
    """The condition, in a script: a picture that was opened, or the first class."""
    if len(one.shape) == 3:
        return f"picture[:, :{one.shape[0]}]"
    return f"np.zeros((n, {', '.join(map(str, one.shape))}), 'int64')"
