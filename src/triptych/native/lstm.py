"""What the sampler of LSTM in C++ (lstm.cpp) takes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def write_lstm(model: Any, u: Float[Tensor, "n t"], token: Int[Tensor, "n t"], how: Sampling) -> Int[Tensor, "n t"]:
    """Fills in the tokens of an `LSTM` that are -1, each by its uniform number."""
    c = model.config
    arrays = [u, model.start, model.embedding.weight]
    for layer in model.layers:
        arrays += [torch.cat((layer.weight_ih_l0, layer.weight_hh_l0), 1), layer.bias_ih_l0 + layer.bias_hh_l0]
    numbers = [*u.shape, c.embedding, c.width, c.x.vocabulary, c.layers]
    play("lstm", numbers, [*arrays, model.out.weight, model.out.bias], token, how)
    return token
