"""What goes beside a model that was written for programs without Triptych: what it takes, and a script that uses it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from triptych import __version__
from triptych.core import AnySize, Generative
from triptych.verbs.programs import LEAST, Input, Part

To = Literal["onnx", "torch"]
ENDING: dict[To, str] = {"onnx": ".onnx", "torch": ".pt2"}
BATCHES = (1, 2, 5)
"""At which what was written is compared with the model."""


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
    symbols = getattr(getattr(model.config, "given", None), "symbols", None)
    if words := getattr(symbols, "words", None) or getattr(symbols, "letters", None):
        numbers = " ".join(f"{k} {word}" for k, word in enumerate(words, 0 if hasattr(symbols, "words") else 1))
        lines += [f"Texts are written by their numbers, and filled up with 0: {numbers}.", ""]
    if isinstance(model, AnySize):
        lines += [
            f"The sides of the condition may be any multiples of {model.multiple}, from {LEAST * model.multiple} on.",
            "",
        ]
    x = model.config.x
    lines += [f"x is {x}; pictures are from -1 (black) to 1 (white).", ""]
    code = walk(model, written, to) if written[0].steps else script(written[0], to)
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


def walk(model: Any, written: Sequence[Part], to: To) -> str:
    """Some twenty lines that draw value after value by single steps; of codes, what they stand for."""
    part, x, coded = written[0], model.config.x, len(written) > 1
    zeros = [f"np.zeros((n, {', '.join(map(str, i.shape))}), 'float32')" for i in part.inputs if i.kind == "memory"]
    given = [
        f'"{i.name}": np.zeros(({", ".join(map(str, ("n", *i.shape)))},), "int64")'
        for i in part.inputs
        if i.kind == "given"
    ]
    remembered = ", ".join(f'"{i.name}": memory[{k}]' for k, i in enumerate(part.inputs[2 : 2 + len(zeros)]))
    inputs = ", ".join(['"value": value', '"place": np.array([place])', remembered, *given])
    ask = {
        "onnx": ["    scores, *memory = step.run(None, inputs)"],
        "torch": [
            "    found = step(*map(torch.from_numpy, inputs.values()))",
            "    scores, *memory = (one.detach().numpy() for one in found)",
        ],
    }[to]
    pick = (
        ["    value = (rng.random(n) * (1 + np.exp(-scores[:, 0])) < 1).astype('int64')"]
        if x.values == 2 and x.planar and not coded
        else [
            "    likely = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)",
            "    value = (likely > rng.random((n, 1)) * likely[:, -1:]).argmax(1)",
        ]
    )
    pictured = ["row = np.concatenate(list(pixels), axis=1).squeeze()", 'Image.fromarray(row).save("samples.png")']
    if coded:
        last = [
            {
                "onnx": 'x = decoder.run(None, {"code": np.stack(drawn, 1)})[0]',
                "torch": "x = decoder(torch.from_numpy(np.stack(drawn, 1))).detach().numpy()",
            }[to]
        ]
        last += (
            ["pixels = ((x.clip(-1, 1) + 1) * 127.5).round().astype('uint8').transpose(0, 2, 3, 1)", *pictured]
            if x.planar
            else ["print(x.shape)"]
        )
    elif x.planar:
        shape = f"n, {x.height}, {x.width}, {x.channels}"
        levels = f"np.stack(drawn, 1).reshape({shape}) * (255 / {x.levels - 1})"
        last = [f"pixels = ({levels}).round().astype('uint8')", *pictured]
    else:
        last = ["tokens = np.stack(drawn, 1)  # [n, length]", "print(tokens)"]
    return "\n".join(
        [
            *(["import numpy as np", {"onnx": "import onnxruntime", "torch": "import torch"}[to]]),
            *(["from PIL import Image"] if x.planar else []),
            "",
            "n, rng, drawn = 4, np.random.default_rng(0), []",
            *(f"{one.name} = {opened(one, to)}" for one in written if one.name != "encoder"),
            f"value, memory = np.zeros(n, 'int64'), [{', '.join(zeros)}]",
            f"for place in range({part.steps}):",
            f"    inputs = {{{inputs}}}",
            *ask,
            *pick,
            f"    drawn += [value] if place >= {part.before} else []" if part.before else "    drawn.append(value)",
            *last,
        ]
    )


def opened(part: Part, to: To) -> str:
    name = f'"{part.name}{ENDING[to]}"'
    return f"onnxruntime.InferenceSession({name})" if to == "onnx" else f"torch.export.load({name}).module()"


def brought(one: Input) -> str:
    """The condition, in a script: a picture that was opened, or the first class."""
    if len(one.shape) == 3:
        return f"picture[:, :{one.shape[0]}]"
    return f"np.zeros((n, {', '.join(map(str, one.shape))}), 'int64')"
