"""The loop and the turn."""

from triptych.training.loop import Round, Run, State, train
from triptych.training.turn import turn

__all__ = ["Round", "Run", "State", "train", "turn"]
