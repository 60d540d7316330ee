"""Sampling an image pixel by pixel with every activation computed once.

A naive autoregressive sampler runs the whole network for each sub-pixel, and throws away all of the result but one
number. Here a convolution is evaluated only at the pixels that are due, as one matrix product a kernel row, over
inputs that were kept. There are two orders, according to what a pixel sees of the rows above.

Wavefront order: pixels that cannot see each other are drawn together. Suppose that no layer looks further than `reach`
columns to the right in the rows above. Give pixel (i, j) the step t = slope * i + j with slope = reach + 1. Then
everything that (i, j) reads directly, in any layer, belongs to an earlier step (or to the same pixel): (i, j - b) to
t - b, and (i - a, j + b) to t - slope * a + b < t for a >= 1 and b <= reach. All activations of a pixel are computed in
its step, so by induction over steps the samples are those of the raster order. An image of 28 x 28 with a 7 x 7 first
layer takes 4 * 27 + 28 = 136 steps, not 784.

Rows, then pixels: for networks without a blind spot, of two stacks. The vertical one looks up and to both sides, also
within the row, layer after layer: with enough layers a pixel sees all of the row above, so there is no wavefront (its
slope would be the width). But the vertical stack of row i is a function of the image's rows before i. So it is
evaluated for the row as a whole (`RowConv`), once they are drawn; and the horizontal stack, which looks to the left,
pixel by pixel (`PixelConv`), starting from what the vertical stack contributes. By induction over rows, and in each
row over its pixels, the samples are those of the raster order.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.masked import Mask, MaskedConv2d


class Wavefront:
    """Where sampling stands: iterating over it moves it from step to step."""

    def __init__(self, height: int, width: int, reach: int) -> None:
        self.height, self.width = height, width
        self.slope = min(reach + 1, width)  # slope = width is raster order itself
        self.t = self.first = self.live = 0

    def __len__(self) -> int:
        return self.slope * (self.height - 1) + self.width

    def __iter__(self) -> Iterator[tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]]:
        """The pixels of each step: their rows (`live` of them, from `first` on) and their columns."""
        for t in range(len(self)):
            self.t, self.first = t, max(0, -((self.width - 1 - t) // self.slope))
            self.live = min(self.height, t // self.slope + 1) - self.first
            rows = torch.arange(self.first, self.first + self.live)
            yield rows, t - self.slope * rows

    @property
    def most(self) -> int:
        """The largest number of pixels in one step."""
        return min(self.height, -(-self.width // self.slope))


class IncrementalConv:
    """A masked convolution at the pixels of the wavefront only, together with the input that it needs to remember.

    In each step, for each color: write that color's input into `here(color)`, then call. The pixels of a step are
    ordered by row, then by image: [pixels, channels], where pixels = front.live * n.

    The input lies in memory such that every window is a matrix, ready to be multiplied: pixel (i, j) of image m is cell
    (i * n + m) * pitch + slope * i + j. So the pixels of one step lie `pitch` cells apart, and so do their neighbors at
    any distance; what a pixel sees of one row is contiguous. A pitch of width + 2 * reach keeps rows apart by zeros.
    Each cell begins with a one, which makes the bias a part of the product.
    """

    def __init__(self, conv: MaskedConv2d, front: Wavefront, n: int) -> None:
        self.front, self.n, reach = front, n, conv.reach
        self.cell = 1 + conv.in_channels
        """Numbers a cell. The distances below are in cells."""
        if reach:
            self.pitch = front.width + 2 * reach
            self.right, self.down = 1, n * self.pitch + front.slope
            cells = (front.height + reach) * self.down + self.pitch
        else:  # no past to remember: every step takes the place of the one before
            self.pitch, self.right, self.down = 1, 0, 0
            cells = front.most * n
        self.origin = reach * (self.down + self.right)
        weight, bias = conv.kernel.detach(), conv.bias.detach()
        self.memory = weight.new_zeros(cells, self.cell)
        self.memory[:, 0] = 1

        inputs, outputs = conv.in_channels // conv.colors, conv.out_channels // conv.colors
        self.parts = [(1 + k * inputs, inputs) for k in range(conv.colors)]
        """For each color, where its input begins within a cell, and its length."""
        rows = weight.permute(2, 3, 1, 0).flip(0)  # [rows up, columns, inputs, outputs]
        rows = torch.cat((torch.zeros_like(rows[:, :, :1]), rows), dim=2)
        rows[0, reach, 0] = bias
        self.taps: list[list[tuple[int, int, Tensor]]] = []
        """For each color, for each row upward: where the window begins, its length, the weights of what it holds."""
        for k, part in enumerate(torch.split(rows.flatten(1, 2), outputs, dim=-1)):
            own = 1 + (k + (conv.kind == "B")) * inputs
            lengths = [reach * self.cell + own] + [(2 * reach + 1) * self.cell] * reach
            starts = [-(reach + up * self.down) * self.cell for up in range(reach + 1)]
            weights = [part[up, :length].contiguous() for up, length in enumerate(lengths)]
            self.taps.append(list(zip(starts, lengths, weights, strict=True)))

    def piece(self, start: int, length: int) -> Float[Tensor, "pixels length"]:
        """For every pixel that is due, `length` numbers, the first of them `start` after the beginning of its cell."""
        i, j = self.front.first, self.front.t - self.front.slope * self.front.first
        cell = self.origin + i * self.down + j * self.right
        return self.memory.as_strided(
            (self.front.live * self.n, length), (self.pitch * self.cell, 1), cell * self.cell + start
        )

    def here(self, color: int) -> Float[Tensor, "pixels inputs"]:
        """Where one color's part of the input goes."""
        return self.piece(*self.parts[color])

    def __call__(
        self, color: int, out: Float[Tensor, "pixels outputs"] | None = None
    ) -> Float[Tensor, "pixels outputs"]:
        """One color's part of the output, written to `out` or to a new tensor."""
        (start, length, weight), *above = self.taps[color]
        out = torch.mm(self.piece(start, length), weight, out=out)
        for start, length, weight in above:
            out.addmm_(self.piece(start, length), weight)
        return out

    def add(self, color: int, to: Float[Tensor, "pixels outputs"]) -> None:
        """Adds one color's part of the output to `to` (a residual connection)."""
        for start, length, weight in self.taps[color]:
            to.addmm_(self.piece(start, length), weight)


