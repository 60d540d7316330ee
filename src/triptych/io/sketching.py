"""A model without memory: its modules and the shapes of its weights, to look at before anything is built."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

INITS = (nn.init.normal_, nn.init.uniform_, nn.init.constant_)
ALIKE = (F.normalize, Tensor.normal_, Tensor.uniform_, Tensor.cos, Tensor.sin, Tensor.tril, Tensor.__rpow__)
"""What gives a tensor of the same shape and type."""
SIGN = ("neg", "__neg__")
SPREAD = ("mul", "__mul__", "__rmul__", "div", "__truediv__")
"""What gives a tensor of the shapes brought together."""


class Sketching(TorchFunctionMode):
    """Leaves out what initial values take time for, on the meta device, where there are none.

    For some operations there, of which torch has no kernel but a program in Python, it also imports its compiler: that
    takes a second and a half, as long as torch itself. Of those that are common here, only the shape is made.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options, name = kwargs or {}, getattr(func, "__name__", "")
        if func is torch.mv and len(args) == 2:
            return args[0].select(1, 0)
        if func is torch.vdot and len(args) == 2:
            return args[0].select(0, 0)
        if func in INITS:
            return options["tensor"] if "tensor" in options else args[0]
        if (func in ALIKE or name in SIGN) and args:
            out = options.get("out")
            return args[0] if out is None else out
        if func is torch.cartesian_prod and len(args) > 1:
            return torch.empty(prod(map(len, args)), len(args), dtype=args[0].dtype)
        if func in (torch.cat, torch.stack) and args:
            dim = args[1] if len(args) > 1 else options.get("dim", 0)
            return joined([part.unsqueeze(dim) if func is torch.stack else part for part in args[0]], dim)
        if name in SPREAD and len(args) == 2 and not options:
            return spread(*args, whole="mul" in name)
        return func(*args, **options)


def joined(parts: list[Tensor], dim: int) -> Tensor:
    """What torch.cat gives, but for the numbers."""
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(shape)


def spread(a: Any, b: Any, whole: bool) -> Tensor:
    """What a product gives, or (if not `whole`) a quotient, but for the numbers."""
    like = a if isinstance(a, Tensor) else b
    shapes: Any = [part.shape for part in (a, b) if isinstance(part, Tensor)]
    dtype = torch.result_type(a, b)
    shape: Any = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    made: Tensor = like.new_empty(shape, dtype=dtype if whole or dtype.is_floating_point else torch.float32)
    return made
