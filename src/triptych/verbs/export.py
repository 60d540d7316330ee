"""A trained model for programs that do not have Triptych: ONNX, or a program of torch.export.

Every sample is a function of random numbers and of a condition (`Generative.draw`), and that function is what is
written: its inputs are the numbers, each with how it is distributed, and the condition. Of a model with a decoder it
gives the mean of p(x | z); its encoder is written beside it. What was written is run again, at several batch sizes,
and refused unless it gives what the model gives.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from triptych import __version__
from triptych.core import (
    AnySize,
    Autoregressive,
    Decoding,
    Generative,
    ItemNoise,
    Sampling,
    TriptychError,
    UsageError,
    evaluating,
)
from triptych.inference.importance import LatentVariable
from triptych.io import commit, outputs
from triptych.nn.compact import Compact
from triptych.verbs.create import load

To = Literal["onnx", "torch"]
ENDING: dict[To, str] = {"onnx": ".onnx", "torch": ".pt2"}
BATCHES = (1, 2, 5)
"""At which what was written is compared with the model."""
TOLERANCE = 1e-3
"""The most that a value may differ, of values that are from -1 to 1: kernels round differently."""
LEAST = 2
"""The least sides of a condition of any size, in multiples of what they must be multiples of."""
TRACED = 3
"""Items that the program is written from: more than one, so that no size is taken for granted."""
MEAN = Sampling(observation="mean")


@dataclass(frozen=True)
class Input:
    """A tensor that the program takes."""

    name: str
    kind: Literal["normal", "uniform", "given", "x"]
    shape: tuple[int | str, ...]
    """Without the batch; a name where any size will do."""
    what: str


@dataclass(frozen=True)
class Part:
    """One program: of samples, or of the encoder."""

    name: str
    program: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    example: Callable[[int, int], tuple[Tensor, ...]]
    """n items with a seed."""
    multiple: int = 0
    """Of what the sides of the condition may be any multiple; 0: they are as they are."""


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


class Listening:
    """Random numbers as `ItemNoise` has them, which remembers what was asked for."""

    def __init__(self, noise: ItemNoise) -> None:
        self.noise, self.n, self.device, self.dtype = noise, noise.n, noise.device, noise.dtype
        self.heard: list[tuple[Literal["normal", "uniform"], Tensor]] = []

    def normal(self, *shape: int) -> Tensor:
        self.heard.append(("normal", self.noise.normal(*shape)))
        return self.heard[-1][1]

    def uniform(self, *shape: int) -> Tensor:
        self.heard.append(("uniform", self.noise.uniform(*shape)))
        return self.heard[-1][1]


class Given:
    """Random numbers that were drawn elsewhere, in the order in which they are asked for."""

    def __init__(self, drawn: Sequence[Tensor], n: int, device: torch.device) -> None:
        self.drawn, self.n, self.device, self.dtype = iter(drawn), n, device, torch.float32

    def normal(self, *shape: int) -> Tensor:
        return next(self.drawn)

    uniform = normal


class Drawn(nn.Module):
    """Samples as a function of random numbers and, last, of the condition."""

    def __init__(self, model: Generative[Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, *values: Tensor) -> Tensor:
        needs = getattr(self.model.config, "given", None)
        drawn, given = (values, None) if needs is None else (values[:-1], needs.condition(values[-1]))
        return draw(self.model, Given(drawn, values[0].shape[0], values[0].device), given)


class Encoded(nn.Module):
    """q(z | x): its mean and standard deviation."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        c = self.model.config.given.condition(given[0]) if given else None
        q = self.model.encode(x, c)
        return q.mean, q.stddev


def draw(model: Any, noise: Any, given: Any) -> Tensor:
    """As `sample` does, without what `sample` checks; of a model with a decoder, the means."""
    found: Tensor = model.draw(noise, given, MEAN) if isinstance(model, Decoding) else model.draw(noise, given)
    return found


def export(run: str | Path, out: str | Path, to: To = "onnx", *, overwrite: bool = False) -> Exported:
    """Writes a run's model into the folder `out`: model.onnx or model.pt2 (and encoder.*), with a README.md that has a
    script which uses it without Triptych; of a network for super resolution also weights.safetensors, under the names
    by which other tools know that network.

    Raises UsageError if a package is missing, the model cannot be written (autoregressive ones draw value by value) or
    files are there already; TriptychError if what was written does not give what the model gives.
    """
    if to not in ENDING:
        raise UsageError(f"to={to}: it is {' or '.join(ENDING)}")
    model, out = load(run), Path(out)
    check(model, to)
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


