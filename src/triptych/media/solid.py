"""A solid that somebody takes home: a mesh of its surface, a turning picture of it, or its voxels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triptych.core import UsageError, Voxels
from triptych.core.reading import read_file
from triptych.media import pictures
from triptych.media.voxels import MESHES, VoxelMedium, decode, seen
from triptych.media.work import BadFile, Work


@dataclass(frozen=True, eq=False)
class Solid(Work):
    endings: ClassVar[tuple[str, ...]] = (".obj", ".glb", ".stl", ".gif", ".png", ".binvox")
    suffixes: ClassVar[frozenset[str]] = MESHES | {".npy", ".npz", ".binvox"}
    level: Float[Tensor, "d h w"]
    """Full above 0; of means, from -1 to 1."""
    name: str = "the solid"

    @classmethod
    def read(cls, source: Any) -> Self:
        """From a mesh, which is filled, or a file of voxels. Raises UsageError naming what is wrong with it."""
        try:
            grid = decode(read_file(source))[0].astype(np.float32)
            return cls(torch.from_numpy(grid) / 127.5 - 1, str(source))
        except BadFile as e:
            raise UsageError(f"{source}: {e}") from e
        except OSError as e:
            raise UsageError(f"{source} cannot be read: {e.strerror or e}") from e

    def encode(self, ending: str, about: Mapping[str, str] | None = None) -> bytes:
        """Its surface (.obj, .glb, .stl), a picture, turning (.gif) or not, or its voxels (.binvox)."""
        ending, x = self.check_ending(ending, f"a solid as {ending or 'a folder'}"), self.level[None, None]
        if ending == ".png":
            return pictures.png(self.image(), about)
        return VoxelMedium().together(Voxels(1, *self.level.shape), x, ending, about)

    def image(self) -> Image.Image:
        return pictures.grid(seen(self.level.cpu())[None])
