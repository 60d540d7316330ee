"""Batch normalization over the batch of all ranks, whatever layer does it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from triptych.nn import ranks


@contextmanager
def over_ranks() -> Iterator[None]:
    """For a while, `torch.nn.functional.batch_norm` in training takes its statistics over all ranks.

    The mean over ranks of gradients is then that of one process, and so are the running statistics on every rank. Does
    nothing where there is one.
    """
    if ranks.world() == 1:
        yield
        return
    with Shared():
        yield


class Shared(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        call = batch_norm if func is F.batch_norm else func
        return call(*args, **(kwargs or {}))


def batch_norm(
    input: Float[Tensor, "n c ..."],
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Float[Tensor, "n c ..."]:
    """What torch.nn.functional.batch_norm does, of the batch of all ranks in training."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    axes = [0, *range(2, x.dim())]
    # every rank has as many items: the mean of means is the mean, and variances add to that of the means
    var, mean = torch.var_mean(x, axes, correction=0)
    means, variances = ranks.whole(torch.stack([mean, var])[None]).unbind(1)
    mean = means.mean(0)
    var = variances.mean(0) + (means - mean).square().mean(0)
    n = x.numel() // x.shape[1] * ranks.world()
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * n / max(n - 1, 1)).to(running_var.dtype), momentum)
    shape = [1, -1, *[1] * (x.dim() - 2)]
    x = (x - mean.view(shape)) * (var + eps).rsqrt().view(shape)
    x = x if weight is None else x * weight.view(shape)
    x = x if bias is None else x + bias.view(shape)
    return x.to(input.dtype)
