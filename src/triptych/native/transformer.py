"""What the sampler of causal transformers in C++ (transformer.cpp) takes."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from triptych.core import Sampling
from triptych.native import play


def write_natively(
    transformer: Any,
    caches: Sequence[Any],
    h: Float[Tensor, "n first+1 width"],
    token: Int[Tensor, "n length"],
    u: Float[Tensor, "n length"],
    how: Sampling,
    score: Any,
    read: Any,
) -> Int[Tensor, "n length"]:
    """As `nn.transformer.write`, of blocks of its own, a `Score` and a `Read`; `caches` hold what comes before the last
    place of h."""
    token, position, width = token.contiguous(), read.position, h.shape[-1]
    placed = 0 if position is None else 1 if position.dim() == 2 or len(position) == 1 else 2
    networks = [block.network for block in transformer.blocks]
    numbers = [*token.shape, h.shape[1] - 1, width, transformer.heads, networks[0].give.in_features]
    numbers += [*score.weight.shape[:1], len(read.table), len(networks), placed, int(score.bias is not None), read.row]
    nothing = h.new_empty(0)
    arrays = [u, h[:, -1], read.table, h.new_tensor([read.scale]), nothing if position is None else position]
    arrays += [transformer.turns[:, : token.shape[1]]]
    for block, cache in zip(transformer.blocks, caches, strict=True):
        attention, network = block.attention, block.network
        arrays += [norm(block.norm1), attention.take.weight, attention.give.weight]
        arrays += [norm(block.norm2), network.take.weight, network.give.weight, cache.keys, cache.values]
    arrays += [norm(transformer.norm), score.weight, nothing if score.bias is None else score.bias]
    play("transformer", numbers, arrays, token, how)
    return token


def norm(layer: Any) -> Float[Tensor, " width"]:
    """What RMSNorm multiplies by, for a vector of length 1."""
    weight: Tensor = layer.weight * layer.weight.shape[0] ** 0.5
    return weight
