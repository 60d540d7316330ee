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
from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn import recorded

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


class Dilated:
    """Convolutions of two taps, layer upon layer, each with its dilation, one step of all of them after the other.

    In each step: `begin`, for each layer write its input into `here(layer)` and call, then `end`.
    """

    def __init__(
        self,
        weights: Sequence[Float[Tensor, "outputs inputs 2 1"]],
        biases: Sequence[Float[Tensor, "n outputs"]],
        dilations: Sequence[int],
        n: int,
    ) -> None:
        layers = zip(weights, biases, dilations, strict=True)
        self.convs, self.t = [FoldedConv(weight, bias, dilation, n) for weight, bias, dilation in layers], -1
        self.outs = [conv.out for conv in self.convs]
        """The output of each layer in the last step."""

    def begin(self) -> None:
        self.t += 1

    def here(self, layer: int) -> Float[Tensor, "n inputs"]:
        """Where a layer's input goes."""
        return self.convs[layer].here(self.t)

    def __call__(self, layer: int) -> Float[Tensor, "n outputs"]:
        """A layer's output."""
        return self.convs[layer](self.t)

    def end(self) -> None:
        pass


class Rings(Dilated):
    """The same, every step being the same work on the same memory (see `nn.recorded`).

    Each layer remembers its last inputs in a ring of as many places as its dilation is long. What the past adds to all
    layers is one product; where it lies is counted on the device.
    """

    def __init__(
        self,
        weights: Sequence[Float[Tensor, "outputs inputs 2 1"]],
        biases: Sequence[Float[Tensor, "n outputs"]],
        dilations: Sequence[int],
        n: int,
    ) -> None:
        weight = torch.stack([w[..., 0] for w in weights])  # [layers, outputs, inputs, 2]
        self.above, self.weight = (part.mT.contiguous() for part in weight.unbind(-1))
        self.bias = torch.stack(list(biases))
        self.outs = list(torch.empty_like(self.bias))
        self.inputs = self.weight.new_zeros(len(dilations), n, self.weight.shape[1])
        self.memory = self.weight.new_zeros(sum(dilations), n, self.weight.shape[1])
        self.size = torch.tensor(dilations, device=self.weight.device)
        self.first, self.count = self.size.cumsum(0) - self.size, torch.zeros_like(self.size)

    def begin(self) -> None:
        self.at = self.first + self.count % self.size
        self.sums = torch.baddbmm(self.bias, self.memory.index_select(0, self.at), self.above)

    def here(self, layer: int) -> Float[Tensor, "n inputs"]:
        return self.inputs[layer]

    def __call__(self, layer: int) -> Float[Tensor, "n outputs"]:
        return torch.addmm(self.sums[layer], self.inputs[layer], self.weight[layer], out=self.outs[layer])

    def end(self) -> None:
        self.memory.index_copy_(0, self.at, self.inputs)
        self.count += 1


def dilated(
    weights: Sequence[Float[Tensor, "outputs inputs 2 1"]],
    biases: Sequence[Float[Tensor, "n outputs"]],
    dilations: Sequence[int],
    n: int,
) -> Dilated:
    """Those that suit the device; `biases` may differ from item to item."""
    return (Rings if recorded.records(weights[0].device) else Dilated)(weights, biases, dilations, n)