class RowConv:
    """A convolution that looks up and to both sides, for one row of pixels after the other, from the top.

    Each call takes one row of the input and gives the row of the output whose window ends with it, where nothing but
    zeros lies above the first row. Rows that a stride leaves out are only taken.

    The memory holds, for each column, all that its window sees: one matrix, ready to be multiplied. A new row takes the
    place of the oldest one, so that the rows' order rotates, and the weights' with it.
    """

    def __init__(self, conv: nn.Conv2d, n: int, width: int) -> None:
        _, inputs, rows, columns = conv.weight.shape
        kernel = conv.weight.detach().permute(0, 2, 3, 1)
        self.weights = [kernel.roll(k, dims=1).flatten(1).contiguous() for k in range(rows)]
        """By the number of rows taken, modulo the kernel's."""
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.taken, self.stride = 0, conv.stride[1]
        self.memory = kernel.new_zeros(n, width, rows, columns, inputs)
        shifts = [k - int(conv.padding[1]) for k in range(columns)]
        self.parts = [(max(0, -s), max(0, -s, min(width, width - s)), s) for s in shifts]
        """For each column of the kernel, which columns of the output see something there, and how far to the right."""

    def take(self, row: Float[Tensor, "n inputs 1 w"]) -> None:
        """Remembers a row of the input."""
        place, cells = self.memory[:, :, self.taken % len(self.weights)], row[:, :, 0].mT
        for k, (start, end, shift) in enumerate(self.parts):
            place[:, start:end, k] = cells[:, start + shift : end + shift]
        self.taken += 1

    def __call__(self, row: Float[Tensor, "n inputs 1 w"]) -> Float[Tensor, "n outputs 1 v"]:
        """Takes a row of the input, and gives the row of the output that ends with it."""
        self.take(row)
        windows, weight = self.memory[:, :: self.stride].flatten(2), self.weights[self.taken % len(self.weights)]
        return F.linear(windows, weight, self.bias).mT[:, :, None]


class PixelConv:
    """A convolution along the row, to the left, for one pixel after the other, and for one color after the other.

    At each pixel, for each color: write that color's input into `here[color][column]`, then call. The memory holds one
    row; each row of the image takes the place of the one before, from the left. Each cell begins with a one, which
    makes the bias a part of the product.
    """

    def __init__(
        self,
        kernel: Float[Tensor, "outputs inputs columns"],
        bias: Float[Tensor, " outputs"] | None,
        n: int,
        width: int,
        *,
        mask: Mask = "B",
        colors: int = 1,
    ) -> None:
        outputs, inputs, columns = kernel.shape
        part, outs, cell = inputs // colors, outputs // colors, 1 + inputs
        self.memory = kernel.new_zeros(n, columns - 1 + width, cell)
        """Zeros to the left of the row, then its pixels."""
        self.memory[..., 0] = 1
        matrix = F.pad(kernel.detach().permute(2, 1, 0), (0, 0, 1, 0))  # [columns, 1 + inputs, outputs]
        if bias is not None:
            matrix[-1, 0] = bias.detach()
        seen = [(columns - 1) * cell + 1 + (k + (mask == "B")) * part for k in range(colors)]
        self.weights = [matrix.flatten(0, 1)[:m, k * outs : (k + 1) * outs].contiguous() for k, m in enumerate(seen)]
        # Views of the memory are made once: making one takes as long as adding a hundred numbers.
        windows = [self.memory[:, j : j + columns].flatten(1) for j in range(width)]
        self.windows = [[window[:, :m] for window in windows] for m in seen]
        own = self.memory[:, columns - 1 :, 1:].reshape(n, width, colors, part)
        self.here = [own[:, :, k].unbind(1) for k in range(colors)]
        """For each color and column, where that color's input goes: [n, inputs / colors]."""

    def above(self, kernel: Float[Tensor, "outputs inputs columns"]) -> Float[Tensor, "n width outputs"]:
        """What another kernel, which lies above this one, makes of the row in the memory, for all columns at once.

        To be asked for when a row is complete, before the next one takes its place; zeros before the first row.
        """
        width, cells = len(self.here[0]), self.memory[..., 1:]
        parts = [cells[:, k : k + width] @ matrix for k, matrix in enumerate(kernel.detach().permute(2, 1, 0))]
        return torch.stack(parts).sum(0)

    def __call__(
        self,
        color: int,
        column: int,
        add: Float[Tensor, "n part"] | None = None,
        out: Float[Tensor, "n part"] | None = None,
    ) -> Float[Tensor, "n part"]:
        """One color's part of the output at one pixel, plus `add` (what lies above, a residual)."""
        window, weight = self.windows[color][column], self.weights[color]
        return torch.mm(window, weight, out=out) if add is None else torch.addmm(add, window, weight, out=out)
