"""The option of a run that augments what a discriminator sees."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from triptych.core import Generative, Images, UsageError
from triptych.nn.augment import Augmentation, augment


def judge_of(model: Generative[Any]) -> nn.Module:
    """The network that looks at images. Raises UsageError for a model that has no, or not just one, discriminator."""
    for name in ("discriminator", "critic"):
        found = getattr(model, name, None)
        if isinstance(found, nn.Module) and isinstance(model.config.x, Images):
            return found
    raise UsageError(f"{model.name} has no discriminator of images whose view could be augmented; leave out augment")


@contextmanager
def augmenting(model: Generative[Any], how: Sequence[Augmentation]) -> Iterator[None]:
    """Augments, for the length of a turn, every image that the model's discriminator is given.

    No model has to know: its first input, real or generated, is changed on its way in. Raises UsageError as `judge_of`.
    """
    if not how:
        yield
        return

    def change(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return augment(inputs[0], how), *inputs[1:]

    handle = judge_of(model).register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()
