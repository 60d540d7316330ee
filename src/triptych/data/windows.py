"""The windows that a text is served in."""

from dataclasses import dataclass

from triptych.core import UsageError

LENGTH = 256
"""Tokens a window of text, if nothing is said."""
MOST_WINDOWS = 1 << 24
"""Training windows of a longer text than this do not start at every token, but evenly spaced."""


@dataclass(frozen=True)
class Windows:
    """How a text is served: in pieces of `length` tokens, `step` tokens apart."""

    length: int
    step: int
    fresh: int
    """How many tokens at the end of a window are scored; those before are only there to be seen."""

    @classmethod
    def of(cls, length: int | None, stride: int | None, split: str) -> "Windows":
        """Raises UsageError for numbers that make no windows."""
        length = LENGTH if length is None else length
        if length < 1:
            raise UsageError(f"length={length}: a window has one token or more")
        if stride is not None and not 1 <= stride <= length:
            raise UsageError(f"stride={stride}: it is from 1 to length={length}, so that no token is left out")
        return cls(length, stride or (1 if split == "train" else length), stride or length)

    def within(self, start: int, stop: int) -> range:
        """Where the windows of some of the tokens start."""
        step = self.step if self.step > 1 else -(-(stop - start) // MOST_WINDOWS)
        return range(start, stop - self.length + 1, step)
