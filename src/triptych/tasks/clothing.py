"""Clothing: what somebody wears, alone, as in a shop's catalogue; or the other way round.

The data are pictures of wearers, each with that of the product: two columns, wearer and product (or garment, or x); or
a folder of LookBook, whose files are called PIDxxxxxx_CLEAN1_IIIIII.jpg (the product) and PIDxxxxxx_CLEAN0_IIIIII.jpg
(who wears it). Of one product all wearers are on the same side of a split.

    triptych train clothing --data lookbook/ --out runs/clothing
    triptych apply runs/clothing --picture me.jpg --out shirt.png

With to=wearer the model draws one of the people who might wear it. `pixel-dtgan` shows its second discriminator
products that do not belong to the wearer; other models whose discriminator sees both do so where `mismatched` asks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.core import Data, Generative, Given, Images, Noise, Picture, Space, UsageError, config
from triptych.core.classes import listed
from triptych.inference import tiling
from triptych.media.photo import Photo, read_photo
from triptych.metrics import Measurement, fidelity, hue_error, own_nearest
from triptych.tasks.task import Question, Training, of_pictures
from triptych.tasks.translation import copied, in_channels, mean_picture

WEARER = ("wearer", "model", "person", "worn", "people")
PRODUCT = ("product", "garment", "cloth", "clothes", "item")
AMONG = 100
"""Products that the right one is looked for in."""


@config
class Clothing(Training):
    name: ClassVar[str] = "clothing"
    paired: ClassVar[bool] = True
    step: ClassVar[None] = None

    to: Literal["product", "wearer"] = "product"
    """What is drawn, given the other."""
    wearer: str = ""
    """The column of wearers, if its name does not say it."""

    @property
    def model(self) -> str:
        return "pixel-dtgan-64"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"size": x.height, "channels": x.channels}

    def ends(self, columns: Mapping[str, Any]) -> tuple[str, str]:
        """The columns of what is given and of what is drawn. Raises UsageError."""
        found = [name for name in columns if name not in ("label", "caption")]
        if len(found) < 2:
            raise UsageError(
                "clothing learns from wearers with their products, and there is only one column of pictures: put them "
                "into folders wearer/ and x/, with files of the same names, or call them as LookBook does: "
                "PID000001_CLEAN1_000001.jpg for the product, PID000001_CLEAN0_000002.jpg for a wearer"
            )
        if self.wearer and self.wearer not in found:
            raise UsageError(f"wearer={self.wearer}: there is no such column; there are {listed(tuple(found))}")
        wearers = [self.wearer] if self.wearer else [name for name in found if name.casefold() in WEARER]
        others = [name for name in found if name not in wearers]
        products = [name for name in others if name.casefold() in PRODUCT] or [name for name in others if name == "x"]
        wearers = wearers or ([name for name in found if name not in products] if len(found) == 2 else [])
        if len(wearers) != 1 or len(products or others) != 1:
            raise UsageError(f"which of {listed(tuple(found))} shows the wearers? say wearer={found[-1]}, or another")
        product = (products or others)[0]
        return (wearers[0], product) if self.to == "product" else (product, wearers[0])

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        source, target = self.ends(columns)
        given, x = (of_pictures(columns[name], name, self.name, drawn=False) for name in (source, target))
        if (given.height, given.width) != (x.height, x.width):
            raise UsageError(
                f"{source} has pictures of {given.height} x {given.width} (height x width) and {target} of {x.height} "
                f"x {x.width}: size={min(given.height, x.height)} brings both to one"
            )
        return x, given

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        source, target = self.ends(columns)
        return columns[target], Picture(columns[source])

    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        return {"picture": self.ends(columns)[0]} if len(columns) > 1 else {}

    def ask(self, model: Generative[Any], *, picture: Path) -> Question:
        """picture: somebody who wears it, or of a model that draws them the product: a file (or a PIL image, or an
        array); of any size, for it is brought to that of the model and cut to its shape around the middle.
        """
        photo = read_photo(picture).opaque()
        given = model.config.given
        grid = photo.tensor(given.channels)
        scale = max(given.height / photo.height, given.width / photo.width)
        size = (max(given.height, round(photo.height * scale)), max(given.width, round(photo.width * scale)))
        grid = F.interpolate(grid, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
        top, left = (size[0] - given.height) // 2, (size[1] - given.width) // 2
        grid = grid[..., top : top + given.height, left : left + given.width]
        return Question(photo, Picture(grid))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture as large as those that the model was trained to draw."""
        assert isinstance(question.given, Picture)
        return Photo.of(tiling.whole(model, question.given.grid, seed=seed, tile=tile))

    def before(self, question: Question) -> Photo:
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        assert isinstance(given, Picture)
        return in_channels(given.grid, like.shape[1])

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR and SSIM; how far the product's hue is off; how often the right product is the nearest of 100."""
        found = fidelity(x, truth).measurements()
        if self.to == "product" and x.shape[1] == 3:
            off = hue_error(x, truth)
            found += [off] if off is not None else []
        found.append(
            Measurement(
                name="right one found",
                value=own_nearest(x, truth, AMONG).item(),
                unit="share",
                better="higher",
                protocol=f"answers whose nearest of {AMONG} held-out {self.to}s, by squared distance of pixels, is the "
                "right one",
                n=f"{len(x):,} pictures",
            )
        )
        return found

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {"copy": copied}

    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """The mean of the pictures that were trained on."""
        return {"mean picture": mean_picture(training)}
