"""Makes the weights that come with the package: trains what is not in RUNS yet, by the recorded commands, and packs it.

python tools/weights.py RUNS [NAME...]
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from triptych.cli.output import say
from triptych.io import commit, folder, tensors
from triptych.verbs.create import load
from triptych.verbs.gallery import shoot
from triptych.verbs.shipped import FOLDER, RECIPES, shipped

KEPT = ("format", "model", "config", "data", "run", "made_with", "task")
"""Of a run's config.json."""
BESIDE = ("classes.gpl", "classes.png")
"""Files of a run that go with it."""
SAMPLES = 32
"""On the picture of a card."""
CARD = """---
library_name: triptych
license: {spdx}
tags: [triptych, {model}]
---

# {name}

{Does}, by `{model}`.

![Samples](samples.png)

```python
import triptych as tt

model = tt.from_pretrained("{name}")
```

{use}

| | |
|---|---|
| data | {data} |
| licence of the data and of these weights | {licence} |
| credit | {credit} |
| training | {minutes:g} minutes of one CPU core |
| weights | {parameters:,}, kept in half precision, computed with in single |
{measured}
Made by:

```bash
{commands}
```

A small model, to look at and to try things with. It reproduces the gaps and biases of its data.
"""


def train(name: str, commands: list[str], run: Path) -> None:
    for command in commands:
        words = [str(run) if word == "RUN" else word for word in shlex.split(command)]
        say(f"{name}: {shlex.join(words)}")
        subprocess.run([sys.executable, "-m", *words], check=True)


def pack(name: str, about: dict, run: Path) -> int:
    """Half-precision weights, configuration and card, without what only resuming needs; the bytes it takes."""
    model, target = load(run), FOLDER / name
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    tensors.check_finite(weights)
    config = {k: v for k, v in folder.about(run).items() if k in KEPT}
    target.mkdir(parents=True, exist_ok=True)
    for beside in BESIDE:
        if (run / beside).exists():
            shutil.copy(run / beside, target / beside)
    files = {folder.CONFIG: (json.dumps(config, indent=2) + "\n").encode(), folder.WEIGHTS: tensors.pack(weights)}
    commit.commit(target, files)
    one = shipped()[name]
    shoot(one, SAMPLES, 0).picture.save(target / "samples.png", optimize=True)
    task = config.get("task", {}).get("name")
    use = f"triptych sample {name} -n 16 --out samples.png"
    if task:
        use = f"triptych apply {name} {one.asking} --out {task}.png"
    (target / "README.md").write_text(
        CARD.format(
            **{k: v for k, v in about.items() if k not in ("commands", "measured", "example", "beside", "how")},
            measured=f"| measured | {about['measured']} |\n" if about.get("measured") else "",
            name=name,
            model=model.name,
            Does=about["does"][0].upper() + about["does"][1:],
            spdx="other" if " " in about["licence"] else about["licence"].lower(),
            use=f"```bash\n{use}\n```",
            parameters=sum(p.numel() for p in model.parameters()),
            commands="\n".join(about["commands"]),
        )
    )
    return sum(file.stat().st_size for file in target.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="where the runs lie, or are trained")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, about in json.loads(RECIPES.read_text(encoding="utf-8")).items():
        if asked.names and name not in asked.names:
            continue
        if not commit.committed(asked.runs / name):
            train(name, about["commands"], asked.runs / name)
        say(f"{name}: {pack(name, about, asked.runs / name):,} bytes")


if __name__ == "__main__":
    main()
