"""Text to image: words, as pictures.

The data are pictures with a caption each: a column `text` of metadata.csv, or a text file beside each picture. The words
of the training captions are what the model knows, and are saved with it; its text encoder is trained with it, from the
captions alone. In training a word is now and then read as one that is not known, so that a model bears those.

    triptych train text-to-image --data emoji --out runs/words
    triptych apply runs/words --text "red heart" -n 4 --guidance 3 --out hearts.png

`--text` takes words, a file of captions, one a line, or - for those of standard input. Models of codes take `--guidance`
(1 is plain: what they learned), and complete a picture: `--picture`, with white in `--mask` where it is to be filled.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from triptych.core import (
    Batch,
    Decoding,
    Fraction,
    Generative,
    Given,
    Images,
    Noise,
    Sampling,
    Space,
    Text,
    UsageError,
    config,
)
from triptych.core.text import PAD, UNKNOWN
from triptych.media import pictures
from triptych.media.photo import Photo
from triptych.media.text import Writing
from triptych.metrics import Measurement
from triptych.tasks.captions import heard
from triptych.tasks.task import Question, of_pictures

COLUMN = "caption"


@config
class TextToImage:
    name: ClassVar[str] = "text-to-image"
    step: ClassVar[None] = None
    compared: ClassVar[bool] = False
    """A caption is of many pictures: its answer is not held against the one that the data have."""

    forgotten: Fraction = 0.05
    """The share of words that are read as unknown in training."""

    @property
    def model(self) -> str:
        return "llamagen-32"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": (x.height, x.width), "channels": x.channels}

    # Training

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x = of_pictures(columns["x"], "x", self.name)
        if COLUMN not in columns:
            raise UsageError(
                "text-to-image learns from captions, and there are none: they come from a text column of metadata.csv "
                "or metadata.jsonl, or from a text file beside each picture"
            )
        return x, columns[COLUMN]

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        return columns["x"], Text(columns[COLUMN])

    def altered(self, batch: Batch[Any]) -> Batch[Any]:
        """Some words, drawn anew each time, are not known."""
        if not self.forgotten:
            return batch
        tokens = batch.given.tokens
        forgotten = (batch.noise.uniform(tokens.shape[1]) < self.forgotten) & (tokens != PAD)
        return Batch(batch.x, Text(tokens.masked_fill(forgotten, UNKNOWN)), batch.noise)

    # Use

    def ask(
        self,
        model: Generative[Any],
        *,
        text: Path | str,
        guidance: float = 1.0,
        temperature: float = 1.0,
        top_k: int | None = None,
        truncation: float | None = None,
    ) -> Question:
        """text: the caption, or the name of a file with one.
        guidance: how far a model of codes is to follow it: 1 as it learned, 3 closer, of less variety.
        temperature: below 1, of models of codes, likelier pictures and less variety.
        top_k: only so many of the likeliest codes may come.
        truncation: of a GAN, how far from its mean a latent may lie.
        """
        writing = Writing.read(text)
        given = model.config.given
        tokens = heard(given, writing.text, writing.name)
        how = Sampling(
            temperature=temperature,
            top_k=top_k,
            guidance=guidance,
            truncation=truncation,
            observation="mean" if isinstance(model, Decoding) else "drawn",
        )
        said = {"caption": " ".join(writing.text.split())} | ({"guidance": f"{guidance:g}"} if guidance != 1 else {})
        return Question(writing, given.condition(tokens[None]), how=how, said=said)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture that the caption may be of; another seed, another picture."""
        assert question.given is not None
        given = question.given.to(model.device)
        return Photo.of(model.sample(1, given, seed=seed, how=question.how)[0])

    def before(self, question: Question) -> Writing:
        assert isinstance(question.brought, Writing)
        return question.brought

    def shown(self, given: Given, like: Tensor) -> Sequence[Image.Image]:
        """Captions, in numbers: what they stand for is not known here."""
        assert isinstance(given, Text)
        return [pictures.page([" ".join(map(str, row.tolist()))], width=24, height=3) for row in given.tokens]

    # Measures

    def measure(self, x: Tensor, truth: Tensor, given: Given) -> list[Measurement]:
        return []

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}
