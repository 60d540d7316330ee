"""Causal convolutions with two rows of taps, one step at a time, for sampling: every activation is computed once.

Fold a sequence into rows of `width` steps. A convolution of two taps, now and `width` steps ago, is then one whose
kernel has two rows and one column: WaveNet's dilated convolution, with its dilation as width. An image in raster order
is folded already: a causal 2 x 2 convolution has two rows and two columns.

What the row above contributes is known for a whole row before its first step. So it is computed by one large matrix
product a row, and only the current row's part, one small product, is left for each step. What a convolution remembers
is one row of its input and one of such sums: WaveNet's queue of `dilation` activations (Paine et al., 2016, Fast
Wavenet Generation Algorithm; https://arxiv.org/abs/1611.09482).
"""

import copy
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def frozen(module: M) -> M:
    """A copy to sample from: without gradients, so that results can be written to memory that is there already."""
    return copy.deepcopy(module).requires_grad_(False)


class FoldedConv:
    """A convolution that sees the current row up to the current step, and the row above up to the same column.

    For each step t = 0, 1, ...: write its input into `here(t)`, then call with t, once.

    Args:
        weight: [outputs, inputs, 2, columns], as of a convolution that is padded by zeros above and on the left. Like
            the bias, it must not require gradients.
        bias: [outputs], or [n, outputs] if it differs from item to item (a global condition).
        width: steps in a row.
        n: items side by side.
    """

    def __init__(
        self,
        weight: Float[Tensor, "outputs inputs 2 columns"],
        bias: Float[Tensor, "*n outputs"],
        width: int,
        n: int,
    ) -> None:
        outputs, inputs, _, columns = weight.shape
        self.width = width
        rows = weight.permute(2, 3, 1, 0).flatten(1, 2)  # each [columns * inputs, outputs]
        self.above, self.weight = (row.contiguous() for row in rows)
        self.out = self.weight.new_empty(n, outputs)
        """The output of the last step that was called for."""
        # A row of inputs, with zeros on its left, and for each of its steps what the row above adds to the bias
        self.row = self.weight.new_zeros(n, width + columns - 1, inputs)
        self.bias = bias.expand(n, outputs)[:, None].expand(-1, width, -1).flatten(0, 1)
        self.sums = self.bias.clone()
        item, cell, _ = self.row.stride()
        self.windows = self.row.as_strided((n, width, columns * inputs), (item, cell, 1))
        heres = self.row[:, columns - 1 :].unbind(1)
        self.steps = list(zip(heres, self.windows.unbind(1), self.sums.view(n, width, outputs).unbind(1), strict=True))
        """For each column: where its input goes, what its window holds, and what is added to it."""

    def here(self, t: int) -> Float[Tensor, "n inputs"]:
        """Where the input of step t goes."""
        return self.steps[t % self.width][0]

    def __call__(self, t: int) -> Float[Tensor, "n outputs"]:
        """The output of step t, which is `out`."""
        column = t % self.width
        _, window, sums = self.steps[column]
        torch.addmm(sums, window, self.weight, out=self.out)
        if column == self.width - 1:
            torch.addmm(self.bias, self.windows.flatten(0, 1), self.above, out=self.sums)
        return self.out
