"""Text to image: words, as pictures.

The data are pictures with a caption each: a column `text` of metadata.csv, or a text file beside each picture. The
words of the training captions are what the model knows, and are saved with it; its text encoder is trained with it,
from the captions alone. In training a word is now and then read as one that is not known, so that a model bears those.

    triptych train text-to-image --data emoji --out runs/words
    triptych apply runs/words --text "red heart" -n 4 --guidance 3 --out hearts.png

`--text` takes words, a file of captions, one a line, or - for those of standard input. Models of codes take
`--guidance` (1 is plain: what they learned), and complete a picture: `--picture`, with white in `--mask` where it is to
be filled.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Bool, Int
from PIL import Image
from torch import Tensor

from triptych.core import (
    UNKNOWN,
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
from triptych.core.text import PAD
from triptych.core.text import UNKNOWN as UNKNOWN_WORD
from triptych.inference.imputation import Recoding
from triptych.media import pictures
from triptych.media.photo import Photo, read_photo
from triptych.media.text import Writing
from triptych.metrics import Measurement
from triptych.nn.tokenizer import Tokenizer
from triptych.tasks.captions import heard
from triptych.tasks.filling import paste
from triptych.tasks.fitting import fit
from triptych.tasks.holes import diffused
from triptych.tasks.inpainting import hole_of
from triptych.tasks.task import Posed, Question, of_pictures

log = logging.getLogger(__name__)

COLUMN = "caption"


@config
class TextToImage:
    name: ClassVar[str] = "text-to-image"
    step: ClassVar[None] = None
    compared: ClassVar[bool] = False
    """A caption is of many pictures: its answer is not held against the one that the data have."""
    lines: ClassVar[bool] = True
    """A file of texts holds a caption a line."""

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
        return replace(batch, given=Text(tokens.masked_fill(forgotten, UNKNOWN_WORD)))

    # Use

    def ask(
        self,
        model: Generative[Any],
        *,
        text: Path | str,
        guidance: float = 1.0,
        best_of: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        truncation: float | None = None,
        picture: Path | None = None,
        mask: Path | None = None,
        invert_mask: bool = False,
    ) -> Question:
        """text: the caption, or the name of a file with one.
        guidance: how far a model of codes is to follow it: 1 as it learned, 3 closer, of less variety.
        best_of: of so many pictures drawn, the one whose codes a model of codes finds likeliest given the caption.
        temperature: below 1, of models of codes, likelier pictures and less variety.
        top_k: only so many of the likeliest codes may come.
        truncation: of a GAN, how far from its mean a latent may lie.
        picture: one to complete, of the model's size, by a model of codes.
        mask: a picture as large, white where it is to be filled; else what is transparent in the picture is.
        invert_mask: black is filled, and white is known.
        """
        writing = Writing.read(text)
        given: Any = getattr(model.config, "given", None)
        if given is None or given.kind != "tokens":
            takes = f"it is given {given}" if given else "it is given nothing"
            raise UsageError(f"{model.name} draws no pictures of words: {takes}")
        tokens = heard(given, writing.text, writing.name)
        how = Sampling(
            temperature=temperature,
            top_k=top_k,
            guidance=guidance,
            best_of=best_of,
            truncation=truncation,
            observation="mean" if isinstance(model, Decoding) else "drawn",
        )
        photo, hole = None, None
        if picture is not None:
            photo = read_photo(picture)
            hole = hole_of(photo, mask, invert_mask, None)
            how = replace(how, known=kept(model, photo, hole))
        elif mask is not None:
            raise UsageError("a mask goes with a picture that is to be completed: name it with picture=")
        said = {"caption": " ".join(writing.text.split())} | ({"guidance": f"{guidance:g}"} if guidance != 1 else {})
        said |= {"best of": str(best_of)} if best_of != 1 else {}
        given = given.condition(tokens[None])
        return Question(writing, given, mask=hole, how=how, said=said, under=photo)

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture that the caption may be of; another seed, another picture."""
        assert question.given is not None
        given = question.given.to(model.device)
        x = model.sample(1, given, seed=seed, how=question.how)[0]
        if question.under is None or question.mask is None:
            return Photo.of(x)
        pixels = question.under.pixels.copy()
        paste(question.under, pixels, question.mask, x.cpu(), (0, 0))
        return replace(question.under, pixels=pixels)

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

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """R-precision, attributes of known shapes, and diversity (see `tasks.fitting`)."""
        return fit(model, test, limit=limit, seed=seed)

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}


def kept(model: Generative[Any], photo: Photo, hole: Bool[Tensor, "h w"]) -> Int[Tensor, "1 places"]:
    """The codes of what is known of a picture. Raises UsageError for a model that has none, and another size."""
    x = model.config.x
    tokenizer = getattr(model, "tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise UsageError(f"{model.name} cannot complete a picture: that takes a model of codes, llamagen or maskgit")
    if (photo.height, photo.width) != (x.height, x.width):
        raise UsageError(
            f"{photo.name} has {photo.height} x {photo.width} pixels (height x width), and {model.name} makes pictures "
            f"of {x.height} x {x.width}: resize it"
        )
    shown = photo.opaque().tensor(x.channels)
    smooth = x.from_index(x.nearest(diffused(shown.masked_fill(hole, 0.0), hole[None, None])))
    codes = tokenizer.known(smooth.to(model.device), ~hole[None].to(model.device))
    if not isinstance(model, Recoding):
        log.info("%s draws one code after the other, and does not foresee what is known after a hole", model.name)
    if not bool((codes != UNKNOWN).any()):
        log.warning("%s: so much is to be filled that nothing of it is left to go by", photo.name)
    return codes.cpu()