def check(model: Generative[Any], to: To) -> None:
    """Raises UsageError for what is not exported, before anything is done."""
    if isinstance(model, Autoregressive):
        raise UsageError(
            f"{model.name} draws value after value, each given those before it: that is a loop and no single program; "
            "what is exported are generators, decoders, encoders and translators"
        )
    if to == "torch":
        return
    for module in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(module) is None:
            raise UsageError(
                f"to=onnx needs {module}, and what is not run again is not written: pip install 'triptych[export]'"
            )


@contextmanager
def quietly() -> Iterator[None]:
    """The exporters warn of their own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parts(model: Generative[Any]) -> list[Part]:
    """The programs of a model."""
    needs = getattr(model.config, "given", None)
    any_size = isinstance(model, AnySize)
    listening = Listening(ItemNoise(0, range(TRACED), model.device))
    with evaluating(model), torch.no_grad():
        draw(model, listening, None if needs is None else needs.condition(condition(needs, TRACED, 0)))
    inputs = [
        Input(f"{kind}_{i}", kind, tuple(t.shape[1:]), "random numbers: " + DISTRIBUTED[kind])
        for i, (kind, t) in enumerate(listening.heard)
    ]
    conditioned = []
    if needs is not None:
        sizes: tuple[int | str, ...] = (needs.shape[0], "height", "width") if any_size else needs.shape
        conditioned = [Input("given", "given", sizes, f"the condition: {needs}")]
    if not inputs and not conditioned:
        raise UsageError(f"{model.name} draws samples of nothing: there is no program to export")

    multiple = model.multiple if isinstance(model, AnySize) else 0

    def example(n: int, seed: int) -> tuple[Tensor, ...]:
        noise = ItemNoise(seed, range(n))
        drawn = [noise.normal(*i.shape) if i.kind == "normal" else noise.uniform(*i.shape) for i in inputs]  # type: ignore[arg-type]
        return (*drawn, condition(sized(needs, multiple, n), n, seed)) if needs is not None else tuple(drawn)

    found = [Part("model", Drawn(model).eval(), (*inputs, *conditioned), ("x",), example, multiple)]
    if isinstance(model, LatentVariable) and model.config.x.values is not None:
        x = Input("x", "x", model.config.x.shape, f"what is encoded: {model.config.x}")

        def examples(n: int, seed: int) -> tuple[Tensor, ...]:
            return (condition(model.config.x, n, seed), *([condition(needs, n, seed)] if needs is not None else []))

        found.append(Part("encoder", Encoded(model).eval(), (x, *conditioned), ("mean", "deviation"), examples))
    return found


def sized(space: Any, multiple: int, n: int) -> Any:
    """The space of a condition of any size, in sizes that differ with n and are large enough that no side within the
    network is a single pixel, which would be taken for one that is always so; others as they are."""
    if not multiple:
        return space
    height, width = (max(side, LEAST * 2 * multiple) for side in (space.height, space.width))
    return replace(space, height=height, width=width + multiple * (n % 2))


DISTRIBUTED = {"normal": "standard normal", "uniform": "uniform on [0, 1)"}


def condition(space: Any, n: int, seed: int) -> Tensor:
    """n elements of a space, at random."""
    generator = torch.Generator().manual_seed(seed)
    if space.choices:
        return torch.randint(space.choices, (n,), generator=generator)
    if space.values is None:
        return torch.randn(n, *space.shape, generator=generator)
    return space.from_index(torch.randint(space.values, (n, *space.shape), generator=generator))


def program(part: Part, to: To, name: str) -> bytes:
    """The program as a file, for any batch and, where the model takes it, any size. Raises UsageError."""
    args = part.example(TRACED, 0)
    batch = torch.export.Dim("batch", min=1, max=4096)
    sizes: list[dict[int, Any]] = [{0: batch} for _ in args]
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
        raise UsageError(f"{name} cannot be written as {to}: {said:.200}") from e


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
        lines += [f"- `{i.name}` [batch{''.join(f', {s}' for s in i.shape)}]: {i.what}" for i in part.inputs]
        lines += ["", f"and gives {', '.join(f'`{o}`' for o in part.outputs)}.", ""]
    if isinstance(model, AnySize):
        lines += [
            f"The sides of the condition may be any multiples of {model.multiple}, from {LEAST * model.multiple} on.",
            "",
        ]
    x = model.config.x
    lines += [f"x is {x}; pictures are from -1 (black) to 1 (white).", ""]
    return "\n".join([*lines, "```python", script(written[0], to).strip(), "```", ""])


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


def brought(one: Input) -> str:
    """The condition, in a script: a picture that was opened, or the first class."""
    if len(one.shape) == 3:
        return f"picture[:, :{one.shape[0]}]"
    return f"np.zeros((n, {', '.join(map(str, one.shape))}), 'int64')"
