"""Tensors as safetensors bytes, and nested state as JSON plus safetensors. Nothing here can run code."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from triptych.core import IntegrityError, NonFiniteError
from triptych.core.reading import parse_json

TENSOR = "\0tensor"
"""Marks the place of a tensor in JSON; no key of a state begins with a null character."""
MOST_BESIDE = 1 << 28
"""Numbers in buffers that are not saved: masks, tables of positions."""


def pack(tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> bytes:
    """Tensors by name -> bytes. Tensors that share memory are stored once each, so that each can be read alone."""
    seen: set[int] = set()
    plain = {}
    for name, value in tensors.items():
        t = value.detach().cpu().contiguous()
        plain[name] = t.clone() if t.data_ptr() in seen else t
        seen.add(t.data_ptr())
    return safetensors.torch.save(plain, about)


def unpack(data: bytes, what: str) -> dict[str, Tensor]:
    """The inverse of `pack`. Raises IntegrityError if `data` is not a safetensors file (a pickle, say)."""
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
        raise IntegrityError(f"{what} is not a safetensors file: {e}") from e


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises NonFiniteError naming the first tensor that holds NaN or infinity."""
    for name, t in tensors.items():
        if t.is_floating_point() and not t.isfinite().all():
            raise NonFiniteError(f"{name} holds NaN or infinity; nothing was saved, the last checkpoint is kept")


def split(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """A tree of dicts, lists and JSON values with tensors at some leaves -> the JSON part, and the tensors by path."""
    tensors: dict[str, Tensor] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node
            return {TENSOR: path}
        if isinstance(node, dict):
            if TENSOR in node:
                raise ValueError(f"{path} has a key {TENSOR!r}, which stands for a tensor")
            return {str(k): walk(v, f"{path}/{k}") for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [walk(v, f"{path}/{i}") for i, v in enumerate(node)]
        return node

    return walk(tree, ""), tensors


def join(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `split` (keys come back as strings, tuples as lists)."""
    if isinstance(plain, dict):
        if TENSOR in plain:
            return tensors[plain[TENSOR]]
        return {k: join(v, tensors) for k, v in plain.items()}
    if isinstance(plain, list):
        return [join(v, tensors) for v in plain]
    return plain


def pack_tree(tree: Any) -> tuple[bytes, bytes]:
    """A tree -> (JSON bytes, safetensors bytes)."""
    plain, tensors = split(tree)
    return (json.dumps(plain, indent=1) + "\n").encode(), pack(tensors)


def unpack_tree(plain: bytes, tensors: bytes, what: str) -> Any:
    """Raises IntegrityError, naming `what`, unless these are such a tree and its tensors."""
    try:
        return join(parse_json(plain, what), unpack(tensors, what))
    except (KeyError, TypeError) as e:
        raise IntegrityError(f"{what} does not hold the tensors that the state beside it names") from e


def check_fit(model: torch.nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Raises IntegrityError unless the model's tensors have the names and shapes of the weights, and no other tensor
    is much larger than all of them."""
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    for name in sorted({**wanted, **found}):
        if wanted.get(name) != found.get(name):
            of, there = wanted.get(name, "nothing"), found.get(name, "nothing")
            said = f"does not hold this model's weights: {name} would be {of}, not {there}"
            raise IntegrityError(f"{what}: the file beside it {said}")
    beside = sum(b.numel() for name, b in model.named_buffers() if name not in wanted)
    if beside > MOST_BESIDE:
        raise IntegrityError(f"{what} describes a model that computes {beside:,} numbers beside its weights: too many")


def load_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Fills `model`. Raises IntegrityError when names or shapes are not the model's."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        raise IntegrityError(f"{what} does not hold this model's weights: {str(e).splitlines()[-1].strip()}") from e
