"""The loop and the turn."""

from triptych.training.loop import Round, State, check_batches, train
from triptych.training.run import Run
from triptych.training.turn import turn

__all__ = ["Round", "Run", "State", "check_batches", "train", "turn"]
