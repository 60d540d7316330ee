"""The option of a run that augments what a discriminator sees."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from triptych.core import Generative, Given, UsageError
from triptych.nn.augment import Augmentation, together


def judges_of(model: Generative[Any]) -> list[nn.Module]:
    """Where images come in to be judged (`Player.judges`). Raises UsageError for a model that judges none, with the
    reason."""
    said = [player.judges for stage in model.stages() for player in stage.players if player.judges is not None]
    reasons = [reason for reason in said if isinstance(reason, str)]
    if reasons:
        raise UsageError(f"{model.name} cannot augment what is judged: {reasons[0]}; leave out augment")
    if not said:
        raise UsageError(
            f"{model.name} has no discriminator of images whose view could be augmented; leave out augment"
        )
    if not model.config.x.planar:
        raise UsageError(f"{model.name} judges no images, but {model.config.x}: leave out augment, which is for images")
    return list(dict.fromkeys(place for place in said if isinstance(place, nn.Module)))


@contextmanager
def augmenting(model: Generative[Any], how: Sequence[Augmentation]) -> Iterator[None]:
    """Augments, for the length of a turn, every image that the model judges, real or generated, on its way in.

    A condition that lies over the image, a picture itself, is moved and cut with it. Raises UsageError as `judges_of`.
    """
    with ExitStack() as stack:
        for place in judges_of(model) if how else ():
            stack.enter_context(place.register_forward_pre_hook(partial(change, how)))
        yield


def change(how: Sequence[Augmentation], module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a judge is given, augmented. Raises UsageError for a picture of another size: it could not move along."""
    x, *others = inputs
    over: list[Tensor] = []

    def lies(t: Any) -> bool:
        return isinstance(t, Tensor) and t.dim() == 4 and t.is_floating_point()

    def noted(t: Any) -> Any:
        if lies(t):
            over.append(t)
        return t

    for other in others:
        other.map(noted) if isinstance(other, Given) else noted(other)
    wrong = next((t for t in over if t.shape[2:] != x.shape[2:]), None)
    if wrong is not None and set(how) - {"color"}:
        raise UsageError(
            f"augment={','.join(how)}: the condition, of {wrong.shape[2]} x {wrong.shape[3]}, cannot be moved along "
            f"with images of {x.shape[2]} x {x.shape[3]}; augment with color alone"
        )
    x, *moved = together([x, *over], how)
    rest = iter(moved)

    def taken(t: Any) -> Any:
        return next(rest) if lies(t) else t

    return x, *(other.map(taken) if isinstance(other, Given) else taken(other) for other in others)
