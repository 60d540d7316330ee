"""Receptive fields of networks of convolutions."""

from collections.abc import Sequence

from torch import nn

from triptych.nn.residual import DoublingConv, HalvingConv


def reach(net: nn.Module | Sequence[nn.Module], multiple: int = 1) -> int:
    """Reach of the receptive field: pixels of the input, to either side, that can change an output pixel.

    The most over all output pixels.
    For convolutions, and means of squares, one after another, as they are registered (or listed, of a longest way
    through a network); kernels are padded to keep (at a stride: to divide) the size, and those of even sides are taken
    for larger by one. Strides and doublings make up for each other, or are followed by nothing that looks around.
    `multiple` is the product of the strides: output pixels that are as much apart look around alike.
    """
    layers = [layer for part in (net if isinstance(net, Sequence) else [net]) for layer in part.modules()]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.AvgPool2d)]
    most = 0
    for place in range(multiple):
        first = last = place  # the pixels looked at so far, from the output back
        for conv in reversed(convolutions):
            if isinstance(conv, nn.AvgPool2d):
                side = int(conv.kernel_size)  # type: ignore[arg-type]
                first, last = first * side, last * side + side - 1
                continue
            if isinstance(conv, HalvingConv):
                first, last = 2 * first, 2 * last + 1
            around = conv.kernel_size[0] // 2 * conv.dilation[0]
            first, last = first * conv.stride[0] - around, last * conv.stride[0] + around
            if isinstance(conv, DoublingConv):
                first, last = first // 2, last // 2
        most = max(most, place - first, last - place)
    return most


def field(net: nn.Module) -> int:
    """Receptive field of convolutions one after another: the side of the square of inputs that one output sees."""
    side = apart = 1
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d):
            side += (conv.kernel_size[0] - 1) * conv.dilation[0] * apart
            apart *= conv.stride[0]
    return side
