"""Samplers in C++: the loop over values of some autoregressive networks, in a fraction of the time.

They are built where there are a compiler and ninja, by torch's own tools (`torch.utils.cpp_extension`), as soon as a
process draws so much that it pays, and kept in the cache folder. Until then, and wherever that is not possible, the
samplers in Python do the same: sample for sample, but for values whose uniform number lies within rounding of a
boundary.
`TRIPTYCH_NATIVE=0` turns them off; `TRIPTYCH_NATIVE=1` builds them at the first draw, however short.

A sampler in C++ takes float32 on a CPU. It shares out the items of a batch among torch's threads.
"""

import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from jaxtyping import Int
from torch import Tensor, float32, get_num_threads
from torch.compiler import is_exporting

from triptych.core import Sampling
from triptych.core.sampling import FAITHFUL
from triptych.native.building import CannotBuild, built, there

log = logging.getLogger(__name__)


PAYS = 30.0
"""Seconds of drawing by the loops in Python after which a process builds those in C++: about what that takes."""
ROUND, VALUE = 1e-3, 2e-5
"""Seconds that such a loop is taken to need for a place of the sequence, and for each item's value there."""
drawn = [0.0]
"""Seconds that this process is taken to have drawn by loops in Python."""


def plays(like: Tensor, how: Sampling = FAITHFUL) -> bool:
    """Whether a sampler in C++ is to draw values for these uniform numbers, an item a row; may build them.

    Not for a `Sampling` of another kind, which chooses the values by its own method (a coder of messages does), nor
    while a program is written of what torch does."""
    suits = like.device.type == "cpu" and like.dtype == float32 and type(how) is Sampling
    suits = suits and not is_exporting() and len(like) > 0
    said = os.environ.get("TRIPTYCH_NATIVE", "")
    if not suits or said == "0":
        return False
    if not said and not library.cache_info().currsize and not there():
        drawn[0] += like[0].numel() * (ROUND + len(like) * VALUE)
        if drawn[0] < PAYS:
            return False
    return library() is not None


@cache
def library() -> Any:
    """The built module; None, with a line in the log, where there is none."""
    try:
        return built()
    except CannotBuild as e:
        log.debug("no samplers in C++, those in Python are used: %s", e)
        return None


def play(
    name: str, numbers: Sequence[int], arrays: Sequence[Tensor], level: Int[Tensor, "n ..."], how: Sampling
) -> None:
    """Fills in the levels that are -1, by one of the module's samplers.

    Args:
        numbers, arrays: sizes, and float32 weights and uniform numbers, in the order that the sampler asks for them.
        level: contiguous.
    """
    getattr(library(), name)(
        tuple(numbers),
        tuple(array.detach().contiguous().numpy() for array in arrays),
        level.numpy(),
        (how.temperature, min(how.top_k or 0, sys.maxsize), 1.0 if how.top_p is None else how.top_p),
        get_num_threads(),
    )
