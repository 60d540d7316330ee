"""Pictures of several sizes, where one size is needed and nobody said which."""

import warnings
from io import BytesIO

from PIL import Image

from triptych.core import DataError
from triptych.data.files import Tree


class SizesDiffer(DataError):
    """What a source says that holds such pictures."""

    def __init__(self, message: str, tree: Tree) -> None:
        super().__init__(message)
        self.tree = tree

    def shortest(self) -> int:
        """The shortest side of any picture, as the heads of their files have it."""
        return min(min(side) for name in self.tree.files if (side := side_of(self.tree, name)))


def side_of(tree: Tree, name: str) -> tuple[int, int] | None:
    """Width and height of a picture; None of what is none, which the packer names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata
            with Image.open(BytesIO(tree.read(name))) as picture:
                return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
