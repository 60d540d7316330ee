"""Pictures of several sizes, where one size is needed and nobody said which."""

from triptych.core import DataError
from triptych.data.files import Tree
from triptych.media.images import BadImage, open_picture


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
        with open_picture(tree.read(name), header=True) as picture:
            return picture.size
    except (OSError, BadImage):
        return None
