"""What bringing pictures to one size does to them, to be said once: some are enlarged, and pairs cut unlike."""

from collections.abc import Sequence

from triptych.data.files import shown

Size = tuple[int, int]
"""Height and width."""
MUCH = 1.25
"""Pictures that are enlarged by more than this are spoken of."""


class Fitting:
    """Looks at how large pictures were, row by row, before they were brought to `size`."""

    def __init__(self, size: Size | None) -> None:
        self.size = size
        self.rows = self.enlarged = self.unlike = 0
        self.small = self.pair = ""

    def see(self, files: Sequence[str], sizes: Sequence[Size]) -> None:
        """The pictures of one row: their files, and what size each had there."""
        self.rows += 1
        if self.size is None:
            return
        for file, (height, width) in zip(files, sizes, strict=True):
            if max(self.size[0] / height, self.size[1] / width) > MUCH:
                self.enlarged += 1
                self.small = self.small or f"{shown(file)} with {height} x {width}"
        odd = next((k for k, size in enumerate(sizes) if not in_shape(sizes[0], size)), 0)
        if odd:
            self.unlike += 1
            first, other = (f"{shown(files[k])} with {sizes[k][0]} x {sizes[k][1]}" for k in (0, odd))
            self.pair = self.pair or f"{first} and {other}"

    def notes(self) -> list[str]:
        if self.size is None:
            return []
        size, found = f"{self.size[0]} x {self.size[1]}", list[str]()
        if self.enlarged:
            found.append(
                f"{self.enlarged:,} pictures are much smaller than {size} (height x width), such as {self.small}: "
                "they are enlarged, and blurred; a smaller size= takes them as they are"
            )
        if self.unlike:
            found.append(
                f"in {self.unlike:,} of {self.rows:,} rows the pictures differ in shape, such as {self.pair} pixels "
                f"(height x width): each is cut to {size} around its own middle, and what lay at one place in both may "
                "not any more"
            )
        return found


def in_shape(a: Size, b: Size) -> bool:
    """Whether two sizes are in proportion, to a pixel of the smaller."""
    small, large = sorted((a, b))
    factor = large[0] / small[0]
    return abs(large[1] - factor * small[1]) <= factor
