"""The state of an optimizer, as it comes back from a file that may be anybody's."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from triptych.core import IntegrityError


def check_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Raises an error of some kind unless the groups and slots have the names, types and shapes of this optimizer's."""
    for group, then in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True):
        if then["params"] != group["params"]:
            raise ValueError("it is of other weights")
        for name in numbers(group):
            many = isinstance(group[name], list | tuple)
            was = then[name] if many else [then[name]]
            plain = isinstance(was, list | tuple) and all(type(v) in (int, float) and math.isfinite(v) for v in was)
            if not plain or (many and len(was) != len(group[name])):
                raise ValueError(f"{name} is {then[name]!r:.100}")
    weights = [(weight, k) for k, group in enumerate(optimizer.param_groups) for weight in group["params"]]
    wanted = [slots(optimizer, group) for group in optimizer.param_groups]
    for key, held in saved["state"].items():
        weight, k = weights[int(key)]
        due = {name: tuple(weight.shape) if dims else () for name, dims in wanted[k].items()}
        if {name: tuple(value.shape) for name, value in held.items()} != due:
            raise ValueError(f"what it keeps of weight {key} has other names or shapes")


def numbers(group: dict[str, Any]) -> list[str]:
    """The settings of a group that are a number, or several."""
    return [n for n, v in group.items() if n != "params" and type(v) in (int, float, tuple, list)]


def slots(optimizer: Optimizer, group: dict[str, Any]) -> dict[str, int]:
    """What an optimizer of this kind keeps of a weight of this group, of one element: the dimensions of each."""
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.zeros(1, 1)
    kind: Any = type(optimizer)
    probe = kind([weight])
    probe.param_groups[0].update(optimizer.defaults)  # AdamW's hold more than it takes
    probe.param_groups[0].update({k: v for k, v in group.items() if k != "params"})
    probe.step()
    return {name: value.dim() for name, value in probe.state[weight].items()}


def restore(optimizer: Optimizer, saved: Any) -> None:
    """Loads a saved state, each tensor in its weight's own memory layout (fused kernels walk both as flat memory).

    Raises IntegrityError for what is no state of this optimizer: it may come from anybody's file.
    """
    try:
        check_state(optimizer, saved)
        groups = [  # flags are about this machine, and stay as they are
            {**now, **{name: then[name] for name in numbers(now)}}
            for now, then in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
        ]
        optimizer.load_state_dict({"param_groups": groups, "state": {int(k): v for k, v in saved["state"].items()}})
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise IntegrityError(f"the saved state of an optimizer is not one of this run: {e}") from e
    for weight, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                slots[name] = torch.empty_like(weight).copy_(value)
