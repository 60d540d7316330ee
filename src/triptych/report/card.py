"""The model card: the README.md of a run folder, with the YAML header that the Hugging Face hub reads."""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from triptych.report import tables
from triptych.report.page import Fact, Link
from triptych.report.tables import Quantity, Row, Table, md


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model card says."""

    name: str
    """The model's name in the catalogue: "pixelcnn"."""
    title: str
    """"PixelCNN on binarized MNIST"."""
    sentence: str
    """What the model is, in one sentence."""
    family: str
    dataset: str
    """"mnist"."""
    samples: str
    """What `sample` returns: "float32 [n, 1, 28, 28] in [-1, 1]"."""
    command: str
    """Repeats the training."""
    training: Sequence[Fact] = ()
    """Data and split, seed, steps, batch size, hardware, versions, wall time."""
    paper: Link | None = None
    bibtex: str = ""
    license: str | None = None
    """Of the weights, as an SPDX identifier in lower case; None: not said."""
    folder: str = "."
    """Where the model lies, or its name on the hub."""
    given: str = ""
    """Python for the condition of a conditional model: "tt.Label(torch.arange(10))"."""
    options: str = ""
    """The same for the command line."""
    picture: str = ""
    """A picture in the folder: "samples/final.png"."""
    results: Row | None = None
    """Likelihoods and measurements, each with its protocol."""
    limits: Sequence[str] = ()


LIMITS = (
    "The model reproduces its training data's gaps and biases; it was made for research and teaching.",
    "Nearest training examples should be looked at before samples are published: a model may memorize.",
)


def model_card(card: Card) -> str:
    """The card as Markdown. Every text is escaped for where it stands."""
    parts = [
        header(card),
        f"# {md(card.title)}",
        md(card.sentence) + (f" ([{md(card.paper.text)}]({address(card.paper.url)}))" if card.paper else ""),
        f"![Samples]({address(card.picture)})" if card.picture else "",
        "## Use",
        fenced(use(card), "python"),
        fenced(f"triptych sample {shlex.quote(card.folder)} -n 16 --out samples.png --seed 0 {card.options}", "bash"),
        f"`sample` returns {md(card.samples)}. "
        "Sample i depends on the model, the seed and i, not on how many are drawn.",
        "## Training",
        fenced(card.command, "bash"),
        "\n".join(f"- {md(fact.name)}: {md(fact.value)}" for fact in card.training),
        "## Results" if card.results else "",
        results(card.results) if card.results else "",
        "## Limits",
        "\n".join(f"- {md(limit)}" for limit in (*card.limits, *LIMITS)),
        "## Citation" if card.bibtex else "",
        fenced(card.bibtex, "bibtex") if card.bibtex else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def header(card: Card) -> str:
    """The YAML between the dashes; strings are quoted as JSON, which YAML reads."""
    tags = ["generative-model", card.family, card.name]
    lines = ["library_name: triptych"]
    if card.license:
        lines.append(f"license: {yaml(card.license)}")
    lines += ["tags:", *(f"- {yaml(tag)}" for tag in dict.fromkeys(tags)), "datasets:", f"- {yaml(card.dataset)}"]
    found = measured(card.results)
    if found:
        lines += ["metrics:", *(f"- {yaml(name)}" for name in dict.fromkeys(name for name, _ in found))]
        lines += ["model-index:", f"- name: {yaml(card.title)}", "  results:"]
        lines += ["  - task:", "      type: generation", "    dataset:"]
        lines += [f"      name: {yaml(card.dataset)}", f"      type: {yaml(card.dataset)}", "    metrics:"]
        for name, value in found:
            lines += [f"    - type: {yaml(name)}", f"      name: {yaml(name)}", f"      value: {yaml_float(value)}"]
    return "\n".join(["---", *lines, "---"])


def measured(row: Row | None) -> list[tuple[str, float]]:
    """Names, which carry a likelihood's kind, and finite values."""
    if row is None:
        return []
    found = [(f"-{one.quantity} (nats, {one.kind})", -one.nats) for one in row.likelihoods]
    found += [(one.name, one.value) for one in row.values if isinstance(one, Quantity)]
    return [(name, float(value)) for name, value in found if math.isfinite(value)]


def results(row: Row) -> str:
    """A line a number: value, null floor, protocol."""
    lines = ["| what | value | protocol |", "| --- | --- | --- |"]
    if not row.likelihoods:
        lines.append(f"| likelihood | {md(row.no_likelihood)} | |")
    for one in row.likelihoods:
        number = f"{one.shown()} nats, {one.bits_per_dim:.3f} bits/dim"
        how = f"{one.how}; {one.measure}; {one.data}, n = {one.n:,}"
        lines.append(f"| −{md(one.quantity)}, **{one.kind}** | {md(number)} | {md(how)} |")
    for value in row.values:
        shown = value.shown()
        if isinstance(value, Quantity) and value.floor is not None:
            shown += f" (null floor {value.shown_floor()})"
        how = "; ".join(part for part in (value.protocol, value.data, value.n) if part)
        lines.append(f"| {md(value.name)} | {md(shown)} | {md(how)} |")
    rules = tables.bound_rule(Table(rows=[row]))
    return "\n".join([*lines, *(f"\n{md(rule)}" for rule in rules)])


def use(card: Card) -> str:
    """Python that loads the model and draws from it."""
    lines = ["import torch"] * ("torch." in card.given) + ["import triptych as tt", ""]
    lines.append(f"model = tt.load({card.folder!r})")
    if card.given:
        lines += [f"given = {card.given}", "x = model.sample(len(given), given, seed=0)"]
    else:
        lines.append("x = model.sample(16, seed=0)")
    return "\n".join(lines)


def yaml(text: str) -> str:
    return json.dumps(" ".join("".join(c if c.isprintable() else " " for c in text).split()), ensure_ascii=False)


def yaml_float(value: float) -> str:
    """A float that YAML 1.1 also takes for one: it wants a point before an exponent."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def fenced(code: str, language: str) -> str:
    """Code in a fence longer than any within it."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code.strip()}\n{fence}"


def address(url: str) -> str:
    """An address that ends neither the parenthesis nor the line."""
    return "".join(c if c.isprintable() and c not in " ()<>\"'\\" else f"%{ord(c):02X}" for c in url)
