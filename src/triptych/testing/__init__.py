"""The promises that every model keeps, as functions to call on your own.

    from triptych.testing import check_model

    def test_my_model():
        check_model(MyModel, MyConfig(x=Images(1, 3, 3, levels=2), width=8))

Each check raises AssertionError with a sentence that says which promise is broken. They need no test framework, leave
no files and leave torch's random state as it was. A tiny configuration takes seconds, and one whose space of x can be
enumerated (up to 4096 elements: 3 x 3 binary pixels, say) is checked the most strictly.
"""

from typing import Any

import torch

from triptych.core import Data, Generative, Labels
from triptych.testing.asking import check_precisions, check_questions
from triptych.testing.likelihood import check_causality, check_likelihood, check_sampler
from triptych.testing.linear import LinearGaussian, LinearGaussianConfig
from triptych.testing.samples import check_samples
from triptych.testing.saving import check_config, check_saving
from triptych.testing.sizes import check_sizes
from triptych.testing.toys import Examples
from triptych.testing.training import check_bfloat16, check_players, check_resume, check_training

__all__ = [
    "Examples",
    "LinearGaussian",
    "LinearGaussianConfig",
    "check_bfloat16",
    "check_causality",
    "check_config",
    "check_likelihood",
    "check_model",
    "check_players",
    "check_precisions",
    "check_questions",
    "check_resume",
    "check_sampler",
    "check_samples",
    "check_saving",
    "check_sizes",
    "check_training",
]


def check_model(model_class: type[Generative[Any]], tiny_config: Any, data: Data | None = None) -> None:
    """Every check that applies to a model of this class.

    `data` is what to train on for a few rounds: random examples, with random conditions, if nothing is said.

    Raises AssertionError, saying which promise is broken.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make: Any = model_class
        model: Generative[Any] = make(tiny_config)
        check_config(model)
        # a model that takes no condition has to bear data that have one
        data = data or Examples(tiny_config.x, getattr(tiny_config, "given", None) or Labels(2))
        check_players(model, data)
        check_training(model, data)
        check_resume(model, data)
        check_samples(model, data)
        check_sizes(model, data)
        check_saving(model, data)
        check_likelihood(model, data)
        check_causality(model, data)
        check_sampler(model, data)
        check_bfloat16(model, data)
        check_questions(model, data)
        check_precisions(model, data)
