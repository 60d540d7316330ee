"""What a training run is asked for, beside the model and the data."""

from typing import Annotated, Literal

from pydantic import Field

from triptych.core import Count, config
from triptych.nn.augment import Augmentation


@config
class Run:
    """How long and on how much at a time; what a model's page recommends is in its presets."""

    steps: Count = 10_000
    """Rounds of the game, for stages that do not say."""
    batch: Count = 128
    """Examples a turn, over all ranks together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides every random draw of the run."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """bf16: autocast to bfloat16 (weights and optimizer stay float32). tf32: fp32, but for products on a GPU, of whose
    factors 11 bits are kept."""
    channels_last: bool = False
    """Channels innermost in images and convolution weights: faster convolutions, equal up to rounding."""
    accumulate: Count = 1
    """Parts that each batch is worked on in, one after the other, for a share of the memory. Losses, gradients,
    codebooks and logs are the whole batch's; what is normalized over a batch is normalized over each part."""
    repeatable: bool = True
    """Only kernels that give the same bits every time, so that a resumed run equals one that was never interrupted. On
    a GPU others may be faster; a CPU has no others."""
    record: bool = True
    """On a GPU, in one process and with batches in one part: forward and backward passes that are the same work in
    every round are recorded as CUDA graphs and played again, which spares the host most of its part and changes no bit.
    What cannot be recorded runs as it is."""
    compile: bool = False
    """Compiles the networks (torch.compile), which takes from seconds to minutes when training begins or goes on, so
    that the steps after it need fewer operations of a GPU, equal up to rounding. Not for losses that differentiate a
    gradient."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to every image, real or generated, that a GAN's discriminator is trained on (DiffAugment); for data
    of a few thousand images or fewer."""
