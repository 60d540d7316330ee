"""LSTMs over images: a line of cells sweeps over a map, each fed by its neighbors' last states.

van den Oord, Kalchbrenner and Kavukcuoglu, 2016, Section 3. https://arxiv.org/abs/1601.06759

    [o, f, i, g] = sigma(K_ss * h_{t-1} + K_is * x_t),    c_t = f c_{t-1} + i g,    h_t = o tanh(c_t)    (Equation 3)

where sigma is the logistic function for the gates o, f and i, and tanh for the content g, and * convolves along the
line. Maps are [rows, channels, columns, images]: so a row, or a diagonal, is a matrix of [channels, places * images].
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from triptych.nn.masked import MaskedConv2d

aten = torch.ops.aten


class Sweep(Protocol):
    """How a line of cells moves over a map: step by step, each cell over one place or beside the map."""

    @property
    def cells(self) -> int: ...

    @property
    def steps(self) -> int: ...

    def live(self, t: int) -> tuple[int, int]:
        """In step t the cells first, ..., last - 1 are over the map; the others are in their initial states."""

    def at(self, map: Float[Tensor, "rows c columns n"], t: int) -> Float[Tensor, "c live n"]:
        """A view of what these cells are over. In all steps together each place of the map comes once."""


class LineLSTM(nn.Module):
    """The state-to-state half of an LSTM layer, with a learned initial state that all cells share.

    Cell p sees the last hidden states of the cells p + k, for k in `offsets`; beyond the ends of the line are zeros.
    Feature maps come in `colors` equal parts (see `nn.masked`), each with its own gates in the order o, f, i, g.
    """

    def __init__(self, hidden: int, offsets: Sequence[int], *, colors: int = 1) -> None:
        super().__init__()
        self.hidden, self.offsets, self.colors = hidden, tuple(offsets), colors
        self.low, self.high = max(0, -min(offsets)), max(0, max(offsets))
        """How many cells beyond either end are looked at."""
        bound = (len(self.offsets) * hidden) ** -0.5
        self.weight = nn.Parameter(torch.empty(len(self.offsets), 4 * hidden, hidden).uniform_(-bound, bound))
        """K_ss: a matrix for each offset."""
        self.h = nn.Parameter(torch.zeros(hidden))
        self.c = nn.Parameter(torch.zeros(hidden))

    def forward(
        self, gates: Float[Tensor, "rows 4*{self.hidden} columns n"], sweep: Sweep
    ) -> Float[Tensor, "rows {self.hidden} columns n"]:
        """The hidden states, given K_is * x, the input-to-state half, of the whole map."""
        with torch.autocast(gates.device.type, enabled=False):  # rounding errors of a recurrence add up
            gates = gates.to(self.weight.dtype)
            return Scan.apply(gates, self.weight, self.h, self.c, self, sweep)  # type: ignore[no-untyped-call]

    def seen(self, h: Float[Tensor, "hidden all n"], first: int, last: int) -> Float[Tensor, "hidden part*n"]:
        """A view of the cells first, ..., last - 1 of a line that has `low` and `high` cells of zeros at its ends."""
        return h[:, self.low + first : self.low + last].flatten(1)


def cell(
    gates: Float[Tensor, "m 4 *part"],
    before: Float[Tensor, "m *part"],
    h: Float[Tensor, "m *part"],
    c: Float[Tensor, "m *part"],
) -> Float[Tensor, "m *part"]:
    """Equation 3 from the sums in `gates`, which become the gates. Writes h and c (`before` may be c); tanh(c)."""
    gates[:, :3].sigmoid_()
    gates[:, 3].tanh_()
    o, f, i, g = gates.unbind(1)
    torch.mul(f, before, out=c).addcmul_(i, g)
    squashed = c.tanh()
    torch.mul(o, squashed, out=h)
    return squashed


def at_each(conv: MaskedConv2d, map: Float[Tensor, "rows inputs columns n"]) -> Float[Tensor, "rows outputs columns n"]:
    """A 1 x 1 convolution, as a product for each row: on a CPU twice as fast as a convolution of maps like these."""
    kernel = conv.kernel.flatten(1).expand(len(map), -1, -1)
    return torch.baddbmm(conv.bias[:, None], kernel, map.flatten(2)).view(len(map), conv.out_channels, *map.shape[2:])


def stacked(weights: Iterable[Tensor]) -> Float[Tensor, "layers ..."]:
    """The same weight of several layers, for sampling from all of them at once (no gradient reaches it)."""
    return torch.stack([w.detach() for w in weights])


class Scan(torch.autograd.Function):
    """The loop of `LineLSTM`.

    Its derivative is written out: only cells over the map are computed, steps are views of the maps, and nothing is
    recorded. On a CPU, forward and backward take 0.4 of the time of a loop under autograd on diagonals (over a skewed
    and padded map), and 0.8 of it on rows.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, line: LineLSTM, sweep: Sweep
    ) -> Tensor:
        gates, n, hidden, cells = gates.contiguous(), gates.shape[-1], line.hidden, sweep.cells
        out = gates.new_empty(len(gates), hidden, *gates.shape[2:])
        # the states before the first step and after each; cells that are not live keep the initial one
        h = h0.new_zeros(sweep.steps + 1, hidden, line.low + cells + line.high, n)
        h[:, :, line.low : line.low + cells] = h0[:, None, None]
        c = c0[:, None, None].expand(sweep.steps + 1, hidden, cells, n).clone()
        kept = []
        for t in range(sweep.steps):
            first, last = sweep.live(t)
            part = (line.colors, hidden // line.colors, (last - first) * n)
            gate = sweep.at(gates, t).clone(memory_format=torch.contiguous_format).flatten(1)
            for matrix, offset in zip(weight, line.offsets, strict=True):
                gate.addmm_(matrix, line.seen(h[t], first + offset, last + offset))
            gate = gate.view(line.colors, 4, *part[1:])
            now = h[t + 1, :, line.low + first : line.low + last]
            before, after = c[t, :, first:last].view(part), c[t + 1, :, first:last].view(part)
            kept += [gate, cell(gate, before, now.view(part), after)]
            sweep.at(out, t).copy_(now)
        ctx.save_for_backward(weight, h, c, *kept)
        ctx.line, ctx.sweep, ctx.shape = line, sweep, gates.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        weight, h, c, *kept = ctx.saved_tensors
        line, sweep, n = ctx.line, ctx.sweep, ctx.shape[-1]
        dout, dgates, dweight = dout.contiguous(), weight.new_empty(ctx.shape), torch.zeros_like(weight)
        dh, dc = torch.zeros_like(h[0]), torch.zeros_like(c[0])  # with respect to the states after step t
        for t in reversed(range(sweep.steps)):
            first, last = sweep.live(t)
            part = (line.colors, line.hidden // line.colors, (last - first) * n)
            (gate, squashed), now = kept[2 * t : 2 * t + 2], dh[:, line.low + first : line.low + last]
            o, f, i, g = gate.unbind(1)
            dh_t, dc_t = (now + sweep.at(dout, t)).view(part), dc[:, first:last].view(part)
            now.zero_()
            dc_t += aten.tanh_backward(dh_t * o, squashed)
            dgate = torch.empty_like(gate)
            torch.mul(dh_t, squashed, out=dgate[:, 0])
            torch.mul(dc_t, c[t, :, first:last].view(part), out=dgate[:, 1])
            torch.mul(dc_t, g, out=dgate[:, 2])
            torch.mul(dc_t, i, out=dgate[:, 3])
            aten.sigmoid_backward.grad_input(dgate[:, :3], gate[:, :3], grad_input=dgate[:, :3])
            aten.tanh_backward.grad_input(dgate[:, 3], g, grad_input=dgate[:, 3])
            dc_t *= f
            flat = dgate.view(4 * line.hidden, (last - first) * n)
            for k, offset in enumerate(line.offsets):
                line.seen(dh, first + offset, last + offset).addmm_(weight[k].t(), flat)
                dweight[k].addmm_(flat, line.seen(h[t], first + offset, last + offset).t())
            sweep.at(dgates, t).copy_(flat.view(4 * line.hidden, last - first, n))
        dh0 = dh[:, line.low : line.low + sweep.cells].sum((1, 2))
        return dgates, dweight, dh0, dc.sum((1, 2)), None, None
