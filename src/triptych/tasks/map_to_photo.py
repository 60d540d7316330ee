"""Semantic map to photograph: a map of classes, made into pictures that show what it says.

The data are photographs with a label map each: folders image/ and label/ (images and masks, train_img and train_label,
...), or columns of a table. A map is a palette picture or a grey one whose values are numbers of classes, 255 for
"don't care"; or its colours are classes, as `classes.csv` (index, name, red, green, blue) says. The run keeps the
table: beside the model there are a legend (classes.png) and the colours as brushes for painting programs (classes.gpl).

    triptych train map-to-photo --data city/ --out runs/city
    triptych apply runs/city --picture painted.png --out street.png --seeds 0-3

A further column may be shown to the model, `beside` the map: a latitude, a relief.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from triptych.core import (
    Data,
    Generative,
    Given,
    Images,
    ItemNoise,
    Noise,
    Picture,
    Space,
    UsageError,
    config,
    mix,
    planar,
)
from triptych.core.classes import listed
from triptych.inference import tiling
from triptych.media.maps import NO_CLASS, ClassTable, Color, table_of
from triptych.media.photo import Photo, read_index, read_photo
from triptych.metrics import Measurement, fidelity
from triptych.metrics.segmenter import BATCH, RECIPE, segmented, train_segmenter
from triptych.tasks.task import Posed, Question, Training, of_pictures
from triptych.tasks.translation import in_channels

NONE = -1
"""The class of a pixel that has none."""
BANDS = 36
"""Of the values of what is beside the map, from black to white: 5 degrees of a latitude each."""
FITTED, ITEMS, SEEDS = 2000, 200, 8
"""Training pictures that baselines are the means of; held-out maps that are asked several times; and how often."""


@config
class MapToPhoto(Training):
    name: ClassVar[str] = "map-to-photo"
    paired: ClassVar[bool] = True
    step: ClassVar[None] = None

    map: str = ""
    """The column of label maps; if nothing is said, the only one."""
    beside: str = ""
    """A further column of pictures that the model is shown, if any."""
    without: str = ""
    """Classes, with commas between, whose pixels are left out where PSNR is measured: a sea that is all one colour."""
    classes: tuple[str, ...] = ()
    """What the classes are called: the data say it."""
    colors: tuple[Color, ...] = ()
    """And what colour they have in maps."""

    @property
    def model(self) -> str:
        return "oasis-64"

    def opens(self, x: Images) -> dict[str, Any]:
        return {"crop": x.height}

    # What the data say, once

    @property
    def table(self) -> ClassTable:
        return ClassTable(self.classes, self.colors)

    def column(self, columns: Mapping[str, Space]) -> str:
        """The one of label maps. Raises UsageError."""
        maps = [name for name, s in columns.items() if name != "x" and planar(s) and s.levels == 2]
        if self.map and self.map in columns and self.map not in maps:
            raise UsageError(f"map={self.map}: it holds pictures; index= with the name of its folder reads maps")
        if self.map and self.map not in maps:
            raise UsageError(
                f"map={self.map}: there is no such column of label maps; there is {listed(maps) or 'none'}"
            )
        if not maps:
            others = [name for name, s in columns.items() if name != "x" and planar(s)]
            reads = f"index= with the name of its folder makes classes of the values of {' or '.join(others)}"
            remedy = reads if others else "put pictures and maps into folders image/ and label/, with the same names"
            raise UsageError(f"there is no label map beside x: {remedy}")
        if not self.map and len(maps) > 1:
            raise UsageError(f"which of {', '.join(maps)} is the map? say map={maps[0]}, or another")
        return self.map or maps[0]

    def settled(self, data: Any) -> Self:
        """The same with the classes of the data. Raises UsageError for data of other classes than those it has."""
        columns: Mapping[str, Space] = data.columns if hasattr(data, "columns") else {"x": data.x}
        name = self.column(columns)
        column = getattr(data, "maps", {}).get(name)
        space = of_pictures(columns[name], name, self.name, drawn=False)
        table = column.table if column is not None else None
        found = table or table_of(space.channels)
        if len(found) < 2:
            raise UsageError(
                f"map={name}: its maps have one class, {found.names[0]}, and perhaps 255, which stands for none; "
                "number classes 0, 1, ... (of a mask, too), or say what they are in classes.csv (index,name)"
            )
        if not self.classes:
            made: Self = replace(self, map=name, classes=found.names, colors=found.colors)
            made.left_out()
            return made
        named = [k for k, (one, other) in enumerate(zip(found.names, self.classes, strict=False)) if one != other]
        if len(found) > len(self.classes) or (named and column is not None and column.reading.names):
            raise UsageError(
                f"its maps have other classes: {listed(found.names)}; the run's are {listed(self.classes)}"
            )
        return self

    def left_out(self) -> list[int]:
        """Raises UsageError for a class that there is not."""
        names = [word.strip() for word in self.without.split(",") if word.strip()]
        for name in names:
            if name not in self.classes:
                raise UsageError(f"without={name}: there is no such class; there are {', '.join(self.classes)}")
        return [self.classes.index(name) for name in names]

    @property
    def told(self) -> dict[str, Any]:
        """How many of the condition's channels are classes, for models that ask."""
        return {"classes": len(self.classes)}

    def said(self, data: Any) -> list[str]:
        """The class table, with the share of each in the maps."""
        counts = shares(data, self.map)
        lines = [f"classes, of {self.map} (255: none, on {counts[NO_CLASS]:.1%} of the pixels):"]
        for k, (name, color) in enumerate(self.table.pairs()):
            lines.append(f"  {k:3d}  #{color[0]:02x}{color[1]:02x}{color[2]:02x}  {counts[k]:6.1%}  {name}")
        return lines

    def files(self) -> dict[str, bytes]:
        """What lies beside the model: the legend, and brushes."""
        out = BytesIO()
        self.table.legend().save(out, "PNG")
        return {"classes.png": out.getvalue(), "classes.gpl": self.table.brushes("classes").encode()}

    # Training

    def spaces(self, columns: Mapping[str, Space]) -> tuple[Space, Space | None]:
        x, name = of_pictures(columns["x"], "x", self.name), self.column(columns)
        space = of_pictures(columns[name], name, self.name, drawn=False)
        if (space.height, space.width) != (x.height, x.width):
            raise UsageError(
                f"maps are {space.height} x {space.width} (height x width) and pictures {x.height} x {x.width}: they "
                f"are of one size: size={x.height} brings both to it"
            )
        classes = max(space.channels, len(self.classes))
        if not self.beside:
            return x, Images(classes, x.height, x.width, levels=2)
        more = columns.get(self.beside)
        if not planar(more) or self.beside in ("x", self.map):
            others = [name for name in columns if name not in ("x", "label", "caption", self.map)]
            raise UsageError(f"beside={self.beside}: there is no such column; there is {listed(others) or 'none'}")
        return x, Images(classes + more.channels, x.height, x.width)

    def pose(self, columns: Mapping[str, Tensor], noise: Noise) -> tuple[Tensor, Given]:
        index = columns[self.map]
        grid = nn.functional.pad(index, (0, 0, 0, 0, 0, len(self.classes) - index.shape[1]), value=-1.0)
        return columns["x"], Picture(torch.cat([grid, columns[self.beside]], 1) if self.beside else grid)

    # Use

    def brought(self, columns: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, str]:
        return {"picture": self.map, "beside": self.beside}

    def ask(self, model: Generative[Any], *, picture: Path, beside: Path | None = None) -> Question:
        """picture: the map: a palette or grey picture of class numbers, or one in the colours of the legend.
        beside: the picture that the model is shown beside the map, where it was trained with one.
        """
        index = read_index(picture, self.table)
        t = torch.from_numpy(index.astype(np.int64))
        one_hot = (t == torch.arange(len(self.classes))[:, None, None]).float()[None] * 2 - 1
        painted = Photo(self.table.painted(index), name=str(picture) if isinstance(picture, str | Path) else "the map")
        more = model.config.given.channels - len(self.classes)
        if (beside is None) != (more == 0):
            does = f"was trained with {self.beside} beside the map: it needs beside=" if more else "takes a map alone"
            raise UsageError(f"this model {does}")
        if beside is None:
            return Question(painted, Picture(one_hot))
        photo = read_photo(beside).opaque()
        if (photo.height, photo.width) != index.shape:
            raise UsageError(
                f"{photo.name} has {photo.height} x {photo.width} pixels (height x width), and {painted.name} "
                f"{index.shape[0]} x {index.shape[1]}: make them of one size"
            )
        return Question(painted, Picture(torch.cat([one_hot, photo.tensor(more)], 1)))

    def answer(self, model: Generative[Any], question: Question, *, seed: int, tile: int | None) -> Photo:
        """A picture as large as the map; another seed, another picture (of a model that draws more than one)."""
        assert isinstance(question.given, Picture)
        return Photo.of(tiling.whole(model, question.given.grid, seed=seed, tile=tile))

    def before(self, question: Question) -> Photo:
        """The map in the legend's colours."""
        return question.photo

    def shown(self, given: Given, like: Tensor) -> Float[Tensor, "n c h w"]:
        index = self.index(given).where(self.index(given) != NONE, NO_CLASS).cpu().numpy().astype(np.uint8)
        painted = torch.from_numpy(self.table.painted(index)).permute(0, 3, 1, 2).to(like.device)
        return in_channels(painted.float() / 127.5 - 1, like.shape[1])

    def index(self, given: Given) -> Int[Tensor, "n h w"]:
        """The class of each pixel; `NONE` where it has none."""
        assert isinstance(given, Picture)
        most, where = given.grid[:, : len(self.classes)].max(1)
        return where.masked_fill(most <= 0, NONE)

    # Measures

    def counted(self, given: Given) -> Bool[Tensor, "n h w"]:
        """Pixels that are looked at: of a class, and of none that is left out."""
        t = self.index(given)
        return ~torch.isin(t, torch.tensor([NONE, *self.left_out()], device=t.device))

    @property
    def where(self) -> str:
        return f" without {self.without}" if self.without else ""

    def measure(self, x: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], given: Given) -> list[Measurement]:
        """PSNR of one answer over all pixels that are looked at, and SSIM of whole pictures."""
        one = self.over_all(x, truth, given, f"PSNR{self.where}", "one answer to each map")
        return [one, *(m for m in fidelity(x, truth).measurements() if m.name == "SSIM")]

    def over_all(self, x: Tensor, truth: Tensor, given: Given, name: str, what: str) -> Measurement:
        inside = self.counted(given)[:, None].expand_as(truth)
        levels = [((values.clamp(-1, 1) + 1) * 127.5).round().double() for values in (x, truth)]
        off = (levels[0] - levels[1])[inside].square().mean()
        return Measurement(
            name=name,
            value=(10 * torch.log10(255**2 / off)).item(),
            unit="dB",
            better="higher",
            protocol=f"{what}; 8-bit RGB, of the mean squared error over all pixels{self.where} of all pictures",
            n=f"{len(x)} pictures",
        )

    def baselines(self) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        return {}

    def rivals(self, training: Data) -> Mapping[str, Callable[[Given, Space], Tensor]]:
        """The mean colour of the training pictures; of each class in them; and of each class where what is beside the
        map is about as light."""
        n = min(len(training), FITTED)
        rows = torch.arange(n) * len(training) // n
        total = count = torch.zeros(())
        for some in torch.split(rows, 100):
            batch = training.fetch(some, ItemNoise(0, some.tolist()))
            cells, x = (
                self.cells(batch.given)[self.counted(batch.given)],
                batch.x.movedim(1, -1)[self.counted(batch.given)],
            )
            size = len(self.classes) * BANDS
            total = total + torch.zeros(size, x.shape[1], dtype=torch.float64).index_add_(0, cells, x.double())
            count = count + torch.bincount(cells, minlength=size)
        by_cell = count.view(-1, BANDS)
        overall = total.sum(0) / count.sum()
        by_class = total.view(len(self.classes), BANDS, -1).sum(1) / by_cell.sum(1, keepdim=True).clamp(min=1)
        by_class = by_class.where(by_cell.sum(1, keepdim=True) > 0, overall)
        fine = by_class.repeat_interleave(BANDS, 0)
        fine = (total / count[:, None].clamp(min=1)).where(count[:, None] > 0, fine)
        means = {"mean colour": overall.expand_as(fine), "mean of the class": by_class.repeat_interleave(BANDS, 0)}
        if self.beside:
            means[f"mean of the class and {self.beside}"] = fine
        return {name: self.by_mean(mean.float()) for name, mean in means.items()}

    def cells(self, given: Given) -> Int[Tensor, "n h w"]:
        """A number for each class and band of what is beside the map."""
        assert isinstance(given, Picture)
        t = self.index(given).clamp(min=0)
        if not self.beside:
            return t * BANDS
        light = given.grid[:, len(self.classes) :].mean(1)
        return t * BANDS + ((light + 1) / 2 * BANDS).long().clamp(0, BANDS - 1)

    def by_mean(self, means: Float[Tensor, "cells c"]) -> Callable[[Given, Space], Tensor]:
        return lambda given, x: means[self.cells(given)].movedim(-1, 1)

    def further(self, model: Generative[Any], test: Posed, *, limit: int | None, seed: int) -> list[Measurement]:
        """What takes several answers to a map, or a network that segments them."""
        n = min(len(test), limit or ITEMS, ITEMS)
        rows = torch.arange(n) * len(test) // n
        batch = test.fetch(rows, ItemNoise(seed, rows.tolist()))
        answers = torch.stack([answered(model, batch.given, seed + k) for k in range(SEEDS)])
        mean = self.over_all(
            answers.mean(0),
            batch.x,
            batch.given,
            f"PSNR of the mean of {SEEDS}{self.where}",
            f"the mean of {SEEDS} answers",
        )
        training = test.training_part()
        rivals = {
            name: self.over_all(fill(batch.given, test.x), batch.x, batch.given, "PSNR", name).value
            for name, fill in self.rivals(training).items()
        }
        apart = answers.movedim(2, -1)[:, self.counted(batch.given)].std(0, correction=0).mean() * 127.5
        diversity = Measurement(
            name="diversity",
            value=apart.item(),
            unit="levels",
            protocol=f"standard deviation of {SEEDS} answers to a map, the mean over pixels{self.where}; of 255 levels",
            n=f"{n} maps",
        )
        net = train_segmenter(lambda k: self.shuffled(training, k), batch.x.shape[1], len(self.classes))
        t = self.index(batch.given)
        real, drawn = segmented(net, batch.x, t), segmented(net, answers[0], t)
        protocol = f"{RECIPE}; one answer to each map; floor: on the true pictures"
        about: dict[str, Any] = {"unit": "share", "better": "higher", "protocol": protocol, "n": f"{n} maps"}
        accuracy = Measurement(name="segmenter's accuracy", value=drawn.accuracy, floor=real.accuracy, **about)
        miou = Measurement(name="segmenter's mIoU", value=drawn.miou, floor=real.miou, **about)
        return [replace(mean, baselines=rivals), diversity, accuracy, miou]

    def shuffled(self, training: Posed, k: int) -> tuple[Tensor, Tensor]:
        """Batch k of training pictures and the classes of their pixels."""
        generator = torch.Generator().manual_seed(mix(0, k))
        rows = torch.randint(len(training), (BATCH,), generator=generator)
        batch = training.fetch(rows, ItemNoise(k, range(BATCH)))
        return batch.x, self.index(batch.given)


def answered(model: Generative[Any], given: Given, seed: int, size: int = 50) -> Float[Tensor, "n c h w"]:
    """One answer to each condition, on the CPU."""
    some = [(k, given[slice(k, k + size)]) for k in range(0, len(given), size)]
    return torch.cat([model.sample(len(g), g.to(model.device), seed=seed, first=k).cpu() for k, g in some])


def shares(data: Any, name: str) -> np.ndarray:
    """The share of each value in a column of label maps, float [256]: of those that are served."""
    pack, picked = data.pack, getattr(data, "pictures", None)
    stored = pack.columns[name]
    numbers = picked if picked is not None else np.asarray(data.rows)
    counts = sum(np.bincount(stored.picture(int(i)).ravel(), minlength=256) for i in numbers)
    return np.asarray(counts) / max(1, np.sum(counts))
