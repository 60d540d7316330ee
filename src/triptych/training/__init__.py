"""The loop and the turn."""

from triptych.training.loop import Round, Run, State, check_batches, train
from triptych.training.turn import turn

__all__ = ["Round", "Run", "State", "check_batches", "train", "turn"]
