"""Domains of pictures, as planes that lie behind a picture: 1 where it should go there, -1 where not.

What lies between is between: a plane of 0 in each of two is halfway from one domain to the other.
"""

from jaxtyping import Float
from torch import Tensor


def planes_of(shares: Float[Tensor, "n domains"], x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n domains h w"]:
    """Planes as large as the pictures x, from shares between 0 and 1."""
    return (2 * shares - 1).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])


def amounts_of(planes: Float[Tensor, "n domains h w"]) -> Float[Tensor, "n domains"]:
    """How much each plane asks for, from 0 to 1."""
    return ((planes.mean((2, 3)) + 1) / 2).clamp(0, 1)


def shares_of(planes: Float[Tensor, "n domains h w"]) -> Float[Tensor, "n domains"]:
    """As `amounts_of`, of domains of which a picture is of one: they sum to 1."""
    amounts = amounts_of(planes) + 1e-6  # of planes that ask for nothing, all alike
    return amounts / amounts.sum(1, keepdim=True)
