"""How far around a place a network of convolutions looks."""

from torch import nn

from triptych.nn.residual import DoublingConv


def reach(net: nn.Module, multiple: int = 1) -> int:
    """Pixels of the input, to either side, that can change an output pixel: the most over all output pixels.

    For convolutions one after another, as they are registered, with kernels of odd sides, padded to keep (at a stride:
    to divide) the size; their strides and doublings make up for each other, or are followed by nothing that looks
    around. `multiple` is the product of the strides: output pixels that are as much apart look around alike.
    """
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    most = 0
    for place in range(multiple):
        first = last = place  # the pixels looked at so far, from the output back
        for conv in reversed(convolutions):
            around = conv.kernel_size[0] // 2 * conv.dilation[0]
            first, last = first * conv.stride[0] - around, last * conv.stride[0] + around
            if isinstance(conv, DoublingConv):
                first, last = first // 2, last // 2
        most = max(most, place - first, last - place)
    return most
