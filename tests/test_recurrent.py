"""LSTMs over images: the textbook's cell, what each cell is fed, the written-out derivative."""

import pytest
import torch
from torch import Tensor

from triptych.models.autoregressive.diagonal_bilstm import Diagonals
from triptych.models.autoregressive.row_lstm import Rows
from triptych.nn.recurrent import LineLSTM, Sweep

CASES = [
    ("rows", (-1, 0, 1), lambda h, w: Rows(h, w)),
    ("wide rows", (-3, -2, -1, 0, 1, 2, 3), lambda h, w: Rows(h, w)),
    ("to the right", (-1, 0), lambda h, w: Diagonals(h, w, leftward=False)),
    ("to the left", (-1, 0), lambda h, w: Diagonals(h, w, leftward=True)),
]
over_cases = pytest.mark.parametrize("offsets,sweep", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
SIZES = [(3, 4), (4, 2), (1, 3), (3, 1), (1, 1)]


def make(hidden: int, offsets: tuple[int, ...], colors: int = 1) -> LineLSTM:
    torch.manual_seed(0)
    line = LineLSTM(hidden, offsets, colors=colors).double()
    with torch.no_grad():
        for weights in line.parameters():
            weights.normal_(std=0.5)
    return line


def textbook(line: LineLSTM) -> torch.nn.LSTMCell:
    """torch's cell with the middle of K_ss; its gates are in the order i, f, g, o and come in as they are."""
    cell = torch.nn.LSTMCell(4 * line.hidden, line.hidden, bias=False).double()
    with torch.no_grad():
        o, f, i, g = line.weight[line.offsets.index(0)].chunk(4)
        cell.weight_hh.copy_(torch.cat((i, f, g, o)))
        cell.weight_ih.copy_(torch.eye(4 * line.hidden))
    return cell


@pytest.mark.parametrize("case", range(4), ids=[case[0] for case in CASES])
def test_a_line_of_one_pixel_a_step_is_the_textbooks_lstm(case: int) -> None:
    """On a single column the rows' cells, and on a single row the diagonals', have no neighbors."""
    _, offsets, make_sweep = CASES[case]
    line, length = make(3, offsets), 6
    height, width = (length, 1) if case < 2 else (1, length)
    gates = torch.randn(height, 12, width, 2, dtype=torch.float64)
    found = line(gates, make_sweep(height, width)).squeeze(2 if case < 2 else 0)
    inputs = gates[:, :, 0].transpose(1, 2) if case < 2 else gates[0].permute(1, 2, 0)
    states = found.transpose(1, 2) if case < 2 else found.permute(1, 2, 0)
    cell, h, c = textbook(line), line.h.expand(2, -1), line.c.expand(2, -1)
    for t in reversed(range(length)) if case == 3 else range(length):
        o, f, i, g = inputs[t].chunk(4, 1)
        h, c = cell(torch.cat((i, f, g, o), 1), (h, c))
        torch.testing.assert_close(states[t], h, rtol=0, atol=1e-12)


def pixel_by_pixel(line: LineLSTM, gates: Tensor, sweep: Sweep) -> Tensor:
    """Equation 3 at one place after the other, each cell fed by a dictionary of states: an oracle without views."""
    height, _, width, n = gates.shape
    leftward = isinstance(sweep, Diagonals) and sweep.leftward
    part = line.hidden // line.colors
    states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    start = line.h[:, None].expand(-1, n), line.c[:, None].expand(-1, n)

    def state(i: int, j: int) -> tuple[Tensor, Tensor]:
        """Of a place on the map, or of one that a line starts from."""
        return states.get((i, j), start)

    for i in range(height):
        for j in reversed(range(width)) if leftward else range(width):
            sums = gates[i, :, j]
            if isinstance(sweep, Rows):
                seen = {k: (i - 1, j + k) for k in line.offsets if 0 <= j + k < width}
                before = state(i - 1, j)[1]
            else:
                beside = j + 1 if leftward else j - 1
                seen = {0: (i, beside)} | ({-1: (i - 1, j)} if i > 0 else {})
                before = state(i, beside)[1]
            for k, place in seen.items():
                sums = sums + line.weight[line.offsets.index(k)] @ state(*place)[0]
            o, f, m, g = sums.view(line.colors, 4, part, n).unbind(1)
            c = f.sigmoid() * before.view(line.colors, part, n) + m.sigmoid() * g.tanh()
            states[i, j] = ((o.sigmoid() * c.tanh()).flatten(0, 1), c.flatten(0, 1))
    return torch.stack([torch.stack([states[i, j][0] for j in range(width)], 1) for i in range(height)])


@over_cases
@pytest.mark.parametrize("height,width", SIZES)
@pytest.mark.parametrize("colors", [1, 3])
def test_each_cell_is_fed_by_its_neighbors(offsets, sweep, height: int, width: int, colors: int) -> None:
    """The same states as pixel by pixel, and the same derivatives as autograd's."""
    line, over = make(3, offsets, colors), sweep(height, width)
    gates = torch.randn(height, 12, width, 2, dtype=torch.float64, requires_grad=True)
    found, expected = line(gates, over), pixel_by_pixel(line, gates, over)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights, upstream = [gates, *line.parameters()], torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, weights, upstream),
        torch.autograd.grad(expected, weights, upstream, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@over_cases
def test_gradients_of_a_sum_and_of_an_unused_state(offsets, sweep) -> None:
    """The incoming gradient may be an expanded scalar, or zero in most places."""
    line = make(2, offsets)
    gates = torch.randn(2, 8, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: line(g, sweep(2, 3)).sum(), gates)
    assert torch.autograd.gradcheck(lambda g: line(g, sweep(2, 3))[1, 0, 2], gates)


def test_autocast_leaves_the_recurrence_in_float32() -> None:
    line = make(4, (-1, 0, 1)).float()
    gates = torch.randn(3, 16, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = line(gates.bfloat16(), Rows(3, 4))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, line(gates.bfloat16().float(), Rows(3, 4)), rtol=0, atol=0)
    found.sum().backward()
