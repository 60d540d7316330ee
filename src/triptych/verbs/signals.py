"""Stopping politely, for the verbs: see `triptych.training.signals`."""

from triptych.training.signals import Stop, catching

__all__ = ["Stop", "catching"]
