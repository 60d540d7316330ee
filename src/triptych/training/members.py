"""The weights and buffers of a model, listed once for a stage.

To walk through all modules at every turn takes as long as a small network does.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from triptych.core import Player


class Members:
    """What belongs to a model, and what of it to each player, as long as no module is added or taken away."""

    def __init__(self, model: nn.Module, players: Sequence[Player]) -> None:
        weights, saved = list(model.parameters()), model.state_dict(keep_vars=True)
        self.owned = {player.name: list(player.owns.parameters()) for player in players}
        self.idle = {name: others(weights, owned) for name, owned in self.owned.items()}
        """The weights that are not the player's."""
        self.places: dict[str, tuple[nn.Module, str]] = {}
        """Where each buffer is: a module puts another tensor there at times."""
        for prefix, module in model.named_modules():
            for key, _ in module.named_buffers(recurse=False):
                self.places[f"{prefix}.{key}" if prefix else key] = module, key
        self.saved = [name for name in self.places if name in saved]
        """The buffers that are saved with the model."""

    def buffers(self) -> dict[str, Tensor]:
        """The buffers as they are now."""
        return {name: getattr(module, key) for name, (module, key) in self.places.items()}


def others(weights: Sequence[Tensor], owned: Sequence[Tensor]) -> list[Tensor]:
    known = {id(w) for w in owned}
    return [w for w in weights if id(w) not in known]
